"""The faults the sandbox can play, as a table, and the answers they give.

A fault is written ``name`` or ``name:value``; a plan may add how often and where: ``drop-after*3@jobs/createTask``,
``http:500*always``. Each names what it does to the exchange and whether a create request that meets it is accepted:
then the task exists, is paid and stands in the ledger, whatever the client gets to see. Status reads are free, so for
them only the answer changes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PLAIN = {"content-type": "text/plain; charset=utf-8"}
HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": "application/json"}

MESSAGES: Mapping[int, str] = {
    200: "success",
    400: "The request is not valid",
    401: "You have no access permissions",
    402: "Credits insufficient",
    404: "Not found",
    408: "The upstream gave no result in time",
    422: "Validation failed",
    429: "Too many requests, try again later",
    433: "The usage limit of this key is reached",
    451: "The given file could not be fetched",
    455: "The service is under maintenance",
    500: "Server exception, please try again later",
    501: "Generation failed",
    502: "Bad gateway",
    503: "Service unavailable",
    505: "The feature is switched off",
}


@dataclass(frozen=True)
class Kind:
    """One sort of fault.

    Args:
        takes: What its value is; "" when it has none.
        accepts: Whether a create request that meets it is accepted.
        says: What it does.
    """

    takes: Literal["", "seconds", "code"]
    accepts: bool
    says: str


KINDS: Mapping[str, Kind] = {
    "slow": Kind("seconds", True, "accepts at once, answers that much later"),
    "timeout": Kind("", True, "accepts, never answers"),
    "drop-before": Kind("", False, "closes the connection without reading the body"),
    "drop-after": Kind("", True, "accepts, then resets the connection without an answer"),
    "cut": Kind("", True, "accepts, sends half of the answer under its full length, then closes"),
    "slow-body": Kind("seconds", True, "accepts, sends the answer in small pieces over that time"),
    "html": Kind("", False, "a proxy's HTML page with HTTP status 200"),
    "empty": Kind("", True, "accepts, answers with an empty body"),
    "list": Kind("", True, "accepts, answers with a JSON list"),
    "garbage": Kind("", True, "accepts, answers with bytes that are no JSON"),
    "no-task-id": Kind("", True, "accepts, answers code 200 with empty data"),
    "same-task-id": Kind("", False, "makes nothing new, answers with the id of the task before"),
    "string-code": Kind("", True, 'accepts, answers with the code as text ("200")'),
    "http": Kind("code", False, "this HTTP status, with the same code in the envelope"),
    "http-html": Kind("code", False, "this HTTP status with an HTML page"),
    "code": Kind("code", False, "HTTP status 200 with this code in the envelope"),
    "429": Kind("seconds", False, "HTTP status 429 with this Retry-After"),
    "echo-key": Kind("", False, "code 401 whose message repeats the Authorization header, also inside an address"),
}


@dataclass(frozen=True)
class Fault:
    """A fault with its value: ``slow:2`` is ``Fault("slow", 2.0)``."""

    name: str
    value: float = 0

    @property
    def accepts(self) -> bool:
        """Whether a create request that meets it is accepted."""
        return KINDS[self.name].accepts


@dataclass(frozen=True)
class Plan:
    """When a fault is played.

    Args:
        fault: The fault.
        times: How often; None for always.
        path: Part of the address; None for every address below ``/api/``.
        accept: Overrides whether a create request is accepted, for faults that answer.
    """

    fault: Fault
    times: int | None = 1
    path: str | None = None
    accept: bool | None = None

    @property
    def accepts(self) -> bool:
        """Whether a create request that meets it is accepted."""
        return self.fault.accepts if self.accept is None else self.accept

    def meets(self, path: str) -> bool:
        """Whether it is meant for this address."""
        return path.startswith("/api/") if self.path is None else self.path in path


def parse_fault(text: str) -> Fault:
    """Read ``drop-after`` or ``slow:2.5``.

    Raises:
        ValueError: It is no such fault; the message says what there is.
    """
    name, colon, value = text.strip().partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"there is no fault {name!r}; there are: {', '.join(usages())}")
    if not kind.takes:
        if colon:
            raise ValueError(f"the fault {name!r} takes no value, {value!r} was given")
        return Fault(name)
    example = f"write {name}:{'2' if kind.takes == 'seconds' else '500'}"
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"the fault {name!r} needs {kind.takes}, {value!r} is no number; {example}") from None
    if kind.takes == "code" and not (number.is_integer() and 100 <= number <= 999):
        raise ValueError(f"the fault {name!r} needs a code from 100 to 999, {value!r} was given; {example}")
    if name.startswith("http") and not 200 <= number <= 599:
        raise ValueError(f"the fault {name!r} needs an HTTP status from 200 to 599, {value!r} was given; {example}")
    if kind.takes == "seconds" and not 0 <= number <= 3600:
        raise ValueError(f"the fault {name!r} needs 0 to 3600 seconds, {value!r} was given; {example}")
    return Fault(name, number)


def parse_plan(text: str) -> Plan:
    """Read ``FAULT[*TIMES][@PART-OF-PATH]``; TIMES is a number or ``always``.

    Raises:
        ValueError: It can't be read; the message says why.
    """
    rest, _, path = text.partition("@")
    fault, star, times = rest.partition("*")
    plan = Plan(parse_fault(fault), path=path.strip() or None)
    if not star:
        return plan
    if times.strip() == "always":
        return replace(plan, times=None)
    if not times.strip().isdigit() or int(times) < 1:
        raise ValueError(f"{text!r}: after * stands how often, a number from 1 or the word always, not {times!r}")
    return replace(plan, times=int(times))


def usages() -> list[str]:
    """How each fault is written."""
    return [f"{name}:{kind.takes.upper()}" if kind.takes else name for name, kind in KINDS.items()]


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> int:
        """The code inside the envelope; the HTTP status where there is none."""
        try:
            read = json.loads(self.body)
            return int(read["code"])
        except (ValueError, KeyError, TypeError):
            return self.status


def envelope(
    code: int,
    message: str | None = None,
    data: Any = None,
    *,
    status: int = 200,
    extra: Mapping[str, Any] | None = None,
) -> Reply:
    """An answer in the service's form; a refused key's has no data."""
    body = {**(extra or {}), "code": code, "msg": message or MESSAGES.get(code, "error")}
    if code != 401:
        body["data"] = data
    return Reply(status, JSON, json.dumps(body).encode())


def spoilt(fault: Fault, reply: Reply, authorization: str, earlier: str) -> Reply:
    """The answer a fault gives.

    Args:
        fault: The fault; one that only disturbs the connection leaves the answer as it is.
        reply: The answer that would have been given; for a request that wasn't accepted, a plain success.
        authorization: The request's header, for ``echo-key``.
        earlier: A task id that was given before, for ``same-task-id``.
    """
    code = int(fault.value)
    key = authorization.removeprefix("Bearer ")
    match fault.name:
        case "html":
            return Reply(200, HTML, _page(502))
        case "empty":
            return Reply(200, JSON)
        case "list":
            return Reply(200, JSON, b"[" + (reply.body or b"{}") + b"]")
        case "garbage":
            return Reply(200, JSON, b'\x00\xff\xfe{"code": 200, "da\x80ta":')
        case "no-task-id":
            return envelope(200, data={})
        case "same-task-id":
            return envelope(200, data={"taskId": earlier})
        case "string-code":
            return replace(reply, body=_with_text_code(reply.body))
        case "http":
            return envelope(code, status=code)
        case "http-html":
            return Reply(code, HTML, _page(code))
        case "code":
            return envelope(code)
        case "429":
            return replace(envelope(429, status=429), headers={**JSON, "retry-after": f"{fault.value:g}"})
        case "echo-key":
            text = f"{MESSAGES[401]}: Authorization: {authorization} (https://proxy.invalid/v1?key={key})"
            return envelope(401, text)
    return reply


def _page(status: int) -> bytes:
    title = f"{status} {MESSAGES.get(status, 'Error')}"
    return f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>".encode()


def _with_text_code(body: bytes) -> bytes:
    try:
        read = json.loads(body)
    except ValueError:
        return body
    return json.dumps({**read, "code": str(read.get("code"))}).encode() if isinstance(read, dict) else body
