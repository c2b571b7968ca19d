"""The command line, run in this process with an environment of its own, or in a child where that matters."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import pytest
from click.testing import CliRunner

from kie_ai_mcp._cli import console, doctor
from kie_ai_mcp._cli.console import PROGRAM
from kie_ai_mcp._cli.install import command as install
from kie_ai_mcp._cli.main import cli
from kie_ai_mcp._flow import waiting
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.conftest import Environment


@dataclass(frozen=True)
class Ended:
    """What came of a command."""

    code: int
    stdout: str
    stderr: str


class Run(Protocol):
    """Runs ``kie-ai-mcp-server`` with arguments in the test's folder."""

    def __call__(
        self,
        *arguments: str | Path,
        sandbox: Sandbox | None = None,
        stdin: str | bytes = "",
        charset: str = "utf-8",
        **settings: str,
    ) -> Ended:
        """Return what came of it; `charset` is the encoding of its streams."""
        ...


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is looked at twenty times a second: what is made here takes 40 ms, not minutes."""
    for kind in waiting.CADENCE_S:
        monkeypatch.setitem(waiting.CADENCE_S, kind, 0.05)


@pytest.fixture(autouse=True)
def first_starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """The commands of starts that commands in this process made, with their environment; only children make them."""
    made: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def note(command: Sequence[str], environ: Mapping[str, str]) -> None:
        made.append((command, environ))

    for module in (doctor, install):
        monkeypatch.setattr(module, "start_once", note)
    return made


@pytest.fixture(autouse=True)
def program_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in what is printed have the bare name, as where the program was installed for its user."""
    monkeypatch.setattr(console, "typed_command", lambda: PROGRAM)


@pytest.fixture
def run(environment: "Environment", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process: ``run("tasks", "list", sandbox=sandbox)``. Home is the test's folder."""
    monkeypatch.chdir(tmp_path)

    def start(
        *arguments: str | Path,
        sandbox: Sandbox | None = None,
        stdin: str | bytes = "",
        charset: str = "utf-8",
        **settings: str,
    ) -> Ended:
        # One provider is enough for most tests, and sixteen cost a tenth of a second each time.
        values = environment(tmp_path, sandbox, **{"KIE_AI_ENABLED_PROVIDERS": "nano-banana", **settings})
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ:
                if name.startswith(("KIE_AI_", "XDG_", "COLUMNS")):
                    patch.delenv(name)
            for name, value in values.items():
                patch.setenv(name, value)
            runner = CliRunner(charset=charset)
            done = runner.invoke(cli, [str(argument) for argument in arguments], input=stdin, prog_name=PROGRAM)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ended(done.exit_code, done.stdout, done.stderr)

    return start


@pytest.fixture
def run_child(environment: "Environment", tmp_path: Path) -> Run:
    """Runs a command in a process of its own."""

    def start(
        *arguments: str | Path,
        sandbox: Sandbox | None = None,
        stdin: str | bytes = "",
        charset: str = "utf-8",
        **settings: str,
    ) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "kie_ai_mcp", *map(str, arguments)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=environment(tmp_path, sandbox, **settings),
            cwd=tmp_path,
            timeout=LIMIT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(charset), done.stderr.decode(charset))

    return start


@pytest.fixture
def in_store(tmp_path: Path) -> Callable[[Callable[[Record], Any]], Any]:
    """Does something with the test's database: ``in_store(lambda record: record.tasks.find("id"))``."""

    def work(story: Callable[[Record], Any]) -> Any:
        async def run_story() -> Any:
            record = Record(tmp_path / "tasks.db", RateLimit(20, 10.0))
            record.open()
            try:
                return await story(record)
            finally:
                record.close()

        return anyio.run(run_story)

    return work
