"""Commands ``database``: the check, and the copy from a file to PostgreSQL."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp.specs import Task
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import Postgres

if TYPE_CHECKING:
    from tests.cli.conftest import Run


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
    assert ("answers: schema version" in checked, "sound" in checked) == (True, False)
    looked_at = run("doctor", "--offline", **there).stdout
    assert ("answers, schema version" in looked_at, "is sound" in looked_at) == (True, False)
    shown = run("config", "show", **there).stdout + run("doctor", "--offline", **there).stdout
    assert "postgresql:///" in shown
    assert "secret-word" not in shown


def test_password_of_the_environment_opens_the_databases_of_a_copy(
    run: "Run", database: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()
    open_record = Record.open

    def note(record: Record) -> None:
        seen.append(record.address)
        open_record(record)

    monkeypatch.setattr(Record, "open", note)
    password: Any = {"PGPASSWORD": "pass/word"}
    address = postgres.empty()
    assert "Copied from" in run("database", "copy", str(database), address, **password).stdout
    again = run("database", "copy", address, str(database.with_name("again.db")), **password)
    assert "Copied from" in again.stdout
    assert [place.partition("password=")[2] for place in seen] == ["", "pass%2Fword", "pass%2Fword", ""]


def test_file_that_is_not_there_is_not_copied_from(run: "Run", tmp_path: Path) -> None:
    answer = run("database", "copy", str(tmp_path / "none.db"), str(tmp_path / "new.db"))
    assert answer.code == 2
    assert "There is no file" in answer.stderr
    assert not (tmp_path / "new.db").exists()


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
