"""``tasks``: what is on record, waited for and saved from the command line; the room beside it keeps the record."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click

from kie_ai_mcp._app.own_tools import Utilities, credits_line, utilities
from kie_ai_mcp._cli.console import (
    FAILED,
    UserPath,
    complain,
    end,
    json_option,
    moment,
    progress,
    run_with_flow,
    save_option,
    saving_in,
    show_json,
    show_table,
    timeout_option,
)
from kie_ai_mcp._cli.record import export, prune, resolve
from kie_ai_mcp._flow.submit import Flow, Say
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import ConfigError, KieError, TaskNotFound
from kie_ai_mcp.specs import Kind, Status

WAITED_FOR = 100
"""Running tasks that are waited for where none is named."""


@click.group()
def tasks() -> None:
    """Work with the record: list, wait for, save, export, prune and settle.

    The record is the database that all servers of this user share; `kie-ai-mcp-server config show` names it.
    """


@tasks.command("list")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only tasks in this state.")
@click.option("--provider", help="Only this provider's tasks.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only tasks that make this.")
@click.option(
    "--since", type=moment, metavar="WHEN", help="Only tasks made since a date, a time (UTC) or an age such as 7d."
)
@click.option("--limit", type=click.IntRange(1, 50), default=20, show_default=True, help="At most so many.")
@click.option("--cursor", help="Go on where an earlier list ended.")
@json_option
def list_(since: datetime | None, as_json: bool, **chosen: Any) -> None:
    """List tasks, newest first.

    Requests whose outcome is unknown come before them. The service is not asked.
    """
    chosen["since"] = since.isoformat() if since else None

    async def work(flow: Flow) -> dict[str, Any]:
        tool = utilities(Utilities(flow))["list_tasks"]
        answered = await tool.fn(**tool.arguments.check(chosen), say=_silent)
        listed: dict[str, Any] = answered.structured
        return listed

    listed = run_with_flow(Settings.load(), work)
    if as_json:
        show_json(listed)
        return
    unresolved = listed.get("unresolved", [])
    if unresolved:
        rows = [
            [str(row[name]) for name in ("submission_id", "state", "tool", "prompt", "age_s")] for row in unresolved
        ]
        show_table(rows, ("submission", "state", "tool", "prompt", "age in s"), title="Outcome unknown")
        click.echo(
            "Look at https://kie.ai/logs, then: kie-ai-mcp-server tasks resolve SUBMISSION --adopt TASK | --discard\n"
        )
    if not listed["tasks"]:
        click.echo("No tasks.")
        return
    show_table(
        [_line(task) for task in listed["tasks"]],
        ("task", "provider", "status", "made", "expires", "credits", "results"),
    )
    click.echo(credits_line(listed))
    if "next_cursor" in listed:
        click.echo(f"Older ones: --cursor {listed['next_cursor']}")


@tasks.command()
@click.argument("task_id", metavar="TASK")
@click.option("--refresh", is_flag=True, help="Ask the service first; also finds tasks that were made elsewhere.")
@json_option
def show(task_id: str, refresh: bool, as_json: bool) -> None:
    """Show everything on record of one TASK."""

    async def work(flow: Flow) -> tuple[str, dict[str, Any]]:
        report = await (flow.refresh(task_id) if refresh else flow.last_known(task_id))
        if report is None:
            raise TaskNotFound(
                f"No task {task_id!r} is on record here.", next_step="--refresh asks the service for it."
            )
        made_by = await flow.record.submissions.of_task(task_id)
        record = await flow.record.tasks.find(task_id)
        extra: dict[str, Any] = {"kind": record.task.kind, "model": record.task.model} if record else {}
        if made_by is not None:
            extra |= {"tool": made_by.tool, "submission_id": made_by.id, "arguments": dict(made_by.arguments)}
        known = {name: value for name, value in extra.items() if value is not None}
        words = [report.text()] + [f"{name.replace('_', ' ').capitalize()}: {value}" for name, value in known.items()]
        return "\n".join(words), {**report.structured(), **known}

    text, structured = run_with_flow(Settings.load(), work)
    show_json(structured) if as_json else click.echo(text)


@tasks.command()
@click.argument("task_ids", metavar="[TASK]...", nargs=-1)
@timeout_option
@save_option
@json_option
def wait(task_ids: tuple[str, ...], timeout_s: float, folder: Path | None, as_json: bool) -> None:
    """Wait until every TASK is finished.

    Without a TASK, all that are running are waited for. Results are saved where a folder is set.
    """

    async def work(flow: Flow, say: Say) -> Sequence[Any]:
        wanted = task_ids or await _running(flow)
        return await wait_for(flow, wanted, timeout_s, say)

    with progress() as say:
        reports = run_with_flow(saving_in(Settings.load(), folder), lambda flow: work(flow, say))
    if as_json:
        show_json([report.structured() for report in reports])
    else:
        click.echo("\n\n".join(report.text() for report in reports) or "No task is running.")
    unfinished = [report for report in reports if report.status != "completed"]
    if unfinished:
        states = ", ".join(f"{report.task_id} is {report.status}" for report in unfinished)
        running = any(report.status not in {"failed", "not found"} for report in unfinished)
        hint = " A running one goes on by itself; wait again." if running else ""
        complain(f"not every task is completed: {states}.{hint}")
        end(FAILED)


@tasks.command()
@click.argument("task_ids", metavar="[TASK]...", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=UserPath(file_okay=False),
    help="Into this folder instead of KIE_AI_OUTPUT_DIR.",
)
@click.option("--expired", is_flag=True, help="Also try results whose links should have expired.")
@json_option
def save(task_ids: tuple[str, ...], folder: Path | None, expired: bool, as_json: bool) -> None:
    """Save finished results that are not saved yet.

    Those that expire first come first. With a TASK, only the results of each one named.
    """
    settings = saving_in(Settings.load(), folder)
    if settings.output_dir is None:
        raise ConfigError("No folder for results is set.", next_step="Give --to DIR, or set KIE_AI_OUTPUT_DIR.")

    async def work(flow: Flow, say: Say) -> tuple[list[dict[str, Any]], int]:
        now = datetime.now(UTC)
        unsaved = [] if task_ids else await flow.record.tasks.unsaved()
        kept = [record for record in unsaved if expired or record.expires_at is None or record.expires_at > now]
        ids = task_ids or [record.task.task_id for record in kept]
        return [await _save(flow, task_id, say, number / len(ids)) for number, task_id in enumerate(ids)], len(
            unsaved
        ) - len(kept)

    with progress() as say:
        saved, gone = run_with_flow(settings, lambda flow: work(flow, say))
    if as_json:
        show_json({"saved": saved, "expired": gone})
    else:
        for row in saved:
            click.echo("\n".join(row["files"]) or f"{row['task_id']}: {row['error']}")
        late = f" {gone} more have expired at the service; --expired tries them all the same." if gone else ""
        click.echo(
            f"{sum(bool(row['files']) for row in saved)} of {len(saved)} tasks saved in {settings.output_dir}.{late}"
        )
    failed = [row for row in saved if row["error"]]
    if failed:
        complain(f"tasks that could not be saved: {len(failed)}; the first: {failed[0]['error']}")
        end(FAILED)


tasks.add_command(prune)
tasks.add_command(export)
tasks.add_command(resolve)


# -- inside -----------------------------------------------------------------------------------------------------------


async def _silent(_message: str, _share: float | None) -> None:
    """Tell nobody."""


async def _running(flow: Flow) -> list[str]:
    found = [
        record
        for status in ("pending", "processing")
        for record in await flow.record.tasks.list(Filters(status=status, limit=WAITED_FOR))
    ]
    return [record.task.task_id for record in found[:WAITED_FOR]]


async def _save(flow: Flow, task_id: str, say: Say, share: float) -> dict[str, Any]:
    """Save one task's results; what goes wrong with it must not stop the others."""
    await say(f"saving {task_id}", share)
    try:
        report = await flow.save(task_id)
    except KieError as exc:
        return {"task_id": task_id, "files": [], "error": str(exc)}
    error = "" if report.files else f"it is {report.status}. {report.next_step}"
    return {"task_id": task_id, "files": list(report.files), "error": error}


def _line(task: dict[str, Any]) -> list[str]:
    results = (
        f"{len(task['files'])} saved"
        if task["files"]
        else f"{len(task['result_urls'])} links"
        if task["result_urls"]
        else ""
    )
    credits = f"{task['credits']:g}" if "credits" in task else ""
    if "estimated_credits" in task:
        credits = f"about {task['estimated_credits']:g}"
    made, expires = (task.get(name, "")[:16].replace("T", " ") for name in ("created_at", "expires_at"))
    return [task["task_id"], task["provider"], task["status"], made, expires, credits, results]
