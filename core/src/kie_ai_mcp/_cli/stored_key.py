"""Place of the key: the system's keyring, or the settings file where no keyring can be used."""

import click

from kie_ai_mcp._cli.console import echo
from kie_ai_mcp._cli.settings_file import change_settings, settings_in
from kie_ai_mcp._settings import system_keyring
from kie_ai_mcp._settings.load import config_file
from kie_ai_mcp._settings.system_keyring import MARK, ORIGIN
from kie_ai_mcp.errors import ConfigError


def key_place() -> str:
    """Return where a key is kept, for people."""
    name = system_keyring.name()
    return f"the system's keyring ({name})" if name else f"{config_file()}, which only you can read"


def keep_key(key: str) -> str:
    """Put a key into the system's keyring where one can be used; return what the settings file is to hold then."""
    try:
        if system_keyring.name():
            system_keyring.store_key(key)
            return MARK
    except ConfigError as exc:
        echo(f"{exc.message} So the key goes into {config_file()}.", err=True, fg="yellow")
    return key


def delete_key() -> tuple[str, str]:
    """Delete the key from where `keep_key` has put it; return what was done, and why a key may be left."""
    done, left = [], ""
    try:
        written = settings_in(config_file()).get("api_key")
        change_settings({"api_key": None})
        if written not in (None, MARK):
            done.append(f"The key was deleted from {config_file()}.")
    except (ConfigError, click.ClickException) as exc:
        return "", f"in {config_file()}, as before: {exc if isinstance(exc, ConfigError) else exc.message}"
    try:
        if (written == MARK or (written is None and system_keyring.name())) and system_keyring.delete_key():
            done.append(f"The key was deleted from {ORIGIN}.")
    except ConfigError as exc:
        left = f"maybe still in {ORIGIN}. {exc}"
        if written == MARK:
            done.append(f"{config_file()} no longer says that the key is in {ORIGIN}.")
    none = "" if left else "No key was found in the system's keyring or the settings file."
    return " ".join(done) or none, left
