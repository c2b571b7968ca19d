"""The record as a whole: an ending is recorded whatever fails, and a task's field is written once to be stored."""

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record import tables
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import (
    NEVER_SENT,
    Ending,
    SubmissionRecord,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    WholeRows,
)
from kie_ai_mcp.errors import StorageError
from tests.databases import locked, on_sqlite, outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]
TASK = Task("t-1", "x", "x", tool="generate_x", path="jobs/createTask")


async def ahead(record: Record) -> int:
    """Write a request ahead; return its submission."""
    new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": "a fox"}, "hash")
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    return ticket.submission_id


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.database.BUSY_TIMEOUT_S", 0.05)


# Endings -------------------------------------------------------------------------------------------------------------

ENDINGS = {
    "accepted": Ending("accepted", TASK, Outcome("processing", progress=0.5)),
    "refused": Ending("refused", code=422, message="no"),
    "unknown": Ending("unknown", message="no answer"),
    "cancelled": NEVER_SENT,
}


@pytest.mark.parametrize("state", ENDINGS)
async def test_ending_is_recorded(state: str, make_record: MakeRecord) -> None:
    record, ending = make_record(), ENDINGS[state]
    submission_id = await ahead(record)

    ended = await record.end(submission_id, ending)

    assert (ended.error, ended.kept_in, ended.lost) == (None, None, None)
    assert ended.task == await record.tasks.find("t-1")
    submission = await record.submissions.find(submission_id)
    assert submission is not None
    assert (submission.state, submission.code, submission.message) == (state, ending.code, ending.message)
    if ended.task is not None:
        assert (ended.task.status, ended.task.progress, submission.task_id) == ("processing", 0.5, "t-1")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("state", ENDINGS)
async def test_ending_that_the_database_does_not_take_is_kept_in_the_recovery_file(
    state: str, make_record: MakeRecord
) -> None:
    record = make_record()
    submission_id = await ahead(record)

    with locked(record):
        ended = await record.end(submission_id, ENDINGS[state])

    assert (ended.task, ended.lost, ended.kept_in) == (None, None, record.recovery.path)
    assert ended.error is not None
    assert re.search("locked|timeout", ended.error.message)
    await record.submissions.unsettled()
    submission = await record.submissions.find(submission_id)
    assert submission is not None
    assert submission.state == state
    assert (await record.tasks.find("t-1") is not None) == (state == "accepted")
    assert not record.recovery.path.exists()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", ["file", "memory"])
async def test_log_says_where_an_ending_is_kept_and_that_it_was_recorded_later(
    place: str, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    record = make_record()
    submission_id = await ahead(record)
    if place == "memory":
        record.recovery.path.mkdir()
    with locked(record):
        await record.end(submission_id, ENDINGS["accepted"])
    (kept,) = caplog.messages
    assert kept.startswith(f"submission {submission_id} is accepted (task t-1), which is not recorded yet: ")
    assert "call again" not in kept
    assert (str(record.recovery.path) if place == "file" else "by this process alone") in kept
    if place == "memory":
        record.recovery.path.rmdir()
    caplog.clear()
    await record.submissions.unsettled()
    (recorded,) = caplog.messages
    assert recorded.startswith("the ends of 1 paid requests that ")
    assert recorded.endswith(" kept are recorded now")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("recorded", ["at the next use", "at the end"])
async def test_ending_that_no_file_takes_is_kept_in_memory(recorded: str, make_record: MakeRecord) -> None:
    record = make_record()
    submission_id = await ahead(record)
    record.recovery.path.mkdir()

    with locked(record):
        ended = await record.end(submission_id, ENDINGS["accepted"])

    assert (ended.task, ended.kept_in) == (None, None)
    assert isinstance(ended.error, StorageError)
    assert isinstance(ended.lost, StorageError)
    assert "can't be backed by a recovery file: " in ended.lost.message
    record.recovery.path.rmdir()
    if recorded == "at the next use":
        await record.submissions.unsettled()
    else:
        record.close()
    found = await make_record().tasks.find("t-1")
    assert found is not None
    assert found.submission_id == submission_id


async def test_ending_is_recorded_although_the_caller_is_cancelled(make_record: MakeRecord) -> None:
    record = make_record()
    submission_id = await ahead(record)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await record.end(submission_id, ENDINGS["refused"])

    settled = await record.submissions.find(submission_id)
    assert settled is not None
    assert settled.state == "refused"


async def test_request_that_was_never_sent_does_not_change_one_that_ended(make_record: MakeRecord) -> None:
    record = make_record()
    submission_id = await ahead(record)
    await record.end(submission_id, ENDINGS["unknown"])

    await record.end(submission_id, NEVER_SENT)

    assert [entry.state for entry in await record.submissions.unsettled()] == ["unknown"]


# Rows and values -----------------------------------------------------------------------------------------------------


def names(kind: Any) -> set[str]:
    return {entry.name for entry in fields(kind)}


def test_every_field_that_is_stored_has_a_column_of_its_name() -> None:
    columns = set(TaskRow._meta.fields)
    assert names(Task) <= columns
    # What the submission, which is joined, says of it, and what the gateway's name makes of the id.
    assert names(TaskRecord) - columns == {"estimated_credits", "notes", "prefix", "prompt", "unit"}
    assert names(Outcome) - columns == {"urls"}  # `result_urls`
    assert names(SubmissionRecord) <= set(SubmissionRow._meta.fields)
    assert names(NewSubmission) - set(SubmissionRow._meta.fields) == {
        "idempotency_key",
        "at_most",
        "max_credits",
        "once",
        "earlier_hash",
        "exact_hash",
        "agreed",
    }


async def test_every_field_of_a_task_comes_back_as_it_was_written(make_record: MakeRecord) -> None:
    record, moment = make_record(), datetime(2026, 4, 20, 10, tzinfo=UTC)
    task = Task("t-1", "a", "b", "audio", "c", "d", "e", "f", moment, "g")
    outcome = Outcome(
        "completed", ("https://x.example/ä.png",), None, None, 0.5, 2.0, "h", moment, 600, data={"ä": [0]}
    )
    assert None not in vars(task).values()

    adopted = await record.tasks.adopt(task)
    assert adopted.task == task
    done = await record.tasks.record_outcome("t-1", outcome)
    assert done == replace(
        adopted,
        status="completed",
        result_urls=outcome.urls,
        progress=0.5,
        credits=2.0,
        model="h",
        finished_at=moment,
        keeps_s=600,
        data={"ä": [0]},
        updated_at=done.updated_at,
    )
    assert await record.tasks.history(0, 10) == await record.tasks.unsaved() == [done]


@pytest.mark.parametrize("data", ["la", "", [], {"a": None}, False, 0])
async def test_data_alone_is_a_result(data: object, make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(TASK)
    await record.tasks.record_outcome("t-1", Outcome("failed", error="no luck"))

    done = await record.tasks.record_outcome("t-1", Outcome("completed", data=data))

    assert (done.status, done.data, done.results, done.unsaved, done.expires_at) == (
        "completed",
        data,
        ("",),
        (1,),
        None,
    )
    assert await record.tasks.unsaved() == [done]
    saved = await record.tasks.record_files("t-1", ["/out/a.txt"])
    assert (saved.unsaved, await record.tasks.unsaved()) == ((), [])


async def test_data_with_half_a_surrogate_pair_is_recorded(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(TASK)

    done = await record.tasks.record_outcome("t-1", Outcome("completed", data=["\ud800"]))

    assert done.data == ["?"]


def test_field_of_an_outcome_is_typed_in_its_migration_its_row_and_its_record_alone() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in Path(tables.__file__).parent.glob("*.py")}
    typed = {name: len(re.findall(r"\bprogress\b", source)) for name, source in sources.items()}
    assert {name: count for name, count in typed.items() if count} == {"migrations.py": 1, "tables.py": 2}


@dataclass(frozen=True)
class More(Outcome):
    """An outcome with a field that has the name of a column."""

    tool: str = "another"


async def test_more_that_a_provider_puts_on_an_outcome_reaches_no_column(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(TASK)
    assert (await record.tasks.record_outcome("t-1", More("processing"))).tool == "generate_x"


@on_sqlite
async def test_any_number_of_tasks_is_read_by_row(make_record: MakeRecord) -> None:
    record = make_record()
    rows = [(await record.tasks.adopt(Task(f"t-{number}", "x", "x"))).row_id for number in range(3)]
    record.database.connection.connection().setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    tasks = await record.tasks.several({*range(2_000), *rows})
    assert [task.row_id for task in tasks] == rows


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_task_that_has_ended_is_no_longer_noted_as_read(status: Any, make_record: MakeRecord) -> None:
    record = make_record()
    running, ended = [(await record.tasks.adopt(replace(TASK, task_id=name))).row_id for name in ("t-1", "t-2")]
    for row in (running, ended):
        assert (await record.polls.claim(row, 0.0))[1]

    await record.tasks.record_outcome(ended, Outcome(status))

    with outside(record) as database:
        assert database.execute("SELECT task FROM reads").fetchall() == [(running,)]


def test_query_of_whole_rows_is_the_one_that_peewee_writes() -> None:
    joined = {"on": SubmissionRow.id == TaskRow.submission_id}
    plain = TaskRow.select(TaskRow, SubmissionRow.notes).join(SubmissionRow, **joined)
    whole = WholeRows(TaskRow, SubmissionRow.notes).join(SubmissionRow, **joined)
    for condition in (TaskRow.row_id == 7, SubmissionRow.owner == "x"):
        assert whole.where(condition).limit(2).sql() == plain.where(condition).limit(2).sql()
