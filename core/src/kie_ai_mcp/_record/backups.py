"""Copies of an SQLite file while it is in use, made by SQLite itself and looked through before they get their names."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path


@contextmanager
def unnamed(target: Path) -> Iterator[Path]:
    """Give a new file, for its owner alone, that gets its name once the context has filled it; nothing is overwritten.

    Raise FileExistsError where anything has that name.
    """
    if os.path.lexists(target):
        raise FileExistsError(17, "a file of that name exists", str(target))
    part = target.with_name(f"{target.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        yield part
        try:
            os.link(part, target)  # unlike a rename it never takes the place of another file
        except FileExistsError:
            raise
        except OSError:  # a file system that knows no links
            part.rename(target)
    finally:
        for path in (part, *(Path(f"{part}{end}") for end in ("-wal", "-shm", "-journal"))):
            path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment to a new file, which is found sound; others may write meanwhile."""
    address = f"{source.absolute().as_uri()}?mode=ro"
    with unnamed(target) as part:
        with closing(sqlite3.connect(address, uri=True)) as ours, closing(sqlite3.connect(part)) as theirs:
            ours.backup(theirs)  # in one step, which the writing of others does not make begin anew
        seal(part)


def put_in_place(part: Path, target: Path) -> Path | None:
    """Move a sealed database of the same file system to the place of another one; return where that is now, if any.

    Its log and all else that SQLite keeps beside it go with it: the new one would be read with them. The new one gets
    its owner and the rights of its group. Nothing changes where anything fails.
    """
    aside = target.with_name(f"{target.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if os.path.lexists(aside):
        raise FileExistsError(17, "a file of that name exists", str(aside))
    moved = list[tuple[Path, Path]]()
    try:
        like = (target if target.exists() else target.parent).stat()
        part.chmod(0o600 | (like.st_mode & 0o060 if target.exists() else 0))
        with suppress(AttributeError, PermissionError):  # whoever runs the servers owned it; only root gives it away
            os.chown(part, like.st_uid, like.st_gid)
        for end in ("-wal", "-shm", "-journal", ""):
            here, there = Path(f"{target}{end}"), Path(f"{aside}{end}")
            if os.path.lexists(here):
                here.rename(there)
                moved.append((here, there))
        part.rename(target)
    except BaseException:
        for here, there in moved:
            there.rename(here)
        raise
    return aside if moved else None


def is_copy(copied: Path, source: Path) -> bool:
    """Return whether a file is a database with the same rows as another one, table by table."""
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("ATTACH ? AS copied", (f"{copied.absolute().as_uri()}?mode=ro",))
            tables = [name for (name,) in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")]
            for name in tables:
                theirs, ours = (f'SELECT * FROM {each}."{name}"' for each in ("copied", "main"))  # noqa: S608
                differ = f"SELECT EXISTS ({ours} EXCEPT {theirs}) OR EXISTS ({theirs} EXCEPT {ours})"
                if database.execute(differ).fetchone()[0]:
                    return False
    except sqlite3.Error:  # no database, or another one
        return False
    return bool(tables)


def seal(path: Path) -> None:
    """Make a database one file without a log beside it, and look it through."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        ((answer,), *_) = database.execute("PRAGMA integrity_check").fetchall()
        if answer != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {answer}")
