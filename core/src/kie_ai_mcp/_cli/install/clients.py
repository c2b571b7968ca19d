"""MCP clients: the file of each, the form of its entries, and how it refers to environment variables.

The facts are from their documentation and their users' reports of November 2026. Nothing here writes a file.
"""

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from kie_ai_mcp._cli.install import jsonc
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._settings.installation import server_command
from kie_ai_mcp._settings.settings import PREFIX, variable
from kie_ai_mcp.errors import ConfigError

KEY = variable("api_key")
ENTRY = "kie-ai"
ADDRESSES = ("url", "httpUrl", "serverUrl")

Keys = tuple[str, ...]
Env = Mapping[str, str]


@dataclass(frozen=True)
class Client:
    """One MCP client: its name for people and the form of its file."""

    title: str
    servers: str = "mcpServers"  # the key in its file that holds the servers
    key: str | None = None  # its reference to the variable that holds our key; None where it supports no variables
    form: Literal["json", "toml"] = "json"
    usual: Mapping[str, Any] = field(default_factory=dict)  # further values, unless the file has them already


CLIENTS: dict[str, Client] = {
    "claude-desktop": Client("Claude Desktop"),
    # Without the default, an unset variable reaches the server as the text "${...}", or nothing starts at all.
    "claude-code": Client("Claude Code", key=f"${{{KEY}:-}}", usual={"type": "stdio"}),
    "cursor": Client("Cursor", key=f"${{env:{KEY}}}"),
    "vscode": Client("VS Code", servers="servers", key=f"${{env:{KEY}}}", usual={"type": "stdio"}),
    # It passes on only the variables that are named in its file. Its own limits are 10 s to start and 60 s for a call.
    "codex": Client(
        "Codex", servers="mcp_servers", key=KEY, form="toml", usual={"startup_timeout_sec": 60, "tool_timeout_sec": 300}
    ),
    "gemini": Client("Gemini CLI", key=f"${{{KEY}}}"),
    "windsurf": Client("Windsurf", key=f"${{env:{KEY}}}"),
}


def config_path(name: str, platform: str = sys.platform, environ: Env = os.environ, home: Path | None = None) -> Path:
    """Return the file in which a client of this user keeps its servers; it may not exist yet.

    Where a client has moved its file, the newest place wins in which it, or else its folder, exists.
    """
    try:
        places = _places(name, platform, environ, home or Path.home())
    except RuntimeError:
        cure = "Set HOME, or name the file with --file."
        raise ConfigError("This user has no home folder.", next_step=cure) from None
    files = [place for place in places if place.is_file()]
    folders = [place for place in places if place.parent.is_dir()]
    return (files or folders or places[-1:])[0]


def _places(name: str, platform: str, environ: Env, home: Path) -> list[Path]:
    """Return where a client's file may be, newest first, the usual one last."""
    if platform == "win32":
        programs = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif platform == "darwin":
        programs = home / "Library" / "Application Support"
    else:
        programs = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    usual = {
        "claude-desktop": programs / "Claude" / "claude_desktop_config.json",
        "claude-code": Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json",
        "cursor": home / ".cursor" / "mcp.json",
        "vscode": programs / "Code" / "User" / "mcp.json",
        "codex": Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml",
        "gemini": home / ".gemini" / "settings.json",
        "windsurf": home / ".codeium" / "windsurf" / "mcp_config.json",
    }
    newer: list[Path] = []
    if name == "claude-desktop" and platform == "win32":  # as a packaged app it sees a copy in its own container
        local = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
        packages = sorted((local / "Packages").glob("Claude_*"))
        newer = [folder / "LocalCache" / "Roaming" / "Claude" / usual[name].name for folder in packages]
    elif name == "windsurf":  # called Devin Desktop since June 2026
        newer = [(programs if platform == "win32" else home / ".config") / "devin" / usual[name].name]
    return [*newer, usual[name]]


class Spoiled(Exception):
    """The file that an edit made does not read back as it should: it differs in more than our entry."""


def edited(client: Client, text: str, env: Env, name: str = ENTRY) -> str:
    """Return a client's file with our entry in it, and everything else as it was.

    The entry sets the variables of `env` in clear text. In an existing entry, only the command, its arguments and these
    variables change: its key and what the user added stay. A file of another form raises `Malformed`; an edit that
    does not read back as it should raises `Spoiled`.
    """
    read, put = (jsonc.read, jsonc.put) if client.form == "json" else (_read_toml, _put_toml)
    before, entry = read(text), _new_entry(client, env)
    servers = before.get(client.servers)
    existing = servers.get(name) if isinstance(servers, dict) else None
    changes: dict[Keys, Any] = _changes(entry, existing, env) if isinstance(existing, dict) else {(): entry}
    try:
        for keys, value in changes.items():
            text = put(text, (client.servers, name, *keys), value)
        after = read(text)
        own = after[client.servers][name]
        complete = all(reduce(getitem, keys, own) == value for keys, value in changes.items())
    except Malformed:
        raise
    # The editor of TOML raises whatever it meets, for files that it can't edit.
    except (AttributeError, LookupError, TypeError, ValueError, TOMLKitError) as exc:
        raise Spoiled from exc
    if not complete or _others(before, client, name) != _others(after, client, name):
        raise Spoiled
    return text


def start_of(client: Client, text: str, name: str, environ: Env) -> tuple[list[str], dict[str, str]]:
    """Return the command of our entry in a client's file, and its environment where the client is started in `environ`.

    No setting reaches it but those of the entry.
    """
    own = (jsonc.read if client.form == "json" else _read_toml)(text)[client.servers][name]
    written = own.get("env")
    env = {key: str(value) for key, value in written.items()} if isinstance(written, Mapping) else {}
    if (KEY in env and env[KEY] == client.key) or KEY in own.get("env_vars", ()):
        env[KEY] = environ.get(KEY, "")
    others = {key: value for key, value in environ.items() if not key.startswith(PREFIX)}
    return [own["command"], *own["args"]], others | env


def _others(whole: Mapping[str, Any], client: Client, name: str) -> str:
    """Return all that a file holds besides our entry, for comparing."""
    servers = whole.get(client.servers, {})
    rest = {key: value for key, value in servers.items() if key != name} if isinstance(servers, dict) else servers
    return json.dumps({**whole, client.servers: rest}, sort_keys=True, default=repr)


def _new_entry(client: Client, env: Env) -> dict[str, Any]:
    command, args = server_command()
    entry: dict[str, Any] = {"command": command, "args": args}
    if client.form == "toml":
        entry |= {**({} if KEY in env else {"env_vars": [KEY]}), **client.usual}
    else:
        entry = {**client.usual, **entry}
        env = {KEY: client.key, **env} if client.key else env
    return {**entry, "env": dict(env)} if env else entry


def _read_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise Malformed(str(exc)) from None


def _put_toml(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with `value` at `path`; an empty line separates a new server from what follows."""
    document = tomlkit.parse(text)
    servers, *parents, key = path
    table: Any = document.setdefault(servers, tomlkit.table(is_super_table=True))
    if not isinstance(table, dict):
        raise Malformed(f"{servers} is not a table")
    for parent in parents:
        table = table[parent]
    table[key] = value
    if not parents and text.strip() and not isinstance(table, InlineTable):
        table[key].add(tomlkit.nl())
    edited = tomlkit.dumps(document)
    if not parents:
        edited = edited.rstrip("\r\n") + "\n"
    is_crlf = 0 < text.count("\n") == text.count("\r\n")
    return re.sub(r"(?<!\r)\n", "\r\n", edited) if is_crlf else edited


def _changes(entry: Mapping[str, Any], existing: Mapping[str, Any], own: Env) -> dict[Keys, Any]:
    """Return the values that have to be written into an existing entry, each with its keys in that entry."""
    if any(word in existing for word in ADDRESSES):
        raise Malformed("its entry of that name leads to a server at an address; choose another --name")
    changes: dict[Keys, Any] = {(key,): entry[key] for key in ("command", "args") if existing.get(key) != entry[key]}
    changes |= {(key,): value for key, value in entry.items() if key not in existing}
    env, names = existing.get("env"), existing.get("env_vars")
    if env is None and "env" in entry:
        changes["env",] = entry["env"]
    if isinstance(env, dict):
        values = {key: value for key, value in entry.get("env", {}).items() if key not in env or key in own}
        changes |= {("env", key): value for key, value in values.items() if env.get(key) != value}
    if isinstance(env, dict) and KEY in env:
        changes.pop(("env_vars",), None)
    elif "env_vars" in entry and isinstance(names, list) and KEY not in names:
        changes[("env_vars",)] = [*names, KEY]
    return changes
