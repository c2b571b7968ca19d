"""Secrets in clients' files: of other servers and of ours, none is printed or left where others can read it."""

import json
import shutil
import stat
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.install.clients import CLIENTS
from tests.cli.test_install import KEY, OLD, SECRET, entry_in, env_of, file_of, install, one_platform
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.cli.conftest import Run

__all__ = ["one_platform"]

# What can't be read, or not by all means, with a secret where the library's errors and warnings quote the file.
UNREADABLE = {
    "goose": {
        "line 3, column 3: a key stands there twice": f"o:\n  TOKEN: {SECRET}\n  TOKEN: {SECRET}-2\n",
        "no valid YAML": f"o:\n  TOKEN: '{SECRET}\n",
        "line 2, column 10: a tag or a key": f"o:\n  TOKEN: !{SECRET} x\n",
        "line 1, column 4: an alias without": f"o: *{SECRET}\n",
        "a value that can't be read": f"o: !!int {SECRET}\n",
        "line 2, column 1: no valid YAML": f"- {SECRET}\no: 1\n",
        "line 3, column 1: an alias without its anchor, or a second document": f"---\nA: {SECRET}\n---\nb: 2\n",
    },
    "codex": {
        "Cannot declare ... twice (at line 3": f'["{SECRET}"]\na = 1\n["{SECRET}"]\n',
        "Duplicate inline table key ... (at line 1": f'a = {{"{SECRET}" = 1, "{SECRET}" = 2}}',
        "a number of too many digits": f"n = {'1' * 5000} # {SECRET}\n",
    },
    "cursor": {"a number of too many digits": f'{{"n": {"1" * 5000}, "a": "{SECRET}"}}'},
}


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize(
    ("name", "reason", "text"), [(name, *case) for name, cases in UNREADABLE.items() for case in cases.items()]
)
def test_file_that_can_t_be_read_is_not_quoted(
    run: "Run", tmp_path: Path, command: str, name: str, reason: str, text: str
) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    ended = run(command, name, "--yes", "--file", path)
    assert (ended.code, ended.stderr.count("\n"), path.read_text("utf-8")) == (1, 1, text)
    assert reason in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_warnings_about_a_file_do_not_quote_it(run: "Run", tmp_path: Path) -> None:
    path = file_of("goose", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(f"o: &x {SECRET}\np: &x {SECRET}\n", "utf-8")
    ended = install(run, "goose", "--yes")
    assert (ended.code, SECRET in ended.stdout + ended.stderr) == (0, False), ended.stderr


# Our own -------------------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="files have other permissions there")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def written(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", ["cursor", "codex", "goose"])
def test_entry_for_entering_by_hand_has_a_word_in_the_place_of_the_key(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    form = CLIENTS[name].form
    path = written(
        file_of(name, tmp_path), '{"a": 1}' if name == "cursor" else "a = 1" if name == "codex" else "a: 1\n"
    )
    put = attrgetter("put")(form)
    monkeypatch.setattr(form, "put", lambda text, *rest: str(put(text.replace("1", "2"), *rest)))
    spoilt = install(run, name, "--yes", "--write-key", "--set", f"base_url=https://me:{SECRET}@x.example")
    assert (spoilt.code, "so nothing was written" in spoilt.stderr) == (1, True), spoilt.stderr
    printed = install(run, name, "--print", "--write-key", "--set", f"base_url=https://me:{SECRET}@x.example")
    for ended in (spoilt, printed):
        assert env_of(name, entry_in(name, ended.stdout))["KIE_AI_API_KEY"] == "YOUR_KEY"
        assert KEY not in ended.stdout + ended.stderr
        assert SECRET not in ended.stdout + ended.stderr
    assert "1" in path.read_text("utf-8")  # as before


@pytest.mark.parametrize("setting", ["http_token", "user_keys", "database_url", "webhook_key"])
def test_secret_is_not_taken_from_the_command_line(run: "Run", tmp_path: Path, setting: str) -> None:
    ended = install(run, "cursor", "--yes", "--set", f"{setting}={SECRET}")
    assert (ended.code, SECRET in ended.stdout + ended.stderr, file_of("cursor", tmp_path).exists()) == (
        2,
        False,
        False,
    )
    assert f"kie-ai-mcp-server config set {setting} -" in ended.stderr


@posix
@pytest.mark.parametrize(
    "secret",
    [
        {"env": {"KIE_AI_API_KEY": SECRET}},
        {"env": {"KIE_AI_USER_KEYS": f"ada={SECRET}"}},
        {"env": {"KIE_AI_DATABASE_URL": f"postgresql://me:{SECRET}@db/tasks"}},
        {"env": {"KIE_AI_PROVIDER_FAL_KEY": SECRET}},
        {"env": {"KIE_AI_BASE_URL": f"https://me:{SECRET}@x.example"}},
    ],
)
def test_file_with_a_secret_of_ours_and_its_copies_are_private(
    run: "Run", tmp_path: Path, secret: dict[str, Any]
) -> None:
    path = written(file_of("cursor", tmp_path), json.dumps({"mcpServers": {"kie-ai": {"command": OLD, **secret}}}))
    older = written(path.with_name(f"{path.name}.20260101-000000-0.bak"), path.read_text("utf-8"))
    assert install(run, "cursor", "--yes", KIE_AI_PROVIDER_FAL_KEY="").code == 0
    assert SECRET in path.read_text("utf-8")
    assert {place.name: mode_of(place) for place in path.parent.iterdir()} == dict.fromkeys(
        [place.name for place in path.parent.iterdir()], 0o600
    )
    path.chmod(0o644)
    older.chmod(0o644)
    again = install(run, "cursor", "--yes")
    assert ("has it already" in again.stdout, mode_of(path), mode_of(older)) == (True, 0o600, 0o600)
    path.chmod(0o644)
    assert run("uninstall", "cursor", "--yes").code == 0
    assert {mode_of(place) for place in path.parent.glob("*.bak")} == {0o600}


@posix
@pytest.mark.parametrize("name", CLIENTS)
def test_file_without_a_secret_of_ours_keeps_its_permissions(run: "Run", tmp_path: Path, name: str) -> None:
    install(run, name, "--yes")
    path = file_of(name, tmp_path)
    path.chmod(0o644)
    ended = install(run, name, "--yes", "--set", "wait_s=5")
    (backup,) = path.parent.glob("*.bak")
    assert (ended.code, mode_of(path), mode_of(backup)) == (0, 0o644, 0o644)


@posix
def test_copy_is_private_from_its_first_byte(run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, modes, copy = written(file_of("cursor", tmp_path), '{"a": 1}', 0o600), list[int](), shutil.copyfileobj

    def noted(source: IO[bytes], target: IO[bytes]) -> None:
        modes.append(mode_of(Path(target.name)))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", noted)
    assert install(run, "cursor", "--yes").code == 0
    (backup,) = path.parent.glob("*.bak")
    assert (modes, mode_of(backup), backup.read_text("utf-8")) == ([0o600], 0o600, '{"a": 1}')


KILLED = """
import os, sys
from pathlib import Path
from kie_ai_mcp._cli.text_files import TextFile
os.fsync = lambda _: os.kill(os.getpid(), 9)
TextFile.read(Path(sys.argv[1])).replace("{1}", private=True)
"""


@posix
def test_what_a_killed_write_left_is_private_and_swept(run: "Run", tmp_path: Path) -> None:
    path = file_of("cursor", tmp_path)
    other = written(path.with_name("download.part"), "theirs")
    command = [sys.executable, "-c", KILLED.replace("{1}", SECRET), str(path)]
    assert subprocess.run(command, check=False, timeout=LIMIT_S).returncode == -9
    (left,) = path.parent.glob("mcp.json.*.part")
    assert (mode_of(left), left.read_text("utf-8")) == (0o600, SECRET)
    assert install(run, "cursor", "--yes").code == 0
    assert {place.name for place in path.parent.iterdir()} == {path.name, other.name}
