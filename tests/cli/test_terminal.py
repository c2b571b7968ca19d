"""Tables and progress as a person sees them: a pseudo-terminal of 80 columns, and pipes, where nothing is cut."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from rich.cells import cell_len

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.users import User
from kie_ai_mcp.specs import Outcome, Task
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S
from tests.terminals import STYLE, read, terminal, type_hidden

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.conftest import Environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

PICTURE = "generate_nano_banana"
PROMPT = "A lighthouse above a sea of clouds at first light — 狐 🦊 Łódź, painted in the manner of an old master"
MODEL = "a-maker-with-a-name/a-model-of-a-name-that-no-table-has-room-for-v12-5-pro-fast"
TABLES = {
    "tasks list": (),
    "tasks stats": (),
    "tasks stats --by model,tool,status": (),
    "tasks wait": ("done-0123456789", "link-0123456789"),
    "tasks save": ("done-0123456789", "link-0123456789"),
    "users list": (),
    "providers": (),
    "plugin list": (),
    "tools": (),
    "tools generate_nano_banana": (),
    "config show": (),
    "models find picture": (),
}


class OnTerminal(Protocol):
    """Runs a command on a pseudo-terminal."""

    def __call__(
        self, *arguments: str, columns: int = 80, typed: str = "", service: Sandbox = ..., **settings: str
    ) -> str:
        """Return all that the terminal was sent, without styles."""
        ...


@pytest.fixture
def on_terminal(environment: "Environment", tmp_path: Path, sandbox: Sandbox) -> OnTerminal:
    def run(*arguments: str, columns: int = 80, typed: str = "", service: Sandbox = sandbox, **settings: str) -> str:
        values = {"TERM": "xterm", "KIE_AI_ENABLED_PROVIDERS": "nano-banana", **settings}
        environ = environment(tmp_path, service, **values)
        command = [sys.executable, "-m", "kie_ai_mcp", *arguments]
        with terminal(command, environ, tmp_path, columns) as (_, ours):
            if typed:
                type_hidden(ours, typed)
            return read(ours)

    return run


@pytest.fixture
def history(in_store: Callable[[Callable[[Record], Any]], Any], run: "Run", sandbox: Sandbox) -> None:
    """A record with what tables must have room for: long names, prompts, wide signs, lost requests, users."""
    now = datetime.now(UTC)

    async def fill(record: Record) -> None:
        for task_id, url in ("done-0123456789", f"{sandbox.base_url}/a.png"), ("link-0123456789", "http://x/b.png"):
            task = Task(task_id, "nano-banana", "nano-banana", model=MODEL, created_at=now - timedelta(minutes=5))
            await record.tasks.adopt(task)
            await record.tasks.record_outcome(task_id, Outcome("completed", (url,), finished_at=now))
        await record.users.add(
            User("somebody-with-a-long-name", is_admin=True, own_key=True, credits_per_day=123_456.0)
        )
        limits = {"credits_per_day": 100.0, "credits_per_request": 20.0, "submissions_per_hour": 5}
        await record.users.add(User("anna", **limits))  # type: ignore[arg-type]

    in_store(fill)
    for prompt in (PROMPT, "A hen"):
        run("call", PICTURE, f"prompt={prompt}", "model=nano-banana-pro", sandbox=sandbox)
        run("call", PICTURE, f"prompt={prompt}", sandbox=sandbox)
    sandbox.play("drop-after")
    run("call", PICTURE, f"prompt={PROMPT}", sandbox=sandbox)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("command", TABLES)
def test_every_table_fits_the_terminal(on_terminal: OnTerminal, tmp_path: Path, command: str, columns: int) -> None:
    shown = on_terminal(*command.split(), *TABLES[command], columns=columns)
    assert "Traceback" not in shown
    # Addresses, paths and reasons of the service come below a table, whole; progress was overwritten.
    wide = [line for line in shown.splitlines() if cell_len(line) > columns and "\r" not in line]
    whole = ("http", "kie-ai-mcp-server", 'The service says: "')
    assert [line for line in wide if not any(text in line for text in (*whole, str(tmp_path)))] == []


@pytest.mark.usefixtures("history")
def test_list_on_a_terminal_has_whole_ids_ages_and_credits(on_terminal: OnTerminal, sandbox: Sandbox) -> None:
    shown = on_terminal("tasks", "list")
    for task in sandbox.ledger[:-1]:
        assert any(re.match(rf"{task.task_id[:8]}  \d+s +pending +~\d", line) for line in shown.splitlines())
    assert re.search(r"\ndone-012  5m +1 link, 23h left +", shown), shown
    assert "A lighthouse above a sea" in shown
    assert "…" in shown
    assert any(line.strip().startswith(f"{PICTURE} ") for line in shown.splitlines())


@pytest.mark.usefixtures("history")
def test_narrow_terminal_shows_every_value_on_a_line_of_its_own(on_terminal: OnTerminal) -> None:
    assert "task: done-012\nage: 5m\nstatus: 1 link, 23h left\n" in on_terminal("tasks", "list", columns=30)


@pytest.mark.usefixtures("history")
def test_nothing_is_cut_in_a_pipe(run: "Run", sandbox: Sandbox) -> None:
    listed = run("tasks", "list", sandbox=sandbox).stdout
    assert f"nano-banana {MODEL}" in listed
    assert "…" not in run("tools").stdout + run("providers").stdout + run("config", "show").stdout


@pytest.mark.usefixtures("history")
def test_prompts_that_are_not_stored_are_in_no_list(on_terminal: OnTerminal, run: "Run", sandbox: Sandbox) -> None:
    run("call", PICTURE, "prompt=A secret hen", sandbox=sandbox, KIE_AI_STORE_PROMPTS="false")
    shown = on_terminal("tasks", "list", KIE_AI_STORE_PROMPTS="false")
    assert f"{sandbox.ledger[-1].task_id[:8]}  " in shown
    assert "secret" not in shown
    assert "not stored" not in shown


def test_several_tasks_are_waited_for_with_one_clock(on_terminal: OnTerminal, run: "Run") -> None:
    with Sandbox(speed=0.4) as sandbox:
        for prompt in ("A fox", "A hen"):
            run("call", PICTURE, f"prompt={prompt}", sandbox=sandbox)
        shown = on_terminal("tasks", "wait", service=sandbox)
    lines = [line for line in re.split(r"[\r\n]+", shown) if "queued" in line or "generating" in line]
    assert lines
    for line in lines:
        assert len(re.findall(r"\d+ s\b|\d:\d\d", line)) == 1, line
    assert re.search(rf"{sandbox.ledger[0].task_id[:8]}  completed +4  A fox", shown)


def test_clock_of_one_task_goes_on_between_two_messages(on_terminal: OnTerminal) -> None:
    with Sandbox(speed=0.5) as service:
        shown = on_terminal("call", PICTURE, "prompt=A fox", "--wait", service=service)
    seconds = [int(text) for text in re.findall(r"Nano Banana: (?:queued|generating)[^\r\n]*?, (\d+) s", shown)]
    assert seconds == sorted(seconds)
    assert len({*seconds}) > 2, "it counts each second, not only those of messages"


def test_progress_in_a_pipe_is_a_line_a_change(run: "Run", sandbox: Sandbox) -> None:
    ended = run("call", PICTURE, "prompt=A fox", "--wait", "--json", sandbox=sandbox)
    lines = ended.stderr.splitlines()
    assert re.fullmatch(r"Nano Banana: completed, \d+ s", lines[-1])
    assert len(lines) == len({re.sub(r"\d+", "", line) for line in lines})
    assert not STYLE.search(ended.stderr)


def test_key_that_is_typed_is_not_shown(on_terminal: OnTerminal, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    shown = on_terminal("config", "set", "api_key", typed="0123456789abcdef0123\n", KIE_AI_CONFIG=str(file))
    assert "api_key (not shown):" in shown
    assert "0123456789abcdef0123" not in shown
    assert file.read_text("utf-8").endswith('api_key = "0123456789abcdef0123"\n')


# Serving at a terminal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("serve",), ("serve", "--strict"), ("serve", "--log-format", "json")])
def test_server_at_a_terminal_says_what_it_waits_for(
    environment: "Environment", tmp_path: Path, sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "kie_ai_mcp", *arguments]
    with terminal(command, environment(tmp_path, sandbox), tmp_path, 80) as (process, ours):
        shown = read(ours, until="Ctrl-C")
        assert [word for word in ("MCP", " install ", " demo", "--help") if word not in shown] == []
        assert all(cell_len(line) <= 80 for line in shown.splitlines() if sys.prefix not in line)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LIMIT_S) == 128 + signal.SIGINT


def test_server_that_a_host_starts_says_nothing(run_child: "Run") -> None:
    ended = run_child("serve")
    assert (ended.stdout, ended.stderr) == ("", "")
