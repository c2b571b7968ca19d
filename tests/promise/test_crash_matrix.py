"""Crashes: after ``kill -9`` at every step each request's outcome is on record, and equal to the service's ledger."""

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import LaunchIn

SEEDS = range(6)
AT_ONCE = 3
KILLED = -9

# step: where the server dies, what must be shown afterwards, how often the service may have accepted the request
STEPS: dict[str, tuple[dict[str, str], str, set[int]]] = {
    "before the write-ahead": ({"at": "write ahead"}, "never sent", {0}),
    "after the write-ahead": ({"at": "write ahead", "when": "after"}, "unknown", {0}),
    "waiting for a slot": ({"at": "ask for a slot", "when": "after"}, "never sent", {0}),
    "before sending": ({"at": "create"}, "unknown", {0}),
    "connecting": ({"at": "connect", "within": "create"}, "unknown", {0}),
    "connected": ({"at": "connect", "within": "create", "when": "after"}, "unknown", {0}),
    "sent": ({"at": "connect", "within": "create", "when": "reading"}, "unknown", {0, 1}),
    "answered": ({"at": "create", "when": "after"}, "unknown", {1}),
    "before the record": ({"at": "record accepted"}, "unknown", {1}),
    "after the record": ({"at": "record accepted", "when": "after"}, "accepted", {1}),
    "before the record of a refusal": ({"at": "record settled"}, "unknown", {0}),
    "after the record of a refusal": ({"at": "record settled", "when": "after"}, "refused", {0}),
}
# One of each fate; the rest is the same code.
ON_BOTH = "waiting for a slot", "sent", "answered", "after the record", "after the record of a refusal"
SAVING: dict[str, dict[str, Any]] = {
    "before the download": {"at": "record outcome", "when": "after"},
    "in the middle of the download": {"at": "write", "within": "save", "when": "after"},
    "before the file has its name": {"at": "rename"},
    "before the sidecar": {"at": "rename", "when": "after"},
    "before the sidecar has its name": {"at": "rename", "nth": 2},
    "before the record of the files": {"at": "record files"},
    "after the record of the files": {"at": "record files", "when": "after"},
}


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(speed=10_000, rate_limit=100_000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def broke() -> Iterator[Sandbox]:
    """A service whose account is empty, so that it refuses everything."""
    with Sandbox(credits=0) as sandbox:
        yield sandbox


def arrived(service: Sandbox) -> Counter[str]:
    """How often each prompt's create request reached the service."""
    return Counter(seen.body["input"]["prompt"] for seen in service.requests if seen.body)


def accepted(service: Sandbox) -> dict[str, list[str]]:
    """The tasks that the service made, and charged, for each prompt."""
    books: dict[str, list[str]] = defaultdict(list)
    for entry in service.ledger:
        books[entry.body["input"]["prompt"]].append(entry.task_id)
    return books


def fates(prompt: str, times: int, submissions: list[dict[str, Any]], listed: dict[str, Any]) -> set[str]:
    """Return what the record, the list and the service's own status say of the request with this prompt."""
    mine = [row for row in submissions if json.loads(row["arguments"])["prompt"] == prompt]
    unresolved = {entry["submission_id"] for entry in listed.get("unresolved", ())}
    found = {row["state"] for row in mine} & {"accepted", "refused"}
    if any(row["state"] == "unknown" and row["id"] in unresolved for row in mine):
        found.add("unknown")
    if times == 0 and all(row["state"] == "cancelled" for row in mine):
        found.add("never sent")
    return found


@pytest.mark.parametrize(
    ("address", "step"),
    [*(("sqlite", step) for step in STEPS), *(("postgres", step) for step in ON_BOTH)],
    indirect=["address"],
)
def test_request_of_a_killed_server_has_exactly_one_fate_and_is_never_sent_by_itself(
    address: str, step: str, service: Sandbox, broke: Sandbox, launch_in: "LaunchIn", rows: "Rows", tmp_path: Path
) -> None:
    where, fate, may_be_paid = STEPS[step]
    asked = broke if "refus" in step else service
    settings = {"KIE_AI_RATE_WINDOW_S": "1000", "KIE_AI_RATE_LIMIT": "1" if "slot" in step else "1000"}
    prompts = (
        [f"{step}, on PostgreSQL {seed}" for seed in SEEDS[:3]] if address else [f"{step}, {seed}" for seed in SEEDS]
    )
    if "slot" in step:
        with launch_in(tmp_path, asked, None, **settings) as server:
            server.call("generate_nano_banana", prompt=f"{step}, the one before")

    def die(prompt: str) -> None:
        chance = random.Random(prompt)
        earlier = 0 if asked is broke or "slot" in step else chance.randrange(2)
        orders = {**where, "nth": earlier + 1, "seconds": chance.choice([0, 0.002, 0.02])}
        with launch_in(tmp_path, asked, orders, **settings) as server:
            for _ in range(earlier):
                server.call("generate_nano_banana", prompt=f"{prompt}, the one before")
            server.ask("generate_nano_banana", prompt=prompt)
            assert server.ended() == KILLED

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(die, prompts))
    with launch_in(tmp_path, asked, None, **settings) as server:
        listed = data(server.call("list_tasks", limit=50))
    assert "tasks" in listed, listed
    times, books, submissions = arrived(asked), accepted(asked), rows(tmp_path, "submissions")
    recorded = {task["task_id"] for task in listed["tasks"]}
    for prompt in prompts:
        assert fates(prompt, times[prompt], submissions, listed) == {fate}, prompt
        assert len(books[prompt]) in may_be_paid, prompt
        assert times[prompt] <= 1, prompt
        assert fate != "accepted" or recorded.issuperset(books[prompt]), prompt


def test_unknown_request_after_a_kill_is_settled_by_the_ledger_and_never_paid_twice(
    address: str, service: Sandbox, launch_in: "LaunchIn", tmp_path: Path
) -> None:
    prompts = {name: f"settled, {name} on {address[:4] or 'file'}" for name in ("paid", "lost")}
    for name, at in (("paid", "record accepted"), ("lost", "create")):
        with launch_in(tmp_path, service, {"at": at}) as server:
            server.ask("generate_nano_banana", prompt=prompts[name])
            assert server.ended() == KILLED
    before = arrived(service)
    with launch_in(tmp_path, service) as server:
        numbers = {entry["prompt"]: entry["submission_id"] for entry in data(server.call("list_tasks"))["unresolved"]}
        for prompt in prompts.values():
            repeated = data(server.call("generate_nano_banana", prompt=prompt))
            assert (repeated["status"], repeated["charged"]) == ("refused", "no")
        assert arrived(service) == before
        (paid,) = accepted(service)[prompts["paid"]]
        adoption = {"submission_id": numbers[prompts["paid"]], "action": "adopt", "task_id": paid}
        assert data(server.call("resolve_submission", **adoption))["task_id"] == paid
        server.call("resolve_submission", submission_id=numbers[prompts["lost"]], action="discard")
        made = data(server.call("generate_nano_banana", prompt=prompts["lost"]))
        assert accepted(service)[prompts["lost"]] == [made["task_id"]]
        assert "unresolved" not in data(server.call("list_tasks"))


@pytest.mark.parametrize("step", SAVING)
def test_results_of_a_server_killed_while_saving_are_saved_whole_by_the_next(
    step: str, service: Sandbox, launch_in: "LaunchIn", tmp_path: Path
) -> None:
    found: dict[str, list[str]] = {}

    def die(seed: int) -> None:
        chance = random.Random(f"{step} {seed}")
        folder = tmp_path / str(seed)
        folder.mkdir()
        orders = {**SAVING[step], "seconds": chance.choice([0, 0.002, 0.02])}
        with launch_in(folder, service, orders) as server:
            task_id = data(server.call("generate_nano_banana", prompt=f"{step}, {seed}"))["task_id"]
            server.ask("get_task_status", task_id=task_id)
            assert server.ended() == KILLED
        for left in (folder / "out").iterdir():
            os.utime(left, (0, 0))  # so old that it is no file being written
        with launch_in(folder, service) as server:
            found[task_id] = data(server.call("get_task_status", task_id=task_id))["files"]
            server.close_input()  # it may be saving, too, what it found finished at its start
            assert server.ended() == 0

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(die, SEEDS))
    for task_id, files in found.items():
        (file,) = map(Path, files)
        picture = httpx.get(f"{service.upload_url}/files/{task_id}-1.png").content
        sidecar = file.with_name(f"{file.name}.json")
        assert file.read_bytes() == picture
        assert json.loads(sidecar.read_text("utf-8"))["task_id"] == task_id
        assert sorted(file.parent.iterdir()) == [file, sidecar]
        assert [entry.task_id for entry in service.ledger].count(task_id) == 1
