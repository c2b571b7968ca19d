"""An application on a real HTTP server in a thread of this process, which leaves no connection open when it ends."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from kie_ai_mcp._web.connections import listen
from tests.helpers import until

ACCEPTING = 4
"""Turns of asyncio's loop from a connection that is accepted to its protocol."""


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[int]:
    """Serve it, with options of uvicorn, and return the port."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **options))
    stopping = threading.Event()

    async def serve() -> None:
        running = asyncio.create_task(server.serve([listener]))
        await asyncio.to_thread(stopping.wait)
        # What is just being accepted is let in first: closed in the middle of it, asyncio would leave it open for ever,
        # and whichever test runs when it is found is the one that fails.
        asyncio.get_running_loop().remove_reader(listener)
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)
        server.should_exit = server.force_exit = True
        await running
        while connections := list(server.server_state.connections):
            for connection in connections:
                connection.transport.abort()
            await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        until(lambda: server.started)
        yield int(listener.getsockname()[1])
    finally:
        stopping.set()
        thread.join()
