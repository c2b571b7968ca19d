"""Connection to the database file: opened once, used by one worker thread at a time, its errors turned into ours."""

import os
import sqlite3
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import peewee

from kie_ai_mcp._record.migrations import SCHEMA_VERSION, migrate
from kie_ai_mcp.errors import StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

BUSY_TIMEOUT_S = 10  # how long one statement, or one file lock, waits for another process

P = ParamSpec("P")
R = TypeVar("R")


def in_worker(work: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Awaitable[R]]:
    """Make a method of an object with a `database` awaitable: it runs in a worker thread, after the one before it."""

    @wraps(work)
    async def awaitable(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        call = partial(self.database.guarded, partial(work, self, *args, **kwargs))
        return await anyio.to_thread.run_sync(call, limiter=self.database.lane)

    return awaitable


def file_lock(path: str) -> "BaseFileLock":
    """Return a lock that processes share by means of a file, not acquired yet."""
    from filelock import FileLock  # noqa: PLC0415  needed once something is sent, not at start

    return FileLock(path, timeout=BUSY_TIMEOUT_S, thread_local=False, mode=0o600)


def open_private(path: Path, flags: int) -> BinaryIO:
    """Open a file for its owner alone, and never through a link that was planted in its place."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if flags & os.O_WRONLY else "rb")


def place_of(path: str | Path) -> tuple[int, int] | None:
    """Return what tells a file from any other one, device and inode; None where there is no file."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@dataclass
class Database:
    """One SQLite file of this process, created with its folder if absent; `on_open` is called each time it was opened.

    Methods made by `in_worker` keep a slow disk from stopping the server; what they change is on disk when they return.
    """

    path: Path
    accounts: Mapping[str, str] = field(default_factory=dict)  # those of `Record`
    on_open: Callable[[], object] = field(init=False)

    def __post_init__(self) -> None:
        self.connection = peewee.SqliteDatabase(
            str(self.path),
            pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1},
            timeout=BUSY_TIMEOUT_S,
            thread_safe=False,  # one connection, used by one worker thread at a time (see lane)
            check_same_thread=False,
        )
        self.lane = anyio.CapacityLimiter(1)
        # Where the file itself lies: a process that opens it through a link must find the same files beside it.
        self.real_path = Path(os.path.realpath(self.path))

    def open(self) -> None:
        """Open the file and bring it up to this program's version."""
        with self.translated("opened"):
            try:
                self._create()
                self._connect()
                if int(self.connection.pragma("user_version")) != SCHEMA_VERSION:
                    migrate(self.connection)
                if not os.access(self.path, os.W_OK):
                    raise PermissionError(13, "it is read-only")
                self.on_open()
            except BaseException:  # the next call must not use what was refused once
                self.connection.close()
                raise

    def guarded(self, work: Callable[[], R]) -> R:
        """Return what `work` returns on the open file; raise `StorageError` where the file can't be used."""
        with self.translated("used"):
            if self.connection.is_closed():
                self.open()
            return work()

    def accounts_at(self, gateway: str) -> tuple[str, str]:
        """Return this process's account at a gateway, and the one of rows that name none."""
        return self.accounts.get(gateway, ""), ""

    def transaction(self) -> Any:
        """Return a context whose changes are committed together; it keeps other processes from writing meanwhile."""
        return self.connection.atomic("IMMEDIATE")

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """Commit without waiting for the disk: other processes see it at once, a power failure may undo it."""
        self.connection.pragma("synchronous", "normal")
        try:
            yield
        finally:
            self.connection.pragma("synchronous", "full")

    def execute(self, query: Any) -> Any:
        """Change what a query says; return the id of a new row, or the number of changed ones."""
        return query.execute(self.connection)

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
        except (OSError, peewee.PeeweeException, sqlite3.Error, OverflowError, UnicodeError) as exc:
            # SQLite rolls back by itself when a disk fails; that peewee then can't is not the reason.
            cause: BaseException = exc
            while "cannot rollback" in str(cause) and cause.__context__ is not None:
                cause = cause.__context__
            reason = getattr(cause, "strerror", None) or cause
            raise StorageError(
                f"The task database {self.path} can't be {doing}: {reason}.",
                next_step="Check the file, its folder's permissions and the free space, or set KIE_AI_DB_PATH.",
            ) from exc

    def _create(self) -> None:
        """Create the file if absent, for its owner alone; SQLite gives the files beside it the same rights."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            open_private(self.real_path, os.O_CREAT | os.O_EXCL).close()
        mode = self.path.stat().st_mode
        if not mode & stat.S_IWGRP:  # files of earlier versions could be read by all; a group that writes shares it
            with suppress(PermissionError):
                self.path.chmod(stat.S_IMODE(mode) & stat.S_IRWXU)

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
