"""``serve --reload``: a provider's author saves a file, and the client's next call runs it, in the same session."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp.errors import ConfigError
from kie_ai_mcp_authors import reload
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until

if TYPE_CHECKING:
    from tests.wire.conftest import Plant, Spawn
    from tests.wire.processes import Child

SOURCE = '''
from kie_ai_mcp import Submission, hookimpl

def generate_draft(prompt: str) -> Submission:
    """{words}"""
    return Submission.market("google/nano-banana", {{"prompt": prompt}}, api_type="draft")

@hookimpl
def kie_register_tools(settings):
    return [generate_draft]
'''
STATELESS = "2026-07-28"
TOOL = "generate_draft"


@pytest.fixture
def module(plant: "Plant", tmp_path: Path) -> Path:
    """The source of a provider that is installed editable."""
    plant("draft", SOURCE.format(words="First words."))
    about = tmp_path / "plugins" / "kie_ai_mcp_draft-1.0.dist-info"
    about.joinpath("direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}', "utf-8")
    return tmp_path / "plugins" / "kie_ai_mcp_draft.py"


@pytest.fixture
def start(spawn: "Spawn", module: Path) -> Callable[..., "Child"]:
    """Starts the server with that provider alone."""

    def serve(sandbox: Sandbox | None = None, *options: str, **more: str) -> "Child":
        path = os.pathsep.join([str(module.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        settings = {"KIE_AI_ENABLED_PROVIDERS": "draft", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path, **more}
        return spawn("serve", "--reload", *options, sandbox=sandbox, **settings)

    return serve


def save(module: Path, text: str) -> None:
    """Save as editors do: a new file takes the old one's place."""
    part = module.with_suffix(".part")
    part.write_text(text, "utf-8")
    part.replace(module)


def words_of(child: "Child") -> str | None:
    """Return the tool's description as the client lists it; None where there is none."""
    tools = {tool["name"]: tool for tool in child.answer(child.ask("tools/list"))["result"]["tools"]}
    return tools[TOOL]["description"] if TOOL in tools else None


@pytest.mark.parametrize("revision", ["2025-11-25", STATELESS])
def test_saved_source_is_what_the_next_call_runs_in_the_same_session(
    start: Callable[..., "Child"], module: Path, sandbox: Sandbox, revision: str
) -> None:
    child = start(sandbox)
    greeting = child.greet(revision)
    assert greeting["capabilities"]["tools"]["listChanged"] is True
    assert words_of(child) == "First words."
    save(module, SOURCE.format(words="Second words.").replace('"draft")', '"draft-2")'))
    until(lambda: "kie_ai_mcp_draft.py changed" in child.errors)
    assert words_of(child) == "Second words."
    assert child.call(TOOL, prompt="A fox")["structuredContent"]["api_type"] == "draft-2"
    messages = [json.loads(line) for line in child.received]
    changed = [message for message in messages if message.get("method") == "notifications/tools/list_changed"]
    assert len(changed) == (0 if revision == STATELESS else 1)
    assert all("reload" not in str(message.get("id")) for message in messages)
    child.close_input()
    assert child.ended() == 0, child.errors


def test_subscriptions_of_a_session_go_on_with_the_changed_source(start: Callable[..., "Child"], module: Path) -> None:
    with Sandbox(hold=True) as sandbox:
        child = start(sandbox, KIE_AI_WATCH="false")
        capabilities = child.greet("2025-11-25")["capabilities"]
        assert capabilities["prompts"]["listChanged"] is True
        made = child.call(TOOL, prompt="A fox")["structuredContent"]["task_id"]
        child.answer(child.ask("resources/subscribe", uri=f"kie://tasks/{made}"))
        save(module, SOURCE.format(words="Second words."))
        until(lambda: "kie_ai_mcp_draft.py changed" in child.errors)
        assert words_of(child) == "Second words."
        sandbox.finish(made)
        while "notifications/resources/updated" not in (line := child.line()):
            assert line
        assert all("reload" not in str(json.loads(line).get("id")) for line in child.received)


def test_stream_of_changes_does_not_delay_the_changed_source(start: Callable[..., "Child"], module: Path) -> None:
    child = start()
    child.greet(STATELESS)
    listening = child.ask("subscriptions/listen", notifications={"resourcesListChanged": True})
    while "acknowledged" not in (line := child.line()):
        assert line
    save(module, SOURCE.format(words="Second words."))
    began = time.monotonic()
    assert "error" in child.answer(listening)
    assert time.monotonic() - began < reload.PATIENCE_S
    assert words_of(child) == "Second words."


def test_request_on_its_way_ends_before_the_server_is_replaced(
    start: Callable[..., "Child"], module: Path, sandbox: Sandbox
) -> None:
    child = start(sandbox)
    child.greet("2025-11-25")
    sandbox.play("slow:0.6@createTask")
    asked = child.ask("tools/call", name=TOOL, arguments={"prompt": "A slow fox"})
    until(lambda: len(sandbox.ledger) == 1)
    save(module, SOURCE.format(words="Second words."))
    until(lambda: "changed" in child.errors)
    listed = child.ask("tools/list")
    made = child.answer(asked)["result"]["structuredContent"]
    assert made["task_id"] == sandbox.ledger[0].task_id
    tools = child.answer(listed)["result"]["tools"]
    assert [tool["description"] for tool in tools if tool["name"] == TOOL] == ["Second words."]
    assert child.call("get_task_status", task_id=made["task_id"])["structuredContent"]["api_type"] == "draft"


def test_source_that_is_broken_for_a_while_ends_nothing(start: Callable[..., "Child"], module: Path) -> None:
    child = start()
    child.greet("2025-11-25")
    assert words_of(child) == "First words."
    save(module, "def generate_draft(:")
    until(lambda: "changed" in child.errors)
    assert words_of(child) is None
    assert child.errors.count("SyntaxError") == 1
    save(module, SOURCE.format(words="Third words."))
    until(lambda: child.errors.count("changed") == 2)
    assert words_of(child) == "Third words."


def test_second_change_during_the_replacement_keeps_the_waiting_request(
    start: Callable[..., "Child"], module: Path
) -> None:
    child = start()
    child.greet("2025-11-25")
    assert words_of(child) == "First words."
    save(module, "import time; time.sleep(2)\n" + SOURCE.format(words="Slow words."))
    until(lambda: "changed" in child.errors)
    listed = child.ask("tools/list")
    save(module, SOURCE.format(words="Third words."))
    until(lambda: child.errors.count("changed") == 2)
    tools = child.answer(listed)["result"]["tools"]
    assert [tool["description"] for tool in tools if tool["name"] == TOOL] == ["Third words."]


def test_server_that_dies_is_reported_and_starts_at_the_next_change(
    start: Callable[..., "Child"], module: Path, sandbox: Sandbox
) -> None:
    child = start(sandbox)
    child.greet("2025-11-25")
    save(
        module,
        SOURCE.format(words="Deadly words.").replace("    return Sub", "    import os; os._exit(7)\n    return Sub"),
    )
    until(lambda: "changed" in child.errors)
    answer = child.answer(child.ask("tools/call", name=TOOL, arguments={"prompt": "A fox that bites"}))
    assert "ended by itself with code 7" in answer["error"]["message"]
    assert "has ended" in child.answer(child.ask("tools/list"))["error"]["message"]
    save(module, SOURCE.format(words="Kind words."))
    until(lambda: child.errors.count("changed") == 2)
    assert words_of(child) == "Kind words."
    assert child.call(TOOL, prompt="A fox")["structuredContent"]["status"] == "pending"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")
def test_signal_ends_both_processes(start: Callable[..., "Child"], tmp_path: Path) -> None:
    children = {received: start() for received in (signal.SIGINT, signal.SIGTERM)}
    for received, child in children.items():
        child.greet("2025-11-25")
        child.process.send_signal(received)
    for received, child in children.items():
        assert child.ended() == (0 if received == signal.SIGTERM else 128 + received)
        assert "Traceback" not in child.errors
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".lock")] == []


def test_wrong_setting_ends_the_start_as_without_it(start: Callable[..., "Child"]) -> None:
    child = start(None, "--strict", KIE_AI_DISABLED_PROVIDERS="drafts")
    assert (child.ended(), child.errors.count("\n")) == (2, 1)
    assert "drafts" in child.errors


def test_missing_watcher_is_one_line_with_the_cure(spawn: "Spawn", tmp_path: Path) -> None:
    (tmp_path / "watchfiles.py").write_text("raise ImportError", "utf-8")
    child = spawn("serve", "--reload", PYTHONPATH=str(tmp_path))
    assert child.ended() == 2
    (line,) = child.errors.splitlines()
    assert "pip install 'kie-ai-mcp-core[reload]'" in line


def test_nothing_to_follow_is_said_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "entry_points", lambda group: [])

    with pytest.raises(ConfigError, match="installed editable") as error:
        reload.Relay({})
    assert "pip install --editable" in str(error.value)
