"""Clients of others: the Python SDK, the TypeScript SDK and the inspector call every tool over stdio and HTTP."""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, Request, RequestParams, Result

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S
from tests.hosts.talk import TASKS
from tests.hosts.tools import MADE, REFUSED, SETTINGS, calls, free_calls, id_of, later_calls, names_of, needed

if TYPE_CHECKING:
    from tests.conftest import Environment
    from tests.hosts.node import Node
    from tests.wire.conftest import SiteIn
    from tests.wire.processes import Message

TRANSPORTS = ("stdio", "http")


@pytest.fixture
def service() -> Iterator[Sandbox]:
    """So fast that every task is finished when it is first read."""
    with Sandbox(speed=1_000_000, rate_limit=1000) as sandbox:
        yield sandbox


@pytest.fixture
def settings(service: Sandbox) -> dict[str, str]:
    return {**SETTINGS, "KIE_AI_UPLOAD_URL": service.upload_url}


# Python --------------------------------------------------------------------------------------------------------------


class Made(Result):
    """A task in place of an answer."""

    result_type: Literal["task"] = "task"
    task_id: str


class AskParams(RequestParams):
    task_id: str


class Ask(Request[AskParams, Literal["tasks/get"]]):
    name_param = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: AskParams


class State(Result):
    status: str
    result: CallToolResult | None = None


class Tasks(ClientExtension):
    """The extension of a client that asks for each task until it has ended; the SDK has none of its own."""

    identifier = TASKS

    def __init__(self) -> None:
        self.made: list[str] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Made, resolve=self.resolve)]

    async def resolve(self, made: Made, ctx: ClaimContext) -> CallToolResult:
        self.made.append(made.task_id)
        state = await ctx.session.send_request(Ask(params=AskParams(task_id=made.task_id)), State)
        assert state.status == "completed"
        assert state.result is not None
        return state.result


@asynccontextmanager
async def python_client(
    transport: str,
    mode: Any,
    environment: "Environment",
    site_in: "SiteIn",
    folder: Path,
    service: Sandbox,
    settings: dict[str, str],
    tasks: Tasks,
) -> AsyncIterator[Client]:
    if transport == "stdio":
        env = environment(folder, service, **settings)
        server = StdioServerParameters(command=sys.executable, args=["-m", "kie_ai_mcp"], env=env, cwd=folder)
        with (folder / "server.log").open("w") as log:
            async with Client(stdio_client(server, errlog=log), mode=mode, extensions=[tasks]) as client:
                yield client
    else:
        with site_in(folder, sandbox=service, **settings) as site:
            async with Client(f"{site.url}/mcp", mode=mode, extensions=[tasks]) as client:
                yield client


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_python_client_calls_every_tool_and_drives_tasks_to_their_ends(
    mode: str,
    transport: str,
    environment: "Environment",
    site_in: "SiteIn",
    tmp_path: Path,
    service: Sandbox,
    settings: dict[str, str],
) -> None:
    tasks = Tasks()
    answers: dict[str, CallToolResult] = {}
    async with python_client(transport, mode, environment, site_in, tmp_path, service, settings, tasks) as client:

        async def call(name: str, arguments: "Message") -> None:
            answers[name] = await client.call_tool(name, arguments)

        async def together(named: list[tuple[str, "Message"]]) -> None:
            async with anyio.create_task_group() as group:
                for name, arguments in named:
                    group.start_soon(call, name, arguments)

        listed = {tool.name for tool in (await client.list_tools()).tools}
        await together(calls())
        made = {name: _id_of(answer) for name, answer in answers.items()}
        await client.call_tool("wait_for_tasks", {"task_ids": needed(made), "timeout_s": LIMIT_S})
        for one in (later := later_calls(made)):
            await call(*one)
        await together(free := free_calls(made))
    assert {name for name, answer in answers.items() if answer.is_error} == REFUSED
    assert listed == names_of(calls(), later, free) == answers.keys()
    assert set(tasks.made) >= set(made.values()) if mode == "auto" else not tasks.made


def _id_of(answer: CallToolResult) -> str:
    return id_of(answer.model_dump(mode="json", by_alias=True))


# TypeScript ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=TRANSPORTS)
def address(
    request: pytest.FixtureRequest,
    environment: "Environment",
    site_in: "SiteIn",
    tmp_path: Path,
    service: Sandbox,
    settings: dict[str, str],
) -> Iterator["Message"]:
    """What another program opens the server by."""
    if request.param == "stdio":
        env = environment(tmp_path, service, **settings)
        yield {"server": {"command": sys.executable, "args": ["-m", "kie_ai_mcp"], "env": env, "cwd": str(tmp_path)}}
    else:
        with site_in(tmp_path, sandbox=service, **settings) as site:
            yield {"url": f"{site.url}/mcp"}


@pytest.mark.parametrize(("sdk", "era"), [("sdk", None), ("client", "auto")])
def test_typescript_client_calls_every_tool(sdk: str, era: str | None, node: "Node", address: "Message") -> None:
    with node.typescript() as take:
        assert take("open", sdk=sdk, era=era, **address) == {"era": "modern" if era == "auto" else "legacy"}
        listed = take("list")["names"]

        def together(named: list[tuple[str, "Message"]]) -> dict[str, "Message"]:
            asked = [{"name": name, "arguments": arguments} for name, arguments in named]
            answers = take("call", calls=asked)["answers"]
            for (name, _), answer in zip(named, answers, strict=True):
                assert answer.get("isError", "thrown" in answer) == (name in REFUSED), answer
            return dict(zip([name for name, _ in named], answers, strict=True))

        made = {name: id_of(answer) for name, answer in together(calls()).items()}
        together([("wait_for_tasks", {"task_ids": needed(made), "timeout_s": LIMIT_S})])
        for one in (later := later_calls(made)):
            together([one])
        together(free := free_calls(made))
        take("close")
    assert set(listed) == names_of(calls(), later, free)


# The inspector -------------------------------------------------------------------------------------------------------


def test_inspector_finds_no_fault_and_drives_a_task_to_its_end(
    node: "Node", address: "Message", tmp_path: Path
) -> None:
    config = tmp_path / "inspector.json"
    server = address.get("server") or {"type": "streamable-http", **address}
    config.write_text(json.dumps({"mcpServers": {"ours": server}}))

    def ask(era: str, method: str, *options: str) -> "Message":
        target = ("--config", str(config), "--server", "ours", "--protocol-era", era, "--format", "json", "-q")
        run = node.run("inspector", "--cli", *target, "--method", method, *options)
        assert run.returncode == 0, run.stderr + run.stdout
        said: Message = json.loads(run.stdout)
        return said

    listed = {tool["name"] for tool in ask("legacy", "tools/list", "--strict")["result"]["tools"]}
    assert {MADE, "wait_for_tasks"} < listed
    prompt = json.dumps({"prompt": "A fox that is inspected"})
    made = ask("modern", "tools/call", "--tool-name", MADE, "--tool-args-json", prompt)["result"]
    assert (made["isError"], made["structuredContent"]["status"]) == (False, "completed")
