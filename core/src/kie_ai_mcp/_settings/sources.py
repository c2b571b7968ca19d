"""Sources of settings: the variable that wins over the settings file, and the words for changing what holds one."""

from pathlib import Path

from kie_ai_mcp._settings.installation import shell_words
from kie_ai_mcp._settings.load import find_set, full_environment
from kie_ai_mcp._settings.settings import APP, variable

IN_CLIENT = "in the client's settings for this server, or in its environment"


def overriding(setting: str) -> str:
    """Return the variable of this process that sets a setting, so that the file's value counts for nothing; else ""."""
    name = variable(setting)
    return name if find_set(full_environment().get(name, ""), setting) else ""


def unless_overridden(setting: str) -> str:
    """Return what a person at a shell has to do beside `config set`; an empty text where that is all."""
    name = overriding(setting)
    return f" (and unset {name}, or correct it there)" if name else ""


def name_of(setting: str) -> str:
    """Return a setting as its user knows it: the variable that sets it, else its name in the settings file."""
    return overriding(setting) or f"{setting} in the settings file"


def way_to_set(setting: str, *words: str, shown: str = "") -> str:
    """Return how the user of a server changes a setting: a command with these words, or the place of its variable.

    Without words it is to be unset. A variable is named as `shown`, where the sentence has named it before.
    """
    if name := overriding(setting):
        return f"change {shown or name} {IN_CLIENT}"
    return f"`{' '.join([APP, 'config', 'set' if words else 'unset', setting, *words])}`"


def to_allow(folder: Path) -> str:
    """Return how the user allows a folder beside those that are allowed."""
    own = str(folder)
    if name := overriding("upload_roots"):
        path = own if folder.is_absolute() else "its absolute path"
        return f"Let the user allow the folder: add {path} to {name} {IN_CLIENT}, then restart."
    way = f"{way_to_set('upload_roots', '--add', 'FOLDER')} with its absolute path"
    if folder.is_absolute() and "," not in own:
        way = way_to_set("upload_roots", "--add", shell_words([own]))
    return f"Let the user allow the folder: {way}, then restart (KIE_AI_UPLOAD_ROOTS)."
