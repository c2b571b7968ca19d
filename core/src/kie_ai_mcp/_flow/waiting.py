"""Waiting for tasks: several at once, at a pace that spares the service, with progress."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio

from kie_ai_mcp._flow.engine import Engine, Say
from kie_ai_mcp._flow.pace import Pace, usual_of
from kie_ai_mcp._flow.report import Report, report_of, report_of_error
from kie_ai_mcp._flow.results import last_known, poll, unread
from kie_ai_mcp.errors import InvalidArgument, KieError, StorageError

CADENCE_S = {"image": 2.0, "video": 4.0, "audio": 4.0, "text": 2.0}  # seconds between two reads of one task
READS_AT_ONCE = 8
UNKNOWN_KIND_S = 3.0
WORDS = {"pending": "queued", "processing": "generating"}  # the words for people instead of a status


@dataclass(frozen=True)
class _Board:
    """The last report of each task that is waited for, and how long tasks of its tool usually take."""

    reports: dict[str, Report]
    titles: Callable[[str], str]
    usual: dict[str, tuple[float, float]] = field(default_factory=dict)
    spared: set[anyio.Event] = field(default_factory=set)

    async def pause(self, news: anyio.Event, sure_s: float, spare_s: float, ended: int) -> None:
        """Wait until a task is worth another look: at once after `news` of it, else after `sure_s`.

        Where no task has ended since there were `ended`, wait `spare_s` more: what was started together ends together.
        But never less than `sure_s`, or a hundred tasks that end one by one would be read a hundred times each.
        """
        with anyio.move_on_after(sure_s):
            await news.wait()
        if news.is_set() or self.ended() > ended:
            return
        self.spared.add(news)
        with anyio.move_on_after(spare_s):
            await news.wait()
        self.spared.discard(news)

    def stir(self) -> None:
        """End the pauses that need not last, since a task has ended."""
        for news in self.spared:
            news.set()

    def ended(self) -> int:
        """Return how many tasks are over."""
        return sum(map(_over, self.reports.values()))

    def summary(self, waited_s: float) -> str:
        """Return the state in words: "Veo 3: generating, 40 s, usually 60-180 s"."""
        if len(self.reports) == 1:
            ((task_id, report),) = self.reports.items()
            title = self.titles(report.provider) if report.provider else f"Task {task_id}"
            return in_words(report, title, waited_s, self.usual.get(task_id))
        words = Counter(WORDS.get(report.status, report.status) for report in self.reports.values())
        counts = [f"{count} {word}" for word, count in words.items()]
        over = all(map(_over, self.reports.values()))
        return ", ".join(counts if over else [*counts, f"{waited_s:.0f} s"])

    def share(self) -> float:
        done = [1.0 if _over(report) else (report.progress or 0.0) for report in self.reports.values()]
        return sum(done) / len(self.reports) if self.reports else 1.0


def in_words(report: Report, title: str, waited_s: float = 0.0, usual: tuple[float, float] | None = None) -> str:
    """Return the state of a task in words; `usual` are the least and the most seconds that tasks of its tool take."""
    parts = [f"{title}: {WORDS.get(report.status, report.status)}"]
    if report.status not in WORDS:
        return parts[0]
    if report.progress:
        parts.append(f"{report.progress:.0%}")
    if report.created_at:
        waited_s = max(waited_s, (datetime.now(UTC) - report.created_at).total_seconds())
    parts.append(f"{waited_s:.0f} s")
    if usual is not None:
        least, most = (max(1, round(seconds)) for seconds in usual)
        parts.append(f"usually {least} s" if least == most else f"usually {least}-{most} s")
    return ", ".join(parts)


def cadence_s(kind: str) -> float:
    """Return the seconds between two reads of one task of this kind."""
    return CADENCE_S.get(kind, UNKNOWN_KIND_S)


async def wait_for(engine: Engine, task_ids: Sequence[str], timeout_s: float, say: Say) -> list[Report]:
    """Poll tasks until each is final or `timeout_s` is over; return every task's last known state.

    A poll that fails never ends the wait. Progress is reported at every change of state and every few seconds.
    """
    ids = list(dict.fromkeys(task_ids))
    board = _Board({}, lambda provider: engine.plugins.provider_of(provider).title or provider)
    turn = anyio.CapacityLimiter(READS_AT_ONCE)
    started = anyio.current_time()

    async def show(task_id: str, report: Report) -> None:
        changed = task_id not in board.reports or board.reports[task_id].status != report.status
        board.reports[task_id] = report
        if changed:
            await say(board.summary(anyio.current_time() - started), board.share())

    async def follow(task_id: str) -> None:
        pace = await _pace_of(engine, task_id, timeout_s)
        record, caller = pace.record, pace.record and engine.callers.get(pace.record.gateway)
        if record is not None and len(ids) == 1 and pace.usual:
            board.usual[task_id] = pace.usual
        written_id, row = (record.written_id, record.row_id) if record else (task_id, None)
        looked_at, is_announced = time.time() - pace.cadence_s / 2, False
        while True:
            with _listening(engine, written_id) as news:
                if record is not None and pace.early_s and not is_announced:
                    await show(task_id, report_of(record))
                    await board.pause(news, pace.early_s, 0.0, 0)
                async with turn:
                    ended = board.ended()
                    since = math.inf if is_announced or news.is_set() else looked_at
                    report, is_read = await _look(engine, task_id, since, row)
                    looked_at = time.time()
                await show(task_id, report)
                if _over(report):
                    board.stir()
                    wake(engine, written_id)
                    return
                sure_s, spare_s = pace.halves_s()
                # What another process reads is on record soon after.
                spare_s = spare_s if is_read else 0.0
                await board.pause(news, max(sure_s, caller.quiet_s if caller else 0.0), spare_s, ended)
                is_announced = news.is_set()

    async def tell() -> None:
        while True:
            await anyio.sleep(5)
            if board.reports:
                await say(board.summary(anyio.current_time() - started), board.share())

    with anyio.move_on_after(timeout_s):
        async with anyio.create_task_group() as group:
            group.start_soon(tell)
            async with anyio.create_task_group() as polls:
                for task_id in ids:
                    polls.start_soon(follow, task_id)
            group.cancel_scope.cancel()
    return [await _at_the_end(engine, task_id, board) for task_id in ids]


def wake(engine: Engine, task_id: str) -> bool:
    """Let everybody in this process who waits for a task read it now; return whether there is anybody."""
    listeners = engine.listeners.get(task_id, ())
    for news in listeners:
        news.set()
    return bool(listeners)


@contextmanager
def _listening(engine: Engine, task_id: str) -> Iterator[anyio.Event]:
    """Yield what `wake` sets for this task; also while it is being read, so that no news is missed in between."""
    news = anyio.Event()
    listeners = engine.listeners.setdefault(task_id, set())
    listeners.add(news)
    try:
        yield news
    finally:
        listeners.discard(news)
        if not listeners:
            engine.listeners.pop(task_id, None)


async def _pace_of(engine: Engine, task_id: str, timeout_s: float) -> Pace:
    with suppress(KieError):
        record, _ = await engine.record.tasks.claim(task_id, None)
        if record is not None:
            cadence = min(cadence_s(record.kind), max(timeout_s / 3, 1.0))  # also short waits
            return Pace(engine, cadence, record, await usual_of(engine, record))
    return Pace(engine, UNKNOWN_KIND_S)


async def _look(engine: Engine, task_id: str, since: float, row: int | None) -> tuple[Report, bool]:
    try:
        return await poll(engine, task_id, since, row)
    except KieError as exc:
        stuck = isinstance(exc, InvalidArgument)  # an id that several services know
        return replace(report_of_error(exc, "unread"), task_id=task_id, charged=None, stuck=stuck), True


async def _at_the_end(engine: Engine, task_id: str, board: _Board) -> Report:
    report = board.reports.get(task_id)
    if report is None:  # time was over before its first read came back
        with suppress(StorageError):
            report = await last_known(engine, task_id)
    return report or unread(task_id, "no time was left", "Call wait_for_tasks again.")


def _over(report: Report) -> bool:
    return report.stuck or report.status in {"completed", "failed", "not found"}
