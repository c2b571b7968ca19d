"""Turns of the database: calls of people come before polls, and polls that wait are done together."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record import lane
from kie_ai_mcp._record.record import Record
from kie_ai_mcp.errors import StorageError
from tests.databases import locked, outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]
DONE = Outcome("completed", ("https://files.invalid/1.png",), credits=4.0)


async def adopt(record: Record, count: int) -> list[int]:
    """Put running tasks on record; return their rows."""
    tasks = [Task(f"t-{number}", "x", "x", tool="generate_x") for number in range(count)]
    return [(await record.tasks.adopt(task)).row_id for task in tasks]


async def ended_after_a_turn(record: Record, *calls: Callable[[], Awaitable[Any]]) -> list[int]:
    """Begin calls while somebody has the turn; return their numbers in the order in which they ended."""
    order: list[int] = []

    async def run(number: int) -> None:
        await calls[number]()
        order.append(number)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group, record.database.lane.turn():
            for number in range(len(calls)):
                group.start_soon(run, number)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
    return order


def generation(record: Record) -> int:
    """Return how often the database was changed, read from outside."""
    with outside(record) as database:
        return int(database.execute("SELECT generation FROM place").fetchone()[0])


# Turns ---------------------------------------------------------------------------------------------------------------


async def test_call_of_a_person_comes_before_a_poll_that_waits_longer(make_record: MakeRecord) -> None:
    record = make_record()
    await adopt(record, 1)
    tasks = record.tasks
    order = await ended_after_a_turn(record, lambda: record.polls.claim("t-0", 0.0), *[lambda: tasks.find("t-0")] * 2)
    assert order == [1, 2, 0]


async def test_outcome_that_a_person_asked_for_comes_before_polls(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, 2)
    write = record.tasks.record_outcome
    order = await ended_after_a_turn(record, lambda: write(rows[0], DONE), lambda: write(rows[1], DONE, is_poll=False))
    assert order == [1, 0]
    with pytest.raises(StorageError, match="no longer on record"):
        await write(999, DONE, is_poll=False)


async def test_every_call_in_the_background_is_a_poll(make_record: MakeRecord) -> None:
    record = make_record()
    await adopt(record, 1)

    async def find_in_background() -> None:
        lane.IN_BACKGROUND.set(True)
        await record.tasks.find("t-0")

    assert await ended_after_a_turn(record, find_in_background, lambda: record.tasks.find("t-0")) == [1, 0]


async def test_polls_go_on_while_people_call_without_a_pause(make_record: MakeRecord) -> None:
    record = make_record()
    await adopt(record, 1)
    calls = [lambda: record.tasks.find("t-0")] * (3 * lane.MOST_BEFORE_POLL)
    order = await ended_after_a_turn(record, *calls, lambda: record.polls.claim("t-0", 0.0))
    assert order.index(len(calls)) == lane.MOST_BEFORE_POLL


@pytest.mark.parametrize("is_poll", [False, True])
async def test_caller_that_is_gone_leaves_its_turn_to_the_next(is_poll: bool, make_record: MakeRecord) -> None:
    turns = make_record().database.lane
    seen: list[str] = []

    async def take(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with turns.turn(is_poll=is_poll):
                seen.append(name)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            scopes = {name: anyio.CancelScope() for name in ("waits", "has just got it", "is next")}
            async with turns.turn():
                for name, scope in scopes.items():
                    group.start_soon(take, name, scope)
                await anyio.lowlevel.checkpoint()
                scopes["waits"].cancel()
                await anyio.lowlevel.checkpoint()
            scopes["has just got it"].cancel()
    assert "waits" not in seen
    assert seen[-1] == "is next"


async def test_call_that_is_cancelled_before_its_turn_is_followed_by_nothing() -> None:
    after: list[str] = []
    turns = lane.Lane(lambda work: work(), lambda: after.append("after"))
    async with anyio.create_task_group() as group, turns.turn():
        group.start_soon(turns.run, lambda: lambda: after.append("work"))
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert after == []
    await turns.run(lambda: lambda: after.append("work"))
    assert after == ["work", "after"]


# Batches -------------------------------------------------------------------------------------------------------------


async def test_outcomes_that_come_together_are_written_in_one_transaction(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, 20)
    before = generation(record)
    await ended_after_a_turn(record, *[lambda row=row: record.tasks.record_outcome(row, DONE) for row in rows])
    assert generation(record) == before + 1
    assert {task.status for task in await record.tasks.several(rows)} == {"completed"}


async def test_outcome_that_can_not_be_written_takes_no_other_along(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, 3)
    errors: list[StorageError] = []

    async def write(row: int, outcome: Outcome) -> None:
        try:
            await record.tasks.record_outcome(row, outcome)
        except StorageError as exc:
            errors.append(exc)

    too_long = Outcome("processing", keeps_s=10**30)
    calls = [(rows[0], DONE), (rows[1], too_long), (999, DONE), (rows[2], DONE)]
    await ended_after_a_turn(record, *[lambda call=call: write(*call) for call in calls])
    assert len(errors) == 2
    assert [task.status for task in await record.tasks.several(rows)] == ["completed", "pending", "completed"]


async def test_file_that_fails_fails_every_outcome_of_the_batch(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.database.BUSY_TIMEOUT_S", 0.05)
    record = make_record()
    rows = await adopt(record, 3)
    errors: list[StorageError] = []

    async def write(row: int) -> None:
        with pytest.raises(StorageError) as caught:
            await record.tasks.record_outcome(row, DONE)
        errors.append(caught.value)

    with locked(record):
        await ended_after_a_turn(record, *[lambda row=row: write(row) for row in rows])
    assert len(errors) == 3
    assert (await record.tasks.record_outcome(rows[0], DONE)).status == "completed"


async def test_cancelled_call_ends_no_other_of_its_batch_and_none_of_the_next(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, 3)
    with anyio.fail_after(10):
        async with record.database.lane.turn():
            calls = [asyncio.create_task(_outcome(record, row)) for row in rows[:2]]
            await anyio.lowlevel.checkpoint()
            calls[0].cancel()  # as asyncio does it, which no shield stops
            await anyio.lowlevel.checkpoint()
        cancelled, other = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(cancelled, asyncio.CancelledError)
        assert other == "completed"
        assert await _outcome(record, rows[2]) == "completed"


async def _outcome(record: Record, row: int) -> str:
    return str((await record.tasks.record_outcome(row, DONE)).status)


async def test_batch_whose_task_is_cancelled_raises_an_error_and_leaves_the_next_alone(make_record: MakeRecord) -> None:
    record = make_record()
    (row,) = await adopt(record, 1)
    with anyio.fail_after(10):
        async with record.database.lane.turn():
            call = asyncio.create_task(_outcome(record, row))
            await anyio.lowlevel.checkpoint()
            (batch,) = record.database.lane.batches.values()
            batch.task.cancel()
            with pytest.raises(StorageError, match="the server is ending"):
                await call
        assert await _outcome(record, row) == "completed"


async def test_polls_that_wait_are_done_before_the_record_is_closed(make_record: MakeRecord) -> None:
    record = make_record()
    (row,) = await adopt(record, 1)
    async with anyio.create_task_group() as group, record.database.lane.turn():
        group.start_soon(_outcome, record, row)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        group.start_soon(record.aclose)
        await anyio.lowlevel.checkpoint()
    assert record.database.connection.is_closed()
    assert [task.status for task in await record.tasks.several([row])] == ["completed"]


async def test_batch_is_done_although_the_first_of_its_callers_is_gone(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, 2)
    results = []

    async def first(scope: anyio.CancelScope) -> None:
        with scope:
            await record.tasks.record_outcome(rows[0], DONE)

    async def second() -> None:
        results.append(await record.tasks.record_outcome(rows[1], DONE))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            async with record.database.lane.turn():
                group.start_soon(first, scope)
                await anyio.lowlevel.checkpoint()
                group.start_soon(second)
                await anyio.lowlevel.checkpoint()
                scope.cancel()
    assert [result.status for result in results] == ["completed"]


async def test_more_polls_than_one_turn_takes_are_done_in_the_next(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, lane.BATCH_SIZE + 3)
    before = generation(record)
    await ended_after_a_turn(record, *[lambda row=row: record.tasks.record_outcome(row, DONE) for row in rows])
    assert generation(record) == before + 2
    assert {task.status for task in await record.tasks.several(rows)} == {"completed"}


# Claims: one status read of a task over all processes ---------------------------------------------------------------


async def test_task_that_a_process_has_read_since_then_is_not_read_by_another(make_record: MakeRecord) -> None:
    first, second = make_record(), make_record()
    await adopt(first, 2)
    began = time.time()
    assert (await first.polls.claim("t-0", began))[1]
    assert not (await second.polls.claim("t-0", began))[1]
    assert (await second.polls.claim("t-1", began))[1]
    # Its own last look was later: the process that has read may be dead.
    assert (await second.polls.claim("t-0", time.time()))[1]
    assert not (await first.polls.claim("t-0", began))[1]


async def test_claim_of_the_future_holds_nobody_up(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record()
    await adopt(record, 1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert (await record.polls.claim("t-0", now))[1]
    monkeypatch.setattr(time, "time", lambda: now + 1)  # the clock was set back
    assert (await record.polls.claim("t-0", now))[1]


async def test_claims_of_many_tasks_are_one_change_and_tell_nobody_of_news(make_record: MakeRecord) -> None:
    record = make_record()
    rows = await adopt(record, 20)
    before, news = generation(record), anyio.Event()
    record.database.waiting.add(news)
    await ended_after_a_turn(record, *[lambda row=row: record.polls.claim(row, 0.0) for row in rows])
    assert generation(record) == before + 1
    assert not news.is_set()


async def test_task_that_has_ended_or_is_unknown_is_claimed_without_a_write(make_record: MakeRecord) -> None:
    record = make_record()
    (row,) = await adopt(record, 1)
    await record.tasks.record_outcome(row, DONE)
    before = generation(record)
    assert [(await record.polls.claim(key, 0.0))[1] for key in (row, row, "unknown")] == [True] * 3
    assert generation(record) == before


async def test_claims_are_deleted_with_their_tasks(make_record: MakeRecord) -> None:
    record = make_record()
    old = datetime.now(UTC) - timedelta(days=9)
    task = await record.tasks.adopt(Task("old", "x", "x", created_at=old))
    await record.polls.claim(task.row_id, 0.0)
    await record.tasks.record_outcome(task.row_id, DONE)
    assert await record.prune(datetime.now(UTC), dry_run=False) == 1
    with outside(record) as database:
        assert database.execute("SELECT count(*) FROM reads").fetchone() == (0,)
