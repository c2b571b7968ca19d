"""Changes on record, of this process and of others, told to whoever listens; nothing is looked at while nobody does."""

import logging
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc

from kie_ai_mcp._app.resources import SEARCHED, TASKS, TASKS_READ, Resources
from kie_ai_mcp._app.tools import say_nothing
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp.errors import InvalidArgument, StorageError

log = logging.getLogger(__name__)

LOOK_S = (
    1.0  # between two looks for what other processes have written; this one's own news are looked at when they come
)
LIST_S = 10.0  # likewise, while nobody listens to a task
REST_S = 0.1  # the shortest time between two looks
MOST = 1_000  # addresses of one listener

State = tuple[Any, ...] | None


@dataclass(eq=False)
class Listener:
    """Somebody who hears of changes at some addresses, and of the list of resources where `listing` is set.

    `tell` is called with an address, or None for the list; `end` where nothing more will be told.
    """

    tell: Callable[[str | None], Coroutine[Any, Any, None]]
    end: Callable[[], None] = lambda: None
    seen: dict[str, tuple[int, State]] = field(default_factory=dict)  # row and state by address; row 0 is the list
    listing: State = None


@dataclass
class Changes:
    """The listeners of this process, and the loop that looks for them."""

    engine: Engine
    resources: Resources
    is_looking: bool = False
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
        """Begin to tell a listener what it was added to."""
        self._listeners.add(listener)
        self._look_again()
        if not self.is_looking:
            self.is_looking = True
            self.engine.start_in_background(self._look_on())

    def remove(self, listener: Listener, uri: str) -> None:
        """Tell a listener no more of an address."""
        listener.seen.pop(uri, None)
        self._look_again()

    def close(self, listener: Listener) -> None:
        """Tell a listener no more."""
        self._listeners.discard(listener)
        self._look_again()

    def _look_again(self) -> None:
        self._stamp = None
        self.engine.record.database.stir()

    async def _look_on(self) -> None:
        """Look as long as anybody listens, at every change that this process writes and now and then for others'."""
        waiting = self.engine.record.database.waiting
        try:
            while self._listeners:
                self._reads.clear()
                async with anyio.create_task_group() as group:
                    while self._listeners:
                        news = anyio.Event()
                        waiting.add(news)
                        try:
                            await self._look(group)
                            has_tasks = any(listener.seen for listener in self._listeners)
                            with anyio.move_on_after(LOOK_S if has_tasks else LIST_S):
                                await news.wait()
                        except StorageError as exc:
                            log.warning("changes could not be looked for: %s", exc)
                            await anyio.sleep(LIST_S)
                        finally:
                            waiting.discard(news)
                        await anyio.sleep(REST_S)
                    group.cancel_scope.cancel()
        finally:
            self.is_looking = False
            for listener in self._listeners:
                listener.end()

    async def _look(self, group: anyio.abc.TaskGroup) -> None:
        """Tell what has changed, if anything was written at all; read tasks that nobody else would."""
        tasks = self.engine.record.tasks
        stamp = await tasks.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        rows = {row for listener in self._listeners for row, _ in listener.seen.values()}
        records = {record.row_id: record for record in await tasks.several(rows)}
        outline = (
            await self._outline() if 0 in rows or any(each.listing is not None for each in self._listeners) else ()
        )
        for listener in self._listeners:
            for uri, (row, before) in listener.seen.items():
                state = _state(records.get(row)) if row else outline[:TASKS_READ]
                if state != before:
                    listener.seen[uri] = row, state
                    group.start_soon(listener.tell, uri)
            if listener.listing is not None and listener.listing != (listing := _listing(outline)):
                listener.listing = listing
                group.start_soon(listener.tell, None)
        for row in self._reads.keys() - rows:
            self._reads.pop(row).cancel()
        for row, record in records.items():
            # With the setting, the background reads it, in this process or in another one.
            if not (self.engine.settings.watch or record.final or row in self._reads):
                self._reads[row] = anyio.CancelScope()
                group.start_soon(self._read, record)

    async def _read(self, record: TaskRecord) -> None:
        with self._reads[record.row_id]:
            await wait_for(self.engine, [record.written_id], math.inf, say_nothing)

    async def _outline(self) -> tuple[State, ...]:
        return await self.engine.record.tasks.outline(SEARCHED)


def _state(record: TaskRecord | None) -> State:
    """Return what changes of a task while it runs and ends; None for one that was deleted."""
    if record is None:
        return None
    results = record.result_urls, record.data, record.files
    return (record.status, record.progress, record.credits, record.error, *results)


def _listing(outline: State) -> State:
    """Return what decides of the newest tasks which resources are listed: that they are there, and saved files."""
    return tuple((row, saved) for row, _, _, saved in outline or ())
