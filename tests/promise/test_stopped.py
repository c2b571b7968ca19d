"""Stopped processes and swept lock files: a request is sent once or not at all, and the record says which."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch

TOOL = "generate_nano_banana"
ONE_A_TIME = {"KIE_AI_RATE_LIMIT": "1", "KIE_AI_RATE_WINDOW_S": "0.3"}
SUSPICIOUS = {"constants": {"silence": 0.0}}
"""Orders: a process without a lock file is taken for dead at once."""


def sweep(folder: Path) -> None:
    for lock in folder.glob("tasks.db.*.lock"):
        lock.unlink()


@pytest.mark.parametrize("judged", ["dead", "alive"])
def test_waiting_request_of_a_stopped_server_is_paid_once_or_not_at_all(
    judged: str, launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play("slow:1", path="createTask")
    mark = tmp_path / "waiting"
    # Stopped while it writes, it would keep every other one from writing.
    idle = {"at": "ask for a slot", "when": "after", "do": "pause", "seconds": 1, "mark": str(mark)}
    server, other = launch(sandbox, idle, **ONE_A_TIME), launch(sandbox, SUSPICIOUS, **ONE_A_TIME)
    busy = other.ask(TOOL, prompt="The one before")
    until(lambda: bool(sandbox.requests))
    asked = server.ask(TOOL, prompt="A fox")
    until(mark.exists)
    server.signal(signal.SIGSTOP)
    if judged == "dead":
        sweep(tmp_path)
    other.answer(busy)
    other.call("list_tasks")
    server.signal(signal.SIGCONT)
    reply = data(server.answer(asked))
    paid = [entry.task_id for entry in sandbox.ledger if entry.body["input"]["prompt"] == "A fox"]
    row = rows(tmp_path, "submissions")[1]
    if judged == "dead":
        assert (reply["status"], reply["charged"], paid) == ("refused", "no", [])
        assert (row["state"], row["granted_at"]) == ("cancelled", None)
        assert data(server.call(TOOL, prompt="A fox"))["status"] == "pending"
    else:
        assert [reply["task_id"]] == paid
        assert (row["state"], row["task_id"]) == ("accepted", reply["task_id"])


def test_answer_that_comes_to_a_server_taken_for_dead_is_recorded(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play("slow:0.4", path="createTask")
    server, other = launch(sandbox), launch(sandbox, SUSPICIOUS)
    asked = server.ask(TOOL, prompt="A fox")
    until(lambda: bool(sandbox.requests))
    server.signal(signal.SIGSTOP)
    sweep(tmp_path)
    (entry,) = data(other.call("list_tasks"))["unresolved"]
    assert entry["state"] == "unknown"
    server.signal(signal.SIGCONT)
    made = data(server.answer(asked))
    assert [entry.task_id for entry in sandbox.ledger] == [made["task_id"]]
    listed = data(other.call("list_tasks"))
    assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]
    assert "unresolved" not in listed


def test_request_of_a_killed_server_whose_lock_file_is_gone_becomes_unknown(
    launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.play("timeout", path="createTask")
    server = launch(sandbox)
    server.ask(TOOL, prompt="A fox")
    until(lambda: bool(sandbox.requests))
    server.signal(signal.SIGKILL)
    assert server.ended() == -signal.SIGKILL
    sweep(tmp_path)
    (entry,) = data(launch(sandbox, SUSPICIOUS).call("list_tasks"))["unresolved"]
    assert entry["state"] == "unknown"
