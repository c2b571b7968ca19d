"""Fixtures of server processes: driven by hand, over HTTP, or shared by the tests of a module."""

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx
import pytest
from mcp import Client

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S
from tests.wire.processes import Child, Site

if TYPE_CHECKING:
    from tests.conftest import Environment, ServeIn


class SpawnIn(Protocol):
    """Starts ``kie-ai-mcp-server`` in a folder of the caller's choice; it may run until the module's tests are over."""

    def __call__(
        self, folder: Path, *arguments: str, sandbox: Sandbox | None = None, module: str = "kie_ai_mcp", **settings: str
    ) -> Child:
        """Return the running process; `module` may be another program that runs the same command."""
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


class SiteIn(Protocol):
    """Starts ``kie-ai-mcp-server serve --http`` in a folder: ``with site_in(folder, sandbox=sandbox) as site``."""

    def __call__(
        self, folder: Path, *arguments: str, sandbox: Sandbox | None = None, **settings: str
    ) -> AbstractContextManager[Site]:
        """Return a context in which it runs; it is killed at the end where it has not ended by then."""
        ...


class Plant(Protocol):
    """Installs a provider for the children of one test."""

    def __call__(self, name: str, source: str) -> str:
        """Write a distribution with one module; return the PYTHONPATH that has all that were planted."""
        ...


@pytest.fixture(scope="module")
def spawn_in(environment: "Environment", before_start: Callable[[dict[str, str], Path], None]) -> Iterator[SpawnIn]:
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(
            folder: Path, *arguments: str, sandbox: Sandbox | None = None, module: str = "kie_ai_mcp", **settings: str
        ) -> Child:
            environ = environment(folder, sandbox, **settings)
            if module == "kie_ai_mcp" and arguments in {(), ("serve",), ("serve", "--strict")}:
                before_start(environ, folder)
            log = folder / f"stderr-{next(numbers)}.log"
            with log.open("w", encoding="utf-8") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environ,
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
            while not (found := re.search(r"http://\S+:(\d+)/mcp[\"\n]", child.errors)):
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
            timeout=LIMIT_S,
            check=False,
        )

    return start


@pytest.fixture
def run(run_in: RunIn, tmp_path: Path) -> Run:
    def start(*arguments: str, sandbox: Sandbox | None = None, **settings: str) -> "subprocess.CompletedProcess[str]":
        return run_in(tmp_path, *arguments, sandbox=sandbox, **settings)

    return start


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


# One server for the tests of a module --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shared server."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """The shared service, so fast that a task is finished when it is first read: the next read is 2 s away."""
    with Sandbox(speed=10_000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shared_settings() -> dict[str, str]:
    """Settings of the shared server besides the usual ones, for a module to replace."""
    return {}


@pytest.fixture(scope="module")
async def shared(
    serve_in: "ServeIn", folder: Path, service: Sandbox, shared_settings: dict[str, str]
) -> AsyncIterator[Client]:
    """A client of the shared server."""
    # Without the background's reads of what earlier tests left running: tests look at each request that is sent.
    usual = {"KIE_AI_TIMEOUT": "1000", "KIE_AI_RATE_LIMIT": "1000", "KIE_AI_WATCH": "false"}
    settings = {**usual, **shared_settings}
    async with serve_in(folder, service, **settings) as client:
        yield client
    assert "Traceback" not in (folder / "server.log").read_text("utf-8")


@pytest.fixture
def fresh_service(service: Sandbox) -> Sandbox:
    """The shared service without the tasks and requests of earlier tests."""
    service.reset()
    return service


@pytest.fixture
def client(shared: Client, fresh_service: Sandbox) -> Client:
    """A client of the shared server, whose database keeps what earlier tests did: a prompt belongs to one test."""
    return shared


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """A prompt that no other test has."""
    return f"A fox reads {request.node.name}"
