"""Server processes that are spoken to by hand, and a look into the database they leave."""

import itertools
import json
import os
import queue
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.conftest import Environment

Message = dict[str, Any]

LIMIT_S = 20.0
PREFIX = "io.modelcontextprotocol/"
STATELESS = "2026-07-28"
CLIENT = {"name": "by hand", "version": "1"}


class Child:
    """A process whose stdin and stdout are JSON-RPC lines; everything that passes is kept.

    Args:
        process: It, with text pipes.
        log: Where its stderr goes.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.log = log
        self.sent: list[str] = []
        self.received: list[str] = []
        self.meta: Message = {}
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def line(self) -> str:
        """The next line of its stdout, or "" at the end."""
        line = self._lines.get(timeout=LIMIT_S)
        if line is not None:
            self.received.append(line)
        return line or ""

    def write(self, line: str) -> None:
        """Write a line that is no part of the conversation."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def send(self, line: str) -> None:
        """Write a message."""
        self.sent.append(line)
        self.write(line)

    def ask(self, method: str, **params: Any) -> int:
        """Send a request and return its id."""
        number = len(self.sent) + 1
        if self.meta:
            params["_meta"] = {**self.meta, **params.get("_meta", {})}
        self.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return number

    def answer(self, number: int) -> Message:
        """Read until the answer to a request, result or error."""
        while line := self.line():
            message: Message = json.loads(line)
            if message.get("id") == number and "method" not in message:
                return message
        raise AssertionError(f"stdout ended before the answer; stderr:\n{self.errors}")

    def call(self, tool: str, **arguments: Any) -> Message:
        """Call a tool and return its result."""
        answer = self.answer(self.ask("tools/call", name=tool, arguments=arguments))
        assert "result" in answer, answer
        result: Message = answer["result"]
        return result

    def greet(self, revision: str) -> Message:
        """Open the conversation as a client of that revision does; return what the server says of itself."""
        if revision == STATELESS:
            # No handshake: every request says by itself who asks, what it speaks and what it can do.
            self.meta = {
                f"{PREFIX}protocolVersion": revision,
                f"{PREFIX}clientInfo": CLIENT,
                f"{PREFIX}clientCapabilities": {},
            }
            answer = self.answer(self.ask("server/discover"))
        else:
            answer = self.answer(
                self.ask("initialize", protocolVersion=revision, capabilities={}, clientInfo=CLIENT),
            )
            self.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        result: Message = answer["result"]
        return result

    def close_input(self) -> None:
        """End its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self, within_s: float = LIMIT_S) -> int:
        """Wait for its end, read what is left of its stdout, and return its exit code."""
        code = self.process.wait(timeout=within_s)
        while self.line():
            pass
        return code

    @property
    def errors(self) -> str:
        """Its stderr so far."""
        return self.log.read_text(encoding="utf-8")

    def close(self) -> None:
        """Leave nothing of it behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=LIMIT_S)
        self._reader.join(timeout=LIMIT_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


class SpawnIn(Protocol):
    """Starts ``kie-ai-mcp-server`` in a folder of the caller's choice; it may run until the module's tests are over."""

    def __call__(self, folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str) -> Child:
        """Return the running process."""
        ...


class Spawn(Protocol):
    """Starts ``kie-ai-mcp-server`` with arguments, to be spoken to by hand."""

    def __call__(self, *arguments: str, sandbox: Sandbox | None = None, **settings: str) -> Child:
        """Return the running process."""
        ...


class RunIn(Protocol):
    """Runs ``kie-ai-mcp-server`` in a folder of the caller's choice, with an empty stdin, to its end."""

    def __call__(
        self, folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        """Return what came of it."""
        ...


class Run(Protocol):
    """Runs ``kie-ai-mcp-server`` with arguments and an empty stdin to its end."""

    def __call__(
        self, *arguments: str, sandbox: Sandbox | None = None, **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        """Return what came of it."""
        ...


@dataclass
class Site:
    """The server over HTTP, as a child process.

    Args:
        child: It.
        url: ``http://127.0.0.1:PORT``.
        client: Talks to it.
    """

    child: Child
    url: str
    client: httpx.Client

    def tool(self, tool: str, /, **arguments: Any) -> Message:
        """Call a tool the plain way, and return its result."""
        answer = self.client.post("/tools/call", json={"name": tool, "arguments": arguments})
        assert answer.status_code == 200, answer.text
        result: Message = answer.json()
        return result


class SiteIn(Protocol):
    """Starts ``kie-ai-mcp-server serve --http`` in a folder: ``with site_in(folder, sandbox=sandbox) as site``."""

    def __call__(
        self, folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str
    ) -> AbstractContextManager[Site]:
        """Return a context in which it runs; it is killed at the end where it has not ended by then."""
        ...


class Rows(Protocol):
    """Reads a task database from outside, as another program would."""

    def __call__(self, folder: Path, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table of ``tasks.db`` in a folder, in order."""
        ...


class Plant(Protocol):
    """Installs a provider for the children of one test."""

    def __call__(self, name: str, source: str) -> str:
        """Write a distribution with one module; return the PYTHONPATH that has all that were planted."""
        ...


@pytest.fixture(scope="module")
def spawn_in(environment: "Environment") -> Iterator[SpawnIn]:
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str) -> Child:
            log = folder / f"stderr-{next(numbers)}.log"
            with log.open("w", encoding="utf-8") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", "kie_ai_mcp", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment(folder, sandbox, **settings),
                    cwd=folder,
                    encoding="utf-8",
                )
            child = Child(process, log)
            stack.callback(child.close)
            return child

        yield start


@pytest.fixture(scope="module")
def site_in(spawn_in: SpawnIn) -> SiteIn:
    @contextmanager
    def start(folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str) -> Iterator[Site]:
        if "--port" not in arguments:
            arguments = (*arguments, "--port", "0")
        settings = {"KIE_AI_ENABLED_PROVIDERS": "nano-banana,veo3", **settings}
        with closing(spawn_in(folder, "serve", "--http", *arguments, sandbox=sandbox, **settings)) as child:
            deadline = time.monotonic() + LIMIT_S
            while not (found := re.search(r"http://\S+:(\d+)/mcp\n", child.errors)):
                assert child.process.poll() is None, child.errors
                assert time.monotonic() < deadline, "it never listened"
                time.sleep(0.01)
            url = f"http://127.0.0.1:{found[1]}"
            with httpx.Client(base_url=url, timeout=LIMIT_S, trust_env=False) as client:
                yield Site(child, url, client)

    return start


@pytest.fixture
def spawn(spawn_in: SpawnIn, tmp_path: Path) -> Iterator[Spawn]:
    """Starts processes in the test's folder; those still running at its end are killed."""
    with ExitStack() as stack:

        def start(*arguments: str, sandbox: Sandbox | None = None, **settings: str) -> Child:
            child = spawn_in(tmp_path, *arguments, sandbox=sandbox, **settings)
            stack.callback(child.close)
            return child

        yield start


@pytest.fixture(scope="session")
def run_in(environment: "Environment") -> RunIn:
    def start(
        folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kie_ai_mcp", *arguments],
            input="",
            capture_output=True,
            env=environment(folder, sandbox, **settings),
            cwd=folder,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return start


@pytest.fixture
def run(run_in: RunIn, tmp_path: Path) -> Run:
    def start(*arguments: str, sandbox: Sandbox | None = None, **settings: str) -> "subprocess.CompletedProcess[str]":
        return run_in(tmp_path, *arguments, sandbox=sandbox, **settings)

    return start


@pytest.fixture(scope="session")
def rows() -> Rows:
    def read(folder: Path, table: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"{(folder / 'tasks.db').as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY id")]

    return read


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    ground = tmp_path / "plugins"

    def write(name: str, source: str) -> str:
        module = f"kie_ai_mcp_{name}"
        about = ground / f"{module}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kie-ai-mcp-{name}\nVersion: 1.0\n", "utf-8")
        (about / "entry_points.txt").write_text(f"[kie_ai_mcp]\n{name} = {module}\n", "utf-8")
        (ground / f"{module}.py").write_text(source, "utf-8")
        return os.pathsep.join([str(ground), *filter(None, [os.environ.get("PYTHONPATH")])])

    return write
