"""Shared fixtures of the core's tests: services that misbehave byte by byte, databases, generated providers."""

import importlib
import os
import socket
import struct
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import Budget, RateLimit
from kie_ai_mcp._service.caller import Caller, kie
from kie_ai_mcp._settings.settings import Settings

KEY = "kie/secret+0123456789"
NOBODY = 65534
LIMIT_S = 10.0


@pytest.fixture(scope="module", autouse=True)
def no_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Saves each HTTP client the 30 ms in which it would load the certificates of the world; none is ever needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        yield


# Services ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def key() -> str:
    """The key of `make_gateway`; it has characters that are written differently inside a URL."""
    return KEY


@pytest.fixture
def service(httpserver: HTTPServer) -> Iterator[HTTPServer]:
    """A service that answers what the test planned; a request that was not planned fails the test."""
    yield httpserver
    httpserver.check()


@pytest.fixture
async def make_gateway() -> AsyncIterator[Callable[..., Caller]]:
    """Makes gateways that know the key, and closes them: ``make_gateway("http://127.0.0.1:1234", timeout=100)``."""
    made: list[Caller] = []

    def make(base_url: str, **settings: Any) -> Caller:
        # `model_copy` doesn't validate: a test's time limit may be shorter than any that a user may set.
        usual = Settings.model_validate({"api_key": KEY, "base_url": base_url})
        changed = usual.model_copy(update=settings)
        made.append(Caller(changed, kie(changed)))
        return made[-1]

    yield make
    for gateway in made:
        await gateway.close()


class Line:
    """One connection of a client whose request has been read."""

    def __init__(self, connection: socket.socket, closing: threading.Event) -> None:
        self._connection = connection
        self._closing = closing

    def send(self, text: str | bytes) -> None:
        """Send this, as it stands."""
        self._connection.sendall(text.encode() if isinstance(text, str) else text)

    def receive(self) -> bytes:
        """Return the next bytes that the client sends."""
        return self._connection.recv(65_536)

    def reset(self) -> None:
        """Close the connection the hard way: the client reads ECONNRESET."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def stall(self, seconds: float = LIMIT_S) -> None:
        """Say nothing for so long, or until the test is over."""
        self._closing.wait(seconds)


class Raw(Protocol):
    """Starts a server that talks in bytes."""

    def __call__(self, talk: Callable[[Line], None], *, reads: bool = True) -> tuple[str, list[bytes]]:
        """Return its address and, as they come, what each connection sent (nothing is read with ``reads=False``)."""
        ...


@pytest.fixture
def raw() -> Iterator[Raw]:
    """Starts servers on sockets: each connection's request is read, then the test's function talks."""
    closing = threading.Event()
    with ExitStack() as stack:

        def start(talk: Callable[[Line], None], *, reads: bool = True) -> tuple[str, list[bytes]]:
            listener = socket.create_server(("127.0.0.1", 0))
            received: list[bytes] = []

            def serve() -> None:
                while not closing.is_set():
                    with suppress(OSError):
                        connection, _ = listener.accept()
                        if closing.is_set():
                            connection.close()
                            return
                        connection.settimeout(LIMIT_S)
                        with connection:
                            received.append(_request(connection) if reads else b"")
                            talk(Line(connection, closing))

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, LIMIT_S)
            stack.callback(listener.close)
            stack.callback(_knock, listener.getsockname())
            return f"http://127.0.0.1:{listener.getsockname()[1]}", received

        yield start
        closing.set()


def _knock(address: Any) -> None:
    # Closing a listening socket doesn't wake the thread that accepts on it; a last connection does.
    with suppress(OSError), socket.create_connection(address, timeout=1):
        pass


def _request(connection: socket.socket) -> bytes:
    """Read one whole request: its head, and as much body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    announced = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(announced[0].partition(b":")[2]) if announced else 0
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


# Storage -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_record(tmp_path: Path, address: str) -> Iterator[Callable[..., Record]]:
    """Opens databases, each like a process of its own, and closes them: ``make_record(creates=3, window_s=1)``."""
    with ExitStack() as stack:

        def make(
            path: Path = tmp_path / "tasks.db", creates: int = 20, window_s: float = 10.0, budget: Budget | None = None
        ) -> Record:
            record = Record(path, RateLimit(creates, window_s), budget or Budget(), address=address)
            stack.callback(record.close)
            record.open()
            return record

        yield make


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o700)


@pytest.fixture
def powerless() -> Callable[[], AbstractContextManager[None]]:
    """Makes contexts without the superuser's rights, who could write anywhere; for others there's nothing to lose."""

    @contextmanager
    def context() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)

    return context


# Providers -----------------------------------------------------------------------------------------------------------


class Publish(Protocol):
    """Installs a distribution that offers a provider."""

    def __call__(self, name: str, source: str, *, dist: str = "") -> str:
        """Write the module and the metadata whose entry point `name` is it; return the module's name."""
        ...


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, on the import path, that `publish` installs into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def publish(site: Path) -> Iterator[Publish]:
    """Installs providers for the time of a test, each with real metadata: ``publish("acme", source)``."""
    modules: list[str] = []

    def install(name: str, source: str, *, dist: str = "") -> str:
        dist = dist or f"kie-ai-mcp-{name}"
        module = f"stranger_{dist.replace('-', '_')}"
        (site / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        info = site / f"{dist.replace('-', '_')}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2.3\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[kie_ai_mcp]\n{name} = {module}\n", encoding="utf-8")
        importlib.invalidate_caches()
        modules.append(module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)
