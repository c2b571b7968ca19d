"""Requests of the Midjourney tool as documented last, its refusals, and the settings that replace values."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission, Tool
from kie_ai_mcp_midjourney import kie_describe_provider, kie_register_tools

A, B = "https://example.com/a.png", "https://example.com/b.png"


def image(settings: Mapping[str, Any] | None = None, **arguments: Any) -> Submission:
    tool, _ = kie_register_tools(settings=settings or {})
    assert not isinstance(tool, Tool)
    return tool(**{"prompt": "a fox", **arguments})


def video(settings: Mapping[str, Any] | None = None, **arguments: Any) -> Submission:
    _, tool = kie_register_tools(settings=settings or {})
    assert isinstance(tool, Tool)
    assert tool.kind == "video"
    made = tool.fn(**{"prompt": "a fox", "imageUrls": [A], **arguments})
    assert isinstance(made, Submission)
    return made


def test_a_minimal_request_holds_what_the_service_required_and_nothing_more() -> None:
    assert image().body == {"taskType": "mj_txt2img", "prompt": "a fox"}


def test_a_full_request_holds_every_argument_in_the_services_words() -> None:
    assert image(
        image_urls=[A, B],
        aspectRatio="16:9",
        callBackUrl="https://example.com/done",
        taskType="style_reference",
        speed="relaxed",
        version="6.1",
        stylization=0,
        weirdness=3000,
        variety=5,
    ).body == {
        "taskType": "mj_style_reference",
        "prompt": "a fox",
        "fileUrls": [A, B],
        "aspectRatio": "16:9",
        "callBackUrl": "https://example.com/done",
        "speed": "relaxed",
        "version": "6.1",
        "stylization": 0,
        "weirdness": 3000,
        "variety": 5,
    }


@pytest.mark.parametrize(
    ("arguments", "task_type"),
    [
        ({}, "mj_txt2img"),
        ({"taskType": "txt2img"}, "mj_txt2img"),
        ({"image_urls": [A]}, "mj_img2img"),
        ({"image_urls": [A], "taskType": "img2img"}, "mj_img2img"),
        ({"image_urls": [A], "taskType": "txt2img"}, "mj_img2img"),
        ({"image_urls": [A], "taskType": "style_reference"}, "mj_style_reference"),
        ({"image_urls": [A], "taskType": "omni_reference"}, "mj_omni_reference"),
    ],
)
def test_task_type_follows_the_pictures_unless_it_is_named(arguments: dict[str, Any], task_type: str) -> None:
    sent = image(**arguments)
    assert sent.body["taskType"] == sent.model == task_type
    is_other = arguments.get("taskType") not in {None, task_type.removeprefix("mj_")}
    assert is_other == (sent.notes[-1:] == ("taskType txt2img takes no pictures: img2img was chosen.",))


@pytest.mark.parametrize(("shape", "sent"), [("2:1", "2:1"), ("5:6", "5:6"), ("auto", None), (None, None)])
def test_shapes_are_sent_as_they_are_and_auto_is_left_to_the_service(shape: str | None, sent: str | None) -> None:
    assert image(aspectRatio=shape).body.get("aspectRatio") == sent


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"taskType": "img2img"}, "image_urls", "is taken by taskType='txt2img'"),
        ({"taskType": "omni_reference"}, "image_urls", "Midjourney omni_reference needs it"),
        ({"image_urls": [A] * 5}, "image_urls", "at most 4 items, 5 were given"),
        ({"image_urls": [A], "taskType": "omni_reference", "speed": "fast"}, "speed", "leave it out"),
        ({"image_urls": [A] * 5, "output_format": "png"}, "image_urls", "at most 4 items, 5 were given"),
    ],
)
def test_what_the_service_never_took_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        image(**arguments)
    assert refusal.value.field == field
    assert advice in str(refusal.value)


@pytest.mark.parametrize(("shape", "near"), [("5:4", "6:5"), ("4:5", "5:6"), ("21:9", "2:1")])
def test_shape_that_midjourney_lacks_becomes_the_nearest_one_with_a_note(shape: str, near: str) -> None:
    sent = image(aspectRatio=shape)
    assert sent.body["aspectRatio"] == near
    assert sent.notes[-1] == f"aspectRatio {shape} was changed to {near}, the nearest shape of Midjourney."


def test_the_services_path_comes_before_the_seeds_and_a_configured_one_replaces_both() -> None:
    assert image().paths == ("mj/generate", "midjourney/generate")
    assert image({"path": "mj/v2/generate"}).paths == ("mj/v2/generate",)


def test_the_provider_tells_that_the_family_is_retired_and_declares_its_settings() -> None:
    provider = kie_describe_provider()
    assert (provider.availability, provider.nearest) == ("retired", "generate_nano_banana")
    assert provider.api_types == (image().api_type, video().api_type) == ("midjourney-image", "midjourney-video")
    assert set(provider.settings) == {"path"}
    for tool in kie_register_tools(settings={}):
        fn = tool.fn if isinstance(tool, Tool) else tool
        assert (inspect.getdoc(fn) or "").startswith("Retired at Kie.ai")


@pytest.mark.parametrize(("hd", "sort"), [(False, "mj_video"), (True, "mj_video_hd")])
def test_clips_are_made_from_one_picture_in_the_services_words(hd: bool, sort: str) -> None:
    assert video(hd=hd).body == {"taskType": sort, "prompt": "a fox", "fileUrls": [A], "motion": "high"}
    full = video(hd=hd, motion="low", videoBatchSize=4, callBackUrl="https://example.com/done")
    assert full.body == {
        "taskType": sort,
        "prompt": "a fox",
        "fileUrls": [A],
        "motion": "low",
        "videoBatchSize": 4,
        "callBackUrl": "https://example.com/done",
    }
    assert video({"path": "mj/make"}).paths == ("mj/make",)


def test_clip_of_two_pictures_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 1 items, 2 were given"):
        video(imageUrls=[A, B])
