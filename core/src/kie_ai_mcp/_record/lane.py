"""Order of database access: one call at a time, calls of people before polls, polls that wait together as one batch."""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from kie_ai_mcp.errors import StorageError

MOST_BEFORE_POLL = 8  # calls of people that go before polls that wait, so that polls go on
BATCH_SIZE = 50  # polls in one turn, which a call of a person may have to wait for
BUCKETS_S = 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0  # of durations
# Set in a task that works for nobody who waits: all its calls are polls.
IN_BACKGROUND = ContextVar("in_background", default=False)

P = ParamSpec("P")
R = TypeVar("R")


def in_worker(work: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Awaitable[R]]:
    """Make a method of an object with a `database` awaitable: it runs in a worker thread, in its turn."""

    @wraps(work)
    async def awaitable(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lane: Lane = self.database.lane
        return await lane.run(lambda: partial(work, self, *args, **kwargs), is_poll=IN_BACKGROUND.get())

    return awaitable


def batched(work: Callable[[Any, Sequence[Any]], Sequence[R | Exception]]) -> Callable[..., Awaitable[R]]:
    """Batch a method: calls that arrive before its turn run together, in one transaction.

    It takes the arguments of each call, and returns a value for each, or the error that is raised for that one alone.
    A call with `is_poll=False` runs alone, before the polls.
    """

    @wraps(work)
    async def awaitable(self: Any, /, *args: Any, is_poll: bool = True) -> R:
        lane: Lane = self.database.lane
        if not is_poll and not IN_BACKGROUND.get():
            return _value((await lane.run(lambda: partial(work, self, [args])))[0])
        batch = lane.batches.get((work, id(self)))
        if batch is None or len(batch.calls) >= BATCH_SIZE:
            batch = lane.batches[work, id(self)] = _Batch(lane, work, self)
        number = len(batch.calls)
        batch.calls.append(args)
        await asyncio.wait([batch.task])
        if batch.task.cancelled():
            raise StorageError("The database was not used: the server is ending.", next_step="Call again.")
        result: R = _value(batch.task.result()[number])
        return result

    return awaitable


def _value(result: R | Exception) -> R:
    if isinstance(result, Exception):
        raise result
    return result


@dataclass
class Durations:
    """How many took at most so many seconds, by the limits of `BUCKETS_S` and one for the rest; and all together."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


@dataclass
class Lane:
    """The turns of one database; `use` is called in a worker thread with each work, then `after` in the event loop.

    `batches` are the polls that wait, by their work and whose it is; `took` says how long the works of turns took.
    """

    use: Callable[[Callable[[], Any]], Any]
    after: Callable[[], object]
    batches: dict[tuple[Callable[..., Any], int], "_Batch"] = field(default_factory=dict)
    took: Durations = field(default_factory=Durations)
    _calls: deque[anyio.Event] = field(default_factory=deque)
    _polls: deque[anyio.Event] = field(default_factory=deque)
    _is_busy: bool = False
    _passed: int = 0  # how many calls went before the poll that waits
    # Never waited for, since there are turns; a thread of its own, which no slow disk elsewhere takes.
    _thread: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    async def run(self, begin: Callable[[], Callable[[], R]], *, is_poll: bool = False) -> R:
        """Return the result of a work, for which `begin` is asked once it is its turn."""
        async with self.turn(is_poll=is_poll):
            began = time.perf_counter()
            try:
                return await anyio.to_thread.run_sync(self.use, begin(), limiter=self._thread)
            finally:
                self.took.add(time.perf_counter() - began)
                self.after()

    @asynccontextmanager
    async def turn(self, *, is_poll: bool = False) -> AsyncIterator[None]:
        """Wait for a turn, and keep it in the context."""
        if self._is_busy:
            queue, turn = self._polls if is_poll else self._calls, anyio.Event()
            queue.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self._pass_on()
                else:
                    queue.remove(turn)
                raise
        self._is_busy = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        is_poll = bool(self._polls) and (not self._calls or self._passed >= MOST_BEFORE_POLL)
        self._passed = self._passed + 1 if self._polls and not is_poll else 0
        queue = self._polls if is_poll else self._calls
        self._is_busy = bool(queue)
        if queue:
            queue.popleft().set()


class _Batch:
    """Calls of one method that run together: all that arrive before its turn.

    They run in a `task` of their own: a caller that is cancelled must not take the others along.
    """

    def __init__(self, lane: Lane, work: Callable[..., Any], owner: Any) -> None:
        self.lane, self.work, self.owner = lane, work, owner
        self.calls: list[tuple[Any, ...]] = []
        self.task: asyncio.Task[Sequence[Any]] = asyncio.create_task(lane.run(self._begin, is_poll=True))
        self.task.add_done_callback(lambda _: self._close())

    def _begin(self) -> Callable[[], Sequence[Any]]:
        self._close()
        return partial(self.work, self.owner, self.calls)

    def _close(self) -> None:
        """Take no more calls: those that come now are of the next batch."""
        key = self.work, id(self.owner)
        if self.lane.batches.get(key) is self:
            del self.lane.batches[key]
