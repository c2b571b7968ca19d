#!/usr/bin/env python3
"""Pictures of the documentation: the gallery and a chat, from real answers of the server, with the sandbox as service.

::

    uv run python tools/pictures.py                  # docs/pictures/gallery.webp and chat.webp; needs Chromium
    uv run python tools/pictures.py clip             # the clip that the sandbox gives out for every video; needs H.264

With ``--output FOLDER`` they are written there instead.
"""

import argparse
import html
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import av
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, ImageContent, TextContent

from kie_ai_mcp_sandbox.pictures import landscape
from kie_ai_mcp_sandbox.server import Sandbox

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gallery.conftest import BROWSERS, Browser

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
CLIP = ROOT / "plugins/sandbox/src/kie_ai_mcp_sandbox/data/clip.mp4"
SETTLED_MS = 1_500  # after which the controls of a clip that is loaded are drawn as they stay
LOADED = f"""document.documentElement.style.scrollbarWidth = "none";
Promise.all([...document.querySelectorAll("video")].map((clip) => new Promise((done, failed) => {{
  clip.addEventListener("loadeddata", done);
  clip.addEventListener("error", () => failed(new Error("a clip can't be played")));
  clip.preload = "auto";
  clip.load();
}}))).then(() => new Promise((done) => setTimeout(done, {SETTLED_MS})))"""
FRAMES, FRAMES_A_SECOND, CLIP_SIZE = 24, 12, (320, 180)

# What is made for the gallery, oldest first: tool, arguments.
HISTORY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("generate_gpt_image", {"prompt": "A poster: Slow Travel, Autumn", "aspect_ratio": "2:3"}),
    ("generate_kling_video", {"prompt": "Fog rolls over the hills", "aspect_ratio": "16:9"}),
    ("generate_flux_image", {"prompt": "Desert dunes at sunset", "aspectRatio": "16:9"}),
    ("generate_music", {"prompt": "A calm piano piece for a rainy evening"}),
    ("generate_seedream_image", {"prompt": "A valley in winter, seen from above", "aspect_ratio": "16:9"}),
    ("generate_veo3_video", {"prompt": "The sun rises over the mountains, birds sing", "aspectRatio": "16:9"}),
    ("generate_nano_banana", {"prompt": "Hills of another planet at dusk", "image_size": "16:9"}),
)
ASKED = "Make a wide picture of a lighthouse above a sea of clouds, at first light. What does it cost?"
CALL = ("generate_nano_banana", {"prompt": "A lighthouse above a sea of clouds, first light", "image_size": "16:9"})


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["pages", "clip"], default="pages")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where they are written")
    chosen = parser.parse_args()
    output: Path = chosen.output or (CLIP.parent if chosen.what == "clip" else PICTURES)
    output.mkdir(parents=True, exist_ok=True)
    if chosen.what == "clip":
        write_clip(output / CLIP.name)
    else:
        with tempfile.TemporaryDirectory() as folder:
            anyio.run(write_pictures, Path(folder), output)


async def write_pictures(folder: Path, output: Path) -> None:
    """Make a history on the sandbox and write a picture of its gallery and one of a chat."""
    with Sandbox(speed=20) as sandbox:
        env = environment(sandbox, folder)
        async with Client(StdioServerParameters(command=sys.executable, args=["-m", "kie_ai_mcp"], env=env)) as client:
            for tool, arguments in HISTORY:
                await make(client, tool, arguments)
            page = await chat(client, folder)
        gallery = folder / "gallery.html"
        command = [sys.executable, "-m", "kie_ai_mcp", "gallery", "--no-open", "--output", str(gallery)]
        await anyio.run_process(command, env={**os.environ, **env})
    chat_page = folder / "chat.html"
    chat_page.write_text(page, encoding="utf-8")
    photograph(gallery, output / "gallery.webp", 1180, 860)
    photograph(chat_page, output / "chat.webp", 760, 1030)


def environment(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """Return the settings of a server that uses the sandbox and keeps everything below a folder."""
    (folder / "config.toml").touch()
    return {
        "KIE_AI_API_KEY": "sandbox",
        "KIE_AI_BASE_URL": sandbox.base_url,
        "KIE_AI_UPLOAD_URL": sandbox.upload_url,
        "KIE_AI_DB_PATH": str(folder / "tasks.db"),
        "KIE_AI_OUTPUT_DIR": str(folder / "kie"),
        "KIE_AI_CONFIG": str(folder / "config.toml"),
        "KIE_AI_MAX_CREDITS_PER_DAY": "2000",
    }


async def make(client: Client, tool: str, arguments: Mapping[str, Any]) -> None:
    """Make something, and wait until its results are saved."""
    task = ((await answered(client, tool, arguments)).structured_content or {})["task_id"]
    waited = await answered(client, "wait_for_tasks", {"task_ids": [task]})
    (record,) = (waited.structured_content or {})["tasks"]
    if record["status"] != "completed":
        raise SystemExit(f"{tool}: {record}")


async def answered(client: Client, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
    """Return the answer to a call; end where it is an error."""
    answer = await client.call_tool(tool, dict(arguments))
    if answer.is_error:
        raise SystemExit(f"{tool}: {answer.content}")
    return answer


# The chat ------------------------------------------------------------------------------------------------------------

STYLE = """
body { margin: 0; padding: 28px 32px; background: #fff; color: #24292f }
body { font: 15px/1.45 "Liberation Sans", Arial, sans-serif }
.person { margin: 0 0 18px auto; padding: 10px 16px; width: fit-content; max-width: 70% }
.person { border-radius: 16px; background: #eef1f5 }
.says { margin: 0 0 18px }
.call { margin: 0 0 14px; border: 1px solid #d8dee4; border-radius: 10px; overflow: hidden; font-size: 13px }
.call > b { display: block; padding: 7px 12px; background: #f6f8fa; border-bottom: 1px solid #d8dee4 }
.call > b::before { content: "\\25B8  "; color: #57606a }
pre { margin: 0; padding: 8px 12px; white-space: pre-wrap }
pre { font: 12.5px/1.5 "DejaVu Sans Mono", "Liberation Mono", monospace }
pre.answer { border-top: 1px solid #eaeef2; color: #1a5e3a }
img { display: block; width: 100%; max-width: 400px; margin: 0 0 14px; border-radius: 10px }
"""
SHOWN = ("Cost", "Model", "Left of the day", "Status", "Saved", "Charged: yes,", "Estimated cost")  # lines of an answer


async def chat(client: Client, folder: Path) -> str:
    """Return a page with what a person asks, the calls that an assistant makes, and the server's own answers."""
    tool, arguments = CALL
    price = await answered(client, "estimate_cost", {"name": tool, "arguments": arguments})
    started = await answered(client, tool, arguments)
    task = (started.structured_content or {})["task_id"]
    waited = await answered(client, "wait_for_tasks", {"task_ids": [task]})
    shown = await answered(client, "show_result", {"task_id": task})
    (picture,) = (part for part in shown.content if isinstance(part, ImageContent))
    (record,) = (waited.structured_content or {})["tasks"]
    cost = price.structured_content or {}
    hide = partial(re.compile(re.escape(str(folder))).sub, "~/Pictures")
    parts = [
        words("person", ASKED),
        card("estimate_cost", {"name": tool, "arguments": arguments}, price, hide),
        words("says", f"It costs {cost['credits']:g} credits, about {100 * cost['dollars']:g} cents. Shall I make it?"),
        words("person", "Yes."),
        card(tool, arguments, started, hide),
        card("wait_for_tasks", {"task_ids": [task]}, waited, hide),
        f'<img src="data:{picture.mime_type};base64,{picture.data}">',
        words("says", f"Here it is. It was charged with {record['credits']:g} credits and is saved in ~/Pictures/kie."),
    ]
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(parts)}"


def words(who: str, text: str) -> str:
    """Return what a person or the assistant says."""
    return f'<p class="{who}">{html.escape(text)}</p>'


def card(tool: str, arguments: Mapping[str, Any], answer: CallToolResult, hide: Callable[[str], str]) -> str:
    """Return one tool call with the lines of its answer that matter most."""
    (text,) = (part.text for part in answer.content if isinstance(part, TextContent))
    lines = "\n".join(line for line in hide(text).splitlines() if line.startswith(SHOWN))
    given = json.dumps(arguments, ensure_ascii=False)
    return (
        f'<div class="call"><b>{tool}</b><pre>{html.escape(given)}</pre>'
        f'<pre class="answer">{html.escape(lines)}</pre></div>'
    )


# The browser ---------------------------------------------------------------------------------------------------------


def photograph(page: Path, target: Path, width: int, height: int) -> None:
    """Write a picture of a page as a browser without a screen shows it, once its clips show their first frames."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"No browser is installed; one of {', '.join(BROWSERS)} is needed.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, Path(folder))
        try:
            browser.look(width, height, scale=2)
            browser.open(page.as_uri())
            browser.ask(LOADED)
            image = browser.screenshot(Path(folder) / "shot.png")
        finally:
            browser.close()
        image.save(target, "WEBP", quality=74, method=6)
    print(f"{target}: {target.stat().st_size:,} bytes")  # noqa: T201


def write_clip(target: Path) -> None:
    """Write two seconds of a landscape in which the sun rises and the hills pass by."""
    with av.open(str(target), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND, options={"crf": "30", "preset": "veryslow"})
        stream.width, stream.height = CLIP_SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            image = landscape("clip", 0, *CLIP_SIZE, moment=number / (FRAMES - 1))
            frame: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    print(f"{target}: {target.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
