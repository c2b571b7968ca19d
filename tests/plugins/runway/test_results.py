"""Readings of Runway's two status endpoints."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import kie_ai_mcp_runway
from kie_ai_mcp import Outcome, Task
from kie_ai_mcp.readings import TWO_WEEKS_S
from kie_ai_mcp_runway.results import aleph_outcome, clip_outcome

CLIP, COVER = "https://files.example.com/clip.mp4", "https://files.example.com/cover.jpg"


@pytest.mark.parametrize(
    ("api_type", "path"),
    [
        ("runway-aleph-video", "aleph/record-info"),
        ("runway-gen3-video", "runway/record-detail"),
        ("runway-extend", "runway/record-detail"),
    ],
)
def test_each_sort_of_task_has_its_status_endpoint(api_type: str, path: str) -> None:
    route = kie_ai_mcp_runway.kie_route_status(Task("t1", api_type, "runway"))
    assert route is not None
    assert (route.paths, route.params) == ((path,), {"taskId": "t1"})
    assert api_type in kie_ai_mcp_runway.kie_describe_provider().api_types


@pytest.mark.parametrize(
    ("api_type", "payload"),
    [
        ("runway-aleph-video", {"successFlag": 1, "response": {"resultVideoUrl": CLIP}}),
        ("runway-gen3-video", {"state": "success", "videoInfo": {"videoUrl": CLIP}}),
        ("runway-extend", {"state": "success", "videoInfo": {"videoUrl": CLIP}}),
    ],
)
def test_each_sort_of_task_is_read_in_its_own_way(api_type: str, payload: dict[str, Any]) -> None:
    outcome = kie_ai_mcp_runway.kie_normalize_result(Task("t1", api_type, "runway"), payload)
    assert outcome is not None
    assert (outcome.status, outcome.urls) == ("completed", (CLIP,))


@pytest.mark.parametrize(
    "payload",
    [
        {"successFlag": 0, "response": None, "errorCode": None, "errorMessage": None, "completeTime": None},
        {"successFlag": 0, "errorCode": 0, "completeTime": ""},
        {"successFlag": 0, "errorCode": "0"},
        {"successFlag": 9, "errorCode": 500},
        {"successFlag": "soon"},
        {},
    ],
)
def test_aleph_runs_until_something_says_that_it_ended(payload: dict[str, Any]) -> None:
    assert aleph_outcome(payload) == Outcome("processing")


@pytest.mark.parametrize(
    "response",
    [
        {"taskId": "t1", "resultVideoUrl": CLIP, "resultImageUrl": COVER},
        json.dumps({"resultVideoUrl": CLIP, "resultImageUrl": COVER}),
        {"result_video_url": CLIP, "result_image_url": COVER},
    ],
)
def test_alephs_result_is_the_clip_without_its_cover(response: object) -> None:
    outcome = aleph_outcome({"successFlag": 1, "response": response, "completeTime": 1749205800000})
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", (CLIP,), TWO_WEEKS_S)
    assert outcome.finished_at == datetime(2025, 6, 6, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize("response", [None, [], "text", {}, {"resultVideoUrl": None}])
def test_an_aleph_success_without_an_address_has_no_results(response: object) -> None:
    outcome = aleph_outcome({"successFlag": 1, "response": response})
    assert (outcome.status, outcome.urls) == ("completed", ())


@pytest.mark.parametrize(
    ("payload", "error", "code"),
    [
        ({"successFlag": 3, "errorCode": 500, "errorMessage": "no clip"}, "no clip", 500),
        ({"successFlag": 2, "errorMessage": None}, "the service gave no reason", None),
        ({"successFlag": 0, "errorCode": 400, "errorMessage": "refused"}, "refused", 400),
        ({"successFlag": 0, "errorCode": "400", "errorMessage": "refused"}, "refused", 400),
        (
            {"successFlag": 0, "errorCode": 0, "completeTime": "2025-06-06T10:30:00Z"},
            "the service gave no reason",
            None,
        ),
        ({"successFlag": 0, "completeTime": 1749205800000}, "the service gave no reason", None),
    ],
)
def test_alephs_failures_are_seen_in_both_spellings(payload: dict[str, Any], error: str, code: int | None) -> None:
    outcome = aleph_outcome(payload)
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", error, code)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("wait", "pending"),
        ("waiting", "pending"),
        ("queueing", "pending"),
        ("queuing", "pending"),
        ("generating", "processing"),
        ("a new word", "processing"),
        ("", "processing"),
        (None, "processing"),
        (7, "processing"),
    ],
)
def test_a_clip_is_not_done_before_its_state_says_so(state: object, status: str) -> None:
    assert clip_outcome({"state": state, "videoInfo": {"videoUrl": CLIP}, "failCode": 0}).status == status


@pytest.mark.parametrize(
    "payload",
    [
        {"videoInfo": {"videoId": "v", "taskId": "t1", "videoUrl": CLIP, "imageUrl": COVER}},
        {"videoInfo": json.dumps({"videoUrl": CLIP, "imageUrl": COVER}), "parentTaskId": "t0"},
        {"videoInfo": {"video_url": CLIP, "image_url": COVER}},
        {"video_url": CLIP, "image_url": COVER, "videoInfo": None},
    ],
)
def test_a_finished_clip_is_kept_two_weeks_without_its_cover(payload: dict[str, Any]) -> None:
    outcome = clip_outcome({"state": "success", "failMsg": "", "expireFlag": 0, **payload})
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", (CLIP,), TWO_WEEKS_S)


def test_an_expired_clip_is_not_kept_any_longer() -> None:
    outcome = clip_outcome({"state": "success", "expireFlag": 1, "videoInfo": {"videoUrl": CLIP}})
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", (CLIP,), 0)


@pytest.mark.parametrize("video", [None, [], "text", {}, {"videoUrl": ""}])
def test_a_success_without_an_address_has_no_results(video: object) -> None:
    outcome = clip_outcome({"state": "success", "videoInfo": video})
    assert (outcome.status, outcome.urls) == ("completed", ())


@pytest.mark.parametrize(
    ("payload", "error", "code"),
    [
        ({"failCode": 400, "failMsg": "refused content"}, "refused content", 400),
        ({"failCode": "400", "failMsg": ""}, "the service gave no reason", 400),
        ({"videoInfo": None}, "the service gave no reason", None),
    ],
)
def test_a_failed_clip_keeps_the_services_reason_and_code(
    payload: dict[str, Any], error: str, code: int | None
) -> None:
    outcome = clip_outcome({"state": "fail", **payload})
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", error, code)


def test_an_empty_record_is_processing() -> None:
    assert clip_outcome({}) == Outcome("processing")
