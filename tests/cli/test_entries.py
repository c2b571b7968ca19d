"""Each client's entry, read and started as that client does it, in the environment that hosts give a server."""

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._settings import system_keyring
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S
from tests.keyrings import keyring_in, put_key
from tests.wire.conftest import site_in, spawn_in

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.wire.conftest import SiteIn

__all__ = ["site_in", "spawn_in"]

pytestmark = pytest.mark.anyio
KEY, TOKEN = "key-of-the-entries-0123", "a-token-of-the-entries"


# Hosts, as their documentation describes them ------------------------------------------------------------------------


@dataclass
class Host:
    """What a host knows beside its file: its own environment, and what its user answers."""

    environ: dict[str, str]
    answers: dict[str, str] = field(default_factory=dict)


def without_comments(text: str) -> Any:
    """JSON with comments on lines of their own, which is all that these tests put into files."""
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", text))


def replaced(value: Any, pattern: str, look_up: Callable[[str], str]) -> Any:
    """A value of a file, with each reference in its texts replaced."""
    if isinstance(value, str):
        return re.sub(pattern, lambda match: look_up(match[1]), value)
    if isinstance(value, list):
        return [replaced(part, pattern, look_up) for part in value]
    if isinstance(value, dict):
        return {key: replaced(part, pattern, look_up) for key, part in value.items()}
    return value


def common(text: str, name: str, _host: Host) -> Any:
    """Claude Desktop, Cline, LM Studio: no references."""
    return without_comments(text)["mcpServers"][name]


def zed(text: str, name: str, _host: Host) -> Any:
    return without_comments(text)["context_servers"][name]


def with_env(text: str, name: str, host: Host) -> Any:
    """Cursor, Windsurf: ``${env:NAME}``."""
    entry = without_comments(text)["mcpServers"][name]
    return replaced(entry, r"\$\{env:(\w+)\}", lambda variable: host.environ.get(variable, ""))


def claude_code(text: str, name: str, host: Host) -> Any:
    entry = without_comments(text)["mcpServers"][name]
    assert entry["type"] in {"stdio", "http"}
    return replaced(entry, r"\$\{(\w+):-\}", lambda variable: host.environ.get(variable, ""))


def gemini(text: str, name: str, host: Host) -> Any:
    """An unset variable stays as it is written."""
    entry = without_comments(text)["mcpServers"][name]
    entry = replaced(entry, r"\$\{(\w+)\}", lambda variable: host.environ.get(variable, f"${{{variable}}}"))
    return {**entry, "url": entry["httpUrl"]} if "httpUrl" in entry else entry


def vscode(text: str, name: str, host: Host) -> Any:
    whole = without_comments(text)
    asked = {question["id"] for question in whole.get("inputs", []) if question["type"] == "promptString"}
    entry = replaced(whole["servers"][name], r"\$\{env:(\w+)\}", lambda variable: host.environ.get(variable, ""))
    assert entry["type"] in {"stdio", "http"}

    def answer(question: str) -> str:
        assert question in asked
        return host.answers["key" if question.endswith("key") else "token"]

    return replaced(entry, r"\$\{input:([\w-]+)\}", answer)


def codex(text: str, name: str, host: Host) -> Any:
    entry = tomllib.loads(text)["mcp_servers"][name]
    passed = {key: host.environ[key] for key in entry.get("env_vars", ()) if key in host.environ}
    headers = dict(entry.get("http_headers", {}))
    if variable := entry.get("bearer_token_env_var"):
        headers["Authorization"] = f"Bearer {host.environ[variable]}"
    return {**entry, "env": {**passed, **entry.get("env", {})}, "headers": headers}


def opencode(text: str, name: str, host: Host) -> Any:
    """Both forms of its file; an unset variable is an empty text."""
    servers = without_comments(text)["mcp"]
    entry = replaced(
        servers.get("servers", servers)[name], r"\{env:(\w+)\}", lambda variable: host.environ.get(variable, "")
    )
    if entry["type"] == "remote":
        return entry
    assert entry["type"] == "local"
    return {"command": entry["command"][0], "args": entry["command"][1:], "env": entry.get("environment", {})}


def goose(text: str, name: str, host: Host) -> Any:
    """Each of `env_keys` must be known; headers refer to them."""
    entry = yaml.safe_load(text)["extensions"][name]
    assert (entry["name"], entry["enabled"]) == (name, True)
    assert {"description", "timeout", "type"} <= entry.keys()
    known = {**entry.get("envs", {}), **{key: host.environ[key] for key in entry.get("env_keys", ())}}
    if entry["type"] == "streamable_http":
        headers = replaced(entry["headers"], r"\$\{(\w+)\}", lambda variable: known[variable])
        return {"url": entry["uri"], "headers": headers}
    assert entry["type"] == "stdio"
    return {"command": entry["cmd"], "args": entry["args"], "env": known}


def windsurf(text: str, name: str, host: Host) -> Any:
    entry = with_env(text, name, host)
    return {**entry, "url": entry["serverUrl"]} if "serverUrl" in entry else entry


HOSTS: dict[str, Callable[[str, str, Host], Any]] = {
    "claude-desktop": common,
    "claude-code": claude_code,
    "cursor": with_env,
    "vscode": vscode,
    "codex": codex,
    "gemini": gemini,
    "windsurf": windsurf,
    "zed": zed,
    "cline": common,
    "lm-studio": common,
    "opencode": opencode,
    "goose": goose,
}


def test_every_client_has_a_reader_of_its_own_here() -> None:
    assert HOSTS.keys() == CLIENTS.keys()


# Entries -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """It accepts one key alone."""
    with Sandbox(speed=50, key=KEY) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def nothing_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keyring was asked by this process, and none is to be found but that of a test."""
    monkeypatch.setattr(system_keyring, "_answer", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


def clean(home: Path) -> dict[str, str]:
    """The environment of a host that a desktop has started: no PATH but the system's, no settings."""
    names = ("SYSTEMROOT", "TEMP", "TMPDIR")
    places = {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")}
    return {"PATH": os.defpath, **places, **{name: os.environ[name] for name in names if name in os.environ}}


async def credits_said(command: list[str], environ: dict[str, str], home: Path) -> str:
    """Start a server as a host does, list its tools, and call one that is free."""
    server = StdioServerParameters(command=command[0], args=command[1:], env=environ, cwd=home)
    with (home / "server.log").open("a", encoding="utf-8") as log:
        async with Client(stdio_client(server, errlog=log), read_timeout_seconds=LIMIT_S) as client:
            return await free_call(client)


async def free_call(client: Client) -> str:
    assert {"get_credits", "generate_nano_banana"} <= {tool.name for tool in (await client.list_tools()).tools}
    result = await client.call_tool("get_credits", {})
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def file_of(client: str, home: Path) -> Path:
    return config_path(client, sys.platform, {}, home)


def name_keyring(config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text('api_key = "keyring"\n', "utf-8")


# How the key reaches the server, and the options of `install` for it.
WAYS = {
    "in a keyring": (),
    "in the settings file": ("--key", "-"),
    "in the client's file": ("--write-key",),
    "from the host": ("--name", "pictures"),
}
LACKS_KEY = {"claude-desktop", "zed", "cline", "lm-studio", "goose"}  # unless it is in a file or a keyring


@pytest.fixture(scope="module")
def started() -> dict[str, str]:
    """What servers said, by what they were started with: clients that start the same server need it once."""
    return {}


def start_of(command: list[str], variables: dict[str, str], home: Path, unread: set[Path]) -> str:
    """Return all that makes a start: the command, the environment, and the files of the home that a server may read."""
    files = {str(path): path.read_bytes().hex() for path in home.rglob("*") if path.is_file() and path not in unread}
    return json.dumps([command, variables, files], sort_keys=True).replace(str(home), "~")


# An entry says nothing of a key that is kept, so one client of each form shows that the keyring is read.
KEYRING = {"claude-desktop", "codex", "goose"}


@pytest.mark.parametrize(
    ("client", "way"), [(client, way) for client in HOSTS for way in WAYS if way != "in a keyring" or client in KEYRING]
)
async def test_entry_is_started_as_its_client_starts_it(
    client: str, way: str, run: "Run", tmp_path: Path, service: Sandbox, started: dict[str, str]
) -> None:
    settings: dict[str, Any] = {"KIE_AI_API_KEY": KEY if way == "in the client's file" else ""}
    environ = clean(tmp_path)
    if way == "in a keyring":
        put_key(tmp_path, KEY)
        name_keyring(Path(json.loads(run("config", "path", "--json").stdout)["path"]))
        settings, environ = settings | keyring_in(tmp_path), environ | keyring_in(tmp_path)
    values = {"base_url": service.base_url, "db_path": tmp_path / "entry.db", "enabled_providers": "nano-banana"}
    pairs = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    ended = run("install", client, "--yes", *pairs, *WAYS[way], stdin=f"{KEY}\n", **settings)
    assert ended.code == 0, ended.stderr
    text = file_of(client, tmp_path).read_text("utf-8")
    assert (KEY in text) is (way == "in the client's file")
    host = Host({**environ, "KIE_AI_API_KEY": KEY} if way == "from the host" else environ, {"key": KEY})
    entry = HOSTS[client](text, "pictures" if way == "from the host" else "kie-ai", host)
    command, variables = [entry["command"], *entry["args"]], {**environ, **entry.get("env", {})}
    same = start_of(command, variables, tmp_path, {file_of(client, tmp_path)})
    said = started[same] = started.get(same) or await credits_said(command, variables, tmp_path)
    if way == "from the host" and client in LACKS_KEY:
        assert "No Kie.ai key is set" in said
    else:
        assert f"{service.credits:g}" in said, said


@pytest.fixture(scope="module")
def team(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a team's server, whose account has 4321 credits."""
    with Sandbox(speed=50, key=KEY, credits=4321) as service:
        settings = {"KIE_AI_API_KEY": KEY, "KIE_AI_HTTP_TOKEN": TOKEN}
        with site_in(tmp_path_factory.mktemp("team"), sandbox=service, **settings) as server:
            yield server.url


@pytest.mark.parametrize("secret", ["--token-env", "--token"])
@pytest.mark.parametrize("client", [name for name in HOSTS if CLIENTS[name].address])
async def test_entry_of_a_team_s_server_reaches_it(
    client: str, secret: str, run: "Run", team: str, tmp_path: Path
) -> None:
    if secret == "--token-env" and CLIENTS[client].reference is None:
        pytest.skip("its file knows no variables")
    given = "KIE_TOKEN" if secret == "--token-env" else "-"
    ended = run("install", client, "--yes", "--url", team, secret, given, stdin=f"{TOKEN}\n")
    assert ended.code == 0, ended.stderr
    text = file_of(client, tmp_path).read_text("utf-8")
    entry = HOSTS[client](text, "kie-ai", Host({**clean(tmp_path), "KIE_TOKEN": TOKEN}, {"token": TOKEN}))
    async with httpx2.AsyncClient(headers=entry["headers"], trust_env=False, timeout=LIMIT_S) as http:
        transport = streamable_http_client(entry["url"], http_client=http)
        async with Client(transport, read_timeout_seconds=LIMIT_S) as caller:
            assert "4321" in await free_call(caller)
