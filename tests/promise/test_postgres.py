"""Servers on one PostgreSQL database: they wake each other's waiters, and none loses a payment when it goes away."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import Postgres, Wire, on_postgres
from tests.helpers import data, until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch, LaunchIn

TOOL = "generate_nano_banana"
LIMIT_S = 10.0  # the longest that a call may take while the database is away


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """A service whose tasks end when the test lets them."""
    with Sandbox(hold=True) as sandbox:
        yield sandbox


@on_postgres
def test_waiter_on_one_server_is_answered_as_soon_as_another_one_reads_the_end(
    address: str, launch: "Launch", held: Sandbox
) -> None:
    ours, theirs = launch(held, KIE_AI_WATCH="false"), launch(held, KIE_AI_WATCH="false")
    task_id = data(ours.call(TOOL, prompt="A fox"))["task_id"]
    waiting = ours.ask("wait_for_tasks", task_ids=[task_id], timeout_s=30)
    data(theirs.call("get_task_status", task_id=task_id))
    held.finish(task_id)
    begun = time.monotonic()
    assert data(theirs.call("get_task_status", task_id=task_id))["status"] == "completed"
    (task,) = data(ours.answer(waiting))["tasks"]
    assert task["status"] == "completed"
    assert time.monotonic() - begun < 1


@on_postgres
def test_paid_call_while_the_database_is_away_is_not_sent_and_the_next_one_works(
    address: str, launch: "Launch", sandbox: Sandbox, postgres: Postgres
) -> None:
    server = launch(sandbox)
    server.call(TOOL, prompt="Before")
    postgres.stop()
    try:
        begun = time.monotonic()
        refused = server.call(TOOL, prompt="Meanwhile")
        listed = server.call("list_tasks")
        assert time.monotonic() - begun < LIMIT_S
    finally:
        postgres.start()
    assert (data(refused)["status"], data(refused)["charged"]) == ("refused", "no")
    assert listed["isError"]
    for reply in (refused, listed):
        assert "The task database postgresql://" in reply["content"][0]["text"]
    assert data(server.call(TOOL, prompt="After"))["status"] == "pending"
    assert [entry.body["input"]["prompt"] for entry in sandbox.ledger] == ["Before", "After"]


@on_postgres
def test_answer_that_comes_while_the_database_is_away_is_recorded_later(
    address: str, launch: "Launch", sandbox: Sandbox, postgres: Postgres, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play("slow:0.5", path="createTask")
    server = launch(sandbox)
    asked = server.ask(TOOL, prompt="A fox")
    until(lambda: bool(sandbox.requests))
    postgres.stop()
    try:
        made = server.answer(asked)
    finally:
        postgres.start()
    (entry,) = sandbox.ledger
    assert data(made)["task_id"] == entry.task_id
    assert [task["task_id"] for task in data(server.call("list_tasks"))["tasks"]] == [entry.task_id]
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted"]


def test_every_request_over_connections_that_are_cut_at_random_has_one_fate(
    wire: Wire, launch_in: "LaunchIn", rows: "Rows", tmp_path: Path
) -> None:
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.15):
            wire.cut()

    with Sandbox(speed=10_000, rate_limit=100_000) as service, ExitStack() as stack:
        settings = {"KIE_AI_RATE_LIMIT": "1000", "KIE_AI_DATABASE_URL": wire.address, "KIE_AI_WATCH": "false"}
        servers = [stack.enter_context(launch_in(tmp_path, service, None, **settings)) for _ in range(2)]
        cutter = threading.Thread(target=cut)
        cutter.start()

        def work(number: int) -> list[dict[str, Any]]:
            return [data(servers[number].call(TOOL, prompt=f"{number} {call}")) for call in range(15)]

        try:
            with ThreadPoolExecutor() as pool:
                replies = [reply for part in pool.map(work, range(2)) for reply in part]
        finally:
            over.set()
            cutter.join()
        listed = [data(server.call("list_tasks", limit=50)) for server in servers][-1]
        made = [entry.task_id for entry in service.ledger]
        assert max(Counter(entry.body["input"]["prompt"] for entry in service.ledger).values()) == 1
        assert sorted(made) == sorted(reply["task_id"] for reply in replies if reply["status"] == "pending")
        assert {reply["status"] for reply in replies} <= {"pending", "refused"}
        assert sorted(task["task_id"] for task in listed["tasks"]) == sorted(made)
        assert "unresolved" not in listed


@on_postgres
def test_four_servers_of_which_two_are_killed_lose_and_repeat_nothing(
    address: str, launch_in: "LaunchIn", rows: "Rows", tmp_path: Path
) -> None:
    with Sandbox(speed=10_000, rate_limit=100_000) as service, ExitStack() as stack:
        settings = {"KIE_AI_RATE_LIMIT": "1000", "KIE_AI_WATCH": "false"}
        die = {"at": "record accepted", "nth": 3}
        servers = [
            stack.enter_context(launch_in(tmp_path, service, die if number < 2 else None, **settings))
            for number in range(4)
        ]
        asked = [
            server.ask(TOOL, prompt=f"{number} {call}") for number, server in enumerate(servers) for call in range(8)
        ]
        for server in servers[:2]:
            assert server.ended() == -9
        for number, server in enumerate(servers[2:], start=2):
            for each in asked[8 * number : 8 * number + 8]:
                assert data(server.answer(each))["status"] == "pending"
        listed = data(servers[3].call("list_tasks", limit=50))
        states = Counter(row["state"] for row in rows(tmp_path, "submissions"))
        recorded = {task["task_id"] for task in listed["tasks"]}
        lost = {entry.task_id for entry in service.ledger} - recorded
        assert max(Counter(entry.body["input"]["prompt"] for entry in service.ledger).values()) == 1
        assert set(states) <= {"accepted", "unknown", "cancelled"}
        assert len(lost) <= states["unknown"] == len(listed.get("unresolved", ()))
        assert states["accepted"] == len(recorded) >= 16
