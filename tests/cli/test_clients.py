"""Client configurations: where each client keeps its servers, and the command that starts ours."""

import json
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from kie_ai_mcp._cli.install import jsonc, toml_text, yaml_text
from kie_ai_mcp._cli.install.clients import CLIENTS, Remote, config_path
from kie_ai_mcp._cli.install.entries import edited, removed, starts_this
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._settings.installation import server_command
from kie_ai_mcp.errors import ConfigError

CONTAINER = "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude/claude_desktop_config.json"
CLINE = "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"


PLACES = [
    ("claude-desktop", "darwin", "Library/Application Support/Claude/claude_desktop_config.json"),
    ("claude-desktop", "win32", "AppData/Roaming/Claude/claude_desktop_config.json"),
    ("claude-desktop", "linux", ".config/Claude/claude_desktop_config.json"),
    ("claude-code", "linux", ".claude.json"),
    ("claude-code", "win32", ".claude.json"),
    ("cursor", "darwin", ".cursor/mcp.json"),
    ("vscode", "darwin", "Library/Application Support/Code/User/mcp.json"),
    ("vscode", "win32", "AppData/Roaming/Code/User/mcp.json"),
    ("vscode", "linux", ".config/Code/User/mcp.json"),
    ("codex", "linux", ".codex/config.toml"),
    ("gemini", "darwin", ".gemini/settings.json"),
    ("windsurf", "linux", ".codeium/windsurf/mcp_config.json"),
    ("zed", "darwin", ".config/zed/settings.json"),
    ("zed", "win32", "AppData/Roaming/Zed/settings.json"),
    ("cline", "linux", f".config/Code/User/globalStorage/{CLINE}"),
    ("lm-studio", "win32", ".lmstudio/mcp.json"),
    ("opencode", "win32", ".config/opencode/opencode.json"),
    ("goose", "darwin", ".config/goose/config.yaml"),
    ("goose", "win32", "AppData/Roaming/Block/goose/config/config.yaml"),
]


def test_place_of_every_client_s_file_is_tested() -> None:
    missing = CLIENTS.keys() - {name for name, _, _ in PLACES}
    assert not missing, "add a row to PLACES for each of them, from the client's documentation"


@pytest.mark.parametrize(("name", "platform", "place"), PLACES)
def test_file_is_where_the_client_looks_on_each_platform(name: str, platform: str, place: str, tmp_path: Path) -> None:
    assert config_path(name, platform, {}, tmp_path) == tmp_path / place


@pytest.mark.parametrize(
    ("name", "platform", "variable", "place"),
    [
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("codex", "linux", "CODEX_HOME", "config.toml"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "Code/User/mcp.json"),
        ("vscode", "win32", "APPDATA", "Code/User/mcp.json"),
    ],
)
def test_folder_that_a_variable_names_is_used(
    name: str, platform: str, variable: str, place: str, tmp_path: Path
) -> None:
    assert config_path(name, platform, {variable: str(tmp_path / "mine")}, tmp_path) == tmp_path / "mine" / place


@pytest.mark.parametrize(
    ("name", "platform", "newer"),
    [
        ("claude-desktop", "win32", CONTAINER),
        ("windsurf", "linux", ".config/devin/mcp_config.json"),
        ("cline", "linux", ".cline/data/settings/cline_mcp_settings.json"),
    ],
)
def test_newer_place_wins_where_it_exists(name: str, platform: str, newer: str, tmp_path: Path) -> None:
    older = config_path(name, platform, {}, tmp_path)
    older.parent.mkdir(parents=True)
    assert config_path(name, platform, {}, tmp_path) == older
    (tmp_path / newer).parent.mkdir(parents=True)
    assert config_path(name, platform, {}, tmp_path) == tmp_path / newer
    older.touch()
    assert config_path(name, platform, {}, tmp_path) == older


def test_user_without_a_home_is_asked_to_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)

    with pytest.raises(ConfigError, match=r"no home folder\. Set HOME, or name the file with --file"):
        config_path("cursor")


@pytest.mark.skipif(sys.platform == "win32", reason="the home folder is in other variables there")
@pytest.mark.parametrize("home", ["", "here"])
def test_home_that_is_empty_or_not_absolute_is_none(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    with pytest.raises(ConfigError, match=r"no home folder\. Set HOME, or name the file with --file"):
        config_path("cursor")


@pytest.mark.parametrize("name", CLIENTS)
def test_file_is_of_the_form_that_is_written(name: str, tmp_path: Path) -> None:
    suffixes = {jsonc: ".json", toml_text: ".toml", yaml_text: ".yaml"}
    assert config_path(name, "linux", {}, tmp_path).suffix == suffixes[CLIENTS[name].form]


def test_installed_command_is_started_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    assert server_command() == (sys.executable, ["-m", "kie_ai_mcp"])
    (tmp_path / ("kie-ai-mcp-server.exe" if sys.platform == "win32" else "kie-ai-mcp-server")).touch()
    command, arguments = server_command()
    assert (Path(command).parent, arguments) == (tmp_path, [])


def test_what_uvx_made_for_one_run_is_not_what_clients_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/user/.cache/uv/archive-v0/Xy12")
    monkeypatch.setattr(shutil, "which", lambda _name: "/home/user/.local/bin/uvx")
    assert server_command() == ("/home/user/.local/bin/uvx", ["kie-ai-mcp-server"])


@pytest.mark.parametrize("name", CLIENTS)
def test_entry_that_starts_this_server_is_known_by_its_command(name: str) -> None:
    client = CLIENTS[name]
    assert starts_this(client, edited(client, "", {}, "pictures"))
    assert not starts_this(client, "")
    if client.address:  # an entry of our usual name that starts nothing
        remote = edited(client, "", Remote("https://example.com/mcp"), "kie-ai")
        assert not starts_this(client, remote)


@pytest.mark.parametrize(
    ("words", "is_ours"),
    [
        (["uvx", "--with", "kie-ai-mcp-flux", "kie-ai-mcp-server"], True),
        (["uvx", "--quiet", "kie-ai-mcp-server==0.2.0"], True),
        (["C:\\kie\\Scripts\\kie-ai-mcp-server.exe"], True),
        (["uv", "run", "--project", "/src/clone", "/src/clone/.venv/bin/kie-ai-mcp-server"], True),
        (["python", "-m", "kie_ai_mcp"], True),
        (["sh", "-c", "cd /srv && exec uvx kie-ai-mcp-server"], True),
        (["docker", "run", "-i", "kie-ai-mcp-server:0.2.0"], True),
        (["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/src/kie-ai-mcp-server"], False),
        (["git-mcp", "--repository", "/home/me/kie-ai-mcp-server/main"], False),
        (["notes-of-kie-ai-mcp-server"], False),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_entry_is_ours_by_what_it_starts_and_not_by_a_folder(words: list[str], is_ours: bool) -> None:
    text = json.dumps({"mcpServers": {"another": {"command": words[0], "args": words[1:]}}})
    assert starts_this(CLIENTS["cursor"], text) is is_ours
    if is_ours:
        assert json.loads(removed(CLIENTS["cursor"], text, "another"))["mcpServers"] == {}
    else:
        with pytest.raises(Malformed):
            removed(CLIENTS["cursor"], text, "another")
