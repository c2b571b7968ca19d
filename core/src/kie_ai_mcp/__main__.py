"""Entry point of the command: serving over stdio, or the command line."""

import gc
import importlib
import os
import sys

from kie_ai_mcp._start import remembered
from kie_ai_mcp._start.packages import defer_packages, without_web_server

STRICT = ["serve", "--strict"]


def main() -> None:
    """Run ``kie-ai-mcp-server``.

    Exit codes: 0 done, 1 the task failed, 2 wrong usage or settings, 128+n signal n (a server: 0 after SIGTERM).
    """
    if sys.argv[1:] in ([], ["serve"], STRICT):
        _serve()
    elif sys.argv[1:] == [remembered.FILL_COMMAND]:
        _prepare()
        from kie_ai_mcp._mcp.fill_memory import fill  # noqa: PLC0415  after the preparations

        fill()
    else:
        _run(None)


def _serve() -> None:
    if os.isatty(0):
        importlib.import_module("kie_ai_mcp._cli.greeting").greet()
    start = remembered.begin()
    if not start.wait() and sys.argv[1:] != STRICT:  # strictly, a server is checked whatever it is asked
        return
    _prepare()
    try:
        with without_web_server():
            from kie_ai_mcp._mcp.server import run_stdio  # noqa: PLC0415  only now: it takes most of a second
        if sys.argv[1:] == STRICT:
            _run(start)
        else:
            run_stdio(start)
    except Exception as exc:
        start.fail(exc)
        raise


def _prepare() -> None:
    # The objects that imports create live to the end, so collecting garbage among them would cost a fifth of the start.
    # The server enables it again, once the providers are loaded.
    gc.disable()
    defer_packages()  # before the SDK is imported


def _run(start: remembered.Start | None) -> None:
    try:
        from kie_ai_mcp._cli.main import run  # noqa: PLC0415  serving must not pay for the command line's libraries

        run(start)
    except KeyboardInterrupt:  # before a command runs, which says what was sent
        sys.stderr.write("kie-ai-mcp-server: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
