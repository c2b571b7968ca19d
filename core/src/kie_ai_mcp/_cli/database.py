"""Commands ``database``: check the database that keeps the record, back it up, and copy a record to another one."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.console import UserPath
from kie_ai_mcp._record.copying import back_up, copy, counts
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._settings.databases import is_address
from kie_ai_mcp._settings.load import load_settings, with_password
from kie_ai_mcp._settings.settings import Settings, at_home
from kie_ai_mcp.errors import StorageError


@click.group(cls=console.Commands)
def database() -> None:
    """Work with the database that keeps the record: check it, back it up, and copy a record to another one."""


@database.command()
@console.json_option
def check() -> None:
    """Say where the database is, what it holds, and how it is.

    A file is looked through for damage; PostgreSQL looks after its own, so that it only has to answer.
    """
    with closing(Record.of(load_settings())) as record:
        record.open()
        begun = time.perf_counter()
        with record.database.translated("read"), record.database.at_leisure():
            rows, damage = counts(record), record.database.damage()
        place, took_ms = record.database.name, round((time.perf_counter() - begun) * 1000, 1)
    if damage:
        raise StorageError(f"The task database {place} is damaged: {damage[0]}.", next_step="Run: doctor")
    found = {"database": place, "schema_version": SCHEMA_VERSION, "rows": rows, "took_ms": took_ms}
    numbers = ", ".join(f"{number} {name}" for name, number in rows.items() if number) or "no rows"
    console.show(
        found,
        f"{place} {record.database.no_damage}: schema version {SCHEMA_VERSION}, {numbers}, read in {took_ms:g} ms.",
    )


@database.command()
@click.argument("file", type=UserPath(dir_okay=False))
@console.json_option
def backup(file: Path) -> None:
    """Write the record into a new SQLite FILE, while servers go on.

    It is the record as it is at one moment, for you alone to read, and found sound before it has its name; nothing is
    ever overwritten. To restore it, stop every server and put it in the database's place; into PostgreSQL it goes with
    `database copy`.
    """
    with closing(Record.of(load_settings())) as record:
        back_up(record, file.absolute())
        place = record.database.name
    size = file.stat().st_size
    console.show(
        {"database": place, "file": str(file), "bytes": size}, f"{place} was copied to {file}: {size} bytes, sound."
    )


@database.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@console.json_option
def copy_record(source: str, target: str) -> None:
    """Copy the record FROM one database TO an empty one, row by row.

    Each is a file or a postgresql:// address; a password is better kept in PGPASSWORD or ~/.pgpass than written here.
    Stop every server first. Every row is compared; FROM keeps all that it holds.
    """
    settings = load_settings(faults=[])
    if not is_address(source) and not at_home(Path(source)).is_file():
        raise click.UsageError(f"There is no file {source}.")
    records = _record_at(settings, source), _record_at(settings, target)
    with closing(records[0]), closing(records[1]):
        rows = copy(*records)
        ours, theirs = (record.database.name for record in records)
    numbers = ", ".join(f"{number} {name}" for name, number in rows.items() if number) or "no rows"
    console.show(
        {"from": ours, "to": theirs, "rows": rows}, f"Copied from {ours} to {theirs}, and compared: {numbers}."
    )


def _record_at(settings: Settings, place: str) -> Record:
    """Return the record at a file or an address."""
    values: dict[str, Any] = (
        {"database_url": with_password(place)} if is_address(place) else {"db_path": at_home(Path(place)).absolute()}
    )
    return Record.of(Settings.model_validate({"db_path": settings.database, **values}))
