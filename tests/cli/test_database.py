"""Commands ``database``: the check, and the copy from a file to PostgreSQL."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp.specs import Task
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
    assert "is sound" in run("database", "check", **there).stdout
    shown = run("config", "show", **there).stdout + run("doctor", "--offline", **there).stdout
    assert "postgresql:///" in shown
    assert "secret-word" not in shown


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
