"""First start of the server, made here, so that the one in a host need not be the first."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile

from kie_ai_mcp._start.remembered import FILL_COMMAND

LIMIT_S = 20.0


def start_once(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Let the server of a command say what hosts ask first, and remember it; return why it could not."""
    environ = {**environ, "UV_OFFLINE": "1"}  # it is installed, so uvx need not ask for it
    nothing = subprocess.DEVNULL
    with TemporaryFile() as errors:
        try:
            code = subprocess.run(  # noqa: S603  our own program
                [*command, FILL_COMMAND],
                env=environ,
                stdin=nothing,
                stdout=nothing,
                stderr=errors,
                timeout=LIMIT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return f"it takes longer than {LIMIT_S:g} s"
        except (OSError, ValueError) as exc:  # a name or a value that no environment takes
            return f"{command[0]} can't be run: {getattr(exc, 'strerror', None) or exc}"
        if code == 0:
            return None
        errors.seek(max(0, os.fstat(errors.fileno()).st_size - 1000))
        last_line = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        return last_line or f"exit code {code}"
