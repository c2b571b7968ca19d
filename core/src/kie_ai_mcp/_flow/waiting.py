"""Waiting for tasks: several at once, at a pace that spares the service, with progress."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio
import anyio.abc

from kie_ai_mcp._flow.engine import Engine, Say
from kie_ai_mcp._flow.pace import SHORTEST, Pace, Usual, usual_of
from kie_ai_mcp._flow.report import Report, report_of, report_of_error
from kie_ai_mcp._flow.results import Poll, is_readable, last_known, poll, unread
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp.errors import InvalidArgument, KieError, StorageError, one_line

CADENCE_S = {"image": 2.0, "video": 4.0, "audio": 4.0, "text": 2.0}  # seconds between two reads of one task
READS_AT_ONCE = 8
UNKNOWN_KIND_S = 3.0
RECORD_S = 1.0  # seconds between two looks for tasks that others have seen end
TELL_S = 5.0  # seconds between two messages of progress where nothing changes
WORDS = {"pending": "queued", "processing": "generating"}  # the words for people instead of a status
CLOCK = re.compile(r", (\d+) s\b")  # the time that a message of progress tells, for those who let it go on


@dataclass(frozen=True)
class _Board:
    """The last report of each task that is waited for, and how long tasks of its tool usually take."""

    reports: dict[str, Report]
    titles: Callable[[str], str]
    usual: dict[str, Usual] = field(default_factory=dict)

    def summary(self, waited_s: float) -> str:
        """Return the state in words: "Veo 3: generating, 40 s, usually 60-180 s"."""
        if len(self.reports) == 1:
            ((task_id, report),) = self.reports.items()
            title = self.titles(report.provider) if report.provider else f"Task {task_id}"
            return progress_in_words(report, title, waited_s, self.usual.get(task_id))
        words = Counter(WORDS.get(report.status, report.status) for report in self.reports.values())
        counts = [f"{count} {word}" for word, count in words.items()]
        over = all(map(_over, self.reports.values()))
        return ", ".join(counts if over else [*counts, f"{waited_s:.0f} s"])

    def share(self) -> float:
        done = [1.0 if _over(report) else (report.progress or 0.0) for report in self.reports.values()]
        return sum(done) / len(self.reports) if self.reports else 1.0


@dataclass(slots=True, eq=False)
class _WaitingTask:
    """One task that is waited for; there may be thousands, so it holds little.

    It is read when it is `due`, or from `sure_at` on where another one ends; both are infinite while it is being read.
    """

    task_id: str  # as the caller writes it
    written_id: str
    pace: Pace
    on_due: Callable[[], None]  # called when it is due earlier
    row: int | None = None
    caller: Caller | None = None
    due: float = 0.0
    sure_at: float = 0.0
    looked_at: float = field(default_factory=time.time)
    is_read: bool = True  # whether the last look was a read of our own
    is_announced: bool = False  # whether there was news since

    def read_now(self) -> None:
        """Let it be read at once, or once more: there is news of it."""
        self.is_announced = True
        if self.due < math.inf:
            self.due = self.sure_at = 0.0
            self.on_due()

    def since(self) -> float:
        """Return from when on a read by another process spares the next one."""
        if self.is_announced:
            return math.inf
        # What another process reads is left to it for as long as a pause lasts.
        return self.looked_at if self.is_read else time.time() - SHORTEST * self.pace.cadence_s

    def rest(self, sure_s: float, spare_s: float = 0.0) -> None:
        """Pause for `sure_s`, and for `spare_s` more where no other task ends; not at all where there is news."""
        self.sure_at = 0.0 if self.is_announced else anyio.current_time() + sure_s
        self.due = self.sure_at + (0.0 if self.is_announced else spare_s)


@dataclass(eq=False)
class _Wait:
    """One call that waits for tasks: each is read when it is due, a few at a time."""

    engine: Engine
    ids: Sequence[str]
    timeout_s: float
    say: Say
    board: _Board
    started: float = field(default_factory=anyio.current_time)
    tasks: set[_WaitingTask] = field(default_factory=set)  # that are not over
    ended: int = 0
    _reading: int = 0
    _news: anyio.Event = field(default_factory=anyio.Event)  # something is due earlier, or a read is over

    async def run(self) -> None:
        """Read until every task is over."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell)
            group.start_soon(self._watch_record)
            for task_id in self.ids:
                group.start_soon(self._join, task_id)
            while self.ended < len(self.ids):
                self._news = anyio.Event()
                self._read_due(group)
                is_full = self._reading == READS_AT_ONCE
                due = math.inf if is_full else min((task.due for task in self.tasks), default=math.inf)
                with anyio.move_on_after(due - anyio.current_time()):
                    await self._news.wait()
            group.cancel_scope.cancel()

    def leave(self, *tasks: _WaitingTask) -> None:
        """Follow tasks no more."""
        for task in tasks:
            self.tasks.discard(task)
            task.pace.end()
            waiters = self.engine.waiters.get(task.written_id, set())
            waiters.discard(task)
            if not waiters:
                self.engine.waiters.pop(task.written_id, None)

    def _read_due(self, group: anyio.abc.TaskGroup) -> None:
        now = anyio.current_time()
        due = sorted((task for task in self.tasks if task.due <= now), key=lambda task: task.due)
        for task in due[: READS_AT_ONCE - self._reading]:
            task.due = task.sure_at = math.inf
            self._reading += 1
            group.start_soon(self._look, task)

    async def _join(self, task_id: str) -> None:
        """Begin to follow a task; one that can't be done yet is shown as it is on record."""
        task, known = await self._waiting_task(task_id)
        if known is not None and len(self.ids) == 1 and task.pace.usual:
            self.board.usual[task_id] = task.pace.usual
        early_s = 0.0 if known is None or known.final else task.pace.early_s
        if known is not None and early_s and await is_readable(self.engine, known):
            await self._show(task_id, report_of(known))
            task.rest(early_s)
        self.tasks.add(task)
        self.engine.waiters.setdefault(task.written_id, set()).add(task)
        self._reschedule()

    async def _waiting_task(self, task_id: str) -> tuple[_WaitingTask, TaskRecord | None]:
        """Return a task that is waited for, and what is on record of it."""
        with suppress(KieError):
            record = await self.engine.record.polls.find(task_id)
            if record is not None:
                cadence = min(cadence_s(record.kind), max(self.timeout_s / 3, 1.0))  # also short waits
                pace = Pace(self.engine, cadence, record.created_at.timestamp(), await usual_of(self.engine, record))
                task = _WaitingTask(
                    task_id,
                    record.written_id,
                    pace,
                    self._reschedule,
                    row=record.row_id,
                    caller=self.engine.callers.get(record.gateway),
                    looked_at=time.time() - cadence / 2,
                )
                return task, record
        return _WaitingTask(task_id, task_id, Pace(self.engine, UNKNOWN_KIND_S), self._reschedule), None

    async def _look(self, task: _WaitingTask) -> None:
        """Read a task, unless another process does, and let it rest if it is not over."""
        ended, since = self.ended, task.since()
        task.is_announced = False
        is_followed = task.task_id in self.board.reports
        report, task.is_read = await _read(self.engine, task, since, is_followed=is_followed)
        task.looked_at = time.time()
        self._reading -= 1
        self._reschedule()
        await self._show(task.task_id, report)
        if _over(report):
            self._end(task)
        else:
            sure_s, spare_s = task.pace.next_pause_s()
            # What another process reads is on record soon after. And what was started together ends together, but the
            # sure part lasts, or a hundred tasks that end one by one would be read a hundred times each.
            is_short = not task.is_read or self.ended > ended
            task.rest(max(sure_s, task.caller.quiet_s if task.caller else 0.0), 0.0 if is_short else spare_s)
        self._reschedule()

    def _end(self, task: _WaitingTask) -> None:
        self.ended += 1
        self.leave(task)
        for other in self.tasks:
            other.due = other.sure_at

    async def _show(self, task_id: str, report: Report) -> None:
        before = self.board.reports.get(task_id)
        if before is not None and report.status == "unread" and not report.stuck:
            report = replace(before, read_error=report.read_error)  # what is known stays known
        self.board.reports[task_id] = report
        if before is None or (before.status, before.read_error) != (report.status, report.read_error):
            await self._say()

    async def _watch_record(self) -> None:
        """Let tasks be read at once that others have seen end: other calls, other processes."""
        while True:
            await anyio.sleep(RECORD_S)
            for task in await self.ended_on_record():
                task.read_now()

    async def ended_on_record(self) -> list[_WaitingTask]:
        """Return the tasks that are waited for and are over on record; none where it can't be read."""
        tasks = {task.row: task for task in self.tasks if task.row is not None and task.due < math.inf}
        with suppress(StorageError):
            return [tasks[row] for row in await self.engine.record.polls.ended(tasks)]
        return []

    async def _tell(self) -> None:
        while True:
            await anyio.sleep(TELL_S)
            if self.board.reports:
                await self._say()

    async def _say(self) -> None:
        await self.say(self.board.summary(anyio.current_time() - self.started), self.board.share())

    def _reschedule(self) -> None:
        self._news.set()


def progress_in_words(report: Report, title: str, waited_s: float = 0.0, usual: Usual | None = None) -> str:
    """Return the state of a task in words, with the usual time of tasks of its tool."""
    parts = [f"{title}: {WORDS.get(report.status, report.status)}"]
    if report.status not in WORDS:
        return parts[0]
    if report.progress:
        parts.append(f"{report.progress:.0%}")
    if report.created_at:
        waited_s = max(waited_s, (datetime.now(UTC) - report.created_at).total_seconds())
    parts.append(f"{waited_s:.0f} s")
    if usual is not None:
        least, most = (max(1, round(seconds)) for seconds in usual[:2])
        parts.append(f"usually {least} s" if least == most else f"usually {least}-{most} s")
    if report.read_error:
        parts.append(f"reading its status fails: {one_line(report.read_error, 200)}")
    return ", ".join(parts)


def cadence_s(kind: str) -> float:
    """Return the seconds between two reads of one task of this kind."""
    return CADENCE_S.get(kind, UNKNOWN_KIND_S)


async def wait_for(engine: Engine, task_ids: Sequence[str], timeout_s: float, say: Say) -> list[Report]:
    """Poll tasks until each is final or `timeout_s` is over; return every task's last known state.

    A poll that fails never ends the wait. Progress is reported at every change of state and every few seconds.
    """
    board = _Board({}, lambda provider: engine.plugins.provider_of(provider).title or provider)
    wait = _Wait(engine, list(dict.fromkeys(task_ids)), timeout_s, say, board)
    try:
        with anyio.move_on_after(timeout_s):
            await wait.run()
        for task in await wait.ended_on_record():
            with suppress(StorageError):
                board.reports[task.task_id] = await last_known(engine, task.task_id) or board.reports[task.task_id]
    finally:
        wait.leave(*wait.tasks)
    return [await _at_the_end(engine, task_id, board) for task_id in wait.ids]


async def _read(engine: Engine, task: _WaitingTask, since: float, *, is_followed: bool) -> Poll:
    try:
        return await poll(engine, task.task_id, since, task.row, is_followed=is_followed)
    except KieError as exc:
        stuck = isinstance(exc, InvalidArgument)  # an id that several services know
        return Poll(replace(report_of_error(exc, "unread"), task_id=task.task_id, charged=None, stuck=stuck))


async def _at_the_end(engine: Engine, task_id: str, board: _Board) -> Report:
    report = board.reports.get(task_id)
    if report is None:  # time was over before its first read came back
        with suppress(StorageError):
            report = await last_known(engine, task_id)
    return report or unread(task_id, "no time was left", "Call wait_for_tasks again.")


def _over(report: Report) -> bool:
    return report.stuck or report.status in {"completed", "failed", "not found"}
