"""What a tool answers: one shape for started, running, done and failed, complete both as data and as words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from kie_ai_mcp._record.rows import TaskRecord
from kie_ai_mcp.errors import InvalidArgument, KieError, ReadFailed, TaskNotFound, Unknown

_TEXT = {"type": "string"}
_LIST = {"type": "array"}

# Kept short: a model reads it once per tool. What is absent from an answer is not known or does not apply.
OUTPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task_id": _TEXT,
        "api_type": _TEXT,
        "provider": _TEXT,
        "status": _TEXT,
        "result_urls": _LIST,
        "files": _LIST,
        "credits": {"type": "number"},
        "charged": _TEXT,
        "created_at": _TEXT,
        "expires_at": _TEXT,
        "error": _TEXT,
        "read_error": _TEXT,
        "next_step": _TEXT,
    },
    "required": ["status"],
}
TASKS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tasks": _LIST, "unresolved": _LIST, "next_cursor": _TEXT, "next_step": _TEXT},
}


@dataclass(frozen=True)
class Report:
    """One task, or one request that came to none, as it is told to the client."""

    status: str
    next_step: str
    task_id: str | None = None
    api_type: str | None = None
    provider: str | None = None
    result_urls: Sequence[str] = ()
    files: Sequence[str] = ()
    credits: float | None = None
    estimated_credits: float | Literal["unknown"] | None = None
    progress: float | None = None
    charged: Literal["yes", "no", "unknown"] | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    error: str | None = None
    read_error: str | None = None
    submission_id: int | None = None
    service_record: Any = None
    is_error: bool = field(default=False, repr=False)
    stuck: bool = False
    """Whether its status can't be read until the user changes something; waiting alone does not help."""

    def structured(self) -> dict[str, Any]:
        """The answer as data; what is not known is left out, empty lists are kept."""
        values: dict[str, Any] = {
            "task_id": self.task_id,
            "api_type": self.api_type,
            "provider": self.provider,
            "status": self.status,
            "result_urls": list(self.result_urls),
            "files": list(self.files),
            "credits": self.credits,
            "estimated_credits": self.estimated_credits,
            "progress": self.progress,
            "charged": self.charged,
            "created_at": _when(self.created_at),
            "expires_at": _when(self.expires_at),
            "error": self.error,
            "read_error": self.read_error,
            "submission_id": self.submission_id,
            "service_record": self.service_record,
            "next_step": self.next_step,
        }
        return {name: value for name, value in values.items() if value is not None}

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


def report_of(record: TaskRecord, *, read_error: str | None = None, service_record: Any = None) -> Report:
    """Return a task on record as an answer."""
    return Report(
        status=record.status,
        next_step=_next_step(record),
        task_id=record.task.task_id,
        api_type=record.task.api_type,
        provider=record.task.provider,
        result_urls=record.result_urls,
        files=record.files,
        credits=record.credits,
        estimated_credits=record.estimated_credits if record.credits is None and record.status != "failed" else None,
        progress=record.progress,
        charged="unknown" if record.status == "failed" else "yes",
        created_at=record.created_at,
        expires_at=record.expires_at,
        error=_reason(record),
        read_error=read_error,
        service_record=service_record,
    )


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
        return f"Call wait_for_tasks with task_ids ['{record.task.task_id}']; it goes on by itself meanwhile."
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


def _when(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
