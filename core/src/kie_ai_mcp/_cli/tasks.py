"""Commands ``tasks``: list, show, add up, wait for, save, make again, export, prune and settle what is on record."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import anyio
import click

from kie_ai_mcp._app.again import call_again, model_of
from kie_ai_mcp._app.app import App, own_arguments
from kie_ai_mcp._app.own_tools import OwnTools, credits_line
from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.call import Wanted, arguments_of, dry_run_option, pairs_argument, perform, wait_option
from kie_ai_mcp._cli.console import UserPath
from kie_ai_mcp._cli.figures import COLUMNS, PAGE, line_of, print_figures, rows_of, rows_of_figures
from kie_ai_mcp._cli.rows import age_of, credits_in, prompt_in, tool_in
from kie_ai_mcp._flow import consent, results, settle
from kie_ai_mcp._flow.engine import Say
from kie_ai_mcp._flow.models import find
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._flow.waiting import READS_AT_ONCE, wait_for
from kie_ai_mcp._media.files import replacing
from kie_ai_mcp._record.consents import CLOSED, COMMAND_LINE, Question
from kie_ai_mcp._record.record import LEAST_AGE, Record
from kie_ai_mcp._record.stats import GROUPS
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._settings.logging import visible
from kie_ai_mcp.errors import ConfigError, KieError, TaskNotFound
from kie_ai_mcp.specs import Kind, Status

MOST_TASKS = 100  # how many running tasks `wait` waits for where none is named
ESTIMATE = "estimated_credits"


@click.group(cls=console.Commands)
def tasks() -> None:
    """Work with the record: list, add up, wait for, save, make again, export, prune and settle.

    The record is the database that all servers of this user share; `kie-ai-mcp-server config show` names it.
    """


@tasks.command("list")
@click.option("--words", help="Only tasks whose tool, model or prompt has each of these words.")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only tasks in this state.")
@click.option("--provider", help="Only this provider's tasks.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only tasks that make this.")
@click.option("--since", type=console.when, help="Only tasks made since a date, a time (UTC) or an age such as 7d.")
@click.option("--limit", type=console.Count(1, 50), default=20, show_default=True, help="At most so many.")
@click.option("--cursor", help="Go on where an earlier list ended.")
@console.json_option
def list_tasks(since: datetime | None, **filters: Any) -> None:
    """List tasks, newest first.

    Requests whose outcome is unknown come before them. The service is not asked.
    """
    filters["since"] = since.isoformat() if since else None

    async def work(app: App) -> tuple[dict[str, Any], list[str]]:
        arguments = own_arguments("list_tasks")[1].check(filters)
        listed = (await OwnTools(app.engine, app.resources).list_tasks(**arguments)).data or {}
        return listed, await console.short_ids(app, [task["task_id"] for task in listed["tasks"]])

    listed, ids = console.run_with_app(load_settings(), work)
    console.show(listed, lambda: _print_list(listed, ids))


def _print_list(listed: dict[str, Any], ids: Sequence[str]) -> None:
    print_table = console.terminal().print_table
    if unresolved := listed.get("unresolved"):
        columns = [name for name in UNRESOLVED if name != "user" or any("user" in row for row in unresolved)]
        rows = [[UNRESOLVED[name](row) for name in columns] for row in unresolved]
        print_table(rows, columns, cut=("prompt", "tool"), stacked=("prompt", "tool"), title="Outcome unknown")
        pages = " and ".join(dict.fromkeys(row["logs_page"] for row in unresolved))
        console.echo(f"Look at {pages}, then settle each:")
        console.echo(f"  {console.PROGRAM} tasks resolve SUBMISSION --adopt TASK | --discard\n")
    if not listed["tasks"]:
        console.echo("No tasks.")
        return
    rows = [
        [short, *(cell(task) for cell in LISTED.values())] for short, task in zip(ids, listed["tasks"], strict=True)
    ]
    print_table(rows, ("task", *LISTED), cut=("prompt", "tool"), stacked=("prompt", "tool"))
    console.say(credits_line(listed))
    if "next_cursor" in listed:
        console.echo(f"Older ones: --cursor {listed['next_cursor']}")


def _age(task: dict[str, Any]) -> str:
    if "created_at" not in task:
        return ""
    return age_of((datetime.now(UTC) - datetime.fromisoformat(task["created_at"])).total_seconds())


def _state(task: dict[str, Any]) -> str:
    """Return a task's status; of a completed one, what there is of its results."""
    if task["files"]:
        return saved_words(task["files"])
    if not task["result_urls"]:
        return str(task["status"])
    count = f"{len(task['result_urls'])} link{'s'[: len(task['result_urls']) > 1]}"
    if "expires_at" not in task:
        return count
    left_s = (datetime.fromisoformat(task["expires_at"]) - datetime.now(UTC)).total_seconds()
    return f"{count}, {age_of(left_s)} left" if left_s > 0 else f"{count}, expired"


def saved_words(files: Sequence[str]) -> str:
    """Return how many results are saved; what the service says of media, a file of data, is none beside them."""
    media = [file for file in files if not file.endswith(".json")]
    return f"{len(media or files)} saved"


# The columns of both tables, each with what stands in it.
LISTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "age": _age,
    "status": _state,
    "credits": credits_in,
    "prompt": prompt_in,
    "tool": tool_in,
}
UNRESOLVED: dict[str, Callable[[dict[str, Any]], str]] = {
    "submission": lambda row: str(row["submission_id"]),
    "user": lambda row: row.get("user", ""),
    "state": lambda row: str(row["state"]),
    "age": lambda row: age_of(row["age_s"]),
    "prompt": prompt_in,
    "tool": lambda row: row["tool"] or "",
}


@tasks.command("show")
@click.argument("task_id", metavar="TASK")
@click.option("--refresh", is_flag=True, help="Ask the service first; also finds tasks that were made elsewhere.")
@console.json_option
def show_task(task_id: str, refresh: bool) -> None:
    """Show everything on record of one TASK."""

    async def work(app: App) -> tuple[dict[str, Any], str]:
        full_id = await console.full_id(app, task_id)
        report = await (results.refresh if refresh else results.last_known)(app.engine, full_id)
        if report is None:
            cure = "--refresh asks the service for it."
            raise TaskNotFound(f"No task {task_id!r} is on record here.", next_step=cure)
        if not refresh and not report.is_final:
            step = f"This is on record; {console.PROGRAM} tasks show {task_id} --refresh asks the service."
            report = replace(report, next_step=f"{report.next_step} {step}".strip())
        submission = await app.engine.record.submissions.of_task(full_id)
        record = await app.engine.record.tasks.find(full_id)
        extra: dict[str, Any] = {} if record is None else {"kind": record.kind}
        if submission is not None:
            extra |= {"submission_id": submission.id, "arguments": dict(submission.arguments)}
        texts = {name: json.dumps(v, ensure_ascii=False) if isinstance(v, dict) else v for name, v in extra.items()}
        lines = [report.text(), *(f"{name.replace('_', ' ').capitalize()}: {text}" for name, text in texts.items())]
        return report.structured() | extra, "\n".join(lines)

    console.show(*console.run_with_app(load_settings(), work))


@tasks.command()
@click.argument("task_ids", metavar="[TASK]...", nargs=-1)
@console.timeout_option
@console.save_option
@console.json_option
def wait(task_ids: tuple[str, ...], timeout_s: float, folder: Path | None) -> None:
    """Wait until every TASK is finished.

    Without a TASK, all that are running are waited for. Results are saved where a folder is set.
    """

    async def work(app: App) -> tuple[Sequence[Report], list[str]]:
        ids = [await console.full_id(app, task_id) for task_id in task_ids]
        reports = await wait_for(app.engine, ids or await _running(app), timeout_s, say)
        return reports, await console.short_ids(app, [str(report.task_id) for report in reports])

    with console.terminal().progress() as say:
        reports, ids = console.run_with_app(console.settings_saving_in(folder), work)
    console.show([report.structured() for report in reports], lambda: _print_reports(reports, ids))
    if unfinished := [report for report in reports if report.status != "completed"]:
        states = ", ".join(
            f"{short} is {report.status}" for short, report in zip(ids, reports, strict=True) if report in unfinished
        )
        running = any(report.status not in {"failed", "not found"} for report in unfinished)
        hint = " A running one goes on by itself; wait again." if running else ""
        raise click.ClickException(f"not every task is completed: {states}.{hint}")


def _print_reports(reports: Sequence[Report], ids: Sequence[str]) -> None:
    """Print the one task that was waited for whole; of several a table, and each with its results below it."""
    if len(reports) < 2:
        console.echo(console.for_person("".join(report.text() for report in reports) or "No task is running."))
        return
    tasks = [report.structured() for report in reports]
    rows = [
        [short, task["status"], credits_in(task), prompt_in(task), tool_in(task)]
        for short, task in zip(ids, tasks, strict=True)
    ]
    columns = ("task", "status", "credits", "prompt", "tool")
    console.terminal().print_table(rows, columns, cut=("prompt", "tool"), stacked=("prompt", "tool"))
    for short, task in zip(ids, tasks, strict=True):
        told = [task[name] for name in ("error", "read_error") if task.get(name)]
        told += task["files"] or task["result_urls"]
        console.echo("\n".join(f"{short}  {line}" for line in told)) if told else None
    if any(task["result_urls"] and not task["files"] for task in tasks):
        console.echo(f"Links expire. To keep the results: {console.PROGRAM} tasks save --to DIR")
    console.echo(f"More of one: {console.PROGRAM} tasks show TASK")


async def _running(app: App) -> list[str]:
    tasks = app.engine.record.tasks
    pending = await tasks.newest(Filters(status="pending", limit=MOST_TASKS, readable=True))
    processing = await tasks.newest(Filters(status="processing", limit=MOST_TASKS, readable=True))
    return [record.written_id for record in (*pending, *processing)][:MOST_TASKS]


@tasks.command()
@click.argument("task_ids", metavar="[TASK]...", nargs=-1)
@click.option("--to", "folder", type=UserPath(file_okay=False), help="Into this folder instead of KIE_AI_OUTPUT_DIR.")
@click.option("--expired", is_flag=True, help="Also try results whose links should have expired.")
@console.json_option
def save(task_ids: tuple[str, ...], folder: Path | None, expired: bool) -> None:
    """Save finished results that are not saved yet.

    Tasks that are not finished on record are read first. Results that expire first come first. With a TASK, only the
    results of each one named: those that are saved elsewhere are copied to the folder of --to.
    """
    settings = console.settings_saving_in(folder)
    if settings.output_dir is None:
        raise ConfigError("No folder for results is set.", next_step="Give --to DIR, or set KIE_AI_OUTPUT_DIR.")

    async def work(app: App) -> tuple[list[dict[str, Any]], list[str], int, list[Report]]:
        read = [] if task_ids else await _read(app, say, everything=expired)
        finished = [_row(report) for report in read if report.status == "completed"]
        now, known = datetime.now(UTC), {row["task_id"] for row in finished}
        unsaved = [] if task_ids else await app.engine.record.tasks.unsaved()
        unsaved = [record for record in unsaved if record.written_id not in known]
        valid = [record for record in unsaved if expired or record.expires_at is None or record.expires_at > now]
        ids = [await console.full_id(app, task_id) for task_id in task_ids]
        ids = ids or [record.written_id for record in valid]
        rows = list(finished)
        for number, task_id in enumerate(ids):
            await say(f"saving task {number + 1} of {len(ids)}", number / len(ids))
            rows.append(await _save(app, task_id, str(settings.output_dir) if folder and task_ids else None))
        short = await console.short_ids(app, [row["task_id"] for row in rows])
        return rows, short, len(unsaved) - len(valid), read

    with console.terminal().progress() as say:
        rows, ids, gone, read = console.run_with_app(settings, work)
    unread = [report for report in read if report.read_error]
    states = Counter("unread" if report.read_error else report.status for report in read)
    counts = {"running": states["pending"] + states["processing"], "failed": states["failed"], "unread": len(unread)}
    late = f" {gone} more have expired at the service; --expired tries them all the same." if gone else ""
    others = "".join(f" {count} more: {name}." for name, count in counts.items() if count)
    # Results that were saved before may lie in other folders, which their paths name.
    is_there = all(Path(file).is_relative_to(settings.output_dir) for row in rows for file in row["files"])
    where = f" in {settings.output_dir}" if is_there else ""
    total = f"{sum(bool(row['files']) for row in rows)} of {len(rows)} tasks saved{where}."
    end = total + others + late
    console.show({"saved": rows, "expired": gone, **counts}, lambda: _print_saved(rows, ids, end))
    if failed := [row for row in rows if row["error"]]:
        raise click.ClickException(f"tasks that could not be saved: {len(failed)}; the first: {failed[0]['error']}")
    if unread:
        reason = f"{unread[0].task_id}: {unread[0].read_error}"
        raise click.ClickException(f"tasks that could not be read, and may be finished: {len(unread)}. {reason}")


def _print_saved(rows: Sequence[dict[str, Any]], ids: Sequence[str], end: str) -> None:
    """Print a table of the tasks whose results were to be saved, then every file and every error."""
    if rows:
        cells = [
            [short, saved_words(row["files"]) if row["files"] else "not saved", prompt_in(row), tool_in(row)]
            for short, row in zip(ids, rows, strict=True)
        ]
        columns = ("task", "results", "prompt", "tool")
        console.terminal().print_table(cells, columns, cut=("prompt", "tool"), stacked=("prompt", "tool"))
    for short, row in zip(ids, rows, strict=True):
        console.echo("\n".join(row["files"]) or f"{short}: {console.for_person(row['error'])}")
    console.echo(end)


async def _read(app: App, say: Say, *, everything: bool) -> list[Report]:
    """Read every task that is not finished on record, and save its results if it is finished now."""
    now = datetime.now(UTC)
    since = now - (timedelta(days=36_500) if everything else results.KEPT_LONGER)
    records = await app.engine.record.tasks.running(since, now, limit=10_000)
    reports: list[Report] = []
    turn = anyio.CapacityLimiter(READS_AT_ONCE)

    async def read(record: TaskRecord) -> None:
        async with turn:
            await say(f"reading task {len(reports) + 1} of {len(records)}", len(reports) / len(records))
            reports.append(await results.refresh(app.engine, record.written_id))

    async with anyio.create_task_group() as group:
        for record in records:
            group.start_soon(read, record)
    return reports


async def _save(app: App, task_id: str, folder: str | None) -> dict[str, Any]:
    """Save one task's results, in a folder if one is given; an error of one must not stop the others."""
    try:
        return _row(await results.save(app.engine, task_id, folder)) | {"task_id": task_id}
    except KieError as exc:
        return {"task_id": task_id, "files": [], "error": str(exc)}


def _row(report: Report) -> dict[str, Any]:
    named = {name: value for name in ("tool", "model", "prompt") if (value := getattr(report, name))}
    reason = " ".join(report.notes) or f"it is {report.status}. {report.next_step}"
    files = list(filter(None, report.files))
    return {"task_id": report.task_id, **named, "files": files, "error": "" if report.is_saved else reason}


@tasks.command()
@click.argument("task_id", metavar="TASK")
@pairs_argument
@wait_option
@dry_run_option
@console.timeout_option
@console.save_option
@console.json_option
def again(
    task_id: str, pairs: tuple[str, ...], wait: bool, dry_run: bool, timeout_s: float, folder: Path | None
) -> None:
    """Make the request of a TASK anew, with changes.

    It costs credits as the command call does; --dry-run says how many. KEY=VALUE sets an argument, KEY= leaves it out.

    \b
    kie-ai-mcp-server tasks again 3f9a1c22 prompt='The same harbour at night' --dry-run
    """

    async def wanted(app: App) -> Wanted:
        whole_id = await console.full_id(app, task_id, least=console.SHORTEST_SHOWN)
        request = await app.engine.record.submissions.of_task(whole_id)
        if request is None:
            cure = f"{console.PROGRAM} tasks list shows what was made here, by the {console.SHORTEST_SHOWN} or more"
            cure += " characters of an id that a purchase needs."
            raise TaskNotFound(f"No request of a task {task_id!r} is on record here.", next_step=cure)
        model = model_of(request)
        schema = app.tool(request.tool).input_schema if model is None else (await find(app.engine, model)).model.input
        left_out = {pair[:-1] for pair in pairs if pair.count("=") == 1 and pair.endswith("=")}
        changes = arguments_of([pair for pair in pairs if pair[:-1] not in left_out], schema)
        if tool := app.engine.plugins.tools.get(request.tool):
            changes = tool.arguments.understood(changes).arguments
            left_out = {*tool.arguments.understood(dict.fromkeys(left_out)).arguments}
        if unknown := left_out - request.arguments.keys():
            reason = f"The request of task {task_id} has no {' or '.join(sorted(unknown))}, so nothing is left out."
            raise click.UsageError(f"{reason} It has: {', '.join(request.arguments)}.")
        saves = app.settings.output_dir is not None
        name, values, missing = call_again(request, tool, changes, left_out, saves=saves)
        if missing:
            cure = " ".join(f"{key}=..." for key in missing)
            reason = f"The request of task {task_id} is not stored whole: {', '.join(missing)}."
            raise click.UsageError(f"{reason} Give anew, or leave out with nothing after the =: {cure}")
        return name, values

    perform(wanted, waits=wait, dry_run=dry_run, timeout_s=timeout_s, folder=folder)


@tasks.command()
@click.option(
    "--older-than", "before", type=console.when, required=True, help="An age of a day or more, such as 30d, or a date."
)
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@console.json_option
def prune(before: datetime, dry_run: bool) -> None:
    """Delete old finished tasks from the record.

    Their requests go with them. Files stay, and so do tasks that are running, and requests whose outcome is unknown.
    """
    if before > datetime.now(UTC) - LEAST_AGE:
        reason = "Tasks of the last 24 hours are never deleted: what they cost counts against limits."
        raise click.BadParameter(f"{reason} Give 1d or more.", param_hint="'--older-than'")
    count = console.run_with_app(load_settings(), lambda app: app.engine.record.prune(before, dry_run=dry_run))
    time, verb = before.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"), "would be" if dry_run else "were"
    data = {"tasks": count, "before": before.isoformat(timespec="seconds"), "dry_run": dry_run}
    console.show(data, f"Finished tasks from before {time} that {verb} deleted: {count}")


def _groups(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in value.split(",")))))
    if unknown := [name for name in names if name not in GROUPS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of: {', '.join(GROUPS)}.")
    return names


@tasks.command()
@click.option("--by", callback=_groups, default="day", show_default=True, help=f"One or several of {','.join(GROUPS)}.")
@click.option("--words", default="", help="Only tasks whose tool, model or prompt has each of these words.")
@click.option("--since", type=console.when, help="Only tasks made since a date, a time (UTC) or an age such as 7d.")
@console.json_option
def stats(by: tuple[str, ...], words: str, since: datetime | None) -> None:
    """Add up tasks: how many, what they cost, how long they take.

    Credits are Kie.ai's, counted as the day's limit counts them: what the service charged, else what was booked, also
    for requests whose outcome is unknown. Days are in UTC. What was pruned does not count.

    \b
    kie-ai-mcp-server tasks stats --by day,model --since 30d
    kie-ai-mcp-server tasks stats --by subfolder --words harbour
    """
    with closing(Record.of(load_settings())) as record:
        record.open()
        with record.database.translated("read"), record.database.at_leisure():
            rows = rows_of_figures(by, record.stats.by(by, since, words))
    console.show(rows, lambda: print_figures(by, rows))


@tasks.command()
@click.option("--output", type=UserPath(dir_okay=False), help="Write to this file, which must not exist yet.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV: a line for each task, and each request that made none.")
def export(output: Path | None, as_csv: bool) -> None:
    """Print all requests and tasks as JSON Lines, or as CSV.

    They come oldest first, requests before tasks, and last what a person was asked before a request ("consent"); each
    line says in "record" which of them it is. In CSV, an apostrophe stands before texts that a spreadsheet would take
    for a formula.
    """
    if output is not None and output.exists():
        raise click.UsageError(f"{output} exists already; choose another --output.")

    async def work(app: App) -> int:
        count = 0
        with (
            console.file_errors(output or "stdout", "written", "Choose another --output."),
            replacing(output) if output else click.open_file("-", "wb") as file,
        ):
            if as_csv:
                file.write(line_of(COLUMNS))
            async for line in _csv_lines(app) if as_csv else _json_lines(app):
                file.write(line)
                count += 1
        return count

    count = console.run_with_app(load_settings(), work)
    if output is not None:
        console.echo(f"Lines written to {output}: {count}")


async def _csv_lines(app: App) -> AsyncIterator[bytes]:
    async for cells in rows_of(app.engine.record):
        yield line_of(cells)


async def _json_lines(app: App) -> AsyncIterator[bytes]:
    async for entry in _history(app):
        yield visible(json.dumps(entry, ensure_ascii=False, default=str)).encode() + b"\n"


async def _history(app: App) -> AsyncIterator[dict[str, Any]]:
    after, record = 0, app.engine.record
    while submissions := await record.submissions.history(after, PAGE):
        for submission in submissions:
            yield _entry("submission", submission, record.units[submission.gateway])
        after = submissions[-1].id
    after = 0
    while tasks := await record.tasks.history(after, PAGE):
        for task in tasks:
            yield _entry("task", task, task.unit)
        after = tasks[-1].row_id
    after = 0
    while questions := await record.consents.history(after, PAGE):
        for question in questions:
            yield _entry("consent", question, record.units[question.gateway])
        after = questions[-1].id


def _entry(sort: str, record: SubmissionRecord | TaskRecord | Question, unit: str) -> dict[str, Any]:
    """Return one line of an export, whose price is in a unit; one that is not known is absent, as in answers."""
    values = asdict(record) | {"unit": unit}
    return {"record": sort, **{name: values[name] for name in values if values[name] is not None or name != ESTIMATE}}


@tasks.command()
@click.argument("submission_id", metavar="SUBMISSION", type=console.Count(min=1))
@click.option("--adopt", metavar="TASK", help="The request made this task; https://kie.ai/logs shows its id.")
@click.option("--discard", is_flag=True, help="The request made nothing: it may be sent again.")
@console.json_option
def resolve(submission_id: int, adopt: str | None, discard: bool) -> None:
    """Settle a request whose outcome is unknown.

    `tasks list` shows them, with the number of each SUBMISSION.
    """
    if discard is (adopt is not None):
        raise click.UsageError("Give either --adopt TASK or --discard.")
    report = console.run_with_app(load_settings(), lambda app: settle.resolve(app.engine, submission_id, adopt))
    console.show(report.structured(), report.text())


@tasks.command()
@click.argument("number", metavar="[ID]", type=console.Count(min=1), required=False)
@click.option("--yes", is_flag=True, help="Agree without being asked, in a script.")
@click.option("--no", is_flag=True, help="Decline.")
@console.json_option
def approve(number: int | None, yes: bool, no: bool) -> None:
    """Agree to a request that needs a person's yes.

    KIE_AI_CONFIRM_CREDITS says which do. A yes buys nothing by itself: it lets the same call be made once, within ten
    minutes. Until it is used, another answer takes its place. Without an ID, the questions that are open are listed.
    """
    if yes and no:
        raise click.UsageError("Give either --yes or --no.")
    if number is None and (yes or no):
        raise click.UsageError("Give the ID of a question with --yes or --no; without, they are listed.")

    async def look(app: App) -> list[consent.Purchase]:
        record = app.engine.record.consents
        questions = await record.open() if number is None else filter(None, [await record.find(number)])
        return [await consent.purchase_of(app.engine, each, with_balance=number is not None) for each in questions]

    settings = load_settings()
    found = console.run_with_app(settings, look)
    if number is None:
        blocks = ["\n".join([f"Question {each.question.id}{_of(each.question.user)}", *each.facts()]) for each in found]
        end = f"Answer one with: {console.PROGRAM} tasks approve ID" if found else "No question is open."
        console.show([asdict(each.question) for each in found], "\n\n".join([*blocks, end]))
        return
    if not found:
        raise click.UsageError(f"There is no question {number}; {console.PROGRAM} tasks approve lists them.")
    if not (yes or no):
        if not console.has_person():
            raise click.UsageError("This is no terminal where a person could be asked: give --yes or --no.")
        arguments = json.dumps(dict(found[0].question.arguments), ensure_ascii=False)
        user = found[0].question.user
        lines = [found[0].words(), *([f"User: {user}"] if user else []), f"Arguments: {arguments}"]
        yes = console.confirmed("\n".join(lines))
    question = console.run_with_app(
        settings, lambda app: app.engine.record.consents.answer(number, COMMAND_LINE, is_yes=yes)
    )
    said = _said(question)
    console.show({"id": number, "answer": question.answer, "submission_id": question.submission_id, "said": said}, said)


def _of(user: str) -> str:
    return f" of the user {user}" if user else ""


def _said(question: Question) -> str:
    """Return what the answer that holds now means, to the person who gave it."""
    if question.submission_id == CLOSED:
        return f"This yes buys nothing any more: the request changed. {console.PROGRAM} tasks approve lists the others."
    if question.submission_id is not None:
        used = f"This yes was used before, for submission {question.submission_id}, and stays as it is."
        return f"{used} {console.PROGRAM} tasks list shows what was made."
    if question.answer == "yes":
        return f"You agreed. To buy it, let the assistant {consent.IN_TIME}."
    return "You declined. Nothing is bought."
