"""Readings of the Veo 3 answers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import kie_ai_mcp_veo3
from kie_ai_mcp import Answer, Outcome, Task
from kie_ai_mcp.errors import Refused
from kie_ai_mcp.readings import TWO_WEEKS_S
from kie_ai_mcp_veo3.results import hd_outcome, read_4k, task_outcome

CLIP, FULL, ORIGIN, SECOND = (f"https://files.example.com/{name}.mp4" for name in ("clip", "full", "origin", "second"))


@pytest.mark.parametrize("api_type", ["veo3", "veo3-4k", "veo3-extend"])
def test_every_sort_of_task_is_asked_at_the_one_status_route(api_type: str) -> None:
    route = kie_ai_mcp_veo3.kie_route_status(Task("t1", api_type, "veo3"))
    assert route is not None
    assert (route.paths, route.params) == (("veo/record-info",), {"taskId": "t1"})
    assert api_type in kie_ai_mcp_veo3.kie_describe_provider().api_types


@pytest.mark.parametrize(
    "payload",
    [
        {"successFlag": 0, "response": None, "errorMessage": "", "completeTime": None},
        {"successFlag": 0, "response": {"resultUrls": [CLIP]}},
        {"successFlag": 7},
        {"successFlag": "soon"},
        {"successFlag": None, "errorCode": 500},
        {"unheard": "of"},
        {},
    ],
)
def test_a_record_that_says_neither_success_nor_failure_is_processing(payload: dict[str, Any]) -> None:
    assert task_outcome(payload).status == "processing"


@pytest.mark.parametrize(
    ("payload", "urls"),
    [
        ({"response": {"taskId": "t1", "resultUrls": [CLIP], "resolution": "1080p"}}, (CLIP,)),
        ({"response": {"resultUrls": [CLIP, SECOND]}}, (CLIP, SECOND)),
        ({"response": {"originUrls": [ORIGIN], "fullResultUrls": [FULL], "resultUrls": [CLIP]}}, (CLIP, FULL, ORIGIN)),
        ({"response": {"resultUrls": [CLIP], "originUrls": None, "fullResultUrls": []}}, (CLIP,)),
        ({"response": json.dumps({"resultUrls": json.dumps([CLIP, SECOND])})}, (CLIP, SECOND)),
        ({"resultUrls": json.dumps([CLIP])}, (CLIP,)),
        ({"resultUrls": [CLIP]}, (CLIP,)),
        ({"info": {"resultUrls": json.dumps([CLIP]), "imageUrls": ["https://files.example.com/a.jpg"]}}, (CLIP,)),
        ({"response": {"mediaIds": ["m"], "result_urls": [CLIP]}}, (CLIP,)),
        ({"response": "not json"}, ()),
        ({}, ()),
    ],
)
def test_a_finished_task_keeps_every_clip_in_every_spelling(payload: dict[str, Any], urls: tuple[str, ...]) -> None:
    outcome = task_outcome({"successFlag": 1, "fallbackFlag": False, **payload})
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", urls, TWO_WEEKS_S)


@pytest.mark.parametrize(
    ("response", "labels"),
    [
        ({"resultUrls": [CLIP]}, ()),
        ({"resultUrls": [CLIP], "originUrls": [ORIGIN]}, ("", "uncropped")),
        ({"originUrls": [ORIGIN], "fullResultUrls": [FULL], "resultUrls": [CLIP]}, ("", "whole film", "uncropped")),
        ({"originUrls": json.dumps([ORIGIN])}, ("uncropped",)),
    ],
)
def test_clips_of_one_task_are_told_apart(response: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert task_outcome({"successFlag": 1, "response": response}).labels == labels


@pytest.mark.parametrize("at", ["2025-06-06 10:30:00", 1749205800000])
def test_the_time_of_completion_is_read_in_both_spellings(at: object) -> None:
    outcome = task_outcome({"successFlag": 1, "completeTime": at})
    assert outcome.finished_at == datetime(2025, 6, 6, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize("flag", [2, 3, "3"])
def test_both_failures_keep_the_services_reason_and_code(flag: object) -> None:
    outcome = task_outcome({"successFlag": flag, "errorCode": 501, "errorMessage": "no video", "response": None})
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", "no video", 501)


def test_a_failure_without_a_reason_says_so() -> None:
    assert task_outcome({"successFlag": 2}).error == "the service gave no reason"


def test_the_hook_reads_as_the_plugin_does() -> None:
    payload = {"successFlag": 1, "response": {"resultUrls": [CLIP]}}
    assert kie_ai_mcp_veo3.kie_normalize_result(Task("t-1", "veo3", "veo3"), payload) == task_outcome(payload)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, "The 1080P is processing. It should be ready in 1-2 minutes."),
        Answer(422, "1080P is Processing", {"resultUrl": None}),
        Answer(200, "success", {"resultUrl": None}),
        Answer(200, "success", None),
        Answer(200, "success", {"resultUrl": ""}),
        Answer(429, "too many requests"),
        Answer(455, "maintenance"),
        Answer(500, "server error"),
        Answer(599, "never seen before"),
    ],
)
def test_1080p_that_is_not_ready_yet_is_processing(answer: Answer) -> None:
    assert hd_outcome(answer) == Outcome("processing")


@pytest.mark.parametrize(
    "data",
    [{"resultUrl": CLIP}, {"resultUrls": [CLIP]}, json.dumps({"resultUrl": CLIP}), {"resultUrl": CLIP, "more": 1}],
)
def test_1080p_that_is_ready_is_completed_and_kept_two_weeks(data: object) -> None:
    outcome = hd_outcome(Answer(200, "success", data))
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", (CLIP,), TWO_WEEKS_S)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "no access"),
        (402, "not enough credits"),
        (404, "not found"),
        (422, "record is null."),
        (422, "Temporarily supports records within 14 days."),
        (422, "1080p processing failed"),
        (400, "no taskId"),
        (501, "generation failed"),
        (505, "switched off"),
    ],
)
def test_1080p_that_will_never_be_there_fails_with_the_services_words(code: int, message: str) -> None:
    outcome = hd_outcome(Answer(code, message))
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", message, code)


@pytest.mark.parametrize("code", [200, 422])
@pytest.mark.parametrize(
    "data",
    [
        {"taskId": "t2", "resultUrls": [CLIP, SECOND], "imageUrls": ["https://files.example.com/a.jpg"]},
        {"task_id": "t2", "result_urls": [CLIP, SECOND], "media_ids": ["m"], "image_urls": []},
        {"taskId": "t2", "info": {"resultUrls": [CLIP, SECOND], "imageUrls": []}},
        json.dumps({"resultUrls": json.dumps([CLIP, SECOND])}),
    ],
)
def test_4k_clips_count_whatever_the_code_says(code: int, data: object) -> None:
    outcome = read_4k(Answer(code, "The video has been generated successfully", data))
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", (CLIP, SECOND), TWO_WEEKS_S)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "success", {"taskId": "t2", "resultUrls": None, "imageUrls": None}),
        Answer(200, "success", {"task_id": "t2"}),
        Answer(422, "4k is processing. Ready in 5-10 minutes.", {"taskId": "t2", "resultUrls": None}),
    ],
)
def test_4k_in_the_making_is_the_task_that_makes_it(answer: Answer) -> None:
    assert read_4k(answer) == "t2"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(422, "record is null.", {"taskId": "t2", "resultUrls": None}),
        Answer(500, "server error", {"taskId": "t2"}),
        Answer(402, "not enough credits"),
        Answer(200, "success", None),
        Answer(200, "success", {"taskId": ""}),
    ],
)
def test_any_other_4k_answer_is_read_by_its_code(answer: Answer) -> None:
    assert read_4k(answer) is None


@pytest.mark.parametrize("data", [None, {"resultUrls": None, "imageUrls": None}, {"taskId": ""}])
def test_4k_in_the_making_by_a_task_without_a_name_is_reported_as_not_ready(data: object) -> None:
    with pytest.raises(Refused, match="Not ready yet") as refusal:
        read_4k(Answer(422, "4k is processing. Ready in 5-10 minutes.", data))
    assert (refusal.value.code, refusal.value.charged, refusal.value.can_retry) == (422, "no", True)
    assert "again in 30 seconds" in refusal.value.next_step


@pytest.mark.parametrize("data", [None, [], [CLIP], 7, "text", "{", {"response": [1]}, {"info": "x", "resultUrls": {}}])
def test_no_shape_of_data_raises(data: object) -> None:
    assert hd_outcome(Answer(200, "", data)) == Outcome("processing")
    assert read_4k(Answer(200, "", data)) is None
    if isinstance(data, dict):
        assert task_outcome(data) == Outcome("processing")
