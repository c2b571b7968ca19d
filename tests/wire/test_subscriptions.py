"""Subscriptions to tasks: told in every revision, over stdio and HTTP, whoever wrote the change."""

import itertools
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, eventually
from tests.wire.processes import STATELESS

if TYPE_CHECKING:
    from tests.wire.conftest import SiteIn, Spawn
    from tests.wire.processes import Child, Message

RESOURCE_NOT_FOUND, INVALID_PARAMS = -32002, -32602
HANDSHAKE = "2025-11-25"
REVISIONS = ("2025-06-18", HANDSHAKE, STATELESS)
UNKNOWN = ("kie://tasks/none", "kie://tasks/", "kie://files/none/1", "kie://files/1", "https://example.com/a", "x", "")
SETTINGS = {"KIE_AI_ENABLED_PROVIDERS": "nano-banana", "KIE_AI_WATCH": "false"}
META = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture
def sandbox() -> Any:
    """The service, where tasks run until they are finished by the test."""
    with Sandbox(hold=True) as sandbox:
        yield sandbox


def make(child: "Child", prompt: str = "A fox") -> str:
    return str(child.call("generate_nano_banana", prompt=prompt)["structuredContent"]["task_id"])


def reads(sandbox: Sandbox) -> int:
    return len([request for request in sandbox.requests if "recordInfo" in request.path])


def told(child: "Child", method: str = "notifications/resources/updated") -> "Message":
    """Read until the first notification of a kind, which may have come before an answer; return its parameters."""
    lines = itertools.chain(list(child.received), iter(child.line, ""))
    messages = (json.loads(line) for line in lines)
    return next(dict(message.get("params", {})) for message in messages if message.get("method") == method)


def subscribe(child: "Child", revision: str, *uris: str, **lists: bool) -> int:
    """Subscribe in the way of a revision; return the number of the last request."""
    if revision != STATELESS:
        for uri in uris:
            number = child.ask("resources/subscribe", uri=uri)
            assert child.answer(number)["result"] == {}
        return number
    number = child.ask("subscriptions/listen", notifications={"resourceSubscriptions": uris, **lists})
    honored = told(child, "notifications/subscriptions/acknowledged")["notifications"]
    assert honored["resourceSubscriptions"] == list(uris)
    return number


@pytest.mark.parametrize("revision", REVISIONS)
def test_change_that_another_process_writes_is_told(revision: str, spawn: "Spawn", sandbox: Sandbox) -> None:
    subscriber, other = (spawn(sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana") for _ in range(2))
    subscriber.greet(revision)
    other.greet(HANDSHAKE)
    task_id = make(other)
    number = subscribe(subscriber, revision, f"kie://tasks/{task_id}")
    sandbox.finish(task_id)
    other.call("get_task_status", task_id=task_id)
    params = told(subscriber)
    assert params["uri"] == f"kie://tasks/{task_id}"
    assert revision != STATELESS or params["_meta"][META] == number
    read = subscriber.answer(subscriber.ask("resources/read", uri=params["uri"]))["result"]["contents"][0]["text"]
    assert json.loads(read)["status"] == "completed"
    assert reads(sandbox) == 1


@pytest.mark.parametrize("revision", REVISIONS)
def test_task_that_nobody_watches_is_read_until_it_ends(revision: str, spawn: "Spawn", sandbox: Sandbox) -> None:
    child = spawn(sandbox=sandbox, **SETTINGS)
    child.greet(revision)
    # The second is subscribed when nothing was written since the last look.
    for task_id in (make(child), make(child, "An owl")):
        subscribe(child, revision, uri := f"kie://tasks/{task_id}")
        sandbox.finish(task_id)
        status = ""
        # A read before its end tells of its credits, and the one before is saved meanwhile.
        while status != "completed":
            told(child)
            child.received.clear()
            (content,) = child.answer(child.ask("resources/read", uri=uri))["result"]["contents"]
            status = json.loads(content["text"])["status"]


def test_own_call_is_told_at_once_and_nothing_after_the_subscription(spawn: "Spawn", sandbox: Sandbox) -> None:
    child = spawn(sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana")
    child.greet(HANDSHAKE)
    fox, owl = make(child), make(child, "An owl")
    subscribe(child, HANDSHAKE, f"kie://tasks/{fox}", f"kie://tasks/{owl}")
    assert child.answer(child.ask("resources/unsubscribe", uri=f"kie://tasks/{fox}"))["result"] == {}
    for task_id in (fox, owl):
        sandbox.finish(task_id)
        child.call("get_task_status", task_id=task_id)
    assert told(child)["uri"] == f"kie://tasks/{owl}"
    assert not [line for line in child.received if f"kie://tasks/{fox}" in line and "updated" in line]


def test_finished_task_and_lists_can_be_subscribed(spawn: "Spawn", sandbox: Sandbox) -> None:
    child = spawn(sandbox=sandbox, **SETTINGS)
    child.greet(HANDSHAKE)
    task_id = make(child)
    sandbox.finish(task_id)
    child.call("wait_for_tasks", task_ids=[task_id])
    for uri in (f"kie://files/{task_id}/2", f"kie://files/{task_id}/x", f"kie://files/{task_id}/"):
        for method in ("resources/read", "resources/subscribe"):
            error = child.answer(child.ask(method, uri=uri))["error"]
            assert (error["code"], error["data"]) == (RESOURCE_NOT_FOUND, {"uri": uri})
    uris = (f"kie://tasks/{task_id}", f"kie://files/{task_id}/1", "kie://providers", "kie://tasks")
    subscribe(child, HANDSHAKE, *uris)
    make(child, "An owl")
    assert told(child)["uri"] == "kie://tasks"


@pytest.mark.parametrize("revision", REVISIONS)
def test_unknown_addresses_are_refused_with_the_address(revision: str, spawn: "Spawn") -> None:
    child = spawn(sandbox=None, **SETTINGS)
    child.greet(revision)
    for uri in UNKNOWN:
        error = child.answer(child.ask("resources/read", uri=uri))["error"]
        code = INVALID_PARAMS if revision == STATELESS else RESOURCE_NOT_FOUND
        assert (error["code"], error["data"]) == (code, {"uri": uri})
        if revision != STATELESS:
            error = child.answer(child.ask("resources/subscribe", uri=uri))["error"]
            assert (error["code"], error["data"]) == (code, {"uri": uri})
    if revision == STATELESS:
        wanted = {"resourceSubscriptions": UNKNOWN, "toolsListChanged": True, "promptsListChanged": True}
        child.ask("subscriptions/listen", notifications=wanted)
        assert told(child, "notifications/subscriptions/acknowledged")["notifications"] == {"toolsListChanged": True}


@pytest.mark.parametrize("revision", REVISIONS)
def test_lists_of_resources_and_tools_are_said_to_change_and_the_first_is_told(
    revision: str, spawn: "Spawn", sandbox: Sandbox
) -> None:
    child = spawn(sandbox=sandbox, **SETTINGS)
    can = child.greet(revision)["capabilities"]
    assert can["resources"] == {"subscribe": True, "listChanged": True}
    assert [can[part].get("listChanged", False) for part in ("tools", "prompts")] == [True, False]
    if revision == STATELESS:
        child.ask("subscriptions/listen", notifications={"resourcesListChanged": True})
        told(child, "notifications/subscriptions/acknowledged")
    else:
        child.answer(child.ask("resources/list"))
    make(child)
    told(child, "notifications/resources/list_changed")


def test_nothing_is_looked_for_without_a_subscriber(spawn: "Spawn", sandbox: Sandbox, tmp_path: Path) -> None:
    """Without one, and after the last has gone, neither the record nor the service is read."""
    child = spawn(sandbox=sandbox, **SETTINGS)
    child.greet(STATELESS)
    task_id = make(child)
    number = subscribe(child, STATELESS, f"kie://tasks/{task_id}")
    child.call("get_task_status", task_id=task_id)
    assert reads(sandbox) >= 1
    child.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}))
    child.call("list_tasks")
    before = reads(sandbox)
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        database.execute("UPDATE tasks SET progress = 0.5")
        database.commit()
    other = make(child, "An owl")
    assert other != task_id
    assert reads(sandbox) == before
    assert not [line for line in child.received if "resources/updated" in line]


def test_killed_subscriber_and_killed_server_leave_nothing_behind(
    spawn: "Spawn", sandbox: Sandbox, tmp_path: Path
) -> None:
    first = spawn(sandbox=sandbox, **SETTINGS)
    first.greet(HANDSHAKE)
    task_id = make(first)
    subscribe(first, HANDSHAKE, f"kie://tasks/{task_id}")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = spawn(sandbox=sandbox, **SETTINGS)
    second.greet(STATELESS)
    subscribe(second, STATELESS, f"kie://tasks/{task_id}")
    sandbox.finish(task_id)
    assert told(second)["uri"] == f"kie://tasks/{task_id}"
    second.close_input()
    assert second.ended() == 0


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_clients_over_http_hear_of_changes_until_they_leave(
    mode: Any, site_in: "SiteIn", sandbox: Sandbox, tmp_path: Path
) -> None:
    messages: list[Any] = []

    async def take(message: Any) -> None:
        messages.append(message)

    with site_in(tmp_path, sandbox=sandbox, **SETTINGS) as site:
        async with Client(f"{site.url}/mcp", mode=mode, message_handler=take, read_timeout_seconds=10) as client:
            made = data(await client.call_tool("generate_nano_banana", {"prompt": "A fox"}))
            uri = f"kie://tasks/{made['task_id']}"
            if mode == "auto":
                async with client.listen(resource_subscriptions=[uri], resources_list_changed=True) as changes:
                    await change(sandbox, client, made["task_id"])
                    heard = set[type]()
                    with anyio.fail_after(20):
                        while heard != {ResourceUpdated, ResourcesListChanged}:
                            heard.add(type(await anext(changes)))
            else:
                await client.subscribe_resource(uri)
                await change(sandbox, client, made["task_id"])
                await eventually(lambda: [each for each in messages if getattr(each.params, "uri", "") == uri])
                with pytest.raises(MCPError):
                    await client.subscribe_resource("kie://tasks/none")
        before = len(sandbox.requests)
        data_of = site.tool("list_tasks")["structuredContent"]
        assert data_of["tasks"][0]["status"] == "completed"
        assert len(sandbox.requests) == before
        site.child.process.send_signal(signal.SIGTERM)
        assert site.child.ended() == 0
        assert "Traceback" not in site.child.errors


async def change(sandbox: Sandbox, client: Client, task_id: str) -> None:
    sandbox.finish(task_id)
    await client.call_tool("wait_for_tasks", {"task_ids": [task_id]})


@pytest.mark.anyio
async def test_stream_is_ended_by_a_server_that_ends(site_in: "SiteIn", sandbox: Sandbox, tmp_path: Path) -> None:
    with site_in(tmp_path, sandbox=sandbox, **SETTINGS) as site:
        async with (
            Client(f"{site.url}/mcp", read_timeout_seconds=10) as client,
            client.listen(resources_list_changed=True) as changes,
        ):
            site.child.process.send_signal(signal.SIGTERM)
            with anyio.fail_after(20):
                assert [change async for change in changes] == []
        assert site.child.ended() == 0
