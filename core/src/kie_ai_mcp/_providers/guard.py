"""A stranger's code is run apart: what it raises, and how long it takes, stays its own affair."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from kie_ai_mcp.errors import KieError, PluginError

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_S = 10.0
"""How long a pure function may think before it is given up."""

AGAIN_S = 1.0
"""Seconds until code that does not heed the first alarm is interrupted once more."""


class _Late(BaseException):
    """Interrupts code that takes too long; no ``except Exception`` of its own holds it up."""


async def apart(who: str, work: Callable[[], T]) -> T:
    """Ask a provider's function in a thread of its own, so that a slow one keeps nobody waiting but its caller.

    Args:
        who: Begins the error's sentence: "generate_fox of the provider acme".
        work: Calls the function.

    Raises:
        KieError: What the function raised on purpose.
        PluginError: It raised something else, or gave no answer in time. It may even have tried to end the process.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()

    def settle(result: T | None, raised: BaseException | None) -> None:
        if not answered.done():
            answered.set_result((result, raised))

    def run() -> None:
        result, raised = None, None
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001  a stranger's code may raise anything
            raised = exc
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(settle, result, raised)

    # A daemon: code that never comes back must not keep the process from ending.
    threading.Thread(target=run, name=who, daemon=True).start()
    await asyncio.wait([answered], timeout=ANSWER_S)
    if not answered.done():  # looked at last: after a machine has slept, time is over and the answer there
        raise PluginError(f"{who} gave no answer within {ANSWER_S:g} s.")
    result, raised = answered.result()
    if isinstance(raised, KieError):
        raise raised
    if raised is not None:
        log.error("%s failed", who, exc_info=raised)
        raise PluginError(f"{who} failed: {told(raised)}.") from raised
    return result  # type: ignore[return-value]  # nothing was raised, so it is what `work` returned


def in_time(work: Callable[[], T], limit_s: float) -> T:
    """Run a stranger's code here and return what it returns, but wait for it only so long.

    An alarm costs microseconds; a thread for each provider would cost as much as loading it. Where there are no
    alarms (on Windows, or off the main thread) the wait has no limit.

    Raises:
        PluginError: It did not come back in time.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return work()

    def late(_signal: int, _frame: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, limit_s, AGAIN_S)
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    except _Late:
        raise PluginError(f"it did not finish loading within {limit_s:g} s.") from None


def told(exc: BaseException) -> str:
    """Return an exception as one line: its type, and what it says where it says something."""
    return " ".join(f"{type(exc).__name__}: {exc}".split()).rstrip(".:")
