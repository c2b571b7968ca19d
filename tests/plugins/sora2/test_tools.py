"""Requests of the Sora 2 tools as documented last, their refusals, and the settings that replace values."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.specs import MARKET_CREATE
from kie_ai_mcp_sora2 import kie_describe_provider, kie_register_tools

A, B = "https://example.com/a.png", "https://example.com/b.png"
SHOTS = [{"scene": "a fox", "duration": 4.5}, {"scene": "an owl", "duration": 3}]


def tool(name: str, settings: Mapping[str, Any] | None = None) -> Callable[..., Submission]:
    return {tool.__name__: tool for tool in kie_register_tools(settings=settings or {})}[name]


def video(settings: Mapping[str, Any] | None = None, **arguments: Any) -> Submission:
    return tool("generate_sora2_video", settings)(**{"prompt": "a fox", **arguments})


def storyboard(settings: Mapping[str, Any] | None = None, **arguments: Any) -> Submission:
    return tool("generate_sora2_storyboard", settings)(**{"shots": SHOTS, **arguments})


def test_minimal_requests_hold_what_the_service_required_and_nothing_more() -> None:
    assert video().body == {
        "model": "sora-2-text-to-video",
        "input": {"prompt": "a fox", "remove_watermark": True, "upload_method": "s3"},
    }
    assert storyboard().body == {
        "model": "sora-2-pro-storyboard",
        "input": {
            "shots": [{"Scene": "a fox", "duration": 4.5}, {"Scene": "an owl", "duration": 3.0}],
            "n_frames": "10",
            "upload_method": "s3",
        },
    }


def test_full_requests_hold_every_argument_in_the_services_words() -> None:
    assert video(
        imageUrls=[A],
        duration=15,
        aspectRatio="9:16",
        resolution="720p",
        remove_watermark=False,
        callBackUrl="https://example.com/done",
        model="sora-2-pro",
    ).body == {
        "model": "sora-2-pro-image-to-video",
        "callBackUrl": "https://example.com/done",
        "input": {
            "prompt": "a fox",
            "image_urls": [A],
            "aspect_ratio": "portrait",
            "n_frames": "15",
            "size": "standard",
            "remove_watermark": False,
            "upload_method": "s3",
        },
    }
    sent = storyboard(imageUrl=A, aspectRatio="16:9", callBackUrl="https://example.com/done").body
    assert sent["callBackUrl"] == "https://example.com/done"
    assert (sent["input"]["image_urls"], sent["input"]["aspect_ratio"]) == ([A], "landscape")


@pytest.mark.parametrize(
    ("arguments", "model", "size"),
    [
        ({}, "sora-2-text-to-video", None),
        ({"imageUrls": [A]}, "sora-2-image-to-video", None),
        ({"resolution": "720p"}, "sora-2-text-to-video", None),
        ({"resolution": "auto"}, "sora-2-text-to-video", None),
        ({"resolution": "1080p"}, "sora-2-pro-text-to-video", "high"),
        ({"resolution": "1080p", "imageUrls": [A]}, "sora-2-pro-image-to-video", "high"),
        ({"model": "sora-2-pro"}, "sora-2-pro-text-to-video", None),
        ({"model": "sora-2-pro", "resolution": "720p"}, "sora-2-pro-text-to-video", "standard"),
        ({"model": "sora-2-pro", "resolution": "auto"}, "sora-2-pro-text-to-video", None),
    ],
)
def test_model_pictures_and_resolution_choose_the_id_and_the_size(
    arguments: dict[str, Any], model: str, size: str | None
) -> None:
    sent = video(**arguments)
    assert (sent.model, sent.body["model"], sent.body["input"].get("size")) == (model, model, size)


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"frameRate": 24}, "frameRate", "leave it out"),
        ({"seed": 0}, "seed", "leave it out"),
        ({"guidance_scale": 0.0}, "guidance_scale", "leave it out"),
        ({"resolution": "1080p", "model": "sora-2"}, "resolution", "The whole call is taken by model='sora-2-pro'"),
        ({"imageUrls": [A, B]}, "imageUrls", "generate_veo3_video"),
    ],
)
def test_what_the_service_never_took_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        video(**arguments)
    assert refusal.value.field == field
    assert advice in str(refusal.value)


def test_every_fault_of_a_call_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        video(frameRate=24, seed=0, guidance_scale=0.5)
    assert [fault.field for fault in refusal.value.faults] == ["frameRate", "seed", "guidance_scale"]


def test_wishes_without_a_setting_are_said_in_the_prompt() -> None:
    sent = video(cameraMotion="pan", style="noir", negative_prompt="fog")
    assert sent.body["input"]["prompt"] == "a fox\nAvoid: fog.\nStyle: noir.\nCamera: pan."
    assert sent.notes[0] == "Model sora-2 was chosen: the first model that takes the whole call."
    assert "Model sora-2 has no style: 'Style: noir.' was appended to the prompt." in sent.notes


@pytest.mark.parametrize("count", [2, 3, 4])
def test_several_pictures_are_refused_with_a_call_of_a_tool_that_takes_them(count: int) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        video(imageUrls=[A] * count, aspectRatio="9:16", seed=1)
    instead = refusal.value.instead
    assert (instead is None) == (count > 3)
    if instead is not None:
        assert instead["tool"] == "generate_veo3_video"
        veo3 = Plugins(Settings.model_validate({"enabled_providers": ("veo3",)})).tools[instead["tool"]]
        assert isinstance(veo3.fn(**veo3.arguments.check(instead["arguments"])), Submission)


@pytest.mark.parametrize(
    ("lengths", "frames"),
    [([0.1], "10"), ([4.9, 3.2, 1.9], "10"), ([10, 0.1], "15"), ([15], "15"), ([15, 0.5], "25"), ([2.5] * 10, "25")],
)
def test_a_storyboard_gets_the_shortest_length_that_holds_its_shots(lengths: list[float], frames: str) -> None:
    sent = storyboard(shots=[{"scene": "a fox", "duration": length} for length in lengths])
    assert sent.body["input"]["n_frames"] == frames


@pytest.mark.parametrize(
    ("shots", "field", "advice"),
    [
        ([], "shots", "needs it"),
        ([{"scene": "a fox", "duration": 1}] * 11, "shots", "at most 10 items"),
        ([{"scene": "a fox", "duration": 15}, {"scene": "an owl", "duration": 10.1}], "shots", "may last 25 seconds"),
        ([*SHOTS, {"scene": "a fox"}], "shots[2]", "duration of 0.1 to 15 seconds"),
        ([{"scene": "a fox", "duration": 15.5}], "shots[0]", "duration of 0.1 to 15 seconds"),
        ([{"scene": " ", "duration": 5}], "shots[0]", "a scene in words"),
        ([{"scene": "a fox", "duration": 5, "style": "noir"}], "shots[0]", "a scene in words"),
    ],
)
def test_shots_the_service_would_not_take_are_refused(shots: list[Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        storyboard(shots=shots)
    assert refusal.value.field == field
    assert advice in str(refusal.value)


def test_requests_go_to_the_market_unless_the_settings_name_another_path() -> None:
    assert [sent.paths for sent in (video(), storyboard())] == [MARKET_CREATE, MARKET_CREATE]
    settings = {"path": "sora/generate"}
    assert [sent.paths for sent in (video(settings), storyboard(settings))] == [("sora/generate",), ("sora/generate",)]


def test_settings_replace_the_model_ids() -> None:
    settings = {"model": "sora-3", "storyboard_model": "sora-3-board"}
    for sent in (video(settings), video(settings, imageUrls=[A], model="sora-2-pro")):
        assert (sent.model, sent.body["model"]) == ("sora-3", "sora-3")
    assert storyboard(settings).body["model"] == "sora-3-board"


def test_the_provider_tells_that_the_family_is_retired_and_declares_its_settings() -> None:
    provider = kie_describe_provider()
    assert (provider.availability, provider.nearest) == ("retired", "generate_veo3_video")
    assert provider.api_types == (video().api_type, storyboard().api_type) == ("sora2-video", "sora2-storyboard")
    assert set(provider.settings) == {"model", "storyboard_model", "path"}
    assert all(str(sent.model).startswith(provider.models) for sent in (video(), storyboard()))
    for fn in kie_register_tools(settings={}):
        assert (inspect.getdoc(fn) or "").startswith("Retired at Kie.ai")
