"""One picture from a user's file to everything that is promised of it, over stdio and the sandbox."""

import base64
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pillow_heif
import pytest
from mcp import Client
from mcp_types import CallToolResult, ImageContent
from PIL import Image

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.conftest import Rows, Serve
    from tests.wire.conftest import Run

pytestmark = pytest.mark.anyio

PROMPT = "Make the fox blue"
COST = 4


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer
    return answer


def type_at(url: str) -> str:
    return httpx.get(url, trust_env=False).headers["content-type"]


def read(path: str) -> str:
    return Path(path).read_text("utf-8")


async def test_picture_from_a_local_file_is_saved_shown_listed_and_found_with_its_cost(
    serve: "Serve", run: "Run", tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    Image.new("RGB", (40, 30), "orange").save(mine / "fox.png")
    with Sandbox(speed=10_000) as sandbox:
        async with serve(sandbox, KIE_AI_UPLOAD_ROOTS=str(mine), KIE_AI_UPLOAD_URL=sandbox.upload_url) as client:
            given = {"prompt": PROMPT, "image_urls": [str(mine / "fox.png")], "subfolder": "foxes/blue"}
            made = data(await call(client, "edit_nano_banana", **given))
            (task,) = data(await call(client, "wait_for_tasks", task_ids=[made["task_id"]]))["tasks"]
            shown = await call(client, "show_result", task_id=made["task_id"])
            listed = data(await call(client, "list_tasks"))
        written = run("gallery", "--no-open", sandbox=sandbox)
        (paid,) = sandbox.ledger
    assert paid.body["input"]["image_urls"][0].startswith(sandbox.upload_url)

    (file,) = map(Path, task["files"])
    assert file.parent == tmp_path / "out" / "foxes" / "blue"
    with Image.open(file) as picture:
        assert picture.format == "PNG"
    sidecar = json.loads(read(f"{file}.json"))
    assert (sidecar["arguments"]["prompt"], sidecar["credits"], task["credits"]) == (PROMPT, COST, COST)

    assert [content.mime_type for content in shown.content if isinstance(content, ImageContent)] == ["image/jpeg"]
    assert [(entry["task_id"], entry["credits"]) for entry in listed["tasks"]] == [(made["task_id"], COST)]
    assert (listed["credits_listed"], listed["credits_24h"]) == (COST, COST)

    (embedded,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', read(written.stdout.strip()))
    (entry,) = json.loads(embedded)["entries"]
    assert (entry["prompt"], entry["credits"]) == (PROMPT, COST)
    assert f"./foxes/blue/{file.name}" in json.dumps(entry)


async def test_upload_is_made_of_a_path_an_address_or_base64_and_nothing_else(serve: "Serve", tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "orange").save(tmp_path / "fox.png")
    with Sandbox() as sandbox:
        async with serve(sandbox, KIE_AI_UPLOAD_ROOTS=str(tmp_path), KIE_AI_UPLOAD_URL=sandbox.upload_url) as client:
            first = data(await call(client, "upload_file", path=str(tmp_path / "fox.png")))
            again = data(await call(client, "upload_file", url=first["url"]))
            refused = await client.call_tool("upload_file", {"path": str(tmp_path / "fox.png"), "url": first["url"]})
            mistaken = await client.call_tool("upload_file", {"path": first["url"]})
    assert (again["url"], again["mime_type"]) == (first["url"], "image/png")
    assert "give one of path, url and base64_data" in str(refused.content)
    assert "give a web address as url" in str(mistaken.content)


async def test_own_result_a_phone_s_photo_and_data_are_inputs_of_the_next_picture(
    serve: "Serve", tmp_path: Path, rows: "Rows"
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    pillow_heif.register_heif_opener()
    Image.new("RGB", (40, 30), "orange").save(mine / "IMG_0001.HEIC", "HEIF")
    pixel = io.BytesIO()
    Image.new("RGB", (4, 3), "teal").save(pixel, "PNG")
    given = f"data:image/png;base64,{base64.b64encode(pixel.getvalue()).decode()}"
    with Sandbox(speed=10_000) as sandbox:
        async with serve(sandbox, KIE_AI_UPLOAD_ROOTS=str(mine), KIE_AI_UPLOAD_URL=sandbox.upload_url) as client:
            made = data(await call(client, "generate_nano_banana", prompt=PROMPT))["task_id"]
            (task,) = data(await call(client, "wait_for_tasks", task_ids=[made]))["tasks"]
            inputs = [f"kie://files/{made}/1", made, task["files"][0], f"file://{mine}/IMG_0001.HEIC", given]
            await call(client, "edit_nano_banana", prompt=PROMPT, image_urls=inputs)
        sent = sandbox.ledger[1].body["input"]["image_urls"]
        kinds = [type_at(url) for url in sent]
    assert sent[:2] == task["result_urls"] * 2
    assert all(url.startswith(sandbox.upload_url) for url in sent[2:])
    assert kinds == ["image/png"] * 3 + ["image/jpeg", "image/png"]
    recorded = json.loads(rows(tmp_path, "submissions")[1]["arguments"])["image_urls"]
    assert recorded[:4] == inputs[:4]
    assert recorded[4] == f"{given[:40]}\u2026 ({len(given)} characters)"
