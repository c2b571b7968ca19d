"""Output of every command: in the encoding of any console, and without what a terminal would obey."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest

import kie_ai_mcp._cli
from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.console import TOLD
from kie_ai_mcp._cli.findings import Finding
from kie_ai_mcp._cli.greeting import greet
from kie_ai_mcp._record.record import Record
from kie_ai_mcp.specs import Outcome, Task
from kie_ai_mcp_sandbox.command import sandbox
from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.cli.conftest import Run

ODD = "Fjällräv 狐 🦊 Łódź → … “x”"
ORDERS = "\x1b[2J\x1b]0;owned\x07\r\x08\x7f\x9b31m\u202eabc"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

COMMANDS: dict[str, tuple[str, ...]] = {
    "config show": (),
    "config path": (),
    "doctor --offline": (),
    "providers": (),
    "providers --markdown": (),
    "tools": (),
    "tools generate_nano_banana": (),
    "tasks list": (),
    "tasks show": ("done",),
    "tasks show ": ("lost",),
    "tasks wait": ("done",),
    "tasks save": ("done",),
    "tasks save --expired": (),
    "tasks export": (),
    "tasks prune --older-than 30d": (),
    "tasks resolve 1 --adopt": ("other",),
    "gallery --no-open": (),
    "install cursor --yes": (),
    "install codex --print": (),
    "call list_tasks": (),
    "call generate_nano_banana": ("image_size=16:9", f"prompt={ODD}", f"model={ODD}"),
    "call wait_for_tasks": ('task_ids=["done"]',),
    "completion bash": (),
    "new-provider moon": (),
    "--help": (),
    "sandbox --port 0 --fault": (ODD,),
    ODD: (),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a name that few consoles can write, and in it a configuration file and a client's file."""
    home = tmp_path / ODD
    (home / ".cursor").mkdir(parents=True)
    (home / ".cursor" / "mcp.json").write_text(json.dumps({ODD: ORDERS}), "utf-8")
    (home / "config.toml").write_text(f"rate_limit = 7 # {ODD}\n", "utf-8")
    return home


@pytest.fixture
def record(run: "Run", in_store: Callable[..., Any]) -> Callable[[str], None]:
    """Records a finished, a failed and an unknown request in whose texts the service, or the user, put `words`."""

    def fill(words: str) -> None:
        async def work(record: Record) -> None:
            await record.tasks.adopt(Task("done", "nano-banana", "nano-banana", model=words))
            url = f"http://127.0.0.1:9/{words}.png"
            await record.tasks.record_outcome("done", Outcome("completed", (url,), error=words))
            await record.tasks.adopt(Task("lost", "nano-banana", "nano-banana"))
            await record.tasks.record_outcome("lost", Outcome("failed", error=words, error_code=words))

        in_store(work)
        with Sandbox() as sandbox:
            sandbox.play("drop-after")
            assert run("call", "generate_nano_banana", f"prompt={words}", sandbox=sandbox).code == 1

    return fill


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_every_command_prints_into_any_encoding(
    run: "Run", home: Path, record: Callable[[str], None], encoding: str
) -> None:
    record(ODD)
    places = {"HOME": str(home), "KIE_AI_CONFIG": str(home / "config.toml"), "KIE_AI_OUTPUT_DIR": str(home / "out")}
    for command, arguments in COMMANDS.items():
        # An exception would be raised here, as it would be in a process of its own.
        words = [command] if command == ODD else command.split()
        ended = run(*words, *arguments, sandbox=None, charset=encoding, **places)
        assert ended.stdout + ended.stderr, command
        assert "Traceback" not in ended.stderr, command
        if encoding == "utf-8":
            assert "\\u" not in ended.stdout + ended.stderr, command


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_json_means_the_same_in_any_encoding(run: "Run", record: Callable[[str], None], encoding: str) -> None:
    record(ODD + ORDERS)
    shown = run("tasks", "show", "lost", "--json", charset=encoding).stdout
    assert json.loads(shown) == json.loads(run("tasks", "show", "lost", "--json").stdout)
    assert ODD in json.loads(shown)["error"]
    assert ODD in run("tasks", "show", "lost").stdout


def test_no_command_passes_on_what_a_terminal_obeys(run: "Run", home: Path, record: Callable[[str], None]) -> None:
    record(f"red{ORDERS}")
    for command, arguments in COMMANDS.items():
        if command != ODD:
            orders = (text.replace(ODD, f"red{ORDERS}") for text in arguments)
            ended = run(*command.split(), *orders, HOME=str(home))
            assert not CONTROLS.findall(ended.stdout + ended.stderr), command
    assert "Model: red [2J" in run("tasks", "show", "done").stdout


def test_a_pipe_of_another_encoding_is_written_in_it(run_child: "Run", tmp_path: Path) -> None:
    file = tmp_path / f"{ODD}.toml"
    ended = run_child("config", "path", charset="cp1252", PYTHONIOENCODING="cp1252", KIE_AI_CONFIG=str(file))
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.rstrip() == str(file).encode("cp1252", "backslashreplace").decode("cp1252")


def test_what_is_told_to_an_assistant_reads_for_a_person(run: "Run", sandbox: Sandbox) -> None:
    made = json.loads(run("call", "generate_nano_banana", "prompt=A fox", "--json", sandbox=sandbox).stdout)
    sandbox.advance(10)
    shown = run("tasks", "show", made["task_id"], "--refresh", sandbox=sandbox, KIE_AI_OUTPUT_DIR="").stdout
    assert "Next: Save the results before the links expire: `kie-ai-mcp-server tasks save TASK --to DIR`." in shown
    said = run("estimate", "generate_nano_banana", "prompt=A fox", sandbox=sandbox).stdout
    assert "Next: Buy it with `kie-ai-mcp-server call`" in said
    source = "".join(path.read_text("utf-8") for path in Path(kie_ai_mcp.__file__).parent.glob("_[!c]*/*.py"))
    assert [words for words in TOLD if words not in source] == []


def test_all_output_passes_through_one_place() -> None:
    folder = Path(kie_ai_mcp._cli.__file__).parent
    prints = {
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"echo", "secho"} and ast.unparse(node.value) == "click"
    }
    assert [place.partition(":")[0] for place in prints] == ["console.py"]


# Commands in what is printed -----------------------------------------------------------------------------------------


def test_printed_commands_are_those_that_a_person_can_type_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "typed_command", lambda: ".uv/bin/uv run kie-ai-mcp-server")
    console.echo("Look: `kie-ai-mcp-server tasks list`, or kie-ai-mcp-server doctor. The kie-ai-mcp-server project.")
    said = "Look: `.uv/bin/uv run kie-ai-mcp-server tasks list`, or .uv/bin/uv run kie-ai-mcp-server doctor."
    assert capsys.readouterr().out == f"{said} The kie-ai-mcp-server project.\n"
    console.print_json({"next": "kie-ai-mcp-server doctor"})
    assert capsys.readouterr().out == '{\n  "next": "kie-ai-mcp-server doctor"\n}\n'


LONG = "/home/somebody/projects/of/mine/pictures-for-the-shop/.uv/bin/uv run kie-ai-mcp-server"


@pytest.mark.parametrize(
    "typed",
    [".uv/bin/uv run kie-ai-mcp-server", "uvx --with 'a @ https://x' kie-ai-mcp-server", "kie-ai-mcp-server", LONG],
)
def test_command_that_is_written_as_it_is_typed_stays(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "typed_command", lambda: typed)
    text = "Run `kie-ai-mcp-server tasks list` or kie-ai-mcp-server doctor, not uv run kie-ai-mcp-server tools."
    once = console.as_typed(text)
    assert once == f"Run `{typed} tasks list` or {typed} doctor, not uv run kie-ai-mcp-server tools."
    assert console.as_typed(once) == once
    other = "uvx --with kie-ai-mcp-pika --refresh kie-ai-mcp-server install cursor"
    assert console.as_typed(other) == other


@pytest.mark.parametrize("typed", ["kie-ai-mcp-server", ".uv/bin/uv run kie-ai-mcp-server", LONG])
def test_line_of_words_fits_the_terminal_and_breaks_no_command(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (console, console.terminal()):
        monkeypatch.setattr(module, "typed_command", lambda: typed)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as at a terminal
    monkeypatch.setenv("COLUMNS", "80")
    cure = "Run: kie-ai-mcp-server install claude-desktop --name mine; then restart Claude Desktop. "
    cure += "Or name a folder: `kie-ai-mcp-server config set output_dir ~/Pictures/kie` (and unset KIE_AI_OUTPUT_DIR)."
    Finding("client", "fail", "Claude Desktop's entry mine starts a program that is not there.", cure).show()
    console.say(f"Written. Restart it. {cure}", "  ")
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert [line for line in lines if len(line) > 80 and not line.strip(" `.;").startswith(typed)] == []
    for end in (" install claude-desktop --name mine;", " config set output_dir ~/Pictures/kie"):
        assert sum(typed + end in line for line in lines) == 2, lines
    if typed == LONG:
        assert min(len(line) - len(line.lstrip()) for line in lines if typed in line) == 0


FOLDER = "/home/anna/My own pictures/of last summer"


@pytest.mark.parametrize(
    "whole",
    [
        f"{FOLDER}/tasks.db",
        f"'{FOLDER}'",
        "kie-ai-mcp-server tasks list",
        "pip install --upgrade kie-ai-mcp-seedream 'kie-ai-mcp-core[preview]'",
        f"'{FOLDER}/uv' pip install --python '{FOLDER}/python' kie-ai-mcp-seedream",
        f"/opt/bin/python3 -m pip install --target '{FOLDER}' kie-ai-mcp-seedream",
        "/opt/conda run --prefix /envs/a pip install kie-ai-mcp-seedream",
        "uv tool install --with kie-ai-mcp-pika kie-ai-mcp-server",
        f"sqlite3 '{FOLDER}/tasks.db' .recover | sqlite3 '{FOLDER}/tasks.db.new'",
    ],
)
def test_error_fits_the_terminal_and_breaks_no_command_and_no_path(
    whole: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (console, console.terminal()):
        monkeypatch.setattr(module, "typed_command", lambda: "kie-ai-mcp-server")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as at a terminal
    for width in range(40, 80, 3):
        monkeypatch.setenv("COLUMNS", str(width))
        console.complain(f"What was read there can't be used/kept: {whole}, and then look at what is left of it all.")
        lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().err).splitlines()
        (line,) = (line for line in lines if whole in line)
        others = [each for each in lines if each != line]
        assert max(map(len, others)) <= width
        assert len(line) <= max(width, len(whole) + 1)


def test_greeting_and_help_name_commands_as_a_person_types_them_here(
    run: "Run", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ".uv/bin/uv run kie-ai-mcp-server"
    monkeypatch.setattr(console, "typed_command", lambda: typed)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    greet()
    said = capsys.readouterr().err
    assert said.count(typed) == 3
    assert said.replace(typed, "").count("kie-ai-mcp-server") == 0
    monkeypatch.undo()
    monkeypatch.setattr(console, "typed_command", lambda: typed)
    for words in (("install", "--help"), ("config", "set", "--help"), ("config", "--help"), ("call", "--help")):
        shown = run(*words).stdout
        assert shown.startswith(f"Usage: {typed} {' '.join(words[:-1])} ")
        bare = re.findall(r"(?<!uv run )kie-ai-mcp-server (?:install|config|call|tools)\b.*", shown)
        assert bare == []
    assert f"See: {typed} --help" in run("--no-such-option").stderr


def test_what_is_no_number_is_refused_in_plain_words(run: "Run") -> None:
    for words, reason in (
        (("users", "add", "anna", "--credits-per-day", "abc"), "'abc' is not a valid number"),
        (("serve", "--http", "--port", "80x"), "'80x' is not a valid whole number"),
        (("tasks", "list", "--limit", "many"), "'many' is not a valid whole number"),
    ):
        ended = run(*words)
        assert (ended.code, reason in ended.stderr) == (2, True), ended.stderr
    group = console.in_plain_words(click.Group("all", commands={"sandbox": sandbox}))
    for options, reason in (
        (["--rate-limit", "many"], "'many' is not a valid whole number"),
        (["--port", "80000"], "80000 is not in the range 0<=x<=65535"),
        (["--speed", "fast"], "'fast' is not a valid number"),
        (["--speed", "inf"], "'inf' is no finite number"),
        (["--speed", "0"], "0.0 is not in the range x>0"),
        (["--credits", "nan"], "'nan' is no finite number"),
        (["--credits", "-inf"], "-inf is not in the range x>=0"),
    ):
        with pytest.raises(click.BadParameter, match=re.escape(reason)):
            group.main(["sandbox", *options], standalone_mode=False)
