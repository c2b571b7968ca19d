"""Real servers that die, pause or lose their disk at a step that a test names, and what they leave behind."""

import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from mcp import Client
from mcp_types import TextContent

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow import engine
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import current
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.conftest import Environment

Message = dict[str, Any]
Row = dict[str, Any]

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "promise", "version": "1"}}


class Server:
    """A running server process, spoken to in JSON-RPC lines.

    Args:
        control: The pipe for its process id and its exit code.
        line: The other end of its stdin and stdout.
        log: Where its stderr goes.
    """

    def __init__(self, control: socket.socket, line: socket.socket, log: Path) -> None:
        self.log = log
        self.received: list[str] = []
        self._control = control.makefile("r", encoding="utf-8")
        self._line = line
        self._lines = line.makefile("r", encoding="utf-8")
        self._numbers = itertools.count(1)
        self._answers: dict[object, Message] = {}
        self._greeted = False
        self._code: int | None = None
        control.settimeout(LIMIT_S)
        line.settimeout(LIMIT_S)
        self.pid = int(self._control.readline())
        self._sockets = (control, line)

    def ask(self, tool: str, **arguments: Any) -> int:
        """Call a tool; return the request's id without waiting for the answer."""
        if not self._greeted:
            self._greeted = True
            self.answer(self._send("initialize", HELLO))
            self.write({"method": "notifications/initialized"})
        return self._send("tools/call", {"name": tool, "arguments": arguments})

    def answer(self, number: int) -> Message:
        """Wait for the answer to a request."""
        while number not in self._answers:
            message = self.message()
            self._answers[message.get("id")] = message
        assert "result" in self._answers[number], self._answers[number]
        return dict(self._answers[number]["result"])

    def call(self, tool: str, **arguments: Any) -> Message:
        """Call a tool and return its result."""
        return self.answer(self.ask(tool, **arguments))

    def cancel(self, number: int) -> None:
        """Cancel the request: its answer is no longer awaited."""
        self.write({"method": "notifications/cancelled", "params": {"requestId": number, "reason": "stopped"}})

    def close_input(self) -> None:
        """End its stdin."""
        self._line.shutdown(socket.SHUT_WR)

    def write(self, message: Message) -> None:
        """Write a message of a conversation that the test leads itself."""
        self._line.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def message(self) -> Message:
        """Read the next message of such a conversation."""
        text = self._lines.readline()
        self.received.append(text)
        assert text, f"stdout ended; stderr:\n{self.errors}"
        message: Message = json.loads(text)
        return message

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ended(self) -> int:
        """Wait for its end and return its exit code; minus the signal that killed it."""
        if self._code is None:
            self._code = int(self._control.readline())
        return self._code

    @property
    def errors(self) -> str:
        """Its stderr so far."""
        return self.log.read_text(encoding="utf-8")

    @property
    def said(self) -> str:
        """Its stdout, up to its end."""
        self.received.append(self._lines.read())
        return "".join(self.received)

    def close(self) -> None:
        """Leave nothing of it behind."""
        if self._line.fileno() < 0:
            return
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            while self._sockets[0].recv(64):  # it ends with the process
                pass
        for file in (self._lines, self._control, *self._sockets):
            file.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, method: str, params: Message) -> int:
        number = next(self._numbers)
        self.write({"id": number, "method": method, "params": params})
        return number


class LaunchIn(Protocol):
    """Starts a server in a folder of the caller's choice; the caller closes it."""

    def __call__(
        self, folder: Path, sandbox: Sandbox | None = None, orders: Message | None = None, *words: str, **settings: str
    ) -> Server:
        """Return the running server; `orders` are those of `launcher.Orders`, `words` its arguments."""
        ...


class Launch(Protocol):
    """Starts a server in the test's own folder; it is gone after the test."""

    def __call__(
        self, sandbox: Sandbox | None = None, orders: Message | None = None, *words: str, **settings: str
    ) -> Server:
        """Return the running server."""
        ...


@pytest.fixture(scope="session")
def launcher() -> Iterator[str]:
    """The process that forks servers; the address it is asked at."""
    if not hasattr(os, "fork"):
        pytest.skip("servers that die at a named step are forked, which this system can't")
    folder = tempfile.mkdtemp(prefix="kie-")
    address = str(Path(folder, "launcher"))
    command = [sys.executable, str(Path(__file__).with_name("launcher.py")), address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield address
        process.stdin.close()
        process.wait(timeout=LIMIT_S)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def launch_in(launcher: str, environment: "Environment") -> LaunchIn:
    numbers = itertools.count(1)

    def start(
        folder: Path, sandbox: Sandbox | None = None, orders: Message | None = None, *words: str, **settings: str
    ) -> Server:
        log = folder / f"stderr-{next(numbers)}.log"
        env = environment(folder, sandbox, **{"KIE_AI_ENABLED_PROVIDERS": "nano-banana", **settings})
        request = {"env": env, "cwd": str(folder), "arguments": words, "orders": orders or {}}
        ours, theirs = socket.socketpair()
        control = socket.socket(socket.AF_UNIX)
        with theirs, log.open("wb") as errors:
            control.connect(launcher)
            streams = [theirs.fileno(), theirs.fileno(), errors.fileno()]
            socket.send_fds(control, [json.dumps(request).encode() + b"\n"], streams)
            return Server(control, ours, log)

    return start


@pytest.fixture
def launch(launch_in: LaunchIn, tmp_path: Path) -> Iterator[Launch]:
    with ExitStack() as stack:

        def start(
            sandbox: Sandbox | None = None, orders: Message | None = None, *words: str, **settings: str
        ) -> Server:
            return stack.enter_context(launch_in(tmp_path, sandbox, orders, *words, **settings))

        yield start


# In this process -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """One answer as a model gets it: its text, its data, and whether it is an error."""

    text: str
    data: dict[str, Any]
    is_error: bool


class Desk:
    """A server in this process, and a client that talks to it through memory.

    Args:
        client: It.
        app: What it is made of.
        folder: Where its database is ``tasks.db``.
    """

    def __init__(self, client: Client, app: App, folder: Path) -> None:
        self.client = client
        self.app = app
        self.folder = folder

    async def call(self, tool: str, **arguments: Any) -> Reply:
        """Call a tool and return the model's answer."""
        answer = await self.client.call_tool(tool, arguments)
        content, *_links = answer.content
        assert isinstance(content, TextContent)
        return Reply(content.text, dict(answer.structured_content or {}), bool(answer.is_error))


class OpenDesk(Protocol):
    """Opens a server in this process."""

    def __call__(self, folder: Path, base_url: str, **settings: Any) -> AbstractAsyncContextManager[Desk]:
        """Return a context that runs it; settings are those of `Settings`, but none is too small."""
        ...


@pytest.fixture(scope="session")
def open_desk() -> OpenDesk:
    @asynccontextmanager
    async def start(folder: Path, base_url: str, **settings: Any) -> AsyncIterator[Desk]:
        usual = {
            "api_key": "key-of-the-tests",
            "base_url": base_url,
            "db_path": folder / "tasks.db",
            "enabled_providers": ("nano-banana",),
        }
        # `model_copy` doesn't validate: a test's time limit may be shorter than any that a user may set.
        usual |= {"database_url": current[0]} if current else {}
        app = App.open(Settings.model_validate(usual).model_copy(update=settings))
        async with app.engine.running(), Client(server_of(app)) as client:
            yield Desk(client, app, folder)

    return start


@pytest.fixture
def restarts_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays the same from one server of this process to the next is found out once: providers, certificates."""
    loaded: list[Plugins] = []

    def load_once(*args: Any, **kwargs: Any) -> Plugins:
        if not loaded:
            loaded.append(Plugins(*args, **kwargs))
        return loaded[0]

    monkeypatch.setattr(engine, "Plugins", load_once)
    monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """The service, where a task ends once a test says so."""
    with Sandbox(hold=True) as sandbox:
        yield sandbox
