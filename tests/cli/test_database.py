"""Commands ``database``: check, backup, restoring, and the copy from a file to PostgreSQL."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._record import copying, sqlite
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.users import User
from kie_ai_mcp._settings.databases import is_sealed
from kie_ai_mcp.specs import Task
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import Postgres, spoil_index
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.conftest import Environment


@pytest.fixture
def database(in_store: Callable[[Callable[[Record], Any]], Any], tmp_path: Path) -> Path:
    """A database with one task."""
    in_store(lambda record: record.tasks.adopt(Task("t-1", "x", "x")))
    return tmp_path / "tasks.db"


def test_check_names_the_database_and_what_it_holds(run: "Run", database: Path) -> None:
    found = json.loads(run("database", "check", "--json").stdout)
    assert found["database"] == str(database)
    assert found["rows"]["tasks"] == 1


def test_record_is_copied_to_postgresql_which_is_then_used(run: "Run", database: Path, postgres: Postgres) -> None:
    address = postgres.empty().replace("postgres:@", "postgres:secret-word@")
    before = run("tasks", "list", "--json").stdout
    copied = run("database", "copy", str(database), address)
    assert "Copied from" in copied.stdout
    assert "secret-word" not in copied.stdout + copied.stderr
    again = run("database", "copy", str(database), address)
    assert again.code == 1
    assert "is not empty" in again.stderr
    there: Any = {"KIE_AI_DATABASE_URL": address, "KIE_AI_DB_PATH": str(database.with_name("other.db"))}
    assert run("tasks", "list", "--json", **there).stdout == before
    checked = run("database", "check", **there).stdout
    assert ("answers and takes writes: schema version" in checked, "sound" in checked) == (True, False)
    looked_at = run("doctor", "--offline", **there).stdout
    assert ("answers and takes writes, schema version" in looked_at, "is sound" in looked_at) == (True, False)
    shown = run("config", "show", **there).stdout + run("doctor", "--offline", **there).stdout
    assert "postgresql:///" in shown
    assert "secret-word" not in shown
    back = run("database", "copy", address, str(database.with_name("back.db")), **there)
    assert "Take out KIE_AI_DATABASE_URL, which goes before KIE_AI_DB_PATH. Now set KIE_AI_DB_PATH" in back.stdout


def test_password_of_the_environment_opens_the_databases_of_a_copy(
    run: "Run", database: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()
    copy_rows = copying.copy

    def note(*records: Record) -> dict[str, int]:
        seen.extend(record.address for record in records)
        return copy_rows(*records)

    monkeypatch.setattr(copying, "copy", note)
    password: Any = {"PGPASSWORD": "pass/word"}
    address = postgres.empty()
    assert "Copied from" in run("database", "copy", str(database), address, **password).stdout
    again = run("database", "copy", address, str(database.with_name("again.db")), **password)
    assert "Copied from" in again.stdout
    assert [place.partition("password=")[2] for place in seen] == ["", "pass%2Fword", "pass%2Fword", ""]


@pytest.mark.parametrize("words", [("database", "check"), ("doctor", "--offline")], ids=["check", "doctor"])
def test_disk_without_space_is_found(
    words: tuple[str, ...], run: "Run", database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is sound and takes writes" in run(*words).stdout
    monkeypatch.setattr("kie_ai_mcp._record.database.LEAST_SPACE", 10**18)
    answer = run(*words)
    assert f"{database} lacks space: its disk is full (" in answer.stdout + answer.stderr
    assert "takes writes" not in answer.stdout


def test_file_that_is_not_there_is_not_copied_from(run: "Run", tmp_path: Path) -> None:
    answer = run("database", "copy", str(tmp_path / "none.db"), str(tmp_path / "new.db"))
    assert answer.code == 2
    assert "There is no file" in answer.stderr
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("address", ["mysql://me:secret-word@db/kie", "postgressql:/me:secret-word@db/kie"])
def test_mistyped_address_is_no_file_of_any_command(
    run: "Run", database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.rglob("*")}
    commands = ("copy", str(database), address), ("copy", address, "new.db"), ("backup", address), ("restore", address)
    for words in commands:
        answer = run("database", *words)
        assert (answer.code, "address" in answer.stderr, "secret-word" in answer.stderr) == (2, True, False), words
    assert {*tmp_path.rglob("*")} == before


def test_address_of_another_scheme_is_an_error_that_shows_no_password(run: "Run") -> None:
    answer = run("tasks", "list", KIE_AI_DATABASE_URL="mysql://me:secret-word@localhost/kie")
    assert answer.code == 2
    assert "it must start with postgresql://" in answer.stderr
    assert "secret-word" not in answer.stderr


@pytest.mark.parametrize("place", ["sqlite", "postgres"])
def test_backup_holds_the_history_and_no_secret(
    run: "Run", sandbox: Sandbox, tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    secrets = ["key-of-the-tests", "a-token-of-the-tests", "a-signing-key", "key-of-fal-for-tests", "secret-word"]
    settings: Any = {"KIE_AI_HTTP_TOKEN": secrets[1], "KIE_AI_WEBHOOK_KEY": secrets[2]}
    settings |= {"KIE_AI_PROVIDER_FAL_KEY": secrets[3], "KIE_AI_ENABLED_PROVIDERS": "nano-banana,fal"}
    if place == "sqlite":
        secrets.remove("secret-word")
    else:
        address = request.getfixturevalue("postgres").empty()
        settings["KIE_AI_DATABASE_URL"] = address.replace("postgres:@", "postgres:secret-word@")
    words = f"prompt=A fox with {' and '.join(secrets)}"
    run("call", "generate_nano_banana", words, "--wait", sandbox=sandbox, **settings)
    target = tmp_path / "kept.db"
    answer = run("database", "backup", str(target), **settings)
    assert (answer.code, "bytes, sound." in answer.stdout) == (0, True), answer.stderr
    assert [secret for secret in secrets if secret.encode() in target.read_bytes()] == []
    assert run("database", "backup", str(target), **settings).code == 1
    kept: Any = {"KIE_AI_DB_PATH": str(target)}
    listed = json.loads(run("tasks", "list", "--json", **kept).stdout)["tasks"]
    assert listed == json.loads(run("tasks", "list", "--json", **settings).stdout)["tasks"]
    assert listed[0]["prompt"].startswith("A fox with [key]")
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_backup_of_nothing_leaves_nothing(run: "Run", tmp_path: Path) -> None:
    answer = run("database", "backup", "kept.db")
    assert answer.code == 1
    assert "is no task database" in answer.stderr
    assert [*tmp_path.glob("*.db*")] == []


def test_backup_of_a_damaged_file_names_the_way_back(run: "Run", database: Path) -> None:
    database.write_bytes(b"noise" * 2_000)
    answer = run("database", "backup", "kept.db")
    assert (answer.code, "database restore FILE" in answer.stderr) == (1, True)


# Restoring -----------------------------------------------------------------------------------------------------------


def ids(run: "Run", **settings: Any) -> list[str]:
    return [task["task_id"] for task in json.loads(run("tasks", "list", "--json", **settings).stdout)["tasks"]]


KILLED = """
import os, signal, sys
from pathlib import Path
import anyio
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._settings.databases import is_sealed
from kie_ai_mcp.specs import Task

async def work():
    await Record(Path(sys.argv[1]), RateLimit(20, 10.0)).tasks.adopt(Task(sys.argv[2], "x", "x"))
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(work)
"""


def leave_log(database: Path, task_id: str) -> None:
    """Write a task into the log alone, by a process that is killed."""
    program = [sys.executable, "-c", KILLED, str(database), task_id]
    assert subprocess.run(program, timeout=LIMIT_S, check=False).returncode == -signal.SIGKILL
    assert Path(f"{database}-wal").stat().st_size > 0


@contextmanager
def serving(environ: dict[str, str]) -> Iterator[None]:
    """Let a server over HTTP run, which nobody has asked anything."""
    program = [sys.executable, "-m", "kie_ai_mcp", "serve", "--http", "--port", "0"]
    with subprocess.Popen(program, env=environ, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert any("serving MCP at" in line for line in server.stderr)
            yield
        finally:
            server.terminate()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like this there")
def test_backup_is_restored_over_what_a_killed_server_left_which_moves_aside(run: "Run", database: Path) -> None:
    kept = database.with_name("kept.db")
    assert run("database", "backup", str(kept)).code == 0
    leave_log(database, "t-2")
    answer = run("database", "restore", str(kept), "--json")
    assert answer.code == 0, answer.stderr
    assert ids(run) == ["t-1"]
    before = json.loads(answer.stdout)["before"]
    assert sorted(ids(run, KIE_AI_DB_PATH=before)) == ["t-1", "t-2"]
    assert kept.is_file()
    assert database.stat().st_mode & 0o077 == 0
    assert not [path.name for path in database.parent.iterdir() if "restored" in path.name or ".part" in path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like this there")
def test_backup_that_was_copied_beside_an_old_log_is_refused_and_not_overlaid(run: "Run", database: Path) -> None:
    kept = database.with_name("kept.db")
    assert run("database", "backup", str(kept)).code == 0
    leave_log(database, "t-2")
    shutil.copy(kept, database)
    log = Path(f"{database}-wal").read_bytes()
    for words in ("database", "check"), ("tasks", "list"), ("database", "restore", str(kept)):
        answer = run(*words)
        assert answer.code == 1
        assert "tasks.db-wal, the log of the database that was there before" in answer.stderr
        assert "database restore" in answer.stderr
    assert Path(f"{database}-wal").read_bytes() == log
    copied = database.rename(database.with_name("copied.db"))
    before = json.loads(run("database", "restore", str(copied), "--json").stdout)["before"]
    assert Path(f"{before}-wal").read_bytes() == log
    assert ids(run) == ["t-1"]


def test_copy_from_a_backup_leaves_it_as_it_is_and_seals_its_target(run: "Run", database: Path) -> None:
    kept, new = database.with_name("kept.db"), database.with_name("new.db")
    assert run("database", "backup", str(kept)).code == 0
    before = kept.read_bytes()
    copied = json.loads(run("database", "copy", str(kept), str(new), "--json").stdout)
    assert (copied["from"], copied["rows"]["tasks"]) == (str(kept), 1)
    assert kept.read_bytes() == before
    assert (is_sealed(kept), is_sealed(new)) == (True, True)
    assert [path.name for path in database.parent.iterdir() if path.name.startswith(("kept.db-", "new.db-"))] == []
    assert ids(run, KIE_AI_DB_PATH=str(new)) == ["t-1"]
    assert not is_sealed(new)
    other = database.with_name("other.db")
    assert run("database", "copy", str(new), str(other)).code == 0
    assert (is_sealed(other), ids(run, KIE_AI_DB_PATH=str(other))) == (True, ["t-1"])


def test_damaged_file_ends_a_strict_start_with_the_words_of_doctor(run: "Run", database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        spoil_index(connection)
        connection.commit()
    found = {each["check"]: each for each in json.loads(run("doctor", "--offline", "--json").stdout)}["database"]
    assert "is damaged: " in found["found"]
    for http in [], ["--http", "--port", "0"]:
        started = run("serve", "--strict", *http)
        assert started.code == 2
        assert found["found"] in started.stderr
        assert found["cure"] in started.stderr
    checked = run("database", "check")
    assert (checked.code, found["found"] in checked.stderr, found["cure"] in checked.stderr) == (1, True, True)


def test_large_file_is_not_compared_with_its_indexes_at_a_strict_start(
    run: "Run", database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        spoil_index(connection)
        connection.commit()
    with closing(Record(database, RateLimit(20, 10.0))) as record:
        record.open()
        opened = record.database
        assert [opened.damage(soon=soon) is None for soon in (False, True)] == [False, False]
        monkeypatch.setattr(sqlite, "SOON_BYTES", 0)
        assert [opened.damage(soon=soon) is None for soon in (False, True)] == [False, True]


def test_nothing_is_restored_or_copied_while_a_server_has_the_database(
    run: "Run", database: Path, environment: "Environment"
) -> None:
    kept = database.with_name("kept.db")
    assert run("database", "backup", str(kept)).code == 0
    with serving(environment(database.parent)):
        restored = run("database", "restore", str(kept))
        copied = run("database", "copy", str(database), str(database.with_name("new.db")))
    for answer in restored, copied:
        assert answer.code == 1
        assert "is in use. Nothing was" in answer.stderr
        assert "Stop every server that uses it" in answer.stderr
    assert not database.with_name("new.db").exists()
    assert run("database", "restore", str(kept)).code == 0
    copied = run("database", "copy", str(database), str(database.with_name("new.db")))
    assert "Now set KIE_AI_DB_PATH to it for every server, start them, and run" in copied.stdout


@pytest.mark.parametrize(
    "content", ["no database", "another program", "the database itself", "a newer one", "one less a table", "damaged"]
)
def test_what_is_no_backup_is_not_restored(run: "Run", database: Path, content: str) -> None:
    source = database.with_name("other.db")
    if content == "the database itself":
        source = database
    elif content == "a newer one":
        assert run("database", "backup", str(source)).code == 0
        with closing(sqlite3.connect(source)) as newer:
            newer.execute("PRAGMA user_version = 999")
    elif content in {"one less a table", "damaged"}:
        assert run("database", "backup", str(source)).code == 0
        with closing(sqlite3.connect(source)) as broken, broken:
            if content == "damaged":
                spoil_index(broken)
            else:
                broken.execute("DROP TABLE uploads")
    elif content == "another program":
        with closing(sqlite3.connect(source)) as other:
            other.execute("CREATE TABLE letters (id INTEGER)")
    else:
        source.write_bytes(b"no database")
    answer = run("database", "restore", str(source))
    assert answer.code == 1
    assert str(source) in answer.stderr
    assert "Nothing was restored." in answer.stderr
    assert ids(run) == ["t-1"]
    assert not [*database.parent.glob("tasks.db.*")]


def test_backup_is_restored_into_an_empty_postgresql_that_no_server_uses(
    run: "Run", database: Path, postgres: Postgres, in_store: Callable[[Callable[[Record], Any]], Any]
) -> None:
    kept = database.with_name("kept.db")
    in_store(lambda record: record.users.add(User("ada")))
    assert run("database", "backup", str(kept)).code == 0
    there: Any = {"KIE_AI_DATABASE_URL": postgres.empty(), "KIE_AI_DB_PATH": str(database.with_name("other.db"))}
    with closing(Record(database, RateLimit(20, 10.0), address=there["KIE_AI_DATABASE_URL"])) as server:
        server.open()
        assert "is in use. Nothing was restored." in run("database", "restore", str(kept), **there).stderr
    answer = run("database", "restore", str(kept), **there)
    assert answer.code == 0, answer.stderr
    assert "Users and their tokens are those of the backup" in answer.stdout
    assert ids(run, **there) == ["t-1"]
    again = run("database", "restore", str(kept), **there)
    assert (again.code, "is not empty" in again.stderr) == (1, True)
    assert "Nothing was restored." in again.stderr


def test_database_that_no_wait_makes_usable_ends_a_strict_start_with_2(
    run: "Run", postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.make("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    started = run("serve", "--strict", KIE_AI_DATABASE_URL=address)
    assert (started.code, "is encoded in SQL_ASCII." in started.stderr) == (2, True), started.stderr
    monkeypatch.setitem(sys.modules, "psycopg", None)
    started = run("serve", "--strict", KIE_AI_DATABASE_URL=address)
    assert (started.code, "needs psycopg" in started.stderr) == (2, True), started.stderr


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["postgresql://kie:wrong:p@ss@host/kie", "postgresql://[kie:p@ss", "postgres://kie:p%zss@h/k"]
)
def test_address_that_is_cut_wrongly_is_one_line_without_its_secrets(run: "Run", database: Path, address: str) -> None:
    environments: tuple[dict[str, Any], ...] = {}, {"PGPASSWORD": "another-word"}
    for settings in environments:
        answer = run("database", "copy", str(database), address, **settings)
        assert (answer.code, answer.stdout) == (2, "")
        (line,) = answer.stderr.splitlines()
        assert "%40 for @" in line or "%25" in line
        assert [word for word in ("wrong", "p@ss", "p%zss", "another-word") if word in line] == []


def test_check_says_first_which_database_it_looks_at_and_who_names_it(run: "Run", database: Path) -> None:
    first, second = run("database", "check").stdout.splitlines()
    assert first == f"File of KIE_AI_DB_PATH: {database}"
    assert second.startswith("It is sound")
