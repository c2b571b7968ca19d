"""Midjourney's status route, and readings of every answer shape of it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kie_ai_mcp import Task
from kie_ai_mcp.specs import DAY_S
from kie_ai_mcp_midjourney import kie_normalize_result, kie_route_status

A, B = "https://example.com/a.png", "https://example.com/b.png"
OBJECTS = [{"resultUrl": A}, {"resultUrl": B}]


@pytest.mark.parametrize(
    ("created_at_path", "paths"),
    [
        ("", ("mj/record-info",)),
        ("mj/generate", ("mj/record-info",)),
        ("midjourney/generate", ("midjourney/record-info", "mj/record-info")),
        ("mj/v2/generate", ("mj/v2/record-info", "mj/record-info")),
        ("generate", ("mj/record-info",)),
    ],
)
def test_status_is_read_beside_the_path_the_task_was_created_at(created_at_path: str, paths: tuple[str, ...]) -> None:
    route = kie_route_status(Task("t1", "midjourney-image", "midjourney", path=created_at_path))
    assert (route.paths, route.params) == (paths, {"taskId": "t1"})


@pytest.mark.parametrize(
    "payload",
    [
        {"successFlag": 0},
        {"successFlag": 0, "resultInfoJson": {"resultUrls": OBJECTS}},
        {"successFlag": 7},
        {"successFlag": "later"},
        {"successFlag": None},
        {"successFlag": True},
        {"taskId": "t1", "brandNew": {"x": 1}},
        {},
    ],
)
def test_an_answer_without_a_known_final_flag_means_still_running(payload: dict[str, Any]) -> None:
    outcome = kie_normalize_result(payload)
    assert (outcome.status, outcome.urls, outcome.error) == ("processing", (), None)


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        ({"resultInfoJson": {"resultUrls": OBJECTS}}, (A, B)),
        ({"resultInfoJson": {"resultUrls": [A, B]}}, (A, B)),
        ({"resultInfoJson": {"resultUrls": [{"resultUrl": A}]}}, (A,)),
        ({"resultInfoJson": {"resultUrls": json.dumps(OBJECTS)}}, (A, B)),
        ({"resultInfoJson": json.dumps({"resultUrls": OBJECTS})}, (A, B)),
        ({"resultInfoJson": json.dumps({"resultUrls": json.dumps([A, B])})}, (A, B)),
        ({"resultInfoJson": json.dumps([A, B])}, (A, B)),
        ({"resultInfoJson": OBJECTS}, (A, B)),
        ({"resultUrls": [A, B]}, (A, B)),
        ({"resultInfoJson": {"resultUrls": [A, None, 3, {"other": B}, A]}}, (A,)),
        ({"resultInfoJson": None}, ()),
        ({"resultInfoJson": "not json"}, ()),
        ({}, ()),
    ],
)
def test_success_keeps_every_picture_in_every_spelling(result: dict[str, Any], urls: tuple[str, ...]) -> None:
    outcome = kie_normalize_result({"successFlag": 1, **result})
    assert (outcome.status, outcome.urls) == ("completed", urls)


def test_success_says_when_it_was_finished_and_that_pictures_stay_fifteen_days() -> None:
    outcome = kie_normalize_result(
        {
            "taskId": "t1",
            "taskType": "mj_txt2img",
            "paramJson": "{}",
            "successFlag": "1",
            "completeTime": "2025-07-01T10:20:30Z",
            "resultInfoJson": {"resultUrls": OBJECTS},
            "errorCode": None,
            "errorMessage": "",
        }
    )
    assert outcome.finished_at == datetime(2025, 7, 1, 10, 20, 30, tzinfo=UTC)
    assert outcome.keeps_s == 15 * DAY_S


@pytest.mark.parametrize("flag", [2, 3, "3"])
@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"errorCode": 500, "errorMessage": "the prompt was refused"}, "the prompt was refused", 500),
        ({"errorCode": "500", "errorMessage": "the prompt was refused"}, "the prompt was refused", 500),
        ({"errorCode": "BANNED", "errorMessage": None}, "the service gave no reason", "BANNED"),
        ({}, "the service gave no reason", None),
    ],
)
def test_both_failure_flags_fail_with_the_services_reason(
    flag: int | str, fields: dict[str, Any], error: str, code: int | str | None
) -> None:
    outcome = kie_normalize_result({"successFlag": flag, "resultInfoJson": {"resultUrls": OBJECTS}, **fields})
    assert (outcome.status, outcome.error, outcome.error_code, outcome.urls) == ("failed", error, code, ())
