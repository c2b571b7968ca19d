"""The settings file as commands change it: what else it holds stays, and nobody else may read it."""

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from kie_ai_mcp._cli.settings_file import change_settings, check_settings
from kie_ai_mcp._record.database import file_lock
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.errors import ConfigError
from tests.helpers import LIMIT_S

MINE = """\
# mine
wait_s = 5 # not less
# output_dir = "~/Pictures/kie"

[tools.generate_veo3_video] # dear
model = "veo3_fast"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kie" / "config.toml"
    monkeypatch.setenv("KIE_AI_CONFIG", str(path))
    return path


def test_new_file_is_private_and_holds_the_values(file: Path) -> None:
    assert change_settings({"api_key": "keyring", "upload_roots": ["/a", "/b"], "max_credits_per_day": 500}) == file
    text = file.read_text("utf-8")
    assert text.startswith("# Settings of kie-ai-mcp-server.")
    assert tomllib.loads(text) == {"api_key": "keyring", "upload_roots": ["/a", "/b"], "max_credits_per_day": 500}
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_comments_and_sections_stay(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(MINE, "utf-8")
    file.chmod(0o644)
    change_settings({"api_key": "keyring", "output_dir": "pictures"})
    text = file.read_text("utf-8")
    rest = iter(text.splitlines())
    assert all(line in rest for line in MINE.splitlines())
    assert tomllib.loads(text) == {**tomllib.loads(MINE), "api_key": "keyring", "output_dir": "pictures"}
    change_settings({"api_key": None, "output_dir": None, "webhook_key": None})
    assert tomllib.loads(file.read_text("utf-8")) == tomllib.loads(MINE)
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_so_already_is_not_written_anew(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('wait_s = 5.0 # so\napi_key = "keyring"\n', "utf-8")
    os.utime(file, ns=(1, 1))
    change_settings({"wait_s": 5, "api_key": "keyring", "output_dir": None})
    assert file.stat().st_mtime_ns == 1


@pytest.mark.parametrize("text", ["wait_s = = 5", "wait_s = 5\nwait_s = 6\n", b"wait_s = '\xff'"])
def test_file_that_is_not_understood_is_left_alone(file: Path, text: str | bytes) -> None:
    file.parent.mkdir()
    data = text if isinstance(text, bytes) else text.encode()
    file.write_bytes(data)
    with pytest.raises((ConfigError, click.ClickException), match=r"Correct it|Save it as UTF-8"):
        change_settings({"api_key": "keyring"})
    assert (file.read_bytes(), [*file.parent.iterdir()]) == (data, [file])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encoding_of_a_file_stays(file: Path, encoding: str) -> None:
    file.parent.mkdir()
    file.write_bytes("wait_s = 5 # ö\n".encode(encoding))
    change_settings({"output_dir": "pictures"})
    text = file.read_bytes().decode(encoding)
    assert tomllib.loads(text) == {"wait_s": 5, "output_dir": "pictures"}
    assert (text[0], "# ö" in text) == ("w", True)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_link_stays_and_a_protected_file_is_left_alone(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    real = tmp_path / "dotfiles.toml"
    real.write_text("wait_s = 5\n", "utf-8")
    file.symlink_to(real)
    change_settings({"api_key": "keyring"})
    assert (file.is_symlink(), "keyring" in real.read_text("utf-8")) == (True, True)
    real.chmod(0o444)
    with pytest.raises(click.ClickException, match="read-only"):
        change_settings({"api_key": None})


def test_settings_that_several_processes_write_are_all_there(file: Path) -> None:
    code = (
        "import sys; from kie_ai_mcp._cli.settings_file import change_settings\n"
        "for number in range(12): change_settings({f'limit_{sys.argv[1]}_{number}': number})"
    )
    words = [sys.executable, "-c", code]
    children = [subprocess.Popen([*words, name], stderr=subprocess.PIPE, text=True) for name in "abcd"]
    ended = [(child.communicate(timeout=LIMIT_S)[1], child.returncode) for child in children]
    assert ended == [("", 0)] * 4
    assert len(tomllib.loads(file.read_text("utf-8"))) == 48


def test_file_that_another_command_changes_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.database.BUSY_TIMEOUT_S", 0.1)
    change_settings({"wait_s": 5})
    with file_lock(f"{file}.lock"), pytest.raises(click.ClickException, match="changed by another command"):
        change_settings({"wait_s": 6})
    assert tomllib.loads(file.read_text("utf-8")) == {"wait_s": 5}


def test_comments_stay_where_a_setting_or_a_section_goes(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f'{MINE}# before the next\n\n[providers.fal]\n# inside\nurl = "x" # gone\n', "utf-8")
    change_settings({"tools.generate_veo3_video.model": None, "providers.fal.url": None, "wait_s": None})
    text = file.read_text("utf-8")
    assert tomllib.loads(text) == {}
    kept = ["# mine", '# output_dir = "~/Pictures/kie"', "# dear", "# before the next", "# inside"]
    assert [line for line in text.splitlines() if line] == kept


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_stay(file: Path, start: str) -> None:
    file.parent.mkdir()
    file.write_bytes(f"{start}wait_s = 5\r\n# rate_limit = 20\r\n".encode())
    change_settings({"rate_limit": 30})
    change_settings({"max_credits_per_day": 500})
    change_settings({"wait_s": None})
    assert file.read_bytes() == f"{start}rate_limit = 30\r\nmax_credits_per_day = 500\r\n".encode()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are files of their own there")
def test_what_is_no_file_is_refused_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    os.mkfifo(file)
    with pytest.raises(click.ClickException, match="a pipe or a device"):
        change_settings({"wait_s": 5})
    with pytest.raises(ConfigError, match="a pipe or a device"):
        load_settings()
    file.unlink()
    file.symlink_to(file.with_name("other"))
    file.with_name("other").symlink_to(file)
    with pytest.raises(click.ClickException, match="leads in a circle"):
        change_settings({"wait_s": 5})
    with pytest.raises(ConfigError, match="can't be read"):
        load_settings()
    monkeypatch.setenv("KIE_AI_CONFIG", os.devnull)
    assert load_settings().wait_s == 0
    with pytest.raises(click.ClickException, match="is no file"):
        change_settings({"wait_s": 5})
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_value_that_the_server_would_refuse_is_named() -> None:
    check_settings({"output_dir": "pictures", "upload_roots": ["~", "/tmp"], "max_credits_per_day": 500.0})
    with pytest.raises(ConfigError, match="absolute"):
        check_settings({"output_dir": "here"})
