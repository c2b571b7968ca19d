"""Databases of earlier versions, of later ones, and of other programs."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import Outcome
from kie_ai_mcp._record.migrations import _STEPS, SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp.errors import StorageError

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]

SEED = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT UNIQUE NOT NULL,
    api_type TEXT NOT NULL,
    status TEXT DEFAULT 'pending',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    result_url TEXT,
    error_message TEXT
);
CREATE INDEX idx_task_id ON tasks(task_id);
CREATE INDEX idx_status ON tasks(status);
INSERT INTO tasks (task_id, api_type, status, created_at, updated_at, result_url, error_message) VALUES
    ('a', 'nano-banana', 'completed', '2025-10-05 08:00:00', '2025-10-05 08:01:00', 'https://x.example/a.png', NULL),
    ('b', 'veo3', 'failed', '2025-10-05 09:00:00', '2025-10-05 09:01:00', NULL, 'policy'),
    ('c', 'runway-aleph-video', 'pending', '2025-10-06 09:00:00', '2025-10-06 09:00:00', NULL, NULL);
"""
BY_SEED = "INSERT INTO tasks (task_id, api_type, status, result_url, error_message) VALUES (?, ?, ?, ?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database stands that a test is about."""
    return tmp_path / "tasks.db"


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


async def test_seed_s_database_is_opened_with_every_row_kept(path: Path, make_record: MakeRecord) -> None:
    execute(path, SEED)

    newest, failed, done = await make_record(path).tasks.newest(Filters())

    assert (newest.task_id, newest.status, newest.kind, newest.final) == ("c", "pending", "video", False)
    assert (failed.task_id, failed.status, failed.error, failed.kind) == ("b", "failed", "policy", "video")
    assert (done.task_id, done.status, done.result_urls, done.kind) == (
        "a",
        "completed",
        ("https://x.example/a.png",),
        "image",
    )
    assert done.created_at == datetime(2025, 10, 5, 8, tzinfo=UTC)
    assert done.updated_at == datetime(2025, 10, 5, 8, 1, tzinfo=UTC)
    assert [entry.provider for entry in (newest, failed, done)] == [""] * 3


def test_seed_s_columns_and_rows_stay_what_they_were(path: Path, make_record: MakeRecord) -> None:
    execute(path, SEED)
    columns = "id, task_id, api_type, status, created_at, updated_at, result_url, error_message"
    before = ask(path, "SELECT * FROM tasks")

    make_record(path)

    assert ask(path, f"SELECT {columns} FROM tasks") == before
    assert ask(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


async def test_seed_s_server_can_still_write_and_its_tasks_are_taken_up(path: Path, make_record: MakeRecord) -> None:
    execute(path, SEED)
    record = make_record(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(BY_SEED, ("d", "luma-video", "pending", None, None))

    await record.tasks.record_outcome("c", Outcome("completed", ("https://x.example/c.mp4",)))

    found = await record.tasks.find("d")
    assert found is not None
    assert (found.status, found.result_urls, found.keeps_s) == ("pending", (), 86_400)
    assert ask(path, "SELECT status, result_url FROM tasks WHERE task_id = 'c'") == [
        ("completed", "https://x.example/c.mp4")
    ]


async def test_times_of_the_seed_and_ours_are_filtered_alike(path: Path, make_record: MakeRecord) -> None:
    execute(path, SEED)

    found = await make_record(path).tasks.newest(Filters(since=datetime(2025, 10, 5, 8, 30, tzinfo=UTC)))

    assert [entry.task_id for entry in found] == ["c", "b"]


def test_new_database_and_migrated_one_have_the_same_tables(tmp_path: Path, make_record: MakeRecord) -> None:
    execute(tmp_path / "old.db", SEED)
    for name in ("old.db", "new.db"):
        make_record(tmp_path / name)

    tables = "SELECT name FROM pragma_table_list WHERE schema = 'main' ORDER BY name"
    columns = (
        "SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY 1, 2"
    )
    for query in (tables, columns):
        assert ask(tmp_path / "old.db", query) == ask(tmp_path / "new.db", query)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
async def test_database_of_every_earlier_version_is_brought_forward(
    version: int, path: Path, make_record: MakeRecord
) -> None:
    execute(path, f"{''.join(_STEPS[:version])} PRAGMA user_version = {version};")
    execute(path, SEED[SEED.index("INSERT") :])

    assert [entry.task_id for entry in await make_record(path).tasks.newest(Filters())] == ["c", "b", "a"]
    assert ask(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


async def test_opening_again_changes_nothing(path: Path, make_record: MakeRecord) -> None:
    execute(path, SEED)
    make_record(path).close()
    before = ask(path, "SELECT sql FROM sqlite_master")

    assert len(await make_record(path).tasks.newest(Filters())) == 3
    assert ask(path, "SELECT sql FROM sqlite_master") == before


@pytest.mark.parametrize("start", [SEED, ""])
def test_processes_that_start_together_migrate_once(start: str, path: Path) -> None:
    execute(path, start)
    records = [Record(path, RateLimit(20, 10.0)) for _ in range(8)]

    with ThreadPoolExecutor(len(records)) as pool:
        for opened in [pool.submit(record.open) for record in records]:
            opened.result(timeout=15)

    for record in records:
        record.close()
    assert ask(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert ask(path, "SELECT count(*) FROM tasks") == [(3 if start else 0,)]


async def test_newer_database_is_refused_with_both_versions_and_left_as_it_was(
    path: Path, make_record: MakeRecord
) -> None:
    execute(path, f"{SEED} PRAGMA user_version = {SCHEMA_VERSION + 7};")
    before = ask(path, "SELECT sql FROM sqlite_master")

    with pytest.raises(StorageError) as error:
        make_record(path)

    assert str(path) in error.value.message
    assert f"schema version {SCHEMA_VERSION + 7}; this program knows {SCHEMA_VERSION}" in error.value.message
    assert "Update kie-ai-mcp-server" in error.value.next_step
    assert "KIE_AI_DB_PATH" in error.value.next_step
    assert ask(path, "SELECT sql FROM sqlite_master") == before


async def test_newer_database_is_not_used_after_the_refusal_either(path: Path, make_record: MakeRecord) -> None:
    execute(path, f"{SEED} PRAGMA user_version = {SCHEMA_VERSION + 7};")
    record = Record(path, RateLimit(20, 10.0))

    for _ in range(2):
        with pytest.raises(StorageError, match="this program knows"):
            await record.tasks.find("a")
    record.close()


def test_somebody_else_s_database_is_refused_and_left_as_it_was(path: Path, make_record: MakeRecord) -> None:
    execute(path, "CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO tasks VALUES (1, 'shopping');")

    with pytest.raises(StorageError) as error:
        make_record(path)

    assert "KIE_AI_DB_PATH" in error.value.next_step
    assert ask(path, "SELECT * FROM tasks") == [(1, "shopping")]
    assert ask(path, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("tasks",)]
    assert ask(path, "PRAGMA user_version") == [(0,)]
