"""Prompts, completions and icons as clients get them, over stdio and over HTTP, in both eras of the protocol."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Icon, PromptReference, ResourceTemplateReference, TextContent

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.conftest import Serve
    from tests.wire.conftest import SiteIn

pytestmark = pytest.mark.anyio

TASKS = ResourceTemplateReference(uri="kie://tasks/{id}")


@pytest.fixture(params=["stdio", "http legacy", "http auto"])
async def client(
    request: pytest.FixtureRequest, serve: "Serve", site_in: "SiteIn", tmp_path: Path
) -> AsyncIterator[Client]:
    transport, _, mode = request.param.partition(" ")
    with Sandbox(speed=10_000) as sandbox:
        if transport == "stdio":
            async with serve(sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana") as client:
                yield client
            return
        with site_in(tmp_path, sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana") as site:
            era: Any = mode
            async with Client(f"{site.url}/mcp", mode=era, read_timeout_seconds=10) as client:
                yield client


async def code_of(call: Any) -> int:
    with pytest.raises(MCPError) as caught:
        await call
    return caught.value.error.code


async def test_prompts_are_listed_filled_and_completed(client: Client) -> None:
    (prompt,) = (await client.list_prompts()).prompts
    assert (prompt.name, prompt.title) == ("product_picture", "Product picture")
    assert [argument.name for argument in prompt.arguments or () if argument.required] == ["product"]

    message = (await client.get_prompt("product_picture", {"product": "A mug", "style": ""})).messages[0]
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    assert "Call generate_nano_banana ONCE" in message.content.text

    ref = PromptReference(name="product_picture")
    styles = (await client.complete(ref, {"name": "style", "value": "st"})).completion
    assert (styles.values, styles.total, styles.has_more) == (["studio photo"], 1, False)
    assert (await client.complete(ref, {"name": "product", "value": "a"})).completion.values == []

    assert await code_of(client.get_prompt("product_film", {})) == INVALID_PARAMS
    assert await code_of(client.get_prompt("product_picture", {})) == INVALID_PARAMS
    assert await code_of(client.get_prompt("product_picture", {"product": "A mug", "size": "1"})) == INVALID_PARAMS
    assert await code_of(client.complete(ref, {"name": "size", "value": ""})) == INVALID_PARAMS
    unknown = PromptReference(name="product_film")
    assert await code_of(client.complete(unknown, {"name": "product", "value": ""})) == INVALID_PARAMS


async def test_tasks_are_completed_by_words_of_their_prompt_without_a_read(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana", KIE_AI_WATCH="false") as client:
        fox, owl = [
            data(await client.call_tool("generate_nano_banana", {"prompt": prompt}))["task_id"]
            for prompt in ("A fox reads", "An owl reads")
        ]
        before = len(sandbox.requests)
        found = (await client.complete(TASKS, {"name": "id", "value": "READS"})).completion
        assert (found.values, found.total, found.has_more) == ([owl, fox], 2, False)
        assert (await client.complete(TASKS, {"name": "id", "value": "fox"})).completion.values == [fox]
        numbers = ResourceTemplateReference(uri="kie://files/{id}/{n}")
        argument = {"name": "n", "value": ""}
        assert (await client.complete(numbers, argument, context_arguments={"id": fox})).completion.values == []
        assert await code_of(client.complete(ResourceTemplateReference(uri="kie://x"), argument)) == INVALID_PARAMS
        assert len(sandbox.requests) == before


async def test_server_prompts_and_resources_have_icons_of_any_size(serve: "Serve", sandbox: Sandbox) -> None:
    async with serve(sandbox, KIE_AI_ENABLED_PROVIDERS="nano-banana,veo3") as client:
        assert client.server_info is not None
        icons = [*(client.server_info.icons or [])]
        for prompt in (await client.list_prompts()).prompts:
            icons += prompt.icons or []
        for template in (await client.list_resource_templates()).resource_templates:
            icons += template.icons or []
        task_id = data(await client.call_tool("generate_nano_banana", {"prompt": "A fox"}))["task_id"]
        await client.call_tool("wait_for_tasks", {"task_ids": [task_id]})
        drawings = [icon for listed in (await client.list_resources()).resources for icon in listed.icons or ()]
        tools = (await client.list_tools()).tools
    assert len(icons) == 5
    *_, of_task, of_result = icons
    assert drawings == [of_task, of_task, of_result]
    assert [tool.name for tool in tools if tool.icons] == []
    for icon in icons:
        check(icon)


def check(icon: Icon) -> None:
    """Hold an icon against what hosts need: one drawing, small, without anything that is run or fetched."""
    head, _, drawn = icon.src.partition(",")
    assert (head, icon.mime_type, icon.sizes) == ("data:image/svg+xml;base64", "image/svg+xml", ["any"])
    assert len(icon.src) < 400  # it is in every answer of the newest revision
    svg = ET.fromstring(base64.b64decode(drawn))
    assert {element.tag.rpartition("}")[2] for element in svg.iter()} == {"svg", "rect", "path"}
    ground, lines = svg
    assert (ground.get("fill"), lines.get("stroke")) == ("#63c", "#fff")
