"""The command line beside serving: what is installed, and a demonstration. Providers may add commands."""

import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import click

from kie_ai_mcp._config import Settings
from kie_ai_mcp._logging import log_to_stderr
from kie_ai_mcp._plugins import Plugins
from kie_ai_mcp._tools import Arguments, describe
from kie_ai_mcp._utilities import NAMES, Utilities
from kie_ai_mcp.errors import KieError

PROGRAM = "kie-ai-mcp-server"


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("kie-ai-mcp-core"), prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Make pictures and videos through Kie.ai from any MCP client.

    Without a command it serves MCP over stdin and stdout. Exit codes: 0 done, 1 failed, 2 wrong usage or settings.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(serve)


@cli.command()
def serve() -> None:
    """Serve MCP over stdin and stdout (the default)."""
    from kie_ai_mcp._server import serve as serve_stdio  # noqa: PLC0415  heavy; the other commands don't need it

    anyio.run(serve_stdio, Settings.load())


def _formats(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose how rows are printed."""
    command = click.option("--markdown", "form", flag_value="markdown", help="Print a Markdown table.")(command)
    return click.option("--json", "form", flag_value="json", help="Print JSON.")(command)


@cli.command()
@_formats
def providers(form: str | None) -> None:
    """Show every installed provider: enabled, disabled or set aside, and why."""
    plugins = Plugins(Settings.load(), reserved=NAMES)
    rows = [
        {
            "provider": plugin.name,
            "state": plugin.state,
            "reason": plugin.reason,
            "at Kie.ai": plugin.provider.availability if plugin.tools else "",
            "checked": plugin.provider.checked,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": list(plugin.hooks),
            "tools": list(plugin.tools),
        }
        for plugin in plugins.plugins.values()
    ]
    _show(rows, form, brief=("provider", "at Kie.ai", "checked", "tools"))


@cli.command()
@_formats
def tools(form: str | None) -> None:
    """Show every tool that a client is offered; with --json also the input schemas."""
    plugins = Plugins(Settings.load(), reserved=NAMES)
    rows: list[dict[str, Any]] = [
        {
            "tool": tool.name,
            "provider": tool.provider,
            "kind": tool.kind,
            "description": tool.description,
            "input_schema": tool.input_schema,
        }
        for tool in plugins.tools.values()
    ]
    for name in filter(plugins.lists, NAMES):
        fn = getattr(Utilities, name)
        schema = Arguments(fn, ignore=("self", "say")).schema
        rows.append({"tool": name, "provider": "", "kind": "", "description": describe(fn), "input_schema": schema})
    _show(rows, form, brief=("tool", "provider", "kind", "description"))


@cli.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="kie-ai-demo",
    show_default=True,
    help="Folder for the files that are made.",
)
def demo(output: Path) -> None:
    """Make a picture from start to end on a local stand-in for the service: no key, no network, no cost."""
    from kie_ai_mcp._demo import run_demo  # noqa: PLC0415  brings the SDK's client

    sys.exit(anyio.run(run_demo, output.absolute()))


def run() -> None:
    """Run the command line; every expected error is one line on stderr and exit code 2."""
    try:
        settings = Settings.load()
        log_to_stderr(settings)
        Plugins(settings, reserved=NAMES).register_commands(cli)
        cli(prog_name=PROGRAM)
    except KieError as exc:
        click.echo(f"{PROGRAM}: {exc}", err=True)
        sys.exit(2)


def _show(rows: Sequence[dict[str, Any]], form: str | None, brief: Sequence[str]) -> None:
    """Print rows: all of them as JSON, the `brief` columns as Markdown, what fits a screen as a table."""
    if form == "json":
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    columns = brief if form else [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]
    columns = [name for name in columns if name != "input_schema"]
    cells = [[_cell(row[name], code=form is not None and name != "description") for name in columns] for row in rows]
    if form == "markdown":
        lines = [columns, ["---"] * len(columns), *cells]
        click.echo("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for line in cells:
        table.add_row(*line)
    Console().print(table)


def _cell(value: object, *, code: bool) -> str:
    """Return one value as text; names of tools as code where Markdown is printed."""
    if isinstance(value, list):
        return ", ".join(f"`{entry}`" if code else str(entry) for entry in value)
    return " ".join(str(value).split())
