"""Pseudo-terminals of tests: a command started on one, what it prints, and what is typed."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.helpers import LIMIT_S
from tests.helpers import until as wait_until

if sys.platform != "win32":
    import fcntl
    import pty
    import struct
    import termios

STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@contextmanager
def terminal(command: list[str], environ: Mapping[str, str], folder: Path, columns: int) -> Iterator[tuple[Any, int]]:
    """Start a command on a pseudo-terminal of 24 lines; yield the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=folder, start_new_session=True
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(LIMIT_S)
        os.close(ours)


def read(ours: int, until: str = "") -> str:
    """Return what the terminal is sent to its end, or until a text, without styles."""
    sent, deadline = b"", time.monotonic() + LIMIT_S
    with suppress(OSError):  # the other end is closed
        while not (until and until in sent.decode("utf-8", "ignore")):
            ready, _, _ = select.select([ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"neither an end nor {until!r} after {LIMIT_S:g} s: {sent!r}"
            if not (piece := os.read(ours, 65_536)):
                break
            sent += piece
    return STYLE.sub("", sent.decode("utf-8", "replace")).replace("\r\n", "\n")


def type_hidden(ours: int, text: str) -> None:
    """Type at a question whose answer is not shown: what comes before the terminal is ready for it is thrown away."""
    wait_until(lambda: not termios.tcgetattr(ours)[3] & termios.ECHO)
    os.write(ours, text.encode())
