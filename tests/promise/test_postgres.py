"""Servers on one PostgreSQL database: they wake each other's waiters, and none loses a payment when it goes away."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import Postgres, Wire, locked, on_postgres, rows_of
from tests.helpers import data, until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch, Server

TOOL = "generate_nano_banana"
LIMIT_S = 10.0  # the longest that a call may take while the database is away
IMPATIENT = "{}&options=-c%20statement_timeout%3D400"
AT_ONCE = 3
PAUSE_S = 0.02


@dataclass
class Line:
    """Paid calls of one server, some at a time, and what it answered by their prompts.

    Args:
        server: It.
        name: What its prompts begin with.
    """

    server: "Server"
    name: str
    asked: int = 0
    replies: dict[str, dict[str, Any]] = field(default_factory=dict)
    longest_s: float = 0.0
    is_killed: bool = False

    def go(self, over: Callable[[], bool]) -> None:
        """Call until it is over, or the server is killed."""
        try:
            while not over():
                begun, first = time.monotonic(), self.asked
                self.asked += AT_ONCE
                prompts = [f"{self.name} {number}" for number in range(first, self.asked)]
                numbers = [self.server.ask(TOOL, prompt=prompt) for prompt in prompts]
                for prompt, number in zip(prompts, numbers, strict=True):
                    self.replies[prompt] = data(self.server.answer(number))
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
                time.sleep(PAUSE_S)  # it is refused at once while the database is away
        except (AssertionError, OSError):
            if not self.is_killed:
                raise

    def kill(self) -> None:
        """Kill the server, whatever it is at."""
        self.is_killed = True
        self.server.signal(signal.SIGKILL)

    @property
    def made(self) -> int:
        """How many tasks it was told of."""
        return sum(reply["status"] == "pending" for reply in list(self.replies.values()))


@contextmanager
def busy(servers: "list[Server]") -> Iterator[list[Line]]:
    """Let servers make paid calls in the context."""
    lines, over = [Line(server, f"Server {number}, call") for number, server in enumerate(servers)], threading.Event()
    with ThreadPoolExecutor(len(lines)) as pool:
        going = [pool.submit(line.go, over.is_set) for line in lines]
        try:
            yield lines
        finally:
            over.set()
        for each in going:
            each.result(30)


def check(service: Sandbox, lines: list[Line], submissions: list[dict[str, Any]]) -> Counter[str]:
    """Check that the ledger bears out the record, and both the answers; return how often each state is on record."""
    paid = {entry.body["input"]["prompt"]: entry.task_id for entry in service.ledger}
    assert len(paid) == len(service.ledger)  # none twice
    rows = {json.loads(row["arguments"])["prompt"]: row for row in submissions}
    assert len(rows) == len(submissions)
    assert paid.keys() <= rows.keys()  # none lost
    for prompt, row in rows.items():
        assert row["state"] in {"accepted", "unknown", "refused", "cancelled"}, row
        assert row["state"] == "unknown" or (row["state"] == "accepted") == (prompt in paid), row
        assert row["task_id"] == (paid[prompt] if row["state"] == "accepted" else None), row
    for prompt, reply in (pair for line in lines for pair in line.replies.items()):  # none false
        match reply["status"], reply["charged"]:
            case "pending", "yes":
                assert (reply["task_id"], rows[prompt]["state"]) == (paid[prompt], "accepted"), reply
            case "refused", "no":
                assert prompt not in paid, reply
            case told:
                assert told == ("unknown", "unknown"), reply
                assert rows[prompt]["state"] == "unknown", (reply, rows[prompt])
    return Counter(row["state"] for row in submissions)


def in_flight(service: Sandbox, line: Line) -> bool:
    """Tell whether the service is at a request of a server."""
    seen = [each for each in service.requests if each.code is None and each.body]
    return any(each.body["input"]["prompt"].startswith(line.name) for each in seen)


def listed(server: "Server") -> dict[str, Any]:
    return data(server.call("list_tasks", limit=50))


def record_at(address: str, folder: Path) -> Record:
    return Record(folder / "tasks.db", RateLimit(20, 10.0), address=address)


@pytest.fixture
def service() -> Iterator[Sandbox]:
    """A service that takes some time for each request, and any number of them."""
    with Sandbox(speed=10_000, rate_limit=100_000, credits=1e9) as service:
        service.play("slow:0.08*always", path="createTask")
        yield service


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


@pytest.mark.parametrize("how", ["on the way", "by the database"])
def test_every_request_over_connections_that_are_cut_at_random_has_one_fate(
    how: str, wire: Wire, postgres: Postgres, service: Sandbox, launch: "Launch", tmp_path: Path
) -> None:
    def cut() -> None:
        while not over.wait(0.15):
            if how == "on the way":
                wire.cut()
            else:
                postgres.throw_out(0.5)

    over = threading.Event()
    settings = {"KIE_AI_RATE_LIMIT": "1000", "KIE_AI_DATABASE_URL": wire.address, "KIE_AI_WATCH": "false"}
    servers = [launch(service, None, **settings) for _ in range(2)]
    with ThreadPoolExecutor(1) as pool, busy(servers) as lines:
        cutting = pool.submit(cut)
        until(lambda: all(line.made >= 8 for line in lines))
        over.set()
        cutting.result()
    lists = [listed(server) for server in servers]
    states = check(service, lines, rows_of(record_at(wire.address, tmp_path), "submissions"))
    assert set(states) <= {"accepted", "cancelled"}
    assert all("unresolved" not in each for each in lists)
    assert max(line.longest_s for line in lines) < LIMIT_S


@on_postgres
def test_four_servers_of_which_two_are_killed_lose_and_repeat_nothing(
    address: str, service: Sandbox, launch: "Launch", rows: "Rows", tmp_path: Path
) -> None:
    settings = {"KIE_AI_RATE_LIMIT": "1000", "KIE_AI_WATCH": "false"}
    servers = [launch(service, None, **settings) for _ in range(4)]
    with busy(servers) as lines:
        until(lambda: all(line.made >= 2 * AT_ONCE for line in lines))
        for line in lines[:2]:
            until(lambda: in_flight(service, line))  # noqa: B023
            line.kill()
            before = [line.made for line in lines[2:]]
            until(lambda: all(line.made >= had + 3 for line, had in zip(lines[2:], before, strict=True)))  # noqa: B023

    def unsettled() -> bool:
        listed(servers[3])
        return any(row["state"] == "sending" for row in rows(tmp_path, "submissions"))

    until(lambda: not unsettled())
    unresolved = listed(servers[3]).get("unresolved", [])
    states = check(service, lines, rows(tmp_path, "submissions"))
    assert 1 <= states["unknown"] == len(unresolved) <= 2 * AT_ONCE
    assert {row["task_id"] for row in rows(tmp_path, "tasks")} <= {entry.task_id for entry in service.ledger}
    assert all(reply["status"] == "pending" for line in lines for reply in line.replies.values())


@on_postgres
def test_database_that_goes_away_again_and_again_in_mid_flight_costs_no_payment(
    address: str, service: Sandbox, launch: "Launch", rows: "Rows", tmp_path: Path, postgres: Postgres
) -> None:
    settings = {"KIE_AI_RATE_LIMIT": "1000", "KIE_AI_WATCH": "false"}
    servers = [launch(service, None, **settings) for _ in range(2)]
    with busy(servers) as lines:
        for go_away in (postgres.kill, postgres.stop, postgres.shut_down):
            before = [line.made for line in lines]
            until(lambda: all(line.made > had for line, had in zip(lines, before, strict=True)))  # noqa: B023
            go_away()
            try:
                seen = [len(line.replies) for line in lines]
                until(lambda: all(len(line.replies) > had + AT_ONCE for line, had in zip(lines, seen, strict=True)))  # noqa: B023
            finally:
                postgres.start()
        before = [line.made for line in lines]
        until(lambda: all(line.made > had for line, had in zip(lines, before, strict=True)))
    for server in servers:
        listed(server)
    states = check(service, lines, rows(tmp_path, "submissions"))
    refused = [reply for line in lines for reply in line.replies.values() if reply["status"] == "refused"]
    assert states["accepted"] == len(service.ledger) >= 8
    assert all("The task database postgresql://" in reply["error"] for reply in refused)
    assert refused
    assert max(line.longest_s for line in lines) < LIMIT_S


@on_postgres
def test_call_that_meets_the_statement_timeout_is_not_sent(
    address: str, service: Sandbox, launch: "Launch", rows: "Rows", tmp_path: Path
) -> None:
    server = launch(service, KIE_AI_DATABASE_URL=IMPATIENT.format(address))
    assert data(server.call(TOOL, prompt="Before"))["status"] == "pending"
    with locked(record_at(address, tmp_path)):
        refused, read = data(server.call(TOOL, prompt="Meanwhile")), server.call("list_tasks")
    assert (refused["status"], refused["charged"]) == ("refused", "no")
    assert "statement timeout" in refused["error"]
    assert not read["isError"]  # a list waits for nobody who writes
    assert data(server.call(TOOL, prompt="Meanwhile"))["status"] == "pending"
    assert [entry.body["input"]["prompt"] for entry in service.ledger] == ["Before", "Meanwhile"]
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted", "accepted"]


@on_postgres
def test_answer_that_meets_the_statement_timeout_is_told_and_recorded_later(
    address: str, service: Sandbox, launch: "Launch", rows: "Rows", tmp_path: Path
) -> None:
    service.play("slow:0.5", path="createTask")
    server = launch(service, KIE_AI_DATABASE_URL=IMPATIENT.format(address))
    asked = server.ask(TOOL, prompt="A fox")
    until(lambda: bool(service.requests))
    with locked(record_at(address, tmp_path)):
        made = data(server.answer(asked))
    (entry,) = service.ledger
    assert (made["task_id"], made["charged"]) == (entry.task_id, "yes")
    assert "statement timeout" in made["error"]
    assert [task["task_id"] for task in listed(server)["tasks"]] == [entry.task_id]
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted"]
