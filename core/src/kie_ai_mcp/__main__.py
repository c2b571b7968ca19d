"""Entry point of the command: serving over stdio, or the command line."""

import gc
import sys


def main() -> None:
    """Run ``kie-ai-mcp-server``. Exit codes: 0 done, 1 the task failed, 2 wrong usage or settings, 128+n signal n."""
    if sys.argv[1:] in ([], ["serve"]):
        _serve()
    else:
        from kie_ai_mcp._cli.main import run  # noqa: PLC0415  serving must not pay for the command line's libraries

        run()


def _serve() -> None:
    from kie_ai_mcp._start import remembered  # noqa: PLC0415  commands leave stdin and stdout alone

    start = remembered.begin()
    if not start.wait():
        return
    # The objects that imports create live to the end, so collecting garbage among them would cost a fifth of the start.
    # The server enables it again, once the providers are loaded.
    gc.disable()
    try:
        from kie_ai_mcp._start.packages import defer_packages  # noqa: PLC0415  before the SDK is imported

        defer_packages()
        from kie_ai_mcp._mcp.server import run_stdio  # noqa: PLC0415  only now: it takes most of a second

        run_stdio(start)
    except Exception as exc:
        start.fail(f"{type(exc).__name__}: {exc}")
        raise


if __name__ == "__main__":
    main()
