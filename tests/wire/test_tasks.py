"""The tasks extension of the protocol: paid calls as tasks, over stdio and HTTP, in every revision."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until

if TYPE_CHECKING:
    from tests.wire.conftest import SiteIn, Spawn, SpawnIn
    from tests.wire.processes import Child, Site

Message = dict[str, Any]

NEWEST = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
EXTENSION = f"{PREFIX}tasks"
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
METHOD_NOT_FOUND, INVALID_PARAMS, HEADER_MISMATCH, MISSING_CAPABILITY = -32601, -32602, -32020, -32021
TIMES = {"createdAt", "lastUpdatedAt"}
FIELDS = {"taskId", "status", "statusMessage", "ttlMs", "pollIntervalMs", "resultType", *TIMES}


def with_tasks(child: "Child") -> "Child":
    """Let a process be asked by a client of the newest revision that declares the extension."""
    child.greet(NEWEST)
    child.meta[f"{PREFIX}clientCapabilities"] = {"extensions": {EXTENSION: {}}}
    return child


def get(child: "Child", task_id: str) -> Message:
    """Ask for a task, and return it."""
    answer = child.answer(child.ask("tasks/get", taskId=task_id))
    assert "result" in answer, answer
    result: Message = answer["result"]
    return result


def ended(child: "Child", task_id: str, service: Sandbox) -> Message:
    """Let the service end a task, and return it."""
    service.advance(3600)
    until(lambda: get(child, task_id)["status"] != "working")  # one that was read a moment ago is not read again
    return get(child, task_id)


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "remembered"])
def memory(request: pytest.FixtureRequest) -> bool:
    """Servers over stdio are loaded before they answer, or remember what they said."""
    return bool(request.param)


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(speed=0.01) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def child(spawn_in: "SpawnIn", tmp_path_factory: pytest.TempPathFactory, service: Sandbox) -> "Child":
    return with_tasks(spawn_in(tmp_path_factory.mktemp("tasks"), sandbox=service))


# After the first call the server itself answers, so where a test starts one of its own it need not be remembered too.
usual = pytest.mark.parametrize("memory", [False], ids=["usual"], indirect=True, scope="module")


# A call as a task ----------------------------------------------------------------------------------------------------


def test_paid_call_answers_with_a_task_that_ends_with_its_answer(child: "Child", service: Sandbox) -> None:
    made = child.call("generate_nano_banana", prompt="A fox by the sea")
    assert FIELDS - {"_meta"} <= made.keys() <= FIELDS | {"_meta"}
    assert (made["resultType"], made["status"], made["ttlMs"]) == ("task", "working", None)
    assert type(made["pollIntervalMs"]) is int
    task = ended(child, made["taskId"], service)
    assert (task["resultType"], task["status"], task["taskId"]) == ("complete", "completed", made["taskId"])
    (plain,) = child.call("wait_for_tasks", task_ids=[made["taskId"]])["structuredContent"]["tasks"]
    answer = task["result"]
    assert answer["structuredContent"] == {**plain, "next_step": answer["structuredContent"]["next_step"]}
    assert answer["isError"] is False
    assert f"Task: {made['taskId']}" in answer["content"][0]["text"]
    assert any(part["type"] == "resource_link" for part in answer["content"])


def test_state_is_told_in_words(child: "Child") -> None:
    made = child.call("generate_veo3_video", prompt="A long film of a fox")
    assert made["statusMessage"].startswith("generate_veo3_video has begun.")
    task = get(child, made["taskId"])
    assert (task["status"], "Veo 3" in task["statusMessage"], "result" in task) == ("working", True, False)


def test_failed_generation_is_a_completed_task_with_an_error_as_its_result(child: "Child", service: Sandbox) -> None:
    made = child.call("generate_veo3_video", prompt="A film of a fox that fails")
    service.finish(made["taskId"], "The fox ran away")
    task = ended(child, made["taskId"], service)
    result = task["result"]
    assert (task["status"], result["isError"], result["structuredContent"]["status"]) == ("completed", True, "failed")
    assert "The fox ran away" in result["content"][0]["text"]
    assert "The fox ran away" in task["statusMessage"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("generate_nano_banana", {"prompt": ""}),
        ("get_credits", {}),
        ("list_tasks", {}),
        ("upload_file", {"base64_data": "bm90aGluZw=="}),
    ],
)
def test_refused_calls_and_free_tools_make_no_task(child: "Child", tool: str, arguments: Message) -> None:
    answer = child.call(tool, **arguments)
    assert answer["resultType"] == "complete"
    assert "taskId" not in answer


def test_request_whose_answer_is_lost_makes_no_task(child: "Child", service: Sandbox) -> None:
    service.play("drop-after")
    answer = child.call("generate_nano_banana", prompt="A fox whose answer is lost")
    assert (answer["resultType"], answer["structuredContent"]["status"]) == ("complete", "unknown")


def test_wait_for_tasks_stays_a_plain_call(child: "Child", service: Sandbox) -> None:
    made = child.call("generate_nano_banana", prompt="A fox that is waited for")
    service.advance(3600)
    answer = child.call("wait_for_tasks", task_ids=[made["taskId"]], timeout_s=5)
    assert (answer["resultType"], answer["structuredContent"]["tasks"][0]["status"]) == ("complete", "completed")


def test_notes_of_the_request_stand_in_the_task_and_in_its_result(child: "Child", service: Sandbox) -> None:
    made = child.call("generate_kling_video", prompt="A film of a fox in notes")
    assert "was chosen" in made["statusMessage"]
    (note,) = (note for note in ended(child, made["taskId"], service)["result"]["structuredContent"]["notes"])
    assert "was chosen" in note


@usual
def test_server_that_waits_answers_a_client_of_tasks_at_once(spawn: "Spawn", service: Sandbox) -> None:
    child = with_tasks(spawn(sandbox=service, KIE_AI_WAIT_S="60"))
    assert child.call("generate_veo3_video", prompt="A film of a fox, not waited for")["resultType"] == "task"


# Asking for it -------------------------------------------------------------------------------------------------------


def test_task_outlives_the_server_that_made_it(spawn: "Spawn", service: Sandbox) -> None:
    first = with_tasks(spawn(sandbox=service))
    made = first.call("generate_veo3_video", prompt="A film of a fox that outlives")
    first.process.kill()
    second = with_tasks(spawn(sandbox=service))
    assert get(second, made["taskId"])["status"] == "working"
    task = ended(second, made["taskId"], service)
    assert (task["createdAt"], task["result"]["structuredContent"]["status"]) == (made["createdAt"], "completed")


@usual
def test_cancel_is_taken_and_the_state_says_that_the_service_goes_on(spawn: "Spawn", service: Sandbox) -> None:
    child = with_tasks(spawn(sandbox=service))
    made = child.call("generate_veo3_video", prompt="A film of a fox, cancelled")
    assert "cancel" not in get(child, made["taskId"])["statusMessage"]
    answer = child.answer(child.ask("tasks/cancel", taskId=f"kie:{made['taskId']}"))["result"]
    assert {key for key in answer if key != "_meta"} == {"resultType"}
    child.process.kill()
    child = with_tasks(spawn(sandbox=service))
    task = get(child, made["taskId"])
    assert task["status"] == "working"
    assert "the service can't: it goes on, and is charged." in task["statusMessage"]
    task = ended(child, made["taskId"], service)
    assert ("cancel" in task["statusMessage"], task["result"]["isError"]) == (False, False)


def test_many_clients_that_ask_at_once_cost_the_service_one_read(child: "Child", service: Sandbox) -> None:
    made = child.call("generate_veo3_video", prompt="A film of a fox that many ask for")
    before = len(service.requests)
    numbers = {child.ask("tasks/get", taskId=made["taskId"]) for _ in range(20)}
    answered = {json.loads(child.line())["id"] for _ in numbers}
    reads = [seen for seen in service.requests[before:] if "record" in seen.path]
    assert (answered, len(reads)) == (numbers, 1)


@pytest.mark.parametrize("task_id", ["x" * 3_000, "x" * 100_000, "\n", "kie:" + "y" * 1_000], ids=len)
def test_odd_id_is_unknown_and_not_repeated_at_length(child: "Child", task_id: str) -> None:
    answer = child.answer(child.ask("tasks/get", taskId=task_id))
    assert answer["error"]["code"] == INVALID_PARAMS
    assert len(json.dumps(answer)) < 1_000


def test_task_is_named_by_the_id_that_answers_give_it(child: "Child") -> None:
    made = child.call("generate_veo3_video", prompt="A film of a fox of one name")
    assert get(child, f" kie:{made['taskId']}")["taskId"] == made["taskId"]


def test_read_that_fails_leaves_the_task_working_and_is_told(child: "Child", service: Sandbox) -> None:
    made = child.call("generate_veo3_video", prompt="A film of a fox, unread")
    service.play("http:503@veo/record-info")
    task = get(child, made["taskId"])
    assert task["status"] == "working"
    assert "could not be read" in task["statusMessage"]


@pytest.mark.parametrize("method", METHODS)
def test_unknown_id_is_an_invalid_parameter(child: "Child", method: str) -> None:
    answer = child.answer(child.ask(method, taskId="no-such-task", inputResponses={}))
    assert answer["error"]["code"] == INVALID_PARAMS
    assert "no-such-task" in answer["error"]["message"]


def test_update_of_a_task_that_asks_nothing_is_taken(child: "Child") -> None:
    made = child.call("generate_veo3_video", prompt="A film of a fox, updated")
    answer = child.answer(child.ask("tasks/update", taskId=made["taskId"], inputResponses={"x": {"action": "accept"}}))
    assert {key for key in answer["result"] if key != "_meta"} == {"resultType"}


# Other clients -------------------------------------------------------------------------------------------------------


def test_extension_is_declared_with_each_request_alone(child: "Child") -> None:
    capabilities = child.meta.pop(f"{PREFIX}clientCapabilities")
    child.meta[f"{PREFIX}clientCapabilities"] = {}
    try:
        plain = child.call("generate_nano_banana", prompt="A fox without tasks")
        refused = [child.answer(child.ask(method, taskId="no-such-task", inputResponses={})) for method in METHODS]
    finally:
        child.meta[f"{PREFIX}clientCapabilities"] = capabilities
    assert (plain["resultType"], plain["structuredContent"]["status"]) == ("complete", "pending")
    assert [answer["error"]["code"] for answer in refused] == [MISSING_CAPABILITY] * 3
    assert refused[0]["error"]["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


def test_server_says_that_it_knows_tasks(spawn: "Spawn") -> None:
    capabilities = spawn().greet(NEWEST)["capabilities"]
    assert capabilities["extensions"][EXTENSION] == {}
    assert "tasks" not in capabilities


@usual
@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_revisions_with_a_handshake_see_what_they_know(spawn: "Spawn", service: Sandbox, revision: str) -> None:
    child = spawn(sandbox=service)
    greeting = child.greet(revision)
    answer = child.answer(child.ask("tasks/get", taskId="no-such-task"))
    made = child.call("generate_nano_banana", prompt=f"A fox of {revision}")
    task_id = made["content"][0]["text"].partition("Task: ")[2].split(" ")[0]
    service.advance(3600)
    shown = child.call("wait_for_tasks", task_ids=[task_id], timeout_s=5)
    kinds = {part["type"] for part in shown["content"]}
    assert (greeting["protocolVersion"], answer["error"]["code"]) == (revision, METHOD_NOT_FOUND)
    assert "resultType" not in made
    assert kinds == ({"text", "resource_link"} if revision > "2025-06" else {"text"})
    assert ("structuredContent" in shown) == (revision > "2025-06")
    (tool,) = (
        tool for tool in child.answer(child.ask("tools/list"))["result"]["tools"] if tool["name"] == "list_tasks"
    )
    assert ("outputSchema" in tool, "annotations" in tool) == (revision > "2025-06", revision > "2025")
    assert EXTENSION not in json.dumps(greeting)


# Over HTTP -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory, service: Sandbox) -> Iterator["Site"]:
    with site_in(tmp_path_factory.mktemp("tasks-site"), sandbox=service) as site:
        yield site


def test_tasks_are_made_and_asked_for_over_http(site: "Site", service: Sandbox) -> None:
    def ask(method: str, named: str, **params: Any) -> tuple[int, Message]:
        meta = {f"{PREFIX}protocolVersion": NEWEST, f"{PREFIX}clientCapabilities": {"extensions": {EXTENSION: {}}}}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        accept = "application/json, text/event-stream"
        headers = {"Accept": accept, "MCP-Protocol-Version": NEWEST, "Mcp-Method": method, "Mcp-Name": named}
        answer = site.client.post("/mcp", json=body, headers=headers)
        return answer.status_code, answer.json()

    tool, arguments = "generate_nano_banana", {"prompt": "A fox over HTTP"}
    _, made = ask("tools/call", tool, name=tool, arguments=arguments)
    task_id = made["result"]["taskId"]
    service.advance(3600)
    assert ask("tasks/get", task_id, taskId=task_id)[1]["result"]["status"] == "completed"
    status, answer = ask("tasks/get", "another", taskId=task_id)
    assert (status, answer["error"]["code"]) == (400, HEADER_MISMATCH)
