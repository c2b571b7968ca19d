"""The sandbox as a server: in a thread of this process, on a port of its own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn
from uvicorn.server import ServerState

from kie_ai_mcp_sandbox.app import application
from kie_ai_mcp_sandbox.callbacks import Callbacks
from kie_ai_mcp_sandbox.control import plan_of
from kie_ai_mcp_sandbox.drift import parse_drift
from kie_ai_mcp_sandbox.service import Accepted, Seen, Service, Settings
from kie_ai_mcp_sandbox.tasks import Task
from kie_ai_mcp_sandbox.wire import Interceptor, Protocol

T = TypeVar("T")

ACCEPTING = 4
"""Rounds of the event loop that a connection takes from being accepted to being known."""


class Sandbox:
    """A running stand-in for Kie.ai. Use it with ``with``; it stops at the end of the block.

    >>> with Sandbox(speed=50) as sandbox:
    ...     sandbox.base_url
    'http://127.0.0.1:54321/api/v1'

    Args:
        speed: 1 makes a picture in 2 s and a clip in 6 s; larger is faster.
        key: The API key that is accepted; None for any that isn't empty.
        credits: The balance at the start.
        webhook_key: The key that callbacks are signed with; None for unsigned ones.
        rate_limit: Create requests that are accepted within `rate_window_s`.
        rate_window_s: The length of that window.
        hold: Tasks run until `finish` is called.
        old_paths: Serve ``playground/...`` instead of ``jobs/...``, as it was before October 2025.
        catalogue_pause_s: How far apart calls of the live catalogue must be, for each key; 0 for any number of them.
        any_model: Accept every model id at the market endpoints, not only those of Kie.ai and of installed providers.
        address: Where it listens.
        port: The port; 0 takes any free one.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        key: str | None = None,
        credits: float = 10_000.0,
        webhook_key: str | None = None,
        rate_limit: int = 20,
        rate_window_s: float = 10.0,
        hold: bool = False,
        old_paths: bool = False,
        any_model: bool = False,
        catalogue_pause_s: float = 1.0,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        limits = (rate_limit, rate_window_s)
        settings = Settings(speed, key, credits, webhook_key, *limits, hold, old_paths, any_model, catalogue_pause_s)
        self._service = Service(settings)
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self.port = port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``."""
        address = "127.0.0.1" if self._address == "0.0.0.0" else self._address  # noqa: S104
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    @property
    def upload_url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://{self.host}"

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT/api/v1``."""
        return f"{self.upload_url}/api/v1"

    @property
    def fal_url(self) -> str:
        """``http://127.0.0.1:PORT/fal``: the same sandbox on fal's queue protocol."""
        return f"{self.upload_url}/fal"

    def start(self) -> None:
        """Start it; returns when it listens. After `stop` it comes back on the same port and remembers everything.

        Raises:
            OSError: The port is taken.
        """
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        listener = socket.create_server((self._address, self.port), family=family)
        self.port = listener.getsockname()[1]
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(listener, ready), name="kie-ai-sandbox", daemon=True)
        self._thread.start()
        ready.result()

    def stop(self) -> None:
        """Stop it at once; connections are closed, nothing is left behind."""
        if self._thread and self._loop and self._stop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._thread = None

    def _run(self, listener: socket.socket, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(listener, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, listener: socket.socket, ready: Future[None]) -> None:
        service = self._service
        service.closing = False
        service.wake()
        callbacks = Callbacks(service)
        service.on_accept = callbacks.watch
        intercepted = Interceptor(application(service), service)
        config = uvicorn.Config(
            intercepted, http=Protocol, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False
        )
        config.load()
        state = ServerState()
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(
            lambda: Protocol(config=config, server_state=state, app_state={}), sock=listener
        )
        ready.set_result(None)
        await self._stop.wait()
        service.closing = True
        # What is just being accepted is let in first: closed in the middle of it, asyncio would leave it open for ever.
        with contextlib.suppress(NotImplementedError):  # Windows accepts in another way
            self._loop.remove_reader(listener)
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)
        server.close()
        while state.connections:
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        running = list(state.tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await callbacks.close()

    def _inside(self, action: Callable[[], T]) -> T:
        """Do something where the state belongs: in the server's loop while it runs."""
        if self._thread is None or self._loop is None:
            return action()

        async def call() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    # What happened

    @property
    def ledger(self) -> list[Accepted]:
        """Every create request that was accepted, in order."""
        return self._inside(lambda: list(self._service.ledger))

    @property
    def requests(self) -> list[Seen]:
        """Every request that arrived, in order; the sandbox's own addresses excepted."""
        return self._inside(lambda: list(self._service.seen.values()))

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by id."""
        return self._inside(lambda: dict(self._service.tasks))

    @property
    def credits(self) -> float:
        """The balance."""
        return self._inside(self._service.balance)

    # What shall happen

    def play(
        self, fault: str, times: int | None = None, path: str | None = None, *, accept: bool | None = None
    ) -> None:
        """Plan a fault (see `kie_ai_mcp_sandbox.faults`); planned ones are played in order.

        Args:
            fault: ``drop-after``, ``http:503``, ``slow:2*3@jobs/recordInfo``, ...
            times: How often; once unless the text says otherwise, 0 for always.
            path: Part of the address it is meant for; every address below /api/ unless given.
            accept: Overrides whether a create request that meets it is accepted.

        Raises:
            ValueError: There is no such fault.
        """
        plan = plan_of(fault, times, path, accept)
        self._inside(lambda: self._service.plans.append(plan))

    def drift(self, drift: str, where: str | None = None, *, schema: Mapping[str, Any] | None = None) -> None:
        """Change what the service sells from now on (see `kie_ai_mcp_sandbox.drift`).

        Args:
            drift: ``model-gone``, ``price:16``, ``enum:resolution=8K@nano-banana-2``, ...
            where: The model, or several with ``*``; or the address below the base URL.
            schema: The schema of a field that ``field`` or ``required`` adds; text unless given.

        Raises:
            ValueError: There is no such drift, or no such model or field.
        """
        change = parse_drift(drift, where, schema)
        self._inside(lambda: self._service.drift(change))

    def finish(self, task_id: str, fail: str | None = None) -> None:
        """End a task now, with success or with this reason for its failure."""
        self._inside(lambda: self._service.finish(task_id, fail))

    def advance(self, seconds: float) -> None:
        """Let time pass at once, for tasks and for the rate limit."""
        self._inside(lambda: self._service.advance(seconds))

    def reset(self) -> None:
        """Forget everything that happened and was planned."""
        self._inside(self._service.reset)
