"""Notifications of changes on record, of this process and of others, to listeners; nothing is read without one."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import anyio
import anyio.abc

from kie_ai_mcp._app.resources import SEARCHED, TASKS, TASKS_READ, Resources
from kie_ai_mcp._app.tools import say_nothing
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp.errors import InvalidArgument

log = logging.getLogger(__name__)

# Between two looks for what other processes have written; what this process writes is looked at at once.
LOOK_S = 1.0
LIST_S = 10.0  # likewise, while nobody listens to a task; and after a failure
REST_S = 0.1  # the shortest time between two looks
MOST = 1_000  # addresses of one listener

State = tuple[Any, ...] | None


class ListChanged(Enum):
    """A list that has changed."""

    RESOURCES = "the list of resources"
    TOOLS = "the list of tools"


Change = str | ListChanged  # the address of what has changed, or a list


@dataclass(eq=False)
class Listener:
    """A receiver of changes at some addresses, of the list of resources where `listing` is set, and of that of `tools`.

    `notify` is called with each change; `end` where no more notifications will come.
    """

    notify: Callable[[Change], Coroutine[Any, Any, None]]
    end: Callable[[], None] = lambda: None
    seen: dict[str, tuple[int, State]] = field(default_factory=dict)  # row and state by address; row 0 is the list
    listing: State = None
    tools: bool = False


@dataclass
class Changes:
    """The listeners of this process, and the loop that looks for changes while there are any.

    `tools_may_change` where an early answer with their list may be corrected.
    """

    engine: Engine
    resources: Resources
    is_looking: bool = False
    tools_may_change: bool = False
    _tools_changed: bool = False
    _listeners: set[Listener] = field(default_factory=set)
    _stamp: tuple[int, ...] | None = None
    _reads: dict[int, anyio.CancelScope] = field(default_factory=dict)

    async def add(self, listener: Listener, uri: str) -> None:
        """Let a listener that is opened next hear of an address; raise InvalidArgument where nothing is there."""
        record, _ = await self.resources.located(uri)
        if len(listener.seen) >= MOST:
            raise InvalidArgument("uri", uri, f"at most {MOST} addresses can be subscribed; unsubscribe from others")
        if record is not None:
            listener.seen[uri] = record.row_id, _state(record)
        elif uri == TASKS:
            listener.seen[uri] = 0, (await self._outline())[:TASKS_READ]

    async def add_list(self, listener: Listener) -> None:
        """Let a listener that is opened next hear of the list of resources."""
        listener.listing = _listing(await self._outline())

    def open(self, listener: Listener) -> None:
        """Begin to notify a listener of what it was added to; it ends soon where the server is ending."""
        self._listeners.add(listener)
        self._notify_of_tools(listener)
        self._look_again()
        if not (self.is_looking or self.engine.start_in_background(self._look_on())):
            # Not at once: the stream that `end` closes begins after this call.
            asyncio.get_running_loop().call_soon(listener.end)

    def tools_changed(self) -> None:
        """Notify every listener to the list of tools that it has changed; one that is opened later is notified then."""
        self._tools_changed = True
        for listener in self._listeners:
            self._notify_of_tools(listener)

    def _notify_of_tools(self, listener: Listener) -> None:
        if listener.tools and self._tools_changed:
            self.engine.start_in_background(listener.notify(ListChanged.TOOLS))

    def remove(self, listener: Listener, uri: str) -> None:
        """Notify a listener no more of an address."""
        listener.seen.pop(uri, None)
        self._look_again()

    def close(self, listener: Listener) -> None:
        """Notify a listener no more."""
        self._listeners.discard(listener)
        self._look_again()

    def _look_again(self) -> None:
        self._stamp = None
        self.engine.record.database.wake_waiters()

    async def _look_on(self) -> None:
        """Look as long as anybody listens, at every change that this process writes and now and then for others'."""
        if self.is_looking:  # started twice, by two listeners at the same time
            return
        self.is_looking = True
        try:
            while self._listeners:
                self._reads.clear()
                async with anyio.create_task_group() as group:
                    while self._listeners:
                        await self._look_and_wait(group)
                        await anyio.sleep(REST_S)
                    group.cancel_scope.cancel()
        finally:
            self.is_looking = False
            for listener in self._listeners:
                listener.end()

    async def _look_and_wait(self, group: anyio.abc.TaskGroup) -> None:
        news, waiting = anyio.Event(), self.engine.record.database.waiting
        waiting.add(news)
        try:
            if await _succeeds("Looking for changes", partial(self._look, group)):
                has_tasks = any(listener.seen for listener in self._listeners)
                with anyio.move_on_after(LOOK_S if has_tasks else LIST_S):
                    await news.wait()
            else:
                self._stamp = None  # what changed was not compared
                await anyio.sleep(LIST_S)
        finally:
            waiting.discard(news)

    async def _look(self, group: anyio.abc.TaskGroup) -> None:
        """Notify of what has changed, if anything was written at all; read tasks that nobody else would."""
        tasks = self.engine.record.tasks
        stamp = await tasks.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        # What is added while the record is read was not read: the next look compares it.
        places = [(each, uri, place) for each in self._listeners for uri, place in each.seen.items()]
        lists = [(each, each.listing) for each in self._listeners if each.listing is not None]
        rows = {row for _, _, (row, _) in places}
        records = {record.row_id: record for record in await tasks.several(rows)}
        outline = await self._outline() if lists or 0 in rows else ()
        for listener, uri, place in places:
            row, before = place
            state = _state(records.get(row)) if row else outline[:TASKS_READ]
            if state != before and listener in self._listeners and listener.seen.get(uri) is place:
                listener.seen[uri] = row, state
                _notify(group, listener, uri)
        for listener, listing in lists:
            if _listing(outline) != listing and listener in self._listeners:
                listener.listing = _listing(outline)
                _notify(group, listener, ListChanged.RESOURCES)
        for row in self._reads.keys() - rows:
            self._reads.pop(row).cancel()
        for row, record in records.items():
            # With the setting, the background reads it, in this process or in another one.
            if not (self.engine.settings.watch or record.final or row in self._reads):
                self._reads[row] = anyio.CancelScope()
                group.start_soon(self._read, record, self._reads[row])

    async def _read(self, record: TaskRecord, scope: anyio.CancelScope) -> None:
        read = partial(wait_for, self.engine, [record.written_id], math.inf, say_nothing)
        with scope:
            while True:
                if await _succeeds(f"Reading the task {record.written_id}", read):
                    return
                await anyio.sleep(LIST_S)

    async def _outline(self) -> tuple[State, ...]:
        return await self.engine.record.tasks.outline(SEARCHED, ("status", "progress"))


def _notify(group: anyio.abc.TaskGroup, listener: Listener, change: Change) -> None:
    name = change.value if isinstance(change, ListChanged) else change
    group.start_soon(_succeeds, f"A notification of {name}", partial(listener.notify, change))


async def _succeeds(what: str, work: Callable[[], Awaitable[object]]) -> bool:
    """Return whether work succeeds; a failure is logged, and ends nothing else."""
    try:
        await work()
    except Exception as exc:  # noqa: BLE001  whatever fails for one listener or task, the others go on
        log.warning("%s failed: %s: %s", what, type(exc).__name__, exc)
        return False
    return True


def _state(record: TaskRecord | None) -> State:
    """Return what changes of a task while it runs and ends; None for one that was deleted."""
    if record is None:
        return None
    results = record.result_urls, record.data, record.files
    return (record.status, record.progress, record.credits, record.error, *results)


def _listing(outline: State) -> State:
    """Return what decides of the newest tasks which resources are listed: that they are there, and saved files."""
    return tuple((row, saved) for row, _, _, saved in outline or ())
