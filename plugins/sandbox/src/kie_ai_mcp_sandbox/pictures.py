"""The result files: pictures that show their prompt, and a short clip."""

import io
import struct
from functools import cache
from importlib.resources import files
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

LONG_SIDE = 512
MARGIN = 24

NAMED_SHAPES = {
    "square": "1:1",
    "square_hd": "1:1",
    "portrait_4_3": "3:4",
    "portrait_16_9": "9:16",
    "landscape_4_3": "4:3",
    "landscape_16_9": "16:9",
    "portrait": "9:16",
    "landscape": "16:9",
}
# Pairs of colours that a gradient runs between.
PALETTES = (
    ((32, 40, 92), (232, 122, 92)),
    ((16, 84, 92), (172, 216, 150)),
    ((66, 30, 98), (240, 150, 170)),
    ((24, 58, 112), (120, 200, 226)),
    ((92, 44, 30), (244, 190, 96)),
)


def size(shape: str) -> tuple[int, int]:
    """Width and height for ``16:9``, ``portrait_4_3`` and the like; a square for anything else."""
    width, _, height = NAMED_SHAPES.get(shape, shape).partition(":")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        return LONG_SIDE, LONG_SIDE
    ratio = int(width) / int(height)
    if ratio >= 1:
        return LONG_SIDE, max(round(LONG_SIDE / ratio), 1)
    return max(round(LONG_SIDE * ratio), 1), LONG_SIDE


def picture(
    prompt: str, caption: str, shape: str, extension: str, *, task_id: str, number: int, clear: bool = False
) -> bytes:
    """A PNG, JPEG or WebP with the prompt and a caption on a gradient; every `number` has other colours.

    `clear` ones are transparent where they are dark.

    The task's id stands in the file's own comment, so that a file can be traced to its task.
    """
    width, height = size(shape)
    dark, light = PALETTES[number % len(PALETTES)]
    ramp = Image.linear_gradient("L").rotate(90 * (number % 4)).resize((width, height))
    image = Image.composite(Image.new("RGB", (width, height), light), Image.new("RGB", (width, height), dark), ramp)
    draw = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(24), ImageFont.load_default(13)
    lines = _wrapped(draw, prompt or "(no prompt)", large, width - 2 * MARGIN)
    fitting = max((height - 3 * MARGIN) // 30, 1)
    draw.multiline_text(
        (MARGIN, MARGIN), "\n".join(lines[:fitting]), fill="white", font=large, stroke_width=1, stroke_fill=dark
    )
    draw.text(
        (MARGIN, height - MARGIN), caption, fill="white", font=small, anchor="ls", stroke_width=1, stroke_fill=dark
    )
    if clear:
        image.putalpha(ramp)
    file = io.BytesIO()
    if extension == "png":
        info = PngInfo()
        info.add_text("Task", task_id)
        image.save(file, "PNG", pnginfo=info)
    elif extension == "webp":
        image.save(file, "WEBP", quality=85, xmp=task_id.encode())
    else:
        image.save(file, "JPEG", quality=85, comment=task_id.encode())
    return file.getvalue()


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> list[str]:
    lines = [""]
    for word in text[:400].split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _clip() -> bytes:
    return (files("kie_ai_mcp_sandbox") / "data" / "clip.mp4").read_bytes()


def clip(label: str, extension: str = "mp4") -> bytes:
    """A clip of two seconds, 320x180; the label stands in a box at its end, so no two tasks have the same file."""
    note, content = label.encode(), _clip()
    if extension == "mov":
        content = content[:8] + b"qt  " + content[12:]
    return content + struct.pack(">I", 8 + len(note)) + b"free" + note
