"""Questions of ``install``: the key, the folders and the daily limit, which are kept for all clients."""

import json
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli.console import asked, echo
from kie_ai_mcp._cli.install.clients import Client
from kie_ai_mcp._cli.settings_file import change_settings, check_change, check_settings, plain_number
from kie_ai_mcp._cli.stored_key import keep_key, key_place
from kie_ai_mcp._settings.amounts import dollars
from kie_ai_mcp._settings.keys import key_of
from kie_ai_mcp._settings.load import config_file, find_origins, load_settings
from kie_ai_mcp._settings.settings import PREFIX, own_folder
from kie_ai_mcp.errors import KEYS_PAGE, ConfigError

CREDITS_A_DAY = 1000
NOTHING = "none"
NOT_HERE = "A key is not given here, where others see it: --key - reads it from stdin, or asks for it."


def _folders(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _credits(text: str) -> float | int:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no number of credits.", next_step="Enter one such as 1000.") from None
    return plain_number(value)


# What is asked for, beside the key, and how the answer is read.
SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "output_dir": ("Folder for finished pictures, clips and sounds (none: not saved)", str),
    "upload_roots": (
        "Folders of pictures to edit or to animate, whose files may be sent (several with commas)",
        _folders,
    ),
    "max_credits_per_day": (
        f"Credits to spend in any 24 hours ({CREDITS_A_DAY} are about {dollars(CREDITS_A_DAY)}; none: no limit)",
        _credits,
    ),
}


@dataclass
class Shared:
    """What is to be kept for all clients: the key, and settings for the file."""

    key: str = field(default="", repr=False)
    values: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.key or self.values)

    def words(self) -> str:
        """Return what will be kept where, as lines for the person; the key is not among them."""
        lines = [f"  {name} = {json.dumps(value, ensure_ascii=False)}" for name, value in self.values.items()]
        text = "\n".join([f"For all clients, in {config_file()}:", *lines]) if lines else ""
        return "\n".join(filter(None, [text, f"The key goes into {key_place()}." if self.key else ""]))

    def check(self) -> None:
        """Raise what click raises, or ConfigError, where the settings file can't be written."""
        check_change(self.values | ({"api_key": self.key} if self.key else {}))

    def keep(self) -> None:
        """Write it down: the key into the system's keyring, or into the settings file where there is none."""
        values = dict(self.values)
        if self.key:
            values["api_key"] = keep_key(self.key)
        if values:
            change_settings(values)


def given_key(option: str | None, *, asks: bool) -> str:
    """Return the key of --key; an empty text where it was not given."""
    if option is None:
        return ""
    if option != "-":
        raise click.UsageError(NOT_HERE)
    if asks:
        return asked(f"Kie.ai key (from {KEYS_PAGE}; it is not shown)", key_of, hide_input=True)
    return key_of(sys.stdin.readline())


def ask_for(client: Client, shared: Shared, elsewhere: Collection[str]) -> None:
    """Ask the person for what is not set yet, neither in `shared` nor `elsewhere`, and add it to `shared`."""
    settings, origin = load_settings(faults=[]), find_origins().get("api_key", "")
    known = {*elsewhere, *shared.values, *({"api_key"} if shared.key else ())}
    known |= {name for name in SETTINGS if getattr(settings, name) not in (None, ())}
    lacks_key = "api_key" not in known and settings.key is None
    if lacks_key or SETTINGS.keys() - known:
        echo("Enter takes what is in brackets. Nothing is written before you agree.", err=True)
    if lacks_key:
        question = f"Kie.ai key (from {KEYS_PAGE}; it is not shown; Enter skips)"
        shared.key = asked(question, lambda text: key_of(text) if text.strip() else "", hide_input=True, default="")
    elif "api_key" not in known and origin.startswith(PREFIX) and client.key is None:
        echo(f"{origin} is set in this shell, but {client.title} may be started without it.", err=True)
        if click.confirm(f"Keep the key in {key_place()}?", default=True, err=True):
            shared.key = settings.key or ""
    for name, (words, read) in SETTINGS.items():
        if name not in known:
            default = {"output_dir": _pictures(), "max_credits_per_day": str(CREDITS_A_DAY)}.get(name, NOTHING)
            value = asked(words, partial(_checked, name, read), default=default)
            if value is not None:
                shared.values[name] = value


def _checked(name: str, read: Callable[[str], Any], text: str) -> Any:
    """Return the value of a setting that an answer gives; None where the answer is that there is to be none."""
    if text.strip().lower() in {NOTHING, "-", ""}:
        return None
    value = read(text.strip())
    check_settings({name: value})
    return value


def _pictures() -> str:
    try:
        folder = own_folder("pictures", "KIE_AI_OUTPUT_DIR")
    except ConfigError:
        return NOTHING
    with suppress(ValueError):
        return f"~/{folder.relative_to(Path.home()).as_posix()}"
    return str(folder)
