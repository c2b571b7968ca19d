"""Shutdown: by the end of input or by a signal, quickly, and with a correct record."""

import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.wire.conftest import Spawn
    from tests.wire.processes import Child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")

WAYS: dict[str, tuple[Callable[["Child"], None], int]] = {
    "EOF": (lambda child: child.close_input(), 0),
    "SIGINT": (lambda child: child.process.send_signal(signal.SIGINT), 130),
    "SIGTERM": (lambda child: child.process.send_signal(signal.SIGTERM), 0),
    "SIGHUP": (lambda child: child.process.send_signal(signal.SIGHUP), 129),
}
"""How a host ends a server, and the exit code it then sees."""

AT_ONCE_S = 5.0
"""Hosts grant about two seconds before they kill; a machine that runs many tests at once is slower."""

GRACE_S = 8.0
"""What a request on its way may take besides."""


def started(spawn: "Spawn", sandbox: Sandbox, **settings: str) -> dict[str, "Child"]:
    """One server for each way to end it, started together, all on one database."""
    children = {way: spawn(sandbox=sandbox, **settings) for way in WAYS}
    for child in children.values():
        child.greet("2025-11-25")
    return children


def end(children: dict[str, "Child"], within_s: float) -> None:
    """End each in its way and check its exit code."""
    for way, child in children.items():
        WAYS[way][0](child)
    deadline = time.monotonic() + within_s
    for way, child in children.items():
        assert child.ended(max(deadline - time.monotonic(), 0.1)) == WAYS[way][1], f"{way}\n{child.errors}"
        assert "Traceback" not in child.errors, way


def creates(sandbox: Sandbox) -> int:
    """How many paid requests arrived, accepted or not."""
    return sum(seen.method == "POST" for seen in sandbox.requests)


def test_server_that_waits_for_a_task_ends_at_once(spawn: "Spawn", tmp_path: Path, rows: "Rows") -> None:
    with Sandbox(hold=True) as sandbox:
        children = started(spawn, sandbox)
        for way, child in children.items():
            made = child.call("generate_nano_banana", prompt=f"A fox during {way}")["structuredContent"]
            arguments = {"task_ids": [made["task_id"]]}
            child.ask("tools/call", name="wait_for_tasks", arguments=arguments, _meta={"progressToken": way})
            assert "notifications/progress" in child.line()
        end(children, AT_ONCE_S)
        assert len(sandbox.ledger) == len(children)
    assert {row["state"] for row in rows(tmp_path, "submissions")} == {"accepted"}
    assert {task["status"] for task in rows(tmp_path, "tasks")} <= {"pending", "processing"}
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".lock")] == []


def test_signal_ends_the_server_at_once_although_its_database_is_busy(spawn: "Spawn", tmp_path: Path) -> None:
    with Sandbox(hold=True) as sandbox, closing(sqlite3.connect(tmp_path / "tasks.db")) as other:
        child = spawn(sandbox=sandbox)
        child.greet("2025-11-25")
        made = child.call("generate_nano_banana", prompt="A fox in a queue")["structuredContent"]
        other.execute("BEGIN IMMEDIATE")
        child.ask("tools/call", name="get_task_status", arguments={"task_id": made["task_id"]})
        until(lambda: sandbox.requests[-1].code is not None and sandbox.requests[-1].path.endswith("recordInfo"))
        time.sleep(0.05)  # until it waits for the other's lock, which cannot be seen from here
        end({"SIGTERM": child}, AT_ONCE_S)


def test_paid_requests_on_their_way_are_recorded_as_accepted_or_as_unknown(
    spawn: "Spawn", sandbox: Sandbox, tmp_path: Path, rows: "Rows"
) -> None:
    children = started(spawn, sandbox)
    for words, fault in (("never answered", "timeout"), ("answered late", "slow:3")):
        for way, child in children.items():
            # One after the other, so that none waits for what another writes.
            sandbox.play(f"{fault}@createTask")
            paid = len(sandbox.ledger)
            child.ask("tools/call", name="generate_nano_banana", arguments={"prompt": f"{words}, {way}"})
            until(lambda paid=paid: len(sandbox.ledger) > paid)  # type: ignore[misc]
    end(children, GRACE_S)
    answered = {accepted.task_id for accepted in sandbox.ledger[len(children) :]}
    submissions = rows(tmp_path, "submissions")
    for row in submissions:
        expected = "accepted" if "answered late" in row["arguments"] else "unknown"
        assert (row["state"], row["task_id"] in answered) == (expected, expected == "accepted"), row
    assert {row["task_id"] for row in rows(tmp_path, "tasks")} == answered
    assert len(submissions) == creates(sandbox) == 2 * len(children)


def test_request_that_waits_for_its_turn_is_never_sent(spawn: "Spawn", sandbox: Sandbox) -> None:
    children = {
        way: spawn(sandbox=sandbox, KIE_AI_RATE_LIMIT="1", KIE_AI_RATE_WINDOW_S="600") for way in ("EOF", "SIGTERM")
    }
    for child in children.values():
        child.greet("2025-11-25")
    first, *_ = children.values()
    made = first.call("generate_nano_banana", prompt="A fox in time")["structuredContent"]
    for way, child in children.items():
        child.ask("tools/call", name="generate_nano_banana", arguments={"prompt": f"A fox before {way}"})
    until(lambda: len(first.call("list_tasks")["structuredContent"].get("unresolved", [])) == len(children))
    end(children, AT_ONCE_S)
    later = spawn(sandbox=sandbox)
    later.greet("2025-11-25")
    listed = later.call("list_tasks")["structuredContent"]
    assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]
    assert listed.get("unresolved", []) == []
    assert creates(sandbox) == 1
