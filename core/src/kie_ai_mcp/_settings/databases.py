"""Recognition of task databases: this server's, the seed's Node server's, or another program's."""

import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SEED_COLUMNS = {"id", "task_id", "api_type", "status", "created_at", "updated_at", "result_url", "error_message"}

PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2)  # before another look at a file that seems to be damaged
WITH_SUBMISSIONS = 3  # the first schema version of this server that has the table; the seed's database is version 0


@dataclass(frozen=True)
class Look:
    """Contents of a database file: `known` tells it from other ones and from older copies, by identity and generation.

    `place` is the path by which it was last opened, where it says so; `with_log` whether the file alone can't be read.
    """

    version: int
    tables: frozenset[str]
    is_ours: bool
    known: tuple[str, int] = ("", 0)
    place: Path | None = None
    with_log: bool = False


def is_address(place: str) -> bool:
    """Return whether a text is the address of a PostgreSQL database, in one of the two ways to write that."""
    return place.strip().startswith(("postgresql://", "postgres://"))


def has_scheme(place: str) -> bool:
    """Return whether a text is an address of any sort, though mistyped, and no path; a drive has one letter."""
    return re.match(r"\s*[A-Za-z][\w+.-]+:/", place) is not None


def place_in(address: str) -> str:
    """Return of a PostgreSQL address what says where the database is: no user, no password."""
    parts = urlsplit(address)
    where = [(name, value) for name, value in parse_qsl(parts.query) if name in {"host", "port", "dbname", "service"}]
    netloc = parts.netloc.rpartition("@")[2]
    return f"postgresql://{netloc}{parts.path or '/'}" + (f"?{urlencode(where, safe='/')}" if where else "")


def passwords_in(address: str) -> list[str]:
    """Return the passwords in a PostgreSQL address in clear."""
    parts = urlsplit(address)
    words = [word for name, word in parse_qsl(parts.query) if name.endswith("password")]
    return [*filter(None, (unquote(parts.netloc.rpartition("@")[0].partition(":")[2]), *words))]


def look_at(path: Path) -> Look:
    """Read a file, but not its log, without a lock or a trace; raise what SQLite raises where it is no database.

    A file that is nothing whole without its log is read with it, as SQLite does.
    """
    for pause_s in PAUSES_S:
        try:
            return _look_once(path)
        except sqlite3.DatabaseError as exc:
            if "malformed" not in str(exc):
                raise
            # Of a log only what no reader needs as it was before is written into the file: pages of several states.
            if has_log(path):
                return replace(_look_once(path, immutable=False), with_log=True)
        time.sleep(pause_s)  # perhaps another process is writing its log into the file, which no lock keeps apart
    return _look_once(path)


def has_log(path: Path) -> bool:
    """Return whether there is a log beside a file, with content of it that the file itself may lack."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def is_open(path: Path) -> bool:
    """Return whether a process has a database open now: its log lets only one in that wants it alone."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True, timeout=0)) as alone:
        alone.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            alone.execute("SELECT 1 FROM sqlite_master")
        except sqlite3.OperationalError as exc:
            return "locked" in str(exc)
    return False


def is_sealed(path: Path) -> bool:
    """Return whether a file says that it has no log, as a backup does; a log beside it is then that of another one."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\x01\x01"  # the versions that may write and read it; 2 of one with a log


def _look_once(path: Path, *, immutable: bool = True) -> Look:
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' * immutable}"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        tables = frozenset(name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        columns = {row[1] for row in database.execute("PRAGMA table_info(tasks)")}
        look = Look(
            version, tables, columns >= SEED_COLUMNS and (version < WITH_SUBMISSIONS or "submissions" in tables)
        )
        if look.is_ours and "place" in tables:
            for identity, generation, place in database.execute("SELECT identity, generation, path FROM place"):
                last = Path(os.fsdecode(place)) if place else None
                look = replace(look, known=(identity, generation), place=last)
    return look


def is_usable(path: Path) -> bool:
    """Return whether a file is a task database, of this server or of the seed's, or still empty."""
    try:
        return path.is_file() and (path.stat().st_size == 0 or look_at(path).is_ours)
    except (OSError, sqlite3.Error):
        return False
