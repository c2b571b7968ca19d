"""Links to results: which servers make the same ones."""

import hashlib
import hmac
import json
import socket
from pathlib import Path

import pytest

from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import StorageError

SECRETS = {
    "api_key": "key-of-the-tests",
    "http_token": "a-token-of-the-tests",
    "webhook_key": "a-signing-key",
    "database_url": "postgresql://me:secret@db/kie",
}
OTHERS = {
    "api_key": "another-key-of-the-tests",
    "http_token": "another-token-of-the-tests",
    "webhook_key": "another-signing-key",
    "database_url": "postgresql://me:another@db/kie",
}
SECRET = {**SECRETS, "database_url": "postgresql://me@db/kie?sslpassword=secret", "user_keys": "ann=her-own-key"}
OPEN = "postgresql://me@db/kie?host=/run/postgresql"  # anybody can guess it


def path(base_url: str = "", **settings: str) -> str:
    links = Links.of(Settings.model_validate(settings), base_url, Path("/data/tasks.db"))
    return links.path("ann", "fal:a/b", 2, "a fox.png")


def test_link_depends_on_keys_and_token_and_on_nothing_else() -> None:
    whole = path(**SECRETS)
    assert whole == path("https://kie.example", **SECRETS, output_dir="/data/out")
    assert whole == path(**{**SECRETS, "database_url": "postgresql://me:secret@10.0.0.1/kie"})
    assert whole == path(**SECRETS, user_keys="ann=her-own-key")
    assert whole.endswith("/fal%3Aa%2Fb/2/a%20fox.png")
    others = {name: path(**{**SECRETS, name: value}) for name, value in OTHERS.items()}
    assert others.pop("database_url") == whole  # passwords are renewed
    assert len({whole, *others.values()}) == 4


def test_link_from_before_outlives_the_update_while_the_databases_password_stays() -> None:
    links = Links.of(Settings.model_validate(SECRETS), "", Path("/data/tasks.db"))
    renewed = Links.of(Settings.model_validate({**SECRETS, "database_url": OTHERS["database_url"]}), "", Path("/d"))
    words = json.dumps(["links", "key-of-the-tests", "a-token-of-the-tests", "a-signing-key", "secret"]).encode()
    told = json.dumps(["ann", "t", 1]).encode()
    before = hmac.new(hashlib.sha256(words).digest(), told, hashlib.sha256).hexdigest()[:32]
    assert before in links.proofs("ann", "t", 1)
    assert before not in renewed.proofs("ann", "t", 1)
    assert links.mac("ann", "t", 1) in renewed.proofs("ann", "t", 1)


@pytest.mark.parametrize("base_url", ["", "https://kie.example"])
def test_server_without_secrets_opens_its_own_links(base_url: str) -> None:
    assert path(base_url) == path()


@pytest.mark.parametrize("settings", [{}, {"database_url": OPEN}])
def test_link_of_a_server_without_secrets_can_not_be_forged(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = path(**settings)
    monkeypatch.setattr("kie_ai_mcp._flow.links._own_key", lambda: b"that of another process")
    assert path(**settings) != ours


@pytest.mark.parametrize("name", SECRET)
def test_each_secret_alone_makes_the_links_of_all_servers_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = path(**{name: SECRET[name]})
    monkeypatch.setattr("kie_ai_mcp._flow.links._own_key", lambda: b"that of another process")
    assert path(**{name: SECRET[name]}) == ours


def test_links_are_made_for_a_user_without_home_and_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr("kie_ai_mcp._flow.links.config_file", nowhere)
    assert path(**SECRETS).startswith("/")


def test_error_of_a_database_elsewhere_names_no_host_to_users(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    address = f"postgresql://me:secret-word@127.0.0.1:{port}/kie"
    settings = Settings.model_validate({"database_url": address, "db_path": tmp_path / "tasks.db"})
    with pytest.raises(StorageError) as caught:
        Record.of(settings).open()
    assert str(port) in caught.value.message.partition('"')[2]  # the driver repeats it
    links = Links.of(settings, "https://kie.example", settings.database)
    shown = links.mask.json({"error": f"It is not recorded: {caught.value} It is kept."})["error"]
    assert (
        shown
        == f"It is not recorded: The task database [database] can't be reached. {caught.value.next_step} It is kept."
    )
