"""Polls of running tasks: what is on record of them, which of them are over, and who asks the service for one."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import peewee

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import batched
from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.tables import FINAL, ReadRow, TaskRecord, TaskRow, put
from kie_ai_mcp._record.tasks import VALUES, TaskKey, task_at
from kie_ai_mcp.errors import InvalidArgument


class Claim(NamedTuple):
    """A task on record, or None, and whether it is for this call to ask the service for it."""

    record: TaskRecord | None
    is_ours: bool = True


@dataclass
class Polls:
    """The polls of all processes on a database."""

    scope: Scope

    @property
    def database(self) -> Database:
        """The database of the tasks."""
        return self.scope.database

    @batched
    def find(self, calls: Sequence[tuple[TaskKey]]) -> list[TaskRecord | Exception | None]:
        """Return one task, or None, as `Tasks.find` does."""
        return [self._found(key) for (key,) in calls]

    @batched
    def claim(self, calls: Sequence[tuple[TaskKey, float]]) -> list[Claim | Exception]:
        """Return a task, and whether to ask the service for it: not where a process has claimed it since a time.

        The claim is not synced to disk: where it is lost, the task is read once more.
        """
        results = [self._found(key) for key, _ in calls]
        claims = [result if isinstance(result, Exception) else Claim(result) for result in results]
        running = {
            number: result
            for number, result in enumerate(results)
            if isinstance(result, TaskRecord) and not result.final
        }
        if not running:
            return claims
        ours, database = set[int](), self.database
        # What can't be marked is read all the same, perhaps twice: on a full disk, or beside a long write.
        with suppress(peewee.OperationalError), database.unsynced(), database.impatient(), database.transaction():
            now = database.now()
            query = ReadRow.select().where(ReadRow.task.in_({record.row_id for record in running.values()}))
            read_at = {row["task"]: row["read_at"] for row in database.rows(query)}
            for number, record in running.items():
                read = read_at.get(record.row_id, -math.inf)
                if record.row_id in ours or calls[number][1] + database.ahead_s < read <= now:
                    claims[number] = Claim(record, is_ours=False)
                else:
                    ours.add(record.row_id)
            if marks := [{"task": row_id, "read_at": now} for row_id in ours]:
                # No news of a task, so that what waits for news in this process is not woken.
                put(ReadRow, *marks).execute(database.connection)
        return claims

    @batched
    def ended(self, calls: Sequence[tuple[Iterable[int]]]) -> list[list[int] | Exception]:
        """Return which of these rows are tasks that are over."""
        wanted = {row_id for (row_ids,) in calls for row_id in row_ids}
        query = TaskRow.select(TaskRow.row_id).where(TaskRow.status.in_(FINAL))
        parts = (sorted(wanted)[start : start + VALUES] for start in range(0, len(wanted), VALUES))
        over = {row["row_id"] for part in parts for row in self.database.rows(query.where(TaskRow.row_id.in_(part)))}
        return [[row_id for row_id in row_ids if row_id in over] for (row_ids,) in calls]

    def _found(self, key: TaskKey) -> TaskRecord | Exception | None:
        try:
            return task_at(self.scope, key)
        except InvalidArgument as exc:
            return exc
