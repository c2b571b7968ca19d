"""Databases of earlier versions, of later ones, and of other programs."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import Outcome, Task
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
def address() -> str:
    """The record is a file, of which there are some of every earlier version."""
    return ""


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


THIRD = """
INSERT INTO tasks (task_id, api_type, provider, gateway, submission_id, result_urls, credits) VALUES
    ('k-1', 'nano-banana', 'nano-banana', 'kie', 1, '["https://x.example/k.png"]', 4.0),
    ('f-1', 'pika', 'pika', 'fal', 2, '[]', NULL),
    ('gone', 'pika', 'pika', 'fal', 3, '[]', NULL);
DELETE FROM tasks WHERE task_id = 'gone';
INSERT INTO submissions (state, tool, provider, api_type, kind, gateway, arguments, body_hash, owner, created_at,
    asked_at, task_id) VALUES
    ('accepted', 't', 'nano-banana', 'a', 'image', 'kie', '{}', 'h1', 'o', '2026-11-01 08:00:00.000000', 0, 'k-1'),
    ('accepted', 't', 'pika', 'a', 'video', 'fal', '{}', 'h2', 'o', '2026-11-01 09:00:00.000000', 0, 'f-1'),
    ('unknown', 't', 'pika', 'a', 'video', 'fal', '{}', 'h3', 'o', '2026-11-01 10:00:00.000000', 0, NULL);
INSERT INTO idempotency_keys VALUES ('one', 1), ('two', 2);
INSERT INTO uploads VALUES ('abc', 'https://x.example/u.png', '2099-01-01 00:00:00.000000');
"""


def third(path: Path, more: str = "") -> None:
    """Make a database of schema version 3 with rows in every table."""
    execute(path, f"{''.join(_STEPS[:3])} {more} PRAGMA user_version = 3;")
    execute(path, THIRD)


@pytest.mark.parametrize("table", ["tasks", "submissions", "idempotency_keys", "uploads"])
def test_every_row_is_kept_with_every_value_by_the_step_to_accounts(
    table: str, path: Path, make_record: MakeRecord
) -> None:
    third(path)
    before = ask(path, f"SELECT * FROM {table} ORDER BY 1")

    make_record(path)

    after = ask(path, f"SELECT * FROM {table} ORDER BY 1")
    assert [row[: len(before[0])] for row in after] == before
    assert set(ask(path, f"SELECT account FROM {table}")) == {("",)}
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


async def test_tasks_and_requests_of_before_belong_together_as_before(path: Path, make_record: MakeRecord) -> None:
    third(path)
    record = make_record(path)

    for task_id, number, credits in (("k-1", 1, 4.0), ("f-1", 2, None), ("fal:f-1", 2, None)):
        found, request = await record.tasks.find(task_id), await record.submissions.of_task(task_id)
        assert found is not None
        assert request is not None
        assert (found.submission_id, found.credits, request.id) == (number, credits, number)
    assert [entry.id for entry in await record.submissions.unsettled()] == [3]


async def test_number_of_a_deleted_task_is_not_given_again(path: Path, make_record: MakeRecord) -> None:
    third(path)
    assert (await make_record(path).tasks.adopt(Task("new", "x", "x"))).row_id == 4


def test_what_others_added_to_the_table_survives_its_new_key(path: Path, make_record: MakeRecord) -> None:
    third(
        path,
        "ALTER TABLE tasks ADD COLUMN \"my note\" TEXT DEFAULT 'it''s mine'; CREATE INDEX mine ON tasks (api_type);"
        "CREATE TABLE log (id TEXT); CREATE VIEW pictures AS SELECT * FROM tasks WHERE kind = 'image';"
        "CREATE TRIGGER noted AFTER INSERT ON tasks BEGIN INSERT INTO log VALUES (new.task_id); END;",
    )

    make_record(path)

    assert ask(path, 'SELECT "my note" FROM tasks') == [("it's mine",)] * 2
    assert ask(path, "SELECT count(*) FROM pictures") == [(2,)]
    assert ask(path, "SELECT name FROM sqlite_master WHERE name = 'mine'") == [("mine",)]
    execute(path, "INSERT INTO tasks (task_id, api_type) VALUES ('d', 'veo3')")
    assert ask(path, "SELECT id FROM log ORDER BY rowid DESC LIMIT 1") == [("d",)]


def test_hundred_thousand_rows_are_brought_forward(path: Path, make_record: MakeRecord) -> None:
    third(path)
    number = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000)"
    execute(path, f"PRAGMA synchronous = off; {number} INSERT INTO tasks (task_id, api_type) SELECT n, 'x' FROM n;")

    make_record(path)

    assert ask(path, "SELECT count(*), count(DISTINCT task_id), max(id) FROM tasks") == [(100_002, 100_002, 100_003)]


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
