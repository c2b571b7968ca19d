"""Settings: environment over file over defaults; an unusable value is one clear error."""

import json
import os
import sys
import traceback
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, SecretStr, ValidationError

from kie_ai_mcp._service.caller import Caller, kie
from kie_ai_mcp._settings import load
from kie_ai_mcp._settings.load import config_file, find_origins, find_warnings, load_settings
from kie_ai_mcp._settings.settings import SECRETS, SECTIONS, Secret, Settings, secrets_of, variable
from kie_ai_mcp._start import remembered
from kie_ai_mcp.errors import ConfigError

KEY = "kie/secret+0123456789"

# field: (its text in the environment, what it becomes)
TEXTS: dict[str, tuple[str, Any]] = {
    "base_url": ("http://127.0.0.1:8000/api/v1/", "http://127.0.0.1:8000/api/v1"),
    "timeout": ("30000", 30_000),
    "user_keys": ("ada=her-key", SecretStr("ada=her-key")),
    "database_url": ("postgresql://me:secret@db/kie", SecretStr("postgresql://me:secret@db/kie")),
    "db_path": ("/data/tasks.db", Path("/data/tasks.db")),
    "output_dir": ("/data/out", Path("/data/out")),
    "max_download_mb": ("10", 10),
    "upload_roots": (os.pathsep.join(["/data/in", "~/pictures"]), (Path("/data/in"), Path.home() / "pictures")),
    "upload_url": ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
    "max_upload_mb": ("10", 10),
    "trusted_hosts": ("a.example, b.example:81", ("a.example", "b.example:81")),
    "trusted_networks": ("198.18.0.0/15, fd00::/8", (ip_network("198.18.0.0/15"), ip_network("fd00::/8"))),
    "enabled_providers": ("veo3,flux", ("veo3", "flux")),
    "disabled_providers": (" pika , ,haiper,", ("pika", "haiper")),
    "enabled_tools": ("list_tasks", ("list_tasks",)),
    "disabled_tools": ("get_credits", ("get_credits",)),
    "kinds": ("image, video", ("image", "video")),
    "availability": ("current, retired", ("current", "retired")),
    "pinned_models": ("z-image, veo-3-1", ("z-image", "veo-3-1")),
    "rate_limit": ("5", 5),
    "rate_window_s": ("2.5", 2.5),
    "max_credits_per_day": ("100.5", 100.5),
    "max_credits_per_request": ("20.5", 20.5),
    "assumed_credits": ("60.5", 60.5),
    "confirm_credits": ("0", 0.0),
    "max_submissions_per_hour": ("7", 7),
    "max_provider_tools": ("100", 100),
    "max_provider_kb": ("100", 100),
    "compact": ("true", True),
    "patience_s": ("90.5", 90.5),
    "watch": ("false", False),
    "wait_s": ("45", 45.0),
    "store_prompts": ("false", False),
    "http_token": ("a-token-of-the-tests", SecretStr("a-token-of-the-tests")),
    "allowed_hosts": ("box.local, kie.example", ("box.local", "kie.example")),
    "allowed_origins": ("https://app.example/, tauri://localhost", ("https://app.example", "tauri://localhost")),
    "public_url": ("https://kie.example/hooks/", "https://kie.example/hooks"),
    "oauth_issuer": ("https://login.example/kie/", "https://login.example/kie/"),
    "webhook_key": ("a-signing-key", SecretStr("a-signing-key")),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "retention_days": ("30", 30),
    "log_prompts": ("true", True),
}


def config(folder: Path, text: str) -> dict[str, str]:
    """An environment that names a configuration file with this text."""
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return {"KIE_AI_CONFIG": str(file)}


def refusal(environ: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        load_settings(environ)
    assert "\n" not in str(error.value)
    return error.value


def test_defaults_are_those_the_seed_documents() -> None:
    settings = load_settings({})

    assert settings.base_url == "https://api.kie.ai/api/v1"
    assert (settings.timeout, Caller(settings, kie(settings)).timeout_s) == (60_000, 60.0)
    assert (settings.rate_limit, settings.rate_window_s, settings.wait_s) == (20, 10.0, 0.0)
    assert (settings.api_key, settings.output_dir, settings.db_path) == (None, None, None)


@pytest.mark.parametrize("field", [field for field in Settings.model_fields if field not in {"api_key", *SECTIONS}])
def test_every_setting_can_come_from_its_variable_and_from_the_file(field: str, tmp_path: Path) -> None:
    text, value = TEXTS[field]

    assert getattr(load_settings({variable(field): text}), field) == value
    assert getattr(load_settings(config(tmp_path, f"{field} = {json.dumps(text)}")), field) == value


def test_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    environ = config(tmp_path, 'timeout = 20000\nrate_limit = 7\ndisabled_tools = ["get_credits"]\n')

    settings = load_settings({**environ, "KIE_AI_TIMEOUT": "30000"})

    assert (settings.timeout, settings.rate_limit, settings.rate_window_s) == (30_000, 7, 10.0)
    assert settings.disabled_tools == ("get_credits",)


def test_process_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIE_AI_RATE_LIMIT", "3")

    assert load_settings().rate_limit == 3
    assert os.environ["KIE_AI_RATE_LIMIT"] == "3"


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_empty_variable_is_unset(empty: str, tmp_path: Path) -> None:
    environ = config(tmp_path, "timeout = 20000\n")
    names = (*(variable(field) for field in Settings.model_fields), "KIE_AI_OLD_SETTING", "KIE_AI_PROVIDER_FAL_KEY")

    settings = load_settings({**dict.fromkeys(names, empty), **environ})

    assert settings == load_settings(environ)
    assert settings.timeout == 20_000


@pytest.mark.parametrize("text", ["${KIE_KEY}", "$KIE_KEY", " ${input:kie-key} ", "${env:KIE_AI_API_KEY}"])
def test_variable_that_a_client_left_unexpanded_is_unset(text: str) -> None:
    assert load_settings({"KIE_AI_API_KEY": text, "KIE_AI_TIMEOUT": text}) == Settings.model_validate({})


def test_empty_name_of_the_configuration_file_is_unset() -> None:
    assert load_settings({"KIE_AI_CONFIG": " "}) == Settings.model_validate({})


def test_file_in_the_user_s_configuration_folder_is_read_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    usual = tmp_path / "home" / "kie-ai-mcp-server" / "config.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text("rate_limit = 4\n", encoding="utf-8")

    assert load_settings({}).rate_limit == 4
    assert load_settings(config(tmp_path, "rate_limit = 5\n")).rate_limit == 5


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KIE_AI_TIMEOUTS", "KIE_AI_TIMEOUT"),
        ("KIE_AI_APIKEY", "KIE_AI_API_KEY"),
        ("KIE_AI_DISABLED_PROVIDER", "KIE_AI_DISABLED_PROVIDERS"),
        ("KIE_AI_OUTPUTDIR", "KIE_AI_OUTPUT_DIR"),
        ("KIE_AI_OUTPUT_DIRECTORY", "KIE_AI_OUTPUT_DIR"),
        ("KIE_AI_API_KEY_FILE", "KIE_AI_API_KEY"),
        ("KIE_AI_TIMEOUT_SECONDS", "KIE_AI_TIMEOUT"),
        ("KIE_AI_MAX_CREDITS", "KIE_AI_MAX_CREDITS_PER_DAY"),
        ("KIE_AI_MAX_SUBMISSION_PER_HOUR", "KIE_AI_MAX_SUBMISSIONS_PER_HOUR"),
        ("KIE_AI_KIND", "KIE_AI_KINDS"),
    ],
)
def test_near_miss_of_a_variable_is_refused_with_the_nearest_name(name: str, meant: str) -> None:
    error = refusal({name: "x"})

    assert error.message == f"Unknown setting {name}."
    assert f"Did you mean {meant}" in error.next_step


@pytest.mark.parametrize(
    "name",
    [
        "KIE_AI_PORT",
        "KIE_AI_PORT_3000_TCP_ADDR",
        "KIE_AI_SERVICE_HOST",
        "KIE_AI_UPLOAD_PORT",
        "KIE_AI_CALLBACK_URL",
        "KIE_AI_TOOL_CATEGORIES",
        "KIE_AI_DEFAULT_MODEL",
        "KIE_AI_DEBUG",
    ],
)
def test_variable_of_another_program_is_ignored_with_a_warning(name: str) -> None:
    environ = {name: "tcp://10.0.0.1:3000", "KIE_AI_RATE_LIMIT": "3"}

    assert load_settings(environ) == load_settings({"KIE_AI_RATE_LIMIT": "3"})
    warning = find_warnings(environ)["variables"]
    assert warning.startswith(f"Variables that are no settings of this server, and are ignored: {name}")


def test_warning_guesses_what_a_foreign_variable_was_meant_for() -> None:
    assert "KIE_AI_KEY (did you mean KIE_AI_API_KEY?)" in find_warnings({"KIE_AI_KEY": KEY})["variables"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_of_the_file_is_ignored(encoding: str, tmp_path: Path) -> None:
    environ = config(tmp_path, "")
    Path(environ["KIE_AI_CONFIG"]).write_text("rate_limit = 7 # für mich\n", encoding)

    assert load_settings(environ).rate_limit == 7


@pytest.mark.parametrize(
    ("key", "meant"),
    [("timeout_ms", "timeout"), ("output-dir", "output_dir"), ("kind", "kinds"), ("provider", "providers")],
)
def test_unknown_key_of_the_file_is_refused_with_the_file_and_the_nearest_name(
    key: str, meant: str, tmp_path: Path
) -> None:
    environ = config(tmp_path, f"{key} = 1\n")

    error = refusal(environ)

    assert error.message == f"Unknown setting {key} in {environ['KIE_AI_CONFIG']}."
    assert f"Did you mean {meant}" in error.next_step
    assert "provider_variables" not in error.next_step


def test_name_that_resembles_nothing_is_answered_with_all_there_are(tmp_path: Path) -> None:
    error = refusal(config(tmp_path, "qwxzj = 1\n"))

    assert all(field in error.next_step for field in (*TEXTS, "providers"))


@pytest.mark.parametrize(
    "text", ["60s", "60", "60.5", "999", "0", "-1", "1m", "sixty", "60000.5", "nan", "inf", "60_s"]
)
def test_timeout_that_is_no_number_of_milliseconds_is_refused_with_the_cure(text: str) -> None:
    error = refusal({"KIE_AI_TIMEOUT": text})

    assert str(error) == (
        f"KIE_AI_TIMEOUT is {text!r}: it must be a whole number of milliseconds, at least 1000. "
        "For 60 seconds set it to 60000."
    )


@pytest.mark.parametrize("value", ['"60s"', "60", "60.5", "true", "[60000]"])
def test_timeout_of_the_file_is_refused_with_the_file_s_name(value: str, tmp_path: Path) -> None:
    environ = config(tmp_path, f"timeout = {value}\n")

    error = refusal(environ)

    assert error.message.startswith(f"timeout in {environ['KIE_AI_CONFIG']} is ")
    assert "60000" in error.next_step


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("KIE_AI_BASE_URL", "api.kie.ai", "https://"),
        ("KIE_AI_BASE_URL", "ftp://api.kie.ai", "https://"),
        ("KIE_AI_BASE_URL", "https://", "https://"),
        ("KIE_AI_OUTPUT_DIR", "out", "absolute"),
        ("KIE_AI_OUTPUT_DIR", "./out", "absolute"),
        ("KIE_AI_OUTPUT_DIR", "../out", "absolute"),
        ("KIE_AI_UPLOAD_ROOTS", "/data/in:in", "absolute"),
        ("KIE_AI_UPLOAD_ROOTS", '["/data/in", "in"]', "absolute"),
        ("KIE_AI_UPLOAD_ROOTS", '["/data/in"', "a JSON list of folders, or folders as in PATH"),
        ("KIE_AI_UPLOAD_ROOTS", "/data/in:~nobody-here/in", "no home folder is known for ~nobody-here"),
        ("KIE_AI_OUTPUT_DIR", "~nobody-here/out", "no home folder is known for ~nobody-here"),
        ("KIE_AI_DB_PATH", "~nobody-here/tasks.db", "no home folder is known for ~nobody-here"),
        ("KIE_AI_UPLOAD_URL", "kieai.example", "https://"),
        ("KIE_AI_KINDS", "image,movie", "'image', 'video', 'audio' or 'text'"),
        ("KIE_AI_RATE_LIMIT", "0", "it must be at least 1"),
        ("KIE_AI_RATE_WINDOW_S", "0", "it must be more than 0"),
        ("KIE_AI_WAIT_S", "-1", "it must be at least 0"),
        ("KIE_AI_OAUTH_ISSUER", "login.example", "starts with https://"),
        ("KIE_AI_TRUSTED_HOSTS", "http://x/y", "no host; name each as in kie.example"),
        ("KIE_AI_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("KIE_AI_MAX_DOWNLOAD_MB", "much", "it must be a whole number"),
    ],
)
def test_unusable_value_is_refused_with_variable_value_and_reason(name: str, text: str, reason: str) -> None:
    error = refusal({name: text})

    assert error.message.startswith(f"{name} is {text!r}: ")
    assert reason in error.message
    assert error.next_step.startswith("It means: ")


def test_output_folder_may_start_at_the_user_s_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_settings({"KIE_AI_OUTPUT_DIR": "~/pictures"}).output_dir == tmp_path / "pictures"


def test_configuration_file_in_the_home_of_an_unknown_user_is_refused() -> None:
    error = refusal({"KIE_AI_CONFIG": "~nobody-here/config.toml"})

    assert error.message.startswith("KIE_AI_CONFIG is '~nobody-here/config.toml': no home folder is known")


def test_sections_of_providers_come_from_the_file_alone(tmp_path: Path) -> None:
    settings = load_settings(config(tmp_path, '[providers.pika]\nmodel = "pika-2"\n'))

    assert settings.providers == {"pika": {"model": "pika-2"}}
    assert refusal({"KIE_AI_PROVIDERS": "pika"}).message == "Unknown setting KIE_AI_PROVIDERS."


def test_variable_of_a_provider_wins_over_its_section_and_its_secrets_are_masked(tmp_path: Path) -> None:
    environ = config(tmp_path, '[providers.fal-ai]\nkey = "from-the-file"\nmodel = "x"\n')

    settings = load_settings(
        {**environ, "KIE_AI_PROVIDER_FAL_AI_KEY": "from-outside", "KIE_AI_PROVIDER_PIKA_MODEL": "y"}
    )

    assert settings.section("fal-ai") == {"key": "from-outside", "model": "x"}
    assert settings.section("pika") == {"model": "y"}
    assert settings.mask.text("from-outside, from-the-file, x, y") == "[key], [key], x, y"
    assert "from-outside" not in f"{settings!r} {settings}"


def test_where_each_setting_comes_from_is_reported(tmp_path: Path) -> None:
    environ = config(tmp_path, "timeout = 20000\nrate_limit = 7\n")

    assert find_origins({**environ, "KIE_AI_TIMEOUT": "30000"}) == {
        "timeout": "KIE_AI_TIMEOUT",
        "rate_limit": environ["KIE_AI_CONFIG"],
    }
    assert str(config_file(environ)) == environ["KIE_AI_CONFIG"]


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda file: None, "can't be read"),
        (lambda file: file.mkdir(), "can't be read"),
        (lambda file: file.write_text("timeout 60", encoding="utf-8"), "not valid TOML"),
        (lambda file: file.write_bytes(b'api_key = "\xff"'), "not valid TOML"),
    ],
)
def test_unusable_file_is_one_error_that_names_it(write: Any, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    write(file)

    error = refusal({"KIE_AI_CONFIG": str(file)})

    assert error.message.startswith(f"The configuration file {file} ")
    assert reason in error.message
    assert error.next_step


# The key -------------------------------------------------------------------------------------------------------------


def test_key_is_never_in_what_a_settings_value_shows_of_itself(tmp_path: Path) -> None:
    for settings in (load_settings({"KIE_AI_API_KEY": KEY}), load_settings(config(tmp_path, f'api_key = "{KEY}"'))):
        shown = (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump()))
        assert not [text for text in shown if KEY in text]
        assert settings.key == KEY


def test_key_is_never_in_an_error_or_its_traceback(tmp_path: Path) -> None:
    for environ in (
        {"KIE_AI_API_KEY": KEY, "KIE_AI_TIMEOUT": "60s"},
        config(tmp_path, f'api_key = ["{KEY}"]'),
        config(tmp_path, f'api_key = "{KEY}"\ntimeout = "x"'),
    ):
        shown = "".join(traceback.format_exception(refusal(environ)))
        assert KEY not in shown


def test_key_is_used_without_the_blanks_around_it(tmp_path: Path) -> None:
    assert load_settings({"KIE_AI_API_KEY": f" {KEY}\n"}).key == KEY
    assert load_settings(config(tmp_path, f'api_key = " {KEY} "')).key == KEY


@pytest.mark.parametrize(
    "text",
    [
        f'"{KEY}"',
        f"'{KEY}'",
        f"\u201c{KEY}\u201d",
        f"`{KEY}`",
        f"\ufeff{KEY}",
        f"\u00a0{KEY}\r\n",
        f"Bearer {KEY}",
        f"bearer  {KEY}",
        f'"Bearer {KEY}"',
        f"Authorization: Bearer {KEY}",
        f"KIE_AI_API_KEY={KEY}",
        f'export KIE_AI_API_KEY="{KEY}"',
        f'"{KEY}",',
    ],
)
def test_key_is_taken_without_what_was_copied_with_it(text: str, tmp_path: Path) -> None:
    for environ in ({"KIE_AI_API_KEY": text}, config(tmp_path, f"api_key = {json.dumps(text)}")):
        settings = load_settings(environ)
        assert settings.key == KEY
        assert settings.mask.text(f"a {KEY}") == "a [key]"
    other = load_settings({"KIE_AI_PROVIDER_FAL_KEY": text, "KIE_AI_WEBHOOK_KEY": text})
    assert (other.section("fal"), other.signing_key) == ({"key": KEY}, KEY)
    section = f"[providers.fal]\nkey = {json.dumps(text)}\n"
    assert load_settings(config(tmp_path, section)).section("fal") == {"key": KEY}


NO_KEYS = [
    "{env:KIE_AI_API_KEY}",
    "${KIE_AI_API_KEY}",
    "${{ secrets.KIE }}",
    "$KIE_AI_API_KEY",
    "$env:KIE_AI_API_KEY",
    "%KIE_AI_API_KEY%",
    "op://Private/Kie.ai/credential",
    "https://kie.ai/api-key",
    "your key",
    "your-api-key-here",
    "YOUR_KIE_API_KEY",
    "<key>",
    "<your-key>",
    "Bearer <key>",
    "Bearer",
    "api-key",
    "changeme",
    "paste-your-key-here",
    "xxxxxxxxxxxx",
    "sk-xxxx",
    "0123********cdef",
    "0123...cdef",
    "null",
]


@pytest.mark.parametrize("text", NO_KEYS)
def test_text_that_can_be_no_key_is_left_out_and_named(text: str, tmp_path: Path) -> None:
    shown = repr(text.removeprefix("Bearer "))
    for environ, place in (
        ({"KIE_AI_API_KEY": text}, "KIE_AI_API_KEY"),
        (config(tmp_path, f"api_key = {json.dumps(text)}"), f"api_key in {tmp_path / 'config.toml'}"),
    ):
        assert load_settings(environ).key is None
        assert find_warnings(environ) == {"api_key": f"{place} is {shown}: this is no key."}
        assert "api_key" not in find_origins(environ)
    for environ in (
        {"KIE_AI_PROVIDER_FAL_KEY": text},
        config(tmp_path, f"[providers.fal]\nkey = {json.dumps(text)}\n"),
    ):
        assert load_settings(environ).section("fal") == {}
        assert [warning.endswith(f" is {shown}: this is no key.") for warning in find_warnings(environ).values()] == [
            True
        ]


@pytest.mark.parametrize("text", NO_KEYS)
def test_key_of_the_file_is_used_where_the_variable_holds_none(text: str, tmp_path: Path) -> None:
    environ = {"KIE_AI_API_KEY": text, **config(tmp_path, f'api_key = "{KEY}"')}

    assert load_settings(environ).key == KEY
    assert find_warnings(environ) == {}


@pytest.mark.parametrize("text", ["k", "demo", "d41d8cd98f00b204e9800998ecf8427e", "3f2a-11:deadbeef", "adhere7to8me"])
def test_text_that_may_be_a_key_is_taken_for_one(text: str) -> None:
    assert load_settings({"KIE_AI_API_KEY": text}).key == text


@pytest.mark.parametrize("name", ["KIE_API_KEY", "KIEAI_API_KEY", "kie_ai_api_key"])
def test_key_under_another_program_s_name_is_pointed_out_where_none_is_set(name: str) -> None:
    assert find_warnings({name: KEY}) == {"api_key": f"{name} is set, but this server reads KIE_AI_API_KEY."}
    assert find_warnings({name: KEY, "KIE_AI_API_KEY": KEY}) == {}


def test_secrets_leave_the_environment_and_stay_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_taken", {})
    for name in ("KIE_AI_API_KEY", "KIE_AI_HTTP_TOKEN", "KIE_AI_PROVIDER_FAL_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("KIE_AI_RATE_LIMIT", "3")

    load.take_secrets()

    assert [name for name in os.environ if name.startswith("KIE_AI_")] == ["KIE_AI_RATE_LIMIT"]
    settings = load_settings()
    assert (settings.key, settings.token, settings.section("fal")) == (KEY, KEY, {"key": KEY})
    assert find_origins() == {name: variable(name) for name in ("api_key", "http_token", "rate_limit")}
    assert load.mask_environment().text(KEY) == "[key]"
    assert load_settings({}).key is None


def test_setting_is_a_secret_by_its_type_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class More(Settings):
        pin_code: Annotated[Secret, AfterValidator(lambda value: value)] | None = None

    assert secrets_of(More) == (*SECRETS, "pin_code")
    texts = {name: TEXTS.get(name, (KEY,))[0] for name in SECRETS}
    monkeypatch.setattr(load, "_taken", {})
    for name, text in texts.items():
        monkeypatch.setenv(variable(name), text)
    shown = "; ".join(texts.values())
    load.take_secrets()
    assert [name for name in os.environ if name.startswith("KIE_AI_")] == []
    for mask in load_settings().mask, load.mask_environment():
        assert [text for text in texts.values() if text in mask.text(shown)] == []


def test_start_keeps_every_secret_out_of_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name in SECRETS if not name.endswith(remembered.SECRETS)] == []
    monkeypatch.setenv("KIE_AI_DATABASE_URL", "postgresql://me:word-of-me@db/kie")
    monkeypatch.setenv("KIE_AI_USER_KEYS", "ada=her-own-key,ben=his-own-key")
    assert {"word-of-me", "her-own-key", "his-own-key"} <= set(remembered._secrets())


@pytest.mark.parametrize("api_key", [None, "", "  "])
def test_key_of_blanks_is_no_key(api_key: str | None) -> None:
    assert not Settings.model_validate({"api_key": api_key}).key


@pytest.mark.parametrize("text", ["schlüssel", "two\nlines", "nul\x00", "half “quoted” 7"])
def test_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(text: str) -> None:
    error = refusal({"KIE_AI_API_KEY": text})

    assert error.message.startswith("KIE_AI_API_KEY can't be used: ")
    assert text not in str(error)


# Where tasks are kept ------------------------------------------------------------------------------------------------


def test_database_is_the_one_named_then_one_at_hand_then_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert Settings.model_validate({}).database == tmp_path / "data" / "kie-ai-mcp-server" / "tasks.db"
    (tmp_path / "tasks.db").touch()
    assert Settings.model_validate({}).database == tmp_path / "tasks.db"
    assert load_settings({"KIE_AI_DB_PATH": "~/other.db"}).database == tmp_path / "other.db"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process of a user that the system does not know, as containers start them."""
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("homeless")
def test_process_without_a_home_needs_only_the_path_of_the_database(tmp_path: Path) -> None:
    assert load_settings({"KIE_AI_DB_PATH": "/data/tasks.db"}).database == Path("/data/tasks.db")
    with pytest.raises(ConfigError, match=r"no home folder.*Set HOME, or KIE_AI_DB_PATH"):
        _ = load_settings({}).database
    with pytest.raises(ConfigError, match="Set HOME, or KIE_AI_CONFIG"):
        config_file({})
    assert list(tmp_path.iterdir()) == []


def test_settings_can_not_be_changed_afterwards() -> None:
    settings = Settings.model_validate({})

    with pytest.raises(ValidationError):
        settings.timeout = 1


def test_password_of_the_database_leaves_the_environment_and_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KIE_AI_DATABASE_URL": "postgresql://me@db/kie", "PGPASSWORD": "pass/wörd"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(load, "_taken", {})
    load.take_secrets()
    assert not {"PGPASSWORD", "KIE_AI_DATABASE_URL"} & os.environ.keys()
    settings = load.load_settings()
    assert settings.database_address == "postgresql://me@db/kie?password=pass%2Fw%C3%B6rd"
    assert "pass" not in settings.mask.text("it was pass/wörd")
    own = {"KIE_AI_DATABASE_URL": "postgresql://me:own@db/kie", "PGPASSWORD": "other"}
    assert load.load_settings(own).database_address == "postgresql://me:own@db/kie"


@pytest.mark.parametrize("word", ["p@ssSECRET", "SECRET#more", "SECRET?more", "SECRET/more", "SECRET%zz", "[SECRET"])
def test_address_of_a_database_that_is_cut_wrongly_is_refused_and_not_shown(word: str) -> None:
    with pytest.raises(ConfigError, match="%") as caught:
        load_settings({"KIE_AI_DATABASE_URL": f"postgresql://kie:{word}@db/kie"})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql:///kie?host=/var/run/postgresql",
        "postgres://kie:a%40b@[::1]:5432/kie?sslmode=require",
        "postgresql://kie@one:5432,two/kie?application_name=a@b",
    ],
)
def test_address_of_a_database_is_taken_in_every_form(address: str) -> None:
    assert load_settings({"KIE_AI_DATABASE_URL": address}).database_address == address


@pytest.mark.skipif(sys.platform == "win32", reason="no name of a folder holds a semicolon or a colon by chance there")
def test_folder_whose_name_separates_folders_stays_one(tmp_path: Path) -> None:
    odd, other = tmp_path / "in: first", tmp_path / "more"
    odd.mkdir()
    for text, folders in (
        (json.dumps([str(odd), str(other)]), (odd, other)),
        (json.dumps([str(other / "a:b")]), (other / "a:b",)),
        (str(odd), (odd,)),
        (f"{tmp_path}:{other}", (tmp_path, other)),
    ):
        assert load_settings({"KIE_AI_UPLOAD_ROOTS": text}).upload_roots == folders


# The upload address --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "upload_url"),
    [
        ("https://api.kie.ai/api/v1/", "https://kieai.redpandaai.co"),
        ("http://127.0.0.1:8787/api/v1", "http://127.0.0.1:8787"),
        ("https://proxy.example/kie", "https://proxy.example/kie"),
    ],
)
def test_files_go_to_the_address_that_stands_in_for_the_service(base_url: str, upload_url: str) -> None:
    settings = load_settings({"KIE_AI_BASE_URL": base_url, "KIE_AI_CONFIG": os.devnull})
    assert settings.upload_url == upload_url
    assert load_settings({"KIE_AI_CONFIG": os.devnull}).upload_url == "https://kieai.redpandaai.co"
    both = {"KIE_AI_BASE_URL": base_url, "KIE_AI_UPLOAD_URL": "https://up.example", "KIE_AI_CONFIG": os.devnull}
    assert load_settings(both).upload_url == "https://up.example"
