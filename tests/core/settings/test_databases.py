"""Choice of the task database: what belongs to another program is left alone, a path is never relative by accident."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._settings.databases import look_at
from kie_ai_mcp._settings.load import find_warnings, load_settings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import ConfigError, StorageError

SEED = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT UNIQUE NOT NULL, api_type TEXT NOT NULL,
    status TEXT DEFAULT 'pending', created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, result_url TEXT, error_message TEXT
);
"""


def made_by(script: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(script)

    return make


def ours(path: Path) -> None:
    with closing(Record(path, RateLimit(20, 10.0))) as record:
        record.open()


def being_written_to(path: Path) -> None:
    """A database whose owner died: all that it holds is still in its log."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript("PRAGMA journal_mode = wal; CREATE TABLE tasks (id, name)")
    log = path.with_name(f"{path.name}-wal").read_bytes()
    whole = path.read_bytes()
    database.close()
    path.write_bytes(whole)
    path.with_name(f"{path.name}-wal").write_bytes(log)


def text(path: Path) -> None:
    path.write_text("a shopping list\n" * 1_000, "utf-8")


USABLE = {"the seed's": made_by(SEED), "ours": ours, "empty": Path.touch}
FOREIGN: dict[str, Callable[[Path], None]] = {
    "a to-do list": made_by("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT, done INTEGER)"),
    "other tables": made_by("CREATE TABLE memories (id, text); PRAGMA user_version = 3"),
    "tables of both": made_by(f"{SEED} PRAGMA user_version = 7"),
    "a newer one": made_by("CREATE TABLE wonders (id); PRAGMA user_version = 99"),
    "in a log": being_written_to,
    "text": text,
    "a folder": Path.mkdir,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a host starts the server."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("whose", FOREIGN)
def test_foreign_database_where_the_host_starts_us_is_left_alone(whose: str, here: Path, tmp_path: Path) -> None:
    FOREIGN[whose](here / "tasks.db")
    before = content(here)

    settings = load_settings({})
    with closing(Record(settings.database, RateLimit(20, 10.0))) as record:
        record.open()

    assert settings.database == tmp_path / "data" / "kie-ai-mcp-server" / "tasks.db"
    assert content(here) == before
    said = " ".join(find_warnings({}).values())
    assert (str(here / "tasks.db") in said) == (here / "tasks.db").is_file()
    assert find_warnings({"KIE_AI_DB_PATH": str(tmp_path / "mine.db")}) == {}


@pytest.mark.parametrize("whose", USABLE)
def test_database_of_ours_where_the_host_starts_us_is_used(whose: str, here: Path) -> None:
    USABLE[whose](here / "tasks.db")

    assert load_settings({}).database == here / "tasks.db"
    assert find_warnings({}) == {}


@pytest.mark.parametrize("whose", sorted(FOREIGN.keys() - {"a folder", "in a log"}))
def test_foreign_database_that_the_user_names_is_refused_and_left_alone(whose: str, here: Path) -> None:
    FOREIGN[whose](here / "named.db")
    before = content(here)

    record = Record(here / "named.db", RateLimit(20, 10.0))
    with closing(record), pytest.raises(StorageError) as error:
        record.open()

    assert str(here / "named.db") in error.value.message
    assert "KIE_AI_DB_PATH" in error.value.next_step
    assert content(here) == before


@pytest.mark.parametrize("whose", USABLE)
def test_relative_path_to_a_database_of_ours_is_taken(whose: str, here: Path) -> None:
    USABLE[whose](here / "mine.db")

    assert load_settings({"KIE_AI_DB_PATH": "mine.db"}).database == here / "mine.db"
    assert load_settings({"KIE_AI_DB_PATH": "./mine.db"}).database == here / "mine.db"


@pytest.mark.parametrize("path", ["new.db", "data/new.db", "foreign.db", "."])
def test_relative_path_to_anything_else_is_an_error(path: str, here: Path) -> None:
    FOREIGN["a to-do list"](here / "foreign.db")
    before = content(here)

    with pytest.raises(ConfigError, match=f"KIE_AI_DB_PATH is '{path}': it must be absolute"):
        load_settings({"KIE_AI_DB_PATH": path})

    assert content(here) == before


def test_choice_stays_what_it_was(here: Path) -> None:
    settings = Settings.model_validate({})
    chosen = settings.database
    ours(here / "tasks.db")

    assert settings.database == chosen


WRITER = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA wal_autocheckpoint = 0")
for number in range(40):
    database.execute(f"CREATE TABLE IF NOT EXISTS more_{number % 7} (a, b)")
    rows = [(os.urandom(900), number) for _ in range(50)]
    database.executemany(f"INSERT INTO more_{number % 7} VALUES (?, ?)", rows)
    if number % 5 == 0:
        database.execute(f"DROP TABLE more_{number % 7}")
    database.commit()
    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    if number % 10 == 0:
        database.execute("VACUUM")
"""


def test_file_that_another_process_writes_to_is_not_taken_for_damaged(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    record = Record(path, RateLimit(20, 10.0))
    record.open()
    record.close()

    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as writer:
            while writer.poll() is None:
                assert look_at(path).is_ours
