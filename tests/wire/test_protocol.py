"""Protocol lines: three revisions of the protocol, and no other output."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.wire.schemas import NOTIFICATIONS, REQUESTS, RESULTS, check

if TYPE_CHECKING:
    from tests.wire.conftest import Plant, Spawn, SpawnIn
    from tests.wire.processes import Child

Message = dict[str, Any]

REVISIONS = ("2025-06-18", "2025-11-25", "2026-07-28")
STATELESS = "2026-07-28"
RESOURCE_NOT_FOUND = -32002
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
PARSE_ERROR = -32700

RUBBISH = ("no JSON at all", "[]", '{"jsonrpc": "2.0", "id": 1}', '{"jsonrpc": "2.0"}', "\N{FOX FACE}", "")
"""Lines that are no messages; each but the empty one is answered."""

HALF = "cut in an emoji \ud83e"
"""What JavaScript writes into JSON and a strict reader refuses: half of a surrogate pair."""

UTILITIES = {"get_task_status", "wait_for_tasks", "list_tasks", "get_credits", "show_result", "resolve_submission"}


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "remembered"])
def memory(request: pytest.FixtureRequest) -> bool:
    """Servers over stdio are loaded before they answer, or remember what they said."""
    return bool(request.param)


@pytest.fixture(scope="module", params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def conversation(
    revision: str, spawn_in: "SpawnIn", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple["Child", dict[str, Message]]]:
    """A whole conversation of one revision with a server process: the process at its end, and each answer by name."""
    with Sandbox(speed=10_000) as sandbox:
        child = spawn_in(tmp_path_factory.mktemp("conversation"), sandbox=sandbox)
        said = {"greeting": child.greet(revision)}
        said["list"] = child.answer(child.ask("tools/list"))
        said["credits"] = child.call("get_credits")
        said["made"] = child.call("generate_nano_banana", prompt="A fox on the wire")
        made = said["made"]["structuredContent"]["task_id"]
        arguments = {"task_ids": [made]}
        asked = child.ask("tools/call", name="wait_for_tasks", arguments=arguments, _meta={"progressToken": "p"})
        said["waited"] = child.answer(asked)["result"]
        said["shown"] = child.call("show_result", task_id=made)
        said["resources"] = child.answer(child.ask("resources/list"))["result"]
        said["templates"] = child.answer(child.ask("resources/templates/list"))["result"]
        said["read"] = child.answer(child.ask("resources/read", uri=f"kie://files/{made}/1"))["result"]
        said["refused"] = child.call("generate_nano_banana", prompt="")
        said["unknown tool"] = child.answer(child.ask("tools/call", name="generate_nano_bananas", arguments={}))
        said["unknown resource"] = child.answer(child.ask("resources/read", uri="kie://tasks/no-such-task"))
        said["unknown prompt"] = child.answer(child.ask("prompts/get", name="no-such-prompt"))
        said["prompts"] = child.answer(child.ask("prompts/list"))["result"]
        asked = child.ask("prompts/get", name="product_picture", arguments={"product": "A mug"})
        said["prompt"] = child.answer(asked)["result"]
        ref, argument = {"type": "ref/prompt", "name": "short_clip"}, {"name": "model", "value": "veo"}
        asked = child.ask("completion/complete", ref=ref, argument=argument)
        said["completed"] = child.answer(asked)["result"]
        said["half a character"] = child.answer(child.ask("tools/call", name="list_tasks", arguments={"cursor": HALF}))
        said["whole again"] = child.call("list_tasks")
        for line in RUBBISH:
            child.write(line)
        said["after rubbish"] = child.call("list_tasks")
        child.close_input()
        assert child.ended() == 0, child.errors
        yield child, said


@pytest.fixture
def child(conversation: tuple["Child", dict[str, Message]]) -> "Child":
    return conversation[0]


@pytest.fixture
def said(conversation: tuple["Child", dict[str, Message]]) -> dict[str, Message]:
    return conversation[1]


@pytest.fixture
def tools(said: dict[str, Message]) -> dict[str, Message]:
    return {tool["name"]: tool for tool in said["list"]["result"]["tools"]}


# The revisions -------------------------------------------------------------------------------------------------------


def test_every_revision_lists_and_calls_tools(
    revision: str, said: dict[str, Message], tools: dict[str, Message]
) -> None:
    greeting = said["greeting"]
    assert revision in (greeting["supportedVersions"] if revision == STATELESS else [greeting["protocolVersion"]])
    assert {"generate_nano_banana", "edit_nano_banana"} | UTILITIES <= set(tools)
    assert said["credits"]["structuredContent"]["credits"] == 10_000
    assert said["made"]["structuredContent"]["status"] == "pending"
    (task,) = said["waited"]["structuredContent"]["tasks"]
    assert task["status"] == "completed"
    assert said["refused"]["isError"] is True


def test_every_line_is_valid_by_the_schema_of_its_revision(revision: str, child: "Child") -> None:
    methods: dict[int, str] = {}
    for line in child.sent:
        message = json.loads(line)
        methods[message.get("id")] = message["method"]
        check(revision, message, "JSONRPCMessage", REQUESTS[message["method"]])
    for line in child.received:
        message = json.loads(line)
        if "method" in message:
            check(revision, message, "JSONRPCNotification", NOTIFICATIONS[message["method"]])
        elif "error" in message:
            # JSON-RPC wants null where no id could be read; the protocol's schemas know no null.
            message |= {"id": 0} if message["id"] is None else {}
            check(revision, message, "JSONRPCError" if revision == "2025-06-18" else "JSONRPCErrorResponse")
        else:
            check(revision, message, "JSONRPCMessage")
            check(revision, message["result"], RESULTS[methods[message["id"]]])


def test_progress_comes_under_the_token_before_the_answer(child: "Child", said: dict[str, Message]) -> None:
    messages = [json.loads(line) for line in child.received]
    progress = [message["params"] for message in messages if message.get("method") == "notifications/progress"]
    assert progress
    assert {entry["progressToken"] for entry in progress} == {"p"}
    answered = next(place for place, message in enumerate(messages) if message.get("result") == said["waited"])
    assert all("method" not in message for message in messages[answered:])


def test_unknown_tool_is_an_error_of_the_protocol_that_names_the_nearest(said: dict[str, Message]) -> None:
    error = said["unknown tool"]["error"]
    assert error["code"] == INVALID_PARAMS
    assert "generate_nano_bananas" in error["message"]
    assert "generate_nano_banana " in error["message"].replace("?", " ")


def test_every_revision_lists_prompts_and_completes_their_arguments(said: dict[str, Message]) -> None:
    assert [prompt["name"] for prompt in said["prompts"]["prompts"]] == [
        "product_picture",
        "short_clip",
        "talking_avatar",
    ]
    assert "A mug" in said["prompt"]["messages"][0]["content"]["text"]
    assert "generate_veo3_video" in said["completed"]["completion"]["values"]


def test_unknown_resource_and_prompt_are_errors_of_the_protocol(revision: str, said: dict[str, Message]) -> None:
    resource = said["unknown resource"]["error"]
    assert resource["code"] == (INVALID_PARAMS if revision == STATELESS else RESOURCE_NOT_FOUND)
    assert resource["data"] == {"uri": "kie://tasks/no-such-task"}
    assert said["unknown prompt"]["error"]["code"] == INVALID_PARAMS
    assert "no such prompt" in said["unknown prompt"]["error"]["message"]


# What clients are given ----------------------------------------------------------------------------------------------


def test_instructions_are_short_and_name_what_matters(said: dict[str, Message]) -> None:
    instructions = said["greeting"]["instructions"]
    assert len(instructions.encode()) <= 1500
    assert [
        word for word in ("wait_for_tasks", "resolve_submission", "unknown", "charged") if word not in instructions
    ] == []


def test_names_titles_and_descriptions_fit_every_host(tools: dict[str, Message]) -> None:
    assert [name for name in tools if len(name) > 40] == []
    assert [name for name, tool in tools.items() if not tool["annotations"]["title"]] == []
    assert [name for name, tool in tools.items() if not 0 < len(tool["description"].encode()) <= 2000] == []


def test_annotations_tell_spending_from_reading(tools: dict[str, Message]) -> None:
    def hints(name: str) -> tuple[bool, ...]:
        words = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
        return tuple(tools[name]["annotations"][word] for word in words)

    for name in tools:
        if name.startswith(("generate_", "edit_", "remix_", "extend_")):
            assert hints(name) == (False, False, False, True), name
    # It makes no task, but the service charges for it: a host should ask its user.
    assert hints("get_veo3_1080p_video") == (False, False, True, True)
    for name in UTILITIES - {"resolve_submission"}:
        assert hints(name) == (True, False, True, False), name
    assert hints("resolve_submission")[:2] == (False, False)


def test_output_schemas_are_small(tools: dict[str, Message]) -> None:
    sizes = {name: len(json.dumps(tool.get("outputSchema", {}), separators=(",", ":"))) for name, tool in tools.items()}
    assert {name: size for name, size in sizes.items() if size > 600} == {}
    # Hosts that are given data show their model no pictures.
    assert [name for name, tool in tools.items() if "outputSchema" not in tool] == ["show_result"]


def test_input_schemas_are_lean_and_closed(tools: dict[str, Message]) -> None:
    for name, tool in tools.items():
        schema = tool["inputSchema"]
        assert (schema["type"], schema["additionalProperties"]) == ("object", False), name
        assert list(burdens(schema)) == [], name


def burdens(schema: Any, path: str = "") -> Iterator[str]:
    """What a model has no use for: alternatives, null, titles, references."""
    if isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from burdens(inner, f"{path}[{number}]")
    elif isinstance(schema, dict):
        for key, inner in schema.items():
            if key in {"anyOf", "oneOf", "allOf", "title", "$ref", "$defs"}:
                yield f"{path}.{key}"
            elif key == "properties":
                for name, declared in inner.items():
                    yield from burdens(declared, f"{path}.{name}")
            else:
                yield from burdens(inner, f"{path}.{key}")
    elif schema is None or schema == "null":
        yield f"{path} is null"


def test_listing_is_the_same_for_every_client(tools: dict[str, Message], seen: dict[str, str]) -> None:
    listing = json.dumps(tools, sort_keys=True)
    assert seen.setdefault("listing", listing) == listing


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    """What was listed to the first client."""
    return {}


# Nothing but the protocol --------------------------------------------------------------------------------------------

NOISY = '''
import atexit, sys
from kie_ai_mcp import Submission, hookimpl
print("noise at import")
print("noise without an end", end="")
atexit.register(print, "noise at exit")

def make_noise(prompt: str) -> Submission:
    """Make noise."""
    print("noise in a tool")
    return Submission("jobs/createTask", {"model": "google/nano-banana", "input": {"prompt": prompt}}, "noise")

@hookimpl
def kie_register_tools():
    print("noise in a hook")
    return [make_noise]

@hookimpl
def kie_normalize_result(task, payload):
    print("noise in a reading")
    sys.stdout.write("noise without an end")
'''


def test_stdout_holds_nothing_but_the_protocol_although_a_provider_prints(spawn: "Spawn", plant: "Plant") -> None:
    with Sandbox(speed=10_000) as sandbox:
        child = spawn(sandbox=sandbox, PYTHONPATH=plant("noisy", NOISY))
        child.greet("2025-11-25")
        made = child.call("make_noise", prompt="a fox")["structuredContent"]
        waited = child.call("wait_for_tasks", task_ids=[made["task_id"]])["structuredContent"]
        child.close_input()
        assert child.ended() == 0
    assert [task["status"] for task in waited["tasks"]] == ["completed"]
    assert [line for line in child.received if json.loads(line)["jsonrpc"] != "2.0"] == []
    for place in ("at import", "in a hook", "in a tool", "in a reading", "at exit"):
        assert f"noise {place}" in child.errors


def test_lines_that_are_no_messages_are_answered_and_do_not_end_the_server(
    child: "Child", said: dict[str, Message]
) -> None:
    errors = [message["error"]["code"] for line in child.received if (message := json.loads(line)).get("id", 0) is None]
    assert errors == [PARSE_ERROR, INVALID_REQUEST, INVALID_REQUEST, INVALID_REQUEST, PARSE_ERROR]
    assert "tasks" in said["after rubbish"]["structuredContent"]


def test_request_that_can_not_be_read_is_answered(said: dict[str, Message]) -> None:
    error = said["half a character"]["error"]
    assert error["code"] == PARSE_ERROR
    assert "nothing was recorded or sent" in error["message"]
    assert "half of a character" in error["message"]
    assert "tasks" in said["whole again"]["structuredContent"]


def test_tool_list_may_be_kept_for_five_minutes_unless_it_is_remembered(
    revision: str, memory: bool, said: dict[str, Message]
) -> None:
    kept = said["list"]["result"].get("ttlMs")
    assert kept == (None if revision != STATELESS else 0 if memory else 300_000)


def test_byte_order_mark_before_the_first_line_is_ignored(spawn: "Spawn") -> None:
    child = spawn(KIE_AI_ENABLED_PROVIDERS="nano-banana")
    assert child.process.stdin is not None
    child.process.stdin.write("\N{ZERO WIDTH NO-BREAK SPACE}")
    assert child.greet("2025-11-25")["serverInfo"]["name"] == "kie-ai"
    assert child.call("list_tasks")["structuredContent"]["tasks"] == []
