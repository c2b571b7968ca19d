"""Changes of the settings file: values are set or removed, and comments and everything else stay as they are."""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from kie_ai_mcp._cli.console import PROGRAM, file_errors
from kie_ai_mcp._media.files import replacing
from kie_ai_mcp._settings.load import config_file, decoded, load_settings
from kie_ai_mcp.errors import ConfigError

HEAD = f"# Settings of {PROGRAM}. All of them, with their meanings: {PROGRAM} config show\n"


def change_settings(values: Mapping[str, Any]) -> Path:
    """Write settings into the settings file, which only its owner may read, and return its path; None removes one.

    A value that the server would refuse, or a file that can't be changed without losing something, is an error, and
    nothing is written.
    """
    path = config_file()
    target = Path(os.path.realpath(path))  # a link stays one
    with file_errors(path, "read", "Check its permissions."):
        before = _text(path, target.read_bytes()) if target.exists() else ""
    after = _changed(path, before, values)
    if after == before:
        return path
    with file_errors(path, "written", "Check its folder's permissions, or set KIE_AI_CONFIG."):
        if target.exists() and not target.stat().st_mode & stat.S_IWUSR:
            raise click.ClickException(f"{path} is read-only, so nothing was written. Make it writable.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, mode=0o600, fsync=True) as file:
            file.write(after.encode())
    return path


def check_settings(values: Mapping[str, Any]) -> None:
    """Raise ConfigError where the server would refuse one of these values."""
    variables = {f"KIE_AI_{name.upper()}": _as_variable(value) for name, value in values.items() if value is not None}
    load_settings({**variables, "KIE_AI_CONFIG": os.devnull})


def _as_variable(value: Any) -> str:
    return os.pathsep.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _text(path: Path, data: bytes) -> str:
    try:
        return decoded(data)
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text, so it was not changed.", next_step="Save it as UTF-8.") from None


def _changed(path: Path, text: str, values: Mapping[str, Any]) -> str:
    """Return the file's text with these values in it; what is there already stays as it is written."""
    try:
        before = tomllib.loads(text)
        document = tomlkit.parse(text)
        for name, value in values.items():
            if value is None and name in document:
                document.remove(name)
            elif value is not None and before.get(name) != value:
                document[name] = value
        after = tomlkit.dumps(document)
        expected = {name: value for name, value in {**before, **values}.items() if value is not None}
        is_sound = tomllib.loads(after) == expected
    except (tomllib.TOMLDecodeError, TOMLKitError) as exc:
        raise ConfigError(f"The settings file {path} is not valid TOML: {exc}.", next_step="Correct it.") from None
    if not is_sound:
        cure = f"Enter it by hand: {', '.join(values)}."
        raise ConfigError(f"{path} would have changed in more than this, so nothing was written.", next_step=cure)
    return after if text else HEAD + after
