"""The service's envelope around each answer, and its codes as errors."""

from collections.abc import Mapping, Sequence

from kie_ai_mcp.errors import KeyRejected, NoCredits, Refused, ServiceError, Unknown, meaning_of, one_line, service_says
from kie_ai_mcp.readings import object_in, text_in
from kie_ai_mcp.specs import KIE, Answer, Gateway

CUT = "\0…"  # the end of an answer's text of which not all was read; no JSON ends like this
INNER = ("data", "task", "result", "response")  # fields whose objects may name the task; others repeat the request
USUAL_CHARS = 100
CODE_CHARS = 10  # no code of the service is longer; a longer number is no code


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
    message = str(body.get("msg") or body.get("message") or "")
    is_clean = len(message) < USUAL_CHARS and message.isprintable()
    return Answer(code, message if is_clean else one_line(message), body.get("data"))


def task_ids_in(content: object) -> list[str]:
    """Return the ids of tasks that an answer or a callback names, at each of the places where the families put them."""
    places = [content] if isinstance(content, Mapping) else []
    for place in places:  # it grows by what lies inside
        inner = (place[name] for name in INNER if place.get(name))
        places += [value if isinstance(value, Mapping) else object_in(value) for value in inner]
    places = [*places[1:], *places[:1]]
    return ids_in(*places) or ids_in(*places, names=("recordid", "record_id"))


def ids_in(*places: object, names: Sequence[str] = ("taskid", "task_id")) -> list[str]:
    """Return the ids of tasks that objects name, in whichever case, once each."""
    fields = (field for place in places if isinstance(place, Mapping) for field in place.items())
    ids = (value for name, value in fields if str(name).lower() in names and value)
    return list(dict.fromkeys(filter(None, map(text_in, ids))))


def error_of(answer: Answer, gateway: Gateway | None = None) -> ServiceError:
    """Return the error for an answer with a code other than 200, from Kie.ai where no `gateway` is named."""
    meaning = meaning_of(answer.code)
    elsewhere: dict[type[ServiceError], str] = {}
    if gateway is not None and gateway.name != KIE:
        elsewhere = {
            KeyRejected: gateway.key_help,
            NoCredits: f"Top up the account at {gateway.title}.",
            Unknown: f"Look at {gateway.logs_page} before retrying.",
        }
        if answer.code in {404, 405}:
            elsewhere[Refused] = address_cure(gateway)
    next_step = elsewhere.get(meaning.error, meaning.next_step)
    return meaning.error(
        error_text(answer, gateway), code=answer.code, next_step=next_step, can_retry=meaning.can_retry
    )


def address_cure(gateway: Gateway) -> str:
    """Return what to do where a service seems to serve no such address."""
    if gateway.name == KIE:
        return meaning_of(404).next_step
    return f"Check the address {gateway.base_url} in the settings of {gateway.title}, then the model and the ids given."


def unread_text(answer: Answer, gateway: Gateway) -> str:
    """Return what an answer to a read means that says no; where the address may be wrong, with the setting to check."""
    cure = f" {address_cure(gateway)}" if answer.code in {404, 405} else ""
    return f"{error_text(answer, gateway)}{cure}"


def error_text(answer: Answer, gateway: Gateway | None = None) -> str:
    """Return the meaning of the answer's code, and the service's own message."""
    said, meaning = f" {service_says(answer.message)}" if answer.message else "", meaning_of(answer.code)
    text = meaning.text
    if gateway is not None and gateway.name != KIE and meaning.error is NoCredits:
        text = f"the account at {gateway.title} has not enough left"
    return f"Code {answer.code}: {text}.{said}"


def _code(value: object) -> int | None:
    match value:
        case int() if not isinstance(value, bool) and abs(value) < 10**CODE_CHARS:
            return value
        case float() if value.is_integer() and abs(value) < 10**CODE_CHARS:
            return int(value)
        case str() if value.strip().isdecimal() and len(value) < CODE_CHARS:
            return int(value)
    return None
