"""Shared fixtures: a local service, the real server over stdio, and no network beyond this machine."""

import errno
import gc
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._start.remembered import FILL_COMMAND
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import address, current, postgres, rows_of, wire
from tests.helpers import LIMIT_S

__all__ = ["address", "postgres", "wire"]

PREFIX = "KIE_AI_"
NOWHERE = "http://127.0.0.1:9/api/v1"
"""An address of this machine where no server listens, for servers that are given no sandbox."""

INHERITED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "TEMP", "TMPDIR")


class Environment(Protocol):
    """Makes the whole environment of a child process."""

    def __call__(self, folder: Path, sandbox: Sandbox | None = None, **settings: str) -> dict[str, str]:
        """Return it: a home in `folder`, the sandbox as the service, and settings; an empty one takes it away."""
        ...


class ServeIn(Protocol):
    """Starts the server in a folder of the caller's choice."""

    def __call__(
        self, folder: Path, sandbox: Sandbox | None = None, **settings: str
    ) -> AbstractAsyncContextManager[Client]:
        """Return a context that starts it and gives a client which is connected to it."""
        ...


class Serve(Protocol):
    """Starts the server in the test's own folder."""

    def __call__(self, sandbox: Sandbox | None = None, **settings: str) -> AbstractAsyncContextManager[Client]:
        """Return a context that starts it and gives a client which is connected to it."""
        ...


class Rows(Protocol):
    """Reads a task database from outside, as another program would."""

    def __call__(self, folder: Path, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table of ``tasks.db`` in a folder, in order."""
        ...


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


# The way out ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def refused_connections() -> Iterator[list[str]]:
    """Refuses every connection from this process to another machine; holds what was tried since the last test."""
    tried: list[str] = []

    def guarded(name: str) -> Callable[..., Any]:
        original = getattr(socket.socket, name)

        def checked(self: socket.socket, *args: Any) -> Any:
            # The address stands last in each of them.
            if self.family in {socket.AF_INET, socket.AF_INET6} and not _loopback(args[-1][0]):
                tried.append(f"{name} to {args[-1]}")
                # As the system would say it, so that sockets are closed; `no_network` fails the test besides.
                raise PermissionError(errno.EPERM, f"a test may not reach {args[-1]}: use a server on 127.0.0.1")
            return original(self, *args)

        return checked

    def names_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is None or _loopback(host) or _is_address(host):
            return lookup(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    lookup = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, guarded(name))
        patch.setattr(socket, "getaddrinfo", names_here)
        yield tried


@pytest.fixture(autouse=True)
def no_network(refused_connections: list[str]) -> Iterator[None]:
    """Fails the test that tried to reach another machine, also where the code under test took the refusal well."""
    refused_connections.clear()
    yield
    assert not refused_connections, f"the test tried to leave this machine: {'; '.join(refused_connections)}"


def _loopback(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if _is_address(name):
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    return name == "localhost"


def _is_address(host: str | bytes) -> bool:
    try:
        ipaddress.ip_address((host.decode() if isinstance(host, bytes) else host).partition("%")[0])
    except ValueError:
        return False
    return True


# The environment -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of whoever runs the tests reaches them: not from the environment, not from a file."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(name)
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(home / name))
        yield


@pytest.fixture(scope="session")
def environment() -> Environment:
    def make(folder: Path, sandbox: Sandbox | None = None, **settings: str) -> dict[str, str]:
        values = {name: os.environ[name] for name in INHERITED if name in os.environ}
        for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"):
            values[name] = str(folder)
        values |= {
            "KIE_AI_API_KEY": "key-of-the-tests",
            "KIE_AI_BASE_URL": sandbox.base_url if sandbox else NOWHERE,
            "KIE_AI_DB_PATH": str(folder / "tasks.db"),
            "KIE_AI_OUTPUT_DIR": str(folder / "out"),
            "KIE_AI_DATABASE_URL": "".join(current),
            **settings,
        }
        return {name: value for name, value in values.items() if value}

    return make


# What servers remember -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory(request: pytest.FixtureRequest) -> bool:
    """Whether servers over stdio remember what they said before; a module that is about that may replace it by both.

    With TESTS_REMEMBER=1 all of them do, in every module.
    """
    return bool(getattr(request, "param", os.environ.get("TESTS_REMEMBER") == "1"))


@pytest.fixture(scope="module")
def before_start(memory: bool) -> Callable[[dict[str, str], Path], None]:
    """Fill the memory of a server before it starts, if `memory` is set."""
    filled: set[object] = set()

    def fill(environ: dict[str, str], folder: Path) -> None:
        if memory and (key := (folder, *environ.items())) not in filled:
            filled.add(key)
            command = [sys.executable, "-m", "kie_ai_mcp", FILL_COMMAND]
            done = subprocess.run(
                command, env=environ, cwd=folder, capture_output=True, encoding="utf-8", timeout=LIMIT_S, check=False
            )
            assert done.returncode == 0, done.stderr

    return fill


def pytest_configure() -> None:
    """Let children of tests hang up, which they do not where a parent of this process ignores it, as `nohup` does."""
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Collect 12,000 tests without looking for garbage among them, which takes a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


# The service and the server ------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The service, on this machine: a picture takes 40 ms, a prompt with ``[slow]`` 0.4 s."""
    with Sandbox(speed=50) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def serve_in(environment: Environment, before_start: Callable[[dict[str, str], Path], None]) -> ServeIn:
    """Starts the real server as a child in a folder: ``async with serve_in(folder, sandbox) as client``.

    Its log is ``server.log`` in the folder, its database ``tasks.db``, its results go to ``out``. Several servers may
    be started in one folder, one after the other or together.
    """

    @asynccontextmanager
    async def start(folder: Path, sandbox: Sandbox | None = None, **settings: str) -> AsyncIterator[Client]:
        environ = environment(folder, sandbox, **settings)
        before_start(environ, folder)
        server = StdioServerParameters(command=sys.executable, args=["-m", "kie_ai_mcp"], env=environ, cwd=folder)
        try:
            with (folder / "server.log").open("a", encoding="utf-8") as log:
                transport = stdio_client(server, errlog=log)
                async with Client(transport, read_timeout_seconds=LIMIT_S) as client:
                    yield client
        except BaseExceptionGroup as group:
            # Each layer of the client wraps what a test raises; the test's own failure is what is to be read.
            error = _innermost(group)
            error.add_note(f"The server's log:\n{(folder / 'server.log').read_text(encoding='utf-8')}")
            raise error from None

    return start


@pytest.fixture
def serve(serve_in: ServeIn, tmp_path: Path) -> Serve:
    """Starts the real server as a child in the test's folder: ``async with serve(sandbox) as client``."""

    def start(sandbox: Sandbox | None = None, **settings: str) -> AbstractAsyncContextManager[Client]:
        return serve_in(tmp_path, sandbox, **settings)

    return start


@pytest.fixture(scope="session")
def rows() -> Rows:
    def read(folder: Path, table: str) -> list[dict[str, Any]]:
        return rows_of(Record(folder / "tasks.db", RateLimit(20, 10.0), address="".join(current)), table)

    return read


def _innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
