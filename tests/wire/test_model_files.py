"""Files that a model takes, over stdio: measured, priced by their seconds, uploaded, or refused with nothing sent."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from mcp import Client
from PIL import Image

import kie_ai_mcp_sandbox
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.conftest import ServeIn

pytestmark = pytest.mark.anyio

FLAT_CLIP = Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4"  # 320 x 180 pixels


def clip(path: Path, seconds: int) -> str:
    """Make a clip of 320 x 256 pixels."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "yuv420p"
        frames: Any = av.VideoFrame
        frame = frames.from_image(Image.new("RGB", (320, 256), "teal"))
        for _ in range(2 * seconds):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return str(path)


async def run(client: Client, model: str, **sent: Any) -> dict[str, Any]:
    return data(await client.call_tool("run_model", {"model": model, "input": sent}))


async def test_files_of_a_model_are_measured_before_they_are_sent_and_priced(
    serve_in: "ServeIn", tmp_path: Path, fresh_service: Sandbox
) -> None:
    flat = str(shutil.copy(FLAT_CLIP, tmp_path / "flat.mp4"))
    short, long = clip(tmp_path / "short.mp4", 2), clip(tmp_path / "long.mp4", 14)
    notes = tmp_path / "notes.md"
    notes.write_text("# A fox", encoding="utf-8")
    asked = {"prompt": "The fox of the notes", "resolution": "480P", "duration": 5}
    upload = {"KIE_AI_UPLOAD_ROOTS": str(tmp_path), "KIE_AI_UPLOAD_URL": fresh_service.upload_url}
    async with serve_in(tmp_path, fresh_service, **upload) as client:
        refused = await run(client, "wan/3-0-video", **asked, reference_video_urls=[flat, short, long])
        assert (refused["status"], refused["charged"]) == ("refused", "no")
        assert "reference_video_urls[0]: " in refused["error"]
        assert "it has 320 x 180 pixels, the service takes 240 to 4096 on each side there" in refused["error"]
        assert "together they have 18 s, the service takes at most 15 s there" in refused["error"]
        page = await run(client, "wan/3-0-video", **asked, reference_link_urls=[str(notes)])
        assert "give an http:// or https:// address of the link" in page["error"]
        assert [seen for seen in fresh_service.requests if seen.method == "POST"] == []

        files = {"reference_video_urls": [short], "reference_file_urls": [str(notes)]}
        made = await run(client, "wan/3-0-video", **asked, **files)

    assert (made["status"], made["estimated_credits"]) == ("pending", 8 * (5 + 2))
    (body,) = [seen.body["input"] for seen in fresh_service.requests if seen.path.endswith("/createTask")]
    assert body.keys() == {*asked, *files}
    for name, ending in (("reference_video_urls", ".mp4"), ("reference_file_urls", ".md")):
        assert body[name][0].startswith(fresh_service.upload_url)
        assert body[name][0].endswith(ending)


async def test_address_of_the_service_s_own_goes_out_as_it_is(client: Client, fresh_service: Sandbox) -> None:
    sent = {"prompt": "A fox from the library", "reference_image_urls": ["asset://asset-2026-Fox"], "duration": 4}

    assert (await run(client, "bytedance/seedance-2", **sent))["status"] == "pending"

    (body,) = [seen.body["input"] for seen in fresh_service.requests if seen.path.endswith("/createTask")]
    assert body == sent
