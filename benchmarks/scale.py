"""What a long history costs: every use of the record with 1,000,000 tasks in it, against 1,000.

    uv run python benchmarks/scale.py [--tasks 1000000] [--rounds 200] [--folder FOLDER]

Both databases are filled by SQL with the same mix of tasks, one of each ten still running, a year long. Prints the
median and p95 of each operation on both, in milliseconds, and the ratio. Nothing is asked of a service: for
``get_task_status`` it is the database's part that is measured.
"""

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import Call
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import NEVER_SENT
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.specs import Outcome

SMALL = 1_000
YEAR_S = 365 * 86_400
OPENINGS = 7

# Row n of the history, oldest first; :step is the seconds between two.
SUBMISSIONS = """
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :tasks)
INSERT INTO submissions (state, tool, provider, api_type, kind, gateway, model, arguments, body_hash, owner, created_at,
    asked_at, granted_at, answered_at, path, task_id)
SELECT 'accepted', 'generate_nano_banana', CASE n % 3 WHEN 0 THEN 'veo3' ELSE 'nano-banana' END, 'nano-banana',
    CASE n % 3 WHEN 0 THEN 'video' ELSE 'image' END, 'kie', 'google/nano-banana',
    '{"prompt":"A lighthouse above a sea of clouds, first light, number ' || n || '"}', printf('%064x', n), 'gone',
    strftime('%Y-%m-%d %H:%M:%S.000000', :begin + n * :step, 'unixepoch'),
    :begin + n * :step, :begin + n * :step, :begin + n * :step, 'jobs/createTask', printf('%032x', n)
FROM n
"""
TASKS = """
INSERT INTO tasks (task_id, api_type, status, created_at, updated_at, result_url, error_message, provider, tool, kind,
    gateway, model, path, submission_id, result_urls, credits, finished_at)
SELECT task_id, api_type, CASE WHEN id % 10 = 0 THEN 'processing' WHEN id % 10 = 1 THEN 'failed' ELSE 'completed' END,
    created_at, created_at, 'https://files.invalid/' || id || '.png', CASE WHEN id % 10 = 1 THEN 'no' END, provider,
    tool, kind, gateway, model, path, id, '["https://files.invalid/' || id || '.png"]', 4.0, created_at
FROM submissions ORDER BY id
"""


def fill(path: Path, tasks: int) -> None:
    """Make a database with so many tasks."""
    Record(path, RateLimit(20, 10.0)).open()
    begin = datetime.now(UTC).timestamp() - YEAR_S
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous = off")
        database.execute(SUBMISSIONS, {"tasks": tasks, "begin": begin, "step": YEAR_S / tasks})
        database.execute(TASKS)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(truncate)")


async def timed(rounds: int, work: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Return the milliseconds of each round; the first one warms caches and is left out."""
    taken = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - started) * 1000)
    return taken[1:]


async def read(path: Path, tasks: int, rounds: int) -> dict[str, list[float]]:
    """Measure what reads, and what one status costs."""
    settings = Settings.model_validate({"api_key": "bench", "base_url": "http://127.0.0.1:9", "db_path": path})
    app = App.open(settings)
    store, newest = app.engine.record, tasks
    answers = Answers(app)
    month = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    recent = datetime.now(UTC) - timedelta(days=14)

    async def status(number: int) -> None:
        task_id = f"{1 + number * 7919 % tasks:032x}"
        await store.tasks.find(task_id)
        await store.tasks.record_outcome(task_id, Outcome("completed", ("https://files.invalid/1.png",), credits=4.0))

    async def write_ahead(number: int) -> None:
        new = NewSubmission(
            tool="generate_nano_banana",
            provider="nano-banana",
            api_type="nano-banana",
            kind="image",
            gateway="kie",
            model=None,
            arguments={"prompt": f"A fox, number {number}"},
            body_hash=f"fox {number}",
        )
        ticket = await store.submissions.write_ahead(new)
        assert isinstance(ticket, Ticket)
        await store.submissions.settled(ticket.submission_id, NEVER_SENT)

    async with app.engine.running():
        return {
            "list_tasks, first page": await timed(rounds, lambda _: answers.list()),
            "list_tasks, page in the middle": await timed(rounds, lambda n: answers.list(cursor=str(newest // 2 - n))),
            "list_tasks, last page": await timed(rounds, lambda _: answers.list(cursor="20")),
            "list_tasks, failed ones": await timed(rounds, lambda _: answers.list(status="failed")),
            "list_tasks, videos of a provider": await timed(
                rounds, lambda _: answers.list(provider="veo3", kind="video", status="processing")
            ),
            "list_tasks, none of a kind": await timed(rounds, lambda _: answers.list(kind="audio")),
            "list_tasks, words that none has": await timed(5, lambda _: answers.list(words="zebra")),
            "list_tasks, since a month": await timed(rounds, lambda _: answers.list(since=month)),
            "get_task_status, its database part": await timed(rounds, status),
            "a paid request, written and taken back": await timed(rounds, write_ahead),
            "a running task, taken on for a read": await timed(
                rounds, lambda n: store.polls.claim(newest - n * 10, time.time())
            ),
            "usual time of a tool": await timed(rounds, lambda _: store.tasks.usual_s("generate_nano_banana")),
            "usual time of a tool that none used": await timed(
                rounds, lambda _: store.tasks.usual_s("generate_x", "x")
            ),
            "running tasks to look after": await timed(
                20, lambda n: store.tasks.running(recent, datetime.now(UTC), range(n * 10))
            ),
        }


class Answers:
    """Calls tools as a client does, without the wire."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def list(self, **arguments: Any) -> None:
        """Call ``list_tasks``."""
        await self.app.run("list_tasks", arguments, Call())


def openings(path: Path) -> list[float]:
    """Measure opening the record, as every start does."""
    taken = []
    for _ in range(OPENINGS + 1):
        store = Record(path, RateLimit(20, 10.0))
        started = time.perf_counter()
        store.open()
        taken.append((time.perf_counter() - started) * 1000)
        store.close()
    return taken[1:]


async def prunings(path: Path) -> dict[str, list[float]]:
    """Measure counting what is older than half a year, deleting the oldest percent, then half of everything."""
    store = Record(path, RateLimit(20, 10.0))
    store.open()
    now = datetime.now(UTC)

    async def prune(days: float, *, dry_run: bool) -> float:
        started = time.perf_counter()
        await store.prune(now - timedelta(days=days), dry_run=dry_run)
        return (time.perf_counter() - started) * 1000

    taken = {
        "prune --dry-run": [await prune(182.5, dry_run=True) for _ in range(OPENINGS)],
        "prune, a percent": [await prune(365 * 0.99, dry_run=False)],
        "prune, half of everything": [await prune(182.5, dry_run=False)],
    }
    store.close()
    return taken


def measure(path: Path, tasks: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of every operation on a database with so many tasks."""
    fill(path, tasks)
    opened = openings(path)
    return {"open": opened, **anyio.run(read, path, tasks, rounds), **anyio.run(prunings, path)}


def p95(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=20)[18] if len(taken) > 1 else taken[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the databases are made (about 1 kB a task)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        few = measure(Path(folder, "few.db"), SMALL, options.rounds)
        started = time.perf_counter()
        many = measure(Path(folder, "many.db"), options.tasks, options.rounds)
        spent, size = time.perf_counter() - started, Path(folder, "many.db").stat().st_size / 1e6
    print(f"milliseconds; {options.tasks:,} tasks are {size:,.0f} MB; all of it took {spent:.0f} s")
    print(f"{'':40}{SMALL:>12,} tasks    {options.tasks:>12,} tasks")
    print(f"{'':40}{'p50':>9}{'p95':>9}    {'p50':>9}{'p95':>9}{'ratio of p50':>16}")
    for name, taken in many.items():
        small, large = statistics.median(few[name]), statistics.median(taken)
        print(f"{name:40}{small:9.2f}{p95(few[name]):9.2f}    {large:9.2f}{p95(taken):9.2f}{large / small:16.2f}")


if __name__ == "__main__":
    main()
