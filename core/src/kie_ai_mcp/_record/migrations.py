"""Migrations of the task database from any earlier version to this one, step by step, in one transaction.

The steps are frozen SQL: they describe the past and are never edited. The file's ``user_version`` counts the
steps that were applied; a database of the seed's Node server counts as 0.
"""

from typing import Any

from kie_ai_mcp.errors import StorageError

_SEED = """
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT UNIQUE NOT NULL,
    api_type TEXT NOT NULL,
    status TEXT DEFAULT 'pending',
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
    result_url TEXT,
    error_message TEXT
);
"""

_OWN_COLUMNS = """
ALTER TABLE tasks ADD COLUMN provider TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN tool TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN kind TEXT NOT NULL DEFAULT 'image';
ALTER TABLE tasks ADD COLUMN gateway TEXT NOT NULL DEFAULT 'kie';
ALTER TABLE tasks ADD COLUMN model TEXT;
ALTER TABLE tasks ADD COLUMN path TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN status_address TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN submission_id INTEGER;
ALTER TABLE tasks ADD COLUMN result_urls TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tasks ADD COLUMN files TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tasks ADD COLUMN error_code TEXT;
ALTER TABLE tasks ADD COLUMN progress REAL;
ALTER TABLE tasks ADD COLUMN credits REAL;
ALTER TABLE tasks ADD COLUMN finished_at TEXT;
ALTER TABLE tasks ADD COLUMN keeps_s INTEGER NOT NULL DEFAULT 86400;
UPDATE tasks SET kind = 'video' WHERE api_type LIKE '%video%' OR api_type LIKE 'veo3%';
CREATE INDEX tasks_by_status ON tasks (status, id);
CREATE INDEX tasks_by_provider ON tasks (provider, id);
CREATE INDEX tasks_by_kind ON tasks (kind, id);
CREATE INDEX tasks_by_time ON tasks (created_at);
"""

_SUBMISSIONS = """
CREATE TABLE submissions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    tool TEXT NOT NULL,
    provider TEXT NOT NULL,
    api_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    gateway TEXT NOT NULL,
    model TEXT,
    arguments TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at TEXT NOT NULL,
    asked_at REAL NOT NULL,
    granted_at REAL,
    answered_at REAL,
    path TEXT,
    task_id TEXT,
    code INTEGER,
    message TEXT,
    subfolder TEXT,
    estimated_credits REAL
);
CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    submission_id INTEGER NOT NULL
);
CREATE INDEX submissions_open ON submissions (state, body_hash) WHERE state IN ('sending', 'unknown');
CREATE INDEX submissions_in_window ON submissions (gateway, answered_at) WHERE granted_at IS NOT NULL;
CREATE INDEX submissions_by_time ON submissions (created_at);
CREATE INDEX submissions_by_task ON submissions (task_id);
CREATE TABLE uploads (
    sha256 TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    expires_at TEXT NOT NULL
);
"""

_BOOKED_CREDITS = """
ALTER TABLE submissions ADD COLUMN booked_credits REAL;
UPDATE submissions SET booked_credits = estimated_credits WHERE gateway = 'kie';
"""

_DELIVERY = """
ALTER TABLE submissions ADD COLUMN delivered_at REAL;
UPDATE submissions SET delivered_at = asked_at WHERE created_at > datetime('now', '-2 days');
CREATE INDEX submissions_by_body ON submissions (body_hash);
"""

_STEPS = (_SEED, _OWN_COLUMNS, _SUBMISSIONS, _BOOKED_CREDITS, _DELIVERY)
SCHEMA_VERSION = len(_STEPS)


def migrate(database: Any) -> None:
    """Apply the steps that a database lacks, all or none; raise `StorageError` for one of a newer program."""
    with database.atomic("IMMEDIATE"):
        path, version = database.database, int(database.pragma("user_version"))
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"The task database {path} has schema version {version}; this program knows {SCHEMA_VERSION}.",
                next_step="Update kie-ai-mcp-server, or set KIE_AI_DB_PATH to another file.",
            )
        for step in _STEPS[version:]:
            for statement in filter(str.strip, step.split(";")):
                database.execute_sql(statement)
        database.pragma("user_version", SCHEMA_VERSION)
