"""``doctor``: each check finds its problem and names the cure."""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, tzinfo
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp._app.patience import PATIENCE_S
from kie_ai_mcp._cli import doctor, fill_memory
from kie_ai_mcp._cli.fill_memory import start_once
from kie_ai_mcp._cli.findings import Finding
from kie_ai_mcp._cli.install import looking
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._cli.install.entries import edited
from kie_ai_mcp._service.caller import account_of, kie
from kie_ai_mcp._settings import settings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.specs import Balance, Gateway, Outcome, Task
from kie_ai_mcp_sandbox.server import Sandbox
from tests.service import facts

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run

NEWEST = max(model.get("checked", "") for model in facts.models().values())
KNOWN = f"{len(facts.models())} are known here, as of {NEWEST}"
BROKEN = 'raise RuntimeError("the moon is in the wrong house")\n'


def findings(ended: "Ended") -> dict[str, dict[str, str]]:
    """What ``doctor --json`` found, by what was looked at."""
    return {row["check"]: row for row in json.loads(ended.stdout)}


def test_where_all_is_well_every_line_is_ok(run: "Run", sandbox: Sandbox) -> None:
    assert run("tasks", "list").code == 0
    ended = run("doctor", sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="")
    assert (ended.code, ended.stderr) == (0, "")
    lines = {line[5:20].strip(): line for line in ended.stdout.splitlines()}
    assert {check for check, line in lines.items() if line.split()[0] != "ok"} <= {"clock"}
    assert {"versions", "settings", "providers", "key", "clock", "credits", "status routes"} <= set(lines)
    assert {"database", "results", "start", "client limits"} <= set(lines)
    assert f"{KNOWN}, and the service's list of" in lines["models"]
    assert "10000 left" in lines["credits"]
    assert f"veo3 {version('kie-ai-mcp-veo3')}" in lines["providers"]
    assert "sound and takes writes, schema version" in lines["database"]
    assert all(f"{seconds:g} s" in lines["client limits"] for _, seconds in PATIENCE_S)
    assert sandbox.ledger == []


def test_offline_asks_the_service_nothing(run: "Run", sandbox: Sandbox) -> None:
    ended = run("doctor", "--offline", "--json", "--schemas", sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="")
    assert (ended.code, sandbox.requests) == (0, [])
    assert "the service's own list was not read. " in findings(ended)["models"]["found"]


def test_server_that_does_not_start_is_named_with_the_reason(
    run: "Run", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "server.py"
    script.write_text("import os, sys\nsys.exit(f'a library is broken: {os.environ[\"KIE_AI_API_KEY\"]}')", "utf-8")
    for command, reason in (
        ([sys.executable, str(script)], "a library is broken: "),
        ([str(tmp_path / "none")], f"{tmp_path / 'none'} can't be run: No such file"),
    ):
        monkeypatch.setattr(doctor, "server_command", lambda command=command: (command[0], command[1:]))
        monkeypatch.setattr(doctor, "start_once", start_once)
        ended = run("doctor", "--offline", "--json", KIE_AI_API_KEY="a-secret-of-the-tests")
        found = findings(ended)["start"]
        assert (ended.code, found["state"]) == (1, "fail")
        assert f"The server does not start: {reason}" in found["found"]
        assert "a-secret-of-the-tests" not in ended.stdout


def test_server_that_never_answers_is_waited_for_no_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill_memory, "LIMIT_S", 0.1)
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    assert start_once(command, os.environ) == "it takes longer than 0.1 s"


SERVER = {"command": sys.executable, "args": ["-m", "kie_ai_mcp"]}


@pytest.mark.parametrize(
    ("client", "held", "state", "words", "cure"),
    [
        ("claude-desktop", "", "ok", "No client's file has an entry", ""),
        ("claude-desktop", {"kie-ai": SERVER}, "ok", f"Claude Desktop starts {sys.executable}.", ""),
        ("claude-desktop", {"kie-ai": {"command": "python3", "args": ["-m", "kie_ai_mcp"]}}, "ok", "another PATH", ""),
        ("claude-desktop", '{"mcpServers": {', "warn", "config.json can't be understood", "Correct it."),
        ("claude-desktop", '{"mcpServers": {"kie-ai-mcp"', "fail", "config.json can't be understood", "Correct it."),
        (
            "claude-desktop",
            {"mine": {"command": "/gone/kie-ai-mcp-server"}},
            "fail",
            "Claude Desktop's entry mine starts /gone/kie-ai-mcp-server, which is not there, or can't be run.",
            "Run: kie-ai-mcp-server install claude-desktop --name mine; then restart Claude Desktop.",
        ),
        ("cursor", {"kie-ai": {"command": "/etc", "args": []}}, "fail", "can't be run", "install cursor;"),
        ("cursor", {"kie-ai": {"command": "no-such-program-here"}}, "fail", "not on the PATH", "install cursor;"),
        (
            "cursor",
            {"kie-ai": {**SERVER, "args": ["run", "--project", "/gone/clone", "kie-ai-mcp-server"]}},
            "fail",
            "with /gone/clone, which is not there.",
            "install cursor;",
        ),
        ("cursor", {"kie-ai": {"command": 5}}, "fail", "names no program", "install cursor;"),
        ("cursor", {"kie-ai": {"url": "https://kie.example/mcp"}}, "not checked", "doctor --url ADDRESS", ""),
        (
            "cursor",
            {"kie-ai": {**SERVER, "env": {"KIE_AI_OUTPUT_DIR": "pics", "KIE_AI_DB_PATH": "${userHome}/kie.db"}}},
            "fail",
            "KIE_AI_OUTPUT_DIR is 'pics'",
            "mcp.json, and restart Cursor.",
        ),
        (
            "cursor",
            {"kie-ai": {**SERVER, "env": {"KIE_AI_API_KEY": "${env:KIE_AI_API_KEY}"}}},
            "ok",
            "Cursor starts",
            "",
        ),
        ("claude-desktop", {"kie-ai": {**SERVER, "env": {"KIE_AI_API_KEY": "YOUR_KEY"}}}, "fail", "this is no key", ""),
        (
            "cursor",
            {"kie-ai": {**SERVER, "args": ["-m", "kie_ai_mcp", "sevre"]}},
            "fail",
            f"starts {sys.executable} wrongly: 'sevre' does not serve.",
            "install cursor;",
        ),
        (
            "cursor",
            {"kie-ai": {**SERVER, "args": ["-m", "kie_ai_mcp", "serve", "--stric"]}},
            "fail",
            "serve does not take its arguments. No such option '--stric'",
            "install cursor;",
        ),
        (
            "cursor",
            {"kie-ai": {**SERVER, "args": ["-m", "kie_ai_mcp", "serve", "--http"]}},
            "fail",
            "serve --http answers no client that starts it.",
            "install cursor;",
        ),
        ("cursor", {"kie-ai": {**SERVER, "args": ["-m", "kie_ai_mcp", "serve", "--strict"]}}, "ok", "starts", ""),
        (
            "cursor",
            {"kie-ai": {**SERVER, "env": {"KIE_AI_UPLOAD_ROOTS": "/gone/pictures"}}},
            "warn",
            "Cursor's entry kie-ai: KIE_AI_UPLOAD_ROOTS: /gone/pictures is no folder.",
            "mcp.json, and restart Cursor.",
        ),
        (
            "cursor",
            {"kie-ai": {**SERVER, "env": {"KIE_AI_OUTPUT_DIR": "/proc/version/pictures"}}},
            "fail",
            "Cursor's entry kie-ai: KIE_AI_OUTPUT_DIR: /proc/version is a file",
            "mcp.json, and restart Cursor.",
        ),
        (
            "cursor",
            {"kie-ai": {**SERVER, "env": {"KIE_AI_API_KEY": "another-key-of-mine"}}},
            "warn",
            "Cursor's entry kie-ai holds another key than KIE_AI_API_KEY, so Cursor may spend the credits of another",
            "Take KIE_AI_API_KEY out of the entry in ",
        ),
    ],
)
def test_entry_of_a_client_is_looked_at_and_not_started(
    run: "Run",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    held: Any,
    state: str,
    words: str,
    cure: str,
) -> None:
    monkeypatch.setattr(looking, "config_path", lambda name: config_path(name, "linux", {}, tmp_path))
    file = config_path(client, "linux", {}, tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text(held if isinstance(held, str) else json.dumps({"mcpServers": held}), "utf-8")
    ended = run("doctor", "--offline", "--json")
    found = findings(ended)["client"]
    assert (ended.code, found["state"]) == (int(state == "fail"), state), found
    assert words in found["found"]
    assert cure in found["cure"]
    assert "another-key" not in ended.stdout


def test_every_fault_of_an_entry_has_a_line_with_its_cure(tmp_path: Path) -> None:
    env = {"KIE_AI_API_KEY": "a-key-in-the-entry", "KIE_AI_UPLOAD_ROOTS": f"/gone/a{os.pathsep}/gone/b"}
    env |= {"KIE_AI_WAIT_S": "soon", "KIE_AI_OUTPUT_DIR": str(tmp_path)}
    kept = tmp_path / "config.toml"
    kept.write_text("api_key = 'the-key-that-is-kept'", "utf-8")
    file = tmp_path / "mcp.json"
    file.write_text(
        json.dumps({"mcpServers": {"kie-ai": {**SERVER, "env": {**env, "KIE_AI_CONFIG": str(kept)}}}}), "utf-8"
    )
    found = [*looking._look_at("cursor", file, {"KIE_AI_CONFIG": str(kept), "PATH": os.environ["PATH"]})]
    told = [": KIE_AI_WAIT_S is 'soon'", ": KIE_AI_UPLOAD_ROOTS: /gone/a", ": KIE_AI_UPLOAD_ROOTS: /gone/b"]
    told.append(" holds another key than")
    assert [words for words, row in zip(told, found, strict=True) if f"entry kie-ai{words}" not in row.found] == []
    assert all(str(file) in row.cure for row in found)
    assert "a-key-in-the-entry" not in repr(found)
    assert "the-key-that-is-kept" not in repr(found)


def test_entry_without_a_key_of_its_own_is_held_against_the_key_of_this_shell(tmp_path: Path) -> None:
    kept, file = tmp_path / "config.toml", tmp_path / "mcp.json"
    kept.write_text("api_key = 'the-key-that-is-kept'", "utf-8")
    file.write_text(json.dumps({"mcpServers": {"kie-ai": {**SERVER, "env": {"KIE_AI_CONFIG": str(kept)}}}}), "utf-8")
    environ = {"KIE_AI_API_KEY": "the-key-of-this-shell", "PATH": os.environ["PATH"]}
    (found,) = looking._look_at("cursor", file, environ)
    assert found.state == "warn"
    assert f"Cursor's entry kie-ai uses the key of {kept}, not of KIE_AI_API_KEY" in found.found


@pytest.mark.skipif(sys.platform == "win32", reason="names of programs end differently there")
@pytest.mark.parametrize("client", list(CLIENTS))
def test_entry_that_install_writes_is_fine_in_every_client(client: str, tmp_path: Path) -> None:
    file = config_path(client, "linux", {}, tmp_path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(edited(CLIENTS[client], "", {"KIE_AI_MAX_CREDITS_PER_DAY": "5"}), "utf-8")
    (found,) = looking._look_at(client, file, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert (found.state, found.found.startswith(CLIENTS[client].title)) == ("ok", True), found


@pytest.mark.parametrize(
    ("settings", "check", "cure"),
    [
        ({"KIE_AI_TIMEOUT": "60s"}, "settings", "60000"),
        ({"KIE_AI_ENABLED_PROVIDERS": "nano-bananas"}, "settings", "nano-banana"),
        ({"KIE_AI_API_KEY": ""}, "key", "https://kie.ai/api-key"),
        ({"KIE_AI_API_KEY": "wrong-key"}, "credits", "KIE_AI_API_KEY"),
        ({"KIE_AI_BASE_URL": "http://127.0.0.1:9/api/v1"}, "service", "KIE_AI_BASE_URL"),
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "service", "ALL_PROXY"),
        ({"HTTP_PROXY": "ftp://127.0.0.1:9", "NO_PROXY": "[::1]"}, "service", "HTTP_PROXY"),
        ({"SSL_CERT_FILE": "/proc/version/ca.pem"}, "service", "SSL_CERT_FILE"),
        ({"KIE_AI_OUTPUT_DIR": "/proc/version/out"}, "results", "KIE_AI_OUTPUT_DIR"),
        ({"KIE_AI_DB_PATH": "/proc/version/tasks.db"}, "database", "KIE_AI_DB_PATH"),
    ],
)
def test_what_fails_ends_with_1_and_names_its_cure(run: "Run", settings: dict[str, str], check: str, cure: str) -> None:
    with Sandbox(key="key-of-the-tests") as sandbox:
        ended = run("doctor", "--json", sandbox=sandbox, **settings)
    found = findings(ended)[check]
    assert (ended.code, found["state"]) == (1, "fail")
    assert cure in found["cure"]


@pytest.mark.parametrize("text", ["{env:KIE_KEY}", "your key"])
def test_text_that_is_no_key_is_named_with_the_cure(run: "Run", sandbox: Sandbox, text: str) -> None:
    found = findings(run("doctor", "--json", sandbox=sandbox, KIE_AI_API_KEY=text))["key"]
    assert (found["state"], found["found"]) == ("fail", f"KIE_AI_API_KEY is {text!r}: this is no key.")
    assert "https://kie.ai/api-key" in found["cure"]
    refused = run("call", "generate_nano_banana", "prompt=A fox", sandbox=sandbox, KIE_AI_API_KEY=text)
    assert (refused.code, refused.stdout) == (2, "")
    assert f"KIE_AI_API_KEY is {text!r}: this is no key, so nothing was sent." in refused.stderr
    assert "https://kie.ai/api-key" in refused.stderr


def test_text_that_is_no_key_of_another_service_is_named_with_its_cure(
    run: "Run", sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[providers.pika]\ngateway = "fal"\n[providers.fal]\nkey = "<key>"\n', "utf-8")
    settings = {"KIE_AI_CONFIG": str(file), "KIE_AI_ENABLED_PROVIDERS": "pika,fal"}
    reason = f"providers.fal.key in {file} is '<key>': this is no key"
    found = findings(run("doctor", "--offline", "--json", sandbox=sandbox, **settings))["key of fal"]
    assert (found["state"], found["found"]) == ("fail", f"{reason}.")
    refused = run("call", "generate_pika_video", "prompt=A fox", sandbox=sandbox, **settings)
    assert (refused.code, f"{reason}, so nothing was sent." in refused.stderr) == (2, True)
    assert all("https://fal.ai/dashboard/keys" in text for text in (found["cure"], refused.stderr))


MODELS = {"KIE_AI_ENABLED_PROVIDERS": "market,recraft"}


def test_new_and_gone_models_are_told_with_what_they_mean(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.drift("new-model:veo-3-1@maker/clip-1")
    sandbox.drift("new-chat-model@maker/words-1")
    sandbox.drift("model-gone@recraft/remove-background")
    rows = json.loads(run("doctor", "--json", sandbox=sandbox, **MODELS).stdout)
    new, gone = (row for row in rows if row["check"] == "models")
    assert (new["state"], gone["state"]) == ("ok", "warn")
    assert new["found"].startswith("Kie.ai has new models: maker/clip-1. run_model takes them")
    assert gone["found"].startswith("Kie.ai does not list recraft/remove-background (remove_background): calls of them")
    assert not (tmp_path / "tasks.db").exists()


def test_schemas_of_the_models_that_tools_sell_are_compared(run: "Run", sandbox: Sandbox) -> None:
    assert run("tasks", "list").code == 0
    sandbox.drift("required:size@recraft/remove-background")
    rows = json.loads(run("doctor", "--json", "--schemas", sandbox=sandbox, **MODELS).stdout)
    changed, same = (row for row in rows if row["check"] == "schemas")
    assert changed["state"] == "warn"
    assert changed["found"] == "recraft/remove-background: the service needs size, also takes size."
    assert changed["cure"].startswith("remove_background may fail or ignore it.")
    assert (same["state"], same["found"]) == ("ok", "0 of 1 are as this version knows them.")
    reads = sum("/models" in seen.path for seen in sandbox.requests)
    again = run("doctor", "--json", "--schemas", sandbox=sandbox, **MODELS).stdout
    assert [row for row in json.loads(again) if row["check"] == "schemas"] == [changed, same]
    assert sum("/models" in seen.path for seen in sandbox.requests) == reads == 2


def test_list_of_models_that_can_not_be_read_is_no_fault_of_what_is_known(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("http:500@models")
    found = findings(run("doctor", "--json", sandbox=sandbox, **MODELS))["models"]
    assert (found["state"], found["cure"]) == ("warn", "Nothing depends on it. Run doctor again later.")
    assert f"{KNOWN}. Kie.ai's list of models could not be read." in found["found"]
    found = findings(run("doctor", "--json", sandbox=sandbox, KIE_AI_API_KEY="", **MODELS))["models"]
    assert (found["state"], found["found"].split(",")[0]) == ("not checked", "no key is set")


def test_what_was_noticed_lately_is_shown(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    assert run("tasks", "list").code == 0
    account = account_of(kie(Settings.model_validate({"api_key": "key-of-the-tests", "base_url": sandbox.base_url})))
    day = 86_400
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
        for text, told_at in (("untold", 0), ("new", time.time() - 13 * day), ("old", time.time() - 15 * day)):
            row = ("notice code", "kie", account, text, text, told_at)
            database.execute(
                "INSERT INTO kept (sort, gateway, account, name, value, read_at) VALUES (?, ?, ?, ?, ?, ?)", row
            )
    rows = json.loads(run("doctor", "--offline", "--json", sandbox=sandbox).stdout)
    assert {row["found"] for row in rows if row["check"] == "noticed"} == {"untold", "new"}


def test_variables_of_other_programs_are_warned_of(run: "Run", sandbox: Sandbox) -> None:
    foreign = {
        "KIE_AI_SERVICE_HOST": "10.0.0.1",
        "KIE_AI_PROVIDER_SERVICE_PORT": "80",
        "KIE_AI_PROVIDER_FAL_KEY": "<key>",
    }
    ended = run("doctor", "--offline", "--json", sandbox=sandbox, **foreign)
    warned = [row["found"] for row in json.loads(ended.stdout) if row["state"] == "warn"]
    assert ended.code == 0
    for name in foreign:
        assert [name in text for text in warned].count(True) == 1, warned


def test_what_is_only_inconvenient_does_not_fail(run: "Run", tmp_path: Path) -> None:
    with Sandbox(credits=0) as sandbox:
        wanted = {"KIE_AI_OUTPUT_DIR": "", "KIE_AI_UPLOAD_ROOTS": str(tmp_path / "nowhere"), "KIE_AI_KINDS": "audio"}
        ended = run("doctor", "--json", sandbox=sandbox, **wanted)
    found = findings(ended)
    assert ended.code == 0
    for check in ("credits", "results", "uploads", "providers"):
        assert (check, found[check]["state"]) == (check, "warn")
        assert found[check]["cure"]


# The service ---------------------------------------------------------------------------------------------------------


def test_status_route_that_does_not_answer_is_named_with_its_provider(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("http-html:502*always@veo/record-info")
    ended = run("doctor", "--json", sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana,veo3")
    found = findings(ended)["status routes"]
    assert (ended.code, found["state"]) == (1, "fail")
    assert "1 of 2 do not answer: Kie.ai gave no readable answer at veo/record-info" in found["found"]
    assert "veo3" in found["cure"]


def test_route_of_a_retired_family_may_be_gone(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("http-html:404*always@mj/record-info")
    ended = run("doctor", "--json", sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana,midjourney")
    assert findings(ended)["status routes"]["state"] == "ok"


def test_route_that_answers_404_to_an_unknown_task_is_called_not_checked(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("http:404*always@veo/record-info")
    ended = run("doctor", "--json", sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana,veo3")
    found = findings(ended)["status routes"]
    assert (found["state"], "1 of 2 answer. Not checked: 1" in found["found"]) == ("ok", True)


@pytest.mark.parametrize("path", ["", "/api", "/api/v2"])
def test_base_address_without_its_path_is_named_and_no_route_is_called_checked(
    run: "Run", sandbox: Sandbox, path: str
) -> None:
    base = sandbox.base_url.removesuffix("/api/v1") + path
    ended = run("doctor", "--json", KIE_AI_BASE_URL=base, KIE_AI_ENABLED_PROVIDERS="nano-banana,veo3")
    found = findings(ended)
    assert (ended.code, found["credits"]["state"]) == (1, "fail")
    assert "KIE_AI_BASE_URL" in found["credits"]["found"] + found["credits"]["cure"]
    assert found["status routes"]["state"] == "warn"
    assert found["status routes"]["found"].startswith("Not checked")
    assert "KIE_AI_BASE_URL" in found["status routes"]["cure"]


@pytest.mark.parametrize(
    ("off_s", "state", "words"), [(0, "ok", "Within"), (-600, "warn", "behind"), (600, "warn", "ahead of")]
)
def test_clock_is_compared_with_the_services(
    run: "Run", httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, off_s: int, state: str, words: str
) -> None:
    class Here(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=off_s)

    monkeypatch.setattr("kie_ai_mcp._cli.doctor.datetime", Here)
    httpserver.expect_request("/api/v1/chat/credit").respond_with_json({"code": 200, "msg": "success", "data": 5})
    httpserver.expect_request("/api/v1/jobs/recordInfo").respond_with_json({"code": 422, "msg": "recordInfo is null"})
    found = findings(run("doctor", "--json", KIE_AI_BASE_URL=httpserver.url_for("/api/v1")))["clock"]
    assert (found["state"], words in found["found"]) == (state, True)


# The machine ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(run: "Run", tmp_path: Path) -> Path:
    """A database that was used once."""
    assert run("tasks", "list").code == 0
    return tmp_path / "tasks.db"


def test_damaged_database_is_found(run: "Run", database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executemany(
            "INSERT INTO tasks (task_id, api_type) VALUES (?, ?)",
            [(f"{number:064}", "x" * 400) for number in range(200)],
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(database.stat().st_size - 3 * 4096)
        file.write(b"\xff" * 8192)
    found = findings(run("doctor", "--offline", "--json"))["database"]
    assert found["state"] == "fail"
    assert found["cure"]


def test_file_that_is_no_database_is_found(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "tasks.db").write_text("a shopping list\n" * 100, "utf-8")
    found = findings(run("doctor", "--offline", "--json"))["database"]
    assert (found["state"], "not a database" in found["found"]) == ("fail", True)


def test_database_of_a_newer_program_is_found(run: "Run", database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    found = findings(run("doctor", "--offline", "--json"))["database"]
    assert (found["state"], "Update kie-ai-mcp-server" in found["cure"]) == ("fail", True)


def test_locked_database_is_found(run: "Run", database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.database.BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        found = findings(run("doctor", "--offline", "--json"))["database"]
    assert (found["state"], "Another program holds it" in found["cure"]) == ("fail", True)


def test_database_that_is_not_there_yet_is_not_made(run: "Run", tmp_path: Path) -> None:
    found = findings(run("doctor", "--offline", "--json"))["database"]
    assert (found["state"], "first start" in found["found"]) == ("ok", True)
    assert not (tmp_path / "tasks.db").exists()


def test_database_in_appdata_is_reported_with_the_place_to_move_it_to(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (doctor, settings):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
    apart = tmp_path / "Local" / "Packages" / "Claude_x" / "LocalCache" / "Local" / "kie-ai-mcp-server" / "tasks.db"
    apart.parent.mkdir(parents=True)
    apart.touch()
    rows = json.loads(
        run("doctor", "--offline", "--json", KIE_AI_DB_PATH="", LOCALAPPDATA=str(tmp_path / "Local")).stdout
    )
    found = [row for row in rows if row["check"] == "database"]
    assert [row["state"] for row in found] == ["warn", "ok"]
    assert str(apart) in found[0]["found"]
    assert str(tmp_path / ".kie-ai-mcp-server") in found[0]["cure"]
    assert str(apart) in found[1]["found"]


def test_what_needs_the_users_attention_is_reported(
    run: "Run", sandbox: Sandbox, tmp_path: Path, in_store: Callable[..., Any]
) -> None:
    sandbox.play("drop-after")
    run("call", "generate_nano_banana", "prompt=A lost harbour", sandbox=sandbox)

    async def finish(record: Any) -> None:
        await record.tasks.adopt(Task("done", "nano-banana", "nano-banana"))
        await record.tasks.record_outcome("done", Outcome("completed", ("https://example.com/1.png",)))

    in_store(finish)
    (tmp_path / "tasks.db.unrecorded.unreadable").write_text("{half", "utf-8")
    of_others = tmp_path / "postgres-0123abcd.unrecorded.jsonl"
    of_others.write_text("{}\n", "utf-8")
    rows = json.loads(run("doctor", "--offline", "--json").stdout)
    (waiting,) = (row for row in rows if row["found"].startswith(f"{of_others} keeps the ends of paid requests"))
    assert f"rename it to {tmp_path / 'tasks.db.unrecorded.jsonl'}" in waiting["cure"]
    of_others.unlink()
    found = findings(run("doctor", "--offline", "--json"))
    assert {check for check, row in found.items() if row["state"] == "warn"} == {
        "submissions",
        "unsaved",
        "recovery file",
    }
    assert "tasks resolve 1" in found["submissions"]["cure"]
    assert "tasks save" in found["unsaved"]["cure"]


def test_provider_that_was_set_aside_is_reported_with_its_cure(run_child: "Run", tmp_path: Path) -> None:
    about = tmp_path / "site" / "kie_ai_mcp_moon-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: kie-ai-mcp-moon\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text("[kie_ai_mcp]\nmoon = kie_ai_mcp_moon\n", "utf-8")
    (tmp_path / "site" / "kie_ai_mcp_moon.py").write_text(BROKEN, "utf-8")
    ended = run_child("doctor", "--offline", "--json", PYTHONPATH=str(tmp_path / "site"))
    found = findings(ended)["provider moon"]
    assert (ended.code, found["state"]) == (0, "warn")
    assert "the moon is in the wrong house" in found["found"]
    assert "kie-ai-mcp-moon" in found["cure"]


@pytest.mark.parametrize(
    ("setting", "key", "own"),
    [
        ({"KIE_AI_PROVIDER_FAL_KEY": "fal-key"}, "warn", "not checked"),
        ({"KIE_AI_PROVIDER_PIKA_GATEWAY": "fal"}, "fail", "fail"),
    ],
)
def test_each_service_in_use_has_a_line_for_its_key(setting: dict[str, str], key: str, own: str, run: "Run") -> None:
    unset = {"KIE_AI_API_KEY": "", "KIE_AI_ENABLED_PROVIDERS": ""}
    found = findings(run("doctor", "--offline", "--json", sandbox=None, **unset, **setting))

    assert (found["key"]["state"], found["key of fal"]["state"]) == (key, own)
    assert ("only fal can be used" in found["key"]["found"]) is (key == "warn")
    assert ("pika is to be made there" in found["key of fal"]["found"]) is (own == "fail")
    assert ("KIE_AI_PROVIDER_FAL_KEY" in found["key of fal"]["cure"]) is (own == "fail")


def test_configuration_that_others_may_read_is_reported_when_it_holds_the_key(run: "Run", tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('api_key = "a-key-in-a-file"\n', "utf-8")
    for mode, state in ((0o644, "warn"), (0o600, "ok")):
        file.chmod(mode)
        ended = run("doctor", "--offline", "--json", KIE_AI_API_KEY="", KIE_AI_CONFIG=str(file))
        assert findings(ended)["settings"]["state"] == state
        assert findings(ended)["key"]["found"] == f"Set by {file}."


@pytest.mark.parametrize(("limit", "state"), [("4", "warn"), ("100", "ok")])
def test_credits_of_the_day_are_held_against_their_limit(limit: str, state: str, run: "Run", sandbox: Sandbox) -> None:
    assert run("call", "generate_nano_banana", "prompt=A fox", sandbox=sandbox).code == 0
    found = findings(run("doctor", "--offline", "--json", KIE_AI_MAX_CREDITS_PER_DAY=limit))["limits"]
    assert (found["state"], found["found"].startswith(f"4 of {limit} credits were spent")) == (state, True)
    assert ("KIE_AI_MAX_CREDITS_PER_DAY" in found["cure"]) == (state == "warn")
    found = findings(run("doctor", "--offline", "--json", KIE_AI_MAX_SUBMISSIONS_PER_HOUR="1"))["limits"]
    assert (found["state"], found["found"]) == ("warn", "1 of 1 paid requests were made in the last hour.")
    assert "KIE_AI_MAX_SUBMISSIONS_PER_HOUR" in found["cure"]


# What was not checked ------------------------------------------------------------------------------------------------

SERVICE = ("clock", "credits", "status routes", "models")


@pytest.mark.parametrize(
    ("arguments", "settings", "reason"),
    [
        (("--offline",), {}, "--offline was given"),
        ((), {"KIE_AI_BASE_URL": "http://127.0.0.1:9/api/v1"}, "the service does not answer"),
        ((), {"KIE_AI_TIMEOUT": "60s", "KIE_AI_BASE_URL": "nonsense"}, "the settings are wrong"),
    ],
)
def test_what_was_not_checked_is_said_with_the_reason(
    run: "Run", sandbox: Sandbox, arguments: tuple[str, ...], settings: dict[str, str], reason: str
) -> None:
    found = findings(run("doctor", "--json", *arguments, sandbox=sandbox, **settings))
    for check in SERVICE[:3]:
        assert (check, found[check]["state"]) == (check, "not checked")
        assert reason in found[check]["found"]
    assert found["models"]["state"] in {"not checked", "warn"}
    lines = run("doctor", *arguments, sandbox=sandbox, **settings).stdout.splitlines()
    assert [line.split()[0] for line in lines if line[6:].startswith(("credits", "status"))] == ["-", "-"]
    assert len([line for line in lines if "Not checked: " in line]) >= 3


def test_without_a_key_nothing_that_needs_one_is_ok(run: "Run", sandbox: Sandbox) -> None:
    found = findings(run("doctor", "--json", sandbox=sandbox, KIE_AI_API_KEY=""))
    assert found["key"]["state"] == "fail"
    for check in ("credits", "status routes", "models"):
        assert (check, found[check]["state"]) == (check, "not checked")
        assert "no key is set" in found[check]["found"].replace("Kie.ai key", "key")


def test_key_of_another_service_is_not_ok_before_it_is_proved(run: "Run", sandbox: Sandbox) -> None:
    settings = {"KIE_AI_API_KEY": "", "KIE_AI_ENABLED_PROVIDERS": "fal,pika", "KIE_AI_PROVIDER_FAL_KEY": "a" * 20}
    found = findings(run("doctor", "--json", sandbox=sandbox, **settings))
    assert (found["key"]["state"], found["credits"]["state"]) == ("warn", "not checked")
    assert found["key of fal"]["state"] == "not checked"
    assert "shows whether it is accepted" in found["key of fal"]["found"]


def test_wrong_base_address_proves_nothing(run: "Run", sandbox: Sandbox) -> None:
    ended = run("doctor", "--json", sandbox=sandbox, KIE_AI_BASE_URL=sandbox.upload_url)
    found = findings(ended)
    assert ended.code == 1
    assert {found[check]["state"] for check in ("credits", "status routes")} <= {"fail", "warn", "not checked"}
    assert any("KIE_AI_BASE_URL" in found[check]["cure"] for check in found)


@pytest.mark.parametrize(("status", "state", "words"), [(200, "ok", "12 dollars left"), (401, "fail", "key")])
def test_what_is_left_at_another_service_proves_its_key(
    httpserver: HTTPServer, tmp_path: Path, status: int, state: str, words: str
) -> None:
    httpserver.expect_request("/left").respond_with_json({"code": status, "data": 12, "msg": "the key is wrong"})
    read = Balance("left", lambda answer: answer.data)
    gateway = Gateway("moon", "Moon", httpserver.url_for("/"), "a-key-of-the-moon", unit="dollars", balance=read)
    found: list[Finding] = []
    chosen = Settings.model_validate({"db_path": tmp_path / "tasks.db"})
    plugins: Any = SimpleNamespace(gateways={"moon": gateway})
    anyio.run(doctor._report_balances, found.append, chosen, plugins)
    assert [(each.check, each.state) for each in found] == [("balance of Moon", state)]
    assert words in found[0].found + found[0].cure


def test_keys_of_users_are_compared_with_the_users_on_record(run: "Run") -> None:
    assert run("users", "add", "dora", "--own-key").code == 0
    assert run("users", "add", "anna").code == 0
    for keys, expected in (
        ("dora=key-of-dora", []),
        ("dorra=key-of-dora", ["names nobody who is on record as a user: dorra.", "lacks a key of a user"]),
        ("dora=key-of-dora,anna=key-of-anna", ["has a key for a user who pays with the server's"]),
    ):
        ended = run("doctor", "--offline", "--json", KIE_AI_USER_KEYS=keys)
        said = [row["found"] for row in json.loads(ended.stdout) if row["check"] == "users"]
        assert len(said) == len(expected), said
        assert all(words in text for words, text in zip(expected, said, strict=True))
