"""Database files that are deleted, moved, replaced or overwritten while in use: what was paid for is not lost."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import Task
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending, SubmissionRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._settings.databases import is_usable
from kie_ai_mcp.errors import StorageError
from tests.databases import on_sqlite

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can take away a file that is open"),
]

MakeRecord = Callable[..., Record]
NEW = NewSubmission("generate_x", "x", "x", "image", "kie", "x-1", {}, "hash", estimated_credits=7.0)


def new(word: str, key: str | None = None) -> NewSubmission:
    return replace(NEW, arguments={"prompt": word}, body_hash=word, idempotency_key=key)


async def ahead(record: Record, word: str, key: str | None = None) -> int:
    ticket = await record.submissions.write_ahead(new(word, key))
    assert isinstance(ticket, Ticket)
    return ticket.submission_id


async def pay(record: Record, word: str) -> None:
    """Make a request, with its word as the idempotency key, that is accepted as a task of that name."""
    ended = await record.end(await ahead(record, word, word), Ending("accepted", Task(word, "x", "x")))
    assert ended.error is None


async def names(record: Record) -> set[str]:
    await record.submissions.unsettled()
    return {entry.task_id for entry in await record.tasks.newest(Filters(limit=1_000))}


def log(path: Path) -> Path:
    return path.with_name("tasks.db-wal")


# Ways to lose a database ---------------------------------------------------------------------------------------------


def deleted(path: Path, copy: Path) -> None:
    path.unlink()


def deleted_with_all_beside_it(path: Path, copy: Path) -> None:
    for file in path.parent.glob("tasks.db*"):
        file.unlink()


def moved(path: Path, copy: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replaced_by_an_older_copy(path: Path, copy: Path) -> None:
    copy.replace(path)


def replaced_by_a_new_one(path: Path, copy: Path) -> None:
    with closing(Record(copy.with_name("new.db"), RateLimit(20, 1))) as other:
        other.open()
    copy.with_name("new.db").replace(path)


def overwritten_with_an_older_copy(path: Path, copy: Path) -> None:
    shutil.copyfile(copy, path)


def overwritten_by_way_of_sqlite(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def without_its_log(path: Path, copy: Path) -> None:
    log(path).unlink()


def without_its_index(path: Path, copy: Path) -> None:
    path.with_name("tasks.db-shm").unlink()


def without_both(path: Path, copy: Path) -> None:
    without_its_log(path, copy)
    without_its_index(path, copy)


def with_an_empty_log(path: Path, copy: Path) -> None:
    without_its_log(path, copy)
    log(path).touch()


LOSSES = (
    deleted,
    deleted_with_all_beside_it,
    moved,
    replaced_by_an_older_copy,
    replaced_by_a_new_one,
    overwritten_with_an_older_copy,
    overwritten_by_way_of_sqlite,
    without_its_log,
    without_its_index,
    without_both,
    with_an_empty_log,
)
GONE = (deleted, deleted_with_all_beside_it, moved)
Lose = Callable[[Path, Path], None]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with two tasks; of the first alone there is a copy."""
    path = tmp_path / "data" / "tasks.db"
    for word in ("first", "second"):
        with closing(Record(path, RateLimit(100, 1))) as record:
            await pay(record, word)
        shutil.copy(path, tmp_path / f"{word}.db")
    return path


@pytest.fixture
def copy(tmp_path: Path, path: Path) -> Path:
    assert path.exists()
    return tmp_path / "first.db"


@pytest.fixture
def record(path: Path) -> Iterator[Record]:
    with closing(Record(path, RateLimit(100, 1))) as record:
        record.open()
        yield record


@pytest.mark.parametrize("end", ["goes on", "is closed", "is killed"])
@pytest.mark.parametrize("lose", LOSSES)
async def test_nothing_is_sent_once_the_database_is_lost_and_no_payment_is_forgotten(
    lose: Lose, end: str, record: Record, path: Path, copy: Path
) -> None:
    await pay(record, "third")
    lost = await ahead(record, "unknown", "k")
    await record.end(lost, Ending("unknown", message="no answer"))

    lose(path, copy)
    with pytest.raises(StorageError, match=str(path)) as error:
        await ahead(record, "fourth")

    assert error.value.charged == "no"
    assert error.value.next_step
    if end == "is closed":
        record.close()
    with closing(Record(path, RateLimit(100, 1))) as later:
        if end != "goes on" or lose in GONE:
            record = later
        assert {"third"} <= await names(record)
        for word, key in (("unknown", "k"), ("third", "third")):
            known = await record.submissions.write_ahead(new(word, key))
            assert isinstance(known, SubmissionRecord), word
        await pay(record, "fifth")
        assert await record.damage() is None
        assert {"third", "fifth"} <= await names(record)


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("lose", LOSSES)
async def test_answer_to_a_request_under_way_is_kept_although_the_database_was_lost(
    lose: Lose, granted: bool, record: Record, path: Path, copy: Path
) -> None:
    number = await ahead(record, "third")

    lose(path, copy)
    ended = await record.end(number, Ending("accepted", Task("third", "x", "x")))

    assert ended.kept_in == record.recovery.path
    assert "third" in record.recovery.path.read_text("utf-8")
    with closing(Record(path, RateLimit(100, 1))) as later:
        assert "third" in await names(later)
        assert await later.submissions.unsettled() == []


async def test_waiting_request_is_sent_only_if_the_new_file_knows_it(record: Record, path: Path, copy: Path) -> None:
    await ahead(record, "busy")  # has a slot, unlike the one after it
    record.submissions.limit = RateLimit(1, 1_000)
    waiting = await ahead(record, "waiting")

    replaced_by_a_new_one(path, copy)
    for _ in range(2):  # the first one meets the loss
        with suppress(StorageError):
            await ahead(record, "next")
    record.submissions.limit = RateLimit(100, 1)
    later = await record.submissions.ask_again(waiting, "kie")

    rows = {entry.arguments["prompt"]: entry for entry in await record.submissions.history(0, 10)}
    assert set(rows) == {"busy", "waiting", "next"}
    assert rows["waiting"].id == waiting
    assert (rows["busy"].state, rows["waiting"].state, later.granted) == ("unknown", "sending", True)
    twin = await record.submissions.write_ahead(new("waiting"))
    assert isinstance(twin, SubmissionRecord)


async def test_request_under_way_keeps_its_number_to_itself(record: Record, path: Path, copy: Path) -> None:
    under_way = await ahead(record, "under way")
    with closing(Record(path.with_name("other.db"), RateLimit(100, 1))) as other:
        for number in range(under_way):
            await pay(other, f"theirs {number}")

    path.with_name("other.db").replace(path)
    with suppress(StorageError):
        await names(record)
    ours = await ahead(record, "next")
    ended = await record.end(under_way, Ending("accepted", Task("t-1", "x", "x")))

    assert ended.task is not None
    rows = {entry.task_id or entry.arguments["prompt"]: entry for entry in await record.submissions.history(0, 20)}
    assert rows["t-1"].arguments == {"prompt": "under way"}
    assert (rows["next"].id, rows["next"].state) == (ours, "sending")
    assert {f"theirs {number}" for number in range(under_way)} < rows.keys()


async def test_file_that_is_put_back_is_used_again_with_all_that_was_paid_meanwhile(record: Record, path: Path) -> None:
    await pay(record, "third")
    aside = path.with_name("aside.db")
    path.rename(aside)
    for _ in range(2):
        with pytest.raises(StorageError, match="was deleted or moved"):
            await ahead(record, "fourth")
    assert not path.exists()

    aside.rename(path)
    await pay(record, "fourth")

    assert await names(record) == {"first", "second", "third", "fourth"}
    assert await record.damage() is None


async def test_file_that_was_moved_below_a_server_goes_with_its_log(record: Record, path: Path) -> None:
    await pay(record, "third")
    moved(path, path)
    with pytest.raises(StorageError):
        await names(record)

    with closing(Record(path.with_name("moved.db"), RateLimit(100, 1))) as later:
        assert await names(later) == {"first", "second", "third"}


async def test_log_without_its_database_is_no_reason_to_begin_a_new_one(record: Record, path: Path) -> None:
    await pay(record, "third")
    path.unlink()

    with closing(Record(path, RateLimit(100, 1))) as later:
        with pytest.raises(StorageError, match="is gone") as error:
            await names(later)
        assert str(log(path)) in error.value.next_step
        log(path).unlink()
        assert await names(later) == set()


async def test_two_servers_that_lose_one_database_keep_the_payments_of_both(path: Path, copy: Path) -> None:
    with closing(Record(path, RateLimit(100, 1))) as ours, closing(Record(path, RateLimit(100, 1))) as theirs:
        await pay(ours, "ours")
        await pay(theirs, "theirs")
        replaced_by_an_older_copy(path, copy)
        for record in (ours, theirs):
            with suppress(StorageError):
                await names(record)

        for record in (ours, theirs):
            assert await names(record) == {"first", "ours", "theirs"}
            assert await record.damage() is None


@pytest.mark.parametrize("spoil", [b"", b"a shopping list\n" * 1_000, bytes(8_192)])
async def test_file_that_is_spoilt_below_a_server_takes_no_payment_with_it(
    spoil: bytes, record: Record, path: Path, tmp_path: Path
) -> None:
    await pay(record, "third")
    path.write_bytes(spoil)
    with pytest.raises(StorageError):
        await pay(record, "fourth")
    assert "third" in record.recovery.path.read_text("utf-8")

    shutil.copyfile(tmp_path / "second.db", path)
    with suppress(StorageError):
        await names(record)

    await pay(record, "fourth")
    assert await names(record) == {"first", "second", "third", "fourth"}


async def test_damaged_file_takes_no_paid_request_and_keeps_what_was_rescued(
    record: Record, path: Path, tmp_path: Path
) -> None:
    for number in range(30):
        await pay(record, f"{number} {'x' * 2_000}")
    record.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(number * 7 % 256 for number in range(len(whole) // 2)))
    await pay_or_fail(record)
    with pytest.raises(StorageError):
        await record.tasks.newest(Filters(limit=1_000))
    with pytest.raises(StorageError) as error:
        await ahead(record, "later")

    assert "damaged" in error.value.message or "malformed" in error.value.message


async def pay_or_fail(record: Record) -> None:
    with suppress(StorageError):
        await ahead(record, "one more")


# ruff: noqa: ASYNC240  nothing else runs meanwhile

# Two names -----------------------------------------------------------------------------------------------------------


async def test_second_name_of_the_file_stops_both_until_it_is_gone(record: Record, path: Path, tmp_path: Path) -> None:
    await pay(record, "third")
    other = tmp_path / "other.db"
    os.link(path, other)

    with closing(Record(other, RateLimit(100, 1))) as theirs:
        for name in (record, theirs):
            for _ in range(2):
                with pytest.raises(StorageError, match=r"second name|more than one name"):
                    await ahead(name, "fourth")
    assert not other.with_name("other.db-wal").exists()

    other.unlink()
    await pay(record, "fourth")
    assert await names(record) == {"first", "second", "third", "fourth"}


async def test_link_to_where_the_file_was_moved_is_no_second_name(record: Record, path: Path, tmp_path: Path) -> None:
    await pay(record, "third")
    path.rename(tmp_path / "moved.db")
    path.symlink_to(tmp_path / "moved.db")

    with pytest.raises(StorageError, match="replaced"):  # its log still stands beside the link
        await ahead(record, "fourth")
    record.close()
    with closing(Record(path, RateLimit(100, 1))) as restarted:
        await pay(restarted, "fourth")
        assert await names(restarted) == {"first", "second", "third", "fourth"}


@contextmanager
def mounted(source: Path, target: Path) -> Iterator[None]:
    if subprocess.run(["mount", "--bind", source, target], check=False, capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the administrator may mount")
@pytest.mark.parametrize("is_open", [True, False])
async def test_file_that_is_seen_through_two_mounts_is_opened_by_its_first_name_alone(
    is_open: bool, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    other.touch()
    with closing(Record(path, RateLimit(100, 1))) as record, closing(Record(other, RateLimit(100, 1))) as theirs:
        await pay(record, "third")
        if not is_open:
            record.close()
        with mounted(path, other):
            with pytest.raises(StorageError, match="more than one name") as error:
                await ahead(theirs, "fourth")
            assert str(path) in error.value.message
            assert "KIE_AI_DB_PATH" in error.value.next_step
            await pay(record, "fourth")
            assert await names(record) == {"first", "second", "third", "fourth"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the administrator may mount")
async def test_folder_that_is_seen_through_two_mounts_is_one_place(record: Record, path: Path, tmp_path: Path) -> None:
    await pay(record, "third")
    other = tmp_path / "other"
    other.mkdir()
    with mounted(path.parent, other), closing(Record(other / "tasks.db", RateLimit(100, 1))) as theirs:
        await pay(theirs, "fourth")
        await pay(record, "fifth")
        assert await names(theirs) == await names(record) == {"first", "second", "third", "fourth", "fifth"}


async def test_database_that_was_moved_while_nobody_used_it_is_used(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path.parent, tmp_path / "elsewhere")
    shutil.rmtree(path.parent)

    with closing(Record(tmp_path / "elsewhere" / "tasks.db", RateLimit(100, 1))) as record:
        await pay(record, "third")
        assert await names(record) == {"first", "second", "third"}


# Durability ----------------------------------------------------------------------------------------------------------


async def test_flushes_reach_the_disk_on_macos_too(record: Record) -> None:
    pragma: Any = record.database.connection.pragma
    assert (pragma("fullfsync"), pragma("checkpoint_fullfsync")) == (1, 1)


async def test_new_file_that_gets_its_content_from_the_log_later_is_no_other_one(tmp_path: Path) -> None:
    path, log_size = tmp_path / "tasks.db", 0
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("PRAGMA journal_mode = wal")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sqlite_master").fetchall()  # from here on the log can't be written into the file
        with closing(Record(path, RateLimit(20, 1))) as record:
            await pay(record, "first")
            log_size = log(path).stat().st_size
            reader.execute("COMMIT")
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            await pay(record, "second")
            assert await names(record) == {"first", "second"}
    assert log_size > 0
    assert not log(path).with_name("tasks.db-wal.old").exists()


# Other readers -------------------------------------------------------------------------------------------------------


def is_whole_alone(path: Path) -> bool:
    """Return whether a file can be read without its log."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as alone:
            return bool(alone.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


async def paid_beside_a_reader(record: Record, reader: sqlite3.Connection, least: int = 4) -> list[str]:
    """Pay while a reader needs the file as it was, until it is no whole without its log; return the tasks."""
    record.database.connection.pragma("wal_autocheckpoint", 3)
    paid: list[str] = []
    while len(paid) < least or is_whole_alone(record.path):
        assert len(paid) < 400, "the file was always whole"
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tasks").fetchone()
        for _ in range(4):
            paid.append(f"t-{len(paid)}" + "x" * 300)
            await pay(record, paid[-1])
        if not is_whole_alone(record.path):
            break
        reader.execute("COMMIT")
    return paid


@on_sqlite
async def test_reader_of_an_earlier_state_costs_no_record(make_record: MakeRecord) -> None:
    record = make_record()
    await pay(record, "first")
    with closing(sqlite3.connect(record.path, isolation_level=None)) as reader:
        paid = await paid_beside_a_reader(record, reader)
        for number in range(20):
            paid.append(f"later-{number}")
            await pay(record, paid[-1])
        assert log(record.path).exists()
        assert not log(record.path).with_name("tasks.db-wal.old").exists()
        assert await names(record) == {"first", *paid}


@on_sqlite
async def test_record_of_a_server_that_was_killed_beside_a_reader_is_opened(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    record, other = make_record(), tmp_path / "killed" / "tasks.db"
    await pay(record, "first")
    with closing(sqlite3.connect(record.path, isolation_level=None)) as reader:
        paid = await paid_beside_a_reader(record, reader)
        other.parent.mkdir()
        for file in (record.path, log(record.path)):  # what a kill leaves, and a power cut
            shutil.copy(file, other.parent)
    assert is_usable(other)
    with closing(Record(other, RateLimit(20, 1))) as later:
        assert await names(later) == {"first", *paid}
