"""States of tasks for clients that ask for them by their ids: as the service has them, in words, and as an answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import anyio

from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.pace import usual_of
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._flow.results import last_known, refresh
from kie_ai_mcp._flow.waiting import progress_in_words
from kie_ai_mcp._record.kept import Key
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp.errors import StorageError, shorten

SPARED_S = 1.0  # how long a state that was read serves every client that asks for the task
CANNOT_CANCEL = "It was to be cancelled, but the service can't: it goes on, and is charged."


@dataclass
class Look:
    """The reading of a running task that clients ask for: one at a time, and not again before `again_at`."""

    turn: anyio.Lock = field(default_factory=anyio.Lock)
    again_at: float = 0.0


@dataclass(frozen=True)
class TaskState:
    """A task as it is now: on record, in words, and as the tool that made it answers."""

    record: TaskRecord
    report: Report
    words: str
    answer: Answer


@dataclass
class TaskStates:
    """The states of tasks. `told` makes the answer of a report, `clean` leaves keys out of a text."""

    engine: Engine
    told: Callable[[Report], Awaitable[Answer]]
    clean: Callable[[str], str]
    _looks: dict[str, Look] = field(default_factory=dict)  # by id

    async def find(self, task_id: str) -> TaskState:
        """Read a task's state now, and save its results once it has ended; raise KieError for one that is unknown."""
        report = await self._read(task_id)
        record = await self.engine.record.tasks.find(task_id)
        if record is None:
            raise StorageError(
                f"The task {shorten(task_id)} could not be recorded.", next_step="Ask again in some seconds."
            )
        title = self.engine.plugins.provider_of(record.provider).title or record.provider
        words = progress_in_words(report, title, usual=await usual_of(self.engine, record))
        if report.error and report.status == "failed":
            words = f"{words}: {report.error}"
        if not report.is_final and await self.engine.record.kept.find(_cancelled(record)):
            words = f"{words}. {CANNOT_CANCEL}"
        if report.read_error:
            cure = f" {report.next_step}" if report.stuck else ""
            words = f"{words}. Its status could not be read: {report.read_error}{cure}"
        answer = replace(await self.told(report), is_error=report.status == "failed")
        return TaskState(record, report, self.clean(words), answer)

    async def cancel(self, task_id: str) -> None:
        """Write down that a task is to be cancelled, which no service can; raise KieError for one that is unknown."""
        state = await self.find(task_id)
        if not state.report.is_final:
            await self.engine.record.kept.put(_cancelled(state.record), {})

    async def _read(self, task_id: str) -> Report:
        """Read a task's state at the service, or return what is on record where it was read here a moment ago."""
        look = self._looks.setdefault(task_id, Look())
        ends = True
        try:
            async with look.turn:
                known = await last_known(self.engine, task_id) if anyio.current_time() < look.again_at else None
                report = known or await refresh(self.engine, task_id)
                look.again_at = look.again_at if known else anyio.current_time() + SPARED_S
            ends = report.is_final
            return report
        finally:
            if ends:
                self._looks.pop(task_id, None)


def _cancelled(record: TaskRecord) -> Key:
    """Return where it is kept that a task is to be cancelled."""
    return Key("cancel", record.gateway, record.account, record.task_id)
