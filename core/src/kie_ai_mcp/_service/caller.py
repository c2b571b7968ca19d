"""HTTP calls to one service: create, read, clock.

A paid request may have been charged if it left this machine. httpx reports when it starts to write the first byte
of a request: before that moment nothing can have been charged, after it only a readable answer proves anything.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import anyio

from kie_ai_mcp._providers.asking import answer_of
from kie_ai_mcp._service.envelope import envelope_answer, error_text
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import (
    KEYS_PAGE,
    LOGS_PAGE,
    ConfigError,
    KieError,
    RateLimited,
    ReadFailed,
    Refused,
    Unknown,
    meaning_of,
    shorten,
    sound,
)
from kie_ai_mcp.specs import Answer, Gateway

if TYPE_CHECKING:
    from kie_ai_mcp._service.connections import Connections, Fault

ANSWER_LIMIT = 4_000_000
"""The largest answer that is read, in bytes."""

JSON = {"Content-Type": "application/json"}
CONNECT_TRIES = 3
NOT_SERVED = (404, 405)

MOVED = (301, 307, 308)
"""HTTP statuses that ask for the request at another address, so that nothing came of it at this one."""

RETRY_AFTER_CEILING_S = 30.0


@dataclass
class Departure:
    """Whether the first byte of a paid request has left; for a caller that is stopped in between."""

    sent: bool = False


def kie(settings: Settings) -> Gateway:
    """Return the built-in service: Kie.ai, at the address and with the key that the settings name."""
    return Gateway(
        name="kie",
        title="Kie.ai",
        base_url=settings.base_url,
        key=settings.key,
        key_help=f"Set the environment variable KIE_AI_API_KEY to a key from {KEYS_PAGE} and restart.",
        logs_page=LOGS_PAGE,
    )


@dataclass(frozen=True)
class Reply:
    """A readable answer, and the address that gave it."""

    path: str
    answer: Answer


@dataclass
class Caller:
    """The calls to one service."""

    settings: Settings
    gateway: Gateway

    @cached_property
    def mask(self) -> Mask:
        """The mask of the settings' secrets and of this service's key."""
        return self.settings.mask.extended(self.gateway.key or "")

    @cached_property
    def connections(self) -> "Connections":
        """The connections to the service."""
        from kie_ai_mcp._service.connections import Connections  # noqa: PLC0415  the HTTP library takes 0.1 s

        return Connections(self.timeout_s, self.mask)

    async def close(self) -> None:
        """Close every connection."""
        if "connections" in vars(self):
            await self.connections.close()

    @cached_property
    def timeout_s(self) -> float:
        """The time that one call may take, in seconds."""
        return self.settings.timeout_s

    async def create(
        self, path: str | Sequence[str], body: Mapping[str, Any], departure: Departure | None = None
    ) -> Reply:
        """Send one paid request, once, to the first of its addresses that is served.

        Returns:
            The service's readable answer, whatever its code.

        Raises:
            Refused: Provably nothing was made: no connection, or the service's HTTP status says no.
            RateLimited: HTTP 429, with the time that the service asks to wait.
            Unknown: The request left and no readable answer came.
            ConfigError: No key is set.
        """
        headers = {**self.authorization(), **JSON}
        content = _json_bytes(body)
        departure = departure or Departure()
        paths = (path,) if isinstance(path, str) else path
        for address in paths:
            departure.sent = False  # the address before this one made nothing
            status, text, retry_after = await self._send_once(address, content, headers, departure)
            if status in NOT_SERVED and address != paths[-1]:
                continue
            with anyio.CancelScope(shield=True):  # the service answered, so the answer must be read
                return Reply(address, await self._judge_create(address, status, text, retry_after))
        raise Refused("The plugin names no address to send to.", next_step="Report it to the plugin's author.")

    async def read(self, paths: Sequence[str], params: Mapping[str, Any]) -> Answer:
        """Read; a free call. Try the next of `paths` only where the one before is not served, or lacks the record.

        Raises:
            ReadFailed: No connection, no answer in time, or nothing readable. The task is not touched by that.
            ConfigError: No key is set.
        """
        headers = {**self.authorization(), **JSON}
        absent: Answer | None = None
        for path in paths:
            with self.connections.errors_as(partial(self._unread, path), self.timeout_s):
                client = await self.connections.client("read")
                async with client.stream("GET", self._url(path), params=params, headers=headers) as response:
                    status, text = response.status_code, await _text_of(response.aiter_bytes())
            answer = await self.answer(status, text)
            if status in NOT_SERVED:
                # Either the address or the record does not exist there: only the other addresses can tell.
                absent = absent or answer
                if path != paths[-1]:
                    continue
                answer = absent
            if answer is None:
                raise ReadFailed(
                    f"{path} gave no readable answer (HTTP {status}, {self._brief(text, 60)}).",
                    code=status,
                    next_step="Ask again later.",
                )
            return answer
        raise ReadFailed("The plugin names no address to read from.", next_step="Report it to the plugin's author.")

    async def clock(self) -> datetime | None:
        """Return the service's own time, to the second; None where its answer does not name it.

        Raises:
            ReadFailed: No connection, or no answer in time.
        """

        def unreachable(fault: "Fault") -> ReadFailed:
            address = self.mask.text(self.settings.base_url)
            return ReadFailed(f"{address} can't be reached ({fault.reason}).", next_step=fault.cure)

        with self.connections.errors_as(unreachable, self.timeout_s):
            client = await self.connections.client("read")
            response = await client.get(self._url("chat/credit"))
        try:
            time = parsedate_to_datetime(response.headers.get("date", ""))
        except ValueError:
            return None
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    def check_key(self) -> None:
        """Raise ConfigError where no usable key is set; it names the variable and the page with the keys."""
        key = self.gateway.key
        if not key:
            raise ConfigError(
                f"No {self.gateway.title} key is set, so nothing was sent.", next_step=self.gateway.key_help
            )
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"The {self.gateway.title} key holds characters that no key has, so nothing was sent.",
                next_step="Copy it once more, without quotes.",
            )

    def authorization(self) -> dict[str, str]:
        """Return the header that carries the key.

        Raises:
            ConfigError: No usable key is set.
        """
        self.check_key()
        return {"Authorization": self.gateway.authorization.format(key=self.gateway.key)}

    async def answer(self, status: int, text: str) -> Answer | None:
        """Return the answer in a response, with secrets masked; None where it can't be read."""
        try:
            body = self.mask.json(json.loads(text))
        except (ValueError, RecursionError):
            body = None
        if self.gateway.read is None:
            return envelope_answer(status, body)
        if body is None:
            return None
        return await answer_of(self.gateway, status, body)

    def _url(self, path: str) -> str:
        """Return the address of a path; an absolute one must lie below the service, since the key is sent there."""
        base = self.gateway.base_url.rstrip("/")
        if "://" not in path:
            return f"{base}/{path.lstrip('/')}"
        if not path.startswith(f"{base}/"):
            raise ReadFailed(f"{shorten(path)} is not below {base}; the key is not sent there.", can_retry=False)
        return path

    def _unread(self, path: str, fault: "Fault") -> ReadFailed:
        if fault.is_timeout:
            problem = f"{path} did not answer within {self.timeout_s:g} s."
        else:
            problem = f"{path} could not be read ({fault.reason})."
        return ReadFailed(problem, next_step=fault.cure or "Ask again later.")

    async def _send_once(
        self, path: str, content: bytes, headers: Mapping[str, str], departure: Departure
    ) -> tuple[int, str, float | None]:
        """Return HTTP status, body text and Retry-After of the one answer."""

        async def watch(event: str, info: Mapping[str, Any]) -> None:
            # A proxy is first asked to CONNECT; that is not yet our request.
            if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
                departure.sent = True

        for attempt in range(1, CONNECT_TRIES + 1):
            meaning = partial(self._unanswered, path, departure, attempt)
            with self.connections.errors_as(meaning, self.timeout_s):
                # A new connection each time: on a reused one, "closed before answering" could mean either thing.
                client = await self.connections.client("create", max_keepalive_connections=0)
                async with client.stream(
                    "POST", self._url(path), content=content, headers=headers, extensions={"trace": watch}
                ) as response:
                    text = await _text_of(response.aiter_bytes())
                    return response.status_code, text, _retry_after(response.headers)
            await anyio.sleep(0.2 * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _unanswered(self, path: str, departure: Departure, attempt: int, fault: "Fault") -> KieError | None:
        """Return the error of a paid request without an answer; None where it may be tried once more."""
        if departure.sent:
            return Unknown(
                f"The request was sent to {path}, but no readable answer came ({fault.reason}).",
                next_step=f"It may have been accepted and charged: look for it at {self.gateway.logs_page}.",
            )
        if fault.before_connection and attempt < CONNECT_TRIES:
            return None
        return Refused(
            f"No connection to {self.mask.text(self.gateway.base_url)} ({fault.reason}); nothing was sent.",
            next_step=fault.cure or "Check the network and the service's address, then call again.",
            can_retry=not fault.cure,
        )

    async def _judge_create(self, path: str, status: int, text: str, retry_after: float | None) -> Answer:
        answer = await self.answer(status, text)
        if answer is None and status in NOT_SERVED:
            answer = Answer(status, "")
        if answer is None and status < 500 and status >= 400:
            answer = Answer(status, self._brief(text, 200) if text.strip() else "")
        if answer is None and status in MOVED:
            raise Refused(
                f"{self.mask.text(self.gateway.base_url)} is not the service's address any more (HTTP {status}).",
                code=status,
                next_step="Nothing was made or charged. Check the address in the settings; it may need https://.",
            )
        if answer is None:
            raise Unknown(
                f"{path} gave no readable answer (HTTP {status}, {self._brief(text, 60)}).",
                code=status,
                next_step=f"It may have been accepted and charged: look for it at {self.gateway.logs_page}.",
            )
        if answer.code == 429:
            error = RateLimited(error_text(answer), code=429, next_step=meaning_of(429).next_step)
            error.retry_after_s = retry_after
            raise error
        return answer

    def _brief(self, text: str, limit: int) -> str:
        """Return the start of an unreadable answer; mask it first, for a cut key would not be found."""
        return shorten(self.mask.text(sound(text)), limit)


async def _text_of(chunks: AsyncIterator[bytes]) -> str:
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > ANSWER_LIMIT:
            break
        parts.append(chunk)
    return b"".join(parts).decode("utf-8", "replace")


def _json_bytes(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise Refused(
            f"The request can't be written as JSON ({exc}); nothing was sent.", next_step="Change the arguments."
        ) from None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    # The header may also be a date; a service that counts in seconds doesn't send one, and the ceiling covers it.
    return min(float(value), RETRY_AFTER_CEILING_S) if value.isdecimal() else None
