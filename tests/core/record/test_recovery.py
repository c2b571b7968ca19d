"""Recovery file and privacy of all files: nothing that was kept is lost for the sake of a broken neighbour."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record import submissions
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending, SubmissionRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp.errors import StorageError
from tests.databases import on_sqlite, outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]
A = "https://x.example/a.png"
NEW = NewSubmission("generate_x", "x", "x", "image", "kie", "x-1", {"prompt": "a fox"}, "hash", estimated_credits=7.0)


def accepted(name: str, outcome: Outcome | None = None, **values: Any) -> Ending:
    return Ending("accepted", Task(name, "x", "x", path="jobs/createTask", **values), outcome)


async def ahead(record: Record, word: str = "a fox", key: str | None = None) -> int:
    new = replace(NEW, arguments={"prompt": word}, body_hash=word, idempotency_key=key)
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    return ticket.submission_id


def change(record: Record, statement: str) -> None:
    with outside(record) as database:
        for each in filter(str.strip, statement.split(";")):
            database.execute(each)


# Lines ---------------------------------------------------------------------------------------------------------------


async def test_task_that_was_finished_at_once_is_recovered_with_its_results(make_record: MakeRecord) -> None:
    record = make_record()
    end = datetime(2026, 4, 20, tzinfo=UTC)
    outcome = Outcome("completed", (A,), credits=4.5, finished_at=end, keeps_s=60)
    await record.recovery.keep(await ahead(record), accepted("submission-1", outcome))

    await record.submissions.unsettled()

    found = await record.tasks.find("submission-1")
    assert found is not None
    assert (found.status, found.result_urls, found.credits) == ("completed", (A,), 4.5)
    assert (found.finished_at, found.keeps_s) == (end, 60)


async def test_end_is_kept_whatever_fails_as_it_is_recorded(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record()
    number = await ahead(record)
    with monkeypatch.context() as patch:
        patch.setattr(record.submissions, "_end", None)
        ended = await record.end(number, accepted("t-1"))
    assert ended.error is not None
    assert ended.kept_in == record.recovery.path

    assert await record.submissions.unsettled() == []
    assert await record.tasks.find("t-1") is not None


async def test_request_that_ends_while_the_database_is_opened_anew_stops_no_other(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, find = make_record(), submissions._number_of
    numbers = [await ahead(record, word) for word in ("a fox", "an owl", "a hare")]

    def find_and_end(*request: Any) -> int:
        record.recovery.requests.pop(numbers[0], None)
        return find(*request)

    monkeypatch.setattr(submissions, "_number_of", find_and_end)
    record.database.close()

    ended = await record.end(numbers[1], accepted("t-1"))
    assert ended.task is not None


HALF = "\ud83d"


@pytest.mark.parametrize(
    "ending",
    [
        accepted(f"t-{HALF}"),
        accepted("t-half", status_address=f"https://x.example/{HALF}"),
        accepted("t-half", Outcome("failed", error=HALF)),
        Ending("refused", code=422, message=HALF),
        Ending("refused", code=10**30, message="x"),
    ],
)
async def test_value_that_no_database_takes_stops_no_other_line_and_no_start(
    ending: Ending, make_record: MakeRecord
) -> None:
    record = make_record()
    await record.recovery.keep(await ahead(record, "odd"), ending)
    await record.recovery.keep(await ahead(make_record(), "sound"), accepted("t-sound"))

    assert await make_record().tasks.find("t-sound") is not None
    assert not record.recovery.path.exists()
    if ending.task is not None:
        assert len(await record.tasks.newest(Filters())) == 2


@pytest.mark.parametrize("damage", [b"\xff\xfe{", b"\0" * 500, b'{"submission_id": 1, "ta', b"[" * 9_000])
async def test_damaged_line_is_kept_as_it_is_and_stops_no_other_line(damage: bytes, make_record: MakeRecord) -> None:
    record = make_record()
    side = await record.recovery.keep(await ahead(record, "a"), accepted("t-1"))
    with side.open("ab") as file:
        file.write(damage)
    await record.recovery.keep(await ahead(make_record(), "b"), accepted("t-2"))

    make_record()

    assert {entry.task_id for entry in await record.tasks.newest(Filters())} == {"t-1", "t-2"}
    (left,) = side.parent.glob("*.unreadable")
    assert left.read_bytes() == damage + b"\n"


async def test_line_of_an_earlier_version_is_read(make_record: MakeRecord) -> None:
    record = make_record()
    number = await ahead(record)
    task = '{"task_id": "t-1", "api_type": "x", "provider": "x", "created_at": "2026-04-20T00:00:00+00:00"}'
    record.recovery.path.write_text(f'\n{{"submission_id": {number}, "task": {task}}}\n', "utf-8")

    assert await record.submissions.unsettled() == []
    found = await record.submissions.of_task("t-1")
    assert found is not None
    assert found.id == number


# A file that does not know the request -------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("state", ["accepted", "unknown"])
async def test_request_that_the_file_does_not_know_is_recorded_anew_and_changes_no_other(
    state: str, tmp_path: Path, make_record: MakeRecord
) -> None:
    ours, other = make_record(), make_record(tmp_path / "other.db")
    number = await ahead(ours, key="k")
    ending = accepted("t-1") if state == "accepted" else Ending("unknown", message="no answer")
    await ours.recovery.keep(number, ending)
    assert await ahead(other, "an owl") == number  # the number alone says nothing
    ours.recovery.path.replace(other.recovery.path)

    again = await other.submissions.write_ahead(replace(NEW, body_hash="a fox", idempotency_key="k"))

    owl, fox = await other.submissions.history(0, 10)
    assert (owl.id, owl.state) == (number, "sending")
    assert (fox.state, fox.arguments, fox.estimated_credits) == (state, {"prompt": "a fox"}, 7.0)
    assert isinstance(again, SubmissionRecord)
    assert again.id == fox.id
    assert await other.spent_today() == 14.0
    assert (await other.tasks.find("t-1") is not None) == (state == "accepted")


async def test_request_that_is_recovered_twice_is_recorded_once(make_record: MakeRecord) -> None:
    record = make_record()
    side = await record.recovery.keep(await ahead(record), accepted("t-1"))
    whole = side.read_bytes()
    change(record, "DELETE FROM submissions")

    for _ in range(2):
        side.write_bytes(whole)
        await record.submissions.unsettled()

    assert [entry.task_id for entry in await record.submissions.history(0, 10)] == ["t-1"]


# Privacy -------------------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")


@on_sqlite
@posix
async def test_every_file_of_the_record_is_its_owners_alone(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record(tmp_path / "data" / "tasks.db")
    side = await record.recovery.keep(await ahead(record), accepted("t-1"))
    with side.open("ab") as file:
        file.write(b"damaged\n")
    files = {path.name: path.stat().st_mode & 0o777 for path in side.parent.iterdir()}
    await record.submissions.unsettled()
    files |= {path.name: path.stat().st_mode & 0o777 for path in side.parent.iterdir()}

    assert {"tasks.db", "tasks.db-wal", "tasks.db-shm", side.name, "tasks.db.unrecorded.unreadable"} < files.keys()
    assert len(files) >= 7  # and the lock files
    assert set(files.values()) == {0o600}
    assert side.parent.stat().st_mode & 0o777 == 0o700


@on_sqlite
@posix
@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o444, 0o400), (0o660, 0o660), (0o600, 0o600)])
async def test_file_of_an_earlier_version_becomes_private_unless_its_group_shares_it(
    before: int, after: int, tmp_path: Path, make_record: MakeRecord
) -> None:
    make_record().close()
    (tmp_path / "tasks.db").chmod(before)

    make_record()

    assert (tmp_path / "tasks.db").stat().st_mode & 0o777 == after


@on_sqlite
@posix
@pytest.mark.parametrize("name", ["tasks.db.unrecorded.jsonl", "tasks.db.unrecorded.jsonl.lock"])
async def test_link_under_the_name_of_the_recovery_file_is_not_followed(
    name: str, tmp_path: Path, make_record: MakeRecord
) -> None:
    record = make_record()
    number = await ahead(record)
    target = tmp_path / "somebody's"
    target.write_text("precious", "utf-8")
    (tmp_path / name).symlink_to(target)

    with pytest.raises(StorageError):
        await record.recovery.keep(number, accepted("t-1"))

    assert target.read_text("utf-8") == "precious"
    (tmp_path / name).unlink()
    assert await record.submissions.unsettled() == []


@on_sqlite
@posix
async def test_link_to_nothing_under_the_name_of_the_log_is_an_error(tmp_path: Path, make_record: MakeRecord) -> None:
    target = tmp_path / "somewhere"
    (tmp_path / "tasks.db-wal").symlink_to(target)

    with pytest.raises(StorageError, match=r"can't be opened"):
        make_record()

    assert not target.exists()
