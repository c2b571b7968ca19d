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

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs at INFO

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")  # paths that are opened when a client is created


@dataclass(frozen=True)
class Fault:
    """One failure of the HTTP library, its `reason` without secrets and for use inside a sentence."""

    reason: str
    cure: str = ""  # the next step where the cause is a variable of the environment
    is_timeout: bool = False
    before_connection: bool = False  # so that a second attempt is safe


class _UnusableVariable(Exception):
    """A variable of the environment that the HTTP library reads and can't use."""

    def __init__(self, name: str, problem: str) -> None:
        name = name if name in os.environ else name.upper()
        super().__init__(name)
        self.fault = Fault(f"{name} {problem}", f"Correct or unset the environment variable {name}, then restart.")


@dataclass
class Connections:
    """The HTTP clients of one service, each created at its first use."""

    timeout_s: float  # the time limit of connecting, and of each read and write
    mask: Mask
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    async def client(self, use: str, **limits: int) -> httpx.AsyncClient:
        """Return the client for one kind of call; call it inside of `errors_as`."""
        if use not in self._clients:
            try:
                client = httpx.AsyncClient(timeout=self.timeout_s, limits=httpx.Limits(**limits))
            except (httpx.InvalidURL, ImportError, OSError, ValueError) as exc:
                # Our arguments are valid, so the cause is a variable that the library itself reads. Its message is
                # left out, for it may hold a proxy's password.
                raise _unusable_variable(exc) from None
            self._clients[use] = await self._stack.enter_async_context(client)
        return self._clients[use]

    async def close(self) -> None:
        """Close every connection."""
        await self._stack.aclose()
        self._clients.clear()

    @contextmanager
    def errors_as(self, meaning: Callable[[Fault], KieError | None], timeout_s: float | None = None) -> Iterator[None]:
        """Raise `meaning` of the fault instead of any error of the HTTP library; go on after the block if it is None.

        `timeout_s` is the time limit of the block as a whole, in seconds; None for no limit.
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
        if (error := meaning(fault)) is not None:
            raise error from None


def _unusable_variable(cause: Exception) -> _UnusableVariable:
    """Return the error that names the variable because of which no client could be created."""
    if isinstance(cause, OSError):
        present = [name for name in CERTIFICATES if os.environ.get(name)] or ["SSL_CERT_FILE"]
        name = next((name for name in present if os.environ.get(name) == cause.filename), present[0])
        return _UnusableVariable(name, f"names a file that can't be used: {cause.strerror or type(cause).__name__}")
    for scheme in ("all", "https", "http"):
        address = getproxies().get(scheme, "")
        try:
            httpx.AsyncHTTPTransport(verify=False, proxy=address if "://" in address else f"http://{address}")
        except ImportError:
            return _UnusableVariable(f"{scheme}_proxy", "names a SOCKS proxy, but socksio is not installed")
        except (httpx.InvalidURL, ValueError):
            return _UnusableVariable(f"{scheme}_proxy", "is not the address of a proxy")
    problem = "has an entry that can't be used: one in brackets, with a port, or a range of IPv6 addresses"
    return _UnusableVariable("no_proxy", problem)
