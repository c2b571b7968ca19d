"""Readings of the GPT-4o image status answers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import TWO_WEEKS_S
from kie_ai_mcp_gpt4o_image.results import read_result as read

ONE = "https://tempfile.example/1.png"
TWO = "https://tempfile.example/2.png"


@pytest.mark.parametrize(
    "payload",
    [
        {"status": "SUCCESS", "successFlag": 1, "response": {"resultUrls": [ONE, TWO]}},
        {"status": "SUCCESS", "response": {"resultUrls": [ONE, TWO]}},
        {"successFlag": 1, "response": {"result_urls": [ONE, TWO]}},
        {"successFlag": "1", "response": {"result_urls": [ONE, TWO]}},
        {"successFlag": 1, "response": {"resultUrls": [ONE], "result_urls": [ONE, TWO]}},
        {"successFlag": 1, "response": {"resultUrls": json.dumps([ONE, TWO])}},
        {"successFlag": 1, "response": json.dumps({"result_urls": [ONE, TWO]})},
        {"status": "success", "successFlag": 0, "response": {"resultUrls": [ONE, TWO]}},
        {"status": "SUCCESS", "response": {"resultUrls": [ONE, TWO], "new": {}}, "extra": [1]},
    ],
)
def test_every_spelling_of_success_keeps_every_picture(payload: dict[str, Any]) -> None:
    outcome = read(payload)

    assert outcome.status == "completed"
    assert outcome.urls == (ONE, TWO)
    assert outcome.progress == 1.0
    assert outcome.keeps_s == TWO_WEEKS_S


def test_single_picture_and_time_of_success_are_read() -> None:
    outcome = read(
        {
            "taskId": "t",
            "paramJson": "{}",
            "status": "SUCCESS",
            "successFlag": 1,
            "progress": "1.00",
            "response": {"resultUrls": [ONE]},
            "errorCode": None,
            "errorMessage": "",
            "createTime": 1_750_000_000_000,
            "completeTime": "2025-06-15 15:10:00",
        }
    )

    assert outcome.urls == (ONE,)
    assert outcome.finished_at == datetime(2025, 6, 15, 15, 10, tzinfo=UTC)
    assert outcome.error is None


@pytest.mark.parametrize(
    ("payload", "progress"),
    [
        ({"status": "GENERATING", "successFlag": 0, "progress": "0.42", "response": None}, 0.42),
        ({"successFlag": 0, "progress": "0.00"}, 0.0),
        ({"status": "GENERATING"}, None),
        ({"successFlag": 0, "response": {"result_urls": [ONE]}}, None),
        ({"status": "POLISHING", "successFlag": 0}, None),
        ({"status": "POLISHING"}, None),
        ({"successFlag": 7}, None),
        ({}, None),
    ],
)
def test_anything_not_final_is_still_running(payload: dict[str, Any], progress: float | None) -> None:
    assert read(payload) == Outcome("processing", progress=progress)


@pytest.mark.parametrize(
    ("payload", "error", "code"),
    [
        ({"status": "GENERATE_FAILED", "successFlag": 3, "errorCode": 400, "errorMessage": "policy"}, "policy", 400),
        ({"status": "CREATE_TASK_FAILED", "errorCode": "451", "errorMessage": "no file"}, "no file", 451),
        ({"successFlag": 2, "response": {"result_urls": []}, "errorMessage": "broken"}, "broken", None),
        ({"successFlag": 3}, "the service gave no reason", None),
        ({"status": "GENERATE_FAILED", "successFlag": 0, "errorMessage": ""}, "the service gave no reason", None),
    ],
)
def test_each_failure_keeps_its_reason(payload: dict[str, Any], error: str, code: int | None) -> None:
    outcome = read(payload)

    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", error, code)
    assert outcome.urls == ()


@pytest.mark.parametrize("junk", [None, [], {}, "", "{", 3.5, float("nan"), True, ["x"], {"resultUrls": 4}, 10**400])
def test_no_shape_of_an_answer_breaks_the_reading(junk: object) -> None:
    names = ("status", "successFlag", "progress", "response", "errorCode", "errorMessage", "completeTime")
    for name in names:
        assert isinstance(read({name: junk}), Outcome)
        assert read({"successFlag": 1, "status": "SUCCESS", name: junk}).status == "completed"
    assert isinstance(read(dict.fromkeys(names, junk)), Outcome)
