"""Time between status reads: long before a task can be done, then short, and growing once it is late."""

import random
import time
from dataclasses import dataclass
from typing import NamedTuple

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._record.tables import TaskRecord

EARLY = 0.8  # the share of what nine of ten tasks take at least, in which none is expected to be done
RARE = 0.2  # the pause of a task that others say can't be done, as a share of its age: they may be wrong
LATE = 0.05  # the pause of a task that takes longer than nine of ten, as a share of how much longer
LATE_AFTER = 75  # how many pauses until a task of unknown duration counts as late
SHORTEST, LONGEST_S = 0.9, 60.0  # the shortest pause, as a share of the cadence, and the longest
READS_PER_S = 60.0  # of all tasks that are waited for: where they want more, their pauses are longer
LEAST_SHARE = 0.25  # of these reads, for tasks that are not the most likely to end now
KNOWN_FOR_S, UNKNOWN_FOR_S = 600.0, 10.0  # for how long a known usual time, and an unknown one, is cached


class Usual(NamedTuple):
    """The seconds that most tasks of a tool and a model take: measured on the user's own, or stated by the provider."""

    least_s: float
    most_s: float
    is_own: bool = True


async def usual_of(engine: Engine, record: TaskRecord) -> Usual | None:
    """Return the usual time of a task: of the user's own tasks, else what its provider states, else None."""
    key = record.tool, record.model
    own, until = engine.usual.get(key, (None, 0.0))
    if until < time.monotonic():
        own = await engine.record.tasks.usual_s(*key)
        engine.usual[key] = own, time.monotonic() + (UNKNOWN_FOR_S if own is None else KNOWN_FOR_S)
    if own is not None:
        return Usual(*own)
    tool = engine.plugins.tools.get(record.tool)
    return Usual(*tool.usual_s, is_own=False) if tool and tool.usual_s else None


def early_s(began_at: float, usual: Usual | None, otherwise_s: float = 0.0) -> float:
    """Return the seconds from now in which a task can't be done; `otherwise_s` counts from its start where unknown.

    It began at a time, as `time.time()`.
    """
    least_s = otherwise_s if usual is None else EARLY * usual.least_s
    left_s = began_at + least_s - time.time()
    return left_s if 0 < left_s <= least_s else 0.0  # more is left only where the clock was set back meanwhile


@dataclass(eq=False, slots=True)
class Pace:
    """The pauses between the reads of one task that is waited for; `began_at` is 0 where that is not known."""

    engine: Engine
    cadence_s: float
    began_at: float = 0.0
    usual: Usual | None = None

    @property
    def early_s(self) -> float:
        """The seconds from now in which it is not read, since it can't be done."""
        return min(early_s(self.began_at, self.usual), LONGEST_S) if self.usual and self.usual.is_own else 0.0

    def next_pause_s(self) -> tuple[float, float]:
        """Return the fixed part of the next pause, and the part that ends early when another task of the call ends.

        They vary, so that tasks started together are not read together for ever.
        """
        pause_s, age_s, early = self.cadence_s, time.time() - self.began_at, early_s(self.began_at, self.usual)
        if self.began_at:
            most_s = self.usual.most_s if self.usual else LATE_AFTER * self.cadence_s
            if early and self.usual and not self.usual.is_own:
                pause_s = max(pause_s, RARE * age_s)
            pause_s = max(pause_s, min(LATE * (age_s - most_s), LONGEST_S))
        is_likely = self.usual is not None and not early and age_s <= self.usual.most_s
        rate = 1 / max(pause_s, self.early_s)
        pause_s *= self._stretch(rate, is_likely=is_likely)
        fixed_s = self.cadence_s * random.uniform(0.4, 0.6)  # noqa: S311  not a secret
        return max(fixed_s, self.early_s), pause_s * random.uniform(SHORTEST, 1.1) - self.cadence_s / 2  # noqa: S311

    def _stretch(self, rate: float, *, is_likely: bool) -> float:
        """Return the factor that keeps all tasks together at `READS_PER_S`; tasks that likely end now come first."""
        likely, others = self.engine.rates
        self.end()
        (likely if is_likely else others)[self] = rate
        likely_per_s = sum(likely.values())
        if is_likely:
            return max(1.0, likely_per_s / READS_PER_S)
        return max(1.0, sum(others.values()) / max(READS_PER_S - likely_per_s, LEAST_SHARE * READS_PER_S))

    def end(self) -> None:
        """Count the task no more among those that are read."""
        for rates in self.engine.rates:
            rates.pop(self, None)
