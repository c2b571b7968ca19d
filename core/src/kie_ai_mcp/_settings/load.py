"""Loading of the settings from the environment and one TOML file, and where each of them comes from.

The environment wins over the file, the file over the default.
"""

import codecs
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from errno import EINVAL
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from kie_ai_mcp._settings import system_keyring
from kie_ai_mcp._settings.amounts import what_it_takes
from kie_ai_mcp._settings.databases import is_usable, passwords_in
from kie_ai_mcp._settings.keys import BLANKS, holds_key, is_no_key, unwrapped
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import (
    HERE,
    PREFIX,
    SECRET_ENDINGS,
    SECRETS,
    SECTIONS,
    SUBPREFIX,
    Settings,
    at_home,
    own_folder,
    provider_variable,
    variable,
)
from kie_ai_mcp._start.limits import LOAD, WAYS_TO_LOAD
from kie_ai_mcp.errors import ConfigError, shorten
from kie_ai_mcp.specs import KIE

# A client's reference to a variable that it did not know, or could not replace; it stands for no value.
_UNEXPANDED = re.compile(r"\$(\{[^{}]*\}|[A-Za-z_][A-Za-z0-9_]*)")
_PLATFORM_WORDS = {"port", "service"}  # in each variable that Kubernetes sets for a service named kie-ai
_taken: dict[str, str] = {}  # what `take_secrets` removed from this process's environment


def take_secrets() -> None:
    """Remove every key and token from this process's environment, where any provider could read them.

    The settings are read as before.
    """
    ours = [name for name in os.environ if name.startswith(PREFIX) and name.lower().endswith(SECRET_ENDINGS)]
    for name in [*ours, *{"PGPASSWORD"} & os.environ.keys()]:
        _taken[name] = os.environ.pop(name)


def full_environment(environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """Return an environment; this process's own with the secrets that were removed, as a child of its kind needs it."""
    return {**_taken, **environ} if environ is os.environ else environ


Faults = list[ConfigError]  # what is wrong with the settings


class _Strict(Faults):
    def append(self, fault: ConfigError) -> None:
        raise fault


STRICT = _Strict()  # stays empty, since the first fault is raised


def load_settings(environ: Mapping[str, str] = os.environ, faults: Faults = STRICT) -> Settings:
    """Return the settings of the environment (this process's by default) and the configuration file.

    A `ConfigError` names each key that is unknown or value that can't be used, which `faults` leave out, and the cure.
    """
    values, origins, _ = _read(environ, faults)
    while True:
        try:
            return settings_of(values, origins)
        except ConfigError as fault:
            faults.append(fault)
            del values[fault.where[0]]


def settings_of(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    """Return the settings of these values; a `ConfigError` names one that can't be used, and nothing secret of it."""
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        raise _unusable(exc, values, origins) from None


def find_origins(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the origin of each setting that is not at its default: a variable's name or the file's path."""
    return _read(environ, [])[1]


def find_warnings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what was left out of the settings, as sentences: by setting, and all foreign variables together."""
    return _read(environ, [])[2]


def why_no_key(gateway: str) -> str:
    """Return why the key that is set for a service is none; an empty text where none is set."""
    own = ("api_key",) if gateway == KIE else (provider_variable(gateway, ""), f"providers.{gateway}.")
    return next((text for name, text in find_warnings().items() if name.startswith(own)), "")


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the configuration file that is read if it exists: ``KIE_AI_CONFIG``, else the user's own."""
    chosen = environ.get(f"{PREFIX}CONFIG", "").strip(BLANKS)
    if not chosen:
        return own_folder("config", "KIE_AI_CONFIG") / "config.toml"
    try:
        return at_home(Path(chosen))
    except ValueError as exc:
        raise ConfigError(f"KIE_AI_CONFIG is {shorten(chosen)}: {exc}.") from None


def with_password(address: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a database's address with the password of the environment, where it has none of its own."""
    password = full_environment(environ).get("PGPASSWORD")
    with suppress(ValueError):  # of what is no address, to be refused later
        if password and not passwords_in(address):
            return f"{address}{'&' if '?' in address else '?'}password={quote(password, safe='')}"
    return address


def mask_environment(environ: Mapping[str, str] = os.environ) -> Mask:
    """Return the mask of the environment's own secrets, for errors that come before there are settings."""
    environ = full_environment(environ)
    values = [unwrapped(environ.get(variable(name), "")) for name in SECRETS]
    return Mask([*values, *(part for value in values for pair in value.split(",") for part in pair.split("=")[1:])])


def decoded(data: bytes) -> str:
    """Return the text of a file: UTF-8, or what its byte order mark says, without the mark."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def refuse_endless(path: Path) -> None:
    """Raise OSError for a pipe or a device, which may never end, and gives its content once; the empty one is taken."""
    if str(path) != os.devnull and path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(EINVAL, "it is a pipe or a device")


def nearest(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Return a sentence with those of the names that resemble `name`; else what is given for that, or all of them."""
    names = sorted(names)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return otherwise or f"Known: {', '.join(names) or 'none'}."


def near_misses(name: str, names: Iterable[str]) -> list[str]:
    """Return the names for one of which an unknown name must have been meant: few letters differ, or words follow."""
    if _PLATFORM_WORDS & set(name.lower().split("_")):
        return []
    known = {word.replace("_", ""): word for word in names}
    near = [known[word] for word in get_close_matches(name.replace("_", ""), known, cutoff=0.75)]
    return near or [word for word in known.values() if name.startswith(f"{word}_")]


def _read(
    environ: Mapping[str, str], faults: list[ConfigError]
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Return the values in the file and the environment, the origin of each, and what was left out, and why."""
    environ = full_environment(environ)
    unset: dict[str, str] = {}
    try:
        values, origins = _read_file(environ, unset)
    except ConfigError as exc:
        faults.append(exc)
        values, origins = {}, {}
    for key in values.keys() - Settings.model_fields.keys() | values.keys() & {"provider_variables"}:
        names = Settings.model_fields.keys() - {"provider_variables"}
        faults.append(_unknown(key, names, f" in {config_file(environ)}"))
        del values[key]
    variables = values.setdefault("provider_variables", {})
    fields = [field for field in Settings.model_fields if field not in SECTIONS]
    foreign = []
    for name, value in environ.items():
        field = name.removeprefix(PREFIX).lower()
        if not name.upper().startswith("KIE") or not value.strip(BLANKS) or name == f"{PREFIX}CONFIG":
            continue
        if name == LOAD:
            if value.strip(BLANKS).lower() not in WAYS_TO_LOAD:
                cure = f"Set it to {' or '.join(WAYS_TO_LOAD)}, or leave it out."
                faults.append(ConfigError(f"{LOAD} is {shorten(value)}.", next_step=cure, where=("load",)))
            continue
        if not name.startswith(PREFIX):  # as other programs for this service name it
            for known in get_close_matches(name.upper(), map(variable, fields), n=1, cutoff=0.85):
                unset.setdefault(known.removeprefix(PREFIX).lower(), f"{name} is set, but this server reads {known}.")
        elif name.startswith(SUBPREFIX):
            if text := _usable(value, name, name, unset):
                variables[name] = text
        elif field in fields:
            if text := _usable(value, field, name, unset):
                values[field] = text
                origins[field] = name
        elif near := near_misses(field, (*fields, *SECTIONS)):
            meant = [variable(known) for known in near if known in fields]
            faults.append(_unknown(name, meant or map(variable, fields)))
        else:
            guess = get_close_matches(field, fields, n=1)
            foreign.append(f"{name} (did you mean {variable(guess[0])}?)" if guess else name)
    if values.get("api_key") == system_keyring.MARK:  # only the file can say so
        _read_keyring(values, origins, faults)
    if address := str(values.get("database_url") or ""):
        values["database_url"] = with_password(address, environ)
    unset = {name: text for name, text in unset.items() if not (values | variables).get(name)}
    if foreign:
        text = f"Variables that are no settings of this server, and are ignored: {', '.join(sorted(foreign))}."
        unset["variables"] = text
    if "db_path" not in values and HERE.is_file() and not is_usable(HERE):
        unset["database"] = f"{HERE.absolute()} belongs to another program, so it is left alone."
    return values, origins, unset


def _read_keyring(values: dict[str, Any], origins: dict[str, str], faults: list[ConfigError]) -> None:
    """Put the key in the system's keyring in the place of the word that stands for it."""
    try:
        values["api_key"], origins["api_key"] = system_keyring.read_key(), system_keyring.ORIGIN
    except ConfigError as exc:
        del values["api_key"]
        faults.append(ConfigError(exc.message, next_step=exc.next_step, where=("api_key",)))


def _usable(text: str, name: str, place: str, unset: dict[str, str]) -> str:
    """Return a text as it was meant; an empty one, with the reason in `unset`, where it stands for no value."""
    text = unwrapped(text) if (is_key := holds_key(name)) else text.strip(BLANKS)
    if is_key and is_no_key(text):
        unset[name] = f"{place} is {shorten(text)}: this is no key."
    elif _UNEXPANDED.fullmatch(text):
        unset[name] = f"{place} is {shorten(text)}, a reference that was not replaced, so it counts as unset."
    else:
        return text
    return ""


def find_set(text: str, setting: str) -> str:
    """Return a variable's text as its setting is read; an empty one where it sets nothing."""
    return _usable(text, setting, setting, {})


def _read_file(environ: Mapping[str, str], unset: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    named = bool(environ.get(f"{PREFIX}CONFIG", "").strip(BLANKS))
    try:
        path = config_file(environ)
        if not named and not (path.is_file() or path.is_fifo() or (path.is_symlink() and not path.exists())):
            return {}, {}
    except (PermissionError, ConfigError):  # an unknown home folder, or one that can't be entered, holds no file for us
        if named:
            raise
        return {}, {}
    import tomllib  # noqa: PLC0415  most installations have no file

    try:
        refuse_endless(path)
        values = tomllib.loads(decoded(path.read_bytes()))
    except OSError as exc:
        cure = "Correct KIE_AI_CONFIG or the file's permissions."
        raise ConfigError(f"The configuration file {path} can't be read: {exc.strerror}.", next_step=cure) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The configuration file {path} is not valid TOML: {exc}.", next_step="Correct it.") from exc
    sections = values.get("providers")
    parts = {f"providers.{name}.": part for name, part in sections.items()} if isinstance(sections, dict) else {}
    for start, part in ("", values), *parts.items():
        for key, value in list(part.items()) if isinstance(part, dict) else ():
            if holds_key(key) and isinstance(value, str) and (key, value) != ("api_key", system_keyring.MARK):
                part[key] = _usable(value, f"{start}{key}", f"{start}{key} in {path}", unset)
                if not part[key]:
                    del part[key]
    return values, dict.fromkeys(values, str(path))


def _unknown(name: str, names: Iterable[str], place: str = "") -> ConfigError:
    return ConfigError(f"Unknown setting {name}{place}.", next_step=nearest(name, names))


def _unusable(exc: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigError:
    error = exc.errors(include_url=False, include_input=False)[0]
    field = str(error["loc"][0])
    source = origins.get(field, field)
    place = source if source.startswith(PREFIX) else f"{field} in {source}"
    shown = "can't be used" if field in SECRETS else f"is {shorten(values.get(field))}"
    words = what_it_takes(error["type"], error.get("ctx", {}))
    reason = f"it must be {words}" if words else error["msg"].removeprefix("Value error, ")
    cure = f"It means: {Settings.model_fields[field].description}."
    if field == "timeout":
        reason = "it must be a whole number of milliseconds, at least 1000"
        cure = "For 60 seconds set it to 60000."
    return ConfigError(f"{place} {shown}: {reason}.", next_step=cure, where=(field,))
