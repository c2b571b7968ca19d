"""``install``: the entry in the client's file, with the rest of the file unchanged."""

import json
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.install import command as _cli_install
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._cli.install.jsonc import read

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run

KEY = "a-key-that-nobody-may-see-0123"
LEFT_OUT = ("claude-desktop",)

COMMENTED = """\
{
    // set up by hand, do not touch
    "theme": "dark",
    "%s": {
        "other": {
            "command": "other-server", /* pinned */
            "env": { "OTHER_API_KEY": "another-secret" },
        },
    },
}
"""


@pytest.fixture(autouse=True)
def one_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client's file is where it is on Linux, below the test's home, wherever the tests run."""
    monkeypatch.setattr(_cli_install, "config_path", lambda name: config_path(name, "linux", {}))


def file_of(name: str, home: Path) -> Path:
    return config_path(name, "linux", {}, home)


def entry_in(name: str, text: str, entry: str = "kie-ai") -> dict[str, Any]:
    """The entry as the client will read it."""
    whole = tomllib.loads(text) if CLIENTS[name].form == "toml" else read(text)
    found: dict[str, Any] = whole[CLIENTS[name].servers][entry]
    return found


def holds_in_order(after: str, before: str) -> bool:
    """Whether every line of a text is in another one, in its order."""
    rest = iter(after.splitlines())
    return all(line in rest for line in before.splitlines())


def install(run: "Run", *arguments: str, **more: Any) -> "Ended":
    return run("install", *arguments, KIE_AI_API_KEY=KEY, **more)


@pytest.mark.parametrize("name", CLIENTS)
def test_new_file_holds_the_entry_without_the_key(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--yes")
    path = file_of(name, tmp_path)
    assert ended.code == 0, ended.stderr
    assert (str(path) in ended.stdout, CLIENTS[name].title in ended.stdout) == (True, True)
    text = path.read_text("utf-8")
    entry = entry_in(name, text)
    assert Path(entry["command"]).is_file()
    assert KEY not in text + ended.stdout + ended.stderr
    assert ("KIE_AI_API_KEY" in text) is (name not in LEFT_OUT)
    assert ("knows no variables" in ended.stdout) is (name in LEFT_OUT)
    assert [place.name for place in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.form == "json"])
def test_comments_order_and_other_servers_stay(run: "Run", tmp_path: Path, name: str) -> None:
    before, path = COMMENTED % CLIENTS[name].servers, file_of(name, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before, "utf-8")
    ended = install(run, name, "--yes")
    after = path.read_text("utf-8")
    assert holds_in_order(after, before)
    assert read(after)[CLIENTS[name].servers]["other"] == read(before)[CLIENTS[name].servers]["other"]
    assert "another-secret" not in ended.stdout + ended.stderr
    (backup,) = path.parent.glob(f"{path.name}.*.bak")
    assert backup.read_text("utf-8") == before
    assert str(backup) in ended.stdout


def test_codex_file_keeps_its_comments_and_tables(run: "Run", tmp_path: Path) -> None:
    path = file_of("codex", tmp_path)
    path.parent.mkdir()
    before = 'model = "o3" # for now\n\n[mcp_servers.other]\ncommand = "other"\n\n# mine\n[profiles.x]\nmodel = "y"\n'
    path.write_text(before, "utf-8")
    assert install(run, "codex", "--yes").code == 0
    after = path.read_text("utf-8")
    assert holds_in_order(after, before)
    assert tomllib.loads(after)["profiles"] == {"x": {"model": "y"}}
    assert entry_in("codex", after)["env_vars"] == ["KIE_AI_API_KEY"]


@pytest.mark.parametrize("name", CLIENTS)
def test_second_time_changes_nothing(run: "Run", tmp_path: Path, name: str) -> None:
    install(run, name, "--yes", "--set", "output_dir=~/Pictures/kie")
    path = file_of(name, tmp_path)
    before = path.read_bytes()
    ended = install(run, name, "--set", "output_dir=~/Pictures/kie")
    assert (ended.code, ended.stderr) == (0, "")
    assert "has it already" in ended.stdout
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.bak")) == []


@pytest.mark.parametrize("name", ["cursor", "codex"])
def test_what_the_user_added_to_the_entry_stays(run: "Run", tmp_path: Path, name: str) -> None:
    install(run, name, "--yes")
    path = file_of(name, tmp_path)
    command = entry_in(name, path.read_text("utf-8"))["command"]
    if name == "codex":
        path.write_text(
            '[mcp_servers.kie-ai]\ncommand = "old"\nenabled = false\nenv = { KIE_AI_API_KEY = "theirs" }\n', "utf-8"
        )
    else:
        theirs = {"command": "old", "disabled": True, "env": {"KIE_AI_API_KEY": "theirs", "KIE_AI_WAIT_S": "5"}}
        path.write_text(json.dumps({"mcpServers": {"kie-ai": theirs}}), "utf-8")
    assert install(run, name, "--yes").code == 0
    entry = entry_in(name, path.read_text("utf-8"))
    assert (entry["command"], entry["env"]["KIE_AI_API_KEY"]) == (command, "theirs")
    assert entry.get("disabled", True) is True
    assert "env_vars" not in entry


@pytest.mark.parametrize("name", CLIENTS)
def test_key_is_written_where_that_is_asked_for_and_shown_nowhere(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--yes", "--write-key")
    path = file_of(name, tmp_path)
    assert entry_in(name, path.read_text("utf-8"))["env"]["KIE_AI_API_KEY"] == KEY
    assert KEY not in ended.stdout + ended.stderr
    assert "clear text" in ended.stdout
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_key_none_can_be_written(run: "Run", tmp_path: Path) -> None:
    ended = run("install", "cursor", "--yes", "--write-key", KIE_AI_API_KEY="")
    assert (ended.code, "KIE_AI_API_KEY" in ended.stderr) == (2, True)
    assert not file_of("cursor", tmp_path).exists()


def test_nothing_is_written_without_a_yes(run: "Run", tmp_path: Path) -> None:
    path = file_of("cursor", tmp_path)
    for answer, words in (("n\n", "as you wished"), ("", "--yes")):
        ended = install(run, "cursor", stdin=answer)
        assert (ended.code, path.exists()) == (1, False)
        assert words in ended.stderr
        assert '+    "kie-ai": {' in ended.stderr
    assert install(run, "cursor", stdin="y\n").code == 0
    assert path.exists()


@pytest.mark.parametrize("name", CLIENTS)
def test_print_writes_no_file_and_no_key(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--print")
    assert (ended.code, KEY in ended.stdout) == (0, False)
    assert entry_in(name, ended.stdout)["command"]
    assert str(file_of(name, tmp_path)) in ended.stderr
    assert not file_of(name, tmp_path).exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cursor", '{"mcpServers": '),
        ("cursor", "[]"),
        ("cursor", '{"mcpServers": "none"}'),
        ("cursor", '{"mcpServers": {"kie-ai": {"url": "http://127.0.0.1:3000/mcp"}}}'),
        ("codex", "mcp_servers = "),
        ("codex", "mcp_servers = 3"),
        ("gemini", "\udcff"),
    ],
)
def test_file_that_is_not_understood_is_left_alone(run: "Run", tmp_path: Path, name: str, text: str) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    ended = install(run, name, "--yes")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert str(path) in ended.stderr
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
    assert [place.name for place in path.parent.iterdir()] == [path.name]


def test_file_that_changed_while_the_user_thought_is_left_alone(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of("cursor", tmp_path)

    def meanwhile(_path: Path) -> None:
        path.parent.mkdir()
        path.write_text("{}", "utf-8")

    monkeypatch.setattr(_cli_install, "_ask", meanwhile)
    ended = install(run, "cursor")
    assert (ended.code, path.read_text("utf-8")) == (1, "{}")
    assert "changed meanwhile" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_link_stays_a_link(run: "Run", tmp_path: Path) -> None:
    path, real = file_of("cursor", tmp_path), tmp_path / "dotfiles.json"
    path.parent.mkdir()
    real.write_text("{}", "utf-8")
    path.symlink_to(real)
    assert install(run, "cursor", "--yes").code == 0
    assert path.is_symlink()
    assert "kie-ai" in real.read_text("utf-8")


def test_settings_are_checked_and_written_as_variables(run: "Run", tmp_path: Path) -> None:
    install(run, "vscode", "--yes", "--set", "output_dir=~/kie", "--set", "rate_limit=5", "--name", "pictures")
    entry = entry_in("vscode", file_of("vscode", tmp_path).read_text("utf-8"), "pictures")
    assert entry["env"] == {
        "KIE_AI_API_KEY": "${env:KIE_AI_API_KEY}",
        "KIE_AI_OUTPUT_DIR": "~/kie",
        "KIE_AI_RATE_LIMIT": "5",
    }


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("outputdir=x", "Did you mean output_dir?"),
        ("output_dir", "not SETTING=VALUE"),
        ("output_dir=pictures/kie", "absolute"),
        ("timeout=60s", "60000"),
        ("api_key=secret-value", "--write-key"),
    ],
)
def test_setting_that_the_server_would_refuse_is_refused(run: "Run", tmp_path: Path, pair: str, words: str) -> None:
    ended = install(run, "cursor", "--yes", "--set", pair)
    assert (ended.code, words in ended.stderr, "secret-value" in ended.stderr) == (2, True, False)
    assert not file_of("cursor", tmp_path).exists()


def test_json_says_what_was_done(run: "Run", tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.json"
    first = json.loads(install(run, "cursor", "--yes", "--json", "--file", str(path)).stdout)
    assert (first["path"], first["changed"], first["backup"]) == (str(path), True, None)
    again = json.loads(install(run, "cursor", "--json", "--file", str(path)).stdout)
    assert again["changed"] is False


def test_unknown_client_is_wrong_usage(run: "Run") -> None:
    ended = install(run, "zed")
    assert (ended.code, "windsurf" in ended.stderr) == (2, True)
