"""HTTP connections to one service, and every error of the HTTP library turned into one of ours.

Nothing else in core imports the library. It takes 0.1 s, so `Caller` imports this module at its first call.
"""

import asyncio
import logging
import os
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from math import inf
from ssl import SSLContext
from typing import Any, cast

import anyio
import httpx

from kie_ai_mcp._service.envelope import CUT
from kie_ai_mcp._service.proxies import proxy_of
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp.errors import KieError, one_line, shorten

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs at INFO

HEADERS = {"User-Agent": f"kie-ai-mcp-server/{version('kie-ai-mcp-core')}", "Accept-Encoding": "gzip"}
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")  # paths that are opened for the first client
INSPECTED = "Where a proxy or a virus scanner reads along, set SSL_CERT_FILE to its certificate, then restart."
PIECE = 65_536  # the most that is unpacked at once, in bytes
LATE_S = 0.3  # a timer that comes so late was slept through
AWAKE_S = 5.0  # how long after a sleep what came meanwhile may take to be read
LAST_LOOK_S = 0.05
CLOSE_S = 1.0
KEPT, KEPT_S = 16, 30.0  # connections that wait for another read, and how long


@dataclass(frozen=True)
class Fault:
    """One failure of the HTTP library, its `reason` without secrets and for use inside a sentence."""

    reason: str
    cure: str = ""  # the next step where the cause is a variable of the environment
    is_timeout: bool = False
    is_early: bool = False  # before there was a connection, so that a second attempt is safe


class _UnusableVariable(Exception):
    """A variable of the environment that the HTTP library reads and can't use."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name)
        self.fault = Fault(f"{name} {problem}", f"Correct or unset the environment variable {name}, then restart.")


@dataclass
class Connections:
    """The HTTP clients of one service, each created at its first use."""

    mask: Mask
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _clients: dict[tuple[str, str | None], httpx.AsyncClient] = field(default_factory=dict)

    async def client(self, use: str, url: str, timeout_s: float | None = None) -> httpx.AsyncClient:
        """Return the client for one kind of call to an address; call it inside of `errors_as`.

        `timeout_s` limits connecting, and each read and write.
        """
        name, address = proxy_of(url) or ("", None)
        if (use, address) not in self._clients:
            try:
                # The environment is read here and not by the library, which stumbles over half of what is in use. Each
                # create has a new connection: on a reused one, "closed before answering" could mean either thing.
                client = httpx.AsyncClient(
                    verify=self._certificates,
                    proxy=address,
                    trust_env=False,
                    timeout=timeout_s,
                    limits=httpx.Limits(
                        max_keepalive_connections=0 if use == "create" else KEPT, keepalive_expiry=KEPT_S
                    ),
                    headers=HEADERS,
                )
            except (httpx.InvalidURL, ValueError):  # its message is left out: it may hold the proxy's password
                raise _UnusableVariable(name, "is not the address of an http, https or socks5 proxy") from None
            self._clients[use, address] = await self._stack.enter_async_context(client)
        return self._clients[use, address]

    async def exchange(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        most: int,
        params: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> tuple[int, str, str]:
        """Return HTTP status, body and Retry-After of an answer; one of more than `most` bytes ends in `CUT`."""
        body = bytearray()
        # Given to the library, parameters, even none at all, would take the place of those in the address.
        address = httpx.URL(url).copy_merge_params(params) if params else url
        response = await client.send(client.build_request(method, address, **options), stream=True)
        try:
            async with aclosing(self.unpacked(response)) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > most:
                        break
        finally:
            await self.end(response)
        text = body[:most].decode("utf-8-sig", "replace") + (CUT if len(body) > most else "")
        return response.status_code, text, response.headers.get("retry-after", "")

    async def end(self, response: httpx.Response) -> None:
        """Close a response of which all that counts was read, so that nothing that goes wrong now counts."""
        with anyio.move_on_after(CLOSE_S, shield=True), self.errors_as(lambda _fault: None):
            await response.aclose()

    @staticmethod
    async def unpacked(response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """Yield a response's body, unpacked in pieces of at most `PIECE` bytes, so that its size can be limited."""
        # Not `aiter_raw`, which closes the response at its end: a failure then would look like one of the answer.
        stream = cast(httpx.AsyncByteStream, response.stream)
        packing = response.headers.get("content-encoding", "").strip().lower()
        if packing not in {"", "identity", "gzip", "x-gzip"}:
            raise ValueError(f"it is packed as {shorten(packing)}, which was not asked for")
        if packing in {"", "identity"}:
            async for chunk in stream:
                yield chunk
            return
        unpacker = zlib.decompressobj(wbits=31)
        async for chunk in stream:
            while chunk and not unpacker.eof:
                yield unpacker.decompress(chunk, PIECE)
                chunk = unpacker.unconsumed_tail  # noqa: PLW2901  it is the rest of the same one
        yield unpacker.flush()
        if not unpacker.eof:
            raise ValueError("it ends before its packed content does")

    async def close(self) -> None:
        """Close every connection."""
        with self.errors_as(lambda _fault: None):
            await self._stack.aclose()
        self._clients.clear()

    @contextmanager
    def errors_as(self, meaning: Callable[[Fault], KieError | None], timeout_s: float = inf) -> Iterator[None]:
        """Raise `meaning` of the fault instead of any error of the HTTP library; go on after the block if it is None.

        `timeout_s` is the time limit of the block as a whole, in seconds.
        """
        try:
            with anyio.CancelScope() as scope, _limited(scope, timeout_s):
                yield
            if not scope.cancelled_caught:
                return
            fault = Fault(f"TimeoutError: no answer within {timeout_s:g} s", is_timeout=True)
        except KieError:
            raise
        except _UnusableVariable as exc:
            fault = exc.fault
        # Its own errors, and what it lets through: of sockets, TLS, host names, packed answers, other libraries.
        except Exception as exc:  # noqa: BLE001  no list of these is complete
            fault = self._fault_of(exc)
        if (error := meaning(fault)) is not None:
            raise error from None

    def _fault_of(self, exc: Exception) -> Fault:
        reason = one_line(self.mask.text(f"{type(exc).__name__}: {exc}".removesuffix(": ")), 300)
        cure = INSPECTED if "CERTIFICATE_VERIFY_FAILED" in reason else ""
        if not cure and isinstance(exc, (httpx.ConnectError, httpx.ProxyError)):
            with suppress(RuntimeError):  # it names no request
                name, _ = proxy_of(str(exc.request.url)) or ("", "")
                cure = f"Check the proxy that {name} names, then call again." if name else ""
        return Fault(reason, cure, isinstance(exc, TimeoutError), isinstance(exc, httpx.ConnectError))

    @cached_property
    def _certificates(self) -> SSLContext:
        """The certificates that servers are checked against; the machine's own take 30 ms to read."""
        try:
            return httpx.create_ssl_context()
        except OSError as exc:
            present = [name for name in CERTIFICATES if os.environ.get(name)] or ["SSL_CERT_FILE"]
            name = next((name for name in present if os.environ.get(name) == exc.filename), present[0])
            problem = f"names a file that can't be used: {exc.strerror or type(exc).__name__}"
            raise _UnusableVariable(name, problem) from None


@contextmanager
def _limited(scope: anyio.CancelScope, timeout_s: float) -> Iterator[None]:
    """Cancel a scope when its time is over, yet not before what has come is read.

    A process that was stopped, or slept with its machine, wakes with its time over and the answer in the socket.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def wait(seconds: float) -> None:
        due = loop.time() + seconds
        timers[:] = [loop.call_at(due, end, due)]

    def end(due: float) -> None:
        if loop.time() - due > LATE_S:
            wait(min(timeout_s, AWAKE_S))
        else:
            timers[:] = [loop.call_later(LAST_LOOK_S, scope.cancel)]

    wait(timeout_s)
    try:
        yield
    finally:
        timers[0].cancel()
