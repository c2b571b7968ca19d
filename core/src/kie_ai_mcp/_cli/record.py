"""Keeping the record: ``tasks prune``, ``tasks export`` and ``tasks resolve``."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli.console import UserPath, json_option, moment, run_with_flow, show_json
from kie_ai_mcp._flow.submit import Flow
from kie_ai_mcp._settings.settings import Settings

PAGE = 500
"""Rows read at once for an export."""


@click.command()
@click.option(
    "--older-than", "before", type=moment, metavar="WHEN", required=True, help="An age such as 30d or 12h, or a date."
)
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@json_option
def prune(before: datetime, dry_run: bool, as_json: bool) -> None:
    """Delete old finished tasks from the record.

    Their requests go with them. Files stay, and so do tasks that are running, and requests whose outcome is unknown.
    """
    count = run_with_flow(Settings.load(), lambda flow: flow.record.prune(before, dry_run=dry_run))
    day = before.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if as_json:
        show_json({"tasks": count, "before": before.isoformat(timespec="seconds"), "dry_run": dry_run})
    else:
        click.echo(f"Finished tasks from before {day} that {'would be' if dry_run else 'were'} deleted: {count}")


@click.command()
@click.option("--output", type=UserPath(dir_okay=False), help="Write to this file, which must not exist yet.")
def export(output: Path | None) -> None:
    """Print all requests and tasks as JSON Lines.

    They come oldest first, requests before tasks; each line says in "record" which of them it is.
    """
    if output is not None and output.exists():
        raise click.UsageError(f"{output} exists already; choose another --output.")

    async def work(flow: Flow) -> int:
        count = 0
        part = output.with_name(f"{output.name}.{os.getpid()}.part") if output else None
        try:
            with click.open_file(str(part) if part else "-", "w", encoding="utf-8") as file:
                async for entry in _history(flow):
                    file.write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
                    count += 1
            if part is not None and output is not None:
                part.rename(output)
        except OSError as exc:
            raise click.ClickException(
                f"{output or 'stdout'} can't be written: {exc.strerror}. Choose another --output."
            ) from None
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
        return count

    count = run_with_flow(Settings.load(), work)
    if output is not None:
        click.echo(f"Lines written to {output}: {count}")


@click.command()
@click.argument("submission_id", metavar="SUBMISSION", type=click.IntRange(min=1))
@click.option(
    "--adopt", "task_id", metavar="TASK", help="The request made this task; https://kie.ai/logs shows its id."
)
@click.option("--discard", is_flag=True, help="The request made nothing: it may be sent again.")
@json_option
def resolve(submission_id: int, task_id: str | None, discard: bool, as_json: bool) -> None:
    """Settle a request whose outcome is unknown.

    `tasks list` shows them, with the number of each SUBMISSION.
    """
    if discard is (task_id is not None):
        raise click.UsageError("Give either --adopt TASK or --discard.")
    report = run_with_flow(Settings.load(), lambda flow: flow.resolve(submission_id, task_id))
    show_json(report.structured()) if as_json else click.echo(report.text())


async def _history(flow: Flow) -> "AsyncIterator[dict[str, Any]]":
    record, after = flow.record, 0
    while page := await record.submissions.history(after, PAGE):
        for submission in page:
            yield {"record": "submission", **asdict(submission)}
        after = page[-1].id
    after = 0
    while rows := await record.tasks.history(after, PAGE):
        for row in rows:
            yield {"record": "task", **asdict(row)}
        after = rows[-1].row_id
