"""Turns of a database's users: one at a time, calls of people before polls, and polls that wait together as one."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread

MOST_BEFORE_POLL = 8  # calls of people that go before polls that wait, so that polls go on
MOST_TOGETHER = 50  # polls in one turn, which a call of a person may have to wait for

P = ParamSpec("P")
R = TypeVar("R")


def in_worker(work: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Awaitable[R]]:
    """Make a method of an object with a `database` awaitable: it runs in a worker thread, in its turn."""

    @wraps(work)
    async def awaitable(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lane: Lane = self.database.lane
        return await lane.run(lambda: partial(work, self, *args, **kwargs))

    return awaitable


def in_group(work: Callable[[Any, Sequence[Any]], Sequence[R | Exception]]) -> Callable[..., Awaitable[R]]:
    """Make a method for many calls awaitable for one: those that come until it is their turn are done together.

    It takes the arguments of each, and returns for each a value, or the error that is raised for that one alone.
    """

    @wraps(work)
    async def awaitable(self: Any, /, *args: Any) -> R:
        lane: Lane = self.database.lane
        group = lane.groups.get(work)
        if group is None or len(group.calls) >= MOST_TOGETHER:
            group = lane.groups[work] = _Group()
        number = len(group.calls)
        group.calls.append(args)
        if number == 0:  # it takes the others along, even where nobody waits for it any more
            with anyio.CancelScope(shield=True):
                await group.run(lane, work, self)
        else:
            await group.over.wait()
        result: R = group.result(number)
        return result

    return awaitable


@dataclass
class Lane:
    """The turns of one database; `use` is called in a worker thread with each work, then `after` in the event loop.

    `groups` are the polls that wait, by their work.
    """

    use: Callable[[Callable[[], Any]], Any]
    after: Callable[[], object]
    groups: dict[Callable[..., Any], "_Group"] = field(default_factory=dict)
    _calls: deque[anyio.Event] = field(default_factory=deque)
    _polls: deque[anyio.Event] = field(default_factory=deque)
    _is_busy: bool = False
    _passed: int = 0  # how many calls went before the poll that waits
    # Never waited for, since there are turns; a thread of its own, which no slow disk elsewhere takes.
    _thread: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    async def run(self, begin: Callable[[], Callable[[], R]], *, is_poll: bool = False) -> R:
        """Return the result of a work, for which `begin` is asked once it is its turn."""
        try:
            async with self.turn(is_poll=is_poll):
                return await anyio.to_thread.run_sync(self.use, begin(), limiter=self._thread)
        finally:
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


@dataclass
class _Group:
    """Calls that are done together: all that came until it was their turn."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    over: anyio.Event = field(default_factory=anyio.Event)
    _results: Sequence[Any] = ()
    _error: BaseException | None = None

    async def run(self, lane: Lane, work: Callable[..., Any], owner: Any) -> None:
        """Do the work of all; raise nothing."""

        def begin() -> Callable[[], Any]:
            if lane.groups.get(work) is self:  # what comes now is of the next one
                del lane.groups[work]
            return partial(work, owner, self.calls)

        try:
            self._results = await lane.run(begin, is_poll=True)
        except BaseException as exc:  # noqa: BLE001  every call of the group raises it
            self._error = exc
        self.over.set()

    def result(self, number: int) -> Any:
        """Return the result of one of the calls, or raise its error."""
        result = self._error or self._results[number]
        if isinstance(result, BaseException):
            raise result
        return result
