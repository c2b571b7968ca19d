"""Commands of the sandbox: ``sandbox`` serves it until a signal, ``demo`` runs the demonstration."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import click

STDIN = 0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="Port to listen on; 0 for any free one.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="1: pictures in 2 s, clips in 6 s; larger is faster.",
)
@click.option("--key", default=None, help="The API key that is accepted.  [default: any]")
@click.option(
    "--credits",
    "balance",
    type=click.FloatRange(0),
    default=10_000.0,
    show_default=True,
    help="The balance at the start.",
)
@click.option("--webhook-key", default=None, help="Sign callbacks with this key.")
@click.option(
    "--rate-limit", type=click.IntRange(0), default=20, show_default=True, help="Create requests accepted in 10 s."
)
@click.option("--hold", is_flag=True, help="Tasks run until POST /_sandbox/finish ends them.")
@click.option("--old-paths", is_flag=True, help="Serve playground/... instead of jobs/....")
@click.option("--any-model", is_flag=True, help="Accept every model id, not only those that are known.")
@click.option(
    "--fault", "faults", multiple=True, help="Play a fault: FAULT[*TIMES|*always][@PART-OF-PATH]; repeatable."
)
@click.option(
    "--drift", "drifts", multiple=True, help="Change the catalogue: NAME[:VALUE]@MODEL-OR-ADDRESS; repeatable."
)
@click.option("--until-stdin-closes", is_flag=True, help="End when stdin does, as it does when the parent dies.")
def sandbox(
    host: str,
    port: int,
    speed: float,
    key: str | None,
    balance: float,
    webhook_key: str | None,
    rate_limit: int,
    hold: bool,
    old_paths: bool,
    any_model: bool,
    faults: tuple[str, ...],
    drifts: tuple[str, ...],
    until_stdin_closes: bool,
) -> None:
    """Serve a local stand-in for Kie.ai."""
    from kie_ai_mcp_sandbox.server import Sandbox  # noqa: PLC0415  --help needs none of it

    try:
        served = Sandbox(
            speed=speed,
            key=key,
            credits=balance,
            webhook_key=webhook_key,
            rate_limit=rate_limit,
            hold=hold,
            old_paths=old_paths,
            any_model=any_model,
            address=host,
            port=port,
        )
        for fault in faults:
            served.play(fault)
        for drift in drifts:
            served.drift(drift)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    stop = threading.Event()
    with _signals() as signals:
        try:
            served.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise click.UsageError(f"can't listen on {host}:{port}: {reason}; choose another --port") from error
        click.echo(f"sandbox listening on {served.base_url}")
        if not until_stdin_closes:
            click.echo("To use it, type in another terminal:")
            click.echo("\n".join(_settings(served.base_url, served.upload_url, key or "any")))
        sys.stdout.flush()
        if until_stdin_closes:
            threading.Thread(target=_watch_stdin, args=(stop,), name="stdin", daemon=True).start()
        # Without a timeout Windows would not see Ctrl-C.
        while not (signals or stop.wait(0.1)):
            pass
        served.stop()


def _settings(base_url: str, upload_url: str, key: str) -> Iterator[str]:
    """Yield the lines for a shell after which everything is sent to the sandbox."""
    values = {"KIE_AI_BASE_URL": base_url, "KIE_AI_UPLOAD_URL": upload_url, "KIE_AI_API_KEY": key}
    for name, value in values.items():
        yield f"export {name}={shlex.quote(value)}" if os.name == "posix" else f'$env:{name} = "{value}"'


def _at_home(_ctx: click.Context, _param: click.Parameter, path: Path) -> Path:
    """Return a path with ~ filled in.

    Raises:
        click.BadParameter: No user of that name has a home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise click.BadParameter(f"no home folder is known for {path.parts[0]}; give an absolute path") from None


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_at_home,
    default="kie-ai-demo",
    show_default=True,
    help="Folder for the files that are made.",
)
def demo(output: Path) -> None:
    """Make a picture and a clip on a local stand-in for the service.

    It needs no key and no network, and costs nothing.
    """
    from kie_ai_mcp_sandbox.demo import run_demo  # noqa: PLC0415  brings the SDK's client, which --help must not load

    context = click.get_current_context()
    command: Callable[[], str] | None = context.meta.get("kie_ai_mcp.command")
    context.exit(anyio.run(run_demo, output.absolute(), command() if command else "kie-ai-mcp-server"))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield a list that each Ctrl-C and SIGTERM is added to: a lock that one signal holds, a second would wait for."""
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch_stdin(stop: threading.Event) -> None:
    try:
        # Unbuffered: a daemon thread must not hold the lock of sys.stdin when the process ends.
        while os.read(STDIN, 4096):
            pass
    except OSError:
        pass
    stop.set()
