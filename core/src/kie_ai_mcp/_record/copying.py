"""Copies of a whole record: backups, restoring from one, and from one database to another, compared row by row."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peewee

from kie_ai_mcp._record.backups import copy_file, put_in_place, seal, unnamed
from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.tables import (
    ConsentRow,
    KeptRow,
    KeyRow,
    LeaseRow,
    ReadRow,
    SubmissionRow,
    TaskRow,
    UploadRow,
    UserRow,
    without_zeros,
)
from kie_ai_mcp._settings.databases import Look, is_sealed, is_usable, look_at
from kie_ai_mcp.errors import StorageError, one_line

TABLES: tuple[type[peewee.Model], ...] = (
    TaskRow, SubmissionRow, KeyRow, UploadRow, KeptRow, ConsentRow, LeaseRow, ReadRow, UserRow,
)  # fmt: skip
AT_ONCE = 500  # rows in one statement


def back_up(source: Record, target: Path) -> None:
    """Write a record, as it is at one moment, into a new SQLite file, which is found sound; others may write meanwhile.

    Raise `StorageError` where that can't be done; nothing is then there.
    """
    try:
        if not source.address:
            if not is_usable(source.path):
                if source.path.is_file():
                    look_at(source.path)  # a damaged one raises
                raise FileNotFoundError(2, f"{source.path} is no task database")
            copy_file(source.path, target)
            return
        with unnamed(target) as part:
            with closing(replace(source, path=part, address="")) as copied:
                copy(source, copied, in_use=True)
            seal(part)
    except (OSError, sqlite3.Error) as exc:
        reason = one_line(getattr(exc, "strerror", None) or str(exc)).rstrip(".")
        message = (
            f"The task database {source.database.name} can't be copied to {target}: {reason}. Nothing was written."
        )
        step = "Choose another file, and look at the space that is left."
        if source.database.says_damage(exc):
            step = source.database.rescue
        raise StorageError(message, next_step=step) from exc


def restore(target: Record, source: Path) -> tuple[dict[str, int], Path | None]:
    """Put the record of an SQLite file in a record's place; return how many rows it has, and where the former is now.

    A copy is opened, brought up to this program's version and read first. Then the former file moves aside, with its
    log; in PostgreSQL nothing may be there. Raise `StorageError` where that can't be done, or a process uses the
    record; it is then as it was.
    """
    target.recovery.is_held = bool(target.address)  # it is empty until then; a file is not opened here
    _check_backup(target, source)
    place, own = target.database.real_path, None
    try:
        if not target.address:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            own = place.parent  # what is moved within a file system is there at once
        with TemporaryDirectory(prefix=f"{place.name}.restored-", dir=own) as folder:
            copied = Path(folder, "tasks.db")
            copy_file(source, copied)
            with closing(replace(target, path=copied, address="")) as ours:
                database: Any = ours.database
                database.name, database.keeps_copies = str(source), False
                database.cure = database.rescue = "Nothing was restored. Choose another backup."
                ours.open()
                if target.address:
                    return copy(ours, target, in_use=True, doing="restored"), None
                with ours.database.translated("read"):
                    rows = counts(ours)
            seal(copied)
            return rows, put_in_place(copied, place)
    except (OSError, sqlite3.Error) as exc:
        reason = one_line(getattr(exc, "strerror", None) or str(exc)).rstrip(".")
        message = f"{source} can't be put in the place of {target.database.name}: {reason}. Nothing was restored."
        is_damaged = isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, sqlite3.OperationalError)
        step = "Choose another backup." if is_damaged else "Look at the permissions and the space of both folders."
        raise StorageError(message, next_step=step) from exc


def _check_backup(target: Record, source: Path) -> None:
    """Raise `StorageError` where a file is no backup, or the record in whose place it is to come must be left alone."""
    name, seen = target.database.name, Look(0, frozenset(), is_ours=False)
    with suppress(OSError, sqlite3.Error):
        seen = look_at(source)
    if not seen.is_ours or (source.exists() and target.path.exists() and source.samefile(target.path)):
        is_itself = seen.is_ours and not target.address
        reason = "is that database itself" if is_itself else "is no backup of this program, or a damaged one"
        message = f"{source} {reason}. Nothing was restored."
        raise StorageError(message, next_step="Name a file that database backup has written.")
    if seen.version > SCHEMA_VERSION:
        message = f"{source} has schema version {seen.version}; this program knows {SCHEMA_VERSION}."
        raise StorageError(message, next_step="Update kie-ai-mcp-server. Nothing was restored.")
    target.database.check_unmixed()  # before it is opened, which would write the log into it
    if target.process.has_others():
        message = f"The task database {name} is in use. Nothing was restored."
        raise StorageError(message, next_step=f"Stop every server that uses it, then run: database restore {source}")


def copy_closed(source: Record, target: Record) -> dict[str, int]:
    """Copy as `copy` to a record, which is closed afterwards; as a file it is sealed, as backups are.

    A sealed file that is copied from stays as it is: opened, it would lose the seal by which backups are known.
    """
    if _is_backup(source):
        _check_unused(source, target)
        source.database.check_unmixed()
        with source.database.translated("copied"), TemporaryDirectory() as folder:
            copied = Path(folder, "tasks.db")
            copy_file(source.path, copied)
            with closing(replace(source, path=copied)) as ours:
                database: Any = ours.database
                database.name, database.keeps_copies = source.database.name, False
                rows = copy(ours, target)
    else:
        rows = copy(source, target)
    if not target.address:
        target.close()
        # A server that has opened it meanwhile made it a database in use.
        with target.database.translated("sealed"), suppress(sqlite3.OperationalError):
            seal(target.database.real_path)
    return rows


def _is_backup(record: Record) -> bool:
    """Return whether a record is a sealed file that lacks nothing of what is beside it."""
    path = record.database.real_path
    if record.address or record.recovery.path.exists() or not path.is_file():
        return False
    return is_sealed(path) and is_usable(path)


def _check_unused(*records: Record) -> None:
    """Raise `StorageError` where a process uses one of some records that are not open here."""
    for record in records:
        if not record.database.is_open and record.process.has_others():
            message = f"The task database {record.database.name} is in use. Nothing was copied."
            raise StorageError(message, next_step="Stop every server that uses it, then copy again.")


def copy(source: Record, target: Record, *, in_use: bool = False, doing: str = "copied") -> dict[str, int]:
    """Copy every row to a record that has none; return how many there are by the names of their tables.

    Raise `StorageError` where the target is not empty, a process uses one of them, a request is on its way, or a row is
    another one afterwards; the target is then as it was. Of a source that is `in_use`, a request may be on its way.
    What waits in the target's recovery file is recorded after it.
    """
    target.recovery.is_held = True
    if not in_use:
        _check_unused(source, target)
    for record in (source, target):
        if not record.database.is_open:
            record.open()
    with ExitStack() as stack:
        for record in (source, target):
            stack.enter_context(record.database.translated("copied"))
            stack.enter_context(record.database.at_leisure())
            reads_only = in_use and record is source
            stack.enter_context(record.database.snapshot() if reads_only else record.database.transaction())
        if full := {name: number for name, number in counts(target).items() if number}:
            rows = ", ".join(f"{number} rows in {name}" for name, number in full.items())
            message = f"The task database {target.database.name} is not empty: it has {rows}. Nothing was {doing}."
            raise StorageError(message, next_step="Choose a new database.")
        if not in_use and source.database.first(
            SubmissionRow.select(SubmissionRow.id).where(SubmissionRow.state == "sending")
        ):
            message = f"Requests of {source.database.name} are on their way. Nothing was copied."
            raise StorageError(message, next_step="Stop every server that uses it, then copy again.")
        copied = {table._meta.table_name: _copy_table(source.database, target.database, table) for table in TABLES}
    target.database.tidy(copied)
    target.recovery.is_held = False
    with suppress(StorageError):  # it is recorded at the next start
        if target.recovery.path.exists():
            target.database.guarded(target.submissions.take_in)
    return copied


def counts(record: Record) -> dict[str, int]:
    """Return the number of rows by the names of the tables. Call it where the database is open."""
    return {table._meta.table_name: table.select().count(record.database.connection) for table in TABLES}


def _copy_table(source: Database, target: Database, table: type[peewee.Model]) -> int:
    number, names = 0, [field.column_name for field in table._meta.sorted_fields]
    places = ", ".join([target.connection.param] * len(names))
    insert = f"INSERT INTO {table._meta.table_name} ({_quoted(names)}) VALUES ({places})"  # noqa: S608  our own names
    for page in _pages(source, table):
        target.connection.connection().cursor().executemany(insert, page)
        number += len(page)
    for ours, theirs in zip(_pages(source, table), _pages(target, table), strict=True):
        for row, copied in zip(ours, theirs, strict=True):
            if row != copied:
                message = f"A row of {table._meta.table_name} is another one in {target.name}. Nothing was copied."
                raise StorageError(message, next_step=f"Report it, with the key of the row: {row[0]}.")
    if number and isinstance(table._meta.primary_key, peewee.AutoField):
        target.skip_number(table)
    return number


def _pages(database: Database, table: type[peewee.Model]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a table as they are stored, some at a time, in the order of their keys."""
    fields = table._meta.sorted_fields
    names = [field.column_name for field in fields]
    keys = [key.column_name for key in table._meta.get_primary_keys()]  # type: ignore[no-untyped-call]
    places = ", ".join([database.connection.param] * len(keys))
    query = f"SELECT {_quoted(names)} FROM {table._meta.table_name}"  # noqa: S608  our own names
    last: tuple[Any, ...] = ()
    while True:
        after = f" WHERE ({_quoted(keys)}) > ({places})" if last else ""
        end = f" ORDER BY {_quoted(keys)} LIMIT {AT_ONCE}"
        page = database.connection.execute_sql(query + after + end, last).fetchall()
        if page:
            yield [tuple(map(without_zeros, fields, row)) for row in page]
            last = tuple(page[-1][names.index(key)] for key in keys)
        if len(page) < AT_ONCE:
            return


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
