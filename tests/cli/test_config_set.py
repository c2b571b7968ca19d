"""``config set`` and ``config unset``: judged as the server judges, with comments kept, or not written at all."""

import json
import os
import stat
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli import console, settings_file
from kie_ai_mcp._cli.config_set import set_setting
from kie_ai_mcp._cli.text_files import TextFile
from tests.helpers import LIMIT_S
from tests.keyrings import key_in, keyring_in

if TYPE_CHECKING:
    from tests.cli.conftest import Run

OWN = """\
# mine
rate_limit = 7 # slow

[providers.sora2] # moved
gateway = "fal"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The settings file of a test."""
    return tmp_path / "config.toml"


def change(run: "Run", file: Path, *words: str, **more: Any) -> Any:
    """Run ``config`` with the test's file; what the file holds then, after the command's end."""
    ended = run("config", *words, **{"KIE_AI_CONFIG": str(file), "KIE_AI_ENABLED_PROVIDERS": "", **more})
    return ended, tomllib.loads(file.read_text("utf-8")) if file.exists() else None


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("rate_limit", "30", 30),
        ("KIE_AI_RATE_LIMIT", "30", 30),
        ("rate-window-s", "2.5", 2.5),
        ("max_credits_per_day", "500", 500),
        ("watch", "false", False),
        ("log_format", "json", "json"),
        ("disabled_providers", "luma, pika", ["luma", "pika"]),
        ("kinds", "image", ["image"]),
        ("output_dir", "~/Pictures/kie", "~/Pictures/kie"),
        ("database_url", "postgresql://kie@db.example/kie", "postgresql://kie@db.example/kie"),
        ("providers.sora2.gateway", "fal", "fal"),
        ("tools.generate_veo3_video.model", "veo3_fast", "veo3_fast"),
        ("tools.generate_veo3_video.max_credits", "100", 100),
    ],
)
def test_value_is_written_as_the_file_has_it(run: "Run", file: Path, key: str, value: str, written: object) -> None:
    ended, held = change(run, file, "set", key, value)
    assert (ended.code, ended.stderr) == (0, "")
    for name in key.removeprefix("KIE_AI_").lower().replace("-", "_").split("."):
        held = held[name]
    assert held == written
    assert run("config", "show", KIE_AI_CONFIG=str(file)).code == 0


def test_comments_order_and_the_rest_stay(run: "Run", file: Path) -> None:
    file.write_text(OWN, "utf-8")
    assert change(run, file, "set", "max_credits_per_day", "500")[0].code == 0
    assert change(run, file, "set", "rate_limit", "9")[0].code == 0
    text = file.read_text("utf-8")
    assert text.startswith("# mine\nrate_limit = 9 # slow\n")
    assert '\n[providers.sora2] # moved\ngateway = "fal"\n' in text
    assert change(run, file, "unset", "max_credits_per_day")[0].code == 0
    assert file.read_text("utf-8").split() == OWN.replace("7", "9").split()


def test_value_takes_the_place_of_its_example_in_a_fresh_file(run: "Run", file: Path) -> None:
    assert run("config", "init", "--output", file).code == 0
    before = file.read_text("utf-8")
    assert change(run, file, "set", "rate_limit", "30")[0].code == 0
    assert file.read_text("utf-8") == before.replace("# rate_limit = 20\n", "rate_limit = 30\n")


@pytest.mark.parametrize(
    ("key", "value", "reasons"),
    [
        ("rate_limit", "many", ["rate_limit is 'many'", "it must be a whole number"]),
        ("max_credits_per_day", "inf", ["finite"]),
        ("max_credits_per_request", "1e309", ["finite"]),
        ("confirm_credits", "nan", ["finite"]),
        ("tools.generate_veo3_video.max_credits", "1e309", ["finite"]),
        ("tools.generate_veo3_video.max_credits", "Infinity", ["finite"]),
        ("rate_limit", "0", ["it must be at least 1"]),
        ("timeout", "60s", ["set it to 60000"]),
        ("log_format", "xml", ["'text' or 'json'"]),
        ("kinds", "image,pictures", ["'image'", "'video'"]),
        ("output_dir", "pics", ["absolute"]),
        ("disabled_providers", "lumma", ["'lumma'", "Did you mean luma"]),
        ("enabled_tools", "generate_veo_video", ["Did you mean generate_veo3_video"]),
        ("providers.sora3.gateway", "fal", ["no such provider", "sora2"]),
        ("providers.sora2.mode", "fast", ["no setting 'mode'"]),
        ("tools.generate_veo3_video.model", "veo9", ["veo9", "veo3_fast"]),
        ("tools.generate_veo4_video.model", "veo3", ["no such tool", "generate_veo3_video"]),
    ],
)
def test_wrong_value_is_refused_and_nothing_written(
    run: "Run", file: Path, key: str, value: str, reasons: list[str]
) -> None:
    file.write_text(OWN, "utf-8")
    ended, _ = change(run, file, "set", key, value)
    assert (ended.code, ended.stdout) == (2, "")
    assert [reason for reason in [*reasons, "Nothing was written"] if reason not in ended.stderr] == []
    assert file.read_text("utf-8") == OWN
    assert [path.name for path in file.parent.iterdir() if path.name.endswith(".part")] == []


def test_part_is_added_to_a_list_which_is_else_replaced_and_shown(run: "Run", file: Path) -> None:
    for name in ("a", "b", "c"):
        (file.parent / name).mkdir()
    a, b, c = (str(file.parent / name) for name in ("a", "b", "c"))
    file.write_text(f"upload_roots = ['{a}']\n", "utf-8")
    for words, held, said in (
        (("--add", b), [a, b], f"upload_roots: {a}, {b}\nbefore: {a}\n"),
        (("--add", f"{c},{a}"), [a, b, c], f"upload_roots: {a}, {b}, {c}\nbefore: {a}, {b}\n"),
        ((c,), [c], f"upload_roots: {c}\nbefore: {a}, {b}, {c}\n"),
    ):
        ended, values = change(run, file, "set", "upload_roots", *words)
        assert (ended.code, values) == (0, {"upload_roots": held}), ended.stderr
        assert ended.stdout.endswith(said)
    file.write_text(f"upload_roots = '{a}{os.pathsep}{b}'\n", "utf-8")
    assert change(run, file, "set", "upload_roots", "--add", c)[1] == {"upload_roots": [a, b, c]}
    assert "rate_limit is no list" in change(run, file, "set", "rate_limit", "--add", "3")[0].stderr
    ended, _ = change(run, file, "set", "upload_roots", b, "--json")
    assert json.loads(ended.stdout)["before"] == [a, b, c]


def test_parts_that_several_commands_add_at_once_are_all_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIE_AI_CONFIG", str(file))
    folders = [str(file.parent / name) for name in "abcdefg"]
    for folder in folders:
        Path(folder).mkdir()
    file.write_text(f"upload_roots = '{os.pathsep.join(folders[:2])}'\n", "utf-8")
    together, lock = threading.Barrier(5, timeout=LIMIT_S), settings_file._alone

    def alone(text_file: TextFile) -> Any:
        together.wait()  # by now each command has read the file
        return lock(text_file)

    monkeypatch.setattr(settings_file, "_alone", alone)
    with ThreadPoolExecutor(5) as threads:
        for done in [
            threads.submit(set_setting.main, ["upload_roots", "--add", one], standalone_mode=False)
            for one in folders[2:]
        ]:
            done.result()
    assert sorted(tomllib.loads(file.read_text("utf-8"))["upload_roots"]) == folders


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("output_dir", "HERE/file.txt", "file.txt is a file, not a folder"),
        ("output_dir", "HERE/file.txt/kie", "file.txt is a file, not a folder"),
        ("upload_roots", "HERE/file.txt", "file.txt is a file, not a folder"),
        ("upload_roots", "HERE,HERE/none", "none is no folder"),
    ],
)
def test_folder_that_can_not_be_one_is_refused(run: "Run", file: Path, key: str, value: str, reason: str) -> None:
    (file.parent / "file.txt").touch()
    ended, held = change(run, file, "set", key, value.replace("HERE", str(file.parent)))
    assert (ended.code, reason in ended.stderr, held) == (2, True, None), ended.stderr


def test_wrong_secret_is_asked_for_again(run: "Run", file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "has_person", lambda: True)
    for key, wrong, words in (("api_key", "your key", "This is no key"), ("http_token", "short", "at least 16")):
        ended, held = change(run, file, "set", key, stdin=f"{wrong}\n0123456789abcdef0123\n")
        assert (ended.code, held[key]) == (0, "0123456789abcdef0123"), ended.stderr
        assert words in ended.stderr
        assert "0123456789abcdef0123" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("rate_limits", "Did you mean rate_limit"),
        ("providers.sora2", "not of the form providers.NAME.SETTING"),
        ("tool.x.model", "There is no setting"),
    ],
)
def test_unknown_key_names_the_one_that_is_meant(run: "Run", file: Path, key: str, guess: str) -> None:
    for command in (("set", key, "1"), ("unset", key)):
        ended, held = change(run, file, *command)
        assert (ended.code, guess in ended.stderr, held) == (2, True, None)


def test_wrong_value_that_was_there_before_does_not_stop_another_change(run: "Run", file: Path) -> None:
    file.write_text('rate_limit = "many"\n', "utf-8")
    assert change(run, file, "set", "timeout", "5000")[1] == {"rate_limit": "many", "timeout": 5000}
    assert change(run, file, "set", "rate_limit", "20")[1] == {"rate_limit": 20, "timeout": 5000}


def test_secret_comes_through_stdin_for_its_owner_alone(run: "Run", file: Path) -> None:
    file.write_text("rate_limit = 7\n", "utf-8")
    file.chmod(0o644)
    ended, held = change(run, file, "set", "api_key", "-", stdin="0123456789abcdef0123\n")
    assert (ended.code, held["api_key"]) == (0, "0123456789abcdef0123")
    assert "0123456789abcdef0123" not in ended.stdout + ended.stderr
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("key", ["api_key", "database_url", "providers.fal.key"])
def test_secret_is_not_taken_from_the_command_line(run: "Run", file: Path, key: str) -> None:
    ended, held = change(run, file, "set", key, "0123456789abcdef0123")
    assert (ended.code, held) == (2, None)
    assert "shell's history" in ended.stderr
    assert "give -" in change(run, file, "set", key)[0].stderr


def test_text_that_is_no_key_is_refused(run: "Run", file: Path) -> None:
    ended, held = change(run, file, "set", "api_key", "-", stdin="your key")
    assert (ended.code, "This is no key" in ended.stderr, held) == (2, True, None)


def test_variable_that_wins_is_named(run: "Run", file: Path) -> None:
    ended, held = change(run, file, "set", "rate_limit", "30", KIE_AI_RATE_LIMIT="5")
    assert (ended.code, held) == (0, {"rate_limit": 30})
    assert "But KIE_AI_RATE_LIMIT is set in this environment, and wins" in ended.stdout
    assert "next start" in change(run, file, "set", "timeout", "5000")[0].stdout


def test_unset_takes_a_setting_and_an_empty_section_out(run: "Run", file: Path) -> None:
    file.write_text(OWN, "utf-8")
    assert change(run, file, "unset", "providers.sora2.gateway")[1] == {"rate_limit": 7}
    ended, held = change(run, file, "unset", "timeout")
    assert ended.stdout == f"timeout is not in {file}, so nothing was changed.\n"
    ended, held = change(run, file, "unset", "timeout", KIE_AI_TIMEOUT="60000")
    assert "KIE_AI_TIMEOUT sets it in this environment." in ended.stdout
    assert (ended.code, held, f"timeout is not in {file}" in ended.stdout) == (0, {"rate_limit": 7}, True)
    file.write_text("no_setting = 1\n", "utf-8")
    assert change(run, file, "unset", "no_setting")[1] == {}


@pytest.mark.parametrize("section", ["tools", "providers"])
def test_value_in_the_place_of_a_section_is_named(run: "Run", file: Path, section: str) -> None:
    for text in (f"{section} = 5\n", f"[{section}]\nsora2 = 5\n"):
        file.write_text(text, "utf-8")
        for words in (("set", f"{section}.sora2.gateway", "fal"), ("unset", f"{section}.sora2.gateway")):
            ended, _ = change(run, file, *words)
            assert (ended.code, "is 5, and no section" in ended.stderr) == (2, True), ended
        assert file.read_text("utf-8") == text


def test_file_that_is_no_toml_stays_as_it_is(run: "Run", file: Path) -> None:
    file.write_text("rate_limit = \n", "utf-8")
    ended = run("config", "set", "timeout", "5000", KIE_AI_CONFIG=str(file))
    assert (ended.code, "not valid TOML" in ended.stderr) == (2, True)
    assert file.read_text("utf-8") == "rate_limit = \n"


def test_answer_is_json_where_it_is_asked_for(run: "Run", file: Path) -> None:
    ended, _ = change(run, file, "set", "rate_limit", "30", "--json")
    assert json.loads(ended.stdout) == {"setting": "rate_limit", "file": str(file)}


@pytest.mark.parametrize("before", ["", 'api_key = "keyring"\n', 'api_key = "another-key-0123456"\n'])
def test_key_goes_into_the_keyring_where_one_can_be_used(run_child: "Run", file: Path, before: str) -> None:
    file.write_text(before, "utf-8")
    places: Any = {"KIE_AI_CONFIG": str(file), "KIE_AI_API_KEY": "", **keyring_in(file.parent)}
    for text, code in (("Bearer 0123456789abcdef0123", 0), ("keyring", 2)):
        ended = run_child("config", "set", "api_key", "-", stdin=text, **places)
        assert (ended.code, "system's keyring" in ended.stdout) == (code, code == 0), ended.stderr
        assert tomllib.loads(file.read_text("utf-8")) == {"api_key": "keyring"}
        assert key_in(file.parent) == "0123456789abcdef0123"
    ended = run_child("config", "unset", "api_key", **places)
    assert (ended.code, "deleted from the system's keyring" in ended.stdout) == (0, True), ended.stderr
    assert (key_in(file.parent), "api_key" in file.read_text("utf-8")) == (None, False)


def test_key_that_a_locked_keyring_keeps_is_named_when_it_is_unset(run_child: "Run", file: Path) -> None:
    file.write_text('api_key = "keyring"\n', "utf-8")
    (file.parent / "keyring.json").write_text("no JSON", "utf-8")
    places: Any = {"KIE_AI_CONFIG": str(file), "KIE_AI_API_KEY": "", **keyring_in(file.parent)}
    ended = run_child("config", "unset", "api_key", **places)
    assert (ended.code, "maybe still in the system's keyring" in ended.stdout) == (0, True), ended
    assert "api_key" not in file.read_text("utf-8")
