"""Time limits and error handling for the functions of plugins: what they raise affects only their caller."""

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from kie_ai_mcp.errors import KieError, PluginError

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_S = 10.0
IDLE = 4  # threads that wait for more
_CORE = f"{Path(__file__).parents[1]}{os.sep}"  # with the separator: plugins' folders begin with the same name
# Packages whose code may lie between ours and the plugin's; the last one finds entry points once a library imports it.
_CALLERS = {*sys.stdlib_module_names, "pluggy", "importlib_metadata"}
AGAIN_S = 1.0  # seconds until code that ignores the first alarm is interrupted once more


class _Job(NamedTuple):
    """A function to run in a thread, which is named so meanwhile, and the function that takes its result."""

    name: str
    work: Callable[[], Any]
    deliver: Callable[[Any], object]


_idle: list["SimpleQueue[_Job]"] = []  # of the threads that wait


class _TimeUp(BaseException):
    """Interrupts code that takes too long; an ``except Exception`` in that code can't catch it."""


def _run_in_thread(job: _Job) -> None:
    """Run a job in a thread that waits for one, else in a new one, which costs more than most work.

    They are daemons: code that never returns must not keep the process from ending.
    """
    try:
        queue = _idle.pop()
    except IndexError:
        queue = SimpleQueue()
        threading.Thread(target=_run_jobs, args=[queue], daemon=True).start()
    queue.put(job)


def _run_jobs(queue: "SimpleQueue[_Job]") -> None:
    """Run the jobs of a queue, until as many other threads wait as are kept."""
    is_kept = True
    while is_kept:
        job = queue.get()
        threading.current_thread().name = job.name
        result = job.work()
        is_kept = len(_idle) < IDLE
        if is_kept:  # before the result is delivered, so that the next call finds it
            _idle.append(queue)
        job.deliver(result)
        del job, result  # what they hold is not to wait with the thread


async def run_isolated(who: str, work: Callable[[], T]) -> T:
    """Run a plugin's function in a thread of its own, so that a slow one delays only its caller.

    A KieError is raised on purpose and passes. Anything else, and a time limit that is over, becomes a PluginError,
    whose sentence begins with `who` ("generate_fox of the provider acme").
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()

    def run() -> tuple[T | None, BaseException | None]:
        try:
            return Context().run(work), None  # nothing that another one has set
        except BaseException as exc:  # noqa: BLE001  a plugin's code may raise anything
            return None, exc

    def deliver(result: tuple[T | None, BaseException | None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so there is no caller any more
            loop.call_soon_threadsafe(ended.set_result, result)

    _run_in_thread(_Job(who, run, deliver))
    await asyncio.wait([ended], timeout=ANSWER_S)
    if not ended.done():  # checked after the wait: a machine that slept wakes with the time over and the answer there
        raise PluginError(f"{who} gave no answer within {ANSWER_S:g} s.")
    result, raised = ended.result()
    if isinstance(raised, KieError):
        raise raised
    if raised is not None:
        reason = f"{who} failed: {summarize(raised)}{place_of(raised)}."
        log.debug("%s", reason, exc_info=raised)
        raise PluginError(reason) from raised
    return result  # type: ignore[return-value]  # nothing was raised, so it is what `work` returned


def run_in_time(work: Callable[[], T], limit_s: float) -> T:
    """Run a plugin's code in this thread; raise PluginError where it takes longer than so many seconds."""
    # An alarm costs microseconds; a thread for each provider would cost as much as loading it. Where there are no
    # alarms (on Windows, or off the main thread) the run has no time limit.
    if threading.current_thread() is not threading.main_thread():
        return _unless_interrupted(work, lambda: False)
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.default_int_handler(number, frame)

    # The user may end the server meanwhile; code that raises KeyboardInterrupt by itself may not.
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, ask)
    try:
        return _unless_interrupted(lambda: _in_time(work, limit_s), lambda: asked or not is_usual)
    finally:
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _unless_interrupted(work: Callable[[], T], was_asked: Callable[[], bool]) -> T:
    try:
        return work()
    except KeyboardInterrupt:
        if was_asked():
            raise
        raise PluginError("it raised KeyboardInterrupt.") from None


def _in_time(work: Callable[[], T], limit_s: float) -> T:
    if not hasattr(signal, "setitimer"):
        return work()

    def interrupt(_signal: int, _frame: object) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, limit_s, AGAIN_S)
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    except _TimeUp:
        raise PluginError(f"it did not finish loading within {limit_s:g} s.") from None


def summarize(exc: BaseException) -> str:
    """Return an exception as one line: its type and, where it has one, its message."""
    return " ".join(f"{type(exc).__name__}: {exc}".split()).rstrip(".:")


def described(exc: BaseException) -> str:
    """Return an exception as its author wrote it; one of a file in words, which alone name the file."""
    return summarize(exc) if isinstance(exc, OSError) and exc.filename is not None else repr(exc)


def place_of(exc: BaseException) -> str:
    """Return the place in a plugin's code that led to an exception, as " (file, line N)"; empty where unknown.

    Of a library that the plugin calls no line is named: its author can correct none there.
    """
    if isinstance(exc, SyntaxError) and exc.filename:
        return f" ({_short(exc.filename)}, line {exc.lineno})"
    places: dict[str, str] = {}  # the last one of each package, the plugin's own first
    for frame, line in traceback.walk_tb(exc.__traceback__):
        file, package = frame.f_code.co_filename, str(frame.f_globals.get("__name__")).partition(".")[0]
        if not file.startswith(("<", _CORE)) and package not in _CALLERS:
            places[package] = f" ({_short(file)}, line {line})"
    return next(iter(places.values()), "")


def place_in(fn: Callable[..., Any]) -> str:
    """Return where a function of a plugin begins, as `place_of`; empty for what is none."""
    code = getattr(inspect.unwrap(getattr(fn, "func", fn)), "__code__", None)
    return f" ({_short(code.co_filename)}, line {code.co_firstlineno})" if code is not None else ""


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])
