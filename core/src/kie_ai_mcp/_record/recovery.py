"""Recovery file of endings that the database did not take, and locks that tell which processes are alive.

No paid request may be forgotten: the next process records what the file keeps, and what a dead one left open.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from kie_ai_mcp._record.database import Database, file_lock, place_of
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import Task

if TYPE_CHECKING:
    from filelock import BaseFileLock

SILENCE_S = 120.0  # how long a process without a lock file counts as alive after it wrote to the database

Write = Callable[[int, Ending], object]  # records how a submission, by its id, ended, inside a transaction


class RecoveryFile:
    """The recovery file of a database, shared by its processes; entries that it can't take wait in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.path = database.real_path.with_name(f"{database.real_path.name}.unrecorded.jsonl")
        self.in_memory: list[str] = []

    async def keep(self, submission_id: int, ending: Ending) -> Path:
        """Write an ending to the file, on disk when this returns; else keep it in memory and raise `StorageError`."""
        line = _line(submission_id, ending)
        try:
            with self._database.translated("backed by a recovery file"):
                await anyio.to_thread.run_sync(self.append, line)
        except StorageError:
            self.in_memory.append(line)
            raise
        return self.path

    def append(self, line: str) -> None:
        """Add a line to the file."""
        with file_lock(f"{self.path}.lock"), self.path.open("a", encoding="utf-8") as file:
            # Begun on a line of its own, whatever a crash left of the one before.
            file.write(f"\n{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def take_in(self, write: Write) -> None:
        """Record all that was kept, by this process or another, and remove it."""
        if lines := self.in_memory.copy():
            with self._database.transaction():
                for line in lines:
                    _take_in_line(line, write)
            del self.in_memory[: len(lines)]  # others may have been added meanwhile
        if not self.path.exists():
            return
        with file_lock(f"{self.path}.lock"):
            if not self.path.exists():  # another process took it in meanwhile
                return
            lines = self.path.read_text(encoding="utf-8").splitlines()
            with self._database.transaction():
                unreadable = [line for line in lines if line and not _take_in_line(line, write)]
            if unreadable:  # a crash in the middle of a line; kept for a person to read
                with self.path.with_suffix(".unreadable").open("a", encoding="utf-8") as file:
                    file.write("\n".join(unreadable) + "\n")
            self.path.unlink()


def _line(submission_id: int, ending: Ending) -> str:
    entry: dict[str, Any] = {"state": ending.state, "code": ending.code, "message": ending.message}
    if ending.task is not None:
        created_at = (ending.task.created_at or datetime.now(UTC)).isoformat()
        entry = {"task": {**asdict(ending.task), "created_at": created_at}}
    return json.dumps({"submission_id": submission_id, **entry}, default=str)


def _take_in_line(line: str, write: Write) -> bool:
    """Record one entry; return False for one that can't be read."""
    try:
        entry = json.loads(line)
        submission_id = int(entry["submission_id"])
        if task := entry.get("task"):
            ending = Ending("accepted", Task(**task | {"created_at": datetime.fromisoformat(task["created_at"])}))
        else:
            ending = Ending(entry["state"], code=entry["code"], message=entry["message"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    write(submission_id, ending)
    return True


class Process:
    """This process, among those that use a database at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mark: BaseFileLock | None = None
        self._place: tuple[int, int] | None = None
        self.owner = uuid.uuid4().hex[:12]

    def announce(self) -> None:
        """Hold a lock for as long as this process lives, so that others can tell when it is dead.

        Called whenever it is about to send: the file is kept young, and made again where a cleaner swept it away.
        """
        if self._mark is not None and place_of(self._mark.lock_file) != self._place:
            self._mark.release()
            self._mark = None
        if self._mark is None:
            self._mark = self._lock_of(self.owner).acquire(timeout=1).lock
            self._place = place_of(self._mark.lock_file)
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
        """Yield whether another process is dead; if so, no third one settles the same requests meanwhile.

        `seen_at` is when it last wrote to the database.
        """
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

    def _lock_of(self, owner: str) -> "BaseFileLock":
        return file_lock(f"{self._database.real_path}.{owner}.lock")
