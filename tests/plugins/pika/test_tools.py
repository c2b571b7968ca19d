"""What generate_pika_video asks of the service: our own expectations, as no schema was published."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_pika import kie_describe_provider, kie_register_tools

PICTURE = "https://example.com/a.png"
FULL: dict[str, Any] = {
    "prompt": "a lighthouse",
    "imageUrls": [PICTURE],
    "duration": 5,
    "aspectRatio": "16:9",
    "mode": "realistic",
    "resolution": "1080p",
    "frameRate": 24,
    "callBackUrl": "https://example.com/done",
}
FULL_INPUT = {
    "prompt": "a lighthouse",
    "image_urls": [PICTURE],
    "duration": 5,
    "aspect_ratio": "16:9",
    "mode": "realistic",
    "resolution": "1080p",
    "frame_rate": 24,
}


def the_tool(**settings: str) -> Callable[..., Submission]:
    (tool,) = kie_register_tools(settings)
    return tool


def test_minimal_request_holds_the_prompt_alone() -> None:
    request = the_tool()(prompt="a lighthouse")
    assert request.paths[0] == "jobs/createTask"
    assert request.body == {"model": "pika/text-to-video", "input": {"prompt": "a lighthouse"}}
    assert (request.api_type, request.model) == ("pika-video", "pika/text-to-video")


def test_every_argument_reaches_the_request() -> None:
    assert the_tool()(**FULL).body == {
        "model": "pika/image-to-video",
        "callBackUrl": "https://example.com/done",
        "input": FULL_INPUT,
    }


def test_no_argument_is_missing_from_the_full_request() -> None:
    assert set(inspect.signature(the_tool()).parameters) == set(FULL)


@pytest.mark.parametrize(
    ("settings", "model", "path"),
    [
        ({"model": "new/id"}, "new/id", "jobs/createTask"),
        ({"path": "pika/generate"}, "pika/image-to-video", "pika/generate"),
        ({"model": "new/id", "path": "pika/generate"}, "new/id", "pika/generate"),
        ({"model": "", "path": ""}, "pika/image-to-video", "jobs/createTask"),
    ],
)
def test_configuration_replaces_model_and_path(settings: dict[str, str], model: str, path: str) -> None:
    request = the_tool(**settings)(**FULL)
    assert (request.model, request.body["model"], request.paths[0]) == (model, model, path)
    assert request.body["input"] == FULL_INPUT


def test_same_arguments_give_the_same_request() -> None:
    assert the_tool()(**FULL) == the_tool()(**FULL)


def test_provider_says_it_is_undocumented_and_names_the_nearest_tool() -> None:
    provider = kie_describe_provider()
    assert (provider.availability, provider.nearest) == ("undocumented", "generate_kling_video")
    assert provider.api_types == ("pika-video",)
    assert provider.models
    assert "pika/image-to-video".startswith(provider.models)
    assert set(provider.settings) == {"model", "path"}
    assert provider.kinds == ("video",)


def test_docstring_says_undocumented_and_names_the_nearest_tool() -> None:
    doc = the_tool().__doc__ or ""
    assert doc.startswith("Undocumented")
    assert "generate_kling_video" in doc


def test_pictures_choose_the_image_to_video_model() -> None:
    assert the_tool()(prompt="waves").model == "pika/text-to-video"
    assert the_tool()(prompt="waves", imageUrls=[PICTURE]).model == "pika/image-to-video"
