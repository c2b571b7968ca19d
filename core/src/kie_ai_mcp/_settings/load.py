"""Loading of the settings from the environment and one TOML file, and where each of them comes from.

The environment wins over the file, the file over the default.
"""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import PREFIX, SECRETS, SECTIONS, SUBPREFIX, Settings, at_home, own_folder, variable
from kie_ai_mcp.errors import ConfigError, shorten

# A client's reference to a variable that it did not know, or could not replace; it stands for no value.
_UNEXPANDED = re.compile(r"\s*\$(\{[^{}]*\}|[A-Za-z_][A-Za-z0-9_]*)\s*$")


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the environment (this process's by default) and the configuration file.

    `ConfigError` names a key that is unknown, or a value that can't be used, and the cure.
    """
    values, origins = _read(environ)
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        raise _unusable(exc, values, origins) from None


def find_origins(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the origin of each setting that is not at its default: a variable's name or the file's path."""
    return _read(environ)[1]


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the configuration file that is read if it exists: ``KIE_AI_CONFIG``, else the user's own."""
    chosen = environ.get(f"{PREFIX}CONFIG", "").strip()
    if not chosen:
        return own_folder("config", "KIE_AI_CONFIG") / "config.toml"
    try:
        return at_home(Path(chosen))
    except ValueError as exc:
        raise ConfigError(f"KIE_AI_CONFIG is {shorten(chosen)}: {exc}.") from None


def mask_environment(environ: Mapping[str, str] = os.environ) -> Mask:
    """Return the mask of the environment's own secrets, for errors that come before there are settings."""
    return Mask(environ.get(variable(name), "").strip() for name in SECRETS)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a sentence with those of the names that resemble `name`, or with all of them."""
    names = sorted(names)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."


def _read(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values in the file and the environment, and the origin of each."""
    values, origins = _read_file(environ)
    fields = [field for field in Settings.model_fields if field not in SECTIONS]
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG" or not value.strip() or _UNEXPANDED.match(value):
            continue
        field = name.removeprefix(PREFIX).lower()
        if name.startswith(SUBPREFIX):
            values.setdefault("provider_variables", {})[name] = value.strip()
        elif field in fields:
            values[field] = value.strip()
            origins[field] = name
        else:
            raise _unknown(name, map(variable, fields))
    return values, origins


def _read_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    named = bool(environ.get(f"{PREFIX}CONFIG", "").strip())
    try:
        path = config_file(environ)
        if not named and not path.is_file():
            return {}, {}
    except (PermissionError, ConfigError):  # an unknown home folder, or one that can't be entered, holds no file for us
        if named:
            raise
        return {}, {}
    import tomllib  # noqa: PLC0415  most installations have no file

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        cure = "Correct KIE_AI_CONFIG or the file's permissions."
        raise ConfigError(f"The configuration file {path} can't be read: {exc.strerror}.", next_step=cure) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The configuration file {path} is not valid TOML: {exc}.", next_step="Correct it.") from exc
    fields = Settings.model_fields.keys() - {"provider_variables"}
    for key in values:
        if key not in fields:
            raise _unknown(key, fields, f" in {path}")
    return values, dict.fromkeys(values, str(path))


def _unknown(name: str, names: Iterable[str], place: str = "") -> ConfigError:
    return ConfigError(f"Unknown setting {name}{place}.", next_step=nearest(name, names))


def _unusable(exc: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigError:
    error = exc.errors(include_url=False, include_input=False)[0]
    field = str(error["loc"][0])
    source = origins.get(field, field)
    place = source if source.startswith(PREFIX) else f"{field} in {source}"
    shown = "a secret" if field in SECRETS else shorten(values.get(field))
    reason = error["msg"].removeprefix("Value error, ")
    cure = f"It means: {Settings.model_fields[field].description}."
    if field == "timeout":
        reason = "it must be a whole number of milliseconds, at least 1000"
        cure = "For 60 seconds set it to 60000."
    return ConfigError(f"{place} is {shown}: {reason}.", next_step=cure)
