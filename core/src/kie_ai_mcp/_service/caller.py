"""One HTTP call: address, key, time limit, what an answer proves. Alone imports the HTTP library.

The question that matters is whether a paid request left this machine. httpx tells when it starts to write a
request's first byte; before that moment nothing can have been charged, after it only a readable answer
proves anything.
"""

import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import anyio
import anyio.to_thread

from kie_ai_mcp._providers.asking import answer_of
from kie_ai_mcp._service.addresses import is_public, through_a_proxy
from kie_ai_mcp._service.envelope import envelope_answer, error_text, map_strings
from kie_ai_mcp._settings.settings import SHORTEST_SECRET, Settings
from kie_ai_mcp.errors import (
    KEYS_PAGE,
    LOGS_PAGE,
    ConfigError,
    MediaError,
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
    import httpx

log = logging.getLogger(__name__)

ANSWER_LIMIT = 4_000_000
"""The largest answer that is read, in bytes."""

CONNECT_TRIES = 3
UPLOAD_PATH = "api/file-stream-upload"
UPLOAD_FOLDER = "kie-ai-mcp"
NOT_SERVED = (404, 405)

MOVED = (301, 307, 308)
"""HTTP statuses that say of a request that it is to be sent elsewhere, so that nothing was made of it here."""

REDIRECTS = 5
RETRY_AFTER_CEILING_S = 30.0

SLOWEST_DOWNLOAD = 10_000
"""Bytes a second below which a result is not waited for: it would keep whoever asks for its task without an answer."""

LONGEST_DOWNLOAD_S = 3600.0


FileMark = tuple[int, int, int, int]
"""What tells a file from any other, and from itself after a change."""


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
    """Makes every call to one service. Connections are opened at the first one."""

    settings: Settings
    gateway: Gateway
    _clients: AsyncExitStack = field(default_factory=AsyncExitStack)
    _opened: dict[str, Any] = field(default_factory=dict)

    async def close(self) -> None:
        """Close every connection."""
        await self._clients.aclose()
        self._opened.clear()

    async def create(
        self, paths: Sequence[str], body: Mapping[str, Any], departure: "Departure | None" = None
    ) -> Reply:
        """Send one paid request, once. The next of `paths` is tried only where the one before is not served.

        Returns:
            The service's readable answer, whatever its code.

        Raises:
            Refused: Provably nothing was made: no connection, or the service's HTTP status says no.
            RateLimited: HTTP 429, with what the service says of waiting.
            Unknown: The request left and no readable answer came.
            ConfigError: No key is set.
        """
        headers = self._authorization()
        # A fresh connection each time: on a reused one, "closed before answering" could mean either thing.
        client = await self._client("create", max_keepalive_connections=0)
        content = _json_bytes(body)
        departure = departure or Departure()
        for path in paths:
            departure.sent = False  # the address before this one made nothing
            status, text, retry_after = await self._send_once(client, path, content, headers, departure)
            if status in NOT_SERVED and path != paths[-1]:
                continue
            with anyio.CancelScope(shield=True):  # it was answered: what the answer says must be read
                return Reply(path, await self._judge_create(path, status, text, retry_after))
        raise Refused("The plugin names no address to send to.", next_step="Report it to the plugin's author.")

    async def read(self, paths: Sequence[str], params: Mapping[str, Any]) -> Answer:
        """Read; a free call. The next of `paths` is tried only where the one before is not served, or lacks the record.

        Raises:
            ReadFailed: No connection, no answer in time, or nothing readable. The task is not touched by that.
            ConfigError: No key is set.
        """
        import httpx  # noqa: PLC0415  0.1 s that only a call pays for

        headers = self._authorization()
        client = await self._client("read")
        absent: Answer | None = None
        for path in paths:
            try:
                with anyio.fail_after(self.settings.timeout_s):
                    async with client.stream("GET", self._url(path), params=params, headers=headers) as response:
                        text = await _text_of(response)
            except TimeoutError:
                raise ReadFailed(
                    f"{path} did not answer within {self.settings.timeout_s:g} s.", next_step="Ask again later."
                ) from None
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                reason = self._mask(f"{type(exc).__name__}: {exc}")
                raise ReadFailed(f"{path} could not be read ({reason}).", next_step="Ask again later.") from None
            answer = await self._answer(response.status_code, text)
            if response.status_code in NOT_SERVED:
                # No such address, or no such record there: only the other addresses can tell.
                absent = absent or answer
                if path != paths[-1]:
                    continue
                answer = absent
            if answer is None:
                raise ReadFailed(
                    f"{path} gave no readable answer (HTTP {response.status_code}, {self._brief(text, 60)}).",
                    code=response.status_code,
                    next_step="Ask again later.",
                )
            return answer
        raise ReadFailed("The plugin names no address to read from.", next_step="Report it to the plugin's author.")

    async def clock(self) -> datetime | None:
        """Return the service's own time, to the second; None where its answer does not name it.

        Raises:
            ReadFailed: No connection, or no answer in time.
        """
        import httpx  # noqa: PLC0415

        client = await self._client("read")
        try:
            with anyio.fail_after(self.settings.timeout_s):
                response = await client.get(self._url("chat/credit"))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as exc:
            reason = f"{type(exc).__name__}: {exc}".removesuffix(": ")
            raise ReadFailed(self._mask(f"{self.settings.base_url} can't be reached ({reason}).")) from None
        try:
            told = parsedate_to_datetime(response.headers.get("date", ""))
        except ValueError:
            return None
        return told if told.tzinfo else told.replace(tzinfo=UTC)

    async def upload(self, path: Path, mark: FileMark, name: str, mime_type: str) -> str:
        """Stream a local file to the service's upload address and return the address it can be opened at.

        Args:
            path: The file.
            mark: Its `file_mark` when it was checked.
            name: What the service is to call it.
            mime_type: What it is.

        Raises:
            MediaError: It is another file by now, or was not taken; nothing is charged for that.
            ConfigError: No key is set.
        """
        import httpx  # noqa: PLC0415

        headers = self._authorization()
        client = await self._client("upload")
        try:
            with path.open("rb") as file:
                # Whoever may write in the folder could have put a link to any other file in its place.
                if file_mark(os.fstat(file.fileno())) != mark:
                    raise MediaError(
                        f"{path.name} was changed after it was looked at, so it was not sent.",
                        next_step="Call again. Nothing was charged.",
                        can_retry=True,
                    )
                response = await client.post(
                    f"{self.settings.upload_url}/{UPLOAD_PATH}",
                    data={"uploadPath": UPLOAD_FOLDER, "fileName": name},
                    files={"file": (name, file, mime_type)},
                    headers={"Authorization": headers["Authorization"]},
                )
            answer = await self._answer(response.status_code, response.text)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            reason = self._mask(f"{type(exc).__name__}: {exc}")
            raise MediaError(f"{path.name} could not be uploaded ({reason}).", can_retry=True) from None
        data = answer.data if answer is not None and isinstance(answer.data, Mapping) else {}
        url = data.get("downloadUrl")
        if answer is None or answer.code != 200 or not isinstance(url, str):
            said = error_text(answer) if answer else f"HTTP {response.status_code} without a readable answer"
            raise MediaError(f"{path.name} could not be uploaded: {said}", next_step="Nothing was charged.")
        return url

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a result file, following redirects to public addresses only.

        Raises:
            MediaError: The address is not public, not there, or larger than `max_download_mb`.
        """
        import httpx  # noqa: PLC0415

        client = await self._client("download")
        try:
            for _ in range(REDIRECTS + 1):
                target, extensions, headers = await self._pinned(url)
                request = client.build_request("GET", target, headers=headers, extensions=extensions)
                with anyio.fail_after(self.settings.timeout_s):
                    response = await client.send(request, stream=True)
                if not response.has_redirect_location:
                    break
                await response.aclose()
                url = urljoin(url, response.headers["location"])
            else:
                raise MediaError(f"{url} redirects more than {REDIRECTS} times.")
            try:
                if response.status_code != 200:
                    raise MediaError(
                        f"{shorten(url)} answered HTTP {response.status_code}.",
                        next_step="The link may have expired; that of a result is read anew by get_task_status.",
                    )
                yield self._capped(response, url)
            finally:
                await response.aclose()
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as exc:
            reason = self._mask(f"{type(exc).__name__}: {exc}".removesuffix(": "))
            raise MediaError(f"{shorten(url)} could not be fetched ({reason}).", can_retry=True) from None

    # -- inside --------------------------------------------------------------------------------------------------

    async def _client(self, use: str, **limits: int) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415

        if use not in self._opened:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs at INFO
            client = httpx.AsyncClient(timeout=self.settings.timeout_s, limits=httpx.Limits(**limits))
            self._opened[use] = await self._clients.enter_async_context(client)
        return self._opened[use]  # type: ignore[no-any-return]  # httpx is not imported at module level

    def check_key(self) -> None:
        """Raise ConfigError where no key is set; says which variable to set and where to get one."""
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

    def _authorization(self) -> dict[str, str]:
        self.check_key()
        return {
            "Authorization": self.gateway.authorization.format(key=self.gateway.key),
            "Content-Type": "application/json",
        }

    def _url(self, path: str) -> str:
        """Return a path below the service's address; an absolute address must be below it too, for it gets the key."""
        base = self.gateway.base_url.rstrip("/")
        if "://" not in path:
            return f"{base}/{path.lstrip('/')}"
        if not path.startswith(f"{base}/"):
            raise ReadFailed(f"{shorten(path)} is not below {base}; the key is not sent there.", can_retry=False)
        return path

    async def _send_once(
        self, client: "httpx.AsyncClient", path: str, content: bytes, headers: Mapping[str, str], departure: "Departure"
    ) -> tuple[int, str, float | None]:
        """Return HTTP status, body text and Retry-After of the one answer."""
        import httpx  # noqa: PLC0415

        async def watch(event: str, info: Mapping[str, Any]) -> None:
            # A proxy is first asked to CONNECT; that is not yet our request.
            if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
                departure.sent = True

        for attempt in range(1, CONNECT_TRIES + 1):
            try:
                with anyio.fail_after(self.settings.timeout_s):
                    async with client.stream(
                        "POST", self._url(path), content=content, headers=headers, extensions={"trace": watch}
                    ) as response:
                        return response.status_code, await _text_of(response), _retry_after(response.headers)
            except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as exc:
                name = "TimeoutError" if isinstance(exc, TimeoutError) else type(exc).__name__
                reason = self._mask(f"{name}: {exc}".removesuffix(": "))
                if departure.sent:
                    raise Unknown(
                        f"The request was sent to {path}, but no readable answer came ({reason}).",
                        next_step=f"It may have been accepted and charged: look for it at {self.gateway.logs_page}.",
                    ) from None
                if attempt == CONNECT_TRIES or not isinstance(exc, httpx.ConnectError):
                    raise Refused(
                        f"No connection to {self._mask(self.gateway.base_url)} ({reason}); nothing was sent.",
                        next_step="Check the network and the service's address, then call again.",
                        can_retry=True,
                    ) from None
                await anyio.sleep(0.2 * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _judge_create(self, path: str, status: int, text: str, retry_after: float | None) -> Answer:
        answer = await self._answer(status, text)
        if answer is None and status in NOT_SERVED:
            answer = Answer(status, "")
        if answer is None and status < 500 and status >= 400:
            answer = Answer(status, self._brief(text, 200) if text.strip() else "")
        if answer is None and status in MOVED:
            raise Refused(
                f"{self._mask(self.gateway.base_url)} is not the service's address any more (HTTP {status}).",
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

    async def _answer(self, status: int, text: str) -> Answer | None:
        """Return what an answer says, without the key in it; None where it can't be read."""
        body = self._decoded(text)
        if self.gateway.read is None:
            return envelope_answer(status, body)
        if body is None:
            return None
        return await answer_of(self.gateway, status, body)

    def _decoded(self, text: str) -> Any:
        """Return the JSON value of `text` with the key masked in every string of it; None for anything else."""
        try:
            return map_strings(json.loads(text), self._mask)
        except (ValueError, RecursionError):
            return None

    def _brief(self, text: str, limit: int) -> str:
        """Return the start of an unreadable answer; masked first, for a cut key would not be found."""
        return shorten(self._mask(sound(text)), limit)

    def _mask(self, text: str) -> str:
        text = self.settings.mask(text)
        key = self.gateway.key or ""
        return text.replace(key, "[key]") if len(key) >= SHORTEST_SECRET else text

    async def _pinned(self, url: str) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Resolve a result's host once, refuse private addresses, and pin the connection to what was checked."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not parts.hostname:
            raise MediaError(f"{shorten(url)} is not a web address, so it was not fetched.")
        if self._trusted(parts.hostname, parts.port):
            return url, {}, {}
        try:
            found = await anyio.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise MediaError(f"The host of {shorten(url)} can't be found: {exc}.", can_retry=True) from None
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(is_public(address) for address in addresses):
            raise MediaError(
                f"{shorten(url)} leads to the private address {', '.join(addresses) or 'none'}, so it was not fetched.",
                next_step="If it is meant, add the host to KIE_AI_TRUSTED_HOSTS.",
            )
        if through_a_proxy(parts.scheme, parts.hostname):
            # It looks the name up itself, and the HTTP library would hold the certificate against a bare address.
            return url, {}, {}
        address = addresses[0]
        host = f"[{address}]" if ":" in address else address
        netloc = host if parts.port is None else f"{host}:{parts.port}"
        named = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        return parts._replace(netloc=netloc).geturl(), {"sni_hostname": parts.hostname}, {"Host": named}

    def _trusted(self, host: str, port: int | None) -> bool:
        # A gateway's own address is a stranger's word; only what the user wrote is trusted.
        services = [urlsplit(address) for address in self.settings.addresses]
        if any((host, port) == (service.hostname, service.port) for service in services):
            return True
        return host in self.settings.trusted_hosts or f"{host}:{port}" in self.settings.trusted_hosts

    async def _capped(self, response: "httpx.Response", url: str) -> AsyncIterator[bytes]:
        limit, size, began = self.settings.max_download_mb * 1_000_000, 0, anyio.current_time()
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            # Between two chunks lies the HTTP library's own time limit, so this is looked at often enough.
            took = anyio.current_time() - began
            if took > min(self.settings.timeout_s + size / SLOWEST_DOWNLOAD, LONGEST_DOWNLOAD_S):
                raise MediaError(
                    f"{shorten(url)} comes too slowly ({size} bytes in {took:.0f} s), so it was not saved.",
                    next_step="Fetch the link yourself.",
                    can_retry=True,
                )
            if size > limit:
                raise MediaError(
                    f"{shorten(url)} is larger than {self.settings.max_download_mb} MB, so it was not fetched.",
                    next_step="Raise KIE_AI_MAX_DOWNLOAD_MB, or fetch the link yourself.",
                )
            yield chunk


def file_mark(status: os.stat_result) -> FileMark:
    """Return by what a file is known again."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


async def _text_of(response: "httpx.Response") -> str:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
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
