"""Commands ``plugin``: install, list and remove plugins by the tool that made this installation."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._cli.install.entries import starts_this
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._settings.installation import (
    PROVIDERS,
    change_words,
    in_project,
    install_command,
    installed_names,
    is_needed,
    made_by,
    normalized,
    shell_words,
)
from kie_ai_mcp._settings.load import full_environment, load_settings, nearest
from kie_ai_mcp._settings.sources import unless_overridden
from kie_ai_mcp.errors import ConfigError, KieError
from kie_ai_mcp.hookspecs import FIRST_PARTY

LIKE = 0.8  # how like one of ours a name is that is taken for a slip
LOOK_S = 60.0
HIDDEN = "HIDDEN"  # stands for a secret, in shells without quotes as well
LOGIN = re.compile(r"(?<=://)(?!git@)[^/\s]+@")
QUERY = re.compile(r"(://[^\s?#'\"]*)\?[^\s#'\"]*")
Row = Mapping[str, Any]  # of `providers --json`


@click.group(cls=console.Commands)
def plugin() -> None:
    """Install, list and remove plugins, which bring providers and their tools."""


yes_option = click.option("--yes", is_flag=True, help="Run the command that is shown without asking.")


@plugin.command("list")
@console.json_option
def list_plugins() -> None:
    """List the installed plugins, and which can be used."""
    rows = [
        {
            "provider": each.name,
            "distribution": each.distribution,
            "version": each.version,
            "by": "this project" if each.is_first_party else "a third party",
            "state": each.state,
            "reason": each.reason,
        }
        for each in console.load_plugins(load_settings(faults=[])).plugins.values()
    ]
    names = ("provider", "distribution", "version", "by", "state")
    cells = [[str(row[name]) for name in names] for row in rows]
    console.show(rows, lambda: console.terminal().print_table(cells, names))
    for row in () if console.wants_json() else rows:
        if row["reason"]:
            console.say(f"{row['provider']}: {row['reason']}", "  ")


@plugin.command("install")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@yes_option
def install_plugins(names: Sequence[str], yes: bool) -> None:
    """Install plugins, by the tool that made this installation.

    NAME is a provider of this project (seedream), a distribution (kie-ai-mcp-seedream, with a version if you like), a
    path or an address. The command is shown before it runs. A plugin runs with your rights and can read your keys:
    install only what you trust.
    """
    wanted = [_package(name) for name in names]
    if made_by() == "uvx":
        _say_for_uvx(wanted)
    before = installed_names()
    _run(change_words(install=wanted), yes=yes)
    rows = _rows_of_new_process()
    fresh = {*installed_names()} - {*before} | {*filter(None, map(_distribution, wanted))}
    _print_loaded([row for row in rows if normalized(row["distribution"]) in fresh])


@plugin.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@yes_option
def remove_plugins(names: Sequence[str], yes: bool) -> None:
    """Remove plugins, by the tool that made this installation.

    NAME is a provider or a distribution, as `plugin list` shows them. What belongs to the server itself is not removed,
    but disabled.
    """
    wanted = [_removable(name) for name in names]
    if made_by() == "uvx":
        _say_for_uvx([], wanted)
    _run(change_words(remove=wanted), yes=yes)
    left = {normalized(row["distribution"]) for row in _rows_of_new_process()} & {*wanted}
    if left:
        raise click.ClickException(f"still installed: {', '.join(sorted(left))}")
    console.echo(f"Removed: {', '.join(wanted)}. Servers that run go on with it until their next start.")


def _package(name: str) -> str:
    """Return what an installer takes: a provider's distribution by its short name, a path as a whole one."""
    if not name.strip() or name.startswith("-"):
        raise click.UsageError(f"{name!r} is no plugin: it is empty, or an installer would take it for an option.")
    if name in FIRST_PARTY:
        return f"{PROVIDERS}{name}"
    if re.match(r"[\w+.-]+://|[\w.-]+ *@ ", name):
        return name
    if os.sep in name or name.startswith(".") or name.endswith((".whl", ".tar.gz")):
        path = Path(name).expanduser().absolute()
        if not path.exists():
            raise click.UsageError(f"There is no {path}.")
        return str(path)
    short = normalized(re.split(r"[\[<>=!~; ]", name)[0]).removeprefix(PROVIDERS)
    near = [] if short in FIRST_PARTY else get_close_matches(short, FIRST_PARTY, n=1, cutoff=LIKE)
    if near:  # a name that is nearly one of ours may be a trap
        cure = "Another's is given by its address or path."
        raise click.UsageError(f"{name} is no plugin of this project. Did you mean {near[0]}? {cure}")
    return name


def _distribution(requirement: str) -> str:
    """Return the name of the distribution that a requirement installs; an empty text where it does not say."""
    path = Path(requirement)
    if path.is_dir():
        with suppress(OSError, ValueError, KeyError, TypeError):
            return normalized(str(tomllib.loads((path / "pyproject.toml").read_text("utf-8"))["project"]["name"]))
        return ""
    if path.is_file():
        return normalized(path.name.partition("-")[0])
    found = re.match(r"[\w.-]+(?=$| *[@\[<>=!~;])", requirement)
    return normalized(found[0]) if found else ""


def _removable(name: str) -> str:
    """Return the distribution of a plugin that is installed and may be removed."""
    settings = load_settings(faults=[])
    plugins = console.load_plugins(settings).plugins
    owners = {each.name: normalized(each.distribution) for each in plugins.values()}
    distribution = owners.get(name) or normalized(name)
    if distribution not in owners.values():
        listed = f"Those that are: {console.PROGRAM} plugin list"
        known = nearest(name, [*owners, *owners.values()], listed)
        raise click.UsageError(f"No plugin {name!r} is installed. {known}")
    is_fixed = made_by() == "pip --target"
    if is_fixed or is_needed(distribution):
        own = [each for each, owner in owners.items() if owner == distribution]
        disabled = ",".join(dict.fromkeys([*settings.disabled_providers, *own]))
        reason = f"{distribution} belongs to the server itself, and would come back with its next update."
        if is_fixed:
            reason = "The server was installed with pip --target, and pip removes nothing that it installed so."
        way = f"{console.PROGRAM} config set disabled_providers {disabled}{unless_overridden('disabled_providers')}"
        raise ConfigError(reason, next_step=f"Disable it: {way}")
    return distribution


def _run(command: Sequence[str], *, yes: bool) -> None:
    """Show a command, ask whether to run it, and run it."""
    console.echo(f"This runs: {_without_secrets(shell_words(command))}", err=True)
    if not yes:
        if not console.has_person():
            raise click.UsageError("This is no terminal where a person could be asked: give --yes.")
        if not click.confirm("Run it?", err=True):
            raise click.Abort
    cure = "Put the folder of uv on PATH, or set UV to its path." if command[0] == "uv" else "Run it yourself."
    with console.file_errors(command[0], "run", cure):
        code = subprocess.run(command, env=dict(full_environment()), check=False).returncode  # noqa: S603  shown before
    if code:
        raise click.ClickException(f"{Path(command[0]).name} ended with exit code {code}; its reason is above.")


def _without_secrets(command: str) -> str:
    """Return a command without the names, passwords and signatures in its addresses."""
    return QUERY.sub(rf"\1?{HIDDEN}", LOGIN.sub(f"{HIDDEN}@", command))


def _rows_of_new_process() -> list[Row]:
    """Return the providers as a server that is started now finds them."""
    command = [sys.executable, "-m", "kie_ai_mcp", "providers", "--json"]
    try:
        done = subprocess.run(  # noqa: S603  this program
            command, env=dict(full_environment()), capture_output=True, encoding="utf-8", timeout=LOOK_S, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"the installer is done, but the server did not start within {LOOK_S:g} s"
        raise click.ClickException(f"{reason}; run: {console.PROGRAM} doctor") from None
    if done.returncode:
        raise click.ClickException(f"the server can't be started now: {done.stderr.strip()[-500:]}")
    rows: list[Row] = json.loads(done.stdout)
    return rows


def _print_loaded(rows: Sequence[Row]) -> None:
    """Say of each provider that was installed whether it can be used; fail where none can."""
    for row in rows:
        tools = f": {', '.join(row['tools'])}" if row["tools"] else ""
        state = f"{row['provider']} {row['version']} ({row['distribution']}) is {row['state']}"
        why = f": {row['reason'].rstrip('.')}. {row['cure']}".rstrip() if row["reason"] else tools
        console.echo(f"{state}{why}")
    if not rows:
        reason = "what was installed has no entry point in the group kie_ai_mcp, so it brings no provider"
        raise click.ClickException(f"{reason}; is it a plugin?")
    if any(row["state"] != "enabled" for row in rows):
        raise click.exceptions.Exit(console.FAILED)
    console.echo("Clients offer it when they start the server anew.")
    if made_by() == "bundle":
        console.echo("It stays until the next version of the bundle replaces this one: install it again then.")
    elif in_project():
        console.echo("`uv run` keeps it here; `uv sync` removes it again.")


def _say_for_uvx(wanted: Sequence[str], removed: Iterable[str] = ()) -> None:
    """Say how a server that uvx starts gets its plugins, and end the command."""
    command = install_command(*wanted) if wanted else shell_words(change_words(remove=removed))
    lines = ["uvx makes its environment anew for every start, so nothing is installed into it for good. Start it so:"]
    if _without_secrets(command) != command:
        command = _without_secrets(command)
        lines[0] += f" Write what belongs there in the place of {HIDDEN}:"
    lines += ["", f"  {command}", ""]
    entered = [name for name in CLIENTS if _is_entered(name)]
    lines.append("Clients start it by entries of their own. Renew each with:" if entered else "Set a client up with:")
    lines += [f"  {command} install {name}" for name in entered or ["CLIENT"]]
    console.echo("\n".join(lines))
    raise click.exceptions.Exit(console.FAILED)


def _is_entered(client: str) -> bool:
    """Return whether a client's file has an entry that starts this server; one that can't be read has none."""
    with suppress(KieError, click.ClickException, Malformed):
        return starts_this(CLIENTS[client], TextFile.read(config_path(client)).text)
    return False
