"""The command line: one group, whose larger commands live in rooms of their own and are imported when they run."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import click
from click.shell_completion import get_completion_class

from kie_ai_mcp._app.own_tools import NAMES
from kie_ai_mcp._cli.console import DONE, FAILED, INTERRUPTED, PROGRAM, UserPath, complain, end, exit_code_of
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._settings.logging import log_to_stderr
from kie_ai_mcp.errors import ConfigError, KieError

ROOMS = {
    "call": "Call one tool, with the same checks as an MCP client's call.",
    "config": "Show the settings, say where they are kept, or begin a file of them.",
    "doctor": "Check everything that can be wrong, and say how to put it right.",
    "gallery": "Write the history as one HTML page: pictures, clips, prompts, costs.",
    "install": "Enter this server into the configuration of an MCP client.",
    "providers": "Show every installed provider: enabled, disabled or set aside, why, and the cure.",
    "tasks": "Work with the record: list, wait for, save, export, prune and settle.",
    "tools": "Show every tool that a client is offered; with --json also the input schemas.",
}
"""The commands that live in rooms of their own, and what each does; listing them imports none."""

COMPLETE = "_KIE_AI_MCP_SERVER_COMPLETE"
"""The variable through which a shell asks for completions; click's name for it."""


def _command(name: str) -> click.Command:
    match name:
        case "call":
            from kie_ai_mcp._cli.call import call  # noqa: PLC0415  each room when it is entered

            return call
        case "config":
            from kie_ai_mcp._cli.config import config  # noqa: PLC0415

            return config
        case "doctor":
            from kie_ai_mcp._cli.doctor import doctor  # noqa: PLC0415

            return doctor
        case "gallery":
            from kie_ai_mcp._cli.gallery import gallery  # noqa: PLC0415

            return gallery
        case "install":
            from kie_ai_mcp._cli.install.command import install  # noqa: PLC0415

            return install
        case "tasks":
            from kie_ai_mcp._cli.tasks import tasks  # noqa: PLC0415

            return tasks
    from kie_ai_mcp._cli.providers import providers, tools  # noqa: PLC0415

    return {"providers": providers, "tools": tools}[name]


class Commands(click.Group):
    """Our own commands, those of the rooms, and those of the providers; every expected error is one line on stderr."""

    @cached_property
    def _from_providers(self) -> Mapping[str, click.Command]:
        offered = click.Group()
        Plugins(load_settings(), reserved=NAMES).register_commands(offered)
        return offered.commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name; without those of providers where the settings can't be used."""
        names = {*super().list_commands(ctx), *ROOMS}
        with suppress(KieError):
            names.update(self._from_providers)
        return sorted(names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its room; providers are asked only for a name that is not ours."""
        if cmd_name in ROOMS:
            return _command(cmd_name)
        return super().get_command(ctx, cmd_name) or self._from_providers.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing the rooms."""
        rows = []
        for name in self.list_commands(ctx):
            command = None if name in ROOMS else self.get_command(ctx, name)
            rows.append((name, command.get_short_help_str(120) if command else ROOMS[name]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run, and turn what went wrong into one line and an exit code."""
        run_alone: Any = super().main
        if not standalone_mode:
            return run_alone(*args, standalone_mode=False, **extra)
        with suppress(ConfigError):
            log_to_stderr(load_settings())
        code: Any
        try:
            code = run_alone(*args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            code = exc.exit_code
        except click.UsageError as exc:
            path = exc.ctx.command_path if exc.ctx else PROGRAM
            message = exc.format_message()
            complain(f"{message}{'' if message.endswith(('?', '.')) else '.'} See: {path} --help")
            code = exc.exit_code
        except click.ClickException as exc:
            complain(exc.format_message())
            code = exc.exit_code
        except KieError as exc:
            complain(str(exc))
            code = exit_code_of(exc)
        except click.Abort as exc:
            interrupted = isinstance(exc.__cause__, KeyboardInterrupt)
            complain(
                "interrupted; what was sent is on record: kie-ai-mcp-server tasks list" if interrupted else "ended"
            )
            code = INTERRUPTED if interrupted else FAILED
        sys.exit(code if isinstance(code, int) else DONE)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=f"Completion of commands, tools and arguments in your shell: {PROGRAM} completion --help",
)
@click.version_option(version("kie-ai-mcp-core"), prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Make pictures and videos through Kie.ai from any MCP client, or from here.

    Without a command it serves MCP over stdin and stdout. Exit codes: 0 done, 1 failed, 2 wrong usage or settings,
    128 + n ended by signal n.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(serve)


@cli.command()
@click.option("--http", is_flag=True, help="Serve over HTTP instead: MCP at /mcp, plain calls at /tools/call.")
@click.option("--host", default=None, metavar="ADDRESS", help="With --http: where to listen.  [default: 127.0.0.1]")
@click.option(
    "--port", default=None, type=click.IntRange(0, 65535), help="With --http: the port; 0 is any.  [default: 3000]"
)
@click.option("--reload", is_flag=True, help="Start anew when the source of an editable provider changes.")
def serve(http: bool = False, host: str | None = None, port: int | None = None, reload: bool = False) -> None:
    """Serve MCP over stdin and stdout (the default), or over HTTP.

    Over HTTP it also has the history at /gallery, /healthz, and /callbacks/kie for what the service posts. It listens
    on this machine alone, unless --host and KIE_AI_HTTP_TOKEN are given.
    """
    if not http and (host is not None or port is not None):
        raise click.UsageError("--host and --port go with --http.")
    if http and reload:
        raise click.UsageError("--reload serves over stdin and stdout; leave --http out.")
    settings = load_settings()
    if http:
        from kie_ai_mcp._web.site import serve_http  # noqa: PLC0415  brings the web server

        end(anyio.run(serve_http, settings, host or "127.0.0.1", 3000 if port is None else port))
    if reload:
        from kie_ai_mcp._cli.reload import serve_reloading  # noqa: PLC0415

        anyio.run(serve_reloading)
    from kie_ai_mcp._mcp.server import serve as serve_stdio  # noqa: PLC0415  heavy; the other commands don't need it

    anyio.run(serve_stdio, settings)


@cli.command()
@click.option(
    "--output",
    type=UserPath(file_okay=False),
    default="kie-ai-demo",
    show_default=True,
    help="Folder for the files that are made.",
)
def demo(output: Path) -> None:
    """Make a picture and a clip on a local stand-in for the service.

    It needs no key and no network, and costs nothing.
    """
    from kie_ai_mcp._cli.demo import run_demo  # noqa: PLC0415  brings the SDK's client

    end(anyio.run(run_demo, output.absolute()))


@cli.command("new-provider")
@click.argument("name")
@click.option(
    "--output",
    type=UserPath(),
    help="The folder to write; it must not exist.  [default: ./kie-ai-mcp-NAME]",
)
def new_provider(name: str, output: Path | None) -> None:
    """Write the package of a new provider: a module with one tool, its tests and a README."""
    from kie_ai_mcp._cli.new_provider import check_name, next_steps, write_provider  # noqa: PLC0415  seldom wanted

    check_name(name, taken=Plugins(load_settings(), reserved=NAMES).plugins)
    folder = output or Path(f"kie-ai-mcp-{name}")
    for path in write_provider(name, folder):
        click.echo(folder / path)
    click.echo(next_steps(name, folder))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets your shell complete commands, tools and arguments.

    \b
    bash: put this into ~/.bashrc:  eval "$(kie-ai-mcp-server completion bash)"
    zsh:  put this into ~/.zshrc:   eval "$(kie-ai-mcp-server completion zsh)"
    fish: kie-ai-mcp-server completion fish > ~/.config/fish/completions/kie-ai-mcp-server.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101  click knows all three
    script = complete(cli, {}, PROGRAM, COMPLETE).source()
    # The script calls the program without an argument, and then it would serve instead of completing.
    for asked in (f"{shell}_complete $1)", f"{shell}_complete {PROGRAM})", f"(commandline -t) {PROGRAM})"):
        script = script.replace(asked, f"{asked[:-1]} completion)")
    click.echo(script, nl=False)


def run() -> None:
    """Run the command line."""
    cli(prog_name=PROGRAM)
