"""The rows of the record's tables and the records made of them. With the rooms of the record, alone imports peewee."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import peewee

from kie_ai_mcp.specs import DAY_S, Kind, Status, Task

SubmissionState = Literal["sending", "accepted", "refused", "unknown", "cancelled", "discarded"]
"""``cancelled`` was never sent; ``discarded`` was unknown until its user settled it."""

UNSETTLED = ("sending", "unknown")
FINAL = ("completed", "failed")


class _Moment(peewee.TextField):
    """UTC, as text that sorts by time; the seed's ``YYYY-MM-DD HH:MM:SS`` is read as well."""

    def db_value(self, value: datetime | None) -> str | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

    def python_value(self, value: str | None) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


class _Json(peewee.TextField):
    def db_value(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def python_value(self, value: str | None) -> Any:
        return json.loads(value) if value else None


class TaskRow(peewee.Model):
    """One row of ``tasks``: the seed's columns first, then ours."""

    id = peewee.AutoField()
    task_id = peewee.TextField()
    api_type = peewee.TextField()
    status = peewee.TextField()
    created_at = _Moment()
    updated_at = _Moment()
    result_url = peewee.TextField(null=True)
    error_message = peewee.TextField(null=True)
    provider = peewee.TextField()
    tool = peewee.TextField()
    kind = peewee.TextField()
    gateway = peewee.TextField()
    model = peewee.TextField(null=True)
    path = peewee.TextField()
    status_address = peewee.TextField(default="")
    submission_id = peewee.IntegerField(null=True)
    result_urls = _Json()
    files = _Json()
    error_code = peewee.TextField(null=True)
    progress = peewee.FloatField(null=True)
    credits = peewee.FloatField(null=True)
    finished_at = _Moment(null=True)
    keeps_s = peewee.IntegerField()

    class Meta:
        table_name = "tasks"


class SubmissionRow(peewee.Model):
    """One row of ``submissions``: one paid request."""

    id = peewee.AutoField()
    state = peewee.TextField()
    tool = peewee.TextField()
    provider = peewee.TextField()
    api_type = peewee.TextField()
    kind = peewee.TextField()
    gateway = peewee.TextField()
    model = peewee.TextField(null=True)
    arguments = _Json()
    body_hash = peewee.TextField()
    owner = peewee.TextField()
    created_at = _Moment()
    asked_at = peewee.FloatField()
    granted_at = peewee.FloatField(null=True)
    answered_at = peewee.FloatField(null=True)
    path = peewee.TextField(null=True)
    task_id = peewee.TextField(null=True)
    code = peewee.IntegerField(null=True)
    message = peewee.TextField(null=True)
    subfolder = peewee.TextField(null=True)
    estimated_credits = peewee.FloatField(null=True)

    class Meta:
        table_name = "submissions"


class KeyRow(peewee.Model):
    """One row of ``idempotency_keys``: a key and the request it is bound to."""

    key = peewee.TextField(primary_key=True)
    submission_id = peewee.IntegerField()

    class Meta:
        table_name = "idempotency_keys"


class UploadRow(peewee.Model):
    """One row of ``uploads``: bytes that the service holds for a while."""

    sha256 = peewee.TextField(primary_key=True)
    url = peewee.TextField()
    expires_at = _Moment()

    class Meta:
        table_name = "uploads"


@dataclass(frozen=True)
class TaskRecord:
    """A task as it is on record, with where it came from."""

    task: Task
    status: Status
    created_at: datetime
    updated_at: datetime
    row_id: int = 0
    submission_id: int | None = None
    result_urls: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    error: str | None = None
    error_code: str | None = None
    progress: float | None = None
    credits: float | None = None
    estimated_credits: float | None = None
    finished_at: datetime | None = None
    keeps_s: int = DAY_S

    @property
    def expires_at(self) -> datetime | None:
        """When the service drops the results, as far as it says."""
        if not self.result_urls or self.finished_at is None:
            return None
        try:
            return self.finished_at + timedelta(seconds=self.keeps_s)
        except OverflowError:  # times come from outside
            return None

    @property
    def final(self) -> bool:
        """Whether the service has finished with the task, for better or worse."""
        return self.status in FINAL


@dataclass(frozen=True)
class SubmissionRecord:
    """One paid request as it is on record."""

    id: int
    state: SubmissionState
    tool: str
    provider: str
    arguments: Mapping[str, Any]
    created_at: datetime
    task_id: str | None
    code: int | None
    message: str | None
    body_hash: str = ""
    subfolder: str | None = None
    estimated_credits: float | None = None
    api_type: str = ""
    kind: Kind = "image"
    gateway: str = "kie"
    model: str | None = None


def task_record(row: Mapping[str, Any]) -> TaskRecord:
    """Return a task's row as its record."""
    urls = row["result_urls"] or ([row["result_url"]] if row["result_url"] else [])
    task = Task(
        task_id=row["task_id"],
        api_type=row["api_type"],
        provider=row["provider"],
        kind=row["kind"],
        tool=row["tool"],
        model=row["model"],
        path=row["path"],
        gateway=row["gateway"],
        status_address=row["status_address"],
        created_at=row["created_at"],
    )
    return TaskRecord(
        task=task,
        status=row["status"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        row_id=row["id"],
        submission_id=row["submission_id"],
        result_urls=tuple(urls),
        files=tuple(row["files"] or ()),
        error=row["error_message"],
        error_code=row["error_code"],
        progress=row["progress"],
        credits=row["credits"],
        estimated_credits=row.get("estimated_credits"),
        finished_at=row["finished_at"],
        keeps_s=row["keeps_s"],
    )


def submission_record(row: Mapping[str, Any]) -> SubmissionRecord:
    """Return a submission's row as its record."""
    return SubmissionRecord(
        id=row["id"],
        state=row["state"],
        tool=row["tool"],
        provider=row["provider"],
        arguments=row["arguments"] or {},
        created_at=row["created_at"],
        task_id=row["task_id"],
        code=row["code"],
        message=row["message"],
        body_hash=row["body_hash"],
        subfolder=row["subfolder"],
        estimated_credits=row["estimated_credits"],
        api_type=row["api_type"],
        kind=row["kind"],
        gateway=row["gateway"],
        model=row["model"],
    )
