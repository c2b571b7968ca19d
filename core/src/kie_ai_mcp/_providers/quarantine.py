"""Quarantine of third-party providers whose loading ended the process, or hung: their marks on disk.

While such a provider is loaded, a file names it. A file whose process has died says that the provider took the process
with it; the provider is then set aside until its version or its source changes, or the file is deleted.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from kie_ai_mcp._providers.installed import Plugin

# A provider that no alarm can interrupt ends the process after so many seconds. A host waits for longer.
WATCHDOG_S = 25.0
STDOUT, STDERR = 1, 2
STREAMS = ("stdin", "stdout", "stderr")


@dataclass(frozen=True)
class Quarantine:
    """The marks of one user's servers."""

    folder: Path

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Mark a provider as being loaded; end the process where it hangs; mend the standard streams after it."""
        mark = self.folder / str(os.getpid())
        with suppress(OSError):  # a folder that can't be written costs the mark, not the provider
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mark.write_text(name, encoding="utf-8")
        with kept_streams() as kept:
            stderr = sys.stderr if kept[STDERR] is None else STDERR
            faulthandler.dump_traceback_later(WATCHDOG_S, exit=True, file=stderr)
            try:
                with _ended_by_signals(mark):
                    yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                with suppress(OSError):
                    mark.unlink()

    def reason_against(self, plugin: Plugin) -> tuple[str, str]:
        """Return why a provider must not be loaded, and the cure; empty texts where it may be."""
        path = self._against(plugin.name)
        try:
            seen = path.read_text(encoding="utf-8")
        except OSError:
            return "", ""
        state = _state_of(plugin)
        if seen and seen != state:  # it was updated or edited since
            path.unlink(missing_ok=True)
            return "", ""
        with suppress(OSError):
            path.write_text(state, encoding="utf-8")
        cure = f"Update or uninstall {plugin.distribution}. To try it again as it is, delete {path}."
        return "the server ended or hung while it loaded this provider", cure

    def collect(self) -> None:
        """Turn the marks of processes that have died into reasons against their providers."""
        with suppress(OSError):  # no folder, no marks
            for path in self.folder.iterdir():
                if path.name.isdecimal() and not _is_loading(path):
                    self._against(path.read_text(encoding="utf-8")).write_text("", encoding="utf-8")
                    path.unlink()

    def _against(self, name: str) -> Path:
        """Return the file whose presence speaks against a provider; it holds the state that it was seen in."""
        return self.folder / f"{quote(name, safe='')}.ended"


def _state_of(plugin: Plugin) -> str:
    """Return the version of a provider and the time of its newest source, without importing it."""
    times = [0.0]
    with suppress(ImportError, ValueError, OSError):
        spec = find_spec(plugin.entry.module.partition(".")[0])
        origin = [spec.origin] if spec and spec.origin else []
        places = map(Path, (spec and spec.submodule_search_locations) or origin)
        files = (file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place]))
        times += [file.stat().st_mtime for file in files]
    return f"{plugin.version} {max(times)}"


def _copy(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # it is not open
        return None


def _is_loading(mark: Path) -> bool:
    """Return whether the process of a mark may still be loading the provider."""
    if time.time() - mark.stat().st_mtime > WATCHDOG_S or int(mark.name) == os.getpid():
        return False
    return is_running(int(mark.name))


def is_running(process: int) -> bool:
    """Return whether a process exists; True on Windows, where the question itself would end it."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except OSError as exc:  # any other is about a process of another user
        return not isinstance(exc, ProcessLookupError)
    return True


@contextmanager
def _ended_by_signals(mark: Path) -> Iterator[None]:
    """Remove the mark where a signal ends the process: that is no fault of the provider."""

    def end(number: int, frame: FrameType | None) -> None:
        mark.unlink(missing_ok=True)
        if callable(handler := before[number]):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in {signal.SIG_IGN, None}}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kept_streams() -> Iterator[list[int | None]]:
    """Put the standard streams back at the end, which a provider may close or replace; yield copies of those open."""
    kept = [_copy(number) for number in range(len(STREAMS))]
    streams = [getattr(sys, name) for name in STREAMS]
    try:
        yield kept
    finally:
        for number, (name, copy, stream) in enumerate(zip(STREAMS, kept, streams, strict=True)):
            if copy is not None:
                os.dup2(copy, number)
                os.close(copy)
            setattr(sys, name, stream)
            for place in (f"__{name}__", name):
                closed = getattr(sys, place)
                if copy is not None and closed is not None and closed.closed:
                    mode = "w" if number else "r"
                    setattr(sys, place, open(number, mode, encoding=closed.encoding, closefd=False))  # noqa: SIM115
