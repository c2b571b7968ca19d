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
CLINE = "cline_mcp_settings.json"
PATIENCE = {"startup_timeout_sec": 60, "tool_timeout_sec": 300}  # Codex's own limits are 10 s and 60 s

Keys = tuple[str, ...]
Env = Mapping[str, str]


@dataclass(frozen=True)
class Client:
    """One MCP client: its name for people and the form of its file."""

    title: str
    servers: str = "mcpServers"  # the key in its file that holds the servers
    reference: str | None = None  # how it refers to a variable, as a format; None where it supports no variables
    form: Literal["json", "toml"] = "json"
    usual: Mapping[str, Any] = field(default_factory=dict)  # further values, unless the file has them already
    address: str | None = "url"  # the key of a remote server's address; None where its file takes commands alone
    remote: Mapping[str, Any] = field(default_factory=dict)  # further values of a remote server
    asks: bool = False  # whether it can ask for a token itself, and keep it

    @property
    def key(self) -> str | None:
        """Its reference to the variable that holds our key."""
        return self.reference and self.reference.format(KEY)


@dataclass(frozen=True)
class Remote:
    """A server at an address, and what proves to it who calls: a token, a variable with a token, or neither."""

    url: str
    token: str = field(default="", repr=False)
    variable: str = ""


CLIENTS: dict[str, Client] = {
    "claude-desktop": Client("Claude Desktop", address=None),
    # Without the default, an unset variable reaches the server as the text "${...}", or nothing starts at all.
    "claude-code": Client("Claude Code", reference="${{{}:-}}", usual={"type": "stdio"}, remote={"type": "http"}),
    "cursor": Client("Cursor", reference="${{env:{}}}"),
    "vscode": Client(
        "VS Code",
        servers="servers",
        reference="${{env:{}}}",
        usual={"type": "stdio"},
        remote={"type": "http"},
        asks=True,
    ),
    # It passes on only the variables that are named in its file.
    "codex": Client("Codex", servers="mcp_servers", reference="{}", form="toml", usual=PATIENCE, remote=PATIENCE),
    "gemini": Client("Gemini CLI", reference="${{{}}}", address="httpUrl"),
    "windsurf": Client("Windsurf", reference="${{env:{}}}", address="serverUrl"),
    "zed": Client("Zed", servers="context_servers"),
    "cline": Client("Cline", remote={"type": "streamableHttp"}),
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
    xdg = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    if platform == "win32":
        programs = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif platform == "darwin":
        programs = home / "Library" / "Application Support"
    else:
        programs = xdg
    usual = {
        "claude-desktop": programs / "Claude" / "claude_desktop_config.json",
        "claude-code": Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json",
        "cursor": home / ".cursor" / "mcp.json",
        "vscode": programs / "Code" / "User" / "mcp.json",
        "codex": Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml",
        "gemini": home / ".gemini" / "settings.json",
        "windsurf": home / ".codeium" / "windsurf" / "mcp_config.json",
        "zed": (programs / "Zed" if platform == "win32" else xdg / "zed") / "settings.json",
        "cline": programs / "Code" / "User" / "globalStorage" / "saoudrizwan.claude-dev" / "settings" / CLINE,
    }
    newer: list[Path] = []
    if name == "claude-desktop" and platform == "win32":  # as a packaged app it sees a copy in its own container
        local = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
        packages = sorted((local / "Packages").glob("Claude_*"))
        newer = [folder / "LocalCache" / "Roaming" / "Claude" / usual[name].name for folder in packages]
    elif name == "windsurf":  # called Devin Desktop since June 2026
        newer = [(programs if platform == "win32" else home / ".config") / "devin" / usual[name].name]
    elif name == "cline":  # its command line and newer extensions share one file
        newer = [home / ".cline" / "data" / "settings" / CLINE]
    return [*newer, usual[name]]


class Spoiled(Exception):
    """The file that an edit made does not read back as it should: it differs in more than our entry."""


def edited(client: Client, text: str, wanted: Env | Remote, name: str = ENTRY) -> str:
    """Return a client's file with our entry in it, and everything else as it was.

    The entry starts this server with the variables of `wanted` in clear text, or leads to a server elsewhere. In an
    existing entry, only the command, its arguments and these variables change, or the address and its token: its key
    and what the user added stay. A file of another form raises `Malformed`; an edit that does not read back as it
    should raises `Spoiled`.
    """
    read, put = (jsonc.read, jsonc.put) if client.form == "json" else (_read_toml, _put_toml)
    before = read(text)
    servers = before.get(client.servers)
    existing = servers.get(name) if isinstance(servers, dict) else None
    changes: dict[Keys, Any]
    if isinstance(wanted, Remote):
        entry = _remote_entry(client, wanted, name)
        changes = _remote_changes(entry, existing) if isinstance(existing, dict) else {(): entry}
    else:
        entry = _new_entry(client, wanted)
        changes = _changes(entry, existing, wanted) if isinstance(existing, dict) else {(): entry}
    try:
        for keys, value in changes.items():
            text = put(text, (client.servers, name, *keys), value)
        if isinstance(wanted, Remote) and wanted.token and client.asks:
            text = _put_question(text, before.get("inputs"), name)
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
    rest = {**whole, client.servers: rest}
    if client.asks and isinstance(inputs := whole.get("inputs", []), list):
        rest["inputs"] = [question for question in inputs if question != _question(name)]
    return json.dumps(rest, sort_keys=True, default=repr)


def _new_entry(client: Client, env: Env) -> dict[str, Any]:
    command, args = server_command()
    entry: dict[str, Any] = {"command": command, "args": args}
    if client.form == "toml":
        entry |= {**({} if KEY in env else {"env_vars": [KEY]}), **client.usual}
    else:
        entry = {**client.usual, **entry}
        env = {KEY: client.key, **env} if client.key else env
    return {**entry, "env": dict(env)} if env else entry


def _remote_entry(client: Client, remote: Remote, name: str) -> dict[str, Any]:
    assert client.address is not None  # noqa: S101  it was asked for before
    entry = {**client.remote, client.address: remote.url}
    proof = remote.token
    if remote.variable and client.form == "toml":
        return {**entry, "bearer_token_env_var": remote.variable}
    if remote.variable and client.reference:
        proof = client.reference.format(remote.variable)
    elif proof and client.asks:
        proof = f"${{input:{_question(name)['id']}}}"
    headers = {"http_headers" if client.form == "toml" else "headers": {"Authorization": f"Bearer {proof}"}}
    return {**entry, **(headers if proof else {})}


def _question(name: str) -> dict[str, Any]:
    """Return the question for a token as VS Code puts it; it keeps the answer encrypted."""
    return {"type": "promptString", "id": f"{name}-token", "description": f"Token for {name}", "password": True}


def _put_question(text: str, questions: Any, name: str) -> str:
    question = _question(name)
    if questions is None:
        return jsonc.put(text, ("inputs",), [question])
    if not isinstance(questions, list):
        raise Malformed("inputs is not a list")
    return text if question in questions else jsonc.put(text, ("inputs", str(len(questions))), question)


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


def _remote_changes(entry: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[Keys, Any]:
    """Return the values that have to be written into an existing entry of a remote server; its numbers stay."""
    if "command" in existing:
        raise Malformed("its entry of that name starts a program; remove that entry, or choose another --name")
    changes: dict[Keys, Any] = {}
    for key, value in entry.items():
        old = existing.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            changes |= {(key, part): text for part, text in value.items() if old.get(part) != text}
        elif key not in existing or (isinstance(value, str | dict) and old != value):
            changes[key,] = value
    headers = {**existing.get("http_headers", {}), **entry.get("http_headers", {})}
    if "Authorization" in headers and "bearer_token_env_var" in {**existing, **entry}:
        raise Malformed("its entry of that name has its token elsewhere; remove that entry, or choose another --name")
    return changes
