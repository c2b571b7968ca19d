"""Shell lines of the documentation under test: every command and option exists, and what the sandbox can do is run."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from kie_ai_mcp._cli.main import cli
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
PROGRAM = "kie-ai-mcp-server"
# Programs besides ours that a reader has, or that the line itself installs.
OTHERS = {
    *(
        ".",
        "cd",
        "chmod",
        "cp",
        "curl",
        "docker",
        "export",
        "git",
        "ls",
        "mcp-publisher",
        "mkdir",
        "npx",
        "pip",
        "pipx",
        "python",
        "python3",
        "tee",
        "unset",
    ),
    *("systemd-run", "twine", "uv", "uvx", ".uv/bin/uv", ".ci/run"),
}
# Commands that need nothing but a service and a record, so that they are run as they are printed.
RUN = {"call", "config", "doctor", "estimate", "gallery", "models", "providers", "tasks", "tools"}
NOT_RUN = {("config", "set"), ("tasks", "resolve"), ("tasks", "approve"), ("tasks", "show")}  # need a task of yours
# `tests/packaging/test_pages.py` types every line of these in turn, for they build upon each other.
TYPED = {ROOT / "docs/plugins/tutorial.md", ROOT / "docs/plugins/gateway.md"}


@dataclass(frozen=True)
class Line:
    """One command of a page; `words` is without a prefix such as ``uvx`` or a variable."""

    page: Path
    text: str
    words: tuple[str, ...]

    @property
    def own(self) -> tuple[str, ...] | None:
        """The arguments of our program; None for another one, and where it is only installed."""
        before = self.words[: self.words.index(PROGRAM)] if PROGRAM in self.words else ("pip",)
        return None if "pip" in before else self.words[len(before) + 1 :]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text}"


def shell_lines(page: Path) -> Iterator[Line]:
    """Each command in the page's blocks of shell."""
    text = page.read_text(encoding="utf-8")
    for kind, block in re.findall(r"^ *```(sh|bash|shell|console)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        if kind == "console":  # which shows answers, too
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            for part in re.split(r"&&|\|(?!\|)", re.sub(r"(^|\s)#.*", "", line)):
                words = shlex.split(part)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    yield Line(page, part.strip(), tuple(words))


def inline_commands(page: Path) -> Iterator[str]:
    """What stands in the page's running text as a command of ours."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(rf"`(?:uvx |\.uv/bin/uv run )?{PROGRAM} ([a-z][^`]*)`", text.replace("\n", " "))


LINES = [line for page in PAGES for line in shell_lines(page)]
OWN = [line for line in LINES if line.own]


def command_of(words: tuple[str, ...]) -> tuple[click.Command, tuple[str, ...]]:
    """Return the command that these words call, and the words that are left for it."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    return command, words


def fault(words: tuple[str, ...]) -> str:
    """Why the program refuses these words; files that a reader has are not missed."""
    command, rest = command_of(words)
    if isinstance(command, click.Group) and not command.invoke_without_command and rest not in {("--help",), ()}:
        return f"there is no command {rest[0]}"
    try:
        command.make_context(PROGRAM, list(rest))
    except click.exceptions.Exit:  # --help
        return ""
    except click.UsageError as exc:
        return "" if "does not exist" in exc.message else exc.message
    return ""


@pytest.mark.parametrize("line", OWN, ids=str)
def test_line_is_one_that_the_program_takes(line: Line) -> None:
    assert line.own
    assert fault(line.own) == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_in_the_text_exist(page: Path) -> None:
    for text in inline_commands(page):
        words = tuple(text.replace("...", "").split())
        if words[0].isupper():
            continue  # COMMAND stands for any
        command, rest = command_of(words)
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        named = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert named <= known | {"--help"}, f"{page.name}: {text}"


def test_no_line_needs_a_program_that_a_reader_may_not_have() -> None:
    assert {str(line) for line in LINES if line.words[0] not in {PROGRAM, *OTHERS}} == set()


def test_every_package_that_is_installed_by_a_line_is_ours_and_has_the_extra() -> None:
    projects = [tomllib.loads(path.read_text("utf-8"))["project"] for path in ROOT.glob("**/pyproject.toml")]
    extras = {project["name"]: {"", *project.get("optional-dependencies", ())} for project in projects}
    named = 0
    for page in PAGES:
        for name, extra in re.findall(r"(kie-ai-mcp-[a-z0-9-]+)\[([a-z]+)\]", page.read_text(encoding="utf-8")):
            assert extra in extras.get(name, ()), f"{page.name}: {name}[{extra}]"
            named += 1
    assert named


@pytest.fixture
def at_the_sandbox(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a home of its own, whose service is the sandbox."""
    with Sandbox(speed=50) as sandbox:
        (tmp_path / "config.toml").touch()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("KIE_AI_")}
        yield environ | {
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "KIE_AI_API_KEY": "sandbox",
            "KIE_AI_BASE_URL": sandbox.base_url,
            "KIE_AI_UPLOAD_URL": sandbox.upload_url,
            "KIE_AI_CONFIG": str(tmp_path / "config.toml"),
        }


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in TYPED], ids=lambda page: str(page.relative_to(ROOT))
)
def test_lines_that_the_sandbox_can_serve_end_well(page: Path, at_the_sandbox: dict[str, str], tmp_path: Path) -> None:
    for line in OWN:
        own = line.own
        if line.page != page or not own or own[0] not in RUN or own[:2] in NOT_RUN or "--url" in own:
            continue
        command = " ".join([f"{shlex.quote(sys.executable)} -m kie_ai_mcp", line.text.partition(PROGRAM)[2]])
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=at_the_sandbox,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
