"""The report of a task or a refused request: one shape for every answer, complete as data and as words."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

from kie_ai_mcp._record.rows import TaskRecord
from kie_ai_mcp.errors import InvalidArgument, KieError, ReadFailed, TaskNotFound, Unknown

_TEXT: dict[str, Any] = {"type": "string"}
_LIST: dict[str, Any] = {"type": "array"}
_NUMBER: dict[str, Any] = {"type": "number"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One task, or one request that made none, as the client gets it.

    The order of the fields is the order of the answer. Those with metadata stand in the output schema, which is short
    because a model reads it once per tool.

    Args:
        is_error: Whether the call failed.
        stuck: Whether the status can't be read until the user changes something; waiting alone does not help.
    """

    task_id: str | None = field(default=None, metadata=_TEXT)
    api_type: str | None = field(default=None, metadata=_TEXT)
    provider: str | None = field(default=None, metadata=_TEXT)
    status: str = field(metadata=_TEXT)
    result_urls: Sequence[str] = field(default=(), metadata=_LIST)
    files: Sequence[str] = field(default=(), metadata=_LIST)
    credits: float | None = field(default=None, metadata=_NUMBER)
    estimated_credits: float | Literal["unknown"] | None = None
    progress: float | None = None
    charged: Literal["yes", "no", "unknown"] | None = field(default=None, metadata=_TEXT)
    created_at: datetime | None = field(default=None, metadata=_TEXT)
    expires_at: datetime | None = field(default=None, metadata=_TEXT)
    error: str | None = field(default=None, metadata=_TEXT)
    read_error: str | None = field(default=None, metadata=_TEXT)
    submission_id: int | None = None
    service_record: Any = None
    next_step: str = field(metadata=_TEXT)
    is_error: bool = field(default=False, repr=False)
    stuck: bool = False

    def rendered(self) -> tuple[str, dict[str, Any]]:
        """Return the answer in words and as data."""
        return self.text(), self.structured()

    def structured(self) -> dict[str, Any]:
        """Return the answer as data; unknown values are left out, empty lists are kept."""
        values = ((name, _plain(getattr(self, name))) for name in _ANSWERED)
        return {name: value for name, value in values if value is not None}

    def text(self) -> str:
        """The same in words, one fact a line."""
        lines = [f"Status: {self.status}" + (f" ({self.progress:.0%})" if self.progress and not self.is_final else "")]
        if self.task_id:
            made_by = f" ({self.api_type}, provider {self.provider})" if self.provider else ""
            lines.append(f"Task: {self.task_id}{made_by}")
        if self.submission_id is not None:
            lines.append(f"Submission: {self.submission_id}")
        lines += [f"Result: {url}" for url in self.result_urls]
        lines += [f"Saved: {file}" for file in self.files]
        if self.expires_at:
            lines.append(f"Links expire: {_when(self.expires_at)}")
        if self.charged:
            lines.append(f"Charged: {self.charged}" + (f", {self.credits:g} credits" if self.credits else ""))
        if self.estimated_credits is not None:
            estimate = self.estimated_credits
            lines.append(f"Estimated credits: {estimate if isinstance(estimate, str) else f'{estimate:g}'}")
        if self.created_at:
            lines.append(f"Created: {_when(self.created_at)}")
        if self.error:
            lines.append(f"Error: {self.error}")
        if self.read_error:
            lines.append(f"This is the last known state; reading the status failed: {self.read_error}")
        if self.service_record is not None:
            lines.append(f"The service's own record: {self.service_record}")
        lines.append(f"Next: {self.next_step}")
        return "\n".join(lines)

    @property
    def is_final(self) -> bool:
        """Whether the task is over."""
        return self.status in {"completed", "failed"}


_ANSWERED = tuple(entry.name for entry in fields(Report) if entry.name not in {"is_error", "stuck"})
# Copied by name; a request's number is shown only where the user may have to settle it.
_IN_RECORD = ({entry.name for entry in fields(TaskRecord)} | {"expires_at"}) & {*_ANSWERED} - {"submission_id"}

OUTPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {entry.name: dict(entry.metadata) for entry in fields(Report) if entry.metadata},
    "required": ["status"],
}
TASKS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tasks": _LIST, "unresolved": _LIST, "next_cursor": _TEXT, "next_step": _TEXT},
}


def report_of(record: TaskRecord, *, read_error: str | None = None, service_record: Any = None) -> Report:
    """Return a task on record as an answer."""
    values = {name: getattr(record, name) for name in _IN_RECORD}
    values |= {"charged": "yes", "error": _reason(record), "next_step": _next_step(record)}
    if record.status == "failed":
        values["charged"] = "unknown"
    if record.status == "failed" or record.credits is not None:
        values["estimated_credits"] = None
    return Report(**values, read_error=read_error, service_record=service_record)


def report_of_error(error: KieError, *, submission_id: int | None = None) -> Report:
    """Return a request that came to no task, or a read that failed, as an answer."""
    # A read that fails says nothing of money, for what it asked for may have been paid long ago; one that costs does.
    read = "not found" if isinstance(error, TaskNotFound) else "unread" if isinstance(error, ReadFailed) else None
    if isinstance(error, InvalidArgument):
        next_step = "Nothing was recorded or sent. Correct the arguments and call again."
    else:
        next_step = error.next_step or ("Call again later." if error.can_retry else "Do not repeat the call unchanged.")
    return Report(
        status=read or ("unknown" if isinstance(error, Unknown) else "refused"),
        next_step=next_step,
        charged=None if read and error.charged == "no" else error.charged,
        error=error.message,
        submission_id=submission_id,
        is_error=True,
    )


def _next_step(record: TaskRecord) -> str:
    if record.status == "failed":
        return "The task is over. Change the request before starting a new one."
    if record.status != "completed":
        return f"Call wait_for_tasks with task_ids ['{record.task_id}']; it goes on by itself meanwhile."
    if not record.result_urls:
        return "The service says it is done but names no result; look at https://kie.ai/logs."
    if record.files:
        return "The results are saved; show them to the user."
    if record.expires_at and record.expires_at < datetime.now(UTC):
        return "The links have probably expired."
    return "Show the links to the user; save them before they expire."


def _reason(record: TaskRecord) -> str | None:
    if record.error and record.error_code:
        return f"{record.error} (code {record.error_code})"
    return record.error


def _plain(value: Any) -> Any:
    """Return a value of a report as JSON knows it."""
    if isinstance(value, datetime):
        return _when(value)
    return list(value) if isinstance(value, tuple) else value


def _when(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
