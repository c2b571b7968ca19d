#!/usr/bin/env python3
"""Generated parts of the documentation: what stands between ``<!-- NAME: ... -->`` and ``<!-- /NAME -->`` in a page.

::

    uv run python tools/docs.py          # write them
    uv run python tools/docs.py --check  # name the pages that would change, and end with 1
"""

import argparse
import base64
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import metadata
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import anyio
import click

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import offers
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._cli.main import cli
from kie_ai_mcp._mcp.content import listing
from kie_ai_mcp._models.catalogue import Entry
from kie_ai_mcp._models.search import Offer, default_of_tool, lowest_of_tool, offer_of_model
from kie_ai_mcp._settings.amounts import dollars
from kie_ai_mcp._settings.settings import SECTIONS, Settings, variable
from kie_ai_mcp.models import Model, Price, PriceLine, Rule, _keys_of
from kie_ai_mcp.specs import KIE, Media

ROOT = Path(__file__).parents[1]
COMMAND = {"command": "uvx", "args": ["kie-ai-mcp-server"]}
# What each current family with tools is chosen for, the tool whose lowest usual price the README's table names, and
# what that price is for, in the order of the table.
GOOD_AT = {
    "nano-banana": ("everyday pictures; changing and combining them", "generate_nano_banana", "a picture"),
    "seedream": ("low prices, 4K, combining up to 14 pictures", "generate_seedream_image", "a picture"),
    "gpt-image": ("text in pictures, transparent background", "generate_gpt_image", "a picture"),
    "gpt4o-image": ("following long descriptions", "generate_gpt4o_image", "a picture"),
    "flux": ("changing one picture by words", "generate_flux_image", "a picture"),
    "ideogram": ("posters, logos, the same character again", "generate_ideogram_image", "a picture"),
    "recraft": ("removing backgrounds", "remove_background", "a picture"),
    "kling": ("clips with sound, shots, motion after a clip", "generate_kling_video", "a clip of 5 s"),
    "veo3": ("realism, speech, 4K", "generate_veo3_video", "a clip of 8 s"),
    "seedance": ("references, up to 30 s", "generate_seedance_video", "a clip of 5 s"),
    "wan": ("clips that follow speech or music", "generate_wan_video", "a clip of 5 s"),
    "runway": ("cheap clips; changing a clip by words", "generate_runway_gen3_video", "a clip of 5 s"),
    "talking": ("talking photos, dubbing", "generate_talking_video", "a clip"),
    "topaz": ("larger and sharper pictures and clips", "upscale_image", "a picture"),
    "suno": ("songs, stems, sound effects", "generate_music", "a song"),
    "speech": ("reading aloud, dialogues", "generate_speech", "speech"),
}

# The parts of a data file of models: heading, the class that an object is read as, its keys and whether each must be.
KEYS = (
    ("A model", Model, _keys_of(Model)),
    ("A field of files, below `media`", Media, _keys_of(Media)),
    ("A rule, in `rules`", Rule, _keys_of(Rule)),
    ("The price, `price`", Price, _keys_of(Price)),
    ("A line of a price, in `lines` and `plus`", PriceLine, _keys_of(PriceLine)),
)
OWN_KEYS: Mapping[type, Mapping[str, str]] = {
    Model: {
        "kind": "What comes out: `image`, `video`, `audio` or `text`.",
        "availability": "`current`, `retired` (the service had it) or `undocumented` (it never said so).",
        "fields": "What the service takes: the JSON schema of each field, by its name.",
        "required": "The names of the fields that must be sent.",
    }
}


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check, outdated = parser.parse_args().check, []
    with an_app() as app:
        for page, before, after in pages(app):
            if before != after:
                outdated.append(str(page.relative_to(ROOT)))
                if not check:
                    page.write_text(after, encoding="utf-8")
    print(*outdated, sep="\n", end="\n" if outdated else "")  # noqa: T201
    return int(check and bool(outdated))


def pages(app: App) -> Iterator[tuple[Path, str, str]]:
    """Yield each page with generated parts: its path, its text, and its text with those parts as they should be."""
    part_of = cache(lambda name: PARTS[name](app))
    marked = re.compile(rf"(<!-- ({'|'.join(PARTS)}): [^\n]* -->\n).*?(<!-- /\2 -->)", re.DOTALL)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        after = marked.sub(lambda found: f"{found[1]}{part_of(found[2])}\n{found[3]}", text)
        if re.search(r"^<!-- /\w+ -->$", text, re.MULTILINE):
            yield page, text, after


@contextmanager
def an_app(**chosen: Any) -> Iterator[App]:
    """Open the server's application with nothing set, and its models loaded."""
    with tempfile.TemporaryDirectory() as folder:
        app = App.open(Settings.model_validate({"db_path": Path(folder) / "tasks.db", **chosen}))
        with closing(app.engine.record):
            anyio.run(app.engine.catalogue.load)
            yield app


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    cells = ([" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells))


# Tools and models ----------------------------------------------------------------------------------------------------


def families(app: App) -> str:
    """Return the families that have tools: what each makes, is good at, and costs."""
    plugins = app.engine.plugins
    current = {
        tool.provider for tool in plugins.tools.values() if plugins.provider_of(tool.provider).availability == "current"
    }
    if current != GOOD_AT.keys():
        raise SystemExit(f"GOOD_AT of tools/docs.py has other families: {current ^ GOOD_AT.keys()}")
    listed = [offer for offer in offers(app.engine) if offer.name in plugins.tools]
    rows = []
    for name, (good_at, tool, thing) in GOOD_AT.items():
        (offer,) = [offer for offer in listed if offer.name == tool]
        lowest = lowest_of_tool(plugins.tools[tool], app.engine.catalogue.entries)
        rows.append((plugins.provider_of(name).title, good_at, price_of(offer, lowest, thing)))
    return table(("family", "good at", "usual price, from"), rows)


def price_of(offer: Offer, lowest: float | None, thing: str) -> str:
    """Return the lowest usual price of a tool, and what it is for."""
    if lowest is None:
        rate = offer.price.removeprefix("usually ").replace("/s", "/second")
        return f"{rate.replace('/', ' for each ')} of {thing}" if "second" in rate else rate.replace("/", " for ")
    return f"{lowest:g} credit{'s' * (lowest != 1)} ({dollars(lowest)}) {thing}"


def models(app: App) -> str:
    """Return a table of the models of each family, with the usual price of each."""

    def family(entry: Entry) -> str:
        title = app.engine.plugins.provider_of(entry.provider).title
        return re.split(r"[ .]", entry.model.title)[0] if entry.provider == "market" else title

    current = [entry for entry in app.engine.catalogue.entries.values() if entry.model.availability == "current"]
    own = sorted(
        (entry for entry in current if entry.model.gateway == KIE),
        key=lambda entry: (family(entry).lower(), entry.name),
    )
    parts = []
    for title, entries in groupby(own, key=family):
        rows = [
            (f"`{entry.name}`", entry.model.task, offer_of_model(entry).price, entry.model.tool and by_tool(app, entry))
            for entry in entries
        ]
        parts.append(f"### {title}\n\n{table(('model', 'task', 'usual price', 'easier by'), rows)}")
    return "\n\n".join(["", *parts, ""])


def by_tool(app: App, entry: Entry) -> str:
    """Return the tool that is easier for a model, with its price where the tool sends a cheaper usual call."""
    tool = app.engine.plugins.tools[entry.model.tool]
    chosen: dict[str, Any] = {"model": entry.model.id} if "model" in tool.arguments.names else {}
    bought = default_of_tool(tool, app.engine.catalogue.entries, **chosen)
    is_same = bought is None or bought.name != entry.name or bought.price == offer_of_model(entry).price
    return f"`{tool.name}`{'' if is_same or bought is None else f': {bought.price}'}"


def sizes(_: App) -> str:
    """Return how large the list of tools is for some settings, in bytes of JSON."""
    rows = []
    for shown, chosen in (
        ("everything", {}),
        ("`KIE_AI_AVAILABILITY=current`", {"availability": ("current",)}),
        ("`KIE_AI_KINDS=image`", {"kinds": ("image",)}),
        ("`KIE_AI_COMPACT=true`", {"compact": True}),
    ):
        with an_app(**chosen) as app:
            tools = listing(app).tools
        given = (
            {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema} for tool in tools
        )
        size = sum(len(json.dumps(tool, separators=(",", ":"), ensure_ascii=False).encode()) for tool in given)
        rows.append((shown, str(len(tools)), f"{size:,}"))
    return table(("setting", "tools", "bytes"), rows)


def printed(*command: str) -> Callable[[App], str]:
    """Return a part that is what a command prints, with nothing set."""

    def part(_: App) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("KIE_AI_")}
        environ["KIE_AI_CONFIG"] = os.devnull
        words = [sys.executable, "-m", "kie_ai_mcp", *command]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True, encoding="utf-8")  # noqa: S603
        return done.stdout.rstrip("\n")

    return part


# Settings and commands -----------------------------------------------------------------------------------------------


def settings(_: App) -> str:
    """Return every setting: variable, default, meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        rows.append((f"`{variable(name)}`", _written(default), field.description or ""))
    return table(("variable", "default", "meaning"), rows)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`" if value else ""
    return "" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def commands(_: App) -> str:
    """Return every command with its arguments and options, and what it does."""
    rows = []
    for path, command in leaves(cli, ()):
        context = click.Context(command)
        given = [_usage(parameter, context) for parameter in command.params]
        usage = " ".join(["kie-ai-mcp-server", *path, *filter(None, given)])
        rows.append((f"`{usage.removeprefix('kie-ai-mcp-server ')}`", command.get_short_help_str(200)))
    return table(("command", "what it does"), rows)


def leaves(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group that has none below itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        elif command is not None and not command.hidden:
            yield (*path, name), command


def _usage(parameter: click.Parameter, context: click.Context) -> str:
    takes = parameter.make_metavar(context)
    if isinstance(parameter.type, click.Choice) and not parameter.metavar:
        takes = str(parameter.name).upper()
    takes = re.sub(r"\b(FLOAT|INTEGER)( RANGE)?\b", "NUMBER", takes)
    if not isinstance(parameter, click.Option):
        return takes
    if parameter.hidden or "--json" in parameter.opts:
        return ""
    return f"[{max(parameter.opts, key=len)}{'' if parameter.is_flag else f' {takes}'}]"


# Data files of models ------------------------------------------------------------------------------------------------


def keys(_: App) -> str:
    """Return every key of a data file of models, with what the classes say that read it."""
    parts = []
    for title, kind, names in KEYS:
        text = inspect.cleandoc(str(kind.__doc__)).partition("Args:\n")[2]
        said = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)) | dict(OWN_KEYS.get(kind, {}))
        rows = [(f"`{name}`", f"{_written_in_json(said[name])}{' *Needed.*' if names[name] else ''}") for name in names]
        parts.append(f"### {title}\n\n{table(('key', 'meaning'), rows)}\n")
    return "\n" + "\n".join(parts)


def _written_in_json(text: str) -> str:
    """Return what a docstring says in the words of JSON."""
    for python, other in (
        ("``", "`"),
        ("None", "null"),
        ("False", "false"),
        ("tuple", "list"),
        ('("wav",)', '["wav"]'),
    ):
        text = text.replace(python, other)
    return text[:1].upper() + text[1:] if text[:1].isalpha() and not text.startswith(("null", "false")) else text


# Links that add the server to a client -------------------------------------------------------------------------------


def links(app: App) -> str:
    """Return links that add the server to Cursor and VS Code: what `install` prints, with a release's command."""
    shown = {name: json.loads(printed("install", name, "--print")(app)) for name in ("cursor", "vscode")}
    ((title, cursor),) = shown["cursor"]["mcpServers"].items()
    ((_, code),) = shown["vscode"]["servers"].items()
    config = base64.b64encode(json.dumps(cursor | COMMAND).encode()).decode()
    asked = {"name": title, "inputs": json.dumps(shown["vscode"]["inputs"]), "config": json.dumps(code | COMMAND)}
    return (
        f"[Add to Cursor](https://cursor.com/en/install-mcp?{urlencode({'name': title, 'config': config})}) · "
        f"[Add to VS Code](https://insiders.vscode.dev/redirect/mcp/install?{urlencode(asked, quote_via=quote)})"
    )


def known(_: App) -> str:
    """Return the plugins by others that are listed, with where they come from."""
    entries = tomllib.loads((ROOT / "docs/plugins/known.toml").read_text(encoding="utf-8"))["plugin"]
    if not entries:
        return "None yet: yours may be the first.\n"
    rows = (
        (
            f"`{entry['name']}`",
            entry["about"],
            f"[{entry['distribution']}]({entry['repository']})",
            str(entry["contract"]),
        )
        for entry in entries
    )
    return table(("name", "what it brings", "distribution", "contract"), rows)


def members(app: App) -> str:
    """Return the plugins of this project with what their distributions say of themselves."""
    own = sorted(name for name, plugin in app.engine.plugins.plugins.items() if plugin.is_first_party)
    abouts = {name: metadata(f"kie-ai-mcp-{name}")["Summary"].replace(" for kie-ai-mcp-server", "") for name in own}
    rows = ((f"`{name}`", about, f"`kie-ai-mcp-{name}`") for name, about in abouts.items())
    return table(("name", "what it brings", "distribution"), rows)


def set_up(_: App) -> str:
    """Return the command that sets up each client."""
    rows = ((client.title, f"`kie-ai-mcp-server install {name}`") for name, client in CLIENTS.items())
    return table(("client", "command"), rows)


def clients(_: App) -> str:
    """Return every client that `install` knows, with its file and what that takes."""
    rows = []
    for name, client in CLIENTS.items():
        systems = {"Linux": "linux", "macOS": "darwin", "Windows": "win32"}
        places = {title: config_path(name, system, {}, Path("~")).as_posix() for title, system in systems.items()}
        files = [
            f"{'' if len({*places.values()}) == 1 else f'{_joined(own)}: '}`{place}`"
            for place in dict.fromkeys(places.values())
            if (own := [title for title in places if places[title] == place])
        ]
        takes = {
            "names of variables": client.reference,
            "a server's address": client.address,
            "a question for the key": client.asks,
        }
        rows.append(
            (f"`{name}`", client.title, "; ".join(files), ", ".join(what for what, can in takes.items() if can))
        )
    return table(("name", "client", "its file", "what it takes besides a command and settings"), rows)


def _joined(words: Sequence[str]) -> str:
    return " and ".join(words)


PARTS: Mapping[str, Callable[[App], str]] = {
    "links": links,
    "families": families,
    "providers": printed("providers", "--markdown"),
    "tools": printed("tools", "--markdown"),
    "models": models,
    "sizes": sizes,
    "settings": settings,
    "commands": commands,
    "keys": keys,
    "set_up": set_up,
    "clients": clients,
    "known": known,
    "members": members,
}

if __name__ == "__main__":
    sys.exit(main())
