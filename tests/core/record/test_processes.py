"""Processes on one database: a living one that is taken for dead, by its lock file, loses no request and no slot."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import NEVER_SENT, Ending
from kie_ai_mcp.errors import StorageError
from tests.databases import locked, on_sqlite, outside, rows_of
from tests.helpers import until

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]
LONG_AGO = 3600.0


async def ticket(record: Record, word: str) -> Ticket:
    new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": word}, word)
    written = await record.submissions.write_ahead(new)
    assert isinstance(written, Ticket)
    return written


def give_up(record: Record) -> None:
    """Let a living process seem dead: the lock is lost that shows its life."""
    if record.address:
        record.database.close()
        until(lambda: living(record) == 0)
    else:
        sweep(record)


def living(record: Record) -> int:
    """Return how many connections hold the lock of a process."""
    with outside(record) as database:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint = "
        query += "(hashtextextended(?, 0) & 4294967295)"
        return int(database.execute(query, (record.process.owner,)).fetchone()[0])


def sweep(record: Record, *, silent: bool = True) -> Path:
    """Remove the process's lock file, as cleaners of temporary folders do; `silent`: it wrote nothing lately."""
    lock = record.path.with_name(f"tasks.db.{record.process.owner}.lock")
    lock.unlink()
    if silent:
        with outside(record) as database:
            ago = time.time() - LONG_AGO
            database.execute("UPDATE submissions SET asked_at = ?, granted_at = granted_at * 0 + ?", (ago, ago))
    return lock


def rows(record: Record) -> list[dict[str, Any]]:
    return rows_of(record, "submissions")


async def test_request_once_given_up_gets_no_slot_and_holds_none(make_record: MakeRecord) -> None:
    ours, theirs = make_record(creates=1, window_s=0.01), make_record(creates=1, window_s=0.01)
    busy = await ticket(theirs, "busy")
    waiting = await ticket(ours, "waiting")
    give_up(ours)
    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["sending"]
    await theirs.submissions.settled(busy.submission_id, Ending("refused", message="no"))
    await anyio.sleep(0.02)

    with pytest.raises(StorageError, match=f"Submission {waiting.submission_id} was given up") as error:
        await ours.submissions.ask_again(waiting.submission_id, "kie")
    await ours.end(waiting.submission_id, NEVER_SENT)

    assert "not sent" in error.value.message
    assert error.value.charged == "no"
    assert rows(ours)[1] | {"state": "cancelled", "granted_at": None} == rows(ours)[1]
    assert (await ticket(ours, "waiting")).granted


async def test_slot_that_an_earlier_version_left_with_a_cancelled_request_is_free(make_record: MakeRecord) -> None:
    record = make_record(creates=1)
    first = await ticket(record, "first")
    with outside(record) as database:
        database.execute("UPDATE submissions SET state = 'cancelled' WHERE id = ?", (first.submission_id,))

    assert (await ticket(record, "second")).granted


@pytest.mark.parametrize("sent", [True, False])
async def test_answer_to_a_request_that_was_given_up_is_recorded_as_what_it_is(
    sent: bool, make_record: MakeRecord
) -> None:
    ours, theirs = make_record(creates=1), make_record(creates=1)
    if not sent:
        await ticket(theirs, "before")
    given_up = await ticket(ours, "a fox")
    give_up(ours)
    await theirs.submissions.unsettled()
    assert rows(ours)[-1]["state"] == ("unknown" if sent else "cancelled")

    task = Task("t-1", "x", "x", path="jobs/createTask")
    ended = await ours.end(given_up.submission_id, Ending("accepted", task, Outcome("processing")))

    assert ended.task is not None
    row = rows(ours)[-1]
    assert (row["state"], row["task_id"], row["message"]) == ("accepted", "t-1", None)
    assert row["answered_at"] is not None


@pytest.mark.parametrize("meanwhile", ["cancelled", "unknown", "discarded"])
async def test_accepted_task_from_the_recovery_file_wins_over_what_was_supposed(
    meanwhile: str, make_record: MakeRecord
) -> None:
    record = make_record()
    written = await ticket(record, "a fox")
    await record.recovery.keep(written.submission_id, Ending("accepted", Task("t-1", "x", "x")))
    with outside(record) as database:
        database.execute("UPDATE submissions SET state = ?", (meanwhile,))

    await record.submissions.unsettled()

    assert (rows(record)[0]["state"], rows(record)[0]["task_id"]) == ("accepted", "t-1")


async def test_busy_service_answers_a_request_that_was_given_up_and_it_may_wait_on(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    written = await ticket(ours, "a fox")
    give_up(ours)
    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["unknown"]

    await ours.submissions.waiting(written.submission_id)

    assert (await ours.submissions.ask_again(written.submission_id, "kie")).granted


@on_sqlite
async def test_lock_file_that_was_swept_away_alone_proves_no_death(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    await ticket(ours, "a fox")

    lock = sweep(ours, silent=False)

    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["sending"]
    assert not lock.exists()


@on_sqlite
@pytest.mark.parametrize("use", ["the next request", "a request that waits"])
async def test_lock_file_that_was_swept_away_is_made_again(use: str, make_record: MakeRecord) -> None:
    ours, theirs = make_record(creates=1), make_record()
    await ticket(ours, "a fox")
    waiting = await ticket(ours, "an owl")
    lock = sweep(ours, silent=False)

    if use == "the next request":
        await ticket(ours, "a cat")
    else:
        await ours.submissions.ask_again(waiting.submission_id, "kie")

    assert lock.exists()
    with outside(ours) as database:
        database.execute("UPDATE submissions SET asked_at = 1, granted_at = granted_at * 0 + 1")
    assert {entry.state for entry in await theirs.submissions.unsettled()} == {"sending"}


@on_sqlite
async def test_lock_file_of_a_process_that_sends_stays_young(make_record: MakeRecord) -> None:
    record = make_record()
    await ticket(record, "a fox")
    lock = record.path.with_name(f"tasks.db.{record.process.owner}.lock")
    os.utime(lock, (1, 1))

    await ticket(record, "an owl")

    assert time.time() - lock.stat().st_mtime < LONG_AGO


@on_sqlite
async def test_lock_file_in_the_place_of_the_one_that_was_swept_away_is_noticed(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    await ticket(ours, "a fox")
    sweep(ours, silent=False).touch()

    await ticket(ours, "an owl")

    assert {entry.state for entry in await theirs.submissions.unsettled()} == {"sending"}


async def test_lease_that_is_taken_while_another_process_waits_for_the_database_stays(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    held: list[bool] = []

    async def hold() -> None:
        held.append(await ours.hold("reading", LONG_AGO))

    async with anyio.create_task_group() as group:
        with locked(theirs) as database:
            group.start_soon(hold)
            await anyio.sleep(0.1)
            lease = ("reading", theirs.process.owner, time.time() + LONG_AGO)
            database.execute("INSERT INTO leases VALUES (?, ?, ?)", lease)
    assert held == [False]
