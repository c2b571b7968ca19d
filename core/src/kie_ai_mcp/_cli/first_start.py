"""First start of the server, made here, so that the one in a host need not be the first."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile

from kie_ai_mcp._start.remembered import FILL

LIMIT_S = 20.0


def start_once(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Let the server of a command say what hosts ask first, and remember it; return why it could not, or nothing."""
    environ = {**environ, "UV_OFFLINE": "1"}  # it is installed, so uvx need not ask for it
    with TemporaryFile() as said, suppress(subprocess.TimeoutExpired):
        try:
            nothing = subprocess.DEVNULL
            code = subprocess.run(  # noqa: S603  our own program
                [*command, FILL],
                env=dict(environ),
                stdin=nothing,
                stdout=nothing,
                stderr=said,
                timeout=LIMIT_S,
                check=False,
            ).returncode
        except OSError as exc:
            return f"{command[0]} can't be run: {exc.strerror}"
        said.seek(max(0, os.fstat(said.fileno()).st_size - 1000))
        last = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        return last or f"exit code {code}" if code else ""
    return f"it takes longer than {LIMIT_S:g} s"
