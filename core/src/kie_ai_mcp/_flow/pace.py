"""Pace of status reads: seldom before a task can be done, then often, and the more seldom the later it is."""

import random
import time
from dataclasses import dataclass

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._record.tables import TaskRecord

EARLY = 0.8  # the share of what nine of ten tasks take at least, in which none is expected to be done
RARE = 0.2  # the pause of a task that others say can't be done, as a share of its age: they may be wrong
LATE = 0.05  # the pause of a task that takes longer than nine of ten, as a share of how much longer
LATE_AFTER = 75  # a task of which that is not known is late after so many pauses
SHORTEST, LONGEST_S = 0.9, 60.0  # the shortest pause, as a share of the cadence, and the longest
READS_PER_S = 60.0  # of all tasks that are waited for: what more would be read is read more seldom
USUAL_FOR_S, UNUSUAL_FOR_S = 600.0, 10.0  # how long it counts how long tasks take, and that it is not known


async def usual_of(engine: Engine, record: TaskRecord) -> tuple[float, float] | None:
    """Return the seconds that most tasks of a tool and a model take, at least and at most, or None.

    Where too few of them are on record, its provider may say it.
    """
    sort = record.tool, record.model
    usual, until = engine.usual.get(sort, (None, 0.0))
    if until < time.monotonic():
        usual = await engine.record.tasks.usual_s(*sort)
        engine.usual[sort] = usual, time.monotonic() + (UNUSUAL_FOR_S if usual is None else USUAL_FOR_S)
    tool = engine.plugins.tools.get(record.tool) if usual is None else None
    return tool.usual_s if tool else usual


async def pace_of(engine: Engine, record: TaskRecord, cadence_s: float) -> "Pace":
    """Return the pace of reads of a task that is waited for."""
    usual = await usual_of(engine, record)
    is_own = engine.usual[record.tool, record.model][0] is not None
    return Pace(engine, cadence_s, record.created_at.timestamp(), usual, is_own)


def early_s(begun_at: float, usual: tuple[float, float] | None, otherwise_s: float = 0.0) -> float:
    """Return the seconds from now in which a task can't be done; `otherwise_s` counts from its start where unknown.

    It began at a time, as `time.time()`.
    """
    least_s = otherwise_s if usual is None else EARLY * usual[0]
    return max(0.0, begun_at + least_s - time.time())


@dataclass(eq=False, slots=True)
class Pace:
    """The pauses between the reads of one task that is waited for; `begun_at` is 0 where that is not known.

    What is `usual` is known from the user's own tasks, or only said by the provider.
    """

    engine: Engine
    cadence_s: float
    begun_at: float = 0.0
    usual: tuple[float, float] | None = None
    is_own: bool = True

    @property
    def early_s(self) -> float:
        """The seconds from now in which it is not read, since it can't be done."""
        return min(early_s(self.begun_at, self.usual), LONGEST_S) if self.is_own else 0.0

    def halves_s(self) -> tuple[float, float]:
        """Return the two parts of the next pause: one that lasts, and one that ends where others have ended.

        They vary, so that tasks started together are not read together for ever.
        """
        pause_s = self.cadence_s
        if self.begun_at:
            most_s = self.usual[1] if self.usual else LATE_AFTER * self.cadence_s
            if not self.is_own and early_s(self.begun_at, self.usual):
                pause_s = max(pause_s, RARE * (time.time() - self.begun_at))
            pause_s = max(pause_s, min(LATE * (time.time() - self.begun_at - most_s), LONGEST_S))
        rates = self.engine.rates
        rates[self] = 1 / pause_s
        pause_s *= max(1.0, sum(rates.values()) / READS_PER_S)
        sure_s = self.cadence_s * random.uniform(0.4, 0.6)  # noqa: S311  not a secret
        return max(sure_s, self.early_s), pause_s * random.uniform(SHORTEST, 1.1) - self.cadence_s / 2  # noqa: S311

    def end(self) -> None:
        """Count the task no more among those that are read."""
        self.engine.rates.pop(self, None)
