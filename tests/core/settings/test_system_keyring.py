"""The key in the system's keyring: when the library is imported, and what is said where there is no key."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kie_ai_mcp._settings import system_keyring
from kie_ai_mcp._settings.load import find_origins, load_settings
from kie_ai_mcp.errors import ConfigError
from tests.helpers import LIMIT_S
from tests.keyrings import FileKeyring, key_in, keyring_in, put_key

KEY = "a-key-of-the-keyring-0123"


@pytest.fixture(autouse=True)
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that names the keyring, which this process has not asked yet."""
    for name, value in keyring_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "config.toml"
    file.write_text('api_key = "keyring"\n', "utf-8")
    monkeypatch.setenv("KIE_AI_CONFIG", str(file))
    monkeypatch.setattr(system_keyring, "_answer", None)
    return file


def test_key_is_stored_read_and_deleted(tmp_path: Path) -> None:
    system_keyring.store_key(KEY)
    assert (key_in(tmp_path), system_keyring.name()) == (KEY, "the file of the tests")
    assert (load_settings().key, find_origins()["api_key"]) == (KEY, "the system's keyring")
    assert KEY not in load_settings().mask.text(f"it is {KEY}")
    assert (system_keyring.delete_key(), system_keyring.delete_key()) == (True, False)
    with pytest.raises(ConfigError, match="holds no key"):
        load_settings()


def test_keyring_is_asked_once(tmp_path: Path) -> None:
    put_key(tmp_path, KEY)
    assert load_settings().key == KEY
    put_key(tmp_path, "another")
    assert load_settings().key == KEY


@pytest.mark.parametrize("text", ["", "wait_s = 5", f'api_key = "{KEY}"'])
def test_library_is_imported_only_where_the_file_names_the_keyring(settings_file: Path, text: str) -> None:
    code = (
        "import sys; from kie_ai_mcp._settings.load import load_settings; load_settings(faults=[]);"
        "print('keyring' in sys.modules)"
    )
    for written, imported in (text, "False"), ('api_key = "keyring"', "True"):
        settings_file.write_text(written, "utf-8")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        assert done.stdout.strip() == imported, done.stderr


def test_word_in_a_variable_is_no_key(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file.write_text("", "utf-8")
    monkeypatch.setenv("KIE_AI_API_KEY", "keyring")
    assert load_settings().key is None


@pytest.mark.parametrize("backend", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring"])
def test_keyring_that_keeps_nothing_is_none(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    assert system_keyring.name() == ""
    faults: list[ConfigError] = []
    assert load_settings(faults=faults).key is None
    assert [(fault.where, "there is none here" in str(fault)) for fault in faults] == [(("api_key",), True)]


def test_library_that_is_not_installed_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(system_keyring, "import_module", missing)
    assert system_keyring.name() == ""
    with pytest.raises(ConfigError, match=r"not installed\. Install it with: .*kie-ai-mcp-core\[keyring\]"):
        load_settings()


@pytest.mark.parametrize("word", ["keyring", "your key", "a key", "", "ключ-0123456789"])
def test_word_that_is_no_key_replaces_none(tmp_path: Path, word: str) -> None:
    put_key(tmp_path, KEY)
    with pytest.raises(ConfigError, match="This is no key"):
        system_keyring.store_key(word)
    assert key_in(tmp_path) == KEY


@pytest.mark.parametrize("text", [f"Bearer {KEY}", f'"{KEY}"', f"KIE_AI_API_KEY={KEY}", f" {KEY}\n"])
def test_what_was_copied_with_a_key_is_neither_stored_nor_sent(tmp_path: Path, text: str) -> None:
    put_key(tmp_path, text)
    assert load_settings().key == KEY
    system_keyring.store_key(text)
    assert key_in(tmp_path) == KEY


@pytest.mark.parametrize("held", [5, KEY.encode(), ["a"], "keyring", "two words"])
def test_answer_that_is_no_key_is_a_fault_of_the_setting(held: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileKeyring, "get_password", lambda *_: held)
    faults: list[ConfigError] = []
    assert load_settings(faults=faults).key is None
    assert [fault.where for fault in faults] == [("api_key",)]
    assert KEY not in str(faults[0])


@pytest.mark.parametrize("method", ["get_password", "set_password"])
def test_error_of_a_backend_is_shown_without_the_key(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, shown in ((f"bad {KEY}!", False), (f"bad {KEY[:14]}...", False), ("the collection is locked", True)):

        def fail(*_: object, text: str = text) -> None:
            raise RuntimeError(text)

        monkeypatch.setattr(FileKeyring, method, fail)
        monkeypatch.setattr(system_keyring, "_answer", None)
        with pytest.raises(ConfigError) as raised:
            system_keyring.read_key() if method == "get_password" else system_keyring.store_key(KEY)
        assert (KEY[:14] not in str(raised.value), text in str(raised.value)) == (True, shown)
        assert "RuntimeError" in str(raised.value) or shown


def test_backend_that_ends_the_process_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(FileKeyring, "get_password", end)
    with pytest.raises(ConfigError, match="it ended with SystemExit"):
        load_settings()


def test_keyring_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = SimpleNamespace(init_backend=lambda limit: time.sleep(60), recommended=None)
    monkeypatch.setattr(system_keyring, "import_module", lambda _name: waiting)
    monkeypatch.setattr(system_keyring, "LIMIT_S", 0.05)
    with pytest.raises(ConfigError, match="did not answer within"):
        load_settings()


def test_keyring_that_forgets_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keyring.json").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match=r"did not keep the key|locked"):
        system_keyring.store_key(KEY)
    (tmp_path / "keyring.json").unlink()
    (tmp_path / "keyring.json").write_text(json.dumps([1]), "utf-8")
    with pytest.raises(ConfigError, match=r"^The system's keyring can't be used: .*run this again\.$"):
        system_keyring.store_key(KEY)
