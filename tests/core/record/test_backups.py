"""Copies of the record: while it is in use, before its schema changes, and without a secret."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, tzinfo
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import pytest

from kie_ai_mcp import Task
from kie_ai_mcp._record import backups, copying, sqlite
from kie_ai_mcp._record.backups import put_in_place, unnamed
from kie_ai_mcp._record.copying import back_up
from kie_ai_mcp._record.migrations import _STEPS, SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission
from kie_ai_mcp.errors import StorageError
from tests.databases import on_postgres, on_sqlite, outside, spoil_index

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]
NEW = NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": "A fox"}, "hash")


def rows(path: Path, query: str = "SELECT task_id FROM tasks ORDER BY id") -> list[Any]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def beside(path: Path) -> list[str]:
    """The names of files that begin with that of another."""
    return sorted(each.name for each in path.parent.glob(f"{path.name}*"))


async def test_backup_is_one_private_sound_file_that_can_be_used(make_record: MakeRecord, tmp_path: Path) -> None:
    record, target = make_record(), tmp_path / "copy" / "kept.db"
    target.parent.mkdir()
    for number in range(3):
        await record.tasks.adopt(Task(f"t-{number}", "x", "x"))
    await record.submissions.write_ahead(NEW)  # it is on its way while the copy is made
    back_up(record, target)
    assert [task_id for (task_id,) in rows(target)] == ["t-0", "t-1", "t-2"]
    assert rows(target, "SELECT state FROM submissions") == [("sending",)]
    assert beside(target) == ["kept.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600 or os.name == "nt"
    again = Record(target, RateLimit(20, 10.0))
    again.open()
    assert (await again.submissions.unsettled())[0].state == "sending"  # this process lives
    again.close()


async def test_nothing_is_overwritten_and_no_part_stays(make_record: MakeRecord, tmp_path: Path) -> None:
    record, target = make_record(), tmp_path / "kept.db"
    await record.tasks.adopt(Task("t-1", "x", "x"))
    target.write_text("precious", "utf-8")
    with pytest.raises(StorageError, match="a file of that name exists"):
        back_up(record, target)
    target.unlink()
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="a file of that name exists"):
        back_up(record, target)
    with pytest.raises(StorageError, match="No such file"):
        back_up(record, tmp_path / "none" / "kept.db")
    assert beside(target) == ["kept.db"]
    assert not (tmp_path / "elsewhere").exists()


@on_sqlite
async def test_backup_of_a_file_that_is_written_to_is_of_one_moment(make_record: MakeRecord, tmp_path: Path) -> None:
    """Each writing adds one row to both tables, so a copy that mixes moments has more of one."""
    record = make_record()
    await record.tasks.adopt(Task("t-1", "x", "x"))
    source = (
        "import sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)\n"
        "print('ready', flush=True)\n"
        "for number in range(100_000):\n"
        "    database.execute('BEGIN IMMEDIATE')\n"
        "    database.execute(\"INSERT INTO leases VALUES (?, 'x', 0)\", (f'{number}',))\n"
        "    database.execute(\"INSERT INTO uploads (sha256, url, expires_at) VALUES (?, 'x', '')\", (f'{number}',))\n"
        "    database.execute('COMMIT')\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", source, str(record.path)], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        for number in range(5):
            target = tmp_path / f"{number}.db"
            back_up(record, target)
            counts = rows(target, "SELECT (SELECT count(*) FROM leases), (SELECT count(*) FROM uploads)")
            assert counts[0][0] == counts[0][1]
            assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()


@on_postgres
async def test_backup_of_a_database_that_is_written_to_is_of_one_moment(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, copy_table = make_record(), copying._copy_table
    await record.tasks.adopt(Task("t-1", "x", "x"))

    def copy_and_write(*args: Any) -> int:
        number = copy_table(*args)
        with outside(record) as database:  # nobody waits for the copy
            for sql in ("INSERT INTO leases VALUES (?, 'x', 0)", "UPDATE tasks SET task_id = ?"):
                database.execute(sql, (args[2].__name__,))
        return number

    monkeypatch.setattr(copying, "_copy_table", copy_and_write)
    back_up(record, tmp_path / "kept.db")
    assert rows(tmp_path / "kept.db") == [("t-1",)]
    assert rows(tmp_path / "kept.db", "SELECT count(*) FROM leases") == [(0,)]
    with outside(record) as database:
        assert database.execute("SELECT count(*) FROM leases").fetchone()[0] == len(copying.TABLES)


@on_sqlite
async def test_damaged_file_is_no_backup(make_record: MakeRecord, tmp_path: Path) -> None:
    """Each page can be read, but an index is not that of its table."""
    record, target = make_record(), tmp_path / "kept.db"
    await record.tasks.adopt(Task("t-1", "x", "x"))
    with closing(sqlite3.connect(record.path)) as database, database:
        spoil_index(database)
    with pytest.raises(StorageError, match=r"it is damaged: .*tasks_by_status"):
        back_up(record, target)
    assert beside(target) == []


def test_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "kept.db"
    with pytest.raises(FileExistsError), unnamed(target):
        target.write_text("precious", "utf-8")
    assert target.read_text("utf-8") == "precious"
    assert beside(target) == ["kept.db"]


# In the place of another ---------------------------------------------------------------------------------------------


def placed(tmp_path: Path) -> tuple[Path, Path]:
    """A new file, and one whose place it is to have, with a log and a journal beside it."""
    part, target = tmp_path / "part.db", tmp_path / "tasks.db"
    for path in part, target, Path(f"{target}-wal"), Path(f"{target}-journal"):
        path.write_text(path.name, "utf-8")
    part.chmod(0o600)
    return part, target


@pytest.mark.skipif(os.name == "nt", reason="its files have no owner and group of this kind")
def test_file_in_the_place_of_another_has_its_owner_and_group_rights(tmp_path: Path) -> None:
    part, target = placed(tmp_path)
    target.chmod(0o660)
    owner = (12_345, 12_346) if os.geteuid() == 0 else (os.geteuid(), max(os.getgroups(), default=os.getegid()))
    os.chown(target, *owner)
    aside = put_in_place(part, target)
    status = target.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o660)
    assert aside is not None
    assert [Path(f"{aside}{end}").read_text("utf-8") for end in ("", "-wal")] == ["tasks.db", "tasks.db-wal"]


def test_nothing_has_moved_where_one_file_can_not_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, target = placed(tmp_path)

    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2031, 2, 3, 12, tzinfo=tz)

    monkeypatch.setattr(backups, "datetime", Noon)
    taken = tmp_path / "tasks.db.before-20310203T120000Z-journal"
    (taken / "full").mkdir(parents=True)
    before = {path: path.read_text("utf-8") for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(OSError, match="journal"):
        put_in_place(part, target)
    assert {path: path.read_text("utf-8") for path in tmp_path.iterdir() if path.is_file()} == before


# Before a migration --------------------------------------------------------------------------------------------------


def old(path: Path, version: int) -> None:
    """Write a database of an earlier version, with a task: the same one each time."""
    with closing(sqlite3.connect(path)) as database:
        for step in _STEPS[:version]:
            database.executescript(step)
        database.execute("INSERT INTO tasks (task_id, api_type) VALUES ('t-1', 'x')")
        database.execute("UPDATE tasks SET created_at = 1, updated_at = 1")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()


def opened(path: Path) -> None:
    record = Record(path, RateLimit(20, 10.0))
    record.open()
    record.close()


def test_older_file_is_copied_once_before_it_is_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, copied = tmp_path / "tasks.db", tmp_path / "tasks.db.version-5.bak"
    old(path, 5)
    opened(path)
    opened(path)
    assert rows(copied) == [("t-1",)]
    assert rows(copied, "PRAGMA user_version") == [(5,)]
    assert rows(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600 or os.name == "nt"
    assert [record.getMessage() for record in caplog.records] == [
        f"before its schema was changed, the task database was copied to {copied}"
    ]
    path.unlink()
    old(path, 5)
    before = copied.read_bytes()
    opened(path)
    assert copied.read_bytes() == before
    assert [each.name for each in tmp_path.glob("*.bak")] == [copied.name]


@pytest.mark.parametrize("make", ["another", "junk", "folder", "link"])
def test_file_is_copied_though_something_else_has_the_name(make: str, tmp_path: Path) -> None:
    path, taken = tmp_path / "tasks.db", tmp_path / "tasks.db.version-5.bak"
    match make:
        case "another":  # a copy of before a step back
            old(taken, 5)
            with closing(sqlite3.connect(taken)) as database, database:
                database.execute("DELETE FROM tasks")
        case "junk":
            taken.write_bytes(b"junk")
        case "folder":
            taken.mkdir()
        case "link":
            taken.symlink_to(tmp_path / "nowhere")
    old(path, 5)
    opened(path)
    assert rows(tmp_path / "tasks.db.version-5.2.bak") == [("t-1",)]


def test_new_file_is_not_copied(tmp_path: Path) -> None:
    opened(tmp_path / "tasks.db")
    assert [*tmp_path.glob("*.bak")] == []


def test_file_that_cannot_be_copied_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tasks.db"
    old(path, 5)

    def full(*_: Path) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "copy_file", full)
        with pytest.raises(StorageError) as caught:
            opened(path)
    assert "has schema version 5, and no copy of it could be made" in caught.value.message
    assert "disk is full" in caught.value.message
    assert "Make room" in caught.value.next_step
    assert rows(path, "PRAGMA user_version") == [(5,)]
    opened(path)


def test_two_that_open_it_at_once_leave_one_copy(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    old(path, 5)
    begin, errors = Event(), list[StorageError]()

    def run() -> None:
        begin.wait()
        try:
            opened(path)
        except StorageError as exc:
            errors.append(exc)

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    begin.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [each.name for each in tmp_path.glob("*.bak*")] == ["tasks.db.version-5.bak"]
    assert rows(tmp_path / "tasks.db.version-5.bak", "PRAGMA user_version") == [(5,)]
