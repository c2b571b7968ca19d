"""Commands ``database``: check the database that keeps the record, back it up, restore it, copy it to another one."""

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.console import UserPath
from kie_ai_mcp._record.copying import back_up, copy_closed, counts
from kie_ai_mcp._record.copying import restore as restored
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._settings.databases import has_scheme, is_address
from kie_ai_mcp._settings.load import find_origins, load_settings, settings_of, with_password
from kie_ai_mcp._settings.settings import Settings, at_home, variable
from kie_ai_mcp.errors import LOGS_PAGE


@click.group(cls=console.Commands)
def database() -> None:
    """Work with the database of the record: check it, back it up, restore it, copy it to another one."""


@database.command()
@console.json_option
def check() -> None:
    """Say where the database is, what it holds, and how it is.

    A file is looked through for damage; PostgreSQL looks after its own, so that it only has to answer.
    """
    settings = load_settings()
    with closing(Record.of(settings)) as record:
        record.open()
        begun = time.perf_counter()
        with record.database.translated("read"), record.database.at_leisure():
            rows, damage = counts(record), record.database.damage()
            if not damage:
                record.database.check_writable()
        place, took_ms = record.database.name, round((time.perf_counter() - begun) * 1000, 1)
    if damage:
        raise damage
    answer = {"database": place, "schema_version": SCHEMA_VERSION, "rows": rows, "took_ms": took_ms}
    console.show(
        answer,
        f"{_sort_of(settings)}: {place}\nIt {record.database.no_damage}: schema version {SCHEMA_VERSION}, "
        f"{_numbers(rows)}, read in {took_ms:g} ms.",
    )


@database.command()
@click.argument("file", type=UserPath(dir_okay=False))
@console.json_option
def backup(file: Path) -> None:
    """Write the record into a new SQLite FILE, while servers go on.

    It is the record as it is at one moment, for you alone to read, and found sound before it has its name; nothing is
    ever overwritten. A record in PostgreSQL is written to such a file as well. `database restore` puts it back.
    """
    with closing(Record.of(load_settings())) as record:
        back_up(record, file.absolute())
        place = record.database.name
    size = file.stat().st_size
    console.show(
        {"database": place, "file": str(file), "bytes": size}, f"{place} was copied to {file}: {size} bytes, sound."
    )


@database.command()
@click.argument("file", type=UserPath(dir_okay=False, exists=True))
@console.json_option
def restore(file: Path) -> None:
    """Put a backup FILE in the database's place.

    The database is the one that the settings name. Stop every server first; while one has it open, nothing is done. A
    file that was in its place is moved aside with its log, and the answer says where to. In PostgreSQL the database
    must be empty. FILE stays as it is.
    """
    settings = load_settings()
    with closing(Record.of(settings)) as record:
        rows, aside = restored(record, file.absolute())
        place = record.database.name
    before = f" What was there before is now {aside}." if aside else ""
    users = " Users and their tokens are those of the backup: see users list." if rows["users"] else ""
    console.show(
        {"database": place, "file": str(file), "before": aside and str(aside), "rows": rows},
        f"Restored {place} from {file}: {_numbers(rows)}, sound.{before}{users} Start the servers again. "
        f"What was bought after the backup is at {LOGS_PAGE} alone.",
    )


@database.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@console.json_option
def copy_record(source: str, target: str) -> None:
    """Copy the record FROM one database TO an empty one, row by row.

    Each is a file or a postgresql:// address; a password is better kept in PGPASSWORD or ~/.pgpass than written here,
    where @ is written as %40, : as %3A, / as %2F. Stop every server first: while one uses either, nothing is copied.
    Every row is compared; FROM keeps all that it holds.
    """
    settings = load_settings(faults=[])
    for name, place in ("FROM", source), ("TO", target):
        if has_scheme(place) and not is_address(place):  # not shown: it may hold a password
            raise click.UsageError(f"{name} is an address that does not start with postgresql://. Nothing was copied.")
    if not is_address(source) and not at_home(Path(source)).is_file():
        raise click.UsageError(f"There is no file {source}.")
    records = _record_at(settings, source), _record_at(settings, target)
    with closing(records[0]), closing(records[1]):
        rows = copy_closed(*records)
        ours, theirs = (record.database.name for record in records)
    if records[1].address == settings.database_address and records[1].path == settings.database:
        step = "The settings name it already: start the servers again."
    else:
        key = "database_url" if is_address(target) else "db_path"
        step = f"Now set {variable(key)} to it for every server, start them, and run: database check"
        if settings.database_address and not records[1].address:
            step = f"Take out {variable('database_url')}, which goes before {variable(key)}. {step}"
    console.show(
        {"from": ours, "to": theirs, "rows": rows, "next_step": step},
        f"Copied from {ours} to {theirs}, and compared: {_numbers(rows)}. {step}",
    )


def _sort_of(settings: Settings) -> str:
    """Return what sort of database the settings name, and where they say so."""
    key = "database_url" if settings.database_address else "db_path"
    place = find_origins().get(key)
    return f"{'PostgreSQL' if settings.database_address else 'File'}{f' of {place}' if place else ''}"


def _numbers(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in rows.items() if number) or "no rows"


def _record_at(settings: Settings, place: str) -> Record:
    """Return the record at a file or an address."""
    values: dict[str, Any] = (
        {"database_url": with_password(place)} if is_address(place) else {"db_path": at_home(Path(place)).absolute()}
    )
    origins = dict.fromkeys(values, "this command")
    return Record.of(settings_of({"db_path": settings.database, **values}, origins))
