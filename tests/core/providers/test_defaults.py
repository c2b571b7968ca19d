"""Default hooks: the market's status route and the meaning of its answers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._providers.defaults import kie_normalize_result, kie_route_status
from kie_ai_mcp.readings import status_in

A = "https://tempfile.example/a.mp4"
FIRST = "https://tempfile.example/first.png"
LAST = "https://tempfile.example/last.png"
DONE = {"state": "success", "resultJson": json.dumps({"resultUrls": [A]})}


def read(payload: dict[str, Any]) -> Outcome:
    return kie_normalize_result(payload)


def test_task_is_read_at_the_market_s_address_and_then_at_its_older_one() -> None:
    route = kie_route_status(Task("t-1", "nano-banana", "nano-banana"))

    assert route.paths == ("jobs/recordInfo", "playground/recordInfo")
    assert route.params == {"taskId": "t-1"}


@pytest.mark.parametrize("state", ["waiting", "queuing"])
def test_filled_results_of_a_waiting_task_are_not_believed(state: str) -> None:
    assert read({**DONE, "state": state}) == Outcome("pending")


@pytest.mark.parametrize("state", ["generating", "reticulating", "", None, 1, ["success"]])
def test_anything_not_final_is_processing_even_with_results_and_reasons(state: object) -> None:
    assert read({**DONE, "state": state, "failCode": "500", "failMsg": "x", "successFlag": 3}) == Outcome("processing")


def test_live_answer_of_a_running_task_is_read() -> None:
    payload = {
        "taskId": "281e5b",
        "model": "nano-banana-pro",
        "state": "waiting",
        "param": json.dumps({"input": json.dumps({"prompt": "a fox"}), "model": "nano-banana-pro"}),
        "resultJson": "",
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "completeTime": None,
        "createTime": 1776679200000,
        "progress": 0,
        "creditsConsumed": 70.0,
    }

    assert read(payload) == Outcome("pending", progress=0.0, credits=70.0, model="nano-banana-pro")


def test_success_carries_results_credits_model_and_the_time_of_its_end() -> None:
    payload = {**DONE, "model": "kling", "creditsConsumed": 63.0, "completeTime": 1776679200000, "costTime": 43}

    assert read(payload) == Outcome(
        "completed", (A,), progress=1.0, credits=63.0, model="kling", finished_at=datetime(2026, 4, 20, 10, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "result",
    [
        {"resultJson": json.dumps({"resultUrls": [A]})},
        {"resultJson": {"resultUrls": [A]}},
        {"resultJson": json.dumps({"resultUrls": A})},
        {"resultJson": json.dumps({"resultUrls": json.dumps([A])})},
        {"resultJson": json.dumps({"resultUrls": [{"resultUrl": A}]})},
        {"resultJson": "", "response": {"resultUrls": [A]}},
        {"resultJson": json.dumps({"resultWaterMarkUrls": [A]})},
        {"resultJson": json.dumps({"videoUrl": A})},
        {"resultJson": json.dumps({"images": [{"url": A}]})},
        {"resultJson": json.dumps([A])},
        {"resultJson": [{"href": A}]},
        {"resultJson": json.dumps(A)},
        {"resultJson": "{}", "response": {"data": [{"audio_url": A}]}},
        {"resultJson": json.dumps({"resultUrls": []}), "videoUrl": A},
        {"resultUrls": [A], "param": json.dumps({"image": FIRST})},
        {"resultJson": "", "output": {"images": [A]}, "param": json.dumps({"image": FIRST})},
        {"resultJson": None, "response": json.dumps({"resultUrls": [A]})},
    ],
)
def test_results_are_found_in_every_shape(result: dict[str, Any]) -> None:
    assert read({"state": "success", **result}).urls == (A,)


def test_first_and_last_frames_follow_the_clip() -> None:
    result = {"resultUrls": [A], "firstFrameUrl": [FIRST], "lastFrameUrl": [LAST]}

    outcome = read({"state": "success", "resultJson": json.dumps(result)})
    assert (outcome.urls, outcome.labels) == ((A, FIRST, LAST), ("", "first frame", "last frame"))


@pytest.mark.parametrize("result", ["", None, "{", "[]", "null", '{"resultObject": {}}', [], 7])
def test_success_without_addresses_is_still_success(result: object) -> None:
    assert read({"state": "success", "resultJson": result}) == Outcome("completed", progress=1.0)


@pytest.mark.parametrize(
    ("reason", "error", "code"),
    [
        ({"failCode": "501", "failMsg": "generation failed"}, "generation failed", 501),
        ({"failCode": 400, "failMsg": "policy"}, "policy", 400),
        ({"failCode": "E1", "failMsg": "x"}, "x", "E1"),
        ({"failCode": "", "failMsg": ""}, "the service gave no reason", None),
        ({"failCode": None, "failMsg": None}, "the service gave no reason", None),
        ({}, "the service gave no reason", None),
    ],
)
def test_each_failure_keeps_its_reason(reason: dict[str, Any], error: str, code: int | str | None) -> None:
    outcome = read({"state": "fail", **DONE | {"state": "fail"}, **reason})

    assert (outcome.status, outcome.error, outcome.error_code, outcome.urls) == ("failed", error, code, ())


@pytest.mark.parametrize(("progress", "expected"), [(0, 0.0), (37, 0.37), ("37", 0.37), (100, 1.0), (None, None)])
def test_progress_counts_to_a_hundred(progress: object, expected: float | None) -> None:
    assert read({"state": "generating", "progress": progress}).progress == expected


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["success", "fail", A])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["resultUrls", "resultUrl", "a"]), inner, max_size=3),
        inner.map(lambda value: json.dumps(value, default=str)),
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["state", "resultJson", "response", "failCode", "failMsg", "completeTime", "creditsConsumed", "progress", "model"]
)


@settings(deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, JSON))
def test_no_answer_breaks_the_reading_or_ends_a_task_that_did_not_end(payload: dict[str, Any]) -> None:
    outcome = read(payload)

    assert outcome.status == status_in(payload.get("state"))
    assert outcome.status == "completed" or outcome.urls == ()
    assert (outcome.error is not None) == (outcome.status == "failed")
