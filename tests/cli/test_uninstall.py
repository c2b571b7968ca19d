"""``uninstall``: our entry taken out of a client's file, with the rest unchanged, and what stays on this machine."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.install import command as _cli_install
from kie_ai_mcp._cli.install import jsonc, removal
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._settings import system_keyring
from tests.cli.test_install import FILES, file_of, others_in, whole_of
from tests.keyrings import key_in, keyring_in, put_key

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run

KEY = "a-key-that-nobody-may-see-0123"


@pytest.fixture(autouse=True)
def one_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client's file is where it is on Linux, below the test's home; no keyring was asked yet."""
    for module in (_cli_install, removal):
        monkeypatch.setattr(module, "config_path", lambda name: config_path(name, "linux", {}))
    monkeypatch.setattr(system_keyring, "_answer", None)


def uninstall(run: "Run", *arguments: str, **more: Any) -> "Ended":
    return run("uninstall", *arguments, **{"KIE_AI_API_KEY": "", **more})


@pytest.mark.parametrize(("name", "before"), FILES)
def test_file_is_as_it_was_before_the_entry(run: "Run", tmp_path: Path, name: str, before: str) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before.encode())
    installed = run("install", name, "--yes", "--set", "wait_s=5")
    if installed.code:
        return
    middle = path.read_bytes().decode()
    ended = uninstall(run, name, "--yes")
    after = path.read_bytes().decode()
    if ended.code:  # a comment in the entry that was there before would be lost, or a name stands there twice
        assert after == middle
        assert "Remove the entry by hand" in ended.stderr
        assert "kie-ai" in before or before == "extensions: {} # mine\n"
        return
    assert others_in(name, after) == others_in(name, before)
    assert "kie-ai" not in (whole_of(name, after).get(CLIENTS[name].servers) or {})
    if "kie-ai" not in before:
        assert after.count("# mine") == before.count("# mine")
    if "\r\n" in before:
        assert "\n" not in after.replace("\r\n", "")


@pytest.mark.parametrize("name", CLIENTS)
def test_change_is_shown_and_confirmed_and_a_copy_kept(run: "Run", tmp_path: Path, name: str) -> None:
    run("install", name, "--yes", "--set", "wait_s=5", "--write-key", KIE_AI_API_KEY="a-long-secret-0123")
    path = file_of(name, tmp_path)
    before = path.read_text("utf-8")
    refused = uninstall(run, name, stdin="n\n")
    assert (refused.code, path.read_text("utf-8"), [*path.parent.glob("*.bak")]) == (1, before, [])
    assert "nothing was written" in refused.stderr
    ended = uninstall(run, name, stdin="y\n")
    (backup,) = path.parent.glob(f"{path.name}.*.bak")
    assert (ended.code, backup.read_text("utf-8"), str(backup) in ended.stdout) == (0, before, True)
    assert "-" in ended.stderr
    assert "a-long-secret-0123" not in ended.stdout + ended.stderr
    again = json.loads(uninstall(run, name, "--json").stdout)
    assert (again["changed"], again["backup"]) == (False, None)


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.address])
def test_remote_entry_and_the_question_for_its_token_are_removed(run: "Run", tmp_path: Path, name: str) -> None:
    address = ("--url", "https://kie.example", "--token", "a-token-of-the-tests")
    run("install", name, *address, "--name", "team", "--yes")
    run("install", name, "--yes", KIE_AI_API_KEY="", KIE_AI_CONFIG="")
    assert uninstall(run, name, "--name", "team", "--yes").code == 0
    whole = whole_of(name, file_of(name, tmp_path).read_text("utf-8"))
    assert [*whole[CLIENTS[name].servers]] == ["kie-ai"]
    assert [question["id"] for question in whole.get("inputs", [])] == (["kie-ai-key"] if name == "vscode" else [])


def test_question_that_another_entry_needs_stays(run: "Run", tmp_path: Path) -> None:
    run("install", "vscode", "--yes", KIE_AI_API_KEY="")
    path = file_of("vscode", tmp_path)
    whole = jsonc.read(path.read_text("utf-8"))
    other = {"command": "x", "env": {"KEY": "${input:kie-ai-key}"}}
    path.write_text(jsonc.put(path.read_text("utf-8"), ("servers", "other"), other), "utf-8")
    assert uninstall(run, "vscode", "--yes").code == 0
    assert jsonc.read(path.read_text("utf-8")) == {**whole, "servers": {"other": other}}


def test_entry_of_another_program_is_left_alone(run: "Run", tmp_path: Path) -> None:
    path = file_of("cursor", tmp_path)
    path.parent.mkdir()
    before = '{"mcpServers": {"kie-ai": {"command": "npx", "args": ["-y", "something-else"]}}}'
    path.write_text(before, "utf-8")
    ended = uninstall(run, "cursor", "--yes")
    assert (ended.code, path.read_text("utf-8"), "another program" in ended.stderr) == (1, before, True)


def test_what_stays_is_named(run: "Run", tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'api_key = "{KEY}"\n', "utf-8")
    (tmp_path / "tasks.db").touch()
    (tmp_path / "out").mkdir()
    run("install", "cursor", "--yes", KIE_AI_CONFIG=str(config))
    ended = uninstall(run, "cursor", "--yes", KIE_AI_CONFIG=str(config))
    for place in (config, tmp_path / "tasks.db", tmp_path / "out"):
        assert str(place) in ended.stdout
    assert "uninstall cursor --key" in ended.stdout
    assert KEY not in ended.stdout + ended.stderr
    assert config.exists()


def test_key_is_deleted_from_the_settings_file(run: "Run", tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'api_key = "{KEY}" # mine\nwait_s = 5\n', "utf-8")
    ended = uninstall(run, "cursor", "--key", KIE_AI_CONFIG=str(config))
    assert (ended.code, config.read_text("utf-8").strip()) == (0, "wait_s = 5")
    assert f"deleted from {config}" in ended.stdout
    again = uninstall(run, "cursor", "--key", KIE_AI_CONFIG=str(config))
    assert (again.code, "No key was found" in again.stdout) == (0, True)


def test_key_is_deleted_from_the_keyring(run: "Run", tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('api_key = "keyring"\n', "utf-8")
    put_key(tmp_path, KEY)
    ended = uninstall(run, "cursor", "--key", KIE_AI_CONFIG=str(config), **keyring_in(tmp_path))
    assert (ended.code, key_in(tmp_path), config.read_text("utf-8").strip()) == (0, None, ""), ended.stderr
    assert "deleted from the system's keyring" in ended.stdout


def test_clients_that_lose_the_key_are_named_before_the_question(run: "Run", tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'api_key = "{KEY}"\n', "utf-8")
    for name in ("cursor", "vscode", "windsurf"):
        run("install", name, "--yes", KIE_AI_CONFIG=str(config))
    run("install", "claude-code", "--yes", "--write-key", KIE_AI_CONFIG=str(config))  # it has a key of its own
    run("install", "zed", "--yes", "--url", "https://kie.example/mcp", KIE_AI_CONFIG=str(config))  # and this needs none
    for _ in range(2):  # with an entry of the client's own, and without one
        refused = uninstall(run, "cursor", "--key", stdin="n\n", KIE_AI_CONFIG=str(config))
        shown, asked, _ = refused.stderr.partition("? [Y/n]")
        assert (refused.code, KEY in config.read_text("utf-8"), asked) == (1, True, "? [Y/n]"), refused.stderr
        assert "of all clients: VS Code, Windsurf would be left without one.\n" in shown
        assert "without one" not in uninstall(run, "cursor", "--yes", KIE_AI_CONFIG=str(config)).stderr
    ended = json.loads(uninstall(run, "cursor", "--key", "--yes", "--json", KIE_AI_CONFIG=str(config)).stdout)
    assert (ended["without_key"], KEY in config.read_text("utf-8")) == (["VS Code", "Windsurf"], False)
    assert "No key is left for: VS Code, Windsurf." in ended["key"]


@pytest.mark.parametrize("backend", ["locked", "none"])
def test_key_in_a_keyring_that_can_not_be_used_is_among_what_stays(run: "Run", tmp_path: Path, backend: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text('wait_s = 5\napi_key = "keyring"\n', "utf-8")
    (tmp_path / "keyring.json").write_text("locked", "utf-8")
    none = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    run("install", "cursor", "--yes", KIE_AI_CONFIG=str(config))
    keyring = keyring_in(tmp_path) if backend == "locked" else none
    ended = uninstall(run, "cursor", "--key", "--yes", KIE_AI_CONFIG=str(config), **keyring)
    assert (ended.code, config.read_text("utf-8")) == (0, "wait_s = 5\n"), ended.stderr
    assert "Removed from" in ended.stdout
    assert "no longer says" in ended.stdout
    assert "the key: maybe still in the system's keyring. The system's keyring can't be used: " in ended.stdout
    if backend == "locked":
        put_key(tmp_path, KEY)
        assert uninstall(run, "cursor", "--key", KIE_AI_CONFIG=str(config), **keyring).code == 0
        assert key_in(tmp_path) is None


@pytest.mark.skipif(sys.platform == "win32", reason="files have other permissions there")
def test_removal_is_told_where_the_key_can_not_be_deleted(run: "Run", tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'api_key = "{KEY}"\n', "utf-8")
    run("install", "cursor", "--yes", KIE_AI_CONFIG=str(config))
    config.chmod(0o444)
    ended = uninstall(run, "cursor", "--key", "--yes", KIE_AI_CONFIG=str(config))
    assert (ended.code, KEY in config.read_text("utf-8"), KEY in ended.stdout) == (0, True, False), ended.stderr
    for words in ("Removed from", f"the key: in {config}, as before", "read-only"):
        assert words in ended.stdout
