"""What a long history costs: every use of the record with 1,000,000 tasks in it, against 1,000.

    uv run python benchmarks/scale.py [--on sqlite] [--on postgres] [--tasks 1000000] [--rounds 200] [--folder FOLDER]

On a file and on PostgreSQL, a large and a small history are filled by SQL with the same mix of tasks, one of each ten
still running, a year long. Prints the median and p95 of each operation on both, in milliseconds, and the ratio. Nothing
is asked of a service: for ``get_task_status`` it is the database's part that is measured.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.databases import Postgres, outside

SMALL = 1_000
YEAR_S = 365 * 86_400
OPENINGS = 7
SPREAD, IDS = 2_654_435_761, 2**32  # ids in no order, as a service gives them: neighbours lie far apart in an index

# Row n of the history, oldest first; the words with a dollar are each database's own.
SUBMISSIONS = """
$numbers
INSERT INTO submissions (state, tool, provider, api_type, kind, gateway, model, arguments, body_hash, owner, created_at,
    asked_at, granted_at, answered_at, path, task_id)
SELECT 'accepted', 'generate_nano_banana', CASE n % 3 WHEN 0 THEN 'veo3' ELSE 'nano-banana' END, 'nano-banana',
    CASE n % 3 WHEN 0 THEN 'video' ELSE 'image' END, 'kie', 'google/nano-banana',
    '{"prompt":"A lighthouse above a sea of clouds, first light, number ' || n || '"}', $hash, 'gone', $moment,
    $begin + n * $step, $begin + n * $step, $begin + n * $step, 'jobs/createTask', $task
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
ON_SQLITE = {
    "numbers": "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $tasks)",
    "hash": "printf('%064x', n)",
    "task": "printf('%032x', n * $spread % $ids)",
    "moment": "strftime('%Y-%m-%d %H:%M:%S.000000', $begin + n * $step, 'unixepoch')",
}
ON_POSTGRES = {
    "numbers": "WITH n(n) AS (SELECT generate_series(1, $tasks))",
    "hash": "lpad(to_hex(n), 64, '0')",
    "task": "lpad(to_hex(n * $spread % $ids), 32, '0')",
    "moment": "to_char(to_timestamp($begin + n * $step) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
}


@dataclass(frozen=True)
class Place:
    """Where a history is: a file, or a PostgreSQL database."""

    path: Path
    address: str = ""

    def record(self) -> Record:
        """Return the record there."""
        return Record(self.path, RateLimit(20, 10.0), address=self.address)

    def fill(self, tasks: int) -> None:
        """Put so many tasks there."""
        record = self.record()
        record.open()
        record.close()
        values = {"tasks": tasks, "begin": datetime.now(UTC).timestamp() - YEAR_S, "step": YEAR_S / tasks}
        values |= {"spread": SPREAD, "ids": IDS}
        own = ON_POSTGRES if self.address else ON_SQLITE
        words = {name: Template(text).substitute(values) for name, text in own.items()} | values
        with outside(record) as database:
            for setting in () if self.address else ("synchronous = off", "journal_mode = wal"):
                database.execute(f"PRAGMA {setting}")
            for statement in (SUBMISSIONS, TASKS):
                database.execute(Template(statement).substitute(words))
            for end in ("VACUUM ANALYZE", "CHECKPOINT") if self.address else ("PRAGMA wal_checkpoint(truncate)",):
                database.execute(end)  # the first is done by PostgreSQL itself within a minute

    def megabytes(self) -> float:
        """Return its size."""
        if not self.address:
            return self.path.stat().st_size / 1e6
        with outside(self.record()) as database:
            return float(database.execute("SELECT pg_database_size(current_database())").fetchone()[0]) / 1e6


async def timed(rounds: int, work: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Return the milliseconds of each round; the first one warms caches and is left out."""
    taken = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - started) * 1000)
    return taken[1:]


async def read(place: Place, tasks: int, rounds: int) -> dict[str, list[float]]:
    """Measure what reads, and what one status costs."""
    values = {"api_key": "bench", "base_url": "http://127.0.0.1:9", "db_path": place.path}
    settings = Settings.model_validate(values | {"database_url": place.address or None})
    app = App.open(settings)
    store, newest = app.engine.record, tasks
    answers = Answers(app)
    month = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    recent = datetime.now(UTC) - timedelta(days=14)

    async def status(number: int) -> None:
        task_id = f"{(1 + number * 7919 % tasks) * SPREAD % IDS:032x}"
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
            "unsaved results to save": await timed(5, lambda n: store.tasks.unsaved(50, recent, range(n * 10))),
        }


class Answers:
    """Calls tools as a client does, without the wire."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def list(self, **arguments: Any) -> None:
        """Call ``list_tasks``."""
        await self.app.run("list_tasks", arguments, Call())


def openings(place: Place) -> list[float]:
    """Measure opening the record, as every start does."""
    taken = []
    for _ in range(OPENINGS + 1):
        store = place.record()
        started = time.perf_counter()
        store.open()
        taken.append((time.perf_counter() - started) * 1000)
        store.close()
    return taken[1:]


async def prunings(place: Place) -> dict[str, list[float]]:
    """Measure counting what is older than half a year, deleting the oldest percent, then half of everything."""
    store = place.record()
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


def measure(place: Place, tasks: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of every operation on a database with so many tasks."""
    place.fill(tasks)
    opened = openings(place)
    return {"open": opened, **anyio.run(read, place, tasks, rounds), **anyio.run(prunings, place)}


def places(on: str, folder: Path) -> Iterator[Place]:
    """Yield places for a small and for a large history; what serves them is gone afterwards."""
    files = folder / "few.db", folder / "many.db"
    if on == "sqlite":
        yield from map(Place, files)
        return
    server = Postgres(folder / "postgres", quiet=False)
    try:
        for file in files:
            yield Place(file, server.make())
    finally:
        server.end()


def p95(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=20)[18] if len(taken) > 1 else taken[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", action="append", choices=["sqlite", "postgres"], help="both if not given")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"), help="where the databases are made (1 kB a task)")
    options = parser.parse_args()
    for on in options.on or ["sqlite", "postgres"]:
        with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
            compare(on, Path(folder), options.tasks, options.rounds)


def compare(on: str, folder: Path, tasks: int, rounds: int) -> None:
    """Measure both histories on one kind of database, and print the table."""
    folder.chmod(0o755)  # PostgreSQL does not run as root
    taken, started = list[dict[str, list[float]]](), time.perf_counter()
    for number, place in zip((SMALL, tasks), places(on, folder), strict=True):
        taken.append(measure(place, number, rounds))
        size = place.megabytes()
    few, many = taken
    spent = time.perf_counter() - started
    print(f"{on}, milliseconds; {tasks:,} tasks are {size:,.0f} MB; all of it took {spent:.0f} s")
    print(f"{'':40}{SMALL:>12,} tasks    {tasks:>12,} tasks")
    print(f"{'':40}{'p50':>9}{'p95':>9}    {'p50':>9}{'p95':>9}{'ratio of p50':>16}")
    for name, times in many.items():
        small, large = statistics.median(few[name]), statistics.median(times)
        print(f"{name:40}{small:9.2f}{p95(few[name]):9.2f}    {large:9.2f}{p95(times):9.2f}{large / small:16.2f}")


if __name__ == "__main__":
    main()
