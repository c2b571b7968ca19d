"""Migrations of the task database from any earlier version to this one, step by step, in one transaction.

The steps are frozen SQL: they describe the past and are never edited. The file's ``user_version``, or
``kie_ai_schema``, counts the steps that were applied; a database of the seed's Node server counts as 0.
"""

import re
from typing import Any

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

# Rows from before name no account and no user.
_ACCOUNTS = """
ALTER TABLE tasks ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE submissions ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE submissions ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE idempotency_keys ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE idempotency_keys ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN account TEXT NOT NULL DEFAULT '';
DROP INDEX submissions_in_window;
CREATE INDEX submissions_in_window ON submissions (gateway, account, answered_at) WHERE granted_at IS NOT NULL;
"""

# What tells a file from another one, and from an older copy of itself; and the path by which it was last opened, since
# two paths to one file have a write-ahead log each.
_PLACE = """
CREATE TABLE place (identity TEXT NOT NULL, generation INTEGER NOT NULL, path BLOB NOT NULL);
INSERT INTO place VALUES (lower(hex(randomblob(8))), 0, x'');
"""

_LEASES = """
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until REAL NOT NULL
);
"""

_LABELS = "ALTER TABLE tasks ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';"

_KEPT = """
CREATE TABLE kept (
    sort TEXT NOT NULL,
    gateway TEXT NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT,
    read_at REAL NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    until REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (sort, gateway, account, name)
);
"""

# A result that is no address, as JSON.
_DATA = "ALTER TABLE tasks ADD COLUMN data TEXT;"

# What was said of a request beforehand: what was left out, read as another, or chosen for it.
_NOTES = "ALTER TABLE submissions ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';"

# Of a form that shows the question only the hash of its secret is kept.
_CONSENTS = """
CREATE TABLE consents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    identity TEXT NOT NULL,
    gateway TEXT NOT NULL,
    account TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT,
    arguments TEXT NOT NULL,
    price REAL,
    asked_at REAL NOT NULL,
    secret TEXT,
    answer TEXT,
    answered_at REAL,
    answered_by TEXT,
    submission_id INTEGER
);
CREATE INDEX consents_by_identity ON consents (identity);
"""

# What is to be said of a price besides its number.
_CONSENT_NOTES = "ALTER TABLE consents ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';"

# When some process last asked the service for a running task.
_READS = """
CREATE TABLE reads (
    task INTEGER PRIMARY KEY,
    read_at REAL NOT NULL
);
"""

# A token is kept as its hash. Who was removed stays, as the owner of tasks.
_USERS = """
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    is_admin INTEGER NOT NULL,
    own_key INTEGER NOT NULL,
    credits_per_day REAL,
    credits_per_request REAL,
    submissions_per_hour INTEGER,
    token_hash TEXT UNIQUE,
    created_at TEXT NOT NULL,
    removed_at TEXT
);
ALTER TABLE consents ADD COLUMN user TEXT NOT NULL DEFAULT '';
CREATE INDEX tasks_by_user ON tasks (user, id);
"""

# The same bytes of two users are two uploads, so that neither learns of the other's.
_USERS_OF_UPLOADS = "ALTER TABLE uploads ADD COLUMN user TEXT NOT NULL DEFAULT '';"

# By the number of its request a task is found beside those of the neighbouring ones; the service's ids have no order.
_TASKS_BY_REQUEST = "CREATE INDEX tasks_by_request ON tasks (submission_id);"

_STEPS = (
    _SEED, _OWN_COLUMNS, _SUBMISSIONS, _BOOKED_CREDITS, _DELIVERY, _ACCOUNTS, _PLACE, _LEASES, _LABELS, _KEPT, _DATA,
    _NOTES, _CONSENTS, _CONSENT_NOTES, _READS, _USERS, _USERS_OF_UPLOADS,
    _TASKS_BY_REQUEST,
)  # fmt: skip
SCHEMA_VERSION = len(_STEPS)

# Keys of the tables that a step writes anew, by step and table.
_KEYS = {
    6: {
        "tasks": "UNIQUE (task_id, gateway, account)",
        "idempotency_keys": "PRIMARY KEY (key, account, user)",
        "uploads": "PRIMARY KEY (sha256, account)",
    },
    17: {"uploads": "PRIMARY KEY (sha256, account, user)"},
}


def migrate(database: Any) -> None:
    """Apply the steps that a database lacks, all or none."""
    with database.atomic("IMMEDIATE"):
        version = int(database.pragma("user_version"))
        for number, step in enumerate(_STEPS[version:], start=version + 1):
            for statement in filter(str.strip, step.split(";")):
                database.execute_sql(statement)
            for table, key in _KEYS.get(number, {}).items():
                _change_key(database, table, key)
        database.pragma("user_version", SCHEMA_VERSION)


# How PostgreSQL writes the same. Texts are compared by their bytes, as on SQLite, whatever the language is.
_ON_POSTGRES = (
    (r"\bINTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bREAL\b", "DOUBLE PRECISION"),
    (r"\bBLOB\b", "BYTEA"),
    (r"\bTEXT\b", 'TEXT COLLATE "C"'),
    (r"\buser\b", '"user"'),
    (r"datetime\('now', '-2 days'\)", "(now() - interval '2 days')::text"),
    (r"lower\(hex\(randomblob\(8\)\)\)", "left(md5(gen_random_uuid()::text), 16)"),
    (r"x''", "''"),
)


def migrate_postgres(database: Any) -> None:
    """Apply the steps that a PostgreSQL database lacks, all or none, one process at a time."""
    execute = database.connection().execute
    with database.atomic("READ COMMITTED"):
        execute("SET LOCAL statement_timeout = 0")
        execute("SELECT pg_advisory_xact_lock(hashtextextended('kie-ai schema', 0))")
        execute("CREATE TABLE IF NOT EXISTS kie_ai_schema (version BIGINT NOT NULL)")
        (version,) = execute("SELECT coalesce(max(version), 0) FROM kie_ai_schema").fetchone()
        for number, step in enumerate(_STEPS[version:], start=version + 1):
            for statement in filter(str.strip, _on_postgres(step).split(";")):
                execute(statement)
            for table, key in _KEYS.get(number, {}).items():
                old = f"{table}_task_id_key" if table == "tasks" else f"{table}_pkey"
                execute(f"ALTER TABLE {table} DROP CONSTRAINT {old}, ADD {_on_postgres(key)}")
        execute("DELETE FROM kie_ai_schema")
        execute(f"INSERT INTO kie_ai_schema VALUES ({SCHEMA_VERSION})")  # noqa: S608


def _on_postgres(sql: str) -> str:
    for ours, theirs in _ON_POSTGRES:
        sql = re.sub(ours, theirs, sql)
    return sql


def _change_key(database: Any, table: str, key: str) -> None:
    """Write a table anew, since SQLite can't change a key; all of its rows, columns, indexes and triggers are kept."""
    columns = ["id INTEGER PRIMARY KEY AUTOINCREMENT"] if table == "tasks" else []
    for _, name, kind, required, default, _ in database.execute_sql(f"PRAGMA table_info({table})").fetchall():
        if name != "id":
            limits = f"{'NOT NULL' if required else ''} {'' if default is None else f'DEFAULT ({default})'}"
            columns.append(f'"{name}" {kind} {limits}')
    # Also what a person or another program has added.
    query = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL"
    others = database.execute_sql(query, (table,)).fetchall()
    database.pragma("legacy_alter_table", 1)  # a view of the table is none of our business
    for statement in (
        f"CREATE TABLE new_{table} ({', '.join(columns)}, {key})",
        f"INSERT INTO new_{table} SELECT * FROM {table}",  # noqa: S608  the names are those above
        # Numbers of rows that were deleted are not given again.
        f"DELETE FROM sqlite_sequence WHERE name = 'new_{table}'",  # noqa: S608
        f"INSERT INTO sqlite_sequence SELECT 'new_{table}', seq FROM sqlite_sequence WHERE name = '{table}'",  # noqa: S608
        f"DROP TABLE {table}",
        f"ALTER TABLE new_{table} RENAME TO {table}",
        *(sql for (sql,) in others),
    ):
        database.execute_sql(statement)
    database.pragma("legacy_alter_table", 0)
