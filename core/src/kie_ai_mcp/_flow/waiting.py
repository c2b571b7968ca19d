"""Waiting for tasks: several at once, at a pace that spares the service, with progress."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import cast

import anyio

from kie_ai_mcp._flow.engine import Engine, Event, Say
from kie_ai_mcp._flow.pace import SHORTEST, Pace, usual_of
from kie_ai_mcp._flow.report import Report, report_of, report_of_error
from kie_ai_mcp._flow.results import last_known, poll, unread
from kie_ai_mcp._service.caller import Caller
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
    spared: set[Event] = field(default_factory=set)

    async def pause(self, news: Event, sure_s: float, spare_s: float, ended: int) -> None:
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


@dataclass(slots=True, eq=False)
class _Followed:
    """One task that is waited for; there may be thousands, so it holds little."""

    pace: Pace
    task_id: str  # as the caller writes it
    written_id: str
    row: int | None = None
    caller: Caller | None = None

    @property
    def quiet_s(self) -> float:
        """The seconds for which the service has asked for no more reads."""
        return self.caller.quiet_s if self.caller else 0.0


class _News:
    """An event that one task waits for, of a tenth of the size of the library's."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set, self._waiter = False, cast("asyncio.Future[None] | None", None)

    def is_set(self) -> bool:
        """Return whether there were news."""
        return self._is_set

    def set(self) -> None:
        """Tell of news."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for news."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


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
        task, known = await _followed(engine, task_id, timeout_s)
        if known is not None and len(ids) == 1 and task.pace.usual:
            board.usual[task_id] = task.pace.usual
        looked_at, is_read, is_announced = time.time() - task.pace.cadence_s / 2, True, False
        try:
            while True:
                with _listening(engine, task.written_id) as news:
                    if known is not None and task.pace.early_s:
                        await show(task_id, known)
                        await board.pause(news, task.pace.early_s, 0.0, 0)
                    known = None
                    async with turn:
                        ended, is_announced = board.ended(), is_announced or news.is_set()
                        # What another process reads is left to it for as long as a pause lasts.
                        since = looked_at if is_read else time.time() - SHORTEST * task.pace.cadence_s
                        report, is_read = await _look(engine, task, math.inf if is_announced else since)
                        looked_at = time.time()
                    await show(task_id, report)
                    if _over(report):
                        board.stir()
                        wake(engine, task.written_id)
                        return
                    sure_s, spare_s = task.pace.halves_s()
                    # And it is on record soon after.
                    await board.pause(news, max(sure_s, task.quiet_s), spare_s if is_read else 0.0, ended)
                    is_announced = news.is_set()
        finally:
            task.pace.end()

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
def _listening(engine: Engine, task_id: str) -> Iterator[_News]:
    """Yield what `wake` sets for this task; also while it is being read, so that no news is missed in between."""
    news = _News()
    listeners = engine.listeners.setdefault(task_id, set())
    listeners.add(news)
    try:
        yield news
    finally:
        listeners.discard(news)
        if not listeners:
            engine.listeners.pop(task_id, None)


async def _followed(engine: Engine, task_id: str, timeout_s: float) -> tuple[_Followed, Report | None]:
    """Return a task that is waited for, and what is on record of it."""
    with suppress(KieError):
        record, _ = await engine.record.tasks.claim(task_id, None)
        if record is not None:
            cadence = min(cadence_s(record.kind), max(timeout_s / 3, 1.0))  # also short waits
            pace = Pace(engine, cadence, record.created_at.timestamp(), await usual_of(engine, record))
            caller = engine.callers.get(record.gateway)
            return _Followed(pace, task_id, record.written_id, record.row_id, caller), report_of(record)
    return _Followed(Pace(engine, UNKNOWN_KIND_S), task_id, task_id), None


async def _look(engine: Engine, task: _Followed, since: float) -> tuple[Report, bool]:
    try:
        return await poll(engine, task.task_id, since, task.row)
    except KieError as exc:
        stuck = isinstance(exc, InvalidArgument)  # an id that several services know
        return replace(report_of_error(exc, "unread"), task_id=task.task_id, charged=None, stuck=stuck), True


async def _at_the_end(engine: Engine, task_id: str, board: _Board) -> Report:
    report = board.reports.get(task_id)
    if report is None:  # time was over before its first read came back
        with suppress(StorageError):
            report = await last_known(engine, task_id)
    return report or unread(task_id, "no time was left", "Call wait_for_tasks again.")


def _over(report: Report) -> bool:
    return report.stuck or report.status in {"completed", "failed", "not found"}
