"""Progress messages: the text that a person reads while a task runs."""

import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import say_nothing
from kie_ai_mcp._flow.pace import Pace, Usual, usual_of
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._flow.waiting import _Board, _Wait, _WaitingTask
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.specs import Outcome, Status, Task
from tests.conftest import NOWHERE

pytestmark = pytest.mark.anyio

TOOL = "generate_veo3_video"


def report(status: str, **values: Any) -> Report:
    return Report(status=status, next_step="Wait.", task_id="t-1", provider="veo3", **values)


def board(*reports: Report, **usual: Usual) -> _Board:
    titles = {"veo3": "Veo 3"}
    ids = [f"t{number}" for number in range(1, len(reports) + 1)]
    return _Board(dict(zip(ids, reports, strict=True)), titles.__getitem__, usual)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def finish(record: Record, number: int, took_s: float, status: Status = "completed", tool: str = TOOL) -> None:
    """Record a task that took so long."""
    begun = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=number)
    task = Task(f"task-{number}", "veo3", "veo3", kind="video", tool=tool, created_at=begun)
    await record.tasks.adopt(task)
    await record.tasks.record_outcome(task.task_id, Outcome(status, finished_at=begun + timedelta(seconds=took_s)))


# Words ---------------------------------------------------------------------------------------------------------------


def test_one_task_is_reported_with_its_title_its_time_and_the_usual_time() -> None:
    words = board(report("processing", created_at=ago(40)), t1=Usual(60.2, 179.6)).summary(12)
    assert words == "Veo 3: generating, 40 s, usually 60-180 s"


@pytest.mark.parametrize(
    ("given", "usual", "words"),
    [
        (report("pending"), {}, "Veo 3: queued, 12 s"),
        (report("processing", progress=0.4), {}, "Veo 3: generating, 40%, 12 s"),
        (report("processing"), {"t1": Usual(0.04, 0.2)}, "Veo 3: generating, 12 s, usually 1 s"),
        (report("completed", created_at=ago(9000)), {"t1": Usual(60, 180)}, "Veo 3: completed"),
        (report("failed"), {}, "Veo 3: failed"),
        (report("pending", read_error="KeyError"), {}, "Veo 3: queued, 12 s, reading its status fails: KeyError"),
        (replace(report("unread"), provider=None), {}, "Task t1: unread"),
    ],
)
def test_state_is_reported_in_words(given: Report, usual: dict[str, Usual], words: str) -> None:
    assert board(given, **usual).summary(12) == words


def test_several_tasks_are_counted() -> None:
    words = board(report("processing"), report("completed"), report("processing")).summary(12.4)
    assert words == "2 generating, 1 completed, 12 s"
    assert board(report("completed"), report("completed")).summary(12.4) == "2 completed"


# The pause between two looks ------------------------------------------------------------------------------------------


@pytest.fixture
async def wait(tmp_path: Path) -> AsyncIterator[_Wait]:
    """A call that waits for two tasks of which nothing is known, at a service that nobody reaches."""
    settings = Settings.model_validate({"api_key": "key", "base_url": NOWHERE, "db_path": tmp_path / "tasks.db"})
    app = App.open(settings)
    async with app.engine.running():
        wait = _Wait(app.engine, ["t1", "t2"], 60, say_nothing, board())
        for task_id in wait.ids:
            await wait._join(task_id)
        yield wait
        wait.leave(*wait.tasks)
        assert not app.engine.waiters


def by_id(wait: _Wait) -> list[_WaitingTask]:
    return sorted(wait.tasks, key=lambda task: task.task_id)


async def test_end_of_one_task_cuts_short_the_pauses_of_the_others(wait: _Wait) -> None:
    first, second = by_id(wait)
    second.rest(10, 3600)
    wait._end(first)
    assert 9 < second.due - anyio.current_time() <= 10


@pytest.mark.parametrize("ends", [True, False])
async def test_end_of_another_task_during_a_read_leaves_the_sure_part_of_a_pause(*, ends: bool, wait: _Wait) -> None:
    first, second = by_id(wait)
    async with anyio.create_task_group() as group:
        wait._read_due(group)
        await anyio.lowlevel.checkpoint()
        assert {first.due, second.due} == {math.inf}
        if ends:
            wait._end(first)
        assert second.due == math.inf  # never read twice at a time
    assert (second.due == second.sure_at) is ends
    assert second.sure_at > anyio.current_time()


async def test_news_of_the_task_itself_end_its_pause_at_once(wait: _Wait) -> None:
    first, second = by_id(wait)
    for task in (first, second):
        task.rest(3600, 3600)
    assert wait.engine.wake("t1")
    assert first.due <= anyio.current_time() < second.due
    wait._end(second)
    assert first.due <= anyio.current_time()


async def test_news_of_a_task_that_is_being_read_let_it_be_read_once_more(wait: _Wait) -> None:
    first, _ = by_id(wait)
    async with anyio.create_task_group() as group:
        wait._read_due(group)
        await anyio.lowlevel.checkpoint()
        wait.engine.wake("t1")
        assert first.due == math.inf
    assert first.due <= anyio.current_time()
    assert first.since() == math.inf  # whoever else has read it


# The usual time ------------------------------------------------------------------------------------------------------


async def test_usual_time_is_the_provider_s_until_own_tasks_say_it(wait: _Wait) -> None:
    record, tool = wait.engine.record, "get_veo3_4k_video"
    task = await record.tasks.adopt(Task("task", "veo3", "veo3", kind="video", tool=tool))
    assert await usual_of(wait.engine, task) == Usual(300, 600, is_own=False)
    for number in range(3):
        await finish(record, number, 60, tool=tool)
    wait.engine.usual.clear()  # it is looked up again some seconds later
    assert await usual_of(wait.engine, task) == Usual(60, 60)


@pytest.mark.parametrize(("age_s", "early_s"), [(0, 60), (230, 10), (241, 0)])
def test_task_that_cannot_be_done_is_read_at_most_once_a_minute(age_s: float, early_s: float) -> None:
    pace = Pace(cast("Any", SimpleNamespace(rates=({}, {}))), 4.0, time.time() - age_s, Usual(300, 600))
    assert pace.early_s == pytest.approx(early_s, abs=1)
    assert pace.next_pause_s()[0] == pytest.approx(max(early_s, 2), abs=1)


@pytest.mark.parametrize(("age_s", "pause_s"), [(0, 4), (100, 20), (230, 46), (241, 4)])
def test_task_that_others_say_cannot_be_done_is_read_at_once_then_rarely(age_s: float, pause_s: float) -> None:
    engine = cast("Any", SimpleNamespace(rates=({}, {})))
    pace = Pace(engine, 4.0, time.time() - age_s, Usual(300, 600, is_own=False))
    assert pace.early_s == 0
    assert sum(pace.next_pause_s()) == pytest.approx(pause_s, abs=0.4 + pause_s / 10)  # as far as pauses vary


@pytest.mark.parametrize(("likely", "pause_s"), [(0, 20), (120, 40), (480, 80)])
def test_tasks_that_may_end_now_are_read_first_where_there_are_too_many(likely: int, pause_s: float) -> None:
    engine = cast("Any", SimpleNamespace(rates=({}, {})))
    now, usual = time.time(), Usual(100, 200)
    paces = [Pace(engine, 4.0, now - 150, usual) for _ in range(likely)]
    for pace in (*paces, *(Pace(engine, 4.0) for _ in range(1200))):
        pauses = pace.next_pause_s()
    assert sum(pauses) == pytest.approx(pause_s, rel=0.15)
    if likely:
        first = next(iter(engine.rates[0]))
        assert sum(first.next_pause_s()) == pytest.approx(4.0 * max(1, likely / 240), rel=0.25)
    for rates in engine.rates:
        for pace in [*rates]:
            pace.end()
    assert engine.rates == ({}, {})


async def test_usual_time_needs_three_finished_tasks_of_the_same_tool(make_record: Callable[..., Record]) -> None:
    record = make_record()
    for number in range(2):
        await finish(record, number, 60)
    await finish(record, 2, 60, tool="generate_kling_video")
    await finish(record, 3, 1, status="failed")
    assert await record.tasks.usual_s(TOOL) is None
    await finish(record, 4, 60)
    assert await record.tasks.usual_s(TOOL) == (60, 60)


async def test_usual_time_leaves_out_the_fastest_and_the_slowest_tenth(make_record: Callable[..., Record]) -> None:
    record = make_record()
    for number in range(11):
        await finish(record, number, 100.0 * number)
    assert await record.tasks.usual_s(TOOL) == pytest.approx((100, 900))


async def test_usual_time_is_that_of_the_newest_fifty(make_record: Callable[..., Record]) -> None:
    record = make_record()
    for number in range(60):
        await finish(record, number, 1000 if number < 10 else 50)
    assert await record.tasks.usual_s(TOOL) == (50, 50)


async def test_usual_time_is_not_looked_for_in_all_of_a_long_history(
    make_record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.tasks.TIMED", 5)
    record = make_record()
    for number in range(8):
        await finish(record, number, 60, tool=TOOL if number < 5 else "generate_kling_video")
    assert await record.tasks.usual_s(TOOL) is None
    await finish(record, 8, 60)
    await finish(record, 9, 60, tool="generate_kling_video")
    assert await record.tasks.usual_s("generate_kling_video") == (60, 60)
