"""What an answer says: the service's envelope, its codes as errors, its strings changed."""

from collections.abc import Callable
from typing import Any

from kie_ai_mcp.errors import KeyRejected, NoCredits, ServiceError, Unknown, meaning_of, shorten, sound
from kie_ai_mcp.specs import Answer, Gateway

DEEPEST = 60
"""How deep an answer may be nested; no real one comes near."""

CODE_CHARS = 10
"""No code of the service is longer; a longer number is no code."""


def envelope_answer(status: int, body: object) -> Answer | None:
    """Read Kie.ai's envelope: its code counts, except where the HTTP status says no and the code says yes."""
    if not isinstance(body, dict):
        return None
    code = _code(body.get("code"))
    if code is None or (status >= 400 and code == 200):
        code = status if status >= 400 else None
    if code is None:
        return None
    message = body.get("msg") or body.get("message") or ""
    return Answer(code, shorten(sound(str(message)), 500).strip("'\""), body.get("data"))


def error_of(answer: Answer, gateway: Gateway | None = None) -> ServiceError:
    """Return the error that an answer other than 200 stands for.

    Args:
        answer: It.
        gateway: The service that gave it; Kie.ai if left out.
    """
    meaning = meaning_of(answer.code)
    next_step = meaning.next_step
    if gateway is not None and gateway.name != "kie":
        elsewhere = {
            KeyRejected: gateway.key_help,
            NoCredits: f"Top up the account at {gateway.title}.",
            Unknown: f"Look at {gateway.logs_page} before retrying.",
        }
        next_step = elsewhere.get(meaning.error, next_step)
    return meaning.error(error_text(answer), code=answer.code, next_step=next_step, can_retry=meaning.can_retry)


def error_text(answer: Answer) -> str:
    """Return what the service said, with its code's meaning."""
    said = f", in its words: {answer.message}" if answer.message else ""
    return f"Code {answer.code}: {meaning_of(answer.code).text}{said}."


def map_strings(value: Any, change: Callable[[str], str], depth: int = 0) -> Any:
    """Return a JSON value with every string in it changed, names included.

    Raises:
        ValueError: It is nested deeper than any real answer.
    """
    if depth > DEEPEST:
        raise ValueError(f"the answer is nested more than {DEEPEST} times")
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_strings(entry, change, depth + 1) for entry in value]
    if isinstance(value, dict):
        return {change(name): map_strings(entry, change, depth + 1) for name, entry in value.items()}
    return value


def _code(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**CODE_CHARS else None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < CODE_CHARS:
        return int(value)
    return None
