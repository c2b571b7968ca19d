"""Waiting for tasks: several at once, politely, with progress, and never the only holder of a task's id."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import anyio

from kie_ai_mcp._answers import Report, report_of_error
from kie_ai_mcp._flow import Flow, Say
from kie_ai_mcp.errors import KieError, StorageError, TaskNotFound

CADENCE_S = {"image": 2.0, "video": 5.0, "audio": 4.0}
"""Seconds between two reads of one task."""

READS_AT_ONCE = 8
UNKNOWN_KIND_S = 3.0


@dataclass(frozen=True)
class _Board:
    """The last report of each task that is waited for."""

    reports: dict[str, Report]

    def summary(self) -> str:
        counts: dict[str, int] = {}
        for report in self.reports.values():
            counts[report.status] = counts.get(report.status, 0) + 1
        if len(self.reports) == 1:
            (report,) = self.reports.values()
            share = f", {report.progress:.0%}" if report.progress else ""
            return f"{report.provider}: {report.status}{share}"
        return ", ".join(f"{count} {status}" for status, count in counts.items())

    def share(self) -> float:
        done = [1.0 if _over(report) else (report.progress or 0.0) for report in self.reports.values()]
        return sum(done) / len(self.reports) if self.reports else 1.0


async def wait_for(flow: Flow, task_ids: Sequence[str], timeout_s: float, say: Say) -> list[Report]:
    """Poll tasks until each is final or `timeout_s` is over; return every task's last known state.

    A poll that fails never ends the wait. Progress is told at every change of state and while time passes.
    """
    ids = list(dict.fromkeys(task_ids))
    board = _Board({})
    turn = anyio.CapacityLimiter(READS_AT_ONCE)
    started = anyio.current_time()

    async def follow(task_id: str) -> None:
        cadence = UNKNOWN_KIND_S
        with suppress(StorageError):
            record = await flow.store.find(task_id)
            cadence = CADENCE_S.get(record.task.kind, UNKNOWN_KIND_S) if record else UNKNOWN_KIND_S
        while True:
            with _listening(flow, task_id) as news:
                async with turn:
                    report = await _look(flow, task_id)
                changed = task_id not in board.reports or board.reports[task_id].status != report.status
                board.reports[task_id] = report
                if changed:
                    await say(board.summary(), board.share())
                if _over(report):
                    return
                # Jitter, so that tasks started together are not read together for ever.
                with anyio.move_on_after(cadence * random.uniform(0.8, 1.2)):  # noqa: S311  not a secret
                    await news.wait()

    async def tell() -> None:
        while True:
            await anyio.sleep(5)
            if board.reports:
                await say(f"{board.summary()}, {anyio.current_time() - started:.0f} s", board.share())

    with anyio.move_on_after(timeout_s):
        async with anyio.create_task_group() as group:
            group.start_soon(tell)
            async with anyio.create_task_group() as polls:
                for task_id in ids:
                    polls.start_soon(follow, task_id)
            group.cancel_scope.cancel()
    return [await _at_the_end(flow, task_id, board) for task_id in ids]


def wake(flow: Flow, task_id: str) -> bool:
    """Let everybody in this process who waits for a task read it now; return whether there is anybody."""
    listeners = flow.listeners.get(task_id, ())
    for news in listeners:
        news.set()
    return bool(listeners)


@contextmanager
def _listening(flow: Flow, task_id: str) -> Iterator[anyio.Event]:
    """Yield what `wake` sets for this task; also while it is being read, so that no news is missed in between."""
    news = anyio.Event()
    listeners = flow.listeners.setdefault(task_id, set())
    listeners.add(news)
    try:
        yield news
    finally:
        listeners.discard(news)
        if not listeners:
            flow.listeners.pop(task_id, None)


async def _look(flow: Flow, task_id: str) -> Report:
    try:
        return await flow.refresh(task_id)
    except KieError as exc:
        return replace(
            report_of_error(exc), task_id=task_id, status="not found" if isinstance(exc, TaskNotFound) else "unread"
        )


async def _at_the_end(flow: Flow, task_id: str, board: _Board) -> Report:
    report = board.reports.get(task_id)
    if report is not None:
        return report
    # Time was over before the first read of this one came back.
    known = None
    with suppress(StorageError):
        known = await flow.last_known(task_id)
    return known or Report("unread", "Call wait_for_tasks again.", task_id=task_id, read_error="no time was left")


def _over(report: Report) -> bool:
    return report.status in {"completed", "failed", "not found"}
