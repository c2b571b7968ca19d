"""Lost databases: deleted, moved, replaced or seen twice below running servers that die; no paid task is lost."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.promise.conftest import Launch, LaunchIn, Server

TOOL = "generate_nano_banana"
SIDE_FILE = "tasks.db.unrecorded.jsonl"
LOG = "tasks.db-wal"


def listed(server: "Server") -> set[str]:
    reply = data(server.call("list_tasks", limit=50))
    assert "unresolved" not in reply
    return {task["task_id"] for task in reply["tasks"]}


def paid(sandbox: Sandbox) -> set[str]:
    return {entry.task_id for entry in sandbox.ledger}


def deleted(folder: Path) -> None:
    (folder / "tasks.db").unlink()


def all_deleted(folder: Path) -> None:
    for file in folder.glob("tasks.db*"):
        file.unlink()


def moved(folder: Path) -> None:
    (folder / "tasks.db").rename(folder / "moved.db")


def replaced_by_a_copy(folder: Path) -> None:
    (folder / "copy.db").replace(folder / "tasks.db")


def overwritten_with_a_copy(folder: Path) -> None:
    shutil.copyfile(folder / "copy.db", folder / "tasks.db")


def replaced_with_all_beside_it(folder: Path) -> None:
    all_deleted(folder)
    replaced_by_a_copy(folder)


def without_its_log(folder: Path) -> None:
    (folder / LOG).unlink()


LOSSES = (
    deleted,
    all_deleted,
    moved,
    replaced_by_a_copy,
    overwritten_with_a_copy,
    replaced_with_all_beside_it,
    without_its_log,
)
Lose = Callable[[Path], None]


@pytest.mark.parametrize("lose", LOSSES)
def test_no_paid_task_is_lost_with_the_database(lose: Lose, launch: "Launch", sandbox: Sandbox, tmp_path: Path) -> None:
    for name in ("copy.db", "later.db"):
        first = launch(sandbox)
        first.call(TOOL, prompt=f"In {name}")
        first.close_input()
        first.ended()
        shutil.copy(tmp_path / "tasks.db", tmp_path / name)
    server = launch(sandbox)
    before = [data(server.call(TOOL, prompt=f"A fox {number}"))["task_id"] for number in range(2)]
    lose(tmp_path)
    reply = server.call(TOOL, prompt="An owl")
    if reply.get("isError"):  # else a read of the server's own has met the loss
        assert data(reply)["charged"] == "no"
        assert str(tmp_path / "tasks.db") in data(reply)["error"]
        assert "An owl" not in [entry.body["input"]["prompt"] for entry in sandbox.ledger]
    after = [data(server.call(TOOL, prompt=f"A cat {number}", idempotency_key="k")) for number in range(2)]
    server.signal(signal.SIGKILL)
    server.ended()
    again = data(launch(sandbox).call(TOOL, prompt="A cat 0", idempotency_key="k"))
    made = {task for reply in (*after, again) if (task := reply.get("task_id"))}
    assert len(made) == 1
    assert {*before, *made} <= paid(sandbox) & listed(launch(sandbox))
    assert len(sandbox.ledger) == 5 + (not reply.get("isError"))


def test_task_whose_database_vanishes_while_it_is_asked_for_is_kept(
    launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    mark = tmp_path / "answered"
    server = launch(sandbox, {"at": "create", "when": "after", "do": "pause", "seconds": 0.3, "mark": str(mark)})
    asked = server.ask(TOOL, prompt="A fox")
    while not mark.exists():
        pass
    all_deleted(tmp_path)
    reply = data(server.answer(asked))
    (entry,) = sandbox.ledger
    assert (reply["task_id"], reply["charged"]) == (entry.task_id, "yes")
    assert "not recorded" in reply["error"]
    assert str(tmp_path / SIDE_FILE) in reply["error"]
    server.signal(signal.SIGKILL)
    server.ended()
    assert listed(launch(sandbox)) == {entry.task_id}


def test_servers_that_begin_a_log_of_their_own_keep_each_others_tasks(
    launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    first = launch(sandbox)
    first.call(TOOL, prompt="A fox")
    for ending in ("-wal", "-shm"):
        (tmp_path / f"tasks.db{ending}").unlink()
    second = launch(sandbox)
    second.call(TOOL, prompt="An owl")
    second.signal(signal.SIGKILL)
    second.ended()
    assert first.call(TOOL, prompt="A cat")["isError"]
    first.call(TOOL, prompt="A cat")
    first.close_input()
    first.ended()
    assert listed(launch(sandbox)) == paid(sandbox)
    assert len(sandbox.ledger) == 3


# Two names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["hard link", "mount"])
@pytest.mark.parametrize("killed", [True, False])
def test_database_under_two_names_is_paid_for_through_one_alone(
    way: str, killed: bool, launch_in: "LaunchIn", launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    here, there = tmp_path / "tasks.db", tmp_path / "elsewhere" / "tasks.db"
    there.parent.mkdir()
    server = launch(sandbox)
    made: list[dict[str, Any]] = [data(server.call(TOOL, prompt="A fox", idempotency_key="k"))]
    if way == "hard link":
        os.link(here, there)
    else:
        there.touch()
        if subprocess.run(["mount", "--bind", here, there], check=False, capture_output=True).returncode:
            pytest.skip("this machine mounts nothing")
    try:
        if killed:
            server.signal(signal.SIGKILL)
            server.ended()
            server = launch(sandbox)
        with launch_in(there.parent, sandbox) as other:
            for prompt in ("A fox", "An owl"):
                reply = other.call(TOOL, prompt=prompt, idempotency_key="k" if prompt == "A fox" else "l")
                assert (reply["isError"], data(reply)["charged"]) == (True, "no")
                assert "more than one name" in data(reply)["error"]
                assert "KIE_AI_DB_PATH" in data(reply)["next_step"]
            if way == "mount":
                made.append(data(server.call(TOOL, prompt="A cat")))
    finally:
        if way == "mount":
            subprocess.run(["umount", there], check=True)
        else:
            there.unlink()
    made.append(data(server.call(TOOL, prompt="A dog")))
    assert {task["task_id"] for task in made} == paid(sandbox) == listed(launch(sandbox))
