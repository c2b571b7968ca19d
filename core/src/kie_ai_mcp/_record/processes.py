"""Processes that use a database at the same time: each holds a lock for as long as it lives."""

import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kie_ai_mcp._record.database import Database, file_lock, place_of
from kie_ai_mcp._settings.databases import is_open

if TYPE_CHECKING:
    from filelock import BaseFileLock

SILENCE_S = 120.0  # how long a process without a lock file counts as alive after it wrote to the database


class Process(ABC):
    """This process, among those that use a database at the same time."""

    def __init__(self) -> None:
        self.owner = uuid.uuid4().hex[:12]

    @abstractmethod
    def announce(self) -> None:
        """Hold a lock for as long as this process lives."""

    @abstractmethod
    def retire(self) -> None:
        """Give up the lock: what this process left open may be settled by others."""

    @abstractmethod
    def has_others(self) -> bool:
        """Return whether another process has the database open now; call it while this one does not."""

    @abstractmethod
    def dead(self, owner: str, seen_at: float) -> AbstractContextManager[bool]:
        """Yield whether a process, `seen_at` its last write, is dead; if so, no third one settles its requests now."""


class LockFile(Process):
    """This process, which holds the lock on a file beside the database."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._mark: BaseFileLock | None = None
        self._place: tuple[int, int] | None = None

    def announce(self) -> None:
        """Hold a lock for as long as this process lives; keep its file young, or make it again, for cleaners sweep."""
        if self._mark is not None and place_of(Path(self._mark.lock_file)) != self._place:
            self._mark.release()
            self._mark = None
        if self._mark is None:
            self._mark = self._lock_of(self.owner).acquire(timeout=1).lock
            self._place = place_of(Path(self._mark.lock_file))
        with suppress(OSError):
            os.utime(self._mark.lock_file)

    def retire(self) -> None:
        """Give up the lock: what this process left open may be settled by others."""
        if self._mark is not None:
            self._mark.release()
            with suppress(OSError):  # on Windows another process may have it open
                Path(self._mark.lock_file).unlink()
            self._mark = None

    @contextmanager
    def dead(self, owner: str, seen_at: float) -> Iterator[bool]:
        """Yield whether a process, `seen_at` its last write, is dead; if so, no third one settles its requests now."""
        lock = self._lock_of(owner)
        # Cleaners of temporary folders sweep lock files away below living processes.
        if not Path(lock.lock_file).exists() and abs(time.time() - seen_at) < SILENCE_S:
            yield False
            return
        try:
            acquired = lock.acquire(timeout=0)
        except TimeoutError:
            yield False
            return
        with acquired:
            yield True
        with suppress(OSError):
            Path(lock.lock_file).unlink()

    def has_others(self) -> bool:
        """Return whether another process has the database open now; call it while this one does not."""
        return is_open(self._database.real_path)

    def _lock_of(self, owner: str) -> "BaseFileLock":
        return file_lock(f"{self._database.real_path}.{owner}.lock")
