"""Storage faults: a full disk, a locked, read-only or broken file, an end of the process; no payment is lost."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch, LaunchIn, Server

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no limit of another process can be raised there")

TOOL = "generate_nano_banana"
SIDE_FILE = "tasks.db.unrecorded.jsonl"
ROOM_FOR_A_LINE = 2_000
"""No file may grow beyond so many bytes: too few for the database, enough for the side file."""
SHORT = {"constants": {"busy timeout": 0.1, "grace": 0.3}}


def fates(folder: Path, rows: "Rows") -> list[tuple[str, str | None]]:
    return [(row["state"], row["task_id"]) for row in rows(folder, "submissions")]


# A full disk ---------------------------------------------------------------------------------------------------------


def full(where: str, size: int = 0, **more: Any) -> dict[str, Any]:
    """Orders: from this step on, no file grows beyond that size."""
    return {"at": where, "do": "limit", "size": size, **more}


def test_nothing_is_sent_when_it_cant_be_written_down_first(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    server = launch(sandbox, full("write ahead"))
    reply = server.call(TOOL, prompt="A fox")
    assert reply["isError"]
    assert (data(reply)["status"], data(reply)["charged"]) == ("refused", "no")
    assert str(tmp_path / "tasks.db") in data(reply)["error"]
    assert sandbox.requests == []
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    made = data(server.call(TOOL, prompt="A fox"))
    assert fates(tmp_path, rows) == [("accepted", made["task_id"])]
    assert len(sandbox.ledger) == 1


def test_unrecorded_paid_task_is_reported_and_offered_again_by_the_next_start(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    server = launch(sandbox, full("create", ROOM_FOR_A_LINE, when="after"))
    reply = server.call(TOOL, prompt="A fox")
    (paid,) = sandbox.ledger
    assert not reply.get("isError")
    assert (data(reply)["task_id"], data(reply)["charged"], data(reply)["status"]) == (paid.task_id, "yes", "pending")
    assert "not recorded" in data(reply)["error"]
    assert "disk" in data(reply)["error"]
    assert paid.task_id in (tmp_path / SIDE_FILE).read_text("utf-8")
    server.close()
    listed = data(launch(sandbox).call("list_tasks"))
    assert [task["task_id"] for task in listed["tasks"]] == [paid.task_id]
    assert "unresolved" not in listed
    assert fates(tmp_path, rows) == [("accepted", paid.task_id)]
    assert not (tmp_path / SIDE_FILE).exists()
    assert len(sandbox.ledger) == 1


def test_unrecorded_paid_task_is_reported_as_paid_also_where_the_tool_waits(launch: "Launch", sandbox: Sandbox) -> None:
    sandbox.play("drop-after*always", path="recordInfo")
    reply = launch(sandbox, full("create", when="after"), KIE_AI_WAIT_S="1").call(TOOL, prompt="A fox")
    assert not reply.get("isError")
    assert (data(reply)["task_id"], data(reply)["charged"]) == (sandbox.ledger[0].task_id, "yes")
    assert "not recorded" in data(reply)["error"]


def test_paid_task_that_no_file_took_is_recorded_at_the_end_of_the_process(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    server = launch(sandbox, full("create", when="after"))
    server.call(TOOL, prompt="A fox")
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    server.close_input()
    assert server.ended() == 0
    assert fates(tmp_path, rows) == [("accepted", sandbox.ledger[0].task_id)]


@pytest.mark.parametrize("free", ["within the same process", "after a crash"])
def test_paid_task_that_no_file_takes_is_reported_and_recorded_once_there_is_space(
    free: str, launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    server = launch(sandbox, full("create", when="after"))
    reply = data(server.call(TOOL, prompt="A fox"))
    (paid,) = sandbox.ledger
    assert (reply["task_id"], reply["charged"]) == (paid.task_id, "yes")
    assert "could not be kept" in reply["error"]
    assert not (tmp_path / SIDE_FILE).exists() or not (tmp_path / SIDE_FILE).read_bytes()
    if "crash" in free:
        server.close()
        server = launch(sandbox)
        (entry,) = data(server.call("list_tasks"))["unresolved"]
        assert entry["state"] == "unknown"
        server.call("resolve_submission", submission_id=entry["submission_id"], action="adopt", task_id=paid.task_id)
    else:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert "unresolved" not in data(server.call("list_tasks"))
    assert fates(tmp_path, rows) == [("accepted", paid.task_id)]


@pytest.mark.parametrize(("fault", "state"), [("code:402", "refused"), ("drop-after", "unknown")])
def test_unrecorded_ending_is_reported_and_recorded_by_the_next_start(
    fault: str, state: str, launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play(fault, path="createTask")
    server = launch(sandbox, full("record settled", ROOM_FOR_A_LINE))
    reply = data(server.call(TOOL, prompt="A fox"))
    assert reply["status"] == state
    assert "could not be recorded" in reply["error"]
    server.close()
    launch(sandbox).call("list_tasks")
    (row,) = rows(tmp_path, "submissions")
    assert (row["state"], row["code"]) == (state, 402 if state == "refused" else None)
    assert not (tmp_path / SIDE_FILE).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator may mount a small disk")
def test_full_disk_loses_no_paid_task(launch_in: "LaunchIn", sandbox: Sandbox, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        mark = tmp_path / "asked"
        orders = {"at": "create", "when": "after", "do": "pause", "seconds": 0.5, "mark": str(mark)}
        with launch_in(disk, sandbox, orders, KIE_AI_OUTPUT_DIR="") as server:
            asked = server.ask(TOOL, prompt="A fox")
            until(mark.exists)
            ballast = fill(disk)
            reply = data(server.answer(asked))
        (paid,) = sandbox.ledger
        assert (reply["task_id"], reply["charged"]) == (paid.task_id, "yes")
        ballast.unlink()
        with launch_in(disk, sandbox, KIE_AI_OUTPUT_DIR="") as server:
            listed = data(server.call("list_tasks"))
        known = [task["task_id"] for task in listed["tasks"]]
        assert known == [paid.task_id] or [entry["state"] for entry in listed["unresolved"]] == ["unknown"]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Fill a folder's disk; return the file that fills it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


# The side file -------------------------------------------------------------------------------------------------------


def test_entry_after_one_that_was_cut_off_is_taken_in(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    (tmp_path / SIDE_FILE).write_text('{"submission_id": 1, "ta', "utf-8")  # as a full disk leaves it
    server = launch(sandbox, full("create", ROOM_FOR_A_LINE, when="after", constants={"busy timeout": 0.1}))
    (tmp_path / SIDE_FILE).write_text('{"submission_id": 1, "ta', "utf-8")
    server.call(TOOL, prompt="A fox")
    server.close()
    launch(sandbox).call("list_tasks")
    assert fates(tmp_path, rows) == [("accepted", sandbox.ledger[0].task_id)]


@pytest.mark.parametrize(
    "line",
    ["", "{", "7", "null", "[]", "{}", '{"submission_id": 1}', '{"task": {}}', '{"task": 7, "submission_id": 1}'],
)
def test_unreadable_entry_is_kept_for_a_person_and_stops_nothing(
    line: str, launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / SIDE_FILE).write_text(f"{line}\n", "utf-8")
    server = launch(sandbox)
    assert data(server.call(TOOL, prompt="A fox"))["status"] == "pending"
    assert not (tmp_path / SIDE_FILE).exists()
    kept = [path.read_text("utf-8").strip() for path in tmp_path.glob("tasks.db.unrecorded*.unreadable")]
    assert kept == ([line] if line else [])


def test_side_file_is_taken_in_once_although_the_process_dies_before_removing_it(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    server = launch(sandbox, full("create", ROOM_FOR_A_LINE, when="after"))
    server.call(TOOL, prompt="A fox")
    server.close()
    entry = (tmp_path / SIDE_FILE).read_bytes()
    launch(sandbox).call("list_tasks")
    (tmp_path / SIDE_FILE).write_bytes(entry)
    launch(sandbox).call("list_tasks")
    assert fates(tmp_path, rows) == [("accepted", sandbox.ledger[0].task_id)]
    assert len(rows(tmp_path, "tasks")) == 1


# A locked file -------------------------------------------------------------------------------------------------------


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program writes, and takes its time."""
    with closing(sqlite3.connect(folder / "tasks.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_request_is_not_sent_while_the_file_is_locked_and_is_sent_afterwards(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    server = launch(sandbox, SHORT)
    server.call("list_tasks")
    with locked(tmp_path):
        reply = server.call(TOOL, prompt="A fox")
        assert (reply["isError"], data(reply)["charged"], sandbox.requests) == (True, "no", [])
        assert "locked" in data(reply)["error"]
    assert data(server.call(TOOL, prompt="A fox"))["status"] == "pending"
    assert len(sandbox.ledger) == len(rows(tmp_path, "submissions")) == 1


def test_paid_task_that_met_a_locked_file_is_recorded_as_soon_as_it_can_be(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play("slow:0.2", path="createTask")
    server = launch(sandbox, SHORT)
    asked = server.ask(TOOL, prompt="A fox")
    until(lambda: bool(sandbox.ledger))
    with locked(tmp_path):
        reply = server.answer(asked)
        assert not reply.get("isError")
        assert data(reply)["task_id"] == sandbox.ledger[0].task_id
        assert "not recorded" in data(reply)["error"]
    (task,) = data(server.call("list_tasks"))["tasks"]
    assert task["task_id"] == sandbox.ledger[0].task_id
    assert fates(tmp_path, rows) == [("accepted", task["task_id"])]


def test_request_that_met_a_locked_file_while_waiting_for_its_slot_can_be_repeated(
    launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = {"KIE_AI_RATE_LIMIT": "1", "KIE_AI_RATE_WINDOW_S": "0.5"}
    mark = tmp_path / "waiting"
    server = launch(sandbox, {**SHORT, "at": "ask for a slot", "do": "pause", "mark": str(mark)}, **settings)
    server.call(TOOL, prompt="A fox")
    asked = server.ask(TOOL, prompt="An owl")
    until(mark.exists)
    with locked(tmp_path):
        reply = server.answer(asked)
        assert (reply["isError"], data(reply)["charged"]) == (True, "no")
    made = data(server.call(TOOL, prompt="An owl"))
    assert made["status"] == "pending"
    assert [entry.body["input"]["prompt"] for entry in sandbox.ledger] == ["A fox", "An owl"]


@pytest.mark.parametrize("reading", ["get_task_status", "wait_for_tasks"])
def test_locked_file_makes_no_task_refused_free_or_lost(
    reading: str, launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    server = launch(sandbox, SHORT)
    task_id = data(server.call(TOOL, prompt="A fox [slow]"))["task_id"]
    with locked(tmp_path):
        if reading == "get_task_status":
            reply = data(server.call("get_task_status", task_id=task_id))
        else:
            (reply,) = data(server.call("wait_for_tasks", task_ids=[task_id], timeout_s=1))["tasks"]
    assert reply["task_id"] == task_id
    assert reply["status"] in {"pending", "processing", "completed", "unread"}
    assert reply.get("charged") != "no"
    assert data(server.call("get_task_status", task_id=task_id))["status"] in {"pending", "processing", "completed"}


# A read-only or broken file ------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may use, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)
        for path in (Path(name), *Path(name).rglob("*")):
            path.chmod(0o700)


def fails_to_start(server: "Server", *words: str) -> None:
    assert server.ended() == 2, server.errors
    (line,) = server.errors.splitlines()
    assert [word for word in (*words, "KIE_AI_DB_PATH") if word not in line] == []
    assert server.said == ""


def refuses(server: "Server", *words: str) -> None:
    for tool, arguments in ((TOOL, {"prompt": "An owl"}), ("list_tasks", {})):
        reply = server.call(tool, **arguments)
        assert (reply["isError"], data(reply).get("charged")) == (True, "no" if tool == TOOL else None)
        assert [word for word in (*words, "KIE_AI_DB_PATH") if word not in str(reply)] == []
    server.close_input()
    assert server.ended() == 0


STRICT = ("serve", "--strict")


@pytest.mark.parametrize("words", [STRICT, ()])
@pytest.mark.parametrize("closed", ["the file", "its folder"])
def test_start_on_what_cant_be_written_is_refused_and_changes_nothing(
    closed: str, words: tuple[str, ...], launch_in: "LaunchIn", open_folder: Path
) -> None:
    with launch_in(open_folder, None, {"powerless": True}, KIE_AI_OUTPUT_DIR="") as server:
        server.call("list_tasks")
        server.close_input()
        assert server.ended() == 0
    database = open_folder / "tasks.db"
    before = database.read_bytes()
    (database if closed == "the file" else open_folder).chmod(0o444 if closed == "the file" else 0o555)
    if closed == "its folder":
        database.chmod(0o444)
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        settings = {"KIE_AI_DB_PATH": str(database), "KIE_AI_OUTPUT_DIR": ""}
        with launch_in(Path(home), None, {"powerless": True}, *words, **settings) as server:
            (fails_to_start if words else refuses)(server, str(database))
    assert database.read_bytes() == before


def test_home_that_cant_be_entered_ends_without_a_traceback(launch_in: "LaunchIn", tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    with launch_in(closed, None, {"powerless": True}, KIE_AI_DB_PATH="", KIE_AI_OUTPUT_DIR="") as server:
        server.close_input()
        assert server.ended() in {0, 2}
        assert "Traceback" not in server.errors


@pytest.mark.anyio
async def test_process_that_could_not_say_at_first_that_it_lives_is_not_taken_for_dead(tmp_path: Path) -> None:
    with closing(Record(tmp_path / "tasks.db", RateLimit(20, 10.0))) as record:
        record.open()
        in_the_way = tmp_path / f"tasks.db.{record.process.owner}.lock"
        in_the_way.mkdir()
        with pytest.raises(StorageError):
            await record.submissions.write_ahead(NEW)
        in_the_way.rmdir()
        ticket = await record.submissions.write_ahead(NEW)
        assert isinstance(ticket, Ticket)
        with closing(Record(tmp_path / "tasks.db", RateLimit(20, 10.0))) as other:
            other.open()
            assert [entry.state for entry in await other.submissions.unsettled()] == ["sending"]


NEW = NewSubmission("tool", "provider", "api type", "image", "kie", None, {}, "hash")
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "no database": lambda whole: b"this is a text" * 500,
    "empty pages": lambda whole: whole[:100] + bytes(len(whole) - 100),
    "cut short": lambda whole: whole[: len(whole) // 3],
    "noise": lambda whole: whole[:4096] + bytes(number * 7 % 256 for number in range(len(whole) - 4096)),
}


@pytest.mark.parametrize("words", [STRICT, ()])
@pytest.mark.parametrize("how", BROKEN)
def test_broken_file_is_reported_and_nothing_is_sent_or_overwritten(
    how: str, words: tuple[str, ...], launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    server = launch(sandbox)
    server.call(TOOL, prompt="A fox")
    server.close_input()
    server.ended()
    database = tmp_path / "tasks.db"
    broken = BROKEN[how](database.read_bytes())
    database.write_bytes(broken)
    (tmp_path / SIDE_FILE).write_text(
        '{"submission_id": 1, "state": "unknown", "code": null, "message": "m"}\n', "utf-8"
    )
    server = launch(sandbox, None, *words)
    (fails_to_start if words else refuses)(server, str(database))
    assert database.read_bytes() == broken
    assert (tmp_path / SIDE_FILE).exists()
    assert len(sandbox.ledger) == 1


def test_part_of_the_record_that_breaks_under_way_stops_sending(
    launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    server = launch(sandbox)
    server.call(TOOL, prompt="A fox")
    server.close_input()
    server.ended()
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_idempotency_keys_1'"
        ).fetchone()
    with (tmp_path / "tasks.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    server = launch(sandbox)
    reply = server.call(TOOL, prompt="An owl", idempotency_key="k")
    assert reply["isError"]
    assert data(reply)["charged"] == "no"
    assert len([seen for seen in sandbox.requests if seen.method == "POST"]) == 1  # reads of the first one are free
    assert [task["task_id"] for task in data(server.call("list_tasks"))["tasks"]] == [sandbox.ledger[0].task_id]


# Asked to end --------------------------------------------------------------------------------------------------------

ENDS = ("cancelled", "EOF", "SIGINT", "SIGTERM")
CODES = {"EOF": 0, "SIGINT": 130, "SIGTERM": 0}
SENT = {"accepted"}
LOST = {"unknown"}
FREE = {"cancelled", "refused"}
CONNECTING = {"at": "connect", "within": "create"}

# step: orders, the service's fault, and what must be on record afterwards, after a cancellation and after an end
STEPS: dict[str, tuple[dict[str, Any], str, set[str], set[str]]] = {
    "waiting for a slot": ({"at": "ask for a slot", "when": "after"}, "", FREE, FREE),
    "written down": ({"at": "write ahead", "when": "after", "seconds": 0.2}, "", FREE, FREE),
    "connecting": ({**CONNECTING, "seconds": 0.2}, "", SENT, SENT),
    "connecting in vain": ({**CONNECTING, "seconds": 60}, "", FREE, FREE | LOST),
    "answer under way": ({"at": "create"}, "slow:0.2", SENT, SENT),
    "answer that never comes": ({"at": "create"}, "timeout", LOST, LOST),
    "refusal under way": ({**CONNECTING, "seconds": 0.2}, "code:402", FREE, FREE),
    "too early, under way": ({**CONNECTING, "seconds": 0.2}, "429:60*always", FREE, FREE),
    "told to try again later": ({"at": "create"}, "429:20*always", FREE, FREE),
    "recording": ({"at": "record accepted", "seconds": 0.2}, "", SENT, SENT),
    "recording a refusal on a slow disk": ({"at": "record settled", "seconds": 0.8}, "code:402", FREE, FREE),
    "recording a refusal": ({"at": "record settled", "seconds": 0.2}, "code:402", FREE, FREE),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", STEPS)
def test_end_during_a_step_leaves_the_record_right(
    step: str, end: str, launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    orders, fault, after_cancel, after_end = STEPS[step]
    mark = tmp_path / "reached"
    settings = {"KIE_AI_TIMEOUT": "1000", "KIE_AI_OUTPUT_DIR": ""}
    if step == "waiting for a slot":
        settings |= {"KIE_AI_RATE_LIMIT": "1", "KIE_AI_RATE_WINDOW_S": "60"}
        launch(sandbox, None, **settings).call(TOOL, prompt="The one before")
    if fault:
        sandbox.play(fault, path="createTask")
    server = launch(sandbox, {"do": "pause", **SHORT, **orders, "mark": str(mark)}, **settings)
    asked = server.ask(TOOL, prompt="A fox")
    until(mark.exists)
    if step in {"answer under way", "answer that never comes", "told to try again later"}:
        until(lambda: bool(sandbox.requests) and (fault != "429:20*always" or sandbox.requests[-1].code == 429))
    paid = {"accepted": 1} if after_end == SENT else {}
    if end == "cancelled":
        server.cancel(asked)
        until(lambda: rows(tmp_path, "submissions")[-1]["state"] != "sending")
        server.close_input()
    elif end == "EOF":
        server.close_input()
    else:
        server.signal(signal.Signals[end])
    assert server.ended() == CODES.get(end, 0)
    launch(sandbox, None, **settings).call("list_tasks")
    row = rows(tmp_path, "submissions")[-1]
    assert row["state"] in (after_cancel if end == "cancelled" else after_end)
    made = [entry.task_id for entry in sandbox.ledger if entry.body["input"]["prompt"] == "A fox"]
    assert len(made) == paid.get(row["state"], fault == "timeout")
    recorded = [task["task_id"] for task in rows(tmp_path, "tasks") if task["submission_id"] == row["id"]]
    assert recorded == (made if row["state"] == "accepted" else [])


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", ["read", "save", "record outcome", "record files"])
def test_end_while_reading_or_saving_loses_nothing(
    step: str, end: str, launch: "Launch", sandbox: Sandbox, tmp_path: Path
) -> None:
    mark = tmp_path / "reached"
    orders = {"at": step, "do": "pause", "seconds": 0.1, "mark": str(mark), **SHORT}
    server = launch(sandbox, orders)
    task_id = data(server.call(TOOL, prompt="A fox"))["task_id"]
    sandbox.advance(10)  # finished when it is first read: the second read is seconds away
    asked = server.ask("wait_for_tasks", task_ids=[task_id])
    until(mark.exists)
    if end == "cancelled":
        server.cancel(asked)
        server.call("list_tasks")
    elif end == "EOF":
        server.close_input()
    else:
        server.signal(signal.Signals[end])
    if end != "cancelled":
        assert server.ended() == CODES[end]
        server = launch(sandbox)
    (reply,) = data(server.call("wait_for_tasks", task_ids=[task_id]))["tasks"]
    assert reply["status"] == "completed"
    assert len(sandbox.ledger) == 1
    until(lambda: not list((tmp_path / "out").glob("*.part")))


def test_two_reads_at_once_save_one_whole_file(launch: "Launch", sandbox: Sandbox, tmp_path: Path) -> None:
    server = launch(sandbox)
    task_id = data(server.call(TOOL, prompt="A fox"))["task_id"]
    sandbox.advance(10)
    replies = [
        data(server.answer(number)) for number in [server.ask("get_task_status", task_id=task_id) for _ in range(6)]
    ]
    assert {len(answer["files"]) for answer in replies} == {1}
    assert len({answer["files"][0] for answer in replies}) == 1
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".png"]
