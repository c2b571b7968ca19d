"""Running tasks in the background: read by one server at a time, rarely and not too early, and their results saved."""

import itertools
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, until
from tests.promise.pictures import reads, started, took

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch, Server

PAUSE_S = 1.0
QUICK = {"look": 0.05, "lease": 1.0, "least": 0.2, "usual": {"image": 0.0}}

Tasks = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def tasks(rows: "Rows", tmp_path: Path) -> Tasks:
    return lambda: rows(tmp_path, "tasks")


def saved(tasks: Tasks) -> bool:
    return all(row["status"] == "completed" and len(json.loads(row["files"])) == 1 for row in tasks())


def stop_between_writes(server: "Server", folder: Path) -> None:
    """Stop a server where it holds no lock of the database, which would stop all others."""
    with closing(sqlite3.connect(folder / "tasks.db", timeout=0.1)) as database:
        while True:
            server.signal(signal.SIGSTOP)
            with suppress(sqlite3.OperationalError):
                database.execute("BEGIN IMMEDIATE")
                return database.rollback()
            server.signal(signal.SIGCONT)
            time.sleep(0.01)


@pytest.mark.parametrize("words", [(), ("serve", "--http", "--port", "0")])
def test_task_that_nobody_waits_for_is_read_and_saved_while_a_server_runs(
    words: tuple[str, ...], launch: "Launch", held: Sandbox, tasks: Tasks
) -> None:
    maker = launch(held, {"constants": QUICK})
    task_id = started(maker)
    if words:  # no call is needed
        maker.close_input()
        assert maker.ended() == 0
        maker = launch(held, {"constants": QUICK}, *words)
    until(lambda: reads(held) > 1)
    assert tasks()[0]["status"] in {"pending", "processing"}
    held.finish(task_id)
    until(lambda: saved(tasks))
    before = reads(held)
    time.sleep(0.3)  # several looks
    assert reads(held) == before
    maker.signal(signal.SIGTERM)
    assert maker.ended() == 0
    assert "Traceback" not in maker.errors


def test_nothing_is_read_in_the_background_where_that_is_switched_off(
    launch: "Launch", held: Sandbox, tasks: Tasks
) -> None:
    server = launch(held, {"constants": QUICK}, KIE_AI_WATCH="false")
    started(server)
    server = launch(held, {"constants": QUICK}, KIE_AI_WATCH="false")
    server.call("list_tasks")
    time.sleep(0.3)
    assert reads(held) == 0


def test_task_is_not_read_before_it_can_be_done(launch: "Launch", held: Sandbox, tasks: Tasks) -> None:
    server = launch(held, {"constants": {**QUICK, "usual": {"image": 0.6}}})
    begun = time.monotonic()
    started(server)
    until(lambda: reads(held))
    assert time.monotonic() - begun >= 0.6


def test_pauses_grow_with_the_age_of_a_task(launch: "Launch", held: Sandbox) -> None:
    server = launch(held, {"constants": {**QUICK, "look": 0.01, "least": 0.01}})
    started(server)
    until(lambda: reads(held) >= 3)
    time.sleep(1.5)
    times = [seen.time for seen in held.requests if "recordInfo" in seen.path]
    pauses = [later - first for first, later in itertools.pairwise(times)]
    assert pauses[-1] > 0.1
    assert len(times) < 30  # every hundredth of a second it would be 150


@pytest.mark.usefixtures("address")
def test_one_of_several_servers_reads(launch: "Launch", held: Sandbox, tasks: Tasks) -> None:
    servers = [launch(held, {"constants": {**QUICK, "least": 0.4}}) for _ in range(3)]
    for number, server in enumerate(servers):
        started(server, f"Fox {number}")
    until(lambda: reads(held) >= 9)
    times = [seen.time for seen in held.requests if "recordInfo" in seen.path]
    # Three reads of each of the three tasks, with two pauses in between.
    assert times[8] - times[0] >= 2 * 0.4 * 0.8 - 0.1


# Where one is stopped in the midst of a write, PostgreSQL ends its session, which takes some seconds.
@pytest.mark.parametrize(
    ("address", "end"),
    [("sqlite", "killed"), ("sqlite", "stopped"), ("sqlite", "ended"), ("postgres", "killed"), ("postgres", "ended")],
    indirect=["address"],
)
def test_another_server_takes_over_where_the_one_that_reads_is_gone(
    address: str, end: str, launch: "Launch", held: Sandbox, tasks: Tasks, tmp_path: Path
) -> None:
    first = launch(held, {"constants": {**QUICK, "lease": 60.0 if end != "stopped" else 1.0}})
    task_id = started(first)
    until(lambda: reads(held))
    second = launch(held, {"constants": {**QUICK, "lease": 60.0 if end != "stopped" else 1.0}})
    second.call("list_tasks")
    match end:
        case "killed":
            first.signal(signal.SIGKILL)
            first.ended()
        case "ended":
            first.close_input()
            first.ended()
        case "stopped":
            stop_between_writes(first, tmp_path)
    before = reads(held)
    until(lambda: reads(held) > before + 1)
    held.finish(task_id)
    until(lambda: saved(tasks))
    if end == "stopped":
        first.signal(signal.SIGCONT)
        assert started(first, "An owl")  # it goes on as it was
        (owl,) = [row for row in tasks() if row["task_id"] != task_id]
        held.finish(owl["task_id"])
        until(lambda: saved(tasks))
    assert "Traceback" not in first.errors + second.errors


def test_task_that_a_caller_waits_for_is_left_to_it(launch: "Launch", held: Sandbox) -> None:
    server = launch(held, {"constants": {**QUICK, "look": 0.01, "least": 0.01}})
    task_id = started(server)
    waiting = server.ask("wait_for_tasks", task_ids=[task_id], timeout_s=2)
    until(lambda: reads(held))
    before = reads(held)
    server.answer(waiting)
    assert reads(held) - before <= 2


@pytest.mark.parametrize("fault", ["http:500", "drop-after", "429:3600"])
def test_reads_that_fail_are_not_repeated_at_once(fault: str, launch: "Launch", held: Sandbox) -> None:
    held.play(f"{fault}*always", path="recordInfo")
    server = launch(held, {"constants": {**QUICK, "look": 0.01, "least": 0.5}})
    started(server)
    until(lambda: reads(held))
    time.sleep(0.4)
    assert reads(held) == 1
    if "429" in fault:  # the service has asked for an hour without reads
        time.sleep(0.6)
        assert reads(held) == 1


def test_result_that_could_not_be_saved_is_saved_later(launch: "Launch", held: Sandbox, tasks: Tasks) -> None:
    server = launch(held, {"constants": {**QUICK, "saves": 0.1}})
    task_id = started(server)
    held.play("http:500*2", path="/files/")
    held.finish(task_id)
    until(lambda: tasks()[0]["status"] == "completed")
    until(lambda: saved(tasks))


def test_failing_database_does_not_end_the_watching(launch: "Launch", held: Sandbox, tasks: Tasks) -> None:
    server = launch(held, {"at": "record outcome", "do": "raise", "constants": QUICK})
    task_id = started(server)
    until(lambda: "LookupError" in server.errors)
    held.finish(task_id)
    until(lambda: saved(tasks))


# Waiting --------------------------------------------------------------------------------------------------------------


def test_task_that_is_waited_for_is_not_read_before_it_can_be_done(
    launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    server = launch(held, KIE_AI_WATCH="false")
    task_id = started(server)
    took(tmp_path, 60)
    (task,) = server.call("wait_for_tasks", task_ids=[task_id], timeout_s=1)["structuredContent"]["tasks"]
    assert task["status"] == "pending"
    assert reads(held) == 0
    server.call("get_task_status", task_id=task_id)  # a person's own call always reads
    assert reads(held) == 1


def test_task_that_is_waited_for_is_read_once_it_can_be_done(launch: "Launch", held: Sandbox, tmp_path: Path) -> None:
    server = launch(held, KIE_AI_WATCH="false")
    task_id = started(server)
    took(tmp_path, 1)
    waiting = server.ask("wait_for_tasks", task_ids=[task_id], timeout_s=5)
    until(lambda: reads(held))
    assert [seen.path.rpartition("/")[2] for seen in held.requests] == ["createTask", "recordInfo"]
    assert held.requests[1].time - held.requests[0].time >= 0.8
    held.finish(task_id)
    (task,) = server.answer(waiting)["structuredContent"]["tasks"]
    assert task["status"] == "completed"


@pytest.mark.usefixtures("address")
def test_several_servers_that_wait_for_tasks_read_each_as_often_as_one(launch: "Launch", held: Sandbox) -> None:
    quick = {"constants": {"cadence": {"image": PAUSE_S}}}
    # The first wait of a client of unknown patience would be short.
    servers = [launch(held, quick, KIE_AI_WATCH="false", KIE_AI_PATIENCE_S="30") for _ in range(4)]
    ids = [started(servers[0], f"Fox {number}") for number in range(3)]
    waiting = [server.ask("wait_for_tasks", task_ids=ids, timeout_s=9) for server in servers]
    until(lambda: reads(held) >= 9)
    for task_id in ids:
        times = [seen.time for seen in held.requests if seen.query == f"taskId={task_id}"]
        assert len(times) >= 2
        # By servers on their own it would be read four times in each pause; who begins to wait leaves it half of one.
        assert all(later - first >= 0.4 * PAUSE_S for first, later in itertools.pairwise(times)), times
        held.finish(task_id)
    answers = [server.answer(number) for server, number in zip(servers, waiting, strict=True)]
    assert [[task["status"] for task in data(answer)["tasks"]] for answer in answers] == [["completed"] * 3] * 4


@pytest.mark.parametrize(
    ("address", "end"),
    [*(("sqlite", end) for end in ("killed", "cancelled", "failed", "hung")), ("postgres", "killed")],
    indirect=["address"],
)
def test_read_that_another_server_took_on_and_never_made_is_made_after_a_pause(
    address: str, end: str, launch: "Launch", held: Sandbox, tmp_path: Path
) -> None:
    quick = {"constants": {"cadence": {"image": 0.5}}}
    orders: dict[str, Any] = {"at": "read", "mark": str(tmp_path / "taken"), **quick}
    orders |= {"do": "kill"} if end == "killed" else {"do": "pause", "seconds": 30.0 if end == "cancelled" else 0.0}
    settings = {"KIE_AI_WATCH": "false", "KIE_AI_PATIENCE_S": "30"}
    first = launch(held, orders, **settings)
    second = launch(held, quick, **settings)
    second.call("list_tasks")
    task_id = started(first)
    if end in {"failed", "hung"}:
        held.play("http:500" if end == "failed" else "timeout", path="recordInfo")
    waiting = first.ask("wait_for_tasks", task_ids=[task_id], timeout_s=20)
    until((tmp_path / "taken").exists)
    held.finish(task_id)
    until(lambda: end in {"killed", "cancelled"} or reads(held))
    if end == "cancelled":
        first.cancel(waiting)
    # The pause is half a second.
    (task,) = second.call("wait_for_tasks", task_ids=[task_id], timeout_s=3)["structuredContent"]["tasks"]
    assert task["status"] == "completed"


@pytest.mark.usefixtures("address")
def test_outcomes_of_many_tasks_outlive_a_server_that_is_killed_as_it_writes_them(
    launch: "Launch", held: Sandbox, tasks: Tasks
) -> None:
    server = launch(held, {"at": "record outcome", "when": "after", "do": "kill"}, KIE_AI_WATCH="false")
    ids = [started(server, f"Fox {number}") for number in range(12)]
    server.ask("wait_for_tasks", task_ids=ids, timeout_s=9)
    for task_id in ids:
        held.finish(task_id)
    assert server.ended() == -signal.SIGKILL
    assert any(row["status"] == "completed" for row in tasks())  # that of the call that was about to return
    server = launch(held, KIE_AI_WATCH="false")
    done = server.call("wait_for_tasks", task_ids=ids, timeout_s=9)["structuredContent"]["tasks"]
    assert [task["status"] for task in done] == ["completed"] * 12
    assert len(held.ledger) == 12
