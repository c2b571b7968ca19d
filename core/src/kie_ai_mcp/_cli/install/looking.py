"""Entries of this server in the files of clients, looked at for ``doctor``: what each starts, and whether it is there.

Nothing is started, and no file is changed.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli.console import PROGRAM
from kie_ai_mcp._cli.findings import Finding, State
from kie_ai_mcp._cli.install.clients import ADDRESSES, CLIENTS, ENTRY, KEY, Client, Env, config_path
from kie_ai_mcp._cli.install.entries import PROGRAMS, own_entries, own_key, server_arguments, start_of
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._cli.settings_file import FOLDERS, check_folders
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._settings.load import find_origins, find_warnings, load_settings
from kie_ai_mcp._settings.settings import PREFIX, Settings, variable
from kie_ai_mcp.errors import ConfigError

CHECK = "client"
PLAIN = re.compile(r"-{0,2}[a-z][a-z-]{0,20}")  # an argument that can be shown: no key is like it


def look_at_clients(environ: Env) -> list[Finding]:
    """Return a finding of each entry of this server in a client's file, and of each file that can't be read."""
    findings: list[Finding] = []
    try:
        for name in CLIENTS:
            if (path := config_path(name)).is_file():
                findings += _look_at(name, path, environ)
    except ConfigError as exc:
        return [Finding(CHECK, "not checked", exc.message)]
    except OSError as exc:
        findings.append(Finding(CHECK, "not checked", f"{exc.filename} can't be reached: {exc.strerror}."))
    none = f"No client's file has an entry of this server. {PROGRAM} install CLIENT enters it."
    return findings or [Finding(CHECK, "ok", none)]


def _look_at(name: str, path: Path, environ: Env) -> Iterator[Finding]:
    client, text = CLIENTS[name], ""
    try:
        text = TextFile.read(path).text
        entries = own_entries(client, text)
    except (click.ClickException, Malformed) as exc:
        words = f"can't be understood ({exc})" if isinstance(exc, Malformed) else "can't be read"
        cure = f"Correct it. To enter this server by hand: {PROGRAM} install {name} --print"
        is_ours = any(word in text for word in PROGRAMS)
        yield Finding(CHECK, "fail" if is_ours else "warn", f"{client.title}'s file {path} {words}.", cure)
        return
    for entry in entries:
        yield from look_at_entry(name, path, text, entry, environ)


def look_at_entry(name: str, path: Path, text: str, entry: str, environ: Env) -> list[Finding]:
    """Return what is wrong with an entry of this server in a client's file, else the one finding that it is well."""
    own = own_entries(CLIENTS[name], text)[entry]
    return [*_Entry(name, path, text, entry, own, environ).findings()]


@dataclass(frozen=True)
class _Entry:
    """One entry of this server in a client's file, in the environment of the shell that looks at it."""

    client_name: str
    path: Path
    text: str
    name: str
    own: Mapping[str, Any]
    environ: Env

    @property
    def _client(self) -> Client:
        return CLIENTS[self.client_name]

    @property
    def _again(self) -> str:
        """The cure by entering it once more."""
        option = "" if self.name == ENTRY else f" --name {self.name}"
        return f"Run: {PROGRAM} install {self.client_name}{option}; then restart {self._client.title}."

    @cached_property
    def _start(self) -> tuple[list[str], dict[str, str]]:
        return start_of(self._client, self.text, self.name, self.environ)

    def _is_whole(self) -> bool:
        """Return whether the entry has a program and its arguments, all of them texts."""
        client = self._client
        command, args = self.own.get(client.command), self.own.get(client.args or "", [])
        words = command if client.args is None else [command, *args] if isinstance(args, list) else None
        return isinstance(words, list) and bool(words) and all(isinstance(word, str) for word in words)

    def findings(self) -> Iterator[Finding]:
        """Yield each fault with its cure; where there is none, that it is well, or that it can't be looked at."""
        title = self._client.title
        if any(key in self.own for key in ADDRESSES):
            reason = f"{title} uses a server elsewhere. To look at it: {PROGRAM} doctor --url ADDRESS"
            yield Finding(CHECK, "not checked", reason)
            return
        if fault := self._fault_of_start():
            yield Finding(CHECK, "fail", f"{title}'s entry {self.name} {fault}", self._again)
            return
        faults = [*self._faults_of_settings(), *self._faults_of_folders(), *self._fault_of_key()]
        if faults:
            yield from faults
            return
        (program, *_), env = self._start
        place = None if Path(program).is_absolute() else shutil.which(program, path=env.get("PATH"))
        where = f" It is {place} in this shell; {title} may have another PATH." if place else ""
        yield Finding(CHECK, "ok", f"{title} starts {program}.{where}")

    def _fault_of_start(self) -> str:
        """Return what is wrong with the program and its arguments; an empty text where nothing is."""
        if not self._is_whole():
            return "names no program to start."
        (program, *arguments), env = self._start
        if shutil.which(program, path=env.get("PATH")) is None:
            is_bare = not Path(program).is_absolute()
            problem = "is not on the PATH of this shell" if is_bare else "is not there, or can't be run"
            return f"starts {program}, which {problem}."
        if missing := [part for part in arguments if Path(part).is_absolute() and not Path(part).exists()]:
            return f"starts {program} with {missing[0]}, which is not there."
        fault = _fault_of_arguments(server_arguments([program, *arguments]))
        return f"starts {program} wrongly: {fault}" if fault else ""

    @cached_property
    def _settings(self) -> tuple[Settings, list[ConfigError]]:
        """What the server reads when the entry starts it, and what is wrong with it."""
        faults: list[ConfigError] = []
        return load_settings(self._start[1], faults), faults

    def _faults_of_settings(self) -> Iterator[Finding]:
        """Yield what the server would find wrong with variables of the entry, other than clients' own references."""
        faults = self._settings[1]
        texts = dict.fromkeys([*map(str, faults), *find_warnings(self._start[1]).values()])
        for text in texts:
            if any(text.startswith((f"{key} ", f"Unknown setting {key}.")) for key in self._variables()):
                yield self._wrong("fail", text)

    def _faults_of_folders(self) -> Iterator[Finding]:
        """Yield the folders in variables of the entry that are of no use on this machine."""
        for name in (name for name in sorted(FOLDERS) if variable(name) in self._variables()):
            folders = getattr(self._settings[0], name)
            for folder in folders if isinstance(folders, tuple) else filter(None, [folders]):
                try:
                    check_folders({name: [str(folder)] if name == "upload_roots" else str(folder)})
                except ConfigError as exc:
                    state: State = "warn" if name == "upload_roots" else "fail"
                    yield self._wrong(state, exc.message.replace(name, variable(name), 1))

    def _fault_of_key(self) -> Iterator[Finding]:
        """Yield that the entry leads to another key than the one that this command uses; no key is shown."""
        env = self._start[1]
        theirs, ours = self._settings[0].key, load_settings(self.environ, []).key
        if theirs is None or ours is None or theirs == ours:
            return
        title, here = self._client.title, find_origins(self.environ).get("api_key")
        may = f"so {title} may spend the credits of another account than the one that is checked here."
        if own_key(self._client, self.text, self.name):
            reason = f"{title}'s entry {self.name} holds another key than {here}, {may}"
            cure = f"Take {KEY} out of the entry in {self.path}, or correct it there; then restart {title}."
        else:
            reason = (
                f"{title}'s entry {self.name} uses the key of {find_origins(env).get('api_key')}, not of {here}, {may}"
            )
            cure = f"Keep one of them: {PROGRAM} config set api_key"
        yield Finding(CHECK, "warn", reason, cure)

    def _variables(self) -> list[str]:
        """Return our variables that the entry sets, without those whose values hold a client's own references."""
        return [
            key for key, value in self._start[1].items() if key.startswith(PREFIX) and not {"$", "{", "%"} & {*value}
        ]

    def _wrong(self, state: State, text: str) -> Finding:
        title = self._client.title
        return Finding(
            CHECK, state, f"{title}'s entry {self.name}: {text}", f"Correct it in {self.path}, and restart {title}."
        )


def _fault_of_arguments(arguments: Sequence[str]) -> str:
    """Return why these arguments start no server for a client; an empty text where they do."""
    if not arguments:
        return ""
    group = click.get_current_context().find_root().command
    assert isinstance(group, click.Group)  # noqa: S101  it is ours
    first, *rest = arguments
    if first != "serve":
        shown = f"{first!r}" if PLAIN.fullmatch(first) else "its first argument"
        return f"{shown} does not serve. It is started by serve, or without arguments."
    command = group.commands["serve"]
    context = click.Context(command, info_name="serve")
    try:
        options, left, _ = command.make_parser(context).parse_args(rest)
        for option in command.params:
            if option.name in options:
                option.type_cast_value(context, options[option.name])
    except click.UsageError as exc:
        return f"serve does not take its arguments. {exc.format_message()}"
    if left:
        return "serve takes no further words."
    return "serve --http answers no client that starts it." if options.get("http") else ""
