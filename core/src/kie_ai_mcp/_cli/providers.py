"""``providers`` and ``tools``: what is installed, and what a client is offered."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from kie_ai_mcp._app.own_tools import NAMES, Utilities
from kie_ai_mcp._cli.console import show_json, show_rows, show_table
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import describe
from kie_ai_mcp._settings.settings import Settings, nearest


def _formats(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose how rows are printed."""
    command = click.option("--markdown", "form", flag_value="markdown", help="Print a Markdown table.")(command)
    return click.option("--json", "form", flag_value="json", help="Print JSON.")(command)


@click.command()
@_formats
def providers(form: str | None) -> None:
    """Show every installed provider: enabled, disabled or set aside, why, and the cure."""
    plugins = Plugins(Settings.load(), reserved=NAMES)
    rows = [
        {
            "provider": plugin.name,
            "state": plugin.state,
            "reason": plugin.reason,
            "cure": plugin.cure,
            "at Kie.ai": plugin.provider.availability if plugin.tools else "",
            "checked": plugin.provider.checked,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": list(plugin.hooks),
            "tools": list(plugin.tools),
        }
        for plugin in plugins.plugins.values()
    ]
    show_rows(rows, form, brief=("provider", "at Kie.ai", "checked", "tools"), hidden=("cure",))
    for plugin in plugins.plugins.values() if form is None else ():
        if plugin.cure:
            click.echo(f"{plugin.name}: {plugin.cure}")


@click.command()
@click.argument("name", required=False, metavar="[TOOL]")
@_formats
def tools(name: str | None, form: str | None) -> None:
    """Show every tool that a client is offered; with --json also the input schemas.

    With the name of a TOOL: what it is for and what each of its arguments takes.
    """
    settings = Settings.load()
    plugins = Plugins(settings, reserved=NAMES)
    rows: list[dict[str, Any]] = [
        {
            "tool": tool.name,
            "provider": tool.provider,
            "kind": tool.kind,
            "description": tool.description,
            "input_schema": tool.input_schema(saves=settings.output_dir is not None),
        }
        for tool in plugins.tools.values()
    ]
    for own in filter(plugins.lists, NAMES):
        fn = getattr(Utilities, own)
        schema = Arguments(fn, ignore=("self", "say")).schema
        rows.append({"tool": own, "provider": "", "kind": "", "description": describe(fn), "input_schema": schema})
    if name is None:
        show_rows(rows, form, brief=("tool", "provider", "kind", "description"), hidden=("input_schema",))
        return
    chosen = next((row for row in rows if row["tool"] == name), None)
    if chosen is None:
        raise click.UsageError(f"There is no tool {name!r}. {nearest(name, [row['tool'] for row in rows])}")
    if form == "json":
        show_json(chosen)
        return
    click.echo(f"{chosen['description']}\n")
    _show_arguments(chosen["input_schema"])


def _show_arguments(schema: Mapping[str, Any]) -> None:
    rows: list[Sequence[str]] = []
    for name, taken in schema["properties"].items():
        limits = {**taken.get("items", {}), **taken}
        takes = [
            " | ".join(map(str, limits.get("enum", ()))),
            _span(taken, "minimum", "maximum", ""),
            _span(taken, "minItems", "maxItems", "items"),
            _span(limits, "minLength", "maxLength", "characters"),
            taken.get("description", ""),
        ]
        default = "needed" if name in schema.get("required", ()) else str(taken.get("default", ""))
        rows.append((name, taken.get("type", "any"), default, ", ".join(filter(None, takes))))
    show_table(rows, ("argument", "type", "default", "takes"))


def _span(limits: Mapping[str, Any], least: str, most: str, unit: str) -> str:
    if least in limits and most in limits:
        return f"{limits[least]} to {limits[most]} {unit}".rstrip()
    sides = ((least, "at least"), (most, "at most"))
    return "".join(f"{word} {limits[key]} {unit}".rstrip() for key, word in sides if key in limits)
