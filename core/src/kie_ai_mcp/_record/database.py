"""Connection to the database file: opened once, used by one worker thread at a time, its errors turned into ours."""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import anyio
import peewee

from kie_ai_mcp._record.lane import Lane
from kie_ai_mcp._record.migrations import SCHEMA_VERSION, migrate
from kie_ai_mcp._settings.databases import look_at
from kie_ai_mcp.errors import StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

ON_MACOS = {"fullfsync": 1, "checkpoint_fullfsync": 1}  # elsewhere a flush reaches the disk as it is
RESCUE = "Stop every server, and rescue what can be: sqlite3 {0} .recover | sqlite3 {0}.new"
BUSY_TIMEOUT_S = 10  # how long one statement, or one file lock, waits for another process
IMPATIENT_S = 0.2  # the same, for what need not be written

R = TypeVar("R")


def file_lock(path: str) -> "BaseFileLock":
    """Return a lock that processes share by means of a file, not acquired yet."""
    from filelock import FileLock  # noqa: PLC0415  needed once something is sent, not at start

    return FileLock(path, timeout=BUSY_TIMEOUT_S, thread_local=False, mode=0o600)


def open_private(path: Path, flags: int) -> BinaryIO:
    """Open a file for its owner alone, and never through a link that was planted in its place."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if flags & os.O_WRONLY else "rb")


def place_of(path: Path) -> tuple[int, int] | None:
    """Return a file's device and inode, or None; a link has its own: one in a file's place leads its log elsewhere."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


class _Lost(Exception):
    """The open files are no longer the database at the path; its text is what happened to that."""


def _newer_than(known: tuple[str, int] | None, now: tuple[str, int]) -> tuple[str, int]:
    """Return identity and generation as they are now; raise where that is another database or an older copy.

    A file that has no identity is a new one, whose content still stands in its log alone.
    """
    if known is not None and known[0] and (now[0] != known[0] or now[1] < known[1]):
        raise _Lost("was overwritten with another or an older one")
    return now


@dataclass
class Database:
    """One SQLite file of this process, created with its folder if absent; `on_open` is called each time it was opened.

    It is written to only while the open files are those at the path, and older content has not taken their place.
    Else `on_lost` is called, which keeps elsewhere what was paid for, and the next use opens what is there then.
    Methods made by `in_worker` keep a slow disk from stopping the server; what they change is on disk when they return.
    """

    path: Path
    accounts: Mapping[str, str] = field(default_factory=dict)  # those of `Record`
    on_open: Callable[[], object] = field(init=False)
    on_lost: Callable[[], object] = field(init=False)
    _places: dict[Path, tuple[int, int] | None] = field(default_factory=dict)  # of each file that SQLite keeps open
    _known: tuple[str, int] | None = None  # the content's identity and generation
    _written: tuple[tuple[int, int], tuple[str, int]] | None = None  # the file's time and size; `_known` without log
    is_damaged: bool = False
    openings: int = 0  # how often the file was opened
    has_news: bool = False  # whether this process has written since the last call of `wake_waiters`
    waiting: set[anyio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.connection: Any = peewee.SqliteDatabase(
            str(self.path),
            pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1} | ON_MACOS,
            timeout=BUSY_TIMEOUT_S,
            thread_safe=False,  # one connection, used by one worker thread at a time (see lane)
            check_same_thread=False,
        )
        self.lane = Lane(self.guarded, self._wake_for_news)
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
            except _Lost as lost:
                self._give_up()
                cure = "Call again: what this server paid for is kept, and recorded in the file that is there."
                raise self._error(f"{lost} while it was in use", cure) from None
            except (peewee.DatabaseError, sqlite3.DatabaseError) as exc:
                if type(exc).__name__ == "DatabaseError":  # no file, or a damaged one
                    self.is_damaged = True
                    self._give_up()
                raise
            return result

    def check_sound(self) -> None:
        """Raise `StorageError` where the file was found damaged: what is written to it may not be found again."""
        if self.is_damaged:
            raise self._error("is damaged", RESCUE.format(self.path))

    def accounts_at(self, gateway: str) -> tuple[str, str]:
        """Return this process's account at a gateway, and the one of rows that name none."""
        return self.accounts.get(gateway, ""), ""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit together what changes in the context; it keeps other processes from writing meanwhile."""
        with self.connection.atomic("IMMEDIATE"):
            identity, generation = self.connection.execute_sql("SELECT identity, generation FROM place").fetchone()
            self._known = _newer_than(self._known, (identity, generation))
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
            self.connection.pragma("busy_timeout", BUSY_TIMEOUT_S * 1000)

    def execute(self, query: Any) -> Any:
        """Change what a query says; return the id of a new row, or the number of changed ones."""
        self.has_news = True
        return query.execute(self.connection)

    def _wake_for_news(self) -> None:
        if self.has_news:
            self.wake_waiters()

    def wake_waiters(self) -> None:
        """Wake everything that waits for this process's changes."""
        self.has_news = False
        for event in self.waiting:
            event.set()

    def rows(self, query: Any) -> list[dict[str, Any]]:
        """Return the rows of a query, as values by the names of their fields."""
        return list(query.dicts().execute(self.connection))

    def first(self, query: Any) -> dict[str, Any] | None:
        """Return the first row of a query, or None."""
        return next(iter(self.rows(query.limit(1))), None)

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn errors of the file system and of SQLite into ours; nothing else does."""
        try:
            yield
        # SQLite's own, and the two after it, come up while rows are fetched and values bound.
        except (OSError, peewee.PeeweeException, sqlite3.Error, OverflowError, ValueError) as exc:
            # SQLite rolls back by itself when a disk fails; that peewee then can't is not the reason.
            cause: BaseException = exc
            while "cannot rollback" in str(cause) and cause.__context__ is not None:
                cause = cause.__context__
            reason = getattr(cause, "strerror", None) or cause
            cure = "Check the file, its folder's permissions and the free space, or set KIE_AI_DB_PATH."
            raise self._error(f"can't be {doing}: {reason}", cure) from exc

    def _error(self, problem: str, cure: str) -> StorageError:
        return StorageError(f"The task database {self.path} {problem}.", next_step=cure)

    def _create(self) -> None:
        """Create the file if absent, for its owner alone; SQLite gives the files beside it the same rights."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.real_path.exists() and (self._places or self._has_log()):
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
        look = look_at(self.real_path)
        self._check_version(look.version)
        if look.tables and not look.is_ours:
            tables = ", ".join(sorted(look.tables)[:5])
            problem = f"The file {self.path} belongs to another program (its tables: {tables}). It was left as it is."
            raise StorageError(problem, next_step="Set KIE_AI_DB_PATH to another file.")
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

    def _check_version(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            cure = "Update kie-ai-mcp-server, or set KIE_AI_DB_PATH to another file."
            raise self._error(f"has schema version {version}; this program knows {SCHEMA_VERSION}", cure)

    def _check_files(self) -> None:
        """Raise where the open files are no longer those at the path, or the file was written to without SQLite."""
        for path, place in self._places.items():
            now = place_of(path)
            if now != place and path != self.real_path:
                raise _Lost(f"lost {path.name}")
            if now != place:
                raise _Lost("was deleted or moved" if now is None else "was replaced by another file")
        status = self.real_path.stat()
        if status.st_nlink > 1:
            raise _Lost("got a second name")
        written = status.st_mtime_ns, status.st_size
        if self._written is None or written != self._written[0]:  # a process has written its log into the file
            known = None if self._written is None else self._written[1]
            self._written = None
            self._written = written, _newer_than(known, look_at(self.real_path).known)

    def _give_up(self) -> None:
        """Close what is no longer the database at the path, without harm to that."""
        self.on_lost()
        path, log = self.real_path, self._log
        is_there, log_is_ours = (place_of(file) == self._places[file] for file in (path, log))
        is_ours = is_there and self._written is not None
        if not is_there:  # the file goes with all that its log holds, wherever it is now
            with suppress(peewee.DatabaseError):
                self.connection.pragma("wal_checkpoint", "passive")
        elif not (is_ours and (log_is_ours or not self._has_log())):
            # Of a file that seems moved SQLite writes no log back, and deletes none.
            aside = path.with_name(f"{path.name}.moved")
            path.rename(aside)
            self.connection.close()
            aside.rename(path)
        self.connection.close()
        if log_is_ours and not is_ours and log.exists():  # it would be read as that of another file
            log.replace(f"{log}.old")
            self._index.unlink(missing_ok=True)

    def _has_log(self) -> bool:
        return self._log.exists() and self._log.stat().st_size > 0

    def _connect(self) -> None:
        """Connect; wait while another process creates the file, which SQLite itself does not wait for."""
        until = time.monotonic() + BUSY_TIMEOUT_S
        while self.connection.is_closed():
            try:
                self.connection.connect()
            except peewee.OperationalError as exc:
                if "locked" not in str(exc) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
