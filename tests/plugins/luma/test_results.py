"""Readings of the Luma status records."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import kie_ai_mcp_luma
from kie_ai_mcp import Outcome, Task
from kie_ai_mcp.readings import TWO_WEEKS_S
from kie_ai_mcp_luma.results import task_outcome

CLIP, SECOND, ORIGIN = (f"https://files.example.com/{name}.mp4" for name in ("clip", "second", "origin"))


@pytest.mark.parametrize(
    ("created_at", "paths"),
    [
        ("", ("modify/record-info", "luma/record-info")),
        ("modify/generate", ("modify/record-info", "luma/record-info")),
        ("luma/generate", ("luma/record-info", "modify/record-info")),
        ("luma/v2/generate", ("luma/v2/record-info", "modify/record-info", "luma/record-info")),
        ("luma/make", ("modify/record-info", "luma/record-info")),
        ("generate", ("modify/record-info", "luma/record-info")),
    ],
)
def test_a_status_is_read_beside_the_address_that_made_the_task(created_at: str, paths: tuple[str, ...]) -> None:
    route = kie_ai_mcp_luma.kie_route_status(Task("t1", "luma-video", "luma", path=created_at))
    assert (route.paths, route.params) == (paths, {"taskId": "t1"})


@pytest.mark.parametrize(
    "payload",
    [{"successFlag": 0, "response": None, "completeTime": None}, {"successFlag": 5}, {"successFlag": "soon"}, {}],
)
def test_a_record_that_says_neither_success_nor_failure_is_processing(payload: dict[str, Any]) -> None:
    assert task_outcome(payload) == Outcome("processing")


@pytest.mark.parametrize("flag", [1, 4, "1"])
@pytest.mark.parametrize(
    ("payload", "urls"),
    [
        ({"response": {"taskId": "t1", "resultUrls": [CLIP], "originUrls": [ORIGIN]}}, (CLIP,)),
        ({"response": {"resultUrls": [CLIP, SECOND]}}, (CLIP, SECOND)),
        ({"response": json.dumps({"resultUrls": json.dumps([CLIP, SECOND])})}, (CLIP, SECOND)),
        ({"resultUrls": [CLIP]}, (CLIP,)),
        ({"response": []}, ()),
        ({}, ()),
    ],
)
def test_results_count_even_if_the_callback_failed(
    flag: object, payload: dict[str, Any], urls: tuple[str, ...]
) -> None:
    outcome = task_outcome({"successFlag": flag, "errorMessage": "callback", "completeTime": 1749205800000, **payload})
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", urls, TWO_WEEKS_S)
    assert outcome.finished_at == datetime(2025, 6, 6, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("payload", "error", "code"),
    [
        ({"successFlag": 2, "errorCode": 422, "errorMessage": "bad video"}, "bad video", 422),
        ({"successFlag": 3, "errorCode": None, "errorMessage": ""}, "the service gave no reason", None),
    ],
)
def test_both_failures_keep_the_services_reason_and_code(payload: dict[str, Any], error: str, code: int | None) -> None:
    outcome = kie_ai_mcp_luma.kie_normalize_result(payload)
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", error, code)
