"""Recovery file of endings that the database did not take: the next process records what it keeps."""

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import anyio.to_thread
from peewee import DataError, IntegrityError, InterfaceError
from pydantic import TypeAdapter

from kie_ai_mcp._record.database import Database, file_lock, open_private
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp.errors import StorageError

log = logging.getLogger(__name__)
ENDING = ".unrecorded.jsonl"  # of the file's name
REMEMBERED = 5_000  # requests of this process, the newest, that are kept in case that the database is lost
adapter_of = cache(TypeAdapter[Ending])  # built at first use: most processes recover nothing
OF_ITS_VALUES = IntegrityError, InterfaceError, DataError  # errors of what a line says
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND

# Records how a submission, by its number and what was written down of it, ended, inside a transaction.
Write = Callable[[int, Mapping[str, Any], Ending], object]


class RecoveryFile:
    """The recovery file of a database, shared by its processes; entries that it can't take wait in memory.

    `requests` are the stored rows of those under way, by number: the file that takes a line in may not have them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.path = database.real_path.with_name(f"{database.real_path.name}{ENDING}")
        self.in_memory: list[str] = []
        self.requests: dict[int, dict[str, Any]] = {}
        self.has_moved = False  # whether another file was opened while requests were under way
        self.is_held = False  # whether all that is kept stays so: the database is about to get its content
        self._sent: deque[str] = deque(maxlen=REMEMBERED)

    def known(self, submission_id: int) -> Mapping[str, Any]:
        """Return what is known of a request that the file may not know."""
        return self.requests.get(submission_id, {}) if self.has_moved else {}

    async def keep(self, submission_id: int, ending: Ending) -> Path:
        """Write an ending to the file, on disk when this returns; else keep it in memory and raise `StorageError`."""
        line = self.remember(submission_id, ending)
        try:
            with self._database.translated("backed by a recovery file"):
                await anyio.to_thread.run_sync(self.append, line)
        except StorageError:
            self.in_memory.append(line)
            raise
        return self.path

    def remember(self, submission_id: int, ending: Ending) -> str:
        """Return the line of an ending; remember it where something was paid for, or may have been."""
        line = _line(submission_id, self.requests.get(submission_id), ending)
        if ending.state in ("accepted", "unknown"):
            self._sent.append(line)
        return line

    def rescue(self) -> None:
        """Keep all that this process paid for, since the database may have lost it; what is not lost stays as it is."""
        lost = Ending("unknown", message="the database was lost before the answer was recorded")
        under_way = (item for item in self.requests.copy().items() if item[1].get("granted_at"))
        self.in_memory += [*self._sent, *(_line(number, known, lost) for number, known in under_way)]
        if self.in_memory:
            with suppress(OSError):
                self.append("\n".join(self.in_memory))

    def append(self, line: str) -> None:
        """Add a line to the file."""
        # Begun on a line of its own, whatever a crash left of the one before.
        with file_lock(f"{self.path}.lock"), open_private(self.path, APPEND) as file:
            file.write(f"\n{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def of_others(self) -> dict[str, str]:
        """Return what waits beside it for other databases: each file in a sentence, with what can be done about it."""
        with suppress(OSError):
            files = sorted(each for each in self.path.parent.glob(f"*{ENDING}") if each.stat().st_size)
            doing = "add its lines to" if self.path.exists() else "rename it to"
            step = "A server that uses that database again records them. Where its record was restored into this one, "
            step += f"stop every server and {doing} {self.path}: the next start records them."
            what = f"keeps the ends of paid requests for another database than {self._database.name}."
            return {f"{each} {what}": step for each in files if each != self.path}
        return {}

    def take_in(self, write: Write) -> None:
        """Record all that was kept, by this process or another, and remove it."""
        if self.is_held:
            return
        if lines := self.in_memory.copy():
            with self._database.transaction():
                for line in lines:
                    self._take_in_line(line, write)
            del self.in_memory[: len(lines)]  # others may have been added meanwhile
            _log_recorded(len(lines), "this process")
        if not self.path.exists():
            return
        with file_lock(f"{self.path}.lock"):
            if not self.path.exists():  # another process took it in meanwhile
                return
            with open_private(self.path, os.O_RDONLY) as file:
                kept = file.read().split(b"\n")
            with self._database.transaction():
                unreadable = [line for line in kept if line and not self._take_in_line(line, write)]
            if unreadable:  # a crash in the middle of a line; kept for a person to read
                with open_private(self.path.with_suffix(".unreadable"), APPEND) as file:
                    file.write(b"\n".join(unreadable) + b"\n")
            self.path.unlink()
            _log_recorded(len([*filter(None, kept)]) - len(unreadable), self.path)

    def _take_in_line(self, line: str | bytes, write: Write) -> bool:
        """Record one entry; return False for one that can't be read, or holds what no database takes."""
        try:
            entry = json.loads(line)
            ending = adapter_of(Ending).validate_python({"state": "accepted", **entry})
            if (ending.state == "accepted") == (ending.task is None):
                return False
            with self._database.connection.savepoint():
                write(int(entry["submission_id"]), entry.get("request") or {}, ending)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError, *OF_ITS_VALUES):
            return False
        return True


def _log_recorded(count: int, place: object) -> None:
    if count:
        log.warning("the ends of %s paid requests that %s kept are recorded now", count, place)


def _line(submission_id: int, request: Mapping[str, Any] | None, ending: Ending) -> str:
    if ending.task is not None:
        made_at = ending.task.created_at or datetime.now(UTC)
        ending = replace(ending, task=replace(ending.task, created_at=made_at))
    entry = {"submission_id": submission_id, "request": request, **asdict(ending)}
    return json.dumps(entry, ensure_ascii=False, default=str).encode(errors="replace").decode()
