"""Command line of ``kie-ai-mcp-server``: the group of all commands, and how errors become one line and an exit code.

Commands are imported when they run, so that ``--help`` and completion stay fast.
"""

import logging
import sys
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from pkgutil import resolve_name
from typing import Any

import anyio
import click
from click.shell_completion import get_completion_class

from kie_ai_mcp._cli.console import (
    DONE,
    FAILED,
    INTERRUPTED,
    PROGRAM,
    Commands,
    Count,
    complain,
    echo,
    exit_code_of,
    in_plain_words,
    load_plugins,
    prepare_streams,
)
from kie_ai_mcp._cli.greeting import greet
from kie_ai_mcp._mcp.signals import end_on_signal, exit_process
from kie_ai_mcp._providers.loader import SERVER, Plugins, register_commands
from kie_ai_mcp._settings.installation import PROVIDERS, extra, install_command, typed_command
from kie_ai_mcp._settings.load import STRICT, Faults, full_environment, load_settings, mask_environment, take_secrets
from kie_ai_mcp._settings.logging import log_to_stderr, log_warnings
from kie_ai_mcp._start.remembered import Start
from kie_ai_mcp.errors import ConfigError, KieError, StorageError

log = logging.getLogger(__name__)

# Commands with a module of their own, each with its line in the list of commands.
COMMANDS = {
    "call": "Call one tool, with the same checks as an MCP client's call.",
    "config": "Show the settings and change them, say where they are kept, or begin a file of them.",
    "database": "Work with the database of the record: check it, back it up, restore it, copy it to another one.",
    "doctor": "Check everything that can be wrong, and say how to put it right.",
    "estimate": "Say what a call of a tool or model would cost, and send nothing paid.",
    "gallery": "Write the history as one HTML page: pictures, clips, prompts, costs.",
    "install": "Enter this server into the configuration of an MCP client.",
    "models": "Find, describe and run single models of a service.",
    "plugin": "Install, list and remove plugins, which bring providers and their tools.",
    "providers": "Show every installed provider: enabled, disabled or set aside, why, and the cure.",
    "tasks": "Work with the record: list, add up, wait for, save, make again, export, prune and settle.",
    "tools": "Show every tool that a client is offered; with --json also the input schemas.",
    "uninstall": "Remove this server from the configuration of an MCP client.",
    "users": "Say who may use this server over HTTP, and how much each may spend.",
}
MODULES = {
    "estimate": "models",
    "install": "install.command",
    "tools": "providers",
    "uninstall": "install.removal",
}  # of commands whose module has another name
RELAY, RELAY_ENDS_S = "kie_ai_mcp_authors.reload:Relay", 10.0  # of `serve --reload`, and how long its end may take
# Commands that first-party providers bring: no other provider may take their names.
FIRST_PARTY = {"demo": "sandbox", "new-provider": "authors", "sandbox": "sandbox"}
COMMAND = "kie_ai_mcp.command"  # the key in a context of what returns how a person starts this program
COMPLETE = "_KIE_AI_MCP_SERVER_COMPLETE"  # click's name for the variable through which a shell asks for completions


class AllCommands(Commands):
    """Group of our own commands and those of the providers; every expected error is one line on stderr."""

    @cached_property
    def _plugins(self) -> Plugins:
        return load_plugins()

    @cached_property
    def _from_providers(self) -> dict[str, click.Command]:
        """The providers' commands; each provider fills a group of its own, so that it can't change another's."""
        groups: dict[str, click.Group] = {}
        register_commands(self._plugins, lambda provider: groups.setdefault(provider, click.Group()))
        owners = dict.fromkeys((*COMMANDS, *self.commands), SERVER) | FIRST_PARTY
        offered: dict[str, click.Command] = {}
        for provider, group in groups.items():
            for name, command in group.commands.items():
                owner = owners.setdefault(name, provider)
                if owner == provider:
                    offered[name] = in_plain_words(command)
                else:
                    log.warning("the command %s of provider %s is left out: it belongs to %s", name, provider, owner)
        return offered

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name; without those of providers where the settings can't be used."""
        names = {*super().list_commands(ctx), *COMMANDS}
        with suppress(KieError):
            names.update(self._from_providers)
        return sorted(names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module; load providers only for a name that is not ours."""
        command = super().get_command(ctx, cmd_name)
        if cmd_name in COMMANDS:
            command = resolve_name(f"kie_ai_mcp._cli.{MODULES.get(cmd_name, cmd_name)}:{cmd_name}")
        command = command or self._from_providers.get(cmd_name)
        if command is None and cmd_name in FIRST_PARTY:
            raise self._not_offered(cmd_name, FIRST_PARTY[cmd_name])
        return command

    def _not_offered(self, name: str, provider: str) -> ConfigError:
        """Return the error that says why a command of a first-party provider is not there, and the cure."""
        plugin, cure = self._plugins.plugins.get(provider), self._plugins.way_back(provider)
        if plugin is None:
            state, cure = "is not installed", f"Install it with: {install_command(f'{PROVIDERS}{provider}')}"
        elif plugin.state == "enabled":
            state, cure = "does not offer it", f"Update it with: {install_command(plugin.distribution, update=True)}"
        else:
            state = f"is set aside: {plugin.reason.rstrip('.')}" if plugin.state == "set aside" else "is disabled"
        return ConfigError(f"The command {name} comes from the provider {provider}, which {state}.", next_step=cure)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing their modules."""
        lines = dict(COMMANDS)
        for name in self.list_commands(ctx):
            if name not in COMMANDS and (command := self.get_command(ctx, name)):
                lines[name] = command.get_short_help_str(120)
        with formatter.section("Commands"):
            formatter.write_dl(sorted(lines.items()))

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command; turn an error into one line on stderr and an exit code."""
        run_command: Any = super().main
        if not standalone_mode:
            return run_command(*args, standalone_mode=False, **extra)
        prepare_streams()
        # A person reads what commands say; a server's lines are for whoever gathers them, and it says so itself.
        log_to_stderr(load_settings(faults=[]).model_copy(update={"log_format": "text"}))
        try:
            code: Any = run_command(*args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            code = exc.exit_code
        except click.ClickException as exc:
            message = exc.format_message()
            if isinstance(exc, click.UsageError):
                stop = "" if message.endswith(("?", ".")) else "."
                message += f"{stop} See: {exc.ctx.command_path if exc.ctx else PROGRAM} --help"
            complain(message)
            code = exc.exit_code
        except KieError as exc:
            complain(mask_environment().text(str(exc)))
            code = exit_code_of(exc)
        except click.Abort as exc:
            interrupted = isinstance(exc.__cause__, KeyboardInterrupt)
            complain(f"interrupted; what was sent is on record: {PROGRAM} tasks list" if interrupted else "ended")
            code = INTERRUPTED if interrupted else FAILED
        sys.exit(code if isinstance(code, int) else DONE)


@click.group(
    cls=AllCommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=f"Completion of commands, tools and arguments in your shell: {PROGRAM} completion --help",
)
@click.version_option(version("kie-ai-mcp-core"), prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Make pictures, videos, music and speech through Kie.ai from any MCP client, or from here.

    Without a command it serves MCP over stdin and stdout. Exit codes: 0 done, 1 failed, 2 wrong usage or settings,
    128 + n ended by signal n; a server that SIGTERM has ended: 0. What may pass by itself is 1, also at the start of a
    server: a database that is away, a port that is taken.
    """
    ctx.meta[COMMAND] = typed_command  # for commands of plugins
    if ctx.invoked_subcommand is None:
        ctx.invoke(serve)
    elif ctx.invoked_subcommand != "serve":  # which says in what format first
        log_warnings()


@cli.command()
@click.option("--http", is_flag=True, help="Serve over HTTP instead: MCP at /mcp, plain calls at /tools/call.")
@click.option("--host", metavar="ADDRESS", help="With --http: where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=Count(0, 65535), help="With --http: the port; 0 is any.  [default: 3000]")
@click.option("--reload", is_flag=True, help="Start anew when the source of an editable provider changes.")
@click.option(
    "--strict",
    is_flag=True,
    help="End with exit code 2 for wrong settings, file or folder, 1 for a database that is away.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Lines of the log as text, or as JSON objects.")
def serve(
    http: bool, host: str | None, port: int | None, reload: bool, strict: bool, log_format: str | None = None
) -> None:
    """Serve MCP over stdin and stdout (the default), or over HTTP.

    Over HTTP it also has the history at /gallery, results at /files, /uploads for files of users elsewhere, /healthz,
    /readyz, /metrics, and /callbacks/kie for what the service posts, and logs each call. It listens on this machine
    alone, unless --host is given, and KIE_AI_HTTP_TOKEN, users or KIE_AI_OAUTH_ISSUER. While anything is wrong with the
    settings, the database or the output folder, each call says what, and paid requests are refused.
    """
    if not http and (host is not None or port is not None):
        raise click.UsageError("--host and --port go with --http.")
    if http and reload:
        raise click.UsageError("--reload serves over stdin and stdout; leave --http out.")
    start: Start | None = click.get_current_context().obj
    if not http and start is None:  # the start has greeted already
        greet()
    style = {} if log_format is None else {"log_format": log_format}
    log_to_stderr(load_settings(faults=[]).model_copy(update=style), "info" if http else "warning")
    log_warnings()
    faults: Faults = STRICT if strict else []
    settings = None
    try:
        settings = load_settings(faults=faults)
        if http:
            from kie_ai_mcp._web.serving import serve_http  # noqa: PLC0415  brings the web server

            address = host or "127.0.0.1", 3000 if port is None else port
            raise click.exceptions.Exit(anyio.run(serve_http, settings, *address, faults))
        if reload:
            options = ("--strict",) * strict + ("--log-format", str(log_format)) * (log_format is not None)
            anyio.run(_serve_reloading, options)
        from kie_ai_mcp._mcp.server import serve as serve_stdio  # noqa: PLC0415  heavy; other commands don't need it

        anyio.run(serve_stdio, settings, faults, start)
    except KieError as exc:
        if start is not None:
            start.fail_with(str(exc))
        may_pass = settings is not None and (settings.database_address or "locked" in exc.message)
        if isinstance(exc, StorageError) and not (may_pass and exc.may_pass):  # another one has to be chosen
            raise ConfigError(exc.message, next_step=exc.next_step) from exc
        raise


async def _serve_reloading(options: tuple[str, ...]) -> None:
    """Serve through a child that follows the source of providers, and end the process with its code."""
    try:
        relay = resolve_name(RELAY)(full_environment(), options)
    except ImportError:
        reason = "serve --reload needs the provider authors and the file watcher watchfiles; one is not installed."
        raise ConfigError(reason, next_step=f"Install it with: {install_command(extra('reload'))}") from None
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: end_on_signal(relay.end, limit_s=RELAY_ENDS_S))
        exit_process(await relay.run())


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
    for call in (f"{shell}_complete $1)", f"{shell}_complete {PROGRAM})", f"(commandline -t) {PROGRAM})"):
        script = script.replace(call, f"{call[:-1]} completion)")
    echo(script, nl=False)


def run(start: Start | None) -> None:
    """Run the command line; to serve strictly, over the pipes of a start."""
    take_secrets()
    cli(prog_name=PROGRAM, obj=start)
