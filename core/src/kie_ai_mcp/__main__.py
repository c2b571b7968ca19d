"""Entry point of the command: serving over stdio, or the command line."""

import gc
import sys


def main() -> None:
    """Run ``kie-ai-mcp-server``. Exit codes: 0 done, 1 the task failed, 2 wrong usage or settings, 128+n signal n."""
    if sys.argv[1:] in ([], ["serve"]):
        sys.exit(_serve())
    from kie_ai_mcp._cli.main import run  # noqa: PLC0415  serving must not pay for the command line's libraries

    run()


def _serve() -> int:
    # The objects that imports create live to the end, so collecting garbage among them would cost a fifth of the
    # start. `serve` enables it again, once the providers are loaded.
    gc.disable()
    import anyio  # noqa: PLC0415

    from kie_ai_mcp._settings.load import load_settings, mask_environment  # noqa: PLC0415
    from kie_ai_mcp._settings.logging import log_to_stderr  # noqa: PLC0415
    from kie_ai_mcp.errors import ConfigError, StorageError  # noqa: PLC0415

    try:
        settings = load_settings()
        log_to_stderr(settings)
        from kie_ai_mcp._mcp.server import serve  # noqa: PLC0415

        anyio.run(serve, settings)
    except (ConfigError, StorageError) as exc:
        sys.stderr.write(f"kie-ai-mcp-server: {mask_environment().text(str(exc))}\n")
        return 2
    return 0


if __name__ == "__main__":
    main()
