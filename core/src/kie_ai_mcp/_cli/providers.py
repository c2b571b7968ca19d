"""Commands ``providers`` and ``tools``: the installed providers, and the tools that a client is offered."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import click

from kie_ai_mcp._app.app import RESERVED, own_arguments
from kie_ai_mcp._cli.console import PROGRAM, echo, load_plugins, print_json, say, terminal
from kie_ai_mcp._models.catalogue import HOOK, Catalogue, some
from kie_ai_mcp._providers.arguments import with_defaults
from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.loader import Plugins, register_commands
from kie_ai_mcp._providers.selection import cure_of
from kie_ai_mcp._settings.load import load_settings, nearest
from kie_ai_mcp._settings.settings import Settings


def _formats(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose how rows are printed."""
    command = click.option("--markdown", "form", flag_value="markdown", help="Print a Markdown table.")(command)
    return click.option("--json", "form", flag_value="json", help="Print JSON.")(command)


@click.command()
@_formats
def providers(form: str | None) -> None:
    """Show every installed provider: enabled, disabled or set aside, why, and the cure."""
    settings = load_settings()
    plugins = load_plugins(settings)
    faults = _faults_beside(plugins, settings)
    services = {*map(plugins.owner_of_gateway, plugins.gateways)}
    rows = [
        {
            "provider": plugin.name,
            "state": plugin.state,
            "reason": plugin.reason or some(faults.get(plugin.name, ())),
            "cure": plugin.cure or (cure_of(plugin) if plugin.name in faults else ""),
            "at Kie.ai": plugin.provider.availability if _is_at_kie(plugin, services) else "",
            "checked": plugin.provider.checked,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": list(plugin.hooks),
            "tools": list(plugin.tools),
        }
        for plugin in plugins.plugins.values()
    ]
    is_shown = form is None and terminal().is_shown()
    hidden = ("cure", *(("reason", "distribution", "checked", "hooks") if is_shown else ()))
    brief, wrapped = ("provider", "at Kie.ai", "checked", "tools"), ("reason", "hooks", "tools")
    _print_rows(rows, form, brief=brief, hidden=hidden, wrapped=wrapped)
    for row in rows if form is None else ():
        if row["cure"] or (is_shown and row["reason"]):
            reason = f"{str(row['reason']).rstrip('.')}. " if is_shown else ""
            say(f"{row['provider']}: {reason}{row['cure']}".rstrip(), "  ")


def _faults_beside(plugins: Plugins, settings: Settings) -> Mapping[str, Sequence[str]]:
    """Return what is wrong with commands and models of providers that can be used all the same.

    The models of this project's own are not read.
    """
    catalogue = Catalogue(plugins, settings)
    if not all(each.is_first_party or HOOK not in each.hooks for each in plugins.plugins.values()):
        _ = catalogue.entries
    for name, fault in register_commands(plugins, lambda _: click.Group()).items():
        catalogue.faults.setdefault(name, []).append(fault)
    return catalogue.faults


def _is_at_kie(plugin: Plugin, services: Container[str]) -> bool:
    """Return whether a plugin's tools are made at Kie.ai, and somebody has looked whether it still offers them."""
    return (
        bool(plugin.tools) and plugin.name not in services and (plugin.is_first_party or bool(plugin.provider.checked))
    )


@click.command()
@click.argument("name", required=False, metavar="[TOOL]")
@_formats
def tools(name: str | None, form: str | None) -> None:
    """Show every tool that a client is offered; with --json also the input schemas.

    With the name of a TOOL: what it is for and what each of its arguments takes.
    """
    settings = load_settings()
    plugins = load_plugins(settings)
    values: list[tuple[Any, ...]] = [
        (tool.name, tool.provider, tool.kind, tool.description, tool.input_schema) for tool in plugins.tools.values()
    ]
    for own in filter(plugins.lists, RESERVED):
        description, arguments = own_arguments(own)
        values.append((own, "", "", description, with_defaults(arguments.schema, settings.tools.get(own, {}))))
    values.sort(key=lambda row: plugins.rank(row[0]))
    rows = [dict(zip(("tool", "provider", "kind", "description", "input_schema"), row, strict=True)) for row in values]
    if name is None:
        is_shown = form is None and terminal().is_shown()
        hidden = ("input_schema", *(("provider",) if is_shown else ()))
        _print_rows(rows, form, brief=("tool", "provider", "kind", "description"), hidden=hidden, cut=("description",))
        if is_shown:
            echo(f"What one of them takes: {PROGRAM} tools TOOL")
        return
    chosen = next((row for row in rows if row["tool"] == name), None)
    if chosen is None:
        known = f"All of them: {PROGRAM} tools"
        why, near = plugins.why_unlisted(name), nearest(name, [row["tool"] for row in rows], known)
        raise click.UsageError(f"There is no tool {name!r}{f': {why}' if why else f'. {near}'}")
    if form == "json":
        print_json(chosen)
    else:
        echo(f"{terminal().wrapped(chosen['description'])}\n")
        _print_arguments(chosen["input_schema"])


def _print_rows(
    rows: Sequence[Mapping[str, Any]],
    form: str | None,
    *,
    brief: Sequence[str],
    hidden: Sequence[str],
    **style: Sequence[str],
) -> None:
    """Print rows: all of them as JSON, the `brief` columns as Markdown, all but the empty and the hidden as a table."""
    if form == "json":
        print_json(rows)
    elif form == "markdown":
        cells = ([_cell(row[name], "`{}`") for name in brief] for row in rows)
        echo("\n".join(f"| {' | '.join(line)} |" for line in (brief, ["---"] * len(brief), *cells)))
    else:
        columns = [name for name in (rows[0] if rows else ()) if name not in hidden and any(row[name] for row in rows)]
        terminal().print_table([[_cell(row[name], "{}") for name in columns] for row in rows], columns, **style)


def _cell(value: object, entry_format: str) -> str:
    return ", ".join(map(entry_format.format, value)) if isinstance(value, list) else " ".join(str(value).split())


def _print_arguments(schema: Mapping[str, Any]) -> None:
    rows: list[Sequence[str]] = []
    for name, declared in schema["properties"].items():
        limits = {**declared.get("items", {}), **declared}
        takes = [
            " | ".join(map(str, limits.get("enum", ()))),
            _span(declared, "minimum", "maximum", ""),
            _span(declared, "minItems", "maxItems", "items"),
            _span(limits, "minLength", "maxLength", "characters"),
            declared.get("description", ""),
        ]
        default = "needed" if name in schema.get("required", ()) else str(declared.get("default", ""))
        rows.append((name, declared.get("type", "any"), default, ", ".join(filter(None, takes))))
    terminal().print_table(rows, ("argument", "type", "default", "takes"), wrapped=("default", "takes"))


def _span(limits: Mapping[str, Any], least: str, most: str, unit: str) -> str:
    if least in limits and most in limits:
        return f"{limits[least]} to {limits[most]} {unit}".rstrip()
    sides = ((least, "at least"), (most, "at most"))
    return "".join(f"{word} {limits[key]} {unit}".rstrip() for key, word in sides if key in limits)
