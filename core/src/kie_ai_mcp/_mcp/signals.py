"""End of the process on SIGINT or SIGTERM: work is finished first, within a time limit."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio


async def end_on_signal(finish: Callable[[signal.Signals], Awaitable[None]], *, limit_s: float) -> None:
    """Wait for SIGINT or SIGTERM, call `finish`, and end the process with exit code 128 + the signal's number.

    Further signals are ignored. After `limit_s` the process ends even if `finish` still runs. On Windows, which has no
    signal receivers, it returns at once: a host closes our input instead.
    """
    if sys.platform == "win32":
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        received = await anext(signals)
        async with anyio.create_task_group() as group:
            # Not a timeout around `finish`: a thread that waits for a locked database can't be cancelled.
            group.start_soon(exit_after, limit_s, 128 + received)
            await finish(received)
            exit_process(128 + received)


async def signal_received() -> int:
    """Wait for SIGINT or SIGTERM and return its number; on Windows until cancelled, as Ctrl-C does there."""
    if sys.platform == "win32":
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return int(signal.SIGINT)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        return int(await anext(signals))


async def exit_after(limit_s: float, code: int) -> None:
    """End the process after `limit_s`, unless cancelled before."""
    await anyio.sleep(limit_s)
    exit_process(code)


def exit_process(code: int) -> NoReturn:
    """End the process at once, without waiting for threads."""
    sys.stderr.flush()
    # A thread that reads stdin, or waits for a lock, can't be interrupted; the interpreter would wait for it forever.
    os._exit(code)
