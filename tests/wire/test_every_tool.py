"""Every tool of every provider over stdio: the server asks the sandbox, waits, and saves the results."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp import Client

from kie_ai_mcp_sandbox.server import Sandbox
from tests.wire.calls import CLIP, GOES_ON_WITH, NAMED, PLUGINS, PROMPT, arguments_of

if TYPE_CHECKING:
    from tests.conftest import ServeIn

pytestmark = pytest.mark.anyio

AVAILABLE = {name: PLUGINS.provider_of(tool.provider).availability for name, tool in PLUGINS.tools.items()}

RESULTS = {"generate_midjourney_image": 4, "extend_veo3_video": 2, "separate_music": 2}
RESULTS |= dict.fromkeys(("generate_music", "extend_music", "cover_music", "generate_sound"), 3)
"""How many results the sandbox makes where that is not one; what is said of tracks counts as one."""

ENDINGS = {"image": {".png", ".jpg"}, "video": {".mp4"}, "audio": {".mp3", ".wav", ".json"}, "text": {".txt"}}

ELSEWHERE: dict[str, tuple[dict[str, Any], str, int]] = {
    "veo/generate": (PROMPT, "veo3", 1),
    "gpt4o-image/generate": ({**PROMPT, "size": "1:1", "nVariants": 2}, "gpt4o-image", 2),
    "flux/kontext/generate": (PROMPT, "flux", 1),
    "runway/generate": ({**PROMPT, "duration": 5, "quality": "720p", "aspectRatio": "1:1"}, "runway", 1),
    "aleph/generate": ({**PROMPT, "videoUrl": CLIP}, "runway", 1),
    "mj/generate": ({**PROMPT, "taskType": "mj_txt2img"}, "midjourney", 4),
    "modify/generate": ({**PROMPT, "videoUrl": CLIP}, "luma", 1),
    "jobs/createTask": ({"model": "ideogram/v3-text-to-image", "input": PROMPT}, "ideogram", 1),
}
"""Requests of others, each with the provider that its task belongs to and how many results it has."""


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """So fast that every task is finished when it is first read."""
    with Sandbox(speed=1_000_000, rate_limit=1000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
async def client(
    serve_in: "ServeIn", service: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("named")
    async with serve_in(folder, service, KIE_AI_RATE_LIMIT="1000", **NAMED) as client:
        yield client


@pytest.fixture(scope="module")
async def plain(
    serve_in: "ServeIn", service: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A client of a server whose providers have no settings."""
    async with serve_in(tmp_path_factory.mktemp("plain"), service, KIE_AI_RATE_LIMIT="1000") as client:
        yield client


def made_elsewhere(service: Sandbox, path: str, body: dict[str, Any]) -> str:
    """Make a task that no server of ours has heard of; return its id."""
    answer = httpx.post(f"{service.base_url}/{path}", json=body, headers={"Authorization": "Bearer other"})
    return str(answer.json()["data"]["taskId"])


def reads_since(service: Sandbox, before: int) -> list[str]:
    """Where statuses were asked for after so many requests."""
    seen = (seen.path.removeprefix("/api/v1/") for seen in service.requests[before:])
    return sorted(path for path in seen if "/record" in path)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    assert answer.structured_content is not None, answer
    return dict(answer.structured_content)


async def finished(client: Client, started: dict[str, Any]) -> dict[str, Any]:
    assert "task_id" in started, started
    (task,) = (await call(client, "wait_for_tasks", task_ids=[started["task_id"]]))["tasks"]
    assert task["status"] == "completed", task
    return dict(task)


async def whole_arguments_of(client: Client, name: str) -> dict[str, Any]:
    given = arguments_of(name)
    if name in GOES_ON_WITH:
        earlier = GOES_ON_WITH[name]
        given["task_id"] = (await finished(client, await call(client, earlier, **PROMPT)))["task_id"]
    return given


@pytest.mark.parametrize("name", [name for name, tool in PLUGINS.tools.items() if tool.charges])
async def test_tool_makes_its_result(client: Client, name: str) -> None:
    tool = PLUGINS.tools[name]
    task = await finished(client, await call(client, name, **await whole_arguments_of(client, name)))
    assert (task["provider"], task["charged"]) == (tool.provider, "yes")
    assert len(task["result_urls"]) + ("data" in task) == len(task["files"]) == RESULTS.get(name, 1)
    assert {Path(file).suffix for file in task["files"]} <= ENDINGS[tool.kind]


async def test_4k_version_that_is_there_already_is_saved_at_once(client: Client) -> None:
    given = await whole_arguments_of(client, "get_veo3_4k_video")
    made = await finished(client, await call(client, "get_veo3_4k_video", **given))
    again = await call(client, "get_veo3_4k_video", **given)
    assert (again["status"], again["result_urls"]) == ("completed", made["result_urls"])
    assert [Path(file).suffix for file in again["files"]] == [".mp4"]


async def test_1080p_version_is_a_task_of_its_own_that_is_paid_once(client: Client, service: Sandbox) -> None:
    given = await whole_arguments_of(client, "get_veo3_1080p_video")
    before = service.credits
    early = await call(client, "get_veo3_1080p_video", **given)
    assert (early["status"], early["files"], early["charged"]) == ("processing", [], "yes")
    assert (early["estimated_credits"], before - service.credits) == (5, 5)
    assert f'["{early["task_id"]}"]' in early["next_step"]
    assert early["task_id"] != given["task_id"]
    made = await finished(client, early)
    again = await call(client, "get_veo3_1080p_video", **given)
    assert (again["task_id"], again["status"], again["files"]) == (made["task_id"], "completed", made["files"])
    assert before - service.credits == 5
    assert (await call(client, "get_task_status", task_id=given["task_id"]))["status"] == "completed"


async def test_paid_read_of_what_does_not_exist_is_refused_and_not_charged(client: Client, service: Sandbox) -> None:
    before = service.credits
    unheard = await call(client, "get_veo3_1080p_video", task_id="nobody-knows-me")
    assert (unheard["status"], unheard["charged"], service.credits) == ("refused", "no", before)


@pytest.mark.parametrize("name", [name for name, word in AVAILABLE.items() if word == "undocumented"])
async def test_model_that_the_service_never_had_is_refused_with_the_nearest_tool(plain: Client, name: str) -> None:
    provider = PLUGINS.provider_of(PLUGINS.tools[name].provider)
    reply = await call(plain, name, **PROMPT)
    assert (reply["status"], reply["charged"]) == ("refused", "no")
    assert "not supported" in reply["error"]
    assert "undocumented at Kie.ai" in reply["error"]
    assert reply["next_step"] == f"Nothing was charged. Use {provider.nearest} instead."
    assert provider.nearest in PLUGINS.tools


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_task_made_elsewhere_is_found_and_given_to_its_family(plain: Client, service: Sandbox, path: str) -> None:
    body, provider, results = ELSEWHERE[path]
    task_id = made_elsewhere(service, path, body)
    before = len(service.requests)
    task = await call(plain, "get_task_status", task_id=task_id)
    assert (task["status"], task["provider"], len(task["result_urls"])) == ("completed", provider, results)
    asked = reads_since(service, before)
    assert len(asked) == len(set(asked)), "each status route is asked once"
    assert (await call(plain, "list_tasks", limit=1))["tasks"][0]["task_id"] == task_id


async def test_unknown_id_is_asked_for_once_at_every_status_route(plain: Client, service: Sandbox) -> None:
    before = len(service.requests)
    reply = await call(plain, "get_task_status", task_id="nobody-knows-me")
    assert reply["status"] == "not found"
    assert reads_since(service, before) == [
        "aleph/record-info",
        "flux/kontext/record-info",
        "gpt4o-image/record-info",
        "jobs/recordInfo",
        "mj/record-info",
        "modify/record-info",
        "runway/record-detail",
        "veo/record-info",
    ]
