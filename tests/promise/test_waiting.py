"""Waits that end when they can, and never say less of a task than is on record, whatever the database takes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until
from tests.promise.pictures import TOOL, reads, started, took

if TYPE_CHECKING:
    from tests.promise.conftest import Launch, Message, Server

ALONE: dict[str, Any] = {"KIE_AI_WATCH": "false", "KIE_AI_PATIENCE_S": "90"}
LONG = {"timeout_s": 60}  # longer than a test may last: such a wait must end by itself
FULL = {"do": "limit", "size": 0}


def only(answer: "Message") -> dict[str, Any]:
    """The one task of an answer."""
    (task,) = answer["structuredContent"]["tasks"]
    assert isinstance(task, dict)
    return task


def two_servers(launch: "Launch", held: Sandbox, folder: Path) -> "tuple[Server, Server, str]":
    """Two servers on one database, and a task of the first that is not expected to end within a minute."""
    first, second = launch(held, **ALONE), launch(held, **ALONE)
    task_id = started(first)
    took(folder, 60)
    return first, second, task_id


# A database that takes nothing ---------------------------------------------------------------------------------------


def test_paid_answer_stays_one_where_the_full_disk_takes_no_read(launch: "Launch", held: Sandbox) -> None:
    server = launch(held, {"at": "read", "when": "after", **FULL}, **ALONE, KIE_AI_WAIT_S="3")
    answer = server.call(TOOL, prompt="A fox")
    known = answer["structuredContent"]
    assert (answer["isError"], known["status"], known["charged"], known["tool"]) == (False, "pending", "yes", TOOL)


def test_wait_on_a_full_disk_reads_and_says_what_is_on_record(launch: "Launch", held: Sandbox) -> None:
    server = launch(held, {"at": "read", "nth": 2, **FULL}, **ALONE)
    task_id = started(server)
    server.call("get_task_status", task_id=task_id)
    for _ in range(2):
        task = only(server.call("wait_for_tasks", task_ids=[task_id], timeout_s=2))
        assert (task["status"], task["charged"], task["tool"]) == ("pending", "yes", TOOL)
    assert reads(held) >= 3


def test_locked_database_keeps_no_task_that_is_waited_for_from_being_read(
    launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    server = launch(held, {"constants": {"busy timeout": 0.5}}, **ALONE)
    task_id = started(server)
    server.call("get_task_status", task_id=task_id)
    with closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        waiting = server.ask("wait_for_tasks", task_ids=[task_id], timeout_s=4)
        until(lambda: reads(held) >= 3)
        task = only(server.answer(waiting))
        database.execute("ROLLBACK")
    assert (task["charged"], task["tool"]) == ("yes", TOOL)
    assert task["status"] in {"pending", "processing"}


# Tasks that are over already, or end otherwise -----------------------------------------------------------------------


@pytest.mark.parametrize("fail", [None, "nsfw"])
def test_task_that_is_over_on_record_is_not_waited_for(
    fail: str | None, launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    server = launch(held, **ALONE)
    task_id = started(server)
    took(tmp_path, 60)
    held.finish(task_id, fail)
    server.call("get_task_status", task_id=task_id)
    task = only(server.call("wait_for_tasks", task_ids=[task_id], **LONG))
    assert task["status"] == ("failed" if fail else "completed")


def test_every_wait_ends_with_a_task_that_another_call_has_read(
    launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    first, second, task_id = two_servers(launch, held, tmp_path)
    waiting = [(server, server.ask("wait_for_tasks", task_ids=[task_id], **LONG)) for server in (first, second)]
    first.call("list_tasks")  # the waits have begun
    second.call("list_tasks")
    held.finish(task_id)
    assert first.call("get_task_status", task_id=task_id)["structuredContent"]["status"] == "completed"
    assert [only(server.answer(number))["status"] for server, number in waiting] == ["completed"] * 2


def test_wait_that_runs_out_says_what_another_server_wrote_last(
    launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    first, second, task_id = two_servers(launch, held, tmp_path)
    second.call("list_tasks")
    waiting = second.ask("wait_for_tasks", task_ids=[task_id], timeout_s=1)
    second.call("list_tasks")
    held.finish(task_id)
    first.call("get_task_status", task_id=task_id)
    assert only(second.answer(waiting))["status"] == "completed"


def test_task_that_cannot_be_read_is_said_so_before_its_usual_time(
    launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    server = launch(held, **ALONE)
    task_id = started(server)
    took(tmp_path, 60)
    server = launch(held, KIE_AI_API_KEY="", **ALONE)
    task = only(server.call("wait_for_tasks", task_ids=[task_id], timeout_s=1))
    assert (task["status"], task["charged"]) == ("pending", "yes")
    assert "key" in task["read_error"]


def test_clock_that_was_set_back_keeps_no_task_from_being_read(launch: "Launch", held: Sandbox, tmp_path: Path) -> None:
    server = launch(held, **ALONE)
    task_id = started(server)
    took(tmp_path, 60)
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
        database.execute("UPDATE tasks SET created_at = datetime(created_at, '+1 day') WHERE task_id = ?", (task_id,))
    held.finish(task_id)
    assert only(server.call("wait_for_tasks", task_ids=[task_id], **LONG))["status"] == "completed"


def test_slow_read_does_not_answer_an_older_state_than_is_on_record(
    launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    mark = tmp_path / "read"
    late = {"at": "read", "when": "after", "do": "pause", "seconds": 2.0, "nth": 2, "mark": str(mark)}
    server = launch(held, late, **ALONE)
    task_id = started(server)
    server.call("get_task_status", task_id=task_id)
    slow = server.ask("get_task_status", task_id=task_id)
    until(mark.exists)
    held.finish(task_id)
    statuses = [server.call("get_task_status", task_id=task_id), server.answer(slow)]
    assert [answer["structuredContent"]["status"] for answer in statuses] == ["completed"] * 2
