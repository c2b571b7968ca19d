"""Tools of one family through a second service, over stdio: Pika, which Kie.ai never had, made by fal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from PIL import Image

from kie_ai_mcp_sandbox.server import Sandbox
from tests.conftest import NOWHERE
from tests.helpers import data, text

if TYPE_CHECKING:
    from tests.conftest import Rows, Serve

pytestmark = pytest.mark.anyio

KEY = "fal-key-of-the-tests:0a1b2c"
MODEL = "fal-ai/pika/v2.2/text-to-video"
CREATE = f"/fal/{MODEL}"
MOVED = "\n".join(f'[providers.{name}]\ngateway = "fal"\n' for name in ("pika", "sora2", "luma", "playground"))


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """fal, so fast that a request has ended when it is first read. It accepts fal's key alone."""
    with Sandbox(speed=10_000, key=KEY) as sandbox:
        yield sandbox


def settings(folder: Path, sandbox: Sandbox, key: str = KEY, **more: str) -> dict[str, str]:
    """Pika and some others moved to fal; Kie.ai is nowhere, and no key of it is set."""
    file = folder / "config.toml"
    file.write_text(f'{MOVED}\n[providers.fal]\nkey = "{key}"\nbase_url = "{sandbox.fal_url}"\n', "utf-8")
    return {"KIE_AI_CONFIG": str(file), "KIE_AI_API_KEY": "", **more}


@pytest.fixture(scope="module")
def shared_settings(folder: Path, service: Sandbox) -> Iterator[dict[str, str]]:
    yield {"KIE_AI_BASE_URL": NOWHERE, **settings(folder, service)}
    # By now the shared server has ended.
    assert KEY not in (folder / "server.log").read_text("utf-8")


@pytest.fixture
def sandbox(fresh_service: Sandbox) -> Sandbox:
    """The service of the shared server; servers of a test's own use it, too."""
    return fresh_service


def written(folder: Path) -> str:
    """The server's log and database, whatever of them can be read as text."""
    return "".join(file.read_text("latin-1") for file in (folder / "server.log", *folder.glob("tasks.db*")))


async def generate(client: Client, prompt: str, tool: str = "generate_pika_video", **arguments: Any) -> str:
    answer = await client.call_tool(tool, {"prompt": prompt, **arguments})
    assert not answer.is_error, text(answer)
    gateway, task_id = data(answer)["task_id"].split(":")
    assert gateway == "fal"
    return str(task_id)


async def wait(client: Client, task_id: str) -> dict[str, Any]:
    answer = await client.call_tool("wait_for_tasks", {"task_ids": [task_id]})
    (task,) = data(answer)["tasks"]
    return dict(task)


# One clip ------------------------------------------------------------------------------------------------------------


async def test_clip_is_asked_of_fal_polled_at_its_address_and_saved(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    task_id = await generate(client, prompt, duration=10, aspectRatio="9:16")
    (accepted,) = sandbox.ledger
    assert accepted.path == CREATE.strip("/")
    assert accepted.body == {"prompt": prompt, "duration": 10, "aspect_ratio": "9:16"}
    (row,) = [row for row in rows(folder, "tasks") if row["task_id"] == task_id]
    address = f"{sandbox.fal_url}/fal-ai/pika/requests/{task_id}"
    assert (row["gateway"], row["provider"], row["api_type"]) == ("fal", "pika", "pika-video")
    assert (row["model"], row["status_address"]) == (MODEL, f"{address}/status")

    task = await wait(client, task_id)

    assert task["status"] == "completed"
    (file,) = map(Path, task["files"])
    assert file.parent == folder / "out"
    assert file.name.endswith(f"-pika-fal-{task_id}-1.mp4")
    story = json.loads(file.with_name(f"{file.name}.json").read_text("utf-8"))
    assert (story["tool"], story["model"]) == ("generate_pika_video", MODEL)
    polled = [seen.path for seen in sandbox.requests if seen.method == "GET" and seen.path.startswith("/fal/")]
    assert polled == [f"/fal/fal-ai/pika/requests/{task_id}/status", f"/fal/fal-ai/pika/requests/{task_id}"]
    assert not any(seen.path.startswith("/api/") for seen in sandbox.requests)


async def test_picture_and_its_size_go_through_fal_as_well(client: Client, sandbox: Sandbox, prompt: str) -> None:
    task = await wait(client, await generate(client, prompt, "generate_playground_image", aspectRatio="21:9"))
    assert task["status"] == "completed"
    assert Path(task["files"][0]).suffix == ".png"
    with Image.open(task["files"][0]) as picture:
        assert picture.size == (512, 219)
    assert sandbox.ledger[0].body == {"prompt": prompt, "image_size": {"width": 1344, "height": 576}}


async def test_failed_request_is_reported_as_failed(client: Client, prompt: str) -> None:
    task = await wait(client, await generate(client, f"{prompt} [fail]"))
    assert task["status"] == "failed"
    assert "the prompt contains [fail]" in task["error"]


async def test_arguments_that_only_the_model_finds_wrong_are_reported_as_failed(
    serve: "Serve", service: Sandbox, tmp_path: Path, prompt: str
) -> None:
    model = "fal-ai/pika/v2.2/image-to-video"
    more = {"KIE_AI_PROVIDER_FAL_PIKA_TEXT_MODEL": model}
    async with serve(None, **settings(tmp_path, service, **more)) as client:
        task = await wait(client, await generate(client, prompt))
    assert task["status"] == "failed"
    assert "image_url: field required" in task["error"]


async def test_status_that_can_not_be_read_ends_nothing(client: Client, sandbox: Sandbox, prompt: str) -> None:
    task_id = await generate(client, prompt)
    for fault in ("http:503", "http:404", "http:401", "html", "drop-after"):
        sandbox.play(fault, path=f"/requests/{task_id}")
        reply = data(await client.call_tool("get_task_status", {"task_id": task_id}))
        assert reply["status"] == "pending", fault
        assert reply["read_error"], fault
    assert (await wait(client, task_id))["status"] == "completed"


@pytest.mark.parametrize("fault", ["http:503", "http:429", "http:401", "garbage"])
async def test_result_that_can_not_be_read_now_is_read_later(
    client: Client, sandbox: Sandbox, prompt: str, fault: str
) -> None:
    task_id = await generate(client, prompt)
    await client.call_tool("list_tasks")
    sandbox.play("slow:0", path=f"/requests/{task_id}/status")
    sandbox.play(fault, path=f"/requests/{task_id}")
    reply = data(await client.call_tool("get_task_status", {"task_id": task_id}))
    assert reply["status"] == "pending"
    assert reply["read_error"]
    assert data(await client.call_tool("get_task_status", {"task_id": task_id}))["status"] == "completed"


# Refused -------------------------------------------------------------------------------------------------------------


async def test_wrong_key_is_refused_with_where_to_set_fals_own(
    serve: "Serve", service: Sandbox, tmp_path: Path, prompt: str
) -> None:
    service.reset()
    more = {"KIE_AI_PROVIDER_FAL_KEY": "another-key"}
    async with serve(None, **settings(tmp_path, service, **more)) as client:
        refused = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert refused.is_error
    assert (data(refused)["status"], data(refused)["charged"]) == ("refused", "no")
    assert "KIE_AI_PROVIDER_FAL_KEY" in data(refused)["next_step"]
    assert "KIE_AI_API_KEY" not in text(refused)
    assert service.ledger == []


@pytest.mark.parametrize("key", ["", "fäl-key"])
async def test_without_a_usable_key_of_fal_nothing_is_sent(
    serve: "Serve", service: Sandbox, tmp_path: Path, prompt: str, key: str
) -> None:
    service.reset()
    async with serve(None, **settings(tmp_path, service, key)) as client:
        refused = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert refused.is_error
    assert "fal key" in text(refused)
    assert service.requests == []


async def test_refusal_has_fals_words_and_says_nothing_of_kie(client: Client, sandbox: Sandbox, prompt: str) -> None:
    sandbox.play("http:422", path=CREATE)
    refused = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert refused.is_error
    assert (data(refused)["status"], data(refused)["charged"]) == ("refused", "no")
    assert "The request is not valid." in data(refused)["error"]
    assert "Kie.ai" not in text(refused)
    assert sandbox.ledger == []
    assert await generate(client, prompt)


async def test_empty_account_is_reported_as_such(serve: "Serve", tmp_path: Path, prompt: str) -> None:
    with Sandbox(key=KEY, credits=1) as poor:
        async with serve(None, **settings(tmp_path, poor)) as client:
            refused = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert refused.is_error
    assert "the account at fal has not enough left" in data(refused)["error"]
    assert data(refused)["next_step"] == "Top up the account at fal."


async def test_argument_that_fal_has_no_field_for_is_refused_before_anything_is_sent(
    client: Client, sandbox: Sandbox, prompt: str
) -> None:
    refused = await client.call_tool("generate_pika_video", {"prompt": prompt, "frameRate": 24})
    assert refused.is_error
    assert "frameRate: 24 is not accepted" in text(refused)
    assert sandbox.requests == []


# Unknown -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop-after", "cut", "http:500", "no-task-id", "list"])
async def test_lost_answer_is_unknown_and_the_same_request_is_not_paid_again(
    client: Client, sandbox: Sandbox, prompt: str, fault: str
) -> None:
    sandbox.play(fault, path=CREATE)
    lost = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert lost.is_error
    assert (data(lost)["status"], data(lost)["charged"]) == ("unknown", "unknown")
    assert "https://fal.ai/dashboard" in data(lost)["next_step"]
    again = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert again.is_error
    assert "https://fal.ai/dashboard" in data(again)["next_step"]
    assert "kie.ai" not in text(again)
    unresolved = data(await client.call_tool("list_tasks"))["unresolved"][-1]["next_step"]
    assert ("https://fal.ai/dashboard" in unresolved, "kie.ai" in unresolved) == (True, False)
    assert [seen.path for seen in sandbox.requests] == [CREATE]


async def test_lost_request_is_adopted_with_the_id_that_fal_shows(
    client: Client, sandbox: Sandbox, folder: Path, rows: "Rows", prompt: str
) -> None:
    sandbox.play("drop-after", path=CREATE)
    await client.call_tool("generate_pika_video", {"prompt": prompt})
    submission_id = rows(folder, "submissions")[-1]["id"]
    (paid,) = sandbox.ledger
    wrong = {"submission_id": submission_id, "action": "adopt", "task_id": "nobody"}
    assert (await client.call_tool("resolve_submission", wrong)).is_error
    adopted = await client.call_tool("resolve_submission", {**wrong, "task_id": paid.task_id})
    assert not adopted.is_error, text(adopted)
    assert (data(adopted)["task_id"], data(adopted)["provider"]) == (f"fal:{paid.task_id}", "pika")
    assert data(adopted)["status"] == "completed"
    assert rows(folder, "submissions")[-1]["state"] == "accepted"


# What holds for every service ----------------------------------------------------------------------------------------


async def test_rate_limit_holds_for_fal(serve: "Serve", tmp_path: Path, prompt: str) -> None:
    more = {"KIE_AI_RATE_LIMIT": "2", "KIE_AI_RATE_WINDOW_S": "0.5"}
    with Sandbox(speed=10_000, key=KEY, rate_limit=2, rate_window_s=0.5) as sandbox:
        async with serve(None, **settings(tmp_path, sandbox, **more)) as client:
            for number in range(5):
                await generate(client, f"{prompt} {number}")
        assert [seen.code for seen in sandbox.requests if seen.method == "POST"] == [200] * 5
        assert sandbox.ledger[4].time - sandbox.ledger[0].time >= 1.0


async def test_too_many_requests_is_waited_for_as_long_as_fal_says(
    client: Client, sandbox: Sandbox, prompt: str
) -> None:
    sandbox.play("429:1", path=CREATE)
    assert await generate(client, prompt)
    first, second = [seen for seen in sandbox.requests if seen.method == "POST"]
    assert (first.code, second.code) == (429, 200)
    assert second.time - first.time >= 1.0
    assert len(sandbox.ledger) == 1


async def test_key_of_fal_is_never_shown(client: Client, sandbox: Sandbox, folder: Path, prompt: str) -> None:
    sandbox.play("echo-key", path=CREATE)
    refused = await client.call_tool("generate_pika_video", {"prompt": prompt})
    assert refused.is_error
    assert "[key]" in text(refused)
    task_id = await generate(client, f"{prompt} with {KEY} in it")
    sandbox.play("echo-key", path=f"/requests/{task_id}")
    reply = await client.call_tool("get_task_status", {"task_id": task_id})
    for shown in (str(refused), str(reply), written(folder)):
        assert KEY not in shown


# There and back ------------------------------------------------------------------------------------------------------


async def test_family_moved_to_fal_and_back_loses_no_task_and_pays_for_none_twice(
    serve: "Serve", tmp_path: Path, rows: "Rows", prompt: str
) -> None:
    lost, found = {"prompt": f"{prompt}, lost"}, {"prompt": prompt}
    with Sandbox(speed=10_000, key=KEY) as sandbox:
        there = settings(tmp_path, sandbox)
        own = {"KIE_AI_PROVIDER_FAL_KEY": KEY, "KIE_AI_PROVIDER_FAL_BASE_URL": sandbox.fal_url}
        back = {"KIE_AI_API_KEY": "", **own}
        off = {"KIE_AI_API_KEY": "", "KIE_AI_DISABLED_PROVIDERS": "fal"}
        async with serve(None, **there) as client:
            task_id = await generate(client, **found)
            sandbox.play("drop-after", path=CREATE)
            assert data(await client.call_tool("generate_pika_video", lost))["status"] == "unknown"
        async with serve(None, **off) as client:
            reply = data(await client.call_tool("get_task_status", {"task_id": task_id}))
            assert (reply["status"], reply["provider"]) == ("pending", "pika")
            assert reply["next_step"].startswith("To use it: change KIE_AI_DISABLED_PROVIDERS in ")
        async with serve(None, **back) as client:
            assert (await wait(client, task_id))["status"] == "completed"
        async with serve(None, **there) as client:
            again = data(await client.call_tool("generate_pika_video", lost))
            assert (again["status"], again["charged"]) == ("refused", "no")
            assert "resolve_submission" in again["next_step"]
        assert [seen.path for seen in sandbox.requests if seen.method == "POST"] == [CREATE, CREATE]
        async with serve(None, **back) as client:
            adopt = {"submission_id": rows(tmp_path, "submissions")[1]["id"], "action": "adopt"}
            adopt["task_id"] = sandbox.ledger[1].task_id
            assert data(await client.call_tool("resolve_submission", adopt))["status"] == "completed"
    assert len(sandbox.ledger) == 2


# Without it ----------------------------------------------------------------------------------------------------------


async def test_key_of_fal_alone_moves_nothing(serve: "Serve", prompt: str) -> None:
    with Sandbox(speed=10_000) as sandbox:
        more = {"KIE_AI_PROVIDER_FAL_KEY": KEY, "KIE_AI_PROVIDER_FAL_BASE_URL": sandbox.fal_url}
        async with serve(sandbox, **more) as client:
            refused = await client.call_tool("generate_pika_video", {"prompt": prompt})
        assert [seen.path for seen in sandbox.requests] == ["/api/v1/jobs/createTask"]
    assert refused.is_error
    assert "undocumented at Kie.ai" in text(refused)


async def test_tool_that_fal_does_not_serve_is_left_out_of_a_moved_family(client: Client) -> None:
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert "generate_sora2_video" in names
    assert "generate_sora2_storyboard" not in names
    assert "generate_haiper_video" in names
