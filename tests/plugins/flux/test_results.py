"""Readings of the Flux Kontext status answers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import TWO_WEEKS_S
from kie_ai_mcp_flux.results import read_result as read

RESULT = "https://tempfile.example/result.png"
ORIGIN = "https://tempfile.example/origin.png"


@pytest.mark.parametrize(
    "payload",
    [
        {"successFlag": 1, "response": {"resultImageUrl": RESULT, "originImageUrl": ORIGIN}},
        {"successFlag": 1, "response": {"resultImageUrl": RESULT}},
        {"successFlag": "1", "response": json.dumps({"resultImageUrl": RESULT, "originImageUrl": ORIGIN})},
        {"successFlag": 1, "response": {"resultImageUrl": RESULT, "new": 1}, "extra": {}, "errorCode": 0},
    ],
)
def test_success_is_the_result_and_never_the_short_lived_original(payload: dict[str, Any]) -> None:
    outcome = read(payload)

    assert outcome.status == "completed"
    assert outcome.urls == (RESULT,)
    assert outcome.error is None
    assert outcome.keeps_s == TWO_WEEKS_S


def test_several_results_are_all_kept() -> None:
    other = "https://tempfile.example/other.png"

    assert read({"successFlag": 1, "response": {"resultImageUrl": [RESULT, other]}}).urls == (RESULT, other)


def test_time_of_success_is_read_from_iso_text() -> None:
    outcome = read(
        {"successFlag": 1, "response": {"resultImageUrl": RESULT}, "completeTime": "2026-04-20T10:00:00.000Z"}
    )

    assert outcome.finished_at == datetime(2026, 4, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "payload",
    [
        {"successFlag": 0, "response": None, "errorCode": None, "errorMessage": ""},
        {"successFlag": 0, "response": {"resultImageUrl": RESULT}},
        {"successFlag": 9, "errorMessage": "unheard of"},
        {"successFlag": "POLISHING"},
        {"response": {"resultImageUrl": RESULT}},
        {},
    ],
)
def test_anything_not_final_is_still_running(payload: dict[str, Any]) -> None:
    assert read(payload) == Outcome("processing")


@pytest.mark.parametrize(
    ("payload", "error", "code"),
    [
        ({"successFlag": 2, "errorCode": 500, "errorMessage": "not created"}, "not created", 500),
        ({"successFlag": 3, "errorCode": "501", "errorMessage": "not generated"}, "not generated", 501),
        (
            {"successFlag": 3, "response": {"resultImageUrl": "", "originImageUrl": ""}, "errorCode": 400},
            "the service gave no reason",
            400,
        ),
        ({"successFlag": 2, "errorMessage": None}, "the service gave no reason", None),
    ],
)
def test_each_failure_keeps_its_reason(payload: dict[str, Any], error: str, code: int | None) -> None:
    outcome = read(payload)

    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", error, code)
    assert outcome.urls == ()


@pytest.mark.parametrize("junk", [None, [], {}, "", "{", 3.5, float("nan"), True, ["x"], {"resultUrls": 4}, 10**400])
def test_no_shape_of_an_answer_breaks_the_reading(junk: object) -> None:
    names = ("successFlag", "response", "errorCode", "errorMessage", "completeTime")
    for name in names:
        assert isinstance(read({name: junk}), Outcome)
        assert isinstance(read({"successFlag": 1, name: junk}), Outcome)
        assert isinstance(read({"successFlag": 3, name: junk}), Outcome)
    assert isinstance(read(dict.fromkeys(names, junk)), Outcome)
