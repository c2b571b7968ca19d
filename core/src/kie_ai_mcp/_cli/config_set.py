"""Commands ``config set`` and ``config unset``: one setting in the settings file, judged as the server judges it."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic import ValidationError

from kie_ai_mcp._app.app import RESERVED, own_arguments
from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.call import read_value
from kie_ai_mcp._cli.settings_file import (
    change_settings,
    check_change,
    check_folders,
    judged,
    plain_number,
    settings_after,
    settings_in,
)
from kie_ai_mcp._cli.stored_key import delete_key, keep_key
from kie_ai_mcp._providers.loader import Plugins, load
from kie_ai_mcp._settings.databases import is_address, passwords_in
from kie_ai_mcp._settings.keys import holds_key, key_of
from kie_ai_mcp._settings.load import config_file, decoded, find_warnings, full_environment, load_settings, nearest
from kie_ai_mcp._settings.settings import PREFIX, SECRETS, SECTIONS, Settings, provider_variable
from kie_ai_mcp._settings.sources import overriding
from kie_ai_mcp._settings.system_keyring import MARK, ORIGIN
from kie_ai_mcp.errors import ConfigError

NAMES = [name for name in Settings.model_fields if name not in SECTIONS]
FORMS = {"providers": "providers.NAME.SETTING", "tools": "tools.TOOL.ARGUMENT"}  # of the keys of sections
NEEDS_PROVIDERS = ("enabled_", "disabled_", "pinned_", *FORMS)  # keys of values that providers judge
UNWRITTEN = "Nothing was written."


def _keys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


key_argument = click.argument("key", shell_complete=_keys)


@click.command("set")
@key_argument
@click.argument("value", required=False)
@click.option("--add", is_flag=True, help="Add VALUE to the list that the setting is, and leave the rest of it.")
@console.json_option
def set_setting(key: str, value: str | None, add: bool) -> None:
    """Write the setting KEY into the settings file.

    Comments and all else in the file stay. VALUE is what the setting's variable would hold; a list has commas between
    its parts, and is replaced unless --add is given. A wrong value is refused. A key or token is asked for, so that it
    stands in no shell's history; with - as VALUE it is read from stdin. The value of api_key goes into the system's
    keyring where one can be used.

    \b
    kie-ai-mcp-server config set max_credits_per_day 500
    kie-ai-mcp-server config set disabled_providers luma,pika
    kie-ai-mcp-server config set upload_roots --add ~/Pictures
    kie-ai-mcp-server config set tools.generate_veo3_video.model veo3_fast
    kie-ai-mcp-server config set api_key
    """
    key = _known(key)
    text = _secret(key, value) if _is_secret(key) and not _is_open_address(key, value) else value
    if text is None:
        raise click.UsageError(f"Give the value: {console.PROGRAM} config set {key} VALUE")
    change = _Change(key, _typed(key, text), add)
    if add and not isinstance(change.value, list):
        raise click.UsageError(f"{key} is no list, so nothing can be added to it. Leave --add out.")
    values = change(settings_in(config_file()))
    _check(values)
    check_folders({key: change.value})
    if key == "api_key":
        check_change(values)
        change.value = keep_key(text)
    path = change_settings(change)
    if change.value == MARK:
        console.show({"setting": key, "place": ORIGIN}, f"Stored in {ORIGIN}. {_when_it_holds(key)}")
    else:
        said = f"{key} is written to {path}. {_when_it_holds(key)}"
        about: dict[str, Any] = {"setting": key, "file": str(path)}
        if isinstance(after := change.after, list):
            about |= {"before": change.before, "value": after}
            said += f"\n{key}: {', '.join(map(str, after)) or 'none'}"
            said += f"\nbefore: {', '.join(map(str, change.before))}" if change.before not in ([], after) else ""
        console.show(about, said)


@click.command("unset")
@key_argument
@console.json_option
def unset(key: str) -> None:
    """Take the setting KEY out of the settings file.

    Its default holds then, or what a variable of the environment says. With api_key the key is deleted from the
    system's keyring, too.
    """
    key, path = _known(key, is_set=True), config_file()
    change = {key: None}
    if key == "api_key":
        done, left = delete_key()
        said = " ".join(filter(None, [done, left and f"The key is {left}"])) + f" {_when_it_holds(key)}"
    elif settings_after(settings_in(path), change) == settings_in(path):
        said = f"{key} is not in {path}, so nothing was changed."
        said += f" {name} sets it in this environment." if (name := _overriding(key)) else ""
    else:
        _check(change)
        said = f"{key} is taken out of {change_settings(change)}. {_when_it_holds(key)}"
    console.show({"setting": key, "file": str(path)}, said)


@dataclass
class _Change:
    """The change of one setting in the settings file: a new value, or parts added to the list in the file."""

    key: str
    value: Any
    add: bool
    before: list[Any] = field(default_factory=list)

    def __call__(self, held: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is to be written into a file that holds these values."""
        self.before = _list_in(held, self.key)
        return {self.key: self.after}

    @property
    def after(self) -> Any:
        """The value that the setting has after the change."""
        return [*self.before, *(part for part in self.value if part not in self.before)] if self.add else self.value


def _list_in(held: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list that a setting is among values of a file; an empty one where it is none, or not there."""
    value = held.get(key, [])
    if isinstance(value, str) and _is_list(key):
        with suppress(ValidationError):
            return [str(part) for part in getattr(Settings.model_validate({key: value}), key)]
    return value if isinstance(value, list) else []


def _is_list(key: str) -> bool:
    return key in NAMES and get_origin(Settings.model_fields[key].annotation) is tuple


def _known(key: str, *, is_set: bool = False) -> str:
    """Return a setting's name as files have it; fail for one that there is not, unless the file has it."""
    section, *rest = key.split(".")
    if section in FORMS:
        if len(rest) != 2 or not all(rest):
            raise click.UsageError(f"{key} is not of the form {FORMS[section]}.")
        return key
    name = key.removeprefix(PREFIX).lower().replace("-", "_")
    if name not in NAMES and not (is_set and key in settings_in(config_file())):
        near = nearest(name, [*NAMES, *FORMS.values()], f"All of them: {console.PROGRAM} config show")
        raise click.UsageError(f"There is no setting {key!r}. {near}")
    return name if name in NAMES else key


def _is_secret(key: str) -> bool:
    return key in SECRETS or (key.startswith("providers.") and holds_key(key))


def _is_open_address(key: str, value: str | None) -> bool:
    """Return whether a value is a database's address without a password, which may stand in a shell's history."""
    return key == "database_url" and value is not None and is_address(value) and not passwords_in(value)


def _secret(key: str, value: str | None) -> str:
    """Return a secret that a person types hidden, or that comes through stdin."""
    if value == "-":
        text = _piped()
    elif value is not None:
        holds = "holds a password" if key == "database_url" else "is a secret"
        reason = f"{key} {holds}: written here, it would stay in your shell's history."
        raise click.UsageError(f"{reason} Leave the value out, and you are asked for it; or give - and pipe it in.")
    elif console.has_person():
        return console.asked(f"{key} (not shown)", lambda text: _usable(key, text.strip()), hide_input=True)
    else:
        raise click.UsageError("This is no terminal where a person could be asked: give - and pipe the value in.")
    if not text:
        raise click.UsageError(f"The value is empty. {UNWRITTEN}")
    try:
        return _usable(key, text)
    except ConfigError as exc:
        raise ConfigError(exc.message, next_step=f"{exc.next_step} {UNWRITTEN}") from None


def _usable(key: str, text: str) -> str:
    """Return a secret as it was meant; raise ConfigError for a text that is none."""
    text = key_of(text) if holds_key(key) else text
    if key in SECRETS:
        with judged({key: text}) as (environ, faults):
            load_settings(environ, faults)
        if faults:
            raise faults[0]
    return text


def _piped() -> str:
    try:
        return decoded(sys.stdin.buffer.read()).strip()
    except UnicodeDecodeError:
        raise click.UsageError(f"What stdin holds is no text. {UNWRITTEN}") from None


def _typed(key: str, text: str) -> Any:
    """Return the text of a setting as its file has it: a number, a list, a truth value, or the text itself."""
    section, *rest = key.split(".")
    if section == "tools":
        tool, argument = rest
        return read_value(text, _schema(tool).get(argument, {"type": ["number", "string"]}))
    if section == "providers":
        return text
    if _is_list(key):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        value = getattr(Settings.model_validate({key: text}), key)
    except ValidationError:
        return text  # to be refused, with the reason
    if isinstance(value, float):
        return plain_number(value)
    return value if isinstance(value, bool | int) else text


def _schema(tool: str) -> Mapping[str, Any]:
    """Return what the arguments of a tool take; nothing of a tool that is unknown, which is refused later."""
    if tool in RESERVED:
        return dict(own_arguments(tool)[1].schema["properties"])
    plugins = console.load_plugins(load_settings(faults=[]))
    bound = plugins.tools.get(tool) or plugins.unlisted.get(tool)
    return dict(bound.input_schema["properties"]) if bound else {}


def _check(change: Mapping[str, Any]) -> None:
    """Raise ConfigError where the server would refuse the settings after a change, and did not refuse them before."""
    before = settings_in(config_file())
    with_providers = any(key.startswith(NEEDS_PROVIDERS) for key in change)
    known = {str(fault) for fault in _faults(before, with_providers=with_providers)}
    for fault in _faults(settings_after(before, change), with_providers=with_providers):
        if str(fault) not in known:
            raise ConfigError(fault.message, next_step=f"{fault.next_step} {UNWRITTEN}".strip())


def _faults(values: Mapping[str, Any], *, with_providers: bool) -> list[ConfigError]:
    """Return what the server would find wrong with a settings file, as if no variable were set."""
    with judged(values) as (environ, faults):
        settings = load_settings(environ, faults)
        faults += [
            ConfigError(text) for name, text in find_warnings(environ).items() if name not in {"variables", "database"}
        ]
        if with_providers:
            load(Plugins, settings, RESERVED, faults)
    return faults


def _overriding(key: str) -> str:
    """Return the variable of the environment that wins over the file; an empty text where none is set."""
    section, *rest = key.split(".")
    if section == "providers":
        name = provider_variable(*rest)
        return name if full_environment().get(name, "").strip() else ""
    return overriding(key)


def _when_it_holds(key: str) -> str:
    """Return from when on a change of the file holds, or which variable of the environment wins over it."""
    if name := _overriding(key):
        return f"But {name} is set in this environment, and wins over the file."
    return "Servers that run take it at their next start."
