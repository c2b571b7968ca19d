"""The words that the families' answers share: refusals, moments, checks of fields."""

import json
from datetime import UTC, datetime
from typing import Any

from kie_ai_mcp_sandbox.tasks import Body, Task


class Refusal(Exception):
    """An answer that gives no task; the service sends it with HTTP status 200.

    Args:
        code: The code inside the answer.
        message: Its text.
        data: Its data.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def text(value: Any) -> str:
    """JSON text, as the service puts it inside JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def ms(time_s: float) -> int:
    """Milliseconds since 1970."""
    return int(time_s * 1000)


def iso(time_s: float) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def day_time(time_s: float) -> str:
    """``YYYY-MM-DD HH:MM:SS``."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ended(task: Task, now: float) -> float | None:
    """When the task ended; None while it runs."""
    return task.ends if now >= task.ends else None


def missing(body: Body, required: tuple[str, ...]) -> None:
    """Raise `Refusal` for the first required field that is absent or empty."""
    for name in required:
        if body.get(name) in (None, "", [], {}):
            raise Refusal(422, f"{name} is required")


def one_of(body: Body, name: str, allowed: tuple[Any, ...]) -> None:
    """Raise `Refusal` when a field is there and has none of these values, as number or as text."""
    if body.get(name) is not None and str(body[name]) not in {str(value) for value in allowed}:
        raise Refusal(422, f"{name} must be one of {', '.join(str(value) for value in allowed)}")
