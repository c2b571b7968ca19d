"""Entries of this server in the files of clients, looked at for ``doctor``: what each starts, and whether it is there.

Nothing is started, and no file is changed.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._cli.console import PROGRAM
from kie_ai_mcp._cli.findings import Finding
from kie_ai_mcp._cli.install.clients import ADDRESSES, CLIENTS, ENTRY, Client, Env, config_path
from kie_ai_mcp._cli.install.entries import PROGRAMS, own_entries, start_of
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._settings.load import find_warnings, load_settings
from kie_ai_mcp._settings.settings import PREFIX
from kie_ai_mcp.errors import ConfigError

CHECK = "client"


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
    for entry, own in entries.items():
        yield _finding(name, entry, own, start_of(client, text, entry, environ) if _is_whole(client, own) else None)


def _is_whole(client: Client, own: Mapping[str, Any]) -> bool:
    """Return whether an entry has a program and its arguments, all of them texts."""
    command, args = own.get(client.command), own.get(client.args or "", [])
    words = command if client.args is None else [command, *args] if isinstance(args, list) else None
    return isinstance(words, list) and bool(words) and all(isinstance(word, str) for word in words)


def _finding(name: str, entry: str, own: Mapping[str, Any], start: tuple[list[str], dict[str, str]] | None) -> Finding:
    title = CLIENTS[name].title
    if any(key in own for key in ADDRESSES):
        reason = f"{title} uses a server elsewhere, which {PROGRAM} doctor --url ADDRESS looks at."
        return Finding(CHECK, "not checked", reason)
    option = "" if entry == ENTRY else f" --name {entry}"
    again = f"Run: {PROGRAM} install {name}{option}; then restart {title}."
    if start is None:
        return Finding(CHECK, "fail", f"{title}'s entry {entry} names no program to start.", again)
    (program, *arguments), env = start
    place = shutil.which(program, path=env.get("PATH"))
    is_bare = not Path(program).is_absolute()
    if place is None:
        problem = "is not on the PATH of this shell" if is_bare else "is not there, or can't be run"
        return Finding(CHECK, "fail", f"{title}'s entry {entry} starts {program}, which {problem}.", again)
    if missing := [part for part in arguments if Path(part).is_absolute() and not Path(part).exists()]:
        problem = f"starts {program} with {missing[0]}, which is not there"
        return Finding(CHECK, "fail", f"{title}'s entry {entry} {problem}.", again)
    if faults := _faults(env):
        cure = f"Correct it in {title}'s file, and restart {title}."
        return Finding(CHECK, "fail", f"{title}'s entry {entry}: {faults[0]}", cure)
    where = f" It is {place} in this shell; {title} may have another PATH." if is_bare else ""
    return Finding(CHECK, "ok", f"{title} starts {program}.{where}")


def _faults(env: Mapping[str, str]) -> list[str]:
    """Return what the server would find wrong with the variables of an entry, other than clients' own references."""
    own = [key for key, value in env.items() if key.startswith(PREFIX) and not {"$", "{", "%"} & {*value}]
    faults: list[ConfigError] = []
    load_settings(env, faults)
    texts = [*map(str, faults), *find_warnings(env).values()]
    return [text for text in texts if any(text.startswith((f"{key} ", f"Unknown setting {key}.")) for key in own)]
