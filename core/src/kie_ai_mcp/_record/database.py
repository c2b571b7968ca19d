"""Database of the record, whatever keeps it: used by one worker thread at a time, its errors turned into ours."""

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import anyio
import peewee

from kie_ai_mcp._record.lane import Lane
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp.errors import StorageError, one_line

if TYPE_CHECKING:
    from filelock import BaseFileLock

BUSY_TIMEOUT_S = 10  # how long one statement, or one file lock, waits for another process
LEAST_SPACE = 100_000  # bytes of the disk, of which one paid request and its end take about half
IMPATIENT_S = 0.2  # the same, for what need not be written

ERRORS = OSError, peewee.PeeweeException, OverflowError, ValueError  # they say that a database can't be used
CANT_ROLL_BACK = "cannot rollback", "the connection is closed", "the connection is lost"

R = TypeVar("R")
Hear = Callable[[str], object]


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


class Lost(Exception):
    """What was opened is no longer the database at its address; its text is what happened to that."""


def newer_than(known: tuple[str, int] | None, now: tuple[str, int]) -> tuple[str, int]:
    """Return identity and generation as they are now; raise where that is another database or an older copy.

    A file that has no identity is a new one, whose content still stands in its log alone.
    """
    if known is not None and known[0] and (now[0] != known[0] or now[1] < known[1]):
        raise Lost("was overwritten with another or an older one")
    return now


@dataclass
class Database(ABC):
    """One database of this process; `on_open` is called each time it was opened.

    Where what was opened has been lost, or older content has taken its place, `on_lost` is called, which keeps
    elsewhere what was paid for, and the next use opens what is there then. Methods made by `in_worker` keep a slow disk
    or network from stopping the server; what they change is on disk when they return.
    """

    path: Path  # its file; of a database elsewhere, the file that would take its place, which others here stand beside
    connection: Any = field(init=False)
    real_path: Path = field(init=False)
    name: str = field(init=False)
    on_open: Callable[[], object] = field(init=False)
    on_lost: Callable[[], object] = field(init=False)
    is_damaged: bool = False
    ahead_s: float = 0.0  # how much its clock is ahead of this machine's: servers on several agree on its time
    openings: int = 0  # how often it was opened
    has_news: bool = False  # whether the work that is under way has written
    ended: list[str] = field(default_factory=list)  # the tasks, as answers write their ids, that it has ended
    waiting: set[anyio.Event] = field(default_factory=set)
    mark: str = ""  # what stands around the words of its driver in our errors
    has_failed: bool = False  # whether it may take no writes: something failed, and nothing was tried since
    errors: tuple[type[Exception], ...] = ERRORS  # and those of its driver that peewee lets through
    cure: str = ""
    rescue: str = field(default="", init=False)  # what can be done where it is damaged
    damaged_by: str = ""  # the class of the errors that say so; PostgreSQL says it in its own log
    setting: str = "KIE_AI_DB_PATH to another file"
    no_damage: str = "is sound and takes writes"  # what is true where neither check finds anything
    busy_s: float = field(default_factory=lambda: BUSY_TIMEOUT_S)
    _known: tuple[str, int] | None = None  # the content's identity and generation
    _wakes: bool = False  # whether a work that has ended wrote, which nobody here was woken for yet

    def __post_init__(self) -> None:
        self.lane = Lane(self._use, self._wake_for_news)

    @abstractmethod
    def open(self) -> None:
        """Open it and bring it up to this program's version."""

    @abstractmethod
    def guarded(self, work: Callable[[], R]) -> R:
        """Return what `work` returns on the open database; raise `StorageError` where that can't be used."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Commit together what changes in the context; it keeps other processes from writing meanwhile."""

    @abstractmethod
    def unsynced(self) -> AbstractContextManager[None]:
        """Commit without waiting for the disk: other processes see it at once, a power failure may undo it."""

    @abstractmethod
    def impatient(self) -> AbstractContextManager[None]:
        """Give up soon where another process writes."""

    @abstractmethod
    def stamp(self) -> tuple[int, ...]:
        """Return numbers that differ from those before if anything was written since, by any process."""

    @abstractmethod
    def damage(self, *, soon: bool = False) -> StorageError | None:
        """Return the error of what the database's own check finds wrong with it; None for a sound one.

        `soon` leaves out, of a large one, the part of the check that takes long.
        """

    @abstractmethod
    def text_in(self, column: Any, name: str) -> Any:
        """Return the expression of a text by its name in a column of JSON objects."""

    @abstractmethod
    def length_of(self, column: Any) -> Any:
        """Return the expression of the number of values in a column of JSON lists."""

    @abstractmethod
    def seconds_of(self, column: Any) -> Any:
        """Return the expression of a column's moments as whole seconds since 1970."""

    @property
    def is_open(self) -> bool:
        """Whether it is open, as far as is known here."""
        return self.connection is not None and not self.connection.is_closed()

    def now(self) -> float:
        """Return the time, as seconds since 1970, on which all servers that use the database agree."""
        return time.time() + self.ahead_s

    def close(self) -> None:
        """Close it, if it is open."""
        self.connection.close()

    def at_leisure(self) -> AbstractContextManager[object]:
        """Let work in the context take any time."""
        return nullcontext()

    def snapshot(self) -> AbstractContextManager[Any]:
        """Read it in the context as it is at one moment, while others may write."""
        context: AbstractContextManager[Any] = self.connection.atomic()
        return context

    def skip_number(self, table: type[peewee.Model]) -> None:  # noqa: B027  what SQLite does by itself
        """Take note that a row was added whose number the database did not choose."""

    def tidy(self, tables: Iterable[str]) -> None:  # noqa: B027  as before
        """Make reading quick again after many rows were added; whatever fails, nothing depends on it."""

    def listen(self, hear: Hear) -> None:  # noqa: B027  SQLite tells nobody anything
        """Hear what other processes write as soon as they do; `hear` is called with the id of each task that ended."""

    def check_content(self) -> None:  # noqa: B027  of a file `guarded` does it
        """Raise `Lost` where another database, or an older copy, has taken its place, as each transaction does."""

    def check_unmixed(self) -> None:  # noqa: B027  files alone have a log beside them
        """Raise `StorageError` where the log beside it is that of another database, without opening either."""

    def check_sound(self) -> None:  # noqa: B027  PostgreSQL refuses by itself
        """Raise `StorageError` where it was found damaged: what is written to it may not be found again."""

    def says_damage(self, error: BaseException) -> bool:
        """Return whether an error means that the database is damaged."""
        return type(error).__name__ == self.damaged_by

    def check_writable(self) -> None:
        """Raise an error where too little can be written; it writes as little as can be. Call it in the worker."""
        with self.unsynced(), self.transaction():
            self.connection.execute_sql("UPDATE place SET generation = generation")
        # A small write may find space in a file's log; a recovery file beside it does not.
        with suppress(OSError):  # of a database elsewhere there may be no folder here
            if (free := shutil.disk_usage(self.real_path.parent).free) < LEAST_SPACE:
                raise self._error(f"lacks space: its disk is full ({free // 1000} kB are free)", self.cure)
        self.has_failed = False

    def execute(self, query: Any) -> Any:
        """Change what a query says; return the id of a new row, or the number of changed ones."""
        self.has_news = True
        return query.execute(self.connection)

    def _use(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, as `guarded`; what it wrote is news then, as the worker alone notes."""
        try:
            return self.guarded(work)
        finally:
            self._wakes = self._wakes or self.has_news
            self.has_news = False
            self.ended.clear()

    def _wake_for_news(self) -> None:
        if self._wakes:
            self._wakes = False
            self.wake_waiters()

    def wake_waiters(self) -> None:
        """Wake everything that waits for changes."""
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
        """Turn errors of the file system, of peewee and of the driver into ours; nothing else does."""
        try:
            yield
        # Some are raised while rows are fetched and values bound, where peewee does not translate them.
        except self.errors as exc:
            # What fails rolls back by itself; that peewee then can't is not the reason.
            cause: BaseException = exc
            while any(text in str(cause) for text in CANT_ROLL_BACK) and cause.__context__ is not None:
                cause = cause.__context__
            self.has_failed = True
            reason = one_line(getattr(cause, "strerror", None) or str(cause)).rstrip(".")
            if self.mark:
                reason = f"{self.mark}{reason.replace(self.mark, chr(39))}{self.mark}"
            if self.says_damage(cause):
                problem = "is damaged, or no database" if "not a database" in reason else "is damaged"
                raise self._error(f"{problem}: {reason}", self.rescue) from exc
            raise self._error(f"can't be {doing}: {reason}", self.cure) from exc

    def _error(self, problem: str, cure: str) -> StorageError:
        return StorageError(f"The task database {self.name} {problem}.", next_step=cure)

    def _unusable(self, problem: str, cure: str) -> StorageError:
        """Return the error of what waiting does not mend."""
        return StorageError(f"The task database {self.name} {problem}.", next_step=cure, may_pass=False)

    def _check_version(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            cure = f"Update kie-ai-mcp-server, or set {self.setting}."  # noqa: S608  no query
            raise self._unusable(f"has schema version {version}; this program knows {SCHEMA_VERSION}", cure)
