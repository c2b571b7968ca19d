"""What a provider returns is judged before it is used: one wrong value after another, each told by its name."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from kie_ai_mcp import Accepted, Answer, Outcome, Provider, Query, StatusRoute, Submission
from kie_ai_mcp._providers.contract import (
    is_answer,
    wrong_in_made,
    wrong_in_outcome,
    wrong_in_provider,
    wrong_in_request,
    wrong_in_route,
)

GOOD: dict[str, Any] = {"path": "jobs/createTask", "body": {"prompt": "a fox"}, "api_type": "fox"}


def test_what_keeps_the_contract_is_not_wrong() -> None:
    ended = datetime.now(UTC)
    assert wrong_in_request(Submission(**GOOD, model="m", estimated_credits=1.5)) is None
    assert wrong_in_request(Query(["a", "b"], {"id": "t-1"}, lambda answer: Outcome("processing"))) is None
    assert wrong_in_route(StatusRoute(("a", "b"), {"id": "t-1", "n": 1})) is None
    assert wrong_in_outcome(Outcome("failed", error="no", error_code="E1", finished_at=ended)) is None
    assert wrong_in_outcome(Outcome("completed", ("https://x.example/a.png",), progress=1, credits=2)) is None
    assert [wrong_in_made(made) for made in ("t-1", Accepted("t-1", "below/it"))] == [None, None]
    assert wrong_in_provider(Provider("P", settings={"model": "m"}, api_types=("p",), models=("p/",))) is None
    assert is_answer(Answer(200, ""))


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
def test_request_that_can_not_be_sent_is_told_by_what_is_wrong(change: Mapping[str, Any]) -> None:
    wrong = wrong_in_request(Submission(**{**GOOD, **change}))
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
        {"credits": float("inf")},
        {"model": 7},
        {"finished_at": "yesterday"},
        {"finished_at": datetime(2026, 1, 1)},
        {"keeps_s": None},
        {"keeps_s": 0},
    ],
    ids=str,
)
def test_outcome_that_can_not_be_recorded_is_told_by_what_is_wrong(change: Mapping[str, Any]) -> None:
    values: dict[str, Any] = {"status": "completed", **change}
    wrong = wrong_in_outcome(Outcome(**values))
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
def test_description_that_can_not_be_used_is_told_by_what_is_wrong(change: Mapping[str, Any]) -> None:
    values: dict[str, Any] = {"title": "Fox", **change}
    wrong = wrong_in_provider(Provider(**values))
    assert wrong is not None
    assert next(iter(change)) in f"title {wrong}"


@pytest.mark.parametrize("params", [None, 7, {"id": b"12"}], ids=str)
def test_route_that_can_not_be_read_is_wrong(params: Any) -> None:
    assert wrong_in_route(StatusRoute("a", params)) is not None
    assert wrong_in_route(StatusRoute(params, {})) is not None


@pytest.mark.parametrize("made", [7, "", Accepted(7, ""), Accepted("t-1", None), {"taskId": "t-1"}], ids=repr)  # type: ignore[arg-type]
def test_made_that_names_no_task_is_wrong(made: Any) -> None:
    assert wrong_in_made(made) is not None


@pytest.mark.parametrize("answer", [None, (200, "", {}), Answer("200", ""), Answer(200, None)], ids=repr)  # type: ignore[arg-type]
def test_what_is_no_answer_is_not_taken_for_one(answer: Any) -> None:
    assert not is_answer(answer)
