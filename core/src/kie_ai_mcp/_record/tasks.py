"""The tasks on record: what the service made, how it stands, where its results are; and what was uploaded for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import peewee

from kie_ai_mcp._record.database import Database, in_worker
from kie_ai_mcp._record.rows import FINAL, SubmissionRow, TaskRecord, TaskRow, UploadRow, task_record
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import DAY_S, Outcome, Task

# Joined by the submission's number, of which there is one: two may name the same task.
_WITH_ESTIMATE = TaskRow.select(TaskRow, SubmissionRow.estimated_credits).join(
    SubmissionRow, peewee.JOIN.LEFT_OUTER, on=SubmissionRow.id == TaskRow.submission_id
)


@dataclass(frozen=True)
class Filters:
    """Which tasks `Store.tasks` returns; None means any."""

    status: str | None = None
    provider: str | None = None
    kind: str | None = None
    since: datetime | None = None
    before_id: int | None = None
    limit: int = 20


class Tasks(Database):
    """The file, as far as it holds tasks."""

    @in_worker
    def find(self, task_id: str) -> TaskRecord | None:
        """Return one task, or None."""
        row = self._one(_WITH_ESTIMATE.where(TaskRow.task_id == task_id))
        return None if row is None else task_record(row)

    @in_worker
    def adopt(self, task: Task) -> TaskRecord:
        """Record a task that was made elsewhere; one that is known already stays as it is."""
        with self._db.atomic("IMMEDIATE"):
            self._insert_task(task, datetime.now(UTC), None)
        return self._record(task.task_id)

    @in_worker
    def record_outcome(self, task_id: str, outcome: Outcome) -> TaskRecord:
        """Write what the service says of a task. A task that is final stays what it is."""
        with self._db.atomic("IMMEDIATE"):
            self._write_outcome(task_id, outcome)
        return self._record(task_id)

    @in_worker
    def record_files(self, task_id: str, files: Iterable[str]) -> TaskRecord:
        """Write where a task's results were saved."""
        query = TaskRow.update(files=list(files), updated_at=datetime.now(UTC)).where(TaskRow.task_id == task_id)
        query.execute(self._db)
        return self._record(task_id)

    @in_worker
    def tasks(self, filters: Filters) -> list[TaskRecord]:
        """Return tasks newest first, at most `limit`, below `before_id`."""
        query = _WITH_ESTIMATE.order_by(TaskRow.id.desc()).limit(filters.limit)
        wanted = {
            TaskRow.status: filters.status,
            TaskRow.provider: filters.provider,
            TaskRow.kind: filters.kind,
        }
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == value)
        if filters.since is not None:
            query = query.where(TaskRow.created_at >= filters.since)
        if filters.before_id is not None:
            query = query.where(TaskRow.id < filters.before_id)
        return [task_record(row) for row in query.dicts().execute(self._db)]

    @in_worker
    def history(self, after_id: int, limit: int) -> list[TaskRecord]:
        """Return tasks oldest first, at most `limit`, above the row `after_id`; for export."""
        query = TaskRow.select().where(TaskRow.id > after_id).order_by(TaskRow.id).limit(limit)
        return [task_record(row) for row in query.dicts().execute(self._db)]

    @in_worker
    def usual_s(self, tool: str) -> tuple[float, float] | None:
        """Return how many seconds a tool's tasks usually take: the 10th and the 90th percentile of the newest 50.

        None where fewer than three have been finished.
        """
        rows = TaskRow
        query = rows.select(rows.created_at, rows.finished_at).order_by(rows.id.desc()).limit(50)
        query = query.where(rows.tool == tool, rows.status == "completed", rows.finished_at.is_null(False))
        took = [
            max(0.0, (row["finished_at"] - row["created_at"]).total_seconds())
            for row in query.dicts().execute(self._db)
        ]
        if len(took) < 3:
            return None
        import statistics  # noqa: PLC0415  0.7 ms that no start has to pay

        tenths = statistics.quantiles(took, n=10, method="inclusive")
        return tenths[0], tenths[-1]

    @in_worker
    def unsaved(self) -> list[TaskRecord]:
        """Return completed tasks with results that are not saved, the one that expires first at the start."""
        rows, length = TaskRow, peewee.fn.json_array_length
        # The seed's rows have one address, in a column of its own.
        results = peewee.fn.MAX(length(rows.result_urls), rows.result_url.is_null(False))
        query = rows.select().where(rows.status == "completed", length(rows.files) < results)
        records = [task_record(row) for row in query.dicts().execute(self._db)]
        return sorted(records, key=lambda record: record.expires_at or record.updated_at)

    @in_worker
    def upload_of(self, sha256: str) -> tuple[str, datetime] | None:
        """Return where these bytes lie at the service and until when, if they do."""
        found = self._one(
            UploadRow.select().where(UploadRow.sha256 == sha256, UploadRow.expires_at > datetime.now(UTC))
        )
        return (found["url"], found["expires_at"]) if found else None

    @in_worker
    def record_upload(self, sha256: str, url: str, expires_at: datetime) -> None:
        """Write where bytes lie at the service."""
        UploadRow.insert(sha256=sha256, url=url, expires_at=expires_at).on_conflict_replace().execute(self._db)

    # -- inside --------------------------------------------------------------------------------------------------

    def _insert_task(self, task: Task, now: datetime, submission_id: int | None) -> None:
        """Add a task; one that is known stays as it is."""
        TaskRow.insert(
            task_id=task.task_id,
            api_type=task.api_type,
            status="pending",
            created_at=task.created_at or now,
            updated_at=now,
            provider=task.provider,
            tool=task.tool,
            kind=task.kind,
            gateway=task.gateway,
            model=task.model,
            path=task.path,
            status_address=task.status_address,
            submission_id=submission_id,
            result_urls=[],
            files=[],
            keeps_s=DAY_S,
        ).on_conflict_ignore().execute(self._db)

    def _write_outcome(self, task_id: str, outcome: Outcome) -> None:
        now = datetime.now(UTC)
        values: dict[str, Any] = {"status": outcome.status, "updated_at": now, "keeps_s": outcome.keeps_s}
        for name in ("progress", "credits", "model"):
            if getattr(outcome, name) is not None:
                values[name] = getattr(outcome, name)
        if outcome.urls:
            values |= {"result_url": outcome.urls[0], "result_urls": list(outcome.urls)}
        if outcome.status == "failed":
            values |= {"error_message": outcome.error, "error_code": outcome.error_code}
        fixed = [status for status in FINAL if status != outcome.status]
        ours = (TaskRow.task_id == task_id) & TaskRow.status.not_in(fixed)
        TaskRow.update(values).where(ours).execute(self._db)
        if outcome.status in FINAL:
            # Read again, a task has not finished again: links expire from the first time.
            ended = TaskRow.update(finished_at=outcome.finished_at or now)
            ended.where(ours, TaskRow.finished_at.is_null()).execute(self._db)

    def _record(self, task_id: str) -> TaskRecord:
        row = self._one(_WITH_ESTIMATE.where(TaskRow.task_id == task_id))
        if row is None:
            raise StorageError(f"Task {task_id} is no longer on record.", next_step="Ask get_task_status for it again.")
        return task_record(row)
