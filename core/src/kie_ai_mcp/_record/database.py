"""The file of the record: opened once, used by one worker at a time, its errors made ours. With the rooms that keep
tasks and submissions in it, alone imports peewee.
"""

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import peewee

from kie_ai_mcp._record.migrations import SCHEMA_VERSION, migrate
from kie_ai_mcp.errors import StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

BUSY_TIMEOUT_S = 10
"""How long one statement waits for another process to finish writing."""

CONNECT_S = 0.02
"""Seconds between two tries to connect while another process makes the file."""

D = TypeVar("D", bound="Database")
P = ParamSpec("P")
R = TypeVar("R")


def in_worker(work: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], Awaitable[R]]:
    """Make a synchronous method awaitable: it runs in a worker thread, after the one before it."""

    @wraps(work)
    async def awaitable(self: D, /, *args: P.args, **kwargs: P.kwargs) -> R:
        call = partial(self._guarded, partial(work, self, *args, **kwargs))
        return await anyio.to_thread.run_sync(call, limiter=self._lane)

    return awaitable


@dataclass
class Database:
    """One SQLite file of this process.

    It is asynchronous outside and synchronous inside: a method made by `in_worker` runs in a worker thread, one at a
    time, so a slow disk never stops the server. Every change is committed, and on disk, when the method returns.

    Args:
        path: The file; made with its folder if absent.
    """

    path: Path

    def __post_init__(self) -> None:
        self._db = peewee.SqliteDatabase(
            str(self.path),
            pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1},
            timeout=BUSY_TIMEOUT_S,
            thread_safe=False,  # one connection, used by one worker thread at a time (see _lane)
            check_same_thread=False,
        )
        # Where the file itself lies: a process that opens it through a link must find the same files beside it.
        self._real_path = Path(os.path.realpath(self.path))
        self._lane_limiter: anyio.CapacityLimiter | None = None

    @property
    def _lane(self) -> anyio.CapacityLimiter:
        if self._lane_limiter is None:
            self._lane_limiter = anyio.CapacityLimiter(1)
        return self._lane_limiter

    def open(self) -> None:
        """Open the file and bring it up to this program's version.

        Raises:
            StorageError: The file can't be opened or written, or is newer than this program.
        """
        with self._translated("opened"), self._closed_on_failure():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connect()
            if int(self._db.pragma("user_version")) != SCHEMA_VERSION:
                migrate(self._db, self.path)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(13, "it is read-only")

    async def aclose(self) -> None:
        """Close the file once no other work is under way: closing it below a running statement would crash."""
        await anyio.to_thread.run_sync(self.close, limiter=self._lane)

    def close(self) -> None:
        """Close the file. Only where no worker uses it."""
        self._db.close()

    @in_worker
    def damage(self) -> list[str]:
        """Return what SQLite's own check finds wrong with the file; nothing for a sound one."""
        found = self._db.pragma("integrity_check")
        return [] if found == "ok" else [str(found)]

    # -- inside --------------------------------------------------------------------------------------------------

    def _one(self, query: Any) -> dict[str, Any] | None:
        return next(iter(query.limit(1).dicts().execute(self._db)), None)

    def _connect(self) -> None:
        """Connect; wait where another process is just making the file, which SQLite itself does not wait for."""
        until = time.monotonic() + BUSY_TIMEOUT_S
        while self._db.is_closed():
            try:
                self._db.connect()
            except peewee.OperationalError as exc:
                if "locked" not in str(exc) or time.monotonic() > until:
                    raise
                time.sleep(CONNECT_S)

    def _file_lock(self, path: str) -> "BaseFileLock":
        from filelock import FileLock  # noqa: PLC0415  needed once something is sent, not at start

        return FileLock(path, timeout=BUSY_TIMEOUT_S, thread_local=False)

    def _guarded(self, work: Callable[[], R]) -> R:
        with self._translated("used"):
            if self._db.is_closed():
                self.open()
            return work()

    @contextmanager
    def _closed_on_failure(self) -> Any:
        """A file that was refused once must not be used by the next call."""
        try:
            yield
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _translated(self, doing: str) -> Any:
        """The one door where errors of the file system and of SQLite become ours."""
        try:
            yield
        except StorageError:
            raise
        except (
            OSError,
            peewee.PeeweeException,
            sqlite3.Error,
            OverflowError,
            UnicodeError,
        ) as exc:  # the last while rows are fetched
            # SQLite rolls back by itself when a disk fails; that peewee then can't is not the reason.
            cause: BaseException = exc
            while "cannot rollback" in str(cause) and cause.__context__ is not None:
                cause = cause.__context__
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
            raise StorageError(
                f"The task database {self.path} can't be {doing}: {reason}.",
                next_step="Check the file, its folder's permissions and the free space, or set KIE_AI_DB_PATH.",
            ) from exc
