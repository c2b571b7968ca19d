"""``install`` at a terminal: what it asks, where the answers are kept, and that the key is shown nowhere."""

import os
import stat
import subprocess
import sys
import tomllib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.install import command as _cli_install
from kie_ai_mcp._cli.install.clients import config_path
from kie_ai_mcp._cli.install.jsonc import read
from kie_ai_mcp._settings import system_keyring
from tests.cli.test_install import entry_in, env_of, file_of
from tests.helpers import until
from tests.keyrings import key_in, keyring_in
from tests.terminals import type_hidden

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run
    from tests.conftest import Environment

KEY = "a-key-that-nobody-may-see-0123"
ANSWERS = {
    "Kie.ai key": KEY,
    "Folder for finished": "none",
    "Folders of pictures": "",
    "Credits to spend": "",
    "Write this to": "y",
}
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


@pytest.fixture(autouse=True)
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person is there; every client's file is where it is on Linux; no keyring was asked yet."""
    monkeypatch.setattr(_cli_install, "has_person", lambda: True)
    monkeypatch.setattr(_cli_install, "config_path", lambda name: config_path(name, "linux", {}))
    monkeypatch.setattr(system_keyring, "_answer", None)


def install(run: "Run", *arguments: str, answers: tuple[str, ...] = (), **more: str) -> "Ended":
    settings: dict[str, Any] = {"KIE_AI_API_KEY": "", "KIE_AI_OUTPUT_DIR": "", **more}
    return run("install", *arguments, stdin="".join(f"{line}\n" for line in answers), **settings)


def settings_file(home: Path) -> Path:
    return home / ".config" / "kie-ai-mcp-server" / "config.toml"


def settings_in(home: Path) -> dict[str, Any]:
    path = settings_file(home)
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}


def test_enter_takes_every_default(run: "Run", tmp_path: Path) -> None:
    ended = install(run, "claude-desktop", answers=(KEY, "", "", "", "y"), **keyring_in(tmp_path))
    assert ended.code == 0, ended.stderr
    pictures = "~/Pictures/kie-ai-mcp-server"
    assert settings_in(tmp_path) == {"api_key": "keyring", "output_dir": pictures, "max_credits_per_day": 1000}
    assert key_in(tmp_path) == KEY
    assert "The key goes into the system's keyring (the file of the tests)." in ended.stderr
    assert f'output_dir = "{pictures}"' in ended.stderr
    assert "The key is read from the system's keyring." in ended.stdout
    text = file_of("claude-desktop", tmp_path).read_text("utf-8")
    assert KEY not in text + ended.stdout + ended.stderr
    again = install(run, "cursor", answers=("", "y"), **keyring_in(tmp_path))
    assert (again.code, "Kie.ai key" in again.stderr, "Credits" in again.stderr) == (0, False, False), again.stderr
    # A reference would only name a variable that nobody set.
    assert "KIE_AI_API_KEY" not in file_of("cursor", tmp_path).read_text("utf-8")


def test_key_goes_into_the_settings_file_where_there_is_no_keyring(run: "Run", tmp_path: Path) -> None:
    settings_file(tmp_path).parent.mkdir(parents=True)
    settings_file(tmp_path).write_text("wait_s = 5 # mine\n", "utf-8")
    ended = install(run, "zed", answers=(KEY, "none", "", "none", "y"), **NO_KEYRING)
    assert ended.code == 0, ended.stderr
    assert settings_in(tmp_path) == {"wait_s": 5, "api_key": KEY}
    assert "# mine" in settings_file(tmp_path).read_text("utf-8")
    assert KEY not in file_of("zed", tmp_path).read_text("utf-8") + ended.stdout + ended.stderr
    assert f"The key is read from {settings_file(tmp_path)}." in ended.stdout
    if sys.platform != "win32":
        assert stat.S_IMODE(settings_file(tmp_path).stat().st_mode) == 0o600


def test_keyring_that_is_locked_gives_way_to_the_settings_file(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "keyring.json").write_text("locked", "utf-8")
    ended = install(run, "cursor", answers=(KEY, "", "", "", "y"), **keyring_in(tmp_path))
    assert (ended.code, settings_in(tmp_path)["api_key"]) == (0, KEY)
    assert "So the key goes into" in ended.stderr


def test_answers_are_checked_and_asked_for_again(run: "Run", tmp_path: Path) -> None:
    uploads, file = tmp_path / "in", tmp_path / "a" / "file"
    uploads.mkdir()
    file.parent.mkdir()
    file.touch()
    folders = ("here", str(file), str(tmp_path / "out"), f"~/none, {uploads}", f"~/a, {uploads}")
    answers = ("YOUR_API_KEY", f"Bearer {KEY}", *folders, "many", "12.5", "y")
    ended = install(run, "cursor", answers=answers, **NO_KEYRING)
    assert ended.code == 0, ended.stderr
    assert settings_in(tmp_path) == {
        "api_key": KEY,
        "output_dir": str(tmp_path / "out"),
        "upload_roots": ["~/a", str(uploads)],
        "max_credits_per_day": 12.5,
    }
    for words in ("This is no key.", "absolute", "file is a file", "none is no folder", "'many' is no number"):
        assert words in ended.stderr


def test_skipped_key_is_asked_for_by_vs_code_itself(run: "Run", tmp_path: Path) -> None:
    ended = install(run, "vscode", answers=("", "none", "", "none", "y"), **NO_KEYRING)
    assert ended.code == 0, ended.stderr
    text = file_of("vscode", tmp_path).read_text("utf-8")
    assert env_of("vscode", entry_in("vscode", text)) == {"KIE_AI_API_KEY": "${input:kie-ai-key}"}
    (question,) = read(text)["inputs"]
    assert (question["id"], question["type"], question["password"]) == ("kie-ai-key", "promptString", True)
    assert "VS Code asks for the key" in ended.stdout
    assert settings_in(tmp_path) == {}


def test_key_of_this_shell_is_offered_to_a_client_that_lacks_it(run: "Run", tmp_path: Path) -> None:
    for client, answers, kept in (("cursor", (), None), ("lm-studio", ("n",), None), ("goose", ("",), KEY)):
        rest = ("none", "", "none", "y")
        ended = install(run, client, answers=(*answers, *rest), KIE_AI_API_KEY=KEY, **NO_KEYRING)
        assert (ended.code, settings_in(tmp_path).get("api_key")) == (0, kept), ended.stderr
        assert KEY not in ended.stdout + ended.stderr + file_of(client, tmp_path).read_text("utf-8")


def test_what_is_set_for_the_client_is_not_asked(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    values = ("output_dir=~/kie", "upload_roots=~/in", "max_credits_per_day=5")
    pairs: tuple[str, ...] = tuple(word for value in values for word in ("--set", value))
    for _ in range(2):
        ended = install(run, "goose", *pairs, answers=(KEY, "y"), **NO_KEYRING)
        assert (ended.code, settings_in(tmp_path)) == (0, {"api_key": KEY}), ended.stderr
        pairs = ()


def test_nothing_is_kept_without_a_yes(run: "Run", tmp_path: Path) -> None:
    for answers in ((KEY, "", "", "", "n"), (KEY, "", ""), ()):
        ended = install(run, "cursor", answers=answers, **keyring_in(tmp_path))
        assert (ended.code, settings_in(tmp_path), key_in(tmp_path)) == (1, {}, None)
        assert not file_of("cursor", tmp_path).exists()
        assert "nothing was written" in ended.stderr


def test_nothing_is_kept_without_a_yes_where_the_client_has_its_entry(run: "Run", tmp_path: Path) -> None:
    first = install(run, "cursor", answers=("", "none", "", "none", "y"), **NO_KEYRING)
    assert (first.code, settings_in(tmp_path)) == (0, {}), first.stderr
    for last in ((), ("n",)):
        ended = install(run, "cursor", answers=(KEY, "none", "", "9", *last), **NO_KEYRING)
        assert (ended.code, settings_in(tmp_path)) == (1, {}), ended.stderr
        assert "nothing was written" in ended.stderr
    agreed = install(run, "cursor", answers=(KEY, "none", "", "9", "y"), **NO_KEYRING)
    assert (agreed.code, settings_in(tmp_path)) == (0, {"max_credits_per_day": 9, "api_key": KEY}), agreed.stderr
    assert f"Write this to {settings_file(tmp_path)}?" in agreed.stderr
    assert "has it already" in agreed.stdout
    assert "The rest is kept." in agreed.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("words", ["read-only", "circle", "changed meanwhile", "config.toml is read-only"])
def test_nothing_is_kept_where_the_entry_can_not_be_written(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    path = file_of("cursor", tmp_path)
    path.parent.mkdir()
    path.write_text("{}", "utf-8")
    if words == "read-only":
        path.chmod(0o444)
    elif words == "circle":
        path.unlink()
        path.symlink_to(path)
    elif words == "changed meanwhile":
        monkeypatch.setattr(_cli_install, "ask", lambda path: path.write_text(path.read_text("utf-8") + " ", "utf-8"))
    else:
        settings_file(tmp_path).parent.mkdir(parents=True)
        settings_file(tmp_path).touch(0o444)
    for place in (keyring_in(tmp_path), NO_KEYRING):
        ended = install(run, "cursor", answers=(KEY, "", "", "", "y"), **place)
        assert (ended.code, words in ended.stderr, "nothing was written" in ended.stderr) == (1, True, True)
        assert (settings_in(tmp_path), key_in(tmp_path)) == ({}, None)
        assert "kie-ai" not in (path.read_text("utf-8") if path.exists() else "")
        assert not [*tmp_path.rglob("*.bak")]


def test_entry_is_named_where_what_all_clients_share_is_not_kept(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_file(tmp_path).parent.mkdir(parents=True)
    monkeypatch.setattr(_cli_install, "ask", lambda _path: settings_file(tmp_path).write_text("x = = 1", "utf-8"))
    ended = install(run, "cursor", answers=(KEY, "", "", ""), **NO_KEYRING)
    assert (ended.code, "kie-ai" in file_of("cursor", tmp_path).read_text("utf-8")) == (1, True)
    assert f"The entry is written to {file_of('cursor', tmp_path)}, but what all" in ended.stderr
    assert "Correct it" in ended.stderr


def test_options_answer_for_scripts(run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli_install, "has_person", lambda: False)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    options = ("--output-dir", "pictures", "--upload-root", "~/a", "--upload-root", "~/b", "--max-credits-per-day", "9")
    ended = install(run, "cursor", "--yes", "--key", "-", *options, answers=(f'"{KEY}"',), **keyring_in(tmp_path))
    assert ended.code == 0, ended.stderr
    values = {"output_dir": "pictures", "upload_roots": ["~/a", "~/b"], "max_credits_per_day": 9}
    assert settings_in(tmp_path) == {**values, "api_key": "keyring"}
    assert key_in(tmp_path) == KEY
    text = settings_file(tmp_path).read_text("utf-8")
    assert "max_credits_per_day = 9\n" in text
    assert "max_credits_per_day = 9\n" in ended.stderr
    plain = install(run, "cursor", "--yes")
    assert (plain.code, "Credits" in plain.stderr) == (0, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--key", KEY), "where others see it"),
        (("--key", "-"), "This is no key"),
        (("--output-dir", "here"), "absolute"),
        (("--output-dir", "/dev/null/kie"), "is a file, not a folder"),
        (("--upload-root", "~/none"), "is no folder"),
        (("--set", "upload_roots=~/none"), "is no folder"),
        (("--url", "https://kie.example", "--key", "-"), "leave --url out"),
        (("--url", "https://kie.example", "--output-dir", "/x"), "leave --url out"),
        (("--max-credits-per-day", "-1"), "not in the range"),
    ],
)
def test_wrong_options_are_refused(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr(_cli_install, "has_person", lambda: False)
    ended = install(run, "cursor", "--yes", *options, answers=("YOUR_API_KEY",), **NO_KEYRING)
    assert (ended.code, words in ended.stderr, KEY in ended.stderr) == (2, True, False), ended.stderr
    assert (settings_in(tmp_path), file_of("cursor", tmp_path).exists()) == ({}, False)


def test_key_for_the_client_s_file_alone_is_kept_nowhere_else(run: "Run", tmp_path: Path) -> None:
    answers = (KEY, "none", "", "none", "y")
    ended = install(run, "cursor", "--write-key", answers=answers, **keyring_in(tmp_path))
    assert ended.code == 0, ended.stderr
    entry = entry_in("cursor", file_of("cursor", tmp_path).read_text("utf-8"))
    assert env_of("cursor", entry) == {"KIE_AI_API_KEY": KEY}
    assert (settings_in(tmp_path), key_in(tmp_path)) == ({}, None)
    assert KEY not in ended.stdout + ended.stderr
    assert "in clear text" in ended.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_key_that_is_typed_at_a_real_terminal_does_not_appear(environment: "Environment", tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    settings: dict[str, Any] = {"KIE_AI_API_KEY": "", "KIE_AI_OUTPUT_DIR": "", "TERM": "dumb", **keyring_in(tmp_path)}
    environ = environment(tmp_path, **settings)
    command = [sys.executable, "-m", "kie_ai_mcp", "install", "cursor"]
    said = bytearray()

    def says(*words: str) -> bool:
        os.set_blocking(ours, False)
        with suppress(OSError):  # nothing is there yet, or the other end is closed
            said.extend(os.read(ours, 65536))
        return all(word in said.decode() for word in words)

    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=tmp_path) as child:
        try:
            os.close(theirs)
            for question, answer in ANSWERS.items():
                until(partial(says, question))
                if answer == KEY:
                    type_hidden(ours, f"{answer}\n")
                else:
                    os.write(ours, f"{answer}\n".encode())
            until(lambda: says("Written to", "Restart Cursor"))
            child.wait(30)
        finally:
            child.kill()
    os.close(ours)
    assert (child.returncode, key_in(tmp_path)) == (0, KEY)
    assert KEY not in said.decode()
    assert "can't be used" not in said.decode()
