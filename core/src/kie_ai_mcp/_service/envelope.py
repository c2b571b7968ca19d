"""The service's envelope around each answer, and its codes as errors."""

from kie_ai_mcp.errors import KeyRejected, NoCredits, ServiceError, Unknown, meaning_of
from kie_ai_mcp.specs import Answer, Gateway

CODE_CHARS = 10  # no code of the service is longer; a longer number is no code
MESSAGE_CHARS = 500


def envelope_answer(status: int, body: object) -> Answer | None:
    """Return the answer in Kie.ai's envelope; None where it can't be read.

    The envelope's code counts, except where it reports success and the HTTP status an error.
    """
    if not isinstance(body, dict):
        return None
    code = _code(body.get("code"))
    if status >= 400 and code in {None, 200}:
        code = status
    if code is None:
        return None
    message = repr(str(body.get("msg") or body.get("message") or "").encode("utf-8", "replace").decode())
    message = message if len(message) <= MESSAGE_CHARS else f"{message[: MESSAGE_CHARS - 1]}…"
    return Answer(code, message.strip("'\""), body.get("data"))


def error_of(answer: Answer, gateway: Gateway | None = None) -> ServiceError:
    """Return the error for an answer with a code other than 200, from Kie.ai where no `gateway` is named."""
    meaning = meaning_of(answer.code)
    elsewhere: dict[type[ServiceError], str] = {}
    if gateway is not None and gateway.name != "kie":
        elsewhere = {
            KeyRejected: gateway.key_help,
            NoCredits: f"Top up the account at {gateway.title}.",
            Unknown: f"Look at {gateway.logs_page} before retrying.",
        }
    next_step = elsewhere.get(meaning.error, meaning.next_step)
    return meaning.error(error_text(answer), code=answer.code, next_step=next_step, can_retry=meaning.can_retry)


def error_text(answer: Answer) -> str:
    """Return the meaning of the answer's code, and the service's own message."""
    said = f", in its words: {answer.message}" if answer.message else ""
    return f"Code {answer.code}: {meaning_of(answer.code).text}{said}."


def _code(value: object) -> int | None:
    match value:
        case int() if not isinstance(value, bool) and abs(value) < 10**CODE_CHARS:
            return value
        case str() if value.strip().isdecimal() and len(value) < CODE_CHARS:
            return int(value)
    return None
