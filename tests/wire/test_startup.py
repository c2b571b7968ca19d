"""Start-up: with the settings it is documented to read, or with one line that says what is wrong."""

import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.wire.conftest import Run, RunIn, Spawn, SpawnIn
    from tests.wire.processes import Child

Prepare = Callable[[Path], dict[str, str]]
"""Puts something into a folder, and returns the settings with which the server is then started there."""

# Wrong settings ------------------------------------------------------------------------------------------------------


def a_database_from_the_future(folder: Path) -> dict[str, str]:
    with closing(sqlite3.connect(folder / "tasks.db")) as database:
        database.executescript("PRAGMA journal_mode = wal; CREATE TABLE wonders (id); PRAGMA user_version = 99")
    return {}


def a_database_below_a_file(folder: Path) -> dict[str, str]:
    (folder / "file").write_text("", "utf-8")
    return {"KIE_AI_DB_PATH": str(folder / "file" / "tasks.db")}


def a_folder_as_the_database(folder: Path) -> dict[str, str]:
    return {"KIE_AI_DB_PATH": str(folder)}


def no_database_at_all(folder: Path) -> dict[str, str]:
    (folder / "tasks.db").write_text("These are not tasks. " * 100, "utf-8")
    return {}


def setting(**values: str) -> Prepare:
    return lambda _: values


def configuration(text: str) -> Prepare:
    def write(folder: Path) -> dict[str, str]:
        (folder / "config.toml").write_text(text, "utf-8")
        return {"KIE_AI_CONFIG": str(folder / "config.toml")}

    return write


CURES: dict[str, tuple[Prepare, tuple[str, ...]]] = {
    "a time limit in seconds": (setting(KIE_AI_TIMEOUT="60s"), ("KIE_AI_TIMEOUT", "'60s'", "milliseconds", "60000")),
    "a time limit of nothing": (setting(KIE_AI_TIMEOUT="60"), ("KIE_AI_TIMEOUT", "'60'", "milliseconds")),
    "a database below a file": (a_database_below_a_file, ("file/tasks.db", "KIE_AI_DB_PATH")),
    "a folder as the database": (a_folder_as_the_database, ("KIE_AI_DB_PATH",)),
    "no database at all": (no_database_at_all, ("tasks.db", "not a database", "KIE_AI_DB_PATH")),
    "a database from the future": (a_database_from_the_future, ("tasks.db", "99", "Update", "KIE_AI_DB_PATH")),
    "an unknown variable": (setting(KIE_AI_API_KEYS="x"), ("KIE_AI_API_KEYS", "KIE_AI_API_KEY?")),
    "an unknown key": (configuration('time_out = "60"'), ("time_out", "config.toml", "timeout")),
    "a file that is no TOML": (configuration("timeout = = 60"), ("config.toml", "TOML", "line 1")),
    "a file that is not there": (setting(KIE_AI_CONFIG="/nowhere/c.toml"), ("/nowhere/c.toml", "KIE_AI_CONFIG")),
    "an address that is none": (setting(KIE_AI_BASE_URL="api.kie.ai"), ("KIE_AI_BASE_URL", "'api.kie.ai'", "https://")),
    "a folder of its own": (setting(KIE_AI_OUTPUT_DIR="made/here"), ("KIE_AI_OUTPUT_DIR", "made/here", "absolute")),
    "an unknown provider": (setting(KIE_AI_DISABLED_PROVIDERS="veo"), ("KIE_AI_DISABLED_PROVIDERS", "'veo'", "veo3")),
    "an unknown kind": (setting(KIE_AI_KINDS="picture"), ("KIE_AI_KINDS", "picture", "'image'")),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong_starts(
    run_in: "RunIn", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[tuple[CompletedProcess[str], bool]]"]]:
    """Every wrong start, several at a time: how it ended, and whether it left all files as they were."""

    def start(prepare: Prepare) -> tuple["CompletedProcess[str]", bool]:
        folder = tmp_path_factory.mktemp("wrong")
        settings = prepare(folder)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        ended = run_in(folder, "serve", "--strict", sandbox=None, **settings)
        return ended, before == {path: path.read_bytes() for path in before}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {case: pool.submit(start, prepare) for case, (prepare, _) in CURES.items()}


@pytest.mark.parametrize("case", CURES)
def test_wrong_setting_ends_a_strict_start_with_one_line_that_names_the_cure(
    wrong_starts: dict[str, "Future[tuple[CompletedProcess[str], bool]]"], case: str
) -> None:
    ended, untouched = wrong_starts[case].result()
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("kie-ai-mcp-server: ")
    assert [word for word in CURES[case][1] if word not in line] == []
    assert "key-of-the-tests" not in line
    assert untouched


@pytest.mark.parametrize("arguments", ["--strict", "--http --strict --port 0"])
def test_database_that_is_away_ends_a_strict_start_with_1_which_services_try_again(run: "Run", arguments: str) -> None:
    pytest.importorskip("psycopg")
    ended = run("serve", *arguments.split(), KIE_AI_DATABASE_URL="postgresql://kie@127.0.0.1:9/kie")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert "KIE_AI_DATABASE_URL" in line


@pytest.mark.parametrize("command", ["serve --strict", "serve --http --strict", "providers"])
def test_every_command_tells_a_wrong_setting_alike(run: "Run", command: str) -> None:
    ended = run(*command.split(), KIE_AI_TIMEOUT="60s")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "KIE_AI_TIMEOUT is '60s'" in line


# The seed's variables ------------------------------------------------------------------------------------------------


def test_key_address_and_time_limit_are_used_as_given(spawn: "Spawn") -> None:
    with Sandbox(key="the-right-key") as sandbox:
        address = f"{sandbox.base_url}/"
        child = spawn(KIE_AI_API_KEY="  the-right-key ", KIE_AI_BASE_URL=address, KIE_AI_TIMEOUT="1000")
        child.greet("2025-11-25")
        assert child.call("get_credits")["structuredContent"]["credits"] == 10_000
        sandbox.play("slow:30", path="credit")
        late = child.call("get_credits")
        assert [seen.path for seen in sandbox.requests] == ["/api/v1/chat/credit"] * 2
    assert late["isError"]
    assert "within 1 s" in late["content"][0]["text"]


@contextmanager
def refusing_proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that lets nothing through; its address, and the first line of each request it was asked for."""
    asked: list[str] = []

    def refuse() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(4096).decode()
                if not request:
                    return
                asked.append(request.splitlines()[0])
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            # A connection that says nothing ends it.
            socket.create_connection(listener.getsockname()).close()
            thread.join(timeout=LIMIT_S)


@pytest.fixture(scope="module")
def behind_a_proxy(
    spawn_in: "SpawnIn", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple["Child", list[str], Path]]:
    """A server that was given no address, behind a proxy that lets nothing through; what the proxy was asked for."""
    folder = tmp_path_factory.mktemp("proxy")
    with refusing_proxy() as (address, asked):
        child = spawn_in(folder, KIE_AI_BASE_URL="", HTTPS_PROXY=address)
        child.greet("2025-11-25")
        yield child, asked, folder


def test_without_an_address_the_service_itself_is_asked(behind_a_proxy: tuple["Child", list[str], Path]) -> None:
    child, asked, _ = behind_a_proxy
    assert child.call("get_credits")["isError"]
    assert set(asked) == {"CONNECT api.kie.ai:443 HTTP/1.1"}


def test_request_that_no_proxy_let_through_was_never_sent(
    behind_a_proxy: tuple["Child", list[str], Path], rows: "Rows"
) -> None:
    child, asked, folder = behind_a_proxy
    reply = child.call("generate_nano_banana", prompt="a fox")["structuredContent"]
    assert set(asked) == {"CONNECT api.kie.ai:443 HTTP/1.1"}
    assert (reply["status"], reply["charged"]) == ("refused", "no")
    assert [row["state"] for row in rows(folder, "submissions")] == ["refused"]


def test_without_any_database_one_is_made_in_the_users_own_folder(run: "Run", tmp_path: Path) -> None:
    ended = run(KIE_AI_DB_PATH="")
    assert ended.returncode == 0, ended.stderr
    (made,) = tmp_path.rglob("tasks.db")
    assert made.parent.name == "kie-ai-mcp-server"
    assert tmp_path in made.parent.parents


def test_database_of_another_program_beside_the_server_stays_as_it_is(run: "Run", tmp_path: Path) -> None:
    foreign = tmp_path / "tasks.db"
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT)")
    before = foreign.read_bytes()
    ended = run(KIE_AI_DB_PATH="")
    assert ended.returncode == 0, ended.stderr
    assert f"{foreign} belongs to another program" in ended.stderr
    assert foreign.read_bytes() == before
    assert not list(tmp_path.glob("tasks.db?*"))
    assert [path.parent.name for path in tmp_path.rglob("tasks.db") if path != foreign] == ["kie-ai-mcp-server"]


def test_database_of_the_seed_beside_the_server_is_used_and_keeps_its_tasks(
    spawn: "Spawn", tmp_path: Path, rows: "Rows"
) -> None:
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        database.executescript(SEED)
    child = spawn(KIE_AI_DB_PATH="")
    child.greet("2025-11-25")
    (task,) = child.call("list_tasks")["structuredContent"]["tasks"]
    assert (task["task_id"], task["api_type"], task["status"]) == ("old", "nano-banana", "completed")
    assert (task["created_at"], task["result_urls"]) == ("2025-10-02T08:30:00Z", ["https://files.invalid/old.png"])
    (row,) = rows(tmp_path, "tasks")
    assert (row["id"], row["result_url"]) == (1, "https://files.invalid/old.png")


SEED = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT UNIQUE NOT NULL, api_type TEXT NOT NULL,
    status TEXT DEFAULT 'pending', created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, result_url TEXT, error_message TEXT
);
INSERT INTO tasks (task_id, api_type, status, created_at, result_url)
VALUES ('old', 'nano-banana', 'completed', '2025-10-02 08:30:00', 'https://files.invalid/old.png');
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_read_only_database_ends_the_start(run: "Run", tmp_path: Path) -> None:
    assert run().returncode == 0
    (tmp_path / "tasks.db").chmod(0o400)
    ended = run("serve", "--strict")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "read-only" in line
