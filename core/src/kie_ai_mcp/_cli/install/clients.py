"""MCP clients: the file of each, the form of its entries, and how it refers to environment variables.

The facts are from their documentation and their users' reports of November 2026. Nothing here writes a file.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomlkit
import tomlkit.exceptions

from kie_ai_mcp._cli.console import PROGRAM
from kie_ai_mcp._cli.install import jsonc
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._settings.settings import variable
from kie_ai_mcp.errors import ConfigError

KEY = variable("api_key")
ENTRY = "kie-ai"
ADDRESSES = ("url", "httpUrl", "serverUrl")


@dataclass(frozen=True)
class Client:
    """One MCP client: its name for people and the form of its file.

    Args:
        servers: The key in its file that holds the servers.
        key: Its reference to the variable that holds our key; None where it supports no variables.
        usual: Further values that an entry gets, unless the file has them already.
    """

    title: str
    servers: str = "mcpServers"
    key: str | None = None
    form: Literal["json", "toml"] = "json"
    usual: Mapping[str, Any] = field(default_factory=dict)


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


def config_path(
    name: str, platform: str = sys.platform, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Path:
    """Return the file in which a client of this user keeps its servers; it may not exist yet.

    Where a client has moved its file, the newest place wins in which it, or else its folder, exists.
    """
    try:
        home = home or Path.home()
    except RuntimeError:
        cure = "Set HOME, or name the file with --file."
        raise ConfigError("This user has no home folder.", next_step=cure) from None
    places = list(_places(name, platform, os.environ if environ is None else environ, home))
    files = [place for place in places if place.is_file()]
    folders = [place for place in places if place.parent.is_dir()]
    return (files or folders or places[-1:])[0]


def _places(name: str, platform: str, environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield where a client's file may be, newest first, the usual one last."""
    if platform == "win32":
        programs = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif platform == "darwin":
        programs = home / "Library" / "Application Support"
    else:
        programs = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    match name:
        case "claude-desktop":
            if platform == "win32":  # as a packaged app it sees a copy of the folder in its own container
                local = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
                for package in sorted((local / "Packages").glob("Claude_*")):
                    yield package / "LocalCache" / "Roaming" / "Claude" / "claude_desktop_config.json"
            yield programs / "Claude" / "claude_desktop_config.json"
        case "claude-code":
            yield Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json"
        case "cursor":
            yield home / ".cursor" / "mcp.json"
        case "vscode":
            yield programs / "Code" / "User" / "mcp.json"
        case "codex":
            yield Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml"
        case "gemini":
            yield home / ".gemini" / "settings.json"
        case "windsurf":  # called Devin Desktop since June 2026
            devin = programs if platform == "win32" else home / ".config"
            yield devin / "devin" / "mcp_config.json"
            yield home / ".codeium" / "windsurf" / "mcp_config.json"


def server_command() -> tuple[str, list[str]]:
    """Return how a client starts this installation, with absolute paths, since clients don't see a shell's PATH."""
    if any(part.startswith(("archive-v", "environments-v")) for part in Path(sys.prefix).parts):
        # uvx made this environment for one run and will delete it.
        return shutil.which("uvx") or "uvx", [PROGRAM]
    script = Path(sysconfig.get_path("scripts")) / (f"{PROGRAM}.exe" if os.name == "nt" else PROGRAM)
    return (str(script), []) if script.is_file() else (sys.executable, ["-m", "kie_ai_mcp"])


@dataclass(frozen=True)
class Launch:
    """The command that starts the server, and the variables that are set for it in clear text."""

    command: str
    args: list[str]
    env: Mapping[str, str]

    def entry(self, client: Client) -> dict[str, Any]:
        """Return the complete entry for the client's file."""
        own: dict[str, Any] = {"command": self.command, "args": self.args}
        if client.form == "toml":
            names = {} if KEY in self.env else {"env_vars": [KEY]}
            return {**own, **names, **client.usual, **({"env": dict(self.env)} if self.env else {})}
        env = {**({KEY: client.key} if client.key else {}), **self.env}
        return {**client.usual, **own, **({"env": env} if env else {})}


def edited(client: Client, text: str, launch: Launch, name: str = ENTRY) -> str:
    """Return a client's file with our entry in it, and everything else as it was.

    In an existing entry, only the command, its arguments and the variables of `launch` change: a key in it stays, and
    so does what the user added. A file of another form raises `Malformed`.
    """
    read, put = (jsonc.read, jsonc.put) if client.form == "json" else (_read_toml, _put_toml)
    servers, entry, path = read(text).get(client.servers), launch.entry(client), (client.servers, name)
    existing = servers.get(name) if isinstance(servers, dict) else None
    if not isinstance(existing, dict):
        return put(text, path, entry)
    for key, value in _changes(entry, existing, launch).items():
        if isinstance(existing.get(key), dict):
            for inner, setting in value.items():
                text = put(text, (*path, key, inner), setting)
        else:
            text = put(text, (*path, key), value)
    return text


def _read_toml(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as exc:
        raise Malformed(str(exc)) from None


def _put_toml(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with `value` at `path`; an empty line separates a new server from what follows."""
    document = _read_toml(text)
    servers, *parents, key = path
    table: Any = document.setdefault(servers, tomlkit.table(is_super_table=True))
    if not isinstance(table, dict):
        raise Malformed(f"{servers} is not a table")
    for parent in parents:
        table = table[parent]
    table[key] = value
    if parents:
        return tomlkit.dumps(document)
    if text.strip():
        table[key].add(tomlkit.nl())
    return tomlkit.dumps(document).rstrip("\n") + "\n"


def _changes(entry: Mapping[str, Any], existing: Mapping[str, Any], launch: Launch) -> dict[str, Any]:
    """Return the values of an entry that have to be written into the existing one."""
    if any(word in existing for word in ADDRESSES):
        raise Malformed("its entry of that name leads to a server at an address; choose another --name")
    changes = {key: entry[key] for key in ("command", "args") if existing.get(key) != entry[key]}
    changes |= {key: value for key, value in entry.items() if key not in existing}
    env, names = existing.get("env"), existing.get("env_vars")
    if env and isinstance(env, dict):
        values = {key: value for key, value in entry.get("env", {}).items() if key not in env or key in launch.env}
        changes["env"] = {key: value for key, value in values.items() if env.get(key) != value}
    if "env_vars" in entry and isinstance(names, list) and KEY not in names:
        changes["env_vars"] = [*names, KEY]
    if isinstance(env, dict) and KEY in env:
        changes.pop("env_vars", None)
    return changes
