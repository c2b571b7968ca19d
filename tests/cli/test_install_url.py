"""``install --url``: the entry of a server that runs elsewhere, in each client's own form, and where its token is."""

import json
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.install import command as _cli_install
from kie_ai_mcp._cli.install import jsonc
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._cli.install.jsonc import put, read
from tests.cli.test_install import COMMENTED, entry_in, file_of, holds_in_order

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run

URL = "https://kie.example/mcp"
TOKEN = "a-token-that-nobody-may-see-0123"
REMOTE = [name for name, client in CLIENTS.items() if client.address]
# As their documentation writes it.
BY_VARIABLE: dict[str, dict[str, Any]] = {
    "claude-code": {"type": "http", "url": URL, "headers": {"Authorization": "Bearer ${KIE_TOKEN:-}"}},
    "cursor": {"url": URL, "headers": {"Authorization": "Bearer ${env:KIE_TOKEN}"}},
    "vscode": {"type": "http", "url": URL, "headers": {"Authorization": "Bearer ${env:KIE_TOKEN}"}},
    "codex": {"url": URL, "bearer_token_env_var": "KIE_TOKEN", "startup_timeout_sec": 60, "tool_timeout_sec": 300},
    "gemini": {"httpUrl": URL, "headers": {"Authorization": "Bearer ${KIE_TOKEN}"}},
    "windsurf": {"serverUrl": URL, "headers": {"Authorization": "Bearer ${env:KIE_TOKEN}"}},
    "opencode": {"type": "remote", "url": URL, "headers": {"Authorization": "Bearer {env:KIE_TOKEN}"}},
    "goose": {
        "name": "kie-ai",
        "type": "streamable_http",
        "description": "Pictures, videos, music and speech through Kie.ai",
        "enabled": True,
        "timeout": 300,
        "uri": URL,
        "env_keys": ["KIE_TOKEN"],
        "headers": {"Authorization": "Bearer ${KIE_TOKEN}"},
    },
}
PROOFS = ("headers", "http_headers", "bearer_token_env_var", "env_keys")
IN_CLEAR = [name for name in REMOTE if not CLIENTS[name].asks]


@pytest.fixture(autouse=True)
def one_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client's file is where it is on Linux, below the test's home, wherever the tests run."""
    monkeypatch.setattr(_cli_install, "config_path", lambda name: config_path(name, "linux", {}))


def install(run: "Run", *arguments: str, **more: Any) -> "Ended":
    """Install without a key: none is needed for a server that runs elsewhere."""
    return run("install", *arguments, KIE_AI_API_KEY="", **more)


def written(name: str, home: Path) -> dict[str, Any]:
    return entry_in(name, file_of(name, home).read_text("utf-8"))


@pytest.mark.parametrize("name", BY_VARIABLE)
def test_token_comes_from_a_variable_where_the_client_can(
    run: "Run", tmp_path: Path, name: str, first_starts: list[Any]
) -> None:
    ended = install(run, name, "--url", URL, "--token-env", "KIE_TOKEN", "--yes", KIE_TOKEN=TOKEN)
    assert ended.code == 0, ended.stderr
    assert written(name, tmp_path) == BY_VARIABLE[name]
    assert "taken from KIE_TOKEN" in ended.stdout
    assert TOKEN not in ended.stdout + ended.stderr
    assert first_starts == []


@pytest.mark.parametrize("name", REMOTE)
def test_without_a_token_the_entry_has_the_address_alone(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--url", URL, "--yes")
    assert (ended.code, "OAuth" in ended.stdout) == (0, True)
    entry = written(name, tmp_path)
    assert entry[str(CLIENTS[name].address)] == URL
    assert not {*PROOFS, "command", "env"} & entry.keys()
    if name in BY_VARIABLE:
        assert entry == {key: value for key, value in BY_VARIABLE[name].items() if key not in PROOFS}


@pytest.mark.parametrize("name", IN_CLEAR)
def test_token_in_clear_text_makes_the_file_private_and_is_not_shown(run: "Run", tmp_path: Path, name: str) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", "utf-8")
    ended = install(run, name, "--url", URL, "--token", "-", "--yes", stdin=f"{TOKEN}\n")
    assert ended.code == 0, ended.stderr
    headers = written(name, tmp_path)["http_headers" if name == "codex" else "headers"]
    assert headers == {"Authorization": f"Bearer {TOKEN}"}
    assert "clear text" in ended.stdout
    assert URL in ended.stderr
    assert TOKEN not in ended.stdout + ended.stderr
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_vs_code_asks_for_the_token_so_it_is_not_in_the_file(run: "Run", tmp_path: Path) -> None:
    path = file_of("vscode", tmp_path)
    path.parent.mkdir(parents=True)
    before = '{\n\t"inputs": [\n\t\t{ "id": "theirs" } // mine\n\t],\n\t"servers": {} // none yet\n}\n'
    for text in (before, "", '{"inputs": []}'):
        path.write_text(text, "utf-8")
        ended = install(run, "vscode", "--url", URL, "--token", TOKEN, "--yes")
        assert ended.code == 0, ended.stderr
        after = path.read_text("utf-8")
        assert TOKEN not in after + ended.stdout + ended.stderr
        assert written("vscode", tmp_path)["headers"] == {"Authorization": "Bearer ${input:kie-ai-token}"}
        *theirs, ours = read(after)["inputs"]
        assert (ours["id"], ours["type"], ours["password"]) == ("kie-ai-token", "promptString", True)
        assert theirs == ([{"id": "theirs"}] if text is before else [])
        assert after.count("// mine") == text.count("// mine")
        again = install(run, "vscode", "--url", URL, "--token", TOKEN)
        assert (again.code, path.read_text("utf-8")) == (0, after)


def test_inputs_of_another_form_are_left_alone(run: "Run", tmp_path: Path) -> None:
    path = file_of("vscode", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text('{"inputs": {}}', "utf-8")
    ended = install(run, "vscode", "--url", URL, "--token", TOKEN, "--yes")
    assert (ended.code, path.read_text("utf-8")) == (1, '{"inputs": {}}')
    assert "inputs is not a list" in ended.stderr


@pytest.mark.parametrize("name", REMOTE)
def test_print_shows_the_entry_without_the_token(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--url", URL, "--token", TOKEN, "--print")
    assert (ended.code, TOKEN in ended.stdout + ended.stderr, file_of(name, tmp_path).exists()) == (0, False, False)
    entry = entry_in(name, ended.stdout)
    proof = "${input:kie-ai-token}" if CLIENTS[name].asks else "YOUR_TOKEN"
    assert entry["http_headers" if name == "codex" else "headers"] == {"Authorization": f"Bearer {proof}"}


@pytest.mark.parametrize("name", [name for name in REMOTE if CLIENTS[name].form is jsonc])
def test_rest_of_the_file_and_what_the_user_added_stay(run: "Run", tmp_path: Path, name: str) -> None:
    path, word = file_of(name, tmp_path), str(CLIENTS[name].address)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = put(
        COMMENTED % CLIENTS[name].servers,
        (CLIENTS[name].servers, "kie-ai"),
        {word: "https://old.example/mcp", "disabled": True, "headers": {"Authorization": "Bearer old", "X-Team": "a"}},
    )
    path.write_text(before, "utf-8")
    ended = install(run, name, "--url", URL, "--yes")
    assert ended.code == 0, ended.stderr
    entry = written(name, tmp_path)
    assert (entry[word], entry["disabled"]) == (URL, True)
    assert entry["headers"] == {"Authorization": "Bearer old", "X-Team": "a"}
    assert holds_in_order(path.read_text("utf-8"), COMMENTED.partition('    "%s"')[0])
    assert "another-secret" not in ended.stdout + ended.stderr
    install(run, name, "--url", URL, "--token", TOKEN, "--yes")
    assert written(name, tmp_path)["headers"]["X-Team"] == "a"
    assert written(name, tmp_path)["headers"]["Authorization"] != "Bearer old"


@pytest.mark.parametrize("name", REMOTE)
def test_entered_twice_nothing_changes(run: "Run", tmp_path: Path, name: str) -> None:
    install(run, name, "--url", URL, "--token", TOKEN, "--yes")
    before = file_of(name, tmp_path).read_bytes()
    ended = json.loads(install(run, name, "--url", URL, "--token", TOKEN, "--json").stdout)
    assert (ended["client"], ended["changed"], ended["url"]) == (name, False, URL)
    assert file_of(name, tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cursor", '{"mcpServers": {"kie-ai": {"command": "uvx"}}}'),
        ("codex", '[mcp_servers.kie-ai]\ncommand = "uvx"\n'),
        ("codex", f'[mcp_servers.kie-ai]\nurl = "{URL}"\nbearer_token_env_var = "X"\n'),
    ],
)
def test_entry_of_another_sort_is_not_turned_into_this_one(run: "Run", tmp_path: Path, name: str, text: str) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir()
    path.write_text(text, "utf-8")
    ended = install(run, name, "--url", URL, "--token", TOKEN, "--yes")
    assert (ended.code, path.read_text("utf-8"), "--name" in ended.stderr) == (1, text, True)


def test_client_whose_file_takes_no_address_is_told_where_to_enter_it(run: "Run", tmp_path: Path) -> None:
    ended = install(run, "claude-desktop", "--url", URL, "--token", TOKEN, "--yes")
    assert (ended.code, file_of("claude-desktop", tmp_path).exists()) == (2, False)
    assert "Settings > Connectors" in ended.stderr
    assert f"mcp-remote {URL}" in ended.stderr
    assert TOKEN not in ended.stderr


@pytest.mark.parametrize("name", [name for name in REMOTE if name not in BY_VARIABLE])
def test_client_without_variables_is_given_the_token_in_another_way(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--url", URL, "--token-env", "KIE_TOKEN", "--yes")
    assert (ended.code, "--token -" in ended.stderr, file_of(name, tmp_path).exists()) == (2, True, False)


@pytest.mark.parametrize(
    ("given", "entered"),
    [
        ("https://kie.example", URL),
        ("https://kie.example/", URL),
        ("https://kie.example/mcp/", URL),
        ("https://kie.example:8443/team", "https://kie.example:8443/team/mcp"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/mcp"),
        ("http://localhost:3000/mcp", "http://localhost:3000/mcp"),
        ("http://[::1]:3000/mcp", "http://[::1]:3000/mcp"),
    ],
)
def test_address_is_completed(run: "Run", tmp_path: Path, given: str, entered: str) -> None:
    ended = install(run, "cursor", "--url", given, "--yes")
    assert (ended.code, "not encrypted" in ended.stderr) == (0, False)
    assert written("cursor", tmp_path) == {"url": entered}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "kie.example/mcp"], "such as https://kie.example/mcp"),
        (["--url", "ftp://kie.example/mcp"], "such as https://kie.example/mcp"),
        (["--url", "https:///mcp"], "such as https://kie.example/mcp"),
        (["--url", "https://kie.example:port/mcp"], "such as https://kie.example/mcp"),
        (["--url", f"https://me:{TOKEN}@kie.example/mcp"], "--token-env"),
        (["--url", f"https://kie.example/mcp?token={TOKEN}"], "--token-env"),
        (["--url", "http://kie.example/mcp"], "not encrypted"),
        (["--url", "http://8.8.8.8/mcp"], "not encrypted"),
        (["--url", URL, "--token", f"Bearer {TOKEN}"], "not the word Bearer"),
        (["--url", URL, "--token", ""], "the token alone"),
        (["--url", URL, "--token-env", f"{TOKEN}"], "not the token itself"),
        (["--url", URL, "--token-env", "A", "--token", TOKEN], "not both"),
        (["--token", TOKEN], "--url"),
        (["--url", URL, "--set", "compact=true"], "leave --url out"),
        (["--url", URL, "--write-key"], "leave --url out"),
    ],
)
def test_wrong_use_is_refused_without_showing_the_token(
    run: "Run", tmp_path: Path, arguments: list[str], words: str
) -> None:
    ended = install(run, "cursor", *arguments, "--yes")
    assert (ended.code, words in ended.stderr, TOKEN in ended.stderr) == (2, True, False), ended.stderr
    assert not file_of("cursor", tmp_path).exists()


@pytest.mark.parametrize("host", ["192.168.1.5:3000", "kie", "kie.local", "[fd00::5]:3000", "100.64.0.7"])
def test_unencrypted_way_through_a_private_network_is_warned_about(run: "Run", tmp_path: Path, host: str) -> None:
    ended = install(run, "cursor", "--url", f"http://{host}/mcp", "--yes")
    assert (ended.code, "not encrypted" in ended.stderr) == (0, True)
    assert written("cursor", tmp_path) == {"url": f"http://{host}/mcp"}
