"""Distributions of this repository, built once, and fresh virtual environments with nothing else in them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from filelock import FileLock
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

if TYPE_CHECKING:
    from tests.conftest import Environment

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT, ROOT / "core", *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]

LIMIT_S = 120.0
SCRIPT_LIMIT_S = 280.0
"""How long a script may take: some install a whole environment."""
FOREIGN = ("PYTHON", "VIRTUAL_", "XDG_")
"""Beginnings of variables that would lead a fresh environment elsewhere."""


# The build back end's own interface, called as an installer calls it: first the sdist, then the wheel from that.
# One process builds everything, where `uv build` would prepare an environment for each distribution.
BUILD = """
import os, sys, tarfile, tempfile
from pathlib import Path
from hatchling.build import build_sdist, build_wheel

out, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    name = build_sdist(out)
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(Path(out) / name) as sdist:
        sdist.extractall(scratch)
        os.chdir(Path(scratch) / name.removesuffix(".tar.gz"))
        build_wheel(out)
        os.chdir(out)
"""


@dataclass(frozen=True)
class Venv:
    """A virtual environment that sees no checkout."""

    folder: Path
    dist: Path

    @property
    def scripts(self) -> Path:
        """Where its commands are."""
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.scripts / "python")

    def install(self, *wanted: str) -> None:
        """Install distributions: this repository's from what is built, everything else from the index."""
        uv("pip", "install", "--python", self.python, "--find-links", str(self.dist), *wanted)

    def uninstall(self, *names: str) -> None:
        """Uninstall distributions."""
        uv("pip", "uninstall", "--python", self.python, *names)

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run one of its commands to the end."""
        return run(str(self.scripts / command[0]), *command[1:], cwd=cwd or self.folder, check=check)


class VenvWith(Protocol):
    """Chooses what is installed in the virtual environment of this run."""

    def __call__(self, *wanted: str) -> Venv:
        """Return it with these distributions, and no other of this repository, installed."""
        ...


class Uv(Protocol):
    """Runs uv."""

    def __call__(self, *arguments: str, cwd: Path = ...) -> None:
        """Return when it has done what the arguments say."""
        ...


class RunScript(Protocol):
    """Runs shell commands as somebody does who has nothing of this project yet."""

    def __call__(self, script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        """Return when all commands have been run, or the first one has failed."""
        ...


class Serve(Protocol):
    """Starts the server of a virtual environment."""

    def __call__(self, venv: Venv, **settings: str) -> AbstractAsyncContextManager[Client]:
        """Return a context that starts it and gives a client which is connected to it."""
        ...


def run(*command: str, cwd: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, in an environment of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


def uv(*arguments: str, cwd: Path = ROOT.parent) -> None:
    """Run uv, as the people who install this do."""
    command = os.environ.get("UV") or shutil.which("uv")
    assert command, "these tests need uv: python3 -m pip install uv"
    run(command, "--quiet", *arguments, cwd=cwd)


@pytest.fixture(scope="session")
def run_uv() -> Uv:
    return uv


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every distribution of this repository: the sdist, and the wheel that was built from it.

    The first process of a run that asks for it builds it, for all of them.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder, built = shared / "dist", shared / "dist.built"
    with FileLock(shared / "dist.lock"):
        if not built.exists():
            folder.mkdir(exist_ok=True)
            builder = Venv(shared / "builder", folder)
            uv("venv", "--allow-existing", "--python", sys.executable, str(builder.folder))
            builder.install("hatchling>=1.27", "hatch-fancy-pypi-readme>=24.1")
            builder.run("python", "-c", BUILD, str(folder), *map(str, FOLDERS))
            built.touch()
    return folder


@pytest.fixture(scope="session")
def fresh_venv(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Venv:
    venv = Venv(tmp_path_factory.mktemp("venv"), dist)
    uv("venv", "--allow-existing", "--python", sys.executable, str(venv.folder))
    return venv


@pytest.fixture
def venv_with(fresh_venv: Venv) -> VenvWith:
    """Gives the virtual environment of this run with these distributions and no other of this repository.

    What they depend on stays from test to test: compiling it again for each would cost more than all the rest.
    """

    def install(*wanted: str) -> Venv:
        left = {path.name.partition("-")[0] for path in fresh_venv.folder.glob("[Ll]ib/**/kie_ai_mcp*.dist-info")}
        if left:
            fresh_venv.uninstall(*left)
        fresh_venv.install(*wanted)
        return fresh_venv

    return install


@pytest.fixture
def run_script(dist: Path, tmp_path: Path) -> RunScript:
    """Runs commands in a home folder without anything, where installers find what was built here.

    ``python`` is the interpreter of the tests until an environment is activated, and so is uv's.
    """
    caches = {"PIP_CACHE_DIR": ".cache/pip", "UV_CACHE_DIR": ".cache/uv"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, "KIE_AI_", "CONDA"))}
    environment = {
        **{name: str(Path.home() / path) for name, path in caches.items()},
        **kept,
        "HOME": str(tmp_path),
        "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {dist}".strip(),
        "UV_FIND_LINKS": str(dist),
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "PIP_NO_COMPILE": "0",  # which means "do not": of sixty packages few modules are used, and compiled then
        "PATH": os.pathsep.join([str(Path(os.environ.get("UV") or shutil.which("uv") or "").parent), kept["PATH"]]),
    }
    start = f'set -e\npython() {{ {shlex.quote(sys.executable)} "$@"; }}\n'

    def run_all(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        script = start + script.replace(". .venv/bin/activate", "unset -f python\n. .venv/bin/activate")
        command = ["bash", "-c", script]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SCRIPT_LIMIT_S, check=False
        )

    return run_all


@pytest.fixture
def serve_from(environment: "Environment", tmp_path: Path) -> Serve:
    """Starts the server of a virtual environment: ``async with serve_from(venv) as client``."""

    @asynccontextmanager
    async def start(venv: Venv, **settings: str) -> AsyncIterator[Client]:
        server = StdioServerParameters(
            command=str(venv.scripts / "kie-ai-mcp-core"),
            env=environment(tmp_path, None, PYTHONPATH="", **settings),
            cwd=tmp_path,
        )
        with (tmp_path / "server.log").open("a", encoding="utf-8") as log:
            async with Client(stdio_client(server, errlog=log), read_timeout_seconds=LIMIT_S) as client:
                yield client

    return start
