"""Commands ``config``: the settings with their origins, the path of their file, and a commented file to start from."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from kie_ai_mcp._cli.config_set import set_setting, unset
from kie_ai_mcp._cli.console import PROGRAM, Commands, UserPath, echo, file_errors, json_option, show, terminal
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.databases import place_in
from kie_ai_mcp._settings.load import config_file, find_origins, load_settings, nearest
from kie_ai_mcp._settings.settings import PREFIX, SECRET_SETTINGS, SECTIONS, Settings, variable
from kie_ai_mcp.errors import KEYS_PAGE

SHORTEST = 16  # characters that a key must have before its last ones are shown, which distinguish two keys

# Values in a fresh file for settings that have no default.
EXAMPLES: dict[str, Any] = {
    "api_key": "your key",
    "db_path": "~/kie/tasks.db",
    "database_url": "postgresql://USER:PASSWORD@HOST/NAME",
    "output_dir": "~/Pictures/kie",
    "max_credits_per_day": 500,
    "max_credits_per_request": 100,
    "assumed_credits": 50,
    "confirm_credits": 20,
    "patience_s": 120.0,
    "retention_days": 365,
    "log_level": "info",
    "max_submissions_per_hour": 60,
    "http_token": "a long text that nobody guesses",
    "public_url": "https://example.com/kie",
    "oauth_issuer": "https://login.example.com/",
    "webhook_key": "your account's webhook key",
    "user_keys": "NAME=KEY",
}

HEAD = f"""\
# Settings of {PROGRAM}. A line that begins with "# " shows a default or an example: remove the "# " to use it.
# Every setting may also be an environment variable, named in capitals beside it, which then wins over this file.
# What holds, and why: {PROGRAM} config show
"""


TOOL = """\
# Your own defaults of a tool's arguments; what a call gives wins
# [tools.generate_veo3_video]
# model = "veo3_fast"
# max_credits = 100
"""


@click.group(cls=Commands)
def config() -> None:
    """Show the settings and change them, say where they are kept, or begin a file of them."""


config.add_command(set_setting)
config.add_command(unset)


@config.command("show")
@click.argument("setting", required=False)
@json_option
def show_settings(setting: str | None) -> None:
    """Show every setting, its value and its origin; or one SETTING.

    The origin is a variable, the file, or the default. Of a key, only the end is shown.
    """
    columns = ("setting", "value", "from", "meaning")
    rows = list(_rows(load_settings(), find_origins()))
    if setting is not None:
        name = setting.removeprefix(PREFIX).lower()
        if (row := next((row for row in rows if row[0] == name), None)) is None:
            near = nearest(name, [row[0] for row in rows], f"All of them: {PROGRAM} config show")
            raise click.UsageError(f"There is no setting {setting!r}. {near}")
        lines = zip(columns, map(_as_text, row), strict=True)
        show(dict(zip(columns, row, strict=True)), "\n".join(f"{title}: {text}" for title, text in lines))
        return
    show([dict(zip(columns, row, strict=True)) for row in rows], lambda: _print(rows, columns))


def _print(rows: Sequence[tuple[str, Any, str, str]], columns: Sequence[str]) -> None:
    cells = [[*map(_as_text, row)] for row in rows]
    if terminal().is_shown():  # a variable is named like its setting, and there is one file
        short = {"default": "", str(config_file()): "file"}
        cells = [[name, value, short.get(origin, "variable"), meaning] for name, value, origin, meaning in cells]
    terminal().print_table(cells, columns, cut=("meaning",), wrapped=("value",))
    if terminal().is_shown():
        echo(f"The file: {config_file()}\nOne in full: {PROGRAM} config show SETTING")


@config.command()
@json_option
def path() -> None:
    """Say where the configuration file is, or would be.

    The variable KIE_AI_CONFIG names another.
    """
    file = config_file()
    show({"path": str(file), "exists": file.is_file()}, str(file))


@config.command()
@click.option("--output", type=UserPath(dir_okay=False), help="Write it there instead.")
@json_option
def init(output: Path | None) -> None:
    """Write a commented configuration file.

    It names every setting with its meaning and its default, and changes nothing by itself. A file that is there is
    never overwritten.
    """
    target = output or config_file()
    if target.exists():
        raise click.ClickException(f"{target} exists already and was left as it is. Edit it, or give --output.")
    with file_errors(target, "written", "Give --output, or set KIE_AI_CONFIG."):
        target.parent.mkdir(parents=True, exist_ok=True)
        # It will hold the key, so only its owner may read it.
        with open(target, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(fresh_file())
    text = f"Written to {target}. Enter your key there, and look at the result with: {PROGRAM} config show"
    show({"path": target, "written": True}, text)


def fresh_file() -> str:
    """Return a configuration file that changes nothing: every setting, commented out, with its meaning."""
    blocks = [HEAD]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        value = EXAMPLES.get(name) if default is None else default
        more = f"; a key comes from {KEYS_PAGE}" if name == "api_key" else "; not set" if default is None else ""
        # TOML and JSON write text, numbers, truth values and lists of them the same way.
        text = json.dumps("" if value is None else _plain(value), ensure_ascii=False)
        blocks.append(f"# {variable(name)}: {field.description}{more}\n# {name} = {text}\n")
    for plugin in Plugins(Settings.model_validate({})).plugins.values():
        if plugin.provider.settings:
            lines = [f'# {name} = ""  # {meaning}\n' for name, meaning in plugin.provider.settings.items()]
            blocks.append(f"# {plugin.name}: settings of one provider\n# [providers.{plugin.name}]\n{''.join(lines)}")
    return "\n".join([*blocks, TOOL])


def _rows(settings: Settings, origins: dict[str, str]) -> Iterator[tuple[str, Any, str, str]]:
    """Yield the name, value, origin and meaning of each setting."""
    for name, field in Settings.model_fields.items():
        if name not in SECTIONS:
            value = settings.database if name == "db_path" else getattr(settings, name)
            if name == "database_url" and value is not None:
                value = place_in(settings.database_address)
            value = settings.mask.text(value) if isinstance(value, str) else value  # an address may hold a password
            yield name, _plain(value), origins.get(name, "default"), field.description or ""
    for sort, sections in ("providers", settings.providers), ("tools", settings.tools):
        for name, section in sections.items():
            for key, value in section.items():
                yield f"{sort}.{name}.{key}", _plain(value, key), origins[sort], ""
    for name, value in settings.provider_variables.items():
        yield name.removeprefix(PREFIX).lower(), _plain(value, name), name, ""


def _plain(value: Any, name: str = "") -> Any:
    """Return a value as JSON has it; a secret, known by its type or its name, is masked."""
    if isinstance(value, SecretStr) or name.lower().endswith(SECRET_SETTINGS):
        secret = value.get_secret_value().strip() if isinstance(value, SecretStr) else str(value)
        return f"[set, ends in {secret[-4:]}]" if len(secret) >= SHORTEST else "[set]" if secret else ""
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
