"""A server in spite of faults: the list stays whole, each call says what is wrong, paid requests are refused."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp import Client

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.errors import ConfigError
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, text
from tests.wire.test_startup import CURES

if TYPE_CHECKING:
    from tests.conftest import Environment, Serve
    from tests.wire.conftest import Run, SiteIn, Spawn

# ruff: noqa: ASYNC240  nothing else runs meanwhile

pytestmark = pytest.mark.anyio

TOOL = "generate_nano_banana"
Open = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def opened(environment: "Environment", sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a server in this process, in a folder of its own, with the settings of an environment."""
    monkeypatch.chdir(tmp_path)

    @asynccontextmanager
    async def start(**settings: str) -> AsyncIterator[Client]:
        faults: list[ConfigError] = []
        environ = environment(tmp_path, sandbox, **settings)
        for name, value in settings.items():  # a cure asks the process itself which variables it has
            monkeypatch.setenv(name, value)
        app = App.open(load_settings(environ, faults), faults)
        async with app.engine.running(), Client(server_of(app)) as client:
            yield client

    return start


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("case", CURES)
async def test_each_call_says_what_is_wrong_and_nothing_is_paid_for(
    case: str, opened: Open, sandbox: Sandbox, tmp_path: Path
) -> None:
    prepare, words = CURES[case]
    settings = prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    async with opened() as client:
        whole = await names(client) if not before else None
    async with opened(**settings) as client:
        assert whole is None or await names(client) == whole
        assert {TOOL, "generate_veo3_video", "list_tasks"} <= await names(client)
        paid = await client.call_tool(TOOL, {"prompt": "A fox"})
        assert (paid.is_error, data(paid)["status"], data(paid)["charged"]) == (True, "refused", "no")
        read = await client.call_tool("get_credits", {})
        listed = await client.call_tool("list_tasks", {})
    address = case == "an address that is none"
    assert bool(read.is_error) == address
    if not address:
        assert data(read)["credits"] == 10_000
    for said in (text(paid), json.dumps(data(paid)), text(read), json.dumps(data(read)), text(listed)):
        assert [word for word in words if word not in said.replace("\\\\", "\\")] == []
        assert "key-of-the-tests" not in said
        assert "failed inside" not in said
    assert {seen.path for seen in sandbox.requests} <= {"/api/v1/chat/credit"}
    assert {path: path.read_bytes() for path in before} == before


MANY = {
    "KIE_AI_TIMEOUT": "60s",
    "KIE_AI_KINDS": "pictures",
    "KIE_AI_ENABLED_PROVIDERS": "veo",
    "KIE_AI_DISABLED_TOOLS": "make_coffee",
    "KIE_AI_DISABLED_PROVIDERS": "nano",
    "KIE_AI_BASE_URLS": "https://x.example",
    "KIE_AI_PROVIDER_FAL_KEYS": "x",
}


def broken(folder: Path) -> None:
    (folder / "tasks.db").write_text("These are not tasks. " * 100, "utf-8")
    (folder / "out").write_text("no folder", "utf-8")


def test_server_with_many_faults_starts_and_names_them_all(spawn: "Spawn", tmp_path: Path) -> None:
    broken(tmp_path)
    with Sandbox() as sandbox:
        child = spawn(sandbox=sandbox, **MANY)
        child.greet("2025-11-25")
        assert len(child.answer(child.ask("tools/list"))["result"]["tools"]) > 30
        for tool, arguments in ((TOOL, {"prompt": "A fox"}), ("get_credits", {}), ("list_tasks", {})):
            said = child.call(tool, **arguments)["content"][0]["text"]
            missing = [name for name in (*MANY, "tasks.db", str(tmp_path / "out")) if name not in said]
            assert missing == [], said
        assert [seen.path for seen in sandbox.requests] == ["/api/v1/chat/credit"]
    child.close_input()
    assert child.ended() == 0
    assert [name for name in (*MANY, "tasks.db", str(tmp_path / "out")) if name not in child.errors] == []
    assert "Traceback" not in child.errors


def test_doctor_names_every_fault(run: "Run", tmp_path: Path) -> None:
    broken(tmp_path)
    ended = run("doctor", "--offline", "--json", sandbox=None, **MANY)
    assert ended.returncode == 1, ended.stderr
    failed = [finding for finding in json.loads(ended.stdout) if finding["state"] == "fail"]
    assert all(finding["cure"] for finding in failed)
    said = json.dumps(failed)
    assert [name for name in (*MANY, "tasks.db", str(tmp_path / "out")) if name not in said] == []


@pytest.mark.parametrize("strict", [True, False])
def test_http_server_starts_in_spite_of_faults_unless_it_is_strict(
    strict: bool, site_in: "SiteIn", run: "Run", tmp_path: Path
) -> None:
    broken(tmp_path)
    if strict:
        ended = run("serve", "--http", "--port", "0", "--strict")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert str(tmp_path / "out") in ended.stderr
        return
    with site_in(tmp_path, KIE_AI_TIMEOUT="60s") as site:
        reply = site.tool(TOOL, prompt="A fox")
        assert reply["isError"]
        assert [word for word in ("KIE_AI_TIMEOUT", "tasks.db") if word not in str(reply)] == []
        gallery = site.client.get("/gallery")
        assert gallery.status_code == 503
        assert "tasks.db" in gallery.text
        assert "Traceback" not in site.child.errors


def test_http_server_whose_token_is_no_token_lets_nobody_in(run: "Run") -> None:
    ended = run("serve", "--http", "--port", "0", KIE_AI_HTTP_TOKEN="short")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "KIE_AI_HTTP_TOKEN" in ended.stderr


async def test_wrong_name_among_right_ones_takes_back_no_choice(opened: Open) -> None:
    async with opened(KIE_AI_DISABLED_PROVIDERS="veo,runway,nano-banana") as client:
        offered = await names(client)
    assert "generate_veo3_video" in offered
    assert TOOL not in offered


async def test_wrong_section_of_a_provider_is_left_out_alone(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[providers.pika]\nmodle = "x"\n[providers.flux]\ngateway = "nowhere"\n', "utf-8"
    )
    async with opened(KIE_AI_CONFIG=str(tmp_path / "config.toml")) as client:
        assert {"generate_pika_video", "generate_flux_image"} & await names(client)
        said = text(await client.call_tool(TOOL, {"prompt": "A fox"}))
    assert "modle" in said
    assert "nowhere" in said


# Causes that go away -------------------------------------------------------------------------------------------------


async def test_mended_database_is_used_by_the_next_call(serve: "Serve", sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "tasks.db").write_text("These are not tasks. " * 100, "utf-8")
    async with serve(sandbox) as client:
        refused = await client.call_tool(TOOL, {"prompt": "A fox"})
        assert (refused.is_error, sandbox.requests) == (True, [])
        (tmp_path / "tasks.db").unlink()
        made = await client.call_tool(TOOL, {"prompt": "A fox"})
        assert data(made)["status"] == "pending"
        assert "notes" not in data(await client.call_tool("get_credits", {}))


async def test_database_of_a_newer_program_is_used_once_another_one_is_there(
    serve: "Serve", sandbox: Sandbox, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        database.executescript("CREATE TABLE wonders (id); PRAGMA user_version = 99")
    async with serve(sandbox) as client:
        refused = await client.call_tool(TOOL, {"prompt": "A fox"})
        assert "99" in text(refused)
        (tmp_path / "tasks.db").rename(tmp_path / "newer.db")
        assert data(await client.call_tool(TOOL, {"prompt": "A fox"}))["status"] == "pending"


async def test_output_drive_that_is_mounted_later_is_used_by_the_next_call(
    serve: "Serve", sandbox: Sandbox, tmp_path: Path
) -> None:
    drive = tmp_path / "drive"
    drive.write_text("", "utf-8")  # nothing can be made below it
    async with serve(sandbox, KIE_AI_OUTPUT_DIR=str(drive / "kie")) as client:
        refused = await client.call_tool(TOOL, {"prompt": "A fox"})
        assert (refused.is_error, data(refused)["charged"], sandbox.requests) == (True, "no", [])
        assert str(drive / "kie") in text(refused)
        drive.unlink()
        drive.mkdir()
        made = data(await client.call_tool(TOOL, {"prompt": "A fox"}))
        sandbox.advance(100)
        assert data(await client.call_tool("get_task_status", {"task_id": made["task_id"]}))["files"]


async def test_output_drive_that_is_taken_away_stops_paid_requests(
    serve: "Serve", sandbox: Sandbox, tmp_path: Path
) -> None:
    async with serve(sandbox) as client:
        await client.call_tool(TOOL, {"prompt": "A fox"})
        (tmp_path / "out").rename(tmp_path / "away")
        (tmp_path / "out").write_text("", "utf-8")
        refused = await client.call_tool(TOOL, {"prompt": "An owl"})
        assert (refused.is_error, len(sandbox.ledger)) == (True, 1)
        (tmp_path / "out").unlink()
        (tmp_path / "away").rename(tmp_path / "out")
        assert data(await client.call_tool(TOOL, {"prompt": "An owl"}))["status"] == "pending"
