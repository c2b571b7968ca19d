"""Checks of providers' values before use: each wrong value is named in the reason."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kie_ai_mcp import Accepted, Answer, Outcome, Provider, Query, StatusRoute, Submission
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp.readings import market_outcome
from kie_ai_mcp.specs import LONGEST_KEEP_S

SECOND = Submission("b", {}, "fox")
GOOD: dict[str, Any] = {"path": "jobs/createTask", "body": {"prompt": "a fox"}, "api_type": "fox"}


def test_what_keeps_the_contract_is_not_wrong() -> None:
    ended = datetime.now(UTC)
    assert judge(Submission(**GOOD, model="m", estimated_credits=1.5), Submission) is None
    assert judge(Submission(**GOOD, otherwise=SECOND), Submission) is None
    assert judge(Query(["a", "b"], {"id": "t-1"}, lambda answer: Outcome("processing")), Query) is None
    assert judge(StatusRoute(("a", "b"), {"id": "t-1", "n": 1}), Outcome, StatusRoute) is None
    assert judge(Outcome("failed", error="no", error_code="E1", finished_at=ended), Outcome) is None
    assert judge(Outcome("completed", ("https://x.example/a.png",), progress=1, credits=2), Outcome) is None
    assert [judge(made, Accepted) for made in (Accepted("t-1"), Accepted("t-1", "below/it"))] == [None, None]
    assert judge(Provider("P", settings={"model": "m"}, api_types=("p",), models=("pea/",)), Provider) is None
    listed: Any = ["image"]
    assert judge(Provider("P", kinds=listed, api_types=listed), Provider) is None, "a list does as well"
    assert judge(Answer(200, ""), Answer) is None


@pytest.mark.parametrize("url", ["HTTPS://X.example/a.png", "Http://x.example/a.png"])
def test_address_whose_scheme_is_in_capitals_is_a_result(url: str) -> None:
    outcome = market_outcome({"state": "success", "resultJson": f'{{"resultUrls": ["{url}"]}}'})
    assert (outcome.urls, judge(outcome, Outcome)) == ((url,), None)


@pytest.mark.parametrize(
    "change",
    [
        {"path": 7},
        {"path": ()},
        {"path": "/"},
        {"path": ("a", None)},
        {"path": b"a"},
        {"api_type": None},
        {"api_type": ""},
        {"model": ["m"]},
        {"read": 7},
        {"gateway": None},
        {"estimated_credits": "many"},
        {"estimated_credits": -1},
        {"estimated_credits": True},
        {"body": {"size": b"12"}},
        {"body": {"size": float("nan")}},
    ],
    ids=str,
)
def test_request_that_can_not_be_sent_is_named_by_its_wrong_field(change: Mapping[str, Any]) -> None:
    wrong = judge(Submission(**{**GOOD, **change}), Submission)
    assert wrong is not None
    assert any(word in wrong for word in (*change, "address", "JSON"))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "weird"},
        {"status": ["completed"]},
        {"urls": "https://x.example/a.png"},
        {"urls": ("file:///etc/passwd",)},
        {"urls": (1, None)},
        {"error": {"a": 1}},
        {"error_code": [1]},
        {"progress": "half"},
        {"progress": 2},
        {"credits": "x"},
        {"credits": True},
        {"credits": 10**400},
        {"credits": float("inf")},
        {"model": 7},
        {"finished_at": "yesterday"},
        {"finished_at": datetime(2026, 1, 1)},
        {"keeps_s": None},
        {"keeps_s": -1},
        {"keeps_s": True},
        {"keeps_s": LONGEST_KEEP_S + 1},
    ],
    ids=str,
)
def test_outcome_that_can_not_be_recorded_is_named_by_its_wrong_field(change: Mapping[str, Any]) -> None:
    values: dict[str, Any] = {"status": "completed", **change}
    wrong = judge(Outcome(**values), Outcome)
    assert wrong is not None
    assert wrong.startswith(next(iter(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"title": None},
        {"kinds": "image"},
        {"kinds": ("picture",)},
        {"availability": "sometimes"},
        {"api_types": "fox"},
        {"models": (1,)},
        {"settings": ["key"]},
        {"settings": {"key": None}},
    ],
    ids=str,
)
def test_description_that_can_not_be_used_is_named_by_its_wrong_field(change: Mapping[str, Any]) -> None:
    values: dict[str, Any] = {"title": "Fox", **change}
    wrong = judge(Provider(**values), Provider)
    assert wrong is not None
    assert wrong.startswith(next(iter(change)))


@pytest.mark.parametrize("params", [None, 7, {"id": b"12"}], ids=str)
def test_route_that_can_not_be_read_is_wrong(params: Any) -> None:
    assert judge(StatusRoute("a", params), StatusRoute) is not None
    assert judge(StatusRoute(params, {}), StatusRoute) is not None


@pytest.mark.parametrize("made", [7, Accepted(""), Accepted(7, ""), Accepted("t-1", None), {"taskId": "t-1"}], ids=repr)  # type: ignore[arg-type]
def test_made_that_names_no_task_is_wrong(made: Any) -> None:
    assert judge(made, Accepted, Outcome) is not None


@pytest.mark.parametrize("answer", [None, (200, "", {}), Answer("200", ""), Answer(200, None)], ids=repr)  # type: ignore[arg-type]
def test_what_is_no_answer_is_not_taken_for_one(answer: Any) -> None:
    assert judge(answer, Answer) is not None


def test_results_may_have_expired_already() -> None:
    assert judge(Outcome("completed", ("https://x.example/a.mp4",), keeps_s=0), Outcome) is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Outcome("completed", credits="many"), "credits are 'many', not a finite number"),  # type: ignore[arg-type]
        (Outcome("completed", progress=2), "progress is 2, not a share between 0 and 1"),
        (Outcome("done"), "status is 'done', not 'pending', 'processing', 'completed' or 'failed'"),  # type: ignore[arg-type]
        (Submission("/", {}, "fox"), "path is '/', not an address below the service's base URL"),
        (
            Submission("a", {}, "fox", otherwise=Submission("/", {}, "fox")),
            "in its otherwise, path is '/', not an address below the service's base URL",
        ),
        (Submission("a", {}, "fox", otherwise={}), "in its otherwise, a dict, not a Submission"),  # type: ignore[arg-type]
        (
            Submission("a", {}, "fox", otherwise=Submission("b", {}, "fox", gateway="fal")),
            "its otherwise is for another gateway, or has one of its own",
        ),
        (
            replace(SECOND, otherwise=replace(SECOND, otherwise=SECOND)),
            "its otherwise is for another gateway, or has one of its own",
        ),
        (
            Submission("a", {"at": {1}}, "fox"),
            'body is {"at": "{1}"}, not JSON: Object of type set is not JSON serial…',
        ),
        (None, "a NoneType, not a Submission or Outcome"),
    ],
    ids=repr,
)
def test_reason_is_the_end_of_a_sentence_with_the_value_and_the_limit(value: Any, sentence: str) -> None:
    wrong = judge(value, Submission, Outcome)
    assert wrong is not None
    assert wrong.startswith(sentence.rstrip("…"))


def test_status_read_takes_no_time_to_be_checked() -> None:
    outcome = Outcome("completed", ("https://x.example/a.png",) * 4, progress=1, credits=2)
    judge(outcome, Outcome)
    runs = [_seconds(lambda: judge(outcome, Outcome, StatusRoute)) for _ in range(200)]
    assert min(runs) < 50e-6


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
