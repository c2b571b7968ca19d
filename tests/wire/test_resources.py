"""Resources over stdio: previews, links to results, content by address."""

import base64
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    CallToolResult,
    ImageContent,
    ResourceLink,
    TextResourceContents,
)
from PIL import Image

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import text

if TYPE_CHECKING:
    from tests.conftest import Serve

pytestmark = pytest.mark.anyio

MOST_PX = 1024
MOST_BYTES = 300_000
KEY = "key-of-the-tests"


@pytest.fixture
def sandbox() -> Any:
    """The service, so fast that a task is finished when it is first read."""
    with Sandbox(speed=10_000) as sandbox:
        yield sandbox


@pytest.fixture(params=["saved", "not saved"])
async def client(request: pytest.FixtureRequest, serve: "Serve", sandbox: Sandbox) -> AsyncIterator[Client]:
    """A client of the server, once with a folder for results and once without."""
    settings = {} if request.param == "saved" else {"KIE_AI_OUTPUT_DIR": ""}
    async with serve(sandbox, **settings) as client:
        yield client


async def made(client: Client, tool: str = "generate_nano_banana", **arguments: Any) -> str:
    """Make something and wait until it is finished; return the task's id."""
    answer = await client.call_tool(tool, {"prompt": "A fox at the window", **arguments})
    assert answer.structured_content, answer
    task_id = str(answer.structured_content["task_id"])
    await client.call_tool("wait_for_tasks", {"task_ids": [task_id]})
    return task_id


def links(answer: CallToolResult) -> list[ResourceLink]:
    return [content for content in answer.content if isinstance(content, ResourceLink)]


def pictures(answer: CallToolResult) -> list[Image.Image]:
    """The pictures of an answer, after a look at what they weigh."""
    shown = [content for content in answer.content if isinstance(content, ImageContent)]
    assert sum(len(content.data) for content in shown) <= MOST_BYTES
    opened: list[Image.Image] = [Image.open(io.BytesIO(base64.b64decode(content.data))) for content in shown]
    assert [f"image/{image.format}".lower() for image in opened] == [content.mime_type for content in shown]
    assert [image.size for image in opened if max(image.size) > MOST_PX] == []
    return opened


def saved_in(folder: Path) -> Path:
    """The one picture that was saved."""
    (saved,) = folder.glob("out/*.png")
    return saved


async def blob(client: Client, uri: str) -> tuple[str | None, bytes]:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, BlobResourceContents)
    assert content.uri == uri
    return content.mime_type, base64.b64decode(content.blob)


async def content_at(client: Client, uri: str) -> Any:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    assert KEY not in content.text
    return json.loads(content.text)


# Seeing it -----------------------------------------------------------------------------------------------------------


async def test_picture_is_shown_inline_with_words_and_links(client: Client) -> None:
    task_id = await made(client)
    answer = await client.call_tool("show_result", {"task_id": task_id})
    assert not answer.is_error
    assert answer.structured_content is None
    assert len(pictures(answer)) == 1
    assert "Result 1: a preview" in text(answer)
    assert "Result: http" in text(answer)
    assert [link.uri for link in links(answer)] == [f"kie://files/{task_id}/1"]


async def test_clip_is_shown_by_a_frame(client: Client) -> None:
    task_id = await made(client, "generate_veo3_video")
    answer = await client.call_tool("show_result", {"task_id": task_id})
    assert not answer.is_error
    assert len(pictures(answer)) == 1, text(answer)
    assert "a frame of the clip" in text(answer)


async def test_several_results_are_shown_together_below_the_limit(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client, "generate_midjourney_image")
        answer = await client.call_tool("show_result", {"task_id": task_id})
    assert len(pictures(answer)) == 4, text(answer)
    assert [link.uri for link in links(answer)] == [f"kie://files/{task_id}/{number}" for number in range(1, 5)]


async def test_large_picture_is_drawn_down(serve: "Serve", sandbox: Sandbox, tmp_path: Path) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client)
        saved = saved_in(tmp_path)
        Image.effect_noise((3000, 2000), 200).convert("RGBA").save(saved)
        (shown,) = pictures(await client.call_tool("show_result", {"task_id": task_id}))
    assert shown.width > 300
    assert shown.width / shown.height == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("tool", ["generate_nano_banana", "generate_veo3_video"])
async def test_without_the_library_the_extra_is_named(
    tool: str, serve: "Serve", sandbox: Sandbox, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    # The sandbox's provider is not loaded: its service runs in the test's own process.
    for name in ("PIL", "av"):
        (missing / f"{name}.py").write_text(f"raise ImportError('no {name}')\n", encoding="utf-8")
    async with serve(sandbox, PYTHONPATH=str(missing), KIE_AI_DISABLED_PROVIDERS="sandbox") as client:
        task_id = await made(client, tool)
        answer = await client.call_tool("show_result", {"task_id": task_id})
    assert not answer.is_error
    assert pictures(answer) == []
    assert "kie-ai-mcp-core[preview]" in text(answer)
    assert links(answer)


async def test_result_that_can_not_be_decoded_is_no_error(serve: "Serve", sandbox: Sandbox, tmp_path: Path) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client)
        saved = saved_in(tmp_path)
        saved.write_bytes(saved.read_bytes()[:20] + b"rubbish")
        answer = await client.call_tool("show_result", {"task_id": task_id})
    assert not answer.is_error
    assert pictures(answer) == []
    assert "Result 1: no preview" in text(answer)


# Links ---------------------------------------------------------------------------------------------------------------


async def test_every_answer_links_to_the_results_and_every_link_can_be_read(client: Client) -> None:
    task_id = await made(client)
    for tool, arguments in (
        ("get_task_status", {"task_id": task_id}),
        ("wait_for_tasks", {"task_ids": [task_id]}),
        ("list_tasks", {}),
    ):
        answer = await client.call_tool(tool, arguments)
        assert answer.structured_content, tool
        assert task_id in text(answer), tool
        (link,) = links(answer)
        assert (link.uri, link.mime_type) == (f"kie://files/{task_id}/1", "image/png"), tool
        assert link.name.endswith(".png"), tool
    mime_type, data = await blob(client, link.uri)
    assert mime_type == "image/png"
    assert Image.open(io.BytesIO(data)).format == "PNG"


async def test_clip_is_read_as_what_it_is(client: Client) -> None:
    task_id = await made(client, "generate_veo3_video")
    (link,) = links(await client.call_tool("get_task_status", {"task_id": task_id}))
    assert link.mime_type == "video/mp4"
    mime_type, data = await blob(client, link.uri)
    assert (mime_type, data[4:8]) == ("video/mp4", b"ftyp")


async def test_list_of_tasks_has_ten_links_at_most(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox, KIE_AI_RATE_LIMIT="100") as client:
        started = [
            await client.call_tool("generate_nano_banana", {"prompt": f"Fox number {number}"}) for number in range(12)
        ]
        ids = [(answer.structured_content or {})["task_id"] for answer in started]
        assert len(links(await client.call_tool("wait_for_tasks", {"task_ids": ids}))) == 12
        assert len(links(await client.call_tool("list_tasks", {}))) == 10


async def test_task_that_runs_has_no_links(client: Client) -> None:
    answer = await client.call_tool("generate_nano_banana", {"prompt": "A fox at the door"})
    assert links(answer) == []


async def test_results_that_have_expired_are_linked_only_where_they_are_saved(client: Client, tmp_path: Path) -> None:
    task_id = await made(client)
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
        database.execute("UPDATE tasks SET finished_at = '2026-01-01 00:00:00'")
    answer = await client.call_tool("list_tasks", {})
    saved = bool(list((tmp_path / "out").glob("*.png")))
    assert [link.uri for link in links(answer)] == ([f"kie://files/{task_id}/1"] if saved else [])


async def test_file_that_is_gone_is_fetched_again(serve: "Serve", sandbox: Sandbox, tmp_path: Path) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client)
        saved = saved_in(tmp_path)
        data = saved.read_bytes()
        saved.unlink()
        assert await blob(client, f"kie://files/{task_id}/1") == ("image/png", data)


# Resources -----------------------------------------------------------------------------------------------------------


async def test_everything_that_is_listed_can_be_read(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client)
        listed = (await client.list_resources()).resources
        assert [entry.uri for entry in listed] == ["kie://tasks", "kie://providers", f"kie://files/{task_id}/1"]
        for entry in listed:
            (content,) = (await client.read_resource(entry.uri)).contents
            assert (content.uri, content.mime_type) == (entry.uri, entry.mime_type)
        templates = (await client.list_resource_templates()).resource_templates
        assert [entry.uri_template for entry in templates] == ["kie://tasks/{id}", "kie://files/{id}/{n}"]
        (task,) = (await content_at(client, "kie://tasks"))["tasks"]
        assert task == await content_at(client, f"kie://tasks/{task_id}")
        assert (task["task_id"], task["status"]) == (task_id, "completed")
        providers = {entry["name"]: entry for entry in (await content_at(client, "kie://providers"))["providers"]}
        assert providers["veo3"]["state"] == "enabled"
        assert "generate_veo3_video" in providers["veo3"]["tools"]


async def test_results_that_are_not_saved_are_not_listed(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox, KIE_AI_OUTPUT_DIR="") as client:
        await made(client)
        assert [entry.uri for entry in (await client.list_resources()).resources] == ["kie://tasks", "kie://providers"]


UNKNOWN = {
    "kie://nothing": "kie://files/{id}/{n}",
    "file:///etc/passwd": "kie://tasks",
    "kie://tasks/no-such-task": "kie://tasks/{made}",
    f"kie://tasks/{KEY}": "kie://tasks/{made}",
    "kie://files/no-such-task/1": "kie://tasks/{made}",
    "kie://files/{made}/2": "1 to 1",
    "kie://files/{made}/0": "1 to 1",
    "kie://files/{made}/01": "1 to 1",
    "kie://files/{made}/../../etc/passwd": "kie://tasks/{made}",
    "kie://files/{made}": "kie://files/{id}/{n}",
}
"""Addresses of nothing, and what the refusal names."""


async def test_unknown_address_is_refused_with_a_list_of_what_exists(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client)
        for uri, named in UNKNOWN.items():
            with pytest.raises(MCPError) as refused:
                await client.read_resource(uri.replace("{made}", task_id))
            assert refused.value.error.code == INVALID_PARAMS, uri
            assert named.replace("{made}", task_id) in refused.value.error.message, uri
            assert KEY not in refused.value.error.message


async def test_result_above_20_mb_is_refused_in_words_and_not_linked(
    serve: "Serve", sandbox: Sandbox, tmp_path: Path
) -> None:
    async with serve(sandbox) as client:
        task_id = await made(client)
        saved = saved_in(tmp_path)
        with saved.open("ab") as file:
            file.truncate(20_000_001)
        with pytest.raises(MCPError, match="larger than 20 MB"):
            await client.read_resource(f"kie://files/{task_id}/1")
        assert links(await client.call_tool("get_task_status", {"task_id": task_id})) == []
        assert len(pictures(await client.call_tool("show_result", {"task_id": task_id}))) == 1
        assert len((await client.list_resources()).resources) == 2
