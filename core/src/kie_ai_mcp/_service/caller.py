"""HTTP calls to one service: create, read, clock.

A paid request may have been charged if it left this machine. httpx reports when it starts to write the first byte
of a request: before that moment nothing can have been charged, after it only a readable answer proves anything.
"""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from kie_ai_mcp._providers.asking import REPORT, answer_of, where_to_look
from kie_ai_mcp._record.tables import LOCAL
from kie_ai_mcp._service.envelope import CUT, address_cure, envelope_answer, error_of, task_ids_in
from kie_ai_mcp._settings.hosts import is_local_address
from kie_ai_mcp._settings.load import why_no_key
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import APP, Settings
from kie_ai_mcp.errors import (
    KEYS_PAGE,
    LOGS_PAGE,
    ConfigError,
    PluginError,
    RateLimited,
    ReadFailed,
    Refused,
    Unknown,
    shorten,
)
from kie_ai_mcp.readings import number_in
from kie_ai_mcp.specs import KIE, Accepted, Answer, Gateway, Outcome

if TYPE_CHECKING:
    from kie_ai_mcp._service.connections import Connections, Fault

ANSWER_LIMIT = 2_000_000  # the largest answer that is read, in bytes and as it is once unpacked
JSON = {"Content-Type": "application/json"}
CONNECT_TRIES = 3
NOT_SERVED = (404, 405)
MOVED = (301, 307, 308)  # they ask for the request at another address, so that nothing came of it at this one
RETRY_AFTER_CEILING_S = 30.0
POLLS_AT_ONCE = 8  # reads at once of tasks that are waited for, in the whole process
QUIET_CEILING_S = 3600.0  # the longest time without reads that a service may ask for

NO_KEY = "KeyMissing"  # the log's word for it

Made = Accepted | Outcome | None


@dataclass
class Departure:
    """Record of whether the first byte of a paid request has left, for a caller that is stopped in between."""

    sent: bool = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take a note when the HTTP library starts to write the request."""
        # A proxy is first asked to CONNECT; that is not yet our request.
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.sent = True
        # A header that can't be sent is noticed before the first byte.
        if event.endswith("headers.failed") and type(info["exception"]).__name__ == "LocalProtocolError":
            self.sent = False


def kie(settings: Settings) -> Gateway:
    """Return the built-in service: Kie.ai, at the address and with the key that the settings name."""
    return Gateway(
        name=KIE,
        title="Kie.ai",
        base_url=settings.base_url,
        key=settings.key,
        key_help=f"Let the user run `{APP} config set api_key` with a key from {KEYS_PAGE}, or set KIE_AI_API_KEY. "
        "Then restart.",
        logs_page=LOGS_PAGE,
        result_hosts=("*.aiquickdraw.com", "*.redpandaai.co"),
    )


def header_templates(gateway: Gateway) -> dict[str, str]:
    """Return the headers of every request to a service, with ``{key}`` where the key stands."""
    has_own = any(map(carries_key, gateway.headers.values())) or not gateway.authorization
    return ({} if has_own else {"Authorization": gateway.authorization}) | dict(gateway.headers)


def carries_key(template: str) -> bool:
    """Return whether the key stands in a header's template."""
    return "{key}" in template


def account_of(gateway: Gateway, more: str = "") -> str:
    """Return what stands for an account on record: a hash of the service's address, and one of it and the key.

    `more` is another address that it depends on. Neither can be turned back. Accounts at one address begin alike:
    their tasks have no id in common. Those at an address of this machine end alike.
    """
    address = urlsplit(gateway.base_url.rstrip("/"))
    place = address._replace(netloc=address.netloc.lower()).geturl() + more
    texts = (place, f"{place} {gateway.key or ''}")
    service, account = (hashlib.sha256(text.encode(errors="replace")).hexdigest() for text in texts)
    return f"{service[:8]}-{account[:24]}{LOCAL if is_local_address(gateway.base_url) else ''}"


@dataclass(frozen=True)
class Reply:
    """A readable answer, the address that gave it, and the task that was made; or that no address is served."""

    path: str
    answer: Answer
    made: Made = None
    served: bool = True


@dataclass
class Caller:
    """The calls to one service."""

    settings: Settings
    gateway: Gateway
    fault: ConfigError | None = None  # a wrong setting, without which no call makes sense
    older: dict[str, str] = field(
        default_factory=dict
    )  # addresses that answered, by those that are not served any more
    polls: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(POLLS_AT_ONCE))
    quiet_until: float = 0.0  # as time.monotonic(): the service has asked for no more reads until then

    @cached_property
    def mask(self) -> Mask:
        """The mask of the settings' secrets and of this service's key."""
        return self.settings.mask.extended(self.gateway.key or "")

    @cached_property
    def templates(self) -> dict[str, str]:
        """The headers of every request, with ``{key}`` where the key stands."""
        return header_templates(self.gateway)

    @cached_property
    def needs_key(self) -> bool:
        """Whether requests to the service carry a key."""
        return any(map(carries_key, self.templates.values()))

    @cached_property
    def connections(self) -> "Connections":
        """The connections to the service."""
        from kie_ai_mcp._service.connections import Connections  # noqa: PLC0415  the HTTP library takes 0.1 s

        return Connections(self.mask)

    @property
    def timeout_s(self) -> float:
        """The time that one call may take now, in seconds."""
        return self.settings.timeout / 1000

    async def close(self) -> None:
        """Close every connection."""
        if "connections" in vars(self):
            await self.connections.close()

    async def create(
        self,
        path: str | Sequence[str],
        body: Mapping[str, Any],
        departure: Departure | None = None,
        read: Callable[[Answer], Awaitable[Made]] | None = None,
        method: str = "POST",
        *,
        is_last: bool = True,
    ) -> Reply:
        """Send one paid request, once, to the first of its addresses that is served; return the answer to it.

        Where none is served, the error of the last one is raised, unless another request follows this one.

        An answer that names a task accepts the request, whatever its codes say. `read` finds the task where it stands
        elsewhere than Kie.ai puts it; it returns None where it finds none. The body of a GET is its parameters, and
        only `read` knows what its answer means.

        Raise ConfigError where no key is set, Refused where provably nothing was made, RateLimited with the time that
        the service asks to wait, and Unknown where the request left and no readable answer came.
        """
        headers = {**self.authorization(), **JSON}
        try:
            content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as exc:
            problem = f"The request can't be written as JSON ({exc}); nothing was sent."
            raise Refused(problem, next_step="Change the arguments.") from None
        departure = departure or Departure()
        sent = {"content": content} if method == "POST" else {"params": body}
        request = {**sent, "headers": headers, "extensions": {"trace": departure.trace}}
        paths = (path,) if isinstance(path, str) else path
        for address in paths:
            departure.sent = False  # the address before this one made nothing
            status, text, retry_after = await self._send_once(method, address, departure, request)
            with anyio.CancelScope(shield=True):  # the service answered, so the answer must be read
                said, fault = self._json(text), ""
                try:
                    answer = await self._answer(status, said)
                except PluginError as exc:
                    answer, fault = None, exc.message
                moves_on = status in NOT_SERVED and not (is_last and address == paths[-1])
                ids = task_ids_in(said) if method == "POST" else []
                made: Made = Accepted(ids[0]) if ids else None
                if read is not None and answer is not None:
                    with suppress(Refused, Unknown) if made or moves_on else nullcontext():
                        made = await read(answer) or made
                if made is not None and address != paths[0]:
                    self.older[paths[0]] = address
                if made is not None:
                    return Reply(address, answer or Answer(status, ""), made)
                if not moves_on:
                    return Reply(address, self._judge_create(address, status, text, answer, retry_after, fault))
        if not is_last:
            return Reply("", Answer(NOT_SERVED[0], ""), served=False)
        raise Refused("The plugin names no address to send to.", next_step=REPORT)

    async def read(self, paths: Sequence[str], params: Mapping[str, Any]) -> Answer:
        """Read; a free call. Try the next of `paths` only where the one before is not served, or lacks the record.

        Raise ReadFailed where there is no connection, no answer in time, or nothing readable; that touches no task.
        """
        headers = {**self.authorization(), **JSON}
        if not paths:
            raise ReadFailed("The plugin names no address to read from.", next_step=REPORT)
        absent: Answer | None = None
        for path in paths:
            url = self._url(path)
            with self.connections.errors_as(partial(self._unread, path), self.timeout_s):
                client = await self.connections.client("read", url)
                status, text, retry_after = await self.connections.exchange(
                    client, "GET", url, ANSWER_LIMIT, params=params, headers=headers
                )
            answer, fault = None, ""
            try:
                answer = await self.answer(status, text)
            except PluginError as exc:
                fault = exc.message
            if status == 429 and (seconds := _seconds(retry_after)):
                self.quiet_until = time.monotonic() + min(seconds, QUIET_CEILING_S)
            if status not in NOT_SERVED:
                break
            # Either the address or the record does not exist there: only the other addresses can tell.
            answer = absent = absent or answer
        if answer is None and fault:
            raise ReadFailed(_misread(self, fault, path, status, text), code=status, next_step=REPORT)
        if answer is None:
            cure = address_cure(self.gateway) if status in NOT_SERVED else "Ask again later."
            is_cut = text.endswith(CUT)
            cure = f"Look for the task at {self.gateway.logs_page}." if is_cut else cure
            raise ReadFailed(self._unreadable(path, status, text), code=status, next_step=cure, can_retry=not is_cut)
        if answer.code == 200 and path != paths[0]:
            self.older[paths[0]] = path
        return answer

    @property
    def quiet_s(self) -> float:
        """The seconds for which the service has asked for no more reads."""
        return max(0.0, self.quiet_until - time.monotonic())

    def check_key(self) -> None:
        """Raise ConfigError where no usable key is set; it names the variable and the page with the keys."""
        key, title = self.gateway.key, self.gateway.title
        if self.fault is not None:
            raise self.fault
        if not self.needs_key:
            return
        if not key:
            reason = (why_no_key(self.gateway.name) or f"No {title} key is set.").removesuffix(".")
            raise ConfigError(f"{reason}, so nothing was sent.", next_step=self.gateway.key_help, reason=NO_KEY)
        if not (key.isascii() and key.isprintable()):
            problem = f"The {title} key holds characters that no key has, so nothing was sent."
            raise ConfigError(problem, next_step="Copy it once more, without quotes.")

    def authorization(self) -> dict[str, str]:
        """Return the headers of the service, of which one carries the key, once `check_key` has passed it."""
        self.check_key()
        return {name: text.replace("{key}", self.gateway.key or "") for name, text in self.templates.items()}

    async def answer(self, status: int, text: str) -> Answer | None:
        """Return the answer in a response, with secrets masked; None where it can't be read.

        Raise PluginError where the gateway's own reading of it fails.
        """
        return await self._answer(status, self._json(text))

    def _json(self, text: str) -> Any:
        """Return the content of an answer with secrets masked, and without the numbers that are none; else None."""
        try:
            content = json.loads(text, parse_float=number_in, parse_constant=number_in)
            return self.mask.json(content)
        except (ValueError, RecursionError):
            return None

    async def _answer(self, status: int, content: Any) -> Answer | None:
        if self.gateway.read is None:
            return envelope_answer(status, content)
        return None if content is None else await answer_of(self.gateway, status, content)

    def _url(self, path: str) -> str:
        """Return the address of a path; an absolute one must lie below the service, since the key is sent there."""
        base = self.gateway.base_url.rstrip("/")
        if "://" not in path:
            return f"{base}/{path.lstrip('/')}"
        if not path.startswith(f"{base}/"):
            raise ReadFailed(f"{shorten(path)} is not below {base}; the key is not sent there.", can_retry=False)
        return path

    def _unread(self, path: str, fault: "Fault") -> ReadFailed:
        problem = f"could not be read ({fault.reason})"
        if fault.is_timeout:
            problem = f"did not answer within {self.timeout_s:g} s"
        return ReadFailed(f"{path} {problem}.", next_step=fault.cure or "Ask again later.")

    async def _send_once(
        self, method: str, path: str, departure: Departure, request: dict[str, Any]
    ) -> tuple[int, str, str]:
        """Return HTTP status, body text and Retry-After of the one answer."""
        for attempt in range(1, CONNECT_TRIES + 1):
            meaning = partial(self._unanswered, path, departure, attempt)
            with self.connections.errors_as(meaning, self.timeout_s):
                client = await self.connections.client("create", self._url(path))
                return await self.connections.exchange(client, method, self._url(path), ANSWER_LIMIT, **request)
            await anyio.sleep(0.2 * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _unanswered(self, path: str, departure: Departure, attempt: int, fault: "Fault") -> Refused | Unknown | None:
        """Return the error of a paid request without an answer; None where it may be tried once more."""
        if departure.sent:
            return self._lost(f"The request was sent to {path}, but no readable answer came ({fault.reason}).")
        if fault.is_early and attempt < CONNECT_TRIES:
            return None
        problem = f"No connection to {self.mask.text(self.gateway.base_url)} ({fault.reason}); nothing was sent."
        cure = fault.cure or "Check the network and the service's address, then call again."
        return Refused(problem, next_step=cure, can_retry=not fault.cure, reason="ServiceUnreachable")

    def _lost(self, problem: str, status: int | None = None) -> Unknown:
        return Unknown(problem, code=status, next_step=where_to_look(self.gateway.logs_page))

    def _judge_create(
        self, path: str, status: int, text: str, answer: Answer | None, retry_after: str, fault: str
    ) -> Answer:
        if fault and status != 429 and status not in MOVED:
            raise _misread_create(self, fault, path, status, text)
        if answer is None and 400 <= status < 500:
            plain = status in NOT_SERVED or not text.strip()
            answer = Answer(status, "" if plain else self._brief(text, 200))
        if answer is None and status in MOVED:
            base = self.mask.text(self.gateway.base_url)
            cure = "Nothing was made or charged. Check the address in the settings; it may need https://."
            problem = f"{base} is not the service's address any more (HTTP {status})."
            raise Refused(problem, code=status, next_step=cure, reason="ServiceMoved")
        if answer is None:
            raise self._lost(self._unreadable(path, status, text), status)
        if answer.code == 429 and isinstance(error := error_of(answer), RateLimited):
            seconds = _seconds(retry_after)
            error.retry_after_s = None if seconds is None else min(seconds, RETRY_AFTER_CEILING_S)
            raise error
        return answer

    def _unreadable(self, path: str, status: int, text: str) -> str:
        size = f" and larger than {ANSWER_LIMIT // 1_000_000} MB, the most that is read" if text.endswith(CUT) else ""
        return f"{self.gateway.title} gave no readable answer at {path} (HTTP {status}, {self._brief(text, 60)}{size})."

    def _brief(self, text: str, limit: int) -> str:
        """Return the start of an unreadable answer; mask it first, for a cut key would not be found."""
        return shorten(self.mask.text(text), limit)


async def clock_of(caller: Caller) -> datetime | None:
    """Return the service's own time, to the second; None where its answer does not name it."""
    base = caller.mask.text(caller.settings.base_url)
    with caller.connections.errors_as(
        lambda fault: ReadFailed(f"{base} can't be reached ({fault.reason}).", next_step=fault.cure), caller.timeout_s
    ):
        url = caller._url("chat/credit")
        client = await caller.connections.client("read", url)
        response = await client.send(client.build_request("GET", url), stream=True)
        date = response.headers.get("date", "")
        await caller.connections.end(response)
    try:
        time = parsedate_to_datetime(date)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _misread(caller: Caller, fault: str, path: str, status: int, text: str) -> str:
    """Return what is known of an answer which the plugin that brings the service can't read."""
    said = f", with {shorten(caller.mask.text(text), 60)}" if text.strip() else ""
    return f"{caller.mask.text(fault)} {path} did answer (HTTP {status}{said})."


def _misread_create(caller: Caller, fault: str, path: str, status: int, text: str) -> Refused | Unknown:
    """Return the error of a paid request whose answer the plugin can't read."""
    problem = _misread(caller, fault, path, status, text)
    if 400 <= status < 500:
        return Refused(f"{problem} The status says that nothing was made.", code=status, next_step=REPORT)
    step = f"{where_to_look(caller.gateway.logs_page)} {REPORT}"
    return Unknown(f"{problem} The service may have taken the request.", code=status, next_step=step)


def _seconds(retry_after: str) -> float | None:
    # It may also be a date; a service that counts in seconds sends none, and the ceilings cover it.
    return float(retry_after) if retry_after.isdecimal() else None
