"""Entries of the gallery: each task or request on record as a JSON value, which the page's script draws."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord, prompt_of
from kie_ai_mcp._settings.installation import typed_command
from kie_ai_mcp.specs import CREDITS, KIE

PROMPT_CHARS = 2000
ARGUMENT_CHARS = 200
ARGUMENTS = 16
DATA_CHARS = 6000

_CHARGED = {"refused": "not charged", "cancelled": "never sent", "unknown": "may have been charged", "sending": ""}

Entry = dict[str, Any]


def task_entry(
    record: TaskRecord, request: SubmissionRecord | None, results: Sequence[Mapping[str, Any]], now: datetime
) -> Entry:
    """Return a task as an entry; `request` is None for one made elsewhere.

    Each of `results` has a number and what there is of it: address of the link (url), and of a file its name, its
    kind, and how the page gets it (address or uri). A result without a name is not saved.
    """
    is_shown = any(result.get("name") and result.get("kind") != "text" for result in results)
    expires_at = None if is_shown or record.status != "completed" else record.expires_at
    is_expired = expires_at is not None and expires_at < now
    unpriced = record.credits is None and record.status != "failed"
    is_plain = re.fullmatch(r"\w[\w:.-]*", record.written_id, re.ASCII)  # a shell takes it for nothing else
    return _entry(
        record,
        request.arguments if request else None,
        task_id=record.written_id,
        states=[record.status, "expired"] if is_expired else [record.status],
        results=[dict(result) for result in results],
        gone=bool(any(record.files) and not is_shown) or None,
        unsaved=list(record.unsaved),
        data=None if record.data is None else _data(record.data),
        error=_error(record.error, record.error_code),
        credits=record.credits,
        estimated_credits=request.estimated_credits if request and unpriced else None,
        unit=None if record.unit == CREDITS else record.unit,
        progress=None if record.final else record.progress,
        finished_at=_when(record.finished_at),
        expires_at=_when(expires_at),
        command=f"{typed_command(anywhere=True)} tasks again {record.written_id}" if request and is_plain else None,
    )


def request_entry(request: SubmissionRecord) -> Entry:
    """Return a request without a task as an entry."""
    here = request.gateway == KIE
    return _entry(
        request,
        request.arguments,
        submission_id=request.id,
        status=request.state,
        error=_error(request.message, request.code),
        cost=_CHARGED.get(request.state, "cost unknown"),
        logs_page="https://kie.ai/logs" if here else f"the request log of {request.gateway}",
    )


def _entry(record: TaskRecord | SubmissionRecord, arguments: Mapping[str, Any] | None, **values: Any) -> Entry:
    given = arguments or {}
    prompt = given.get("prompt")
    words = prompt.strip() if isinstance(prompt, str) else prompt_of(given)
    said = (name for name in ("prompt", "text") if isinstance(given.get(name), str) and given[name].strip() == words)
    own = next(said, "prompt")
    others = ((name, _value(value)) for name, value in given.items() if name != own)
    entry = {
        "provider": record.provider or record.api_type,
        "kind": record.kind,
        "gateway": record.gateway,
        "tool": record.tool,
        "model": record.model,
        "status": getattr(record, "status", None),
        "created_at": _when(record.created_at),
        "prompt": words[:PROMPT_CHARS],
        "prompt_chars": len(words) if len(words) > PROMPT_CHARS else None,
        "elsewhere": True if arguments is None else None,
        "arguments": dict(islice(others, ARGUMENTS)),
        **values,
    }
    return {name: value for name, value in entry.items() if value is not None and value not in ([], {})}


def cut(text: str, limit: int) -> str:
    """Return `text`, cut to `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _error(text: str | None, code: object) -> str | None:
    return f"{text} (code {code})" if text and code else text


def _data(data: object) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=1)
    return cut(text, DATA_CHARS)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return cut(text, ARGUMENT_CHARS)


def _when(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
