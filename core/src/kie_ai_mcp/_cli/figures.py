"""Figures and rows of the record for other programs: statistics of tasks, and CSV that no spreadsheet takes amiss."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from kie_ai_mcp._cli import console
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.stats import Figures
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord, prompt_of
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp._settings.logging import visible

RUNNING = "pending", "processing"
UNSETTLED = "unknown", "sending"
RARE = ("failed", "running", "unknown")  # columns that are left out where there is none
OTHERS = "Prices of other services, in units of their own, are not in these columns."
PAGE = 500  # rows read at once for an export
# Of a task, and of a request that made none, whose number is its id then.
COLUMNS = (
    "record", "id", "status", "created_at", "finished_at", "tool", "provider", "kind", "model", "gateway", "user",
    "prompt", "credits", "estimated_credits", "unit", "result_urls", "files", "error",
)  # fmt: skip
# A spreadsheet takes what begins so for a formula, or drops it; the last are wide signs, and ones that nobody sees.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufeff", "\u200b")


def line_of(cells: Sequence[Any]) -> bytes:
    """Return a line of CSV (RFC 4180, UTF-8): numbers as they are, texts that may be formulas behind an apostrophe."""
    line = io.StringIO()
    csv.writer(line).writerow(map(_cell, cells))
    return line.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, tuple | list):
        value = " ".join(filter(None, value))
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value.startswith(FORMULA) else value)


async def rows_of(record: Record) -> AsyncIterator[Sequence[Any]]:
    """Yield the cells of each task, and then of each request that made none, oldest first."""
    after = 0
    while tasks := await record.tasks.history(after, PAGE):
        for task in tasks:
            yield _of_task(task)
        after = tasks[-1].row_id
    after = 0
    while requests := await record.submissions.history(after, PAGE):
        for request in requests:
            if request.task_id is None:
                yield _of_request(request, record.units[request.gateway])
        after = requests[-1].id


def _of_task(task: TaskRecord) -> Sequence[Any]:
    values = {name: getattr(task, name, None) for name in COLUMNS}
    return [*(values | {"record": "task", "id": task.written_id}).values()]


def _of_request(request: SubmissionRecord, unit: str) -> Sequence[Any]:
    values = {name: getattr(request, name, None) for name in COLUMNS}
    own = {"record": "request", "status": request.state, "prompt": prompt_of(request.arguments), "unit": unit}
    return [*(values | own | {"error": request.message}).values()]


def rows_of_figures(by: Sequence[str], found: Sequence[Figures]) -> list[dict[str, Any]]:
    """Return the figures of each group as JSON has them."""
    return [
        dict(zip(by, each.names, strict=True))
        | {
            "tasks": each.counts,
            "credits": round(each.credits, 6),
            "credits_charged": round(each.charged, 6),
            "median_s": None if each.median_s is None else round(each.median_s, 1),
        }
        for each in found
    ]


def print_figures(by: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print the figures as a table."""
    if not rows:
        console.echo("No tasks.")
        return
    columns = (*by, "tasks", "completed", "failed", "running", "unknown", "credits", "charged", "median s")
    table = [[*(str(row[name]) or "-" for name in by), *_numbers(row)] for row in rows]
    told = [at for at, name in enumerate(columns) if name not in RARE or any(row[at] != "0" for row in table)]
    cells, names = [[row[at] for at in told] for row in table], [columns[at] for at in told]
    texts = [name for name in by if name not in {"day", "status", "kind"}]
    console.terminal().print_table(cells, names, cut=texts, stacked=texts)
    total, charged = (sum(row[name] for row in rows) for name in ("credits", "credits_charged"))
    end = f"Kie.ai credits: {plain(total)}, of which the service has named {plain(charged)}; the rest is what "
    console.say(f"{end}was booked, also for requests whose outcome is unknown. {OTHERS}")


def _numbers(row: dict[str, Any]) -> list[str]:
    counts = row["tasks"]
    running, unsettled = (sum(counts.get(state, 0) for state in states) for states in (RUNNING, UNSETTLED))
    numbers = sum(counts.values()), counts.get("completed", 0), counts.get("failed", 0), running, unsettled
    median = "" if row["median_s"] is None else f"{row['median_s']:g}"
    return [*map(str, numbers), plain(row["credits"]), plain(row["credits_charged"]), median]
