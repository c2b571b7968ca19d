"""``config``: the settings in force with their origins, and a new configuration file."""

import json
import re
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp._cli import config as _cli_config
from kie_ai_mcp._cli.config import EXAMPLES, fresh_file
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._settings.settings import SECTIONS, Settings, variable

if TYPE_CHECKING:
    from tests.cli.conftest import Run

KEY = "a-key-that-is-long-enough-6789"


def test_every_setting_is_shown_with_its_origin_and_the_key_masked(run: "Run", tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('rate_limit = 7\n[providers.sora2]\nmodel = "sora-3"\n', "utf-8")
    ended = run("config", "show", "--json", KIE_AI_API_KEY=KEY, KIE_AI_CONFIG=str(file), KIE_AI_KINDS="image")
    rows = {row["setting"]: row for row in json.loads(ended.stdout)}
    assert {*rows} - {"providers.sora2.model"} == {*Settings.model_fields} - {*SECTIONS}
    assert (rows["api_key"]["value"], rows["api_key"]["from"]) == ("[set, ends in 6789]", "KIE_AI_API_KEY")
    assert (rows["rate_limit"]["value"], rows["rate_limit"]["from"]) == (7, str(file))
    assert (rows["kinds"]["value"], rows["kinds"]["from"]) == (["image"], "KIE_AI_KINDS")
    assert (rows["timeout"]["value"], rows["timeout"]["from"]) == (60_000, "default")
    assert (rows["providers.sora2.model"]["value"], rows["providers.sora2.model"]["from"]) == ("sora-3", str(file))
    shown = run("config", "show", KIE_AI_API_KEY=KEY, COLUMNS="200").stdout
    assert KEY not in ended.stdout + shown
    assert "[set, ends in 6789]" in shown


@pytest.mark.parametrize("command", [("config", "show"), ("config", "show", "--json"), ("doctor",)])
def test_password_in_an_address_is_not_shown(run: "Run", command: tuple[str, ...]) -> None:
    ended = run(*command, KIE_AI_API_KEY=KEY, KIE_AI_BASE_URL="http://me:passport-9@127.0.0.1:9/v1", COLUMNS="200")
    assert "http://me:[key]@127.0.0.1:9/v1" in ended.stdout + ended.stderr
    assert "passport-9" not in ended.stdout + ended.stderr


def test_nothing_of_a_short_key_is_shown(run: "Run") -> None:
    rows = json.loads(run("config", "show", "--json", KIE_AI_API_KEY="short").stdout)
    assert rows[0]["value"] == "[set]"


@pytest.mark.parametrize(
    "reference", ["${KIE_AI_API_KEY}", "${env:KIE_AI_API_KEY}", "$KIE_AI_API_KEY", "${KIE_AI_API_KEY:-}"]
)
def test_reference_that_a_client_left_as_it_was_is_no_key(run: "Run", reference: str) -> None:
    rows = json.loads(run("config", "show", "--json", KIE_AI_API_KEY=reference).stdout)
    assert (rows[0]["value"], rows[0]["from"]) == (None, "default")


def test_path_is_printed_even_where_the_settings_are_wrong(run: "Run", tmp_path: Path) -> None:
    usual = run("config", "path", KIE_AI_TIMEOUT="60s").stdout.strip()
    assert Path(usual).name == "config.toml"
    assert tmp_path in Path(usual).parents
    named = run("config", "path", "--json", KIE_AI_CONFIG=str(tmp_path / "mine.toml"))
    assert json.loads(named.stdout) == {"path": str(tmp_path / "mine.toml"), "exists": False}


def test_fresh_file_names_every_setting_and_changes_none(run: "Run", tmp_path: Path) -> None:
    ended = run("config", "init")
    path = Path(run("config", "path").stdout.strip())
    assert (ended.code, str(path) in ended.stdout) == (0, True)
    text = path.read_text("utf-8")
    assert tomllib.loads(text) == {}
    missing = [name for name in Settings.model_fields if name not in SECTIONS and f"# {name} = " not in text]
    assert missing == []
    assert all(variable(name) in text for name in Settings.model_fields if name not in SECTIONS)
    shown = {row["setting"]: row["from"] for row in json.loads(run("config", "show", "--json").stdout)}
    assert str(path) not in shown.values()
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_line_of_a_fresh_file_can_be_used(tmp_path: Path) -> None:
    general = fresh_file().split("# dalle3:")[0]
    used = re.sub(r"^# ([a-z_]+ = .+)$", r"\1", general, flags=re.MULTILINE)
    path = tmp_path / "config.toml"
    path.write_text(used, "utf-8")
    settings = load_settings({"KIE_AI_CONFIG": str(path)})
    assert (settings.rate_limit, settings.output_dir) == (20, Path("~/Pictures/kie").expanduser())
    unset = Settings.model_validate({})
    names = {name for name in Settings.model_fields if name not in SECTIONS}
    missing = {name for name in names if Settings.model_fields[name].get_default() is None} - EXAMPLES.keys()
    assert {name for name in missing if getattr(unset, name) is None} == set(), "add an example of it to EXAMPLES"
    assert names - set(tomllib.loads(used)) == set()


def test_fresh_file_is_toml_although_an_example_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli_config, "EXAMPLES", {})
    used = re.sub(r"^# ([a-z_]+ = ?.*)$", r"\1", fresh_file().split("# dalle3:")[0], flags=re.MULTILINE)
    assert tomllib.loads(used)["output_dir"] == ""


def test_file_that_is_there_is_left_alone(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("# mine\n", "utf-8")
    ended = run("config", "init", "--output", "mine.toml")
    assert (ended.code, ended.stdout) == (1, "")
    assert "exists already" in ended.stderr
    assert (tmp_path / "mine.toml").read_text("utf-8") == "# mine\n"


def test_place_that_can_not_be_written_is_named(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run("config", "init", KIE_AI_CONFIG=str(tmp_path / "file" / "config.toml"))
    assert (ended.code, ended.stderr.count("\n")) == (1, 1)
    assert "KIE_AI_CONFIG" in ended.stderr
