"""Requests of the retired Luma service, from typed arguments."""

from typing import Any

import pytest

import kie_ai_mcp_luma
from kie_ai_mcp import InvalidArgument, Submission

CLIP, A = "https://example.com/clip.mp4", "https://example.com/a.png"
HOOK = "https://example.com/hook"


def luma(settings: dict[str, Any] | None = None, **arguments: Any) -> Submission:
    (generate,) = kie_ai_mcp_luma.kie_register_tools(settings or {})
    assert generate.name == "generate_luma_video"
    submission = generate.fn("make it snow", **arguments)
    assert isinstance(submission, Submission)
    return submission


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"videoUrl": CLIP, "watermark": "me", "callBackUrl": HOOK},
        {"imageUrls": [A], "duration": 120, "callBackUrl": HOOK},
    ],
)
def test_every_argument_is_forwarded_under_its_name(arguments: dict[str, Any]) -> None:
    submission = luma(**arguments)
    assert submission.body == {"prompt": "make it snow", **arguments}
    assert submission.api_type == "luma-video"


def test_the_last_documented_address_comes_first() -> None:
    assert luma().paths == ("modify/generate", "luma/generate")


@pytest.mark.parametrize(
    ("path", "paths"), [("luma/v2/generate", ("luma/v2/generate",)), ("", ("modify/generate", "luma/generate"))]
)
def test_the_configuration_names_another_address(path: str, paths: tuple[str, ...]) -> None:
    assert luma({"path": path}).paths == paths
    assert set(kie_ai_mcp_luma.kie_describe_provider().settings) == {"path"}


@pytest.mark.parametrize("extra", [{"imageUrls": [A]}, {"duration": 5}])
def test_nothing_is_sent_beside_a_clip_that_the_service_would_ignore(extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        luma(videoUrl=CLIP, **extra)
    assert refusal.value.field in extra
    assert "videoUrl" in refusal.value.allowed


def test_the_provider_says_that_it_is_retired_and_what_is_nearest() -> None:
    provider = kie_ai_mcp_luma.kie_describe_provider()
    assert (provider.availability, provider.nearest) == ("retired", "generate_runway_aleph_video")
    assert provider.checked
    assert "generate_veo3_video" in provider.note, "the nearest tool changes a clip, so who has none is told another"
    (generate,) = kie_ai_mcp_luma.kie_register_tools({})
    assert (generate.fn.__doc__ or "").startswith("Retired at Kie.ai; use generate_veo3_video")
    assert provider.nearest in (generate.fn.__doc__ or "")
