"""MCP clients: the file of each, the form of its entries, and how it refers to environment variables.

The facts are from their documentation and their users' reports of November 2026. Nothing here writes a file.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from kie_ai_mcp._cli.install import jsonc, toml_text, yaml_text
from kie_ai_mcp._settings.settings import variable
from kie_ai_mcp.errors import ConfigError

KEY = variable("api_key")
ENTRY = "kie-ai"
CLINE = "cline_mcp_settings.json"
PATIENCE = {"startup_timeout_sec": 60, "tool_timeout_sec": 300}  # Codex's own limits are 10 s and 60 s
GOOSE = {"description": "Pictures, videos, music and speech through Kie.ai", "enabled": True, "timeout": 300}

Env = Mapping[str, str]


@dataclass(frozen=True)
class Client:
    """One MCP client: its name for people and the form of its file."""

    title: str
    servers: str = "mcpServers"  # the key in its file that holds the servers
    inner: str | None = None  # the key within, in files of a newer form
    reference: str | None = None  # how it refers to a variable, as a format; None where it supports no variables
    form: ModuleType = jsonc
    command: str = "command"
    args: str | None = "args"  # None where the command is a list that ends with its arguments
    env: str = "env"
    names: str | None = None  # the key with which an entry says its own name
    usual: Mapping[str, Any] = field(default_factory=dict)  # further values, unless the file has them already
    passed: str | None = None  # the key of the variables that a server gets; of such a client, it gets no others
    required: str | None = None  # the key of the variables without which nothing is started
    bearer: str | None = None  # the key of the variable that holds a remote server's token
    headers: str = "headers"  # the key of a remote server's headers
    address: str | None = "url"  # the key of a remote server's address; None where its file takes commands alone
    remote: Mapping[str, Any] = field(default_factory=dict)  # further values of a remote server
    asks: bool = False  # whether it can ask for a key or a token itself, and keep it

    @property
    def key(self) -> str | None:
        """Its reference to the variable that holds our key."""
        return self.reference.format(KEY) if self.reference and not self.required else None


@dataclass(frozen=True)
class Remote:
    """A server at an address, and what proves to it who calls: a token, a variable with a token, or neither."""

    url: str
    token: str = field(default="", repr=False)
    variable: str = ""


# Where they say so, of those whose form is not the common one: code.visualstudio.com/docs/copilot/reference/
# mcp-configuration; opencode.ai/docs/mcp-servers and docs/migrate-v1; documentation/docs/guides/config-files.md in the
# repository of Goose, and its code, for env_keys; lmstudio.ai/docs/app/mcp, and reports of where the file is; zed.dev/
# docs/ai/mcp.
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
    "codex": Client(
        "Codex",
        servers="mcp_servers",
        reference="{}",
        form=toml_text,
        usual=PATIENCE,
        passed="env_vars",
        bearer="bearer_token_env_var",
        headers="http_headers",
        remote=PATIENCE,
    ),
    "gemini": Client("Gemini CLI", reference="${{{}}}", address="httpUrl"),
    "windsurf": Client("Windsurf", reference="${{env:{}}}", address="serverUrl"),
    "zed": Client("Zed", servers="context_servers"),
    "cline": Client("Cline", remote={"type": "streamableHttp"}),
    "lm-studio": Client("LM Studio"),
    # Its second version takes both forms of the file, and each file has one of them.
    "opencode": Client(
        "opencode",
        servers="mcp",
        inner="servers",
        reference="{{env:{}}}",
        args=None,
        env="environment",
        usual={"type": "local"},
        remote={"type": "remote"},
    ),
    # It starts nothing where a variable of env_keys is neither set nor among its own secrets.
    "goose": Client(
        "Goose",
        servers="extensions",
        reference="${{{}}}",
        form=yaml_text,
        command="cmd",
        env="envs",
        names="name",
        usual={"type": "stdio", **GOOSE},
        required="env_keys",
        address="uri",
        remote={"type": "streamable_http", **GOOSE},
    ),
}
ADDRESSES = frozenset(client.address for client in CLIENTS.values() if client.address)
"""The keys that only entries of servers elsewhere have."""


def config_path(name: str, platform: str = sys.platform, environ: Env = os.environ, home: Path | None = None) -> Path:
    """Return the file in which a client of this user keeps its servers; it may not exist yet.

    Where a client has moved its file, the newest place wins in which it, or else its folder, exists.
    """
    try:
        if home is None:
            home = Path.home()
            if not home.is_absolute() or not environ.get("HOME", "unset").strip():  # Python takes an empty HOME for /
                raise RuntimeError
        places = _places(name, platform, environ, home)
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
        "lm-studio": home / ".lmstudio" / "mcp.json",
        "opencode": xdg / "opencode" / "opencode.json",
        "goose": (programs / "Block" / "goose" / "config" if platform == "win32" else xdg / "goose") / "config.yaml",
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
    elif name == "lm-studio":  # its earlier versions kept it elsewhere
        newer = [usual[name], home / ".cache" / "lm-studio" / "mcp.json"]
    elif name == "opencode":
        newer = [usual[name], usual[name].with_suffix(".jsonc")]
    return [*newer, usual[name]]
