"""End of the process on a signal: work is finished first, within a time limit."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import anyio

# How processes are asked to end: by a person, a supervisor, a terminal that was closed; and Ctrl-Break on Windows.
ENDING = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if name in signal.Signals.__members__
)


@contextmanager
def signalled(numbers: Iterable[signal.Signals] = ENDING) -> Iterator["asyncio.Future[signal.Signals]"]:
    """Yield a future of the first of these signals that comes; until the end of the context further ones are ignored.

    A hang-up that is ignored already, as `nohup` does, stays ignored.
    """
    loop = asyncio.get_running_loop()
    first: asyncio.Future[signal.Signals] = loop.create_future()

    def take(number: signal.Signals) -> None:
        if not first.done():
            first.set_result(number)

    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: old for number, old in before.items() if number.name != "SIGHUP" or old is not signal.SIG_IGN}
    for number in before:
        try:
            loop.add_signal_handler(number, take, number)
        except NotImplementedError:  # on Windows; the loop there wakes up by itself when a signal comes
            signal.signal(number, lambda received, _: loop.call_soon_threadsafe(take, signal.Signals(received)))
    try:
        yield first
    finally:
        for number, handler in before.items():
            try:
                loop.remove_signal_handler(number)
            except NotImplementedError:
                signal.signal(number, handler)


async def end_on_signal(finish: Callable[[signal.Signals], Awaitable[None]], *, limit_s: float) -> None:
    """Wait for a signal of `ENDING`, call `finish`, and end the process with the exit code of `code_after`.

    Further signals are ignored. After `limit_s` the process ends even if `finish` still runs, with 128 + the signal's
    number.
    """
    with signalled() as first:
        received = await first
        async with anyio.create_task_group() as group:
            # Not a timeout around `finish`: a thread that waits for a locked database can't be cancelled.
            group.start_soon(exit_after, limit_s, 128 + received)
            await finish(received)
            exit_process(code_after(received))


def code_after(number: int) -> int:
    """Return the exit code of a server that ended as a signal asked: 0 after SIGTERM, by which services are stopped."""
    return 0 if number == signal.SIGTERM else 128 + number


async def exit_after(limit_s: float, code: int) -> None:
    """End the process after `limit_s`, unless cancelled before."""
    await anyio.sleep(limit_s)
    exit_process(code)


def exit_process(code: int) -> NoReturn:
    """End the process at once, without waiting for threads."""
    sys.stderr.flush()
    # A thread that reads stdin, or waits for a lock, can't be interrupted; the interpreter would wait for it forever.
    os._exit(code)
