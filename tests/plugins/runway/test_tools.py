"""Requests of the Runway tools, from typed arguments."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp_runway.tools import extend_runway_video, generate_runway_aleph_video, generate_runway_gen3_video
from kie_ai_mcp_veo3.tools import generate_veo3_video
from tests.service.facts import official

CLIP = "https://example.com/clip.mp4"
A, B = "https://example.com/a.png", "https://example.com/b.png"
HOOK = "https://example.com/hook"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, {}),
        ({"referenceImage": A}, {"referenceImage": A}),
        ({"seed": 7, "watermark": "me"}, {"seed": 7, "waterMark": "me"}),
        ({"imageUrls": [A]}, {"referenceImage": A}),
        ({"imageUrls": []}, {}),
        ({"imageUrls": [], "referenceImage": A}, {"referenceImage": A}),
        (
            {"referenceImage": A, "aspectRatio": "21:9", "callBackUrl": HOOK},
            {"referenceImage": A, "aspectRatio": "21:9", "callBackUrl": HOOK},
        ),
    ],
)
def test_aleph_sends_the_clip_and_what_guides_it(arguments: dict[str, Any], body: dict[str, Any]) -> None:
    submission = generate_runway_aleph_video(prompt="make it snow", videoUrl=CLIP, **arguments)
    assert submission.body == {"prompt": "make it snow", "videoUrl": CLIP, **body}
    official("POST /api/v1/aleph/generate").validate(submission.body)


def test_aleph_goes_to_todays_address_first() -> None:
    submission = generate_runway_aleph_video(prompt="make it snow", videoUrl=CLIP)
    assert submission.paths == ("aleph/generate", "runway/aleph/generate")
    assert submission.api_type == "runway-aleph-video"


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"videoUrl": CLIP, "duration": 5}, "duration", "the clip decides; leave it out"),
        ({"videoUrl": CLIP, "imageUrls": [A, B]}, "imageUrls", "at most 1, 2 were given"),
        ({"videoUrl": CLIP, "imageUrls": [A], "referenceImage": A}, "imageUrls", "at most 1, 2 were given"),
    ],
)
def test_what_aleph_cannot_do_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_runway_aleph_video(prompt="make it snow", **arguments)
    assert refusal.value.field == field
    assert advice in refusal.value.allowed


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, {"duration": 5, "aspectRatio": "16:9"}),
        ({"duration": 4}, {"duration": 5, "aspectRatio": "16:9"}),
        ({"duration": 8, "aspectRatio": "1:1"}, {"duration": 10, "aspectRatio": "1:1"}),
        ({"aspectRatio": "21:9", "watermark": "me"}, {"duration": 5, "aspectRatio": "16:9", "waterMark": "me"}),
        ({"imageUrls": [A], "aspectRatio": "9:16"}, {"duration": 5, "imageUrl": A}),
        ({"referenceImage": A, "callBackUrl": HOOK}, {"duration": 5, "imageUrl": A, "callBackUrl": HOOK}),
    ],
)
def test_aleph_without_a_clip_is_refused_with_a_new_clip_that_can_be_bought(
    arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match="generate_runway_gen3_video can do it") as refusal:
        generate_runway_aleph_video(prompt="a cat", **arguments)
    assert "videoUrl" in {fault.field for fault in refusal.value.faults}
    instead = refusal.value.instead
    assert instead is not None
    assert instead["tool"] == "generate_runway_gen3_video"
    assert generate_runway_gen3_video(**instead["arguments"]).body == {"prompt": "a cat", "quality": "720p", **body}


def test_aleph_without_a_clip_names_a_call_that_would_not_be_refused() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_runway_aleph_video(prompt="p" * 1801)
    assert refusal.value.instead == {"tool": "generate_runway_gen3_video", "arguments": {"prompt": "p" * 1800}}


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, {"duration": 5, "quality": "720p", "aspectRatio": "16:9"}),
        ({"duration": 10}, {"duration": 10, "quality": "720p", "aspectRatio": "16:9"}),
        ({"resolution": "1080p"}, {"duration": 5, "quality": "1080p", "aspectRatio": "16:9"}),
        ({"aspectRatio": "1:1"}, {"duration": 5, "quality": "720p", "aspectRatio": "1:1"}),
        ({"imageUrls": []}, {"duration": 5, "quality": "720p", "aspectRatio": "16:9"}),
        (
            {"imageUrls": [A], "duration": 10, "callBackUrl": HOOK},
            {"imageUrl": A, "duration": 10, "quality": "720p", "callBackUrl": HOOK},
        ),
    ],
)
def test_a_clip_is_asked_for_in_the_services_words(arguments: dict[str, Any], body: dict[str, Any]) -> None:
    submission = generate_runway_gen3_video("a cat", **arguments)
    assert submission.body == {"prompt": "a cat", **body}
    assert (submission.paths, submission.api_type) == (("runway/generate",), "runway-gen3-video")
    official("POST /api/v1/runway/generate").validate(submission.body)


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"model": "gen3a_turbo"}, "model", "one Runway model"),
        ({"frameRate": 24}, "frameRate", "leave it out"),
        ({"imageUrls": [A, B]}, "imageUrls", "at most 1, 2 were given"),
        ({"duration": 10, "resolution": "1080p"}, "duration", "resolution not 1080p; use 5"),
    ],
)
def test_what_runway_cannot_do_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_runway_gen3_video("a cat", **arguments)
    assert refusal.value.field == field
    assert advice in refusal.value.allowed


def test_shape_beside_a_picture_is_sent_and_the_answer_says_that_it_is_ignored() -> None:
    submission = generate_runway_gen3_video("a cat", imageUrls=[A], aspectRatio="1:1")
    assert submission.body["aspectRatio"] == "1:1"
    assert submission.notes == ("The service ignores aspectRatio: only without imageUrls.",)


@pytest.mark.parametrize("arguments", [{}, {"aspectRatio": "1:1"}, {"resolution": "1080p", "aspectRatio": "9:16"}])
def test_several_pictures_are_refused_with_a_clip_of_veo_that_takes_them(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_runway_gen3_video("a cat", imageUrls=[A, B], **arguments)
    instead = refusal.value.instead
    assert instead is not None
    assert instead["tool"] == "generate_veo3_video"
    assert generate_veo3_video(**instead["arguments"]).body["imageUrls"] == [A, B]


def test_all_that_is_wrong_with_a_clip_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_runway_gen3_video("a cat", model="gen3a", frameRate=24, duration=10, resolution="1080p")
    assert [fault.field for fault in refusal.value.faults] == ["model", "frameRate", "duration"]


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, {"quality": "720p"}),
        ({"resolution": "1080p", "callBackUrl": HOOK}, {"quality": "1080p", "callBackUrl": HOOK}),
        ({"watermark": "me"}, {"quality": "720p", "waterMark": "me"}),
    ],
)
def test_an_extension_names_the_clip_and_its_quality(arguments: dict[str, Any], body: dict[str, Any]) -> None:
    submission = extend_runway_video("t1", "it runs", **arguments)
    assert submission.body == {"taskId": "t1", "prompt": "it runs", **body}
    assert (submission.paths, submission.api_type) == (("runway/extend",), "runway-extend")
    official("POST /api/v1/runway/extend").validate(submission.body)
