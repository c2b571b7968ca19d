"""HTTP connections to one service, and every error of the HTTP library turned into one of ours.

Nothing else in core imports the library. It takes 0.1 s, so `Caller` imports this module at its first call.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.request import getproxies

import anyio
import httpx

from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp.errors import KieError

# It logs whole URLs at INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)

PROXIES = ("all", "https", "http")
"""Schemes for which a variable such as ``HTTPS_PROXY`` may name a proxy."""

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""Variables with paths that the HTTP library opens when a client is created."""


@dataclass(frozen=True)
class Fault:
    """One failure of the HTTP library.

    Args:
        reason: The cause, without secrets, for use inside a sentence.
        cure: The next step where the cause is a variable of the environment, else empty.
        is_timeout: Whether the time limit of the whole call was over.
        before_connection: Whether no connection came about, so that a second attempt is safe.
    """

    reason: str
    cure: str = ""
    is_timeout: bool = False
    before_connection: bool = False


class _UnusableVariable(Exception):
    """A variable of the environment that the HTTP library reads and can't use."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name)
        self.fault = Fault(f"{name} {problem}", f"Correct or unset the environment variable {name}, then restart.")


@dataclass
class Connections:
    """The HTTP clients of one service, each created at its first use.

    Args:
        timeout_s: The time limit of connecting, and of each read and write.
        mask: The secrets that no reason may contain.
    """

    timeout_s: float
    mask: Mask
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    async def client(self, use: str, **limits: int) -> httpx.AsyncClient:
        """Return the client for one kind of call; call it inside of `errors_as`."""
        if use not in self._clients:
            self._clients[use] = await self._stack.enter_async_context(_new_client(self.timeout_s, limits))
        return self._clients[use]

    async def close(self) -> None:
        """Close every connection."""
        await self._stack.aclose()
        self._clients.clear()

    @contextmanager
    def errors_as(self, meaning: Callable[[Fault], KieError | None], timeout_s: float | None = None) -> Iterator[None]:
        """Raise `meaning` of the fault instead of any error of the HTTP library.

        Args:
            meaning: Returns what a fault means for this call; None to go on after the block, for another attempt.
            timeout_s: The time limit of the whole block, in seconds; None for no limit.
        """
        try:
            with anyio.fail_after(timeout_s):
                yield
            return
        except _UnusableVariable as exc:
            fault = exc.fault
        # OSError and ValueError: sockets, host names that can't be encoded, a file that is sent.
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as exc:
            fault = Fault(
                self.mask.text(f"{type(exc).__name__}: {exc}".removesuffix(": ")),
                is_timeout=isinstance(exc, TimeoutError),
                before_connection=isinstance(exc, httpx.ConnectError),
            )
        error = meaning(fault)
        if error is not None:
            raise error from None


def _new_client(timeout_s: float, limits: dict[str, int]) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(timeout=timeout_s, limits=httpx.Limits(**limits))
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as exc:
        # Our arguments are valid, so the cause is a variable that the library itself reads. Its message is left out,
        # for it may hold a proxy's password.
        raise _unusable_variable(exc) from None


def _unusable_variable(cause: Exception) -> _UnusableVariable:
    """Return the error that names the variable because of which no client could be created."""
    if isinstance(cause, OSError):
        present = [name for name in CERTIFICATES if os.environ.get(name)] or ["SSL_CERT_FILE"]
        name = next((name for name in present if os.environ.get(name) == cause.filename), present[0])
        return _UnusableVariable(name, f"names a file that can't be used: {cause.strerror or type(cause).__name__}")
    proxies = getproxies()
    for scheme in PROXIES:
        address = proxies.get(scheme, "")
        try:
            httpx.AsyncHTTPTransport(verify=False, proxy=address if "://" in address else f"http://{address}")
        except ImportError:
            return _UnusableVariable(_spelling(f"{scheme}_proxy"), "names a SOCKS proxy, but socksio is not installed")
        except (httpx.InvalidURL, ValueError):
            return _UnusableVariable(_spelling(f"{scheme}_proxy"), "is not the address of a proxy")
    return _UnusableVariable(
        _spelling("no_proxy"),
        "has an entry that can't be used: one in brackets, with a port, or a range of IPv6 addresses",
    )


def _spelling(name: str) -> str:
    """Return the name of a variable as the environment spells it."""
    return name if name in os.environ else name.upper()
