"""The main job over stdio: a client starts the server, requests a picture, pays, waits and saves it."""

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpx
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from PIL import Image

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import PICTURE, data, eventually, text

if TYPE_CHECKING:
    from tests.conftest import Rows, Serve, ServeIn
    from tests.wire.conftest import Run, SpawnIn

pytestmark = pytest.mark.anyio

CREATE = "/api/v1/jobs/createTask"


@pytest.fixture
def sandbox(fresh_service: Sandbox) -> Sandbox:
    """The service of the shared server; servers of a test's own use it, too."""
    return fresh_service


def files_of(task_id: str, folder: Path) -> list[str]:
    """The names of all files of a task, unfinished ones included."""
    return sorted(path.name for path in folder.glob(f"out/*{task_id}*"))


def made_elsewhere(sandbox: Sandbox, prompt: str) -> str:
    """Make a task that no server of ours has heard of; return its id."""
    body = {"model": "google/nano-banana", "input": {"prompt": prompt}}
    answer = httpx.post(f"{sandbox.base_url}/jobs/createTask", json=body, headers={"Authorization": "Bearer other"})
    return str(answer.json()["data"]["taskId"])


async def generate(client: Client, prompt: str, **arguments: Any) -> str:
    answer = await client.call_tool("generate_nano_banana", {"prompt": prompt, **arguments})
    assert not answer.is_error, text(answer)
    return str(data(answer)["task_id"])


async def wait(client: Client, *task_ids: str) -> list[dict[str, Any]]:
    answer = await client.call_tool("wait_for_tasks", {"task_ids": list(task_ids)})
    tasks: list[dict[str, Any]] = data(answer)["tasks"]
    return tasks


@asynccontextmanager
async def meanwhile(call: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Make a call, and do the block while it is on its way; both have ended afterwards."""
    async with anyio.create_task_group() as group:

        async def made() -> None:
            await call()

        group.start_soon(made)
        yield


# Arguments as hosts send them ----------------------------------------------------------------------------------------

HOSTS = {"toolCallId": "call_1", "sessionId": "s", "action": "sendMessage", "chatInput": "a fox", "task_progress": "-"}


async def test_same_picture_is_asked_for_whatever_a_host_adds_or_leaves_empty(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    empty = {"image_size": "", "output_format": "null", "model": None, "idempotency_key": "", "subfolder": ""}
    await generate(client, prompt)
    await generate(client, prompt, **empty, **HOSTS)
    first, second = sandbox.ledger
    assert first.body == second.body
    one, other = rows(folder, "submissions")[-2:]
    assert (one["arguments"], one["body_hash"]) == (other["arguments"], other["body_hash"])


@pytest.mark.parametrize(
    ("tool", "empty"),
    [
        ("list_tasks", {"status": "", "provider": [], "kind": "", "since": "", "limit": "", "cursor": ""}),
        ("get_credits", {"random_string": ""}),
        ("wait_for_tasks", {"task_ids": ["gone"], "timeout_s": ""}),
        ("get_task_status", {"task_id": "gone", "toolCallId": "call_1"}),
    ],
)
async def test_server_s_own_tools_take_empty_arguments_for_left_out_ones(
    client: Client, tool: str, empty: dict[str, Any]
) -> None:
    plain = {name: value for name, value in empty.items() if value in ("gone", ["gone"])}
    assert data(await client.call_tool(tool, empty | HOSTS)) == data(await client.call_tool(tool, plain))


async def test_unknown_argument_that_no_host_adds_is_refused(client: Client, sandbox: Sandbox, prompt: str) -> None:
    answer = await client.call_tool("generate_nano_banana", {"prompt": prompt, "imag_size": "1:1"})
    assert answer.is_error
    assert "did you mean 'image_size'" in text(answer)
    assert not sandbox.ledger


# One picture ---------------------------------------------------------------------------------------------------------


async def test_request_is_on_record_before_its_answer_and_its_task_after_it(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    sandbox.play("slow:0.3@createTask")
    async with meanwhile(lambda: generate(client, prompt, image_size="16:9")):
        await eventually(lambda: bool(sandbox.requests))
        before = rows(folder, "submissions")[-1]
        assert (before["state"], before["tool"], before["task_id"]) == ("sending", "generate_nano_banana", None)
        assert json.loads(before["arguments"]) == {"prompt": prompt, "image_size": "16:9"}
        assert before["id"] not in {task["submission_id"] for task in rows(folder, "tasks")}
    (accepted,) = sandbox.ledger
    after, task = rows(folder, "submissions")[-1], rows(folder, "tasks")[-1]
    assert (after["id"], after["state"], after["task_id"]) == (before["id"], "accepted", accepted.task_id)
    assert (task["task_id"], task["submission_id"]) == (accepted.task_id, before["id"])
    assert (task["api_type"], task["status"]) == ("nano-banana", "pending")


async def test_request_says_what_was_asked_for(client: Client, sandbox: Sandbox, prompt: str) -> None:
    await generate(client, prompt, image_size="21:9", output_format="jpeg")
    (accepted,) = sandbox.ledger
    assert accepted.path == "jobs/createTask"
    assert accepted.body == {
        "model": "google/nano-banana",
        "input": {"prompt": prompt, "aspect_ratio": "21:9", "output_format": "jpeg"},
    }


@pytest.mark.parametrize(("output_format", "extension"), [("png", "png"), ("jpeg", "jpg")])
async def test_finished_picture_lies_on_disk_with_its_story_beside_it(
    client: Client, folder: Path, prompt: str, output_format: str, extension: str
) -> None:
    task_id = await generate(client, prompt, image_size="16:9", output_format=output_format)
    (task,) = await wait(client, task_id)
    (path,) = map(Path, task["files"])
    assert path.parent == folder / "out"
    assert path.name.endswith(f"-nano-banana-{task_id}-1.{extension}")
    with Image.open(path) as picture:
        picture.verify()
        assert (picture.format, picture.size) == (output_format.upper(), (512, 288))
    story = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
    assert story["arguments"] == {"prompt": prompt, "image_size": "16:9", "output_format": output_format}
    expected = (task_id, "generate_nano_banana", "google/nano-banana", task["credits"], task["result_urls"][0])
    assert tuple(story[name] for name in ("task_id", "tool", "model", "credits", "source_url")) == expected
    assert files_of(task_id, folder) == [path.name, f"{path.name}.json"]


async def test_format_that_nothing_would_convert_is_refused_with_a_call_that_works(
    serve: "Serve", sandbox: Sandbox, prompt: str
) -> None:
    asked = {"prompt": prompt, "output_format": "jpeg", "nVariants": 2}
    async with serve(sandbox, KIE_AI_OUTPUT_DIR="") as client:
        answer = await client.call_tool("generate_gpt4o_image", asked)
        assert answer.is_error
        assert not sandbox.ledger
        assert "KIE_AI_OUTPUT_DIR" in text(answer)
        instead = data(answer)["instead"]
        left = {"output_format": "jpeg", "nVariants": 2}
        assert instead.pop("costs") == "6 credits ($0.03)"
        assert instead == {"tool": "generate_gpt4o_image", "arguments": {"prompt": prompt}, "left_out": left}
        assert not (await client.call_tool(instead["tool"], instead["arguments"])).is_error


async def test_format_that_gpt4o_can_not_be_told_is_made_when_its_picture_is_saved(
    client: Client, sandbox: Sandbox, folder: Path, prompt: str
) -> None:
    answer = await client.call_tool("generate_gpt4o_image", {"prompt": prompt, "output_format": "jpeg"})
    assert "converted to jpeg when saved" in text(answer)
    task_id = str(data(answer)["task_id"])
    (task,) = await wait(client, task_id)
    (path,) = map(Path, task["files"])
    assert task["result_urls"][0].endswith(".png")
    assert path.read_bytes().startswith(b"\xff\xd8\xff")
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "JPEG"
    assert files_of(task_id, folder) == [path.name, f"{path.name}.json"]
    assert path.suffix == ".jpg"


async def test_pictures_are_edited_from_addresses(client: Client, sandbox: Sandbox, prompt: str) -> None:
    answer = await client.call_tool("edit_nano_banana", {"prompt": prompt, "image_urls": [PICTURE] * 5})
    (accepted,) = sandbox.ledger
    assert accepted.model == "google/nano-banana-edit"
    assert accepted.body["input"] == {"prompt": prompt, "image_urls": [PICTURE] * 5}
    (task,) = await wait(client, data(answer)["task_id"])
    assert (task["status"], task["api_type"], len(task["files"])) == ("completed", "nano-banana-edit", 1)


async def test_failed_task_is_reported_with_the_services_reason(client: Client, folder: Path, prompt: str) -> None:
    task_id = await generate(client, f"{prompt} [fail]")
    (task,) = await wait(client, task_id)
    assert (task["status"], task["result_urls"], task["files"]) == ("failed", [], [])
    assert "the prompt contains [fail]" in task["error"]
    assert "501" in task["error"]
    assert files_of(task_id, folder) == []


# Answers to a model --------------------------------------------------------------------------------------------------


def facts(value: Any) -> Iterator[str]:
    """Everything an answer holds, in the words of its text; how far a task is may be rounded there."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "service_record":
                yield json.dumps(inner, ensure_ascii=False)
            elif name != "progress":
                yield from facts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from facts(inner)
    else:
        yield value if isinstance(value, str) else f"{value:g}"


ANSWERS: dict[str, tuple[str, Callable[[str, str], dict[str, Any]]]] = {
    "a task that was started": ("generate_nano_banana", lambda _, prompt: {"prompt": prompt}),
    "a task that is refused": ("generate_nano_banana", lambda _, prompt: {"prompt": prompt, "image_size": "7:3"}),
    "an edit that was started": ("edit_nano_banana", lambda _, prompt: {"prompt": prompt, "image_urls": [PICTURE]}),
    "one task": ("get_task_status", lambda task_id, _: {"task_id": task_id}),
    "a task nobody knows": ("get_task_status", lambda *_: {"task_id": "nobody-knows-me"}),
    "waited for": ("wait_for_tasks", lambda task_id, _: {"task_ids": [task_id, "nobody-knows-me"]}),
    "all tasks": ("list_tasks", lambda *_: {}),
    "some tasks": ("list_tasks", lambda *_: {"limit": 1}),
    "no tasks": ("list_tasks", lambda *_: {"kind": "audio"}),
    "credits": ("get_credits", lambda *_: {}),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_answer_is_complete_both_as_words_and_as_data(client: Client, prompt: str, case: str) -> None:
    task_id = await generate(client, prompt)
    await wait(client, task_id)
    tool, arguments = ANSWERS[case]
    answer = await client.call_tool(tool, arguments(task_id, f"{prompt}, too"))
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    Draft202012Validator(listed[tool].output_schema or False).validate(data(answer))
    assert data(answer)["next_step"]
    assert [fact for fact in facts(data(answer)) if fact not in text(answer)] == []


async def test_command_line_shows_the_tools_that_a_client_is_offered(client: Client, run: "Run") -> None:
    shown = json.loads((await anyio.to_thread.run_sync(run, "tools", "--json")).stdout)
    offered = (await client.list_tools()).tools
    assert [(row["tool"], row["description"]) for row in shown] == [(tool.name, tool.description) for tool in offered]
    parameters = [set(row["input_schema"]["properties"]) for row in shown]
    assert parameters == [set(tool.input_schema["properties"]) for tool in offered]


async def test_answer_of_a_finished_task_holds_all_that_is_promised(client: Client, prompt: str) -> None:
    task_id = await generate(client, prompt)
    await wait(client, task_id)
    task = data(await client.call_tool("get_task_status", {"task_id": task_id}))
    assert set(task) >= {
        "task_id", "api_type", "provider", "status", "result_urls", "files", "credits", "charged", "created_at",
        "expires_at", "next_step",
    }  # fmt: skip
    assert (task["status"], task["charged"], task["credits"]) == ("completed", "yes", 4)
    assert task["service_record"]["state"] == "success"


async def test_credits_fall_by_what_a_picture_costs(client: Client, prompt: str) -> None:
    before = data(await client.call_tool("get_credits"))["credits"]
    await generate(client, prompt)
    assert data(await client.call_tool("get_credits"))["credits"] == before - 4


async def test_tasks_are_listed_newest_first_page_by_page(client: Client, prompt: str) -> None:
    made = [await generate(client, f"{prompt} {number}") for number in range(3)]
    first = data(await client.call_tool("list_tasks", {"limit": 2}))
    second = data(await client.call_tool("list_tasks", {"limit": 2, "cursor": first["next_cursor"]}))
    assert [task["task_id"] for task in first["tasks"] + second["tasks"]][:3] == made[::-1]


async def test_service_that_has_only_the_earlier_addresses_is_used_to_the_end(serve: "Serve") -> None:
    with Sandbox(speed=10_000, old_paths=True) as service:
        async with serve(service) as client:
            (task,) = await wait(client, await generate(client, "a fox of before"))
    assert (task["status"], len(task["files"])) == ("completed", 1)
    assert service.ledger[0].path == "playground/createTask"


async def test_tasks_of_a_misspelt_provider_are_not_reported_as_none(client: Client, prompt: str) -> None:
    await generate(client, prompt)
    misspelt = await client.call_tool("list_tasks", {"provider": "nano_banana"})
    assert misspelt.is_error
    assert "'nano_banana' is not accepted" in text(misspelt)
    assert "Did you mean nano-banana?" in text(misspelt)
    for provider, least in (("nano-banana", 1), ("haiper", 0)):
        listed = await client.call_tool("list_tasks", {"provider": provider})
        assert not listed.is_error
        assert len(data(listed)["tasks"]) >= least


# Refused -------------------------------------------------------------------------------------------------------------

REFUSALS = {
    "code:401": ("key", "KIE_AI_API_KEY"),
    "http:401": ("key", "KIE_AI_API_KEY"),
    "code:402": ("credits", "https://kie.ai/billing"),
    "http:402": ("credits", "https://kie.ai/billing"),
    "code:422": ("arguments", "Change the arguments"),
    "http:422": ("arguments", "Change the arguments"),
}


@pytest.mark.parametrize("fault", REFUSALS)
async def test_refusal_of_the_service_is_reported_as_refused_and_not_charged(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str, fault: str
) -> None:
    reason, cure = REFUSALS[fault]
    before = sandbox.credits, len(rows(folder, "tasks"))
    sandbox.play(fault)
    answer = await client.call_tool("generate_nano_banana", {"prompt": prompt})
    assert answer.is_error
    assert (data(answer)["status"], data(answer)["charged"]) == ("refused", "no")
    assert "task_id" not in data(answer)
    assert fault[-3:] in data(answer)["error"]
    assert reason in data(answer)["error"]
    assert cure in data(answer)["next_step"]
    last = rows(folder, "submissions")[-1]
    assert (last["state"], last["code"], json.loads(last["arguments"])) == (
        "refused",
        int(fault[-3:]),
        {"prompt": prompt},
    )
    assert (sandbox.credits, len(rows(folder, "tasks"))) == before
    assert [seen.path for seen in sandbox.requests] == [CREATE]
    assert await generate(client, prompt)


BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no prompt": ({}, ("prompt", "required")),
    "empty prompt": ({"prompt": ""}, ("prompt", "''", "empty")),
    "blank prompt": ({"prompt": "  \n"}, ("prompt", "empty")),
    "prompt too long for any": ({"prompt": "x" * 20_001}, ("prompt", "20000", "20001")),
    "prompt too long for the model": ({"prompt": "x" * 5_001, "model": "google/nano-banana"}, ("prompt", "5000")),
    "prompt is no text": ({"prompt": 7}, ("prompt", "7", "string")),
    "no such shape": ({"prompt": "a fox", "image_size": "7:3"}, ("image_size", "'7:3'", "'21:9'", "'auto'")),
    "no such format": ({"prompt": "a fox", "output_format": "gif"}, ("output_format", "'gif'", "'png'", "'jpeg'")),
    "misspelt argument": ({"prompt": "a fox", "image_sise": "1:1"}, ("image_sise", "'1:1'", "image_size")),
    "argument of elsewhere": ({"prompt": "a fox", "seed": 4}, ("seed", "4", "prompt", "image_size", "callBackUrl")),
    "callback to a file": ({"prompt": "a fox", "callBackUrl": "file:///tmp/x"}, ("callBackUrl", "http")),
    "two mistakes": ({"image_size": "7:3"}, ("prompt", "image_size", "'7:3'")),
}
BAD_EDITS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "fifteen pictures": ({"image_urls": [PICTURE] * 15}, ("image_urls", "14", "15 were given")),
    "no pictures": ({"image_urls": []}, ("image_urls", "at least 1")),
    "pictures left out": ({}, ("image_urls", "required")),
    "a file": ({"image_urls": [PICTURE, "file:///etc/passwd"]}, ("image_urls[1]", "file:///etc/passwd", "http")),
    "a path": ({"image_urls": ["/etc/passwd"]}, ("image_urls[0]", "/etc/passwd", "allowed")),
}
BAD_CALLS = {
    **{name: ("generate_nano_banana", arguments, words) for name, (arguments, words) in BAD.items()},
    **{
        name: ("edit_nano_banana", {"prompt": "a fox", **arguments}, words)
        for name, (arguments, words) in BAD_EDITS.items()
    },
    "a page that no database has": ("list_tasks", {"cursor": "9" * 30}, ("cursor", "next_cursor")),
    "a request that no database has": (
        "resolve_submission",
        {"submission_id": 10**30, "action": "discard"},
        ("submission_id",),
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
async def test_bad_input_is_refused_before_anything_is_recorded_or_sent(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", case: str
) -> None:
    tool, arguments, words = BAD_CALLS[case]
    before = rows(folder, "submissions"), rows(folder, "tasks")
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    failed = {"list_tasks": ("unread", None), "resolve_submission": ("not done", None)}.get(tool, ("refused", "no"))
    assert (data(answer)["status"], data(answer).get("charged")) == failed
    assert [word for word in words if word not in data(answer)["error"]] == []
    assert (rows(folder, "submissions"), rows(folder, "tasks")) == before
    assert sandbox.requests == []


async def test_key_that_the_service_echoes_is_not_shown(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    sandbox.play("echo-key*2")
    answer = await client.call_tool("generate_nano_banana", {"prompt": prompt})
    read = await client.call_tool("get_credits")
    assert answer.is_error
    assert read.is_error
    texts = f"{answer} {read} {rows(folder, 'submissions')} {(folder / 'server.log').read_text('utf-8')}"
    assert "[key]" in texts
    assert "key-of-the-tests" not in texts


async def test_server_without_a_key_lists_its_tools_and_says_which_key_is_missing(
    serve: "Serve", service: Sandbox, tmp_path: Path, rows: "Rows"
) -> None:
    service.reset()
    async with serve(service, KIE_AI_API_KEY="") as client:
        assert "generate_nano_banana" in {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("generate_nano_banana", {"prompt": "a fox"})
        read = await client.call_tool("get_credits")
    for reply in (answer, read):
        assert reply.is_error
        assert "KIE_AI_API_KEY" in text(reply)
        assert "https://kie.ai/api-key" in text(reply)
    assert (data(answer)["status"], data(answer)["charged"]) == ("refused", "no")
    assert rows(tmp_path, "submissions") == []
    assert service.requests == []


# Unknown -------------------------------------------------------------------------------------------------------------


async def lose(client: Client, sandbox: Sandbox, prompt: str, fault: str = "drop-after") -> int:
    """Make a request whose answer is lost; return its submission."""
    sandbox.play(fault, path="createTask")
    await client.call_tool("generate_nano_banana", {"prompt": prompt})
    unresolved = data(await client.call_tool("list_tasks"))["unresolved"]
    (submission_id,) = [entry["submission_id"] for entry in unresolved if entry["prompt"] == prompt]
    return int(submission_id)


@pytest.mark.parametrize("fault", ["drop-after", "timeout", "cut", "http:500"])
async def test_lost_answer_is_reported_as_unknown_and_the_call_is_not_paid_again(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str, fault: str
) -> None:
    sandbox.play(fault, path="createTask")
    lost = await client.call_tool("generate_nano_banana", {"prompt": prompt})
    assert lost.is_error
    assert (data(lost)["status"], data(lost)["charged"]) == ("unknown", "unknown")
    assert "https://kie.ai/logs" in data(lost)["next_step"]
    submission = rows(folder, "submissions")[-1]
    assert (submission["state"], submission["task_id"]) == ("unknown", None)
    assert f"resolve_submission with submission_id {submission['id']}" in data(lost)["next_step"]
    again = await client.call_tool("generate_nano_banana", {"prompt": prompt})
    assert again.is_error
    assert f"submission {submission['id']}" in data(again)["error"]
    assert f"resolve_submission(submission_id={submission['id']}" in data(again)["next_step"]
    assert [seen.path for seen in sandbox.requests] == [CREATE]
    assert await generate(client, f"{prompt}, another one")


async def test_lost_task_is_adopted_with_the_id_the_account_shows(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    submission_id = await lose(client, sandbox, prompt)
    (paid,) = sandbox.ledger
    adoption = {"submission_id": submission_id, "action": "adopt", "task_id": paid.task_id}
    answer = await client.call_tool("resolve_submission", adoption)
    assert not answer.is_error, text(answer)
    assert (data(answer)["task_id"], data(answer)["provider"]) == (paid.task_id, "nano-banana")
    (submission,) = [row for row in rows(folder, "submissions") if row["id"] == submission_id]
    assert (submission["state"], submission["task_id"]) == ("accepted", paid.task_id)
    (task,) = await wait(client, paid.task_id)
    assert len(task["files"]) == 1
    still_open = data(await client.call_tool("list_tasks")).get("unresolved", [])
    assert submission_id not in {entry["submission_id"] for entry in still_open}
    assert await generate(client, prompt) != paid.task_id


async def test_discarded_request_may_be_made_again(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    submission_id = await lose(client, sandbox, prompt, "drop-before")
    discarding = {"submission_id": submission_id, "action": "discard"}
    answer = await client.call_tool("resolve_submission", discarding)
    assert not answer.is_error, text(answer)
    (submission,) = [row for row in rows(folder, "submissions") if row["id"] == submission_id]
    assert submission["state"] == "discarded"
    assert await generate(client, prompt) == sandbox.ledger[-1].task_id
    twice = await client.call_tool("resolve_submission", discarding)
    assert twice.is_error
    assert "discarded" in data(twice)["error"]


async def test_adopting_an_unknown_id_leaves_the_request_unresolved(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    submission_id = await lose(client, sandbox, prompt)
    adoption = {"submission_id": submission_id, "action": "adopt", "task_id": "nobody-knows-me"}
    answer = await client.call_tool("resolve_submission", adoption)
    assert answer.is_error
    assert "nobody-knows-me" in text(answer)
    (submission,) = [row for row in rows(folder, "submissions") if row["id"] == submission_id]
    assert submission["state"] == "unknown"


# Reading what became of it -------------------------------------------------------------------------------------------


async def test_task_made_elsewhere_is_found_at_the_service_and_adopted(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    task_id = made_elsewhere(sandbox, prompt)
    (task,) = await wait(client, task_id)
    assert (task["status"], task["provider"], task["api_type"]) == ("completed", "nano-banana", "nano-banana")
    assert len(task["files"]) == 1
    assert rows(folder, "tasks")[-1]["task_id"] == task_id
    assert data(await client.call_tool("list_tasks", {"limit": 1}))["tasks"][0]["task_id"] == task_id


async def test_wait_for_an_unknown_id_says_so_and_does_not_call_it_finished(client: Client) -> None:
    answer = await client.call_tool("wait_for_tasks", {"task_ids": ["nobody-knows-me"]})
    assert answer.is_error
    assert data(answer)["next_step"].startswith("Check the id")
    assert data(answer)["tasks"][0]["status"] == "not found"


async def test_unknown_id_is_an_error_and_not_pending(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows"
) -> None:
    before = rows(folder, "tasks")
    answer = await client.call_tool("get_task_status", {"task_id": "nobody-knows-me"})
    assert answer.is_error
    assert "nobody-knows-me" in data(answer)["error"]
    assert "list_tasks" in data(answer)["next_step"]
    assert "pending" not in text(answer)
    assert rows(folder, "tasks") == before
    asked = [seen.path for seen in sandbox.requests]
    assert asked[0] == "/api/v1/jobs/recordInfo"
    assert len(asked) > 1


async def test_failed_read_tells_the_last_known_state_and_changes_nothing(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    task_id = await generate(client, prompt)
    before = rows(folder, "tasks")
    sandbox.play("http:500", path="recordInfo")
    answer = await client.call_tool("get_task_status", {"task_id": task_id})
    assert not answer.is_error
    assert data(answer)["status"] == "pending"
    assert "500" in data(answer)["read_error"]
    assert rows(folder, "tasks") == before


async def test_wait_tells_rising_progress_and_outlives_a_failed_poll(
    client: Client, sandbox: Sandbox, prompt: str
) -> None:
    tasks = [await generate(client, f"{prompt} {number}") for number in range(3)]
    sandbox.play("drop-after", path="recordInfo")
    sandbox.play("http:500", path="recordInfo")
    steps: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    answer = await client.call_tool("wait_for_tasks", {"task_ids": tasks}, progress_callback=note)
    ended = data(answer)["tasks"]
    assert [(task["task_id"], task["status"]) for task in ended] == [(task_id, "completed") for task_id in tasks]
    assert not any("read_error" in task for task in ended)
    numbers = [progress for progress, _, _ in steps]
    assert len(numbers) > 1
    assert numbers == sorted(set(numbers))
    assert steps[-1] == (100, 100, "3 completed")
    assert any("queued" in (message or "") for _, _, message in steps[:-1])


async def test_wait_ends_by_itself_and_says_how_to_go_on(client: Client, sandbox: Sandbox, prompt: str) -> None:
    task_id = await generate(client, prompt)
    sandbox.play("slow:5", path="recordInfo")
    answer = await client.call_tool("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 1})
    (task,) = data(answer)["tasks"]
    assert not answer.is_error
    assert (task["task_id"], task["status"]) == (task_id, "pending")
    assert task_id in data(answer)["next_step"]
    assert "wait_for_tasks" in data(answer)["next_step"]


@pytest.mark.parametrize("compact", ["false", "true"])
async def test_error_of_every_tool_is_of_the_shape_that_the_tool_declares(
    compact: str, serve: "Serve", service: Sandbox
) -> None:
    service.reset()
    async with serve(service, KIE_AI_COMPACT=compact) as client:
        for tool in (await client.list_tools()).tools:
            # Some clients hold errors, too, against what the tool declares, and then show nothing of them.
            answer = await client.call_tool(tool.name, {"no_such_argument": 1})
            assert answer.is_error
            assert "no_such_argument" in text(answer)
            Draft202012Validator(tool.output_schema or {}).validate(answer.structured_content)


async def test_no_wait_lasts_longer_than_the_client_has_patience(serve: "Serve", service: Sandbox) -> None:
    service.reset()
    async with serve(service, KIE_AI_PATIENCE_S="3") as client:
        task_id = await generate(client, "A fox waits")
        service.play("slow:12", path="recordInfo")
        with anyio.fail_after(10):
            answer = await client.call_tool("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 600})

    assert [task["status"] for task in data(answer)["tasks"]] == ["pending"]
    assert f'call wait_for_tasks with task_ids ["{task_id}"] again' in data(answer)["next_step"]


async def test_generation_itself_waits_as_long_as_its_setting_says(serve: "Serve", service: Sandbox) -> None:
    service.reset()
    async with serve(service, KIE_AI_WAIT_S="1") as client:
        done = data(await client.call_tool("generate_nano_banana", {"prompt": "a fast fox"}))
        service.play("slow:5", path="recordInfo")
        running = data(await client.call_tool("generate_nano_banana", {"prompt": "a slow fox"}))
    assert (done["status"], len(done["files"])) == ("completed", 1)
    assert (running["status"], running["task_id"]) == ("pending", service.ledger[1].task_id)


# The next process ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def heirs(
    serve_in: "ServeIn", spawn_in: "SpawnIn", tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Client, Sandbox, dict[str, str]]]:
    """A server after two others: one made a task and ended, one made a task and was killed during its next request."""
    folder = tmp_path_factory.mktemp("heirs")
    with Sandbox(speed=10_000) as service:
        children = {end: spawn_in(folder, sandbox=service) for end in ("ended", "killed")}
        made = {}
        for end, child in children.items():
            child.greet("2025-11-25")
            answer = child.call("generate_nano_banana", prompt=f"A fox that was {end}")
            made[end] = answer["structuredContent"]["task_id"]
        service.play("slow:30@createTask")
        children["killed"].ask("tools/call", name="generate_nano_banana", arguments={"prompt": "A fox in between"})
        await eventually(lambda: len(service.ledger) == 3)
        children["killed"].process.kill()
        children["ended"].close_input()
        assert [child.ended() for child in children.values()] == [0, -signal.SIGKILL]
        async with serve_in(folder, service) as client:
            yield client, service, made


@pytest.mark.parametrize("end", ["ended", "killed"])
async def test_task_of_a_process_that_is_gone_is_listed_polled_and_saved(
    heirs: tuple[Client, Sandbox, dict[str, str]], end: str
) -> None:
    client, _, made = heirs
    listed = data(await client.call_tool("list_tasks"))["tasks"]
    assert made[end] in [task["task_id"] for task in listed]
    (task,) = await wait(client, made[end])
    assert task["status"] == "completed"
    with Image.open(task["files"][0]) as picture:
        picture.verify()


async def test_request_of_a_killed_process_is_shown_as_unknown_and_not_sent_again(
    heirs: tuple[Client, Sandbox, dict[str, str]],
) -> None:
    client, service, _ = heirs
    (unresolved,) = data(await client.call_tool("list_tasks"))["unresolved"]
    assert (unresolved["state"], unresolved["tool"]) == ("unknown", "generate_nano_banana")
    assert "A fox in between" in unresolved["prompt"]
    again = await client.call_tool("generate_nano_banana", {"prompt": "A fox in between"})
    assert f"submission {unresolved['submission_id']}" in data(again)["error"]
    assert [seen.path for seen in service.requests].count(CREATE) == 3
