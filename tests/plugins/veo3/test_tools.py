"""Requests of the Veo 3 tools, from typed arguments."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp_veo3.tools import extend_veo3_video, generate_veo3_video, get_veo3_4k_video, get_veo3_1080p_video
from tests.service.facts import official, operations

A, B, C, D = (f"https://example.com/{name}.png" for name in "abcd")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"imageUrls": [A]},
        {"imageUrls": [A, B], "model": "veo3"},
        {"imageUrls": [A, B, C], "model": "veo3_lite", "duration": 8},
        {
            "imageUrls": [A, B],
            "model": "veo3_lite",
            "watermark": "me",
            "aspectRatio": "Auto",
            "callBackUrl": "https://example.com/hook",
            "enableFallback": False,
            "enableTranslation": True,
            "generationType": "FIRST_AND_LAST_FRAMES_2_VIDEO",
            "resolution": "4k",
            "duration": 4,
        },
    ],
)
def test_every_accepted_clip_request_fits_the_official_schema(arguments: dict[str, Any]) -> None:
    official("POST /api/v1/veo/generate").validate(generate_veo3_video("a cat", **arguments).body)


def test_a_bare_prompt_asks_for_the_fast_model_and_nothing_else() -> None:
    submission = generate_veo3_video("a cat")
    assert submission.body == {"prompt": "a cat", "model": "veo3_fast"}
    assert submission.paths == ("veo/generate",)
    assert (submission.api_type, submission.model) == ("veo3", "veo3_fast")


def test_a_full_clip_request_carries_every_argument() -> None:
    submission = generate_veo3_video(
        "a cat",
        imageUrls=[A],
        model="veo3",
        watermark="me",
        aspectRatio="9:16",
        callBackUrl="https://example.com/hook",
        enableFallback=True,
        resolution="1080p",
        duration=6,
    )
    assert submission.body == {
        "prompt": "a cat",
        "imageUrls": [A],
        "model": "veo3",
        "generationType": "FIRST_AND_LAST_FRAMES_2_VIDEO",
        "aspect_ratio": "9:16",
        "resolution": "1080p",
        "duration": 6,
        "watermark": "me",
        "enableFallback": True,
        "callBackUrl": "https://example.com/hook",
    }


@pytest.mark.parametrize(
    ("pictures", "given", "sent"),
    [
        (None, None, None),
        (None, "TEXT_2_VIDEO", "TEXT_2_VIDEO"),
        ([A], None, "FIRST_AND_LAST_FRAMES_2_VIDEO"),
        ([A, B], None, "FIRST_AND_LAST_FRAMES_2_VIDEO"),
        ([A, B, C], None, "REFERENCE_2_VIDEO"),
        ([A], "REFERENCE_2_VIDEO", "REFERENCE_2_VIDEO"),
    ],
)
def test_what_pictures_mean_is_said_in_the_request(pictures: list[str] | None, given: Any, sent: str | None) -> None:
    assert generate_veo3_video("a cat", imageUrls=pictures, generationType=given).body.get("generationType") == sent


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"seeds": 12345}, "seeds", "extend_veo3_video"),
        ({"imageUrls": [A], "generationType": "TEXT_2_VIDEO"}, "imageUrls", "leave out imageUrls"),
        ({"generationType": "FIRST_AND_LAST_FRAMES_2_VIDEO"}, "imageUrls", "at least 1 and at most 2"),
        ({"imageUrls": [A, B, C], "generationType": "FIRST_AND_LAST_FRAMES_2_VIDEO"}, "imageUrls", "at most 2"),
        ({"generationType": "REFERENCE_2_VIDEO"}, "imageUrls", "at least 1"),
        ({"imageUrls": [A, B, C, D]}, "imageUrls", "at most 3 items"),
        (
            {"imageUrls": [A], "generationType": "REFERENCE_2_VIDEO", "model": "veo3"},
            "model",
            "'veo3_fast' or 'veo3_lite'",
        ),
        ({"imageUrls": [A, B, C], "model": "veo3"}, "model", "'veo3_fast' or 'veo3_lite'"),
        ({"imageUrls": [A, B, C], "duration": 4}, "duration", "takes 8"),
    ],
)
def test_what_the_service_cannot_do_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_veo3_video("a cat", **arguments)
    assert refusal.value.field == field
    assert advice in refusal.value.allowed


def test_all_that_is_wrong_with_a_clip_is_told_at_once_and_cured_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_veo3_video("a cat", imageUrls=[A, B, C], model="veo3", duration=4, seeds=12345)
    assert {fault.field for fault in refusal.value.faults} == {"model", "duration", "seeds"}
    assert generate_veo3_video("a cat", imageUrls=[A, B, C], model="veo3_fast", duration=8).notes == ()


def test_prompt_is_translated_where_that_is_asked_for() -> None:
    submission = generate_veo3_video("eine Katze", enableTranslation=True)
    assert submission.body["enableTranslation"] is True
    assert submission.otherwise is not None
    assert submission.otherwise.body["input"]["enable_translation"] is True


@pytest.mark.parametrize(("tier", "credits"), [(None, 60), ("lite", 30), ("fast", 60), ("quality", 250)])
def test_an_extension_costs_what_its_tier_costs(tier: Any, credits: float) -> None:
    assert extend_veo3_video("t1", "it runs", tier).estimated_credits == credits


def test_an_extension_names_the_clip_as_the_service_does() -> None:
    submission = extend_veo3_video(
        "t1", "it runs", model="quality", seeds=12345, callBackUrl="https://example.com/hook"
    )
    assert submission.body == {
        "taskId": "t1",
        "prompt": "it runs",
        "model": "quality",
        "seeds": 12345,
        "callBackUrl": "https://example.com/hook",
    }
    assert (submission.paths, submission.api_type) == (("veo/extend",), "veo3-extend")
    official("POST /api/v1/veo/extend").validate(submission.body)


def test_a_bare_extension_asks_for_the_fast_model() -> None:
    submission = extend_veo3_video("t1", "it runs")
    assert submission.body == {"taskId": "t1", "prompt": "it runs", "model": "fast"}
    official("POST /api/v1/veo/extend").validate(submission.body)


@pytest.mark.parametrize(
    ("index", "params", "label"),
    [
        (None, {"taskId": "t1"}, "1080p"),
        (0, {"taskId": "t1", "index": 0}, "1080p"),
        (1, {"taskId": "t1", "index": 1}, "1080p-1"),
    ],
)
def test_1080p_is_a_read_that_belongs_to_the_clips_task(index: int | None, params: dict[str, Any], label: str) -> None:
    query = get_veo3_1080p_video("t1", index)
    assert (query.paths, query.params, query.task_id, query.label) == (("veo/get-1080p-video",), params, "t1", label)
    assert set(query.params) <= {entry["name"] for entry in operations()["GET /api/v1/veo/get-1080p-video"]["params"]}


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, {"taskId": "t1"}),
        (
            {"index": 0, "callBackUrl": "https://example.com/hook"},
            {"taskId": "t1", "index": 0, "callBackUrl": "https://example.com/hook"},
        ),
    ],
)
def test_4k_is_a_paid_request_with_its_own_reading(arguments: dict[str, Any], body: dict[str, Any]) -> None:
    submission = get_veo3_4k_video("t1", **arguments)
    assert (submission.paths, submission.body, submission.api_type) == (("veo/get-4k-video",), body, "veo3-4k")
    assert submission.read is not None
    official("POST /api/v1/veo/get-4k-video").validate(submission.body)
