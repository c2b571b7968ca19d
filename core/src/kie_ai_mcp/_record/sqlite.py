"""SQLite file that keeps the record of one machine: opened once, and used while it is the one at its path."""

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import peewee

from kie_ai_mcp._record.backups import copy_file, is_copy
from kie_ai_mcp._record.database import ERRORS, IMPATIENT_S, Database, Lost, R, newer_than, open_private, place_of
from kie_ai_mcp._record.migrations import SCHEMA_VERSION, migrate
from kie_ai_mcp._settings.databases import has_log, is_sealed, look_at
from kie_ai_mcp._settings.installation import shell_words
from kie_ai_mcp.errors import StorageError, one_line

log = logging.getLogger(__name__)
SOON_BYTES = 16 * 2**20  # the largest file of which the whole check takes half a second, with the cache of a server
CACHE_KIB = 8_192  # of pages; by default the busiest day's requests, which lists add up, drive each other out of it
ON_MACOS = {"fullfsync": 1, "checkpoint_fullfsync": 1}  # elsewhere a flush reaches the disk as it is


@dataclass
class SqliteFile(Database):
    """One SQLite file of this process, created with its folder if absent.

    It is written to only while the open files are those at the path, and older content has not taken their place.
    """

    errors: tuple[type[Exception], ...] = (*ERRORS, sqlite3.Error)
    cure: str = "Check the file, its folder's permissions and the free space, or set KIE_AI_DB_PATH."
    damaged_by: str = "DatabaseError"  # what else can fail has a class of its own
    keeps_copies: bool = True  # whether it is copied beside itself before its schema is changed
    _places: dict[Path, tuple[int, int] | None] = field(default_factory=dict)  # of each file that SQLite keeps open
    # The file's time and size; `_known` without log.
    _written: tuple[tuple[int, int], tuple[str, int] | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rescue = _rescue(self.path)
        self.connection = peewee.SqliteDatabase(
            str(self.path),
            pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1, "cache_size": -CACHE_KIB}
            | ON_MACOS,
            timeout=self.busy_s,
            thread_safe=False,  # one connection, used by one worker thread at a time (see lane)
            check_same_thread=False,
        )
        self.name = str(self.path)
        # Where the file itself lies: a process that opens it through a link must find the same files beside it.
        self.real_path = Path(os.path.realpath(self.path))
        self._log, self._index = Path(f"{self.real_path}-wal"), Path(f"{self.real_path}-shm")

    def open(self) -> None:
        """Open the file and bring it up to this program's version."""
        with self.translated("opened"):
            try:
                self._create()
                place = self._examine()
                self._connect()
                version = int(self.connection.pragma("user_version"))
                self._check_version(version)
                if version != SCHEMA_VERSION:
                    if self.keeps_copies and self.connection.get_tables():
                        self._keep_copy(version)
                    migrate(self.connection)
                if not os.access(self.path, os.W_OK):
                    raise PermissionError(13, "it is read-only")
                if version != SCHEMA_VERSION or place is None:
                    # For the eyes of a process that sees this file under another name, and not its log.
                    self.connection.execute_sql("UPDATE place SET path = ?", (os.fsencode(self.real_path),))
                    self.connection.pragma("wal_checkpoint", "passive")
                if self.is_damaged:
                    self.is_damaged = self.connection.pragma("quick_check") != "ok"
                self._places = {path: place_of(path) for path in (self.real_path, self._log, self._index)}
                self._known = self._written = None
                self.openings += 1
                self.on_open()
            except BaseException:  # the next call must not use what was refused once
                self.connection.close()
                raise

    def guarded(self, work: Callable[[], R]) -> R:
        """Return what `work` returns on the open file; raise `StorageError` where the file can't be used."""
        with self.translated("used"):
            if self.connection.is_closed():
                self.open()
            try:
                self._check_files()
                result = work()
                self._check_files()
            except Lost as lost:
                self._give_up()
                cure = "Call again: what this server paid for is kept, and recorded in the file that is there."
                raise self._error(f"{lost} while it was in use", cure) from None
            except (peewee.DatabaseError, sqlite3.DatabaseError) as exc:
                if self.says_damage(exc):
                    self.is_damaged = True
                    self._give_up(is_whole=_opens_with_log(self.real_path))
                raise
            return result

    def check_unmixed(self) -> None:
        """Raise `StorageError` where the log beside the file is that of another one, without opening either."""
        # What is read would be pages of both.
        if has_log(self.real_path) and self.real_path.exists() and is_sealed(self.real_path):
            problem = f"was put in place beside {self._log.name}, the log of the database that was there before"
            cure = f"With every server stopped, move {self.path.name} to another folder, then use: database restore"
            raise self._error(problem, cure)

    def check_sound(self) -> None:
        """Raise `StorageError` where the file was found damaged: what is written to it may not be found again."""
        if self.is_damaged:
            raise self._error("is damaged", self.rescue)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit together what changes in the context; it keeps other processes from writing meanwhile."""
        with self.connection.atomic("IMMEDIATE"):
            identity, generation = self.connection.execute_sql("SELECT identity, generation FROM place").fetchone()
            self._known = newer_than(self._known, (identity, generation))
            changes = self.connection.connection().total_changes
            yield
            if self.connection.connection().total_changes != changes:
                self.connection.execute_sql("UPDATE place SET generation = ?", (generation + 1,))

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """Commit without waiting for the disk: other processes see it at once, a power failure may undo it."""
        self.connection.pragma("synchronous", "normal")
        try:
            yield
        finally:
            self.connection.pragma("synchronous", "full")

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Give up soon where another process writes."""
        self.connection.pragma("busy_timeout", IMPATIENT_S * 1000)
        try:
            yield
        finally:
            self.connection.pragma("busy_timeout", self.busy_s * 1000)

    def stamp(self) -> tuple[int, ...]:
        """Return numbers that differ from those before if anything was written since, by any process."""
        return self.openings, int(self.connection.pragma("data_version")), self.connection.connection().total_changes

    def damage(self, *, soon: bool = False) -> StorageError | None:
        """Return the error of what SQLite's own check finds; `soon` leaves out the indexes of a large file."""
        is_brief = soon and self.real_path.stat().st_size > SOON_BYTES
        answer = self.connection.pragma("quick_check" if is_brief else "integrity_check")
        return None if answer == "ok" else self._error(f"is damaged: {answer}", self.rescue)

    def text_in(self, column: Any, name: str) -> Any:
        """Return the expression of a text by its name in a column of JSON objects."""
        return peewee.fn.json_extract(column, f"$.{name}")

    def length_of(self, column: Any) -> Any:
        """Return the expression of the number of values in a column of JSON lists."""
        return peewee.fn.json_array_length(column)

    def seconds_of(self, column: Any) -> Any:
        """Return the expression of a column's moments as whole seconds since 1970."""
        return peewee.fn.strftime("%s", column).cast("integer")

    def _keep_copy(self, version: int) -> None:
        """Copy the file beside itself before its schema is changed, unless there is a copy of what it holds now."""
        for number in count(1):
            copied = Path(f"{self.real_path}.version-{version}{'' if number == 1 else f'.{number}'}.bak")
            try:
                copy_file(self.real_path, copied)
            except FileExistsError:
                if is_copy(copied, self.real_path) or int(self.connection.pragma("user_version")) != version:
                    return
            except (OSError, sqlite3.Error) as exc:
                reason = f"no copy of it could be made before a change: {one_line(str(exc))}"
                cure = f"Make room beside it, or put a copy of your own there as {copied.name}; then call again."
                raise self._error(f"has schema version {version}, and {reason}", cure) from exc
            else:
                log.warning("before its schema was changed, the task database was copied to %s", copied)
                return

    def _create(self) -> None:
        """Create the file if absent, for its owner alone; SQLite gives the files beside it the same rights."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.real_path.exists() and (self._places or has_log(self.real_path)):
            step = "restart the server" if self._places else f"delete {self._log}"
            cure = f"Put it back; or, to begin a new one, {step}."
            raise self._error("is gone: it was deleted or moved while a server used it", cure)
        with suppress(FileExistsError):
            open_private(self.real_path, os.O_CREAT | os.O_EXCL).close()
        mode = self.path.stat().st_mode
        with suppress(PermissionError):
            if not mode & stat.S_IWGRP:  # earlier versions let all read it; a group that may write shares it
                self.path.chmod(stat.S_IMODE(mode) & stat.S_IRWXU)

    def _examine(self) -> Path | None:
        """Return the path by which the file was last opened; raise `StorageError` for one that is to be left alone."""
        self.check_unmixed()
        look = look_at(self.real_path)
        self._check_version(look.version)
        if look.tables and not look.is_ours:
            tables = ", ".join(sorted(look.tables)[:5])
            problem = f"The file {self.path} belongs to another program (its tables: {tables}). It was left as it is."
            raise StorageError(problem, next_step=f"Set {self.setting}.")
        place = look.place and Path(os.path.realpath(look.place))  # a link to where it was moved is no other name
        links = self.real_path.stat().st_nlink
        if place and place_of(place) == place_of(self.real_path):
            links += place.name != self.real_path.name or not place.parent.samefile(self.real_path.parent)
        else:
            place = None
        if links > 1:  # each name has a write-ahead log of its own: what one process writes, another one overwrites
            name = f": {place} is the same file" if place and place != self.real_path else ""
            cure = "Use one name everywhere (KIE_AI_DB_PATH), and share its folder, not the file alone."
            raise self._error(f"has more than one name{name}, which would lose paid tasks", cure)
        return place

    def _check_files(self) -> None:
        """Raise where the open files are no longer those at the path, or the file was written to without SQLite."""
        for path, place in self._places.items():
            now = place_of(path)
            if now != place and path != self.real_path:
                raise Lost(f"lost {path.name}")
            if now != place:
                raise Lost("was deleted or moved" if now is None else "was replaced by another file")
        status = self.real_path.stat()
        if status.st_nlink > 1:
            raise Lost("got a second name")
        written = status.st_mtime_ns, status.st_size
        if self._written is None or written != self._written[0]:  # a process has written its log into the file
            known = None if self._written is None else self._written[1]
            self._written = None
            look = look_at(self.real_path)
            self._written = written, known if look.with_log else newer_than(known, look.known)

    def _give_up(self, *, is_whole: bool = False) -> None:
        """Close what is no longer the database at the path, without harm to that."""
        self.on_lost()
        if is_whole:
            self.connection.close()
            return
        path, log = self.real_path, self._log
        is_there, log_is_ours = (place_of(file) == self._places[file] for file in (path, log))
        is_ours = is_there and self._written is not None
        if not is_there:  # the file goes with all that its log holds, wherever it is now
            with suppress(peewee.DatabaseError):
                self.connection.pragma("wal_checkpoint", "passive")
        elif not (is_ours and (log_is_ours or not has_log(self.real_path))):
            # Of a file that seems moved SQLite writes no log back, and deletes none.
            aside = path.with_name(f"{path.name}.moved")
            path.rename(aside)
            self.connection.close()
            aside.rename(path)
        self.connection.close()
        if log_is_ours and not is_ours and log.exists():  # it would be read as that of another file
            log.replace(f"{log}.old")
            self._index.unlink(missing_ok=True)

    def _connect(self) -> None:
        """Connect; wait while another process creates the file, which SQLite itself does not wait for."""
        until = time.monotonic() + self.busy_s
        while self.connection.is_closed():
            try:
                self.connection.connect()
            except peewee.OperationalError as exc:
                if "locked" not in str(exc) or time.monotonic() > until:
                    raise
                time.sleep(0.02)


def _opens_with_log(path: Path) -> bool:
    """Return whether a file and its log are a database to SQLite: one is then never parted from the other."""
    with suppress(OSError, sqlite3.Error):
        return has_log(path) and look_at(path).is_ours
    return False


def _rescue(path: Path) -> str:
    """Return what can be done about a damaged file."""
    file, new = shell_words([str(path)]), shell_words([f"{path}.new"])
    restore = "Stop every server, and put a backup back: database restore FILE"
    rescue = f"Without one, rescue what can be: sqlite3 {file} .recover | sqlite3 {new}"
    return f"{restore}. {rescue}; then set KIE_AI_DB_PATH to {new}, and run: database check"
