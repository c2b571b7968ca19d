"""The result files: landscapes that show their prompt, and a short clip."""

import io
import math
import re
import struct
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any
from zlib import crc32

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

LONG_SIDE = 512
MARGIN = 24

# Two sides, whatever stands between them: 16:9, landscape_16_9, 1024x1536.
SIDES = re.compile(r"(?:.*[^\d.])?(\d+)[:x*×/_](\d+)")
WORDS = {"portrait": (9, 16), "landscape": (16, 9)}  # where they name no sides
Colour = tuple[int, int, int]
# Skies: the colour at the top, the one above the hills, and that of the sun.
SKIES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((38, 44, 96), (240, 138, 96), (255, 226, 170)),
    ((18, 72, 96), (118, 196, 190), (236, 244, 214)),
    ((70, 34, 104), (232, 126, 150), (255, 214, 190)),
    ((24, 52, 110), (112, 176, 226), (230, 244, 252)),
    ((96, 44, 40), (238, 166, 88), (255, 236, 190)),
)
SHADE = (20, 20, 40)  # around letters
STEP = 4  # pixels between two points of a crest
HILLS = 5  # ranges of them, one before the other
RINGS = ((1.9, 0.25), (1.45, 0.5), (1.0, 1.0))  # around the sun: its radius times this, and how much of its colour


def size(shape: str) -> tuple[int, int]:
    """Width and height for ``16:9``, ``portrait_3_2``, ``1024x1536`` and the like; a square for anything else.

    Of two sides behind ``portrait`` or ``landscape`` the word says which is the longer one, whatever their order.
    """
    name = shape.strip().lower()
    sides = SIDES.fullmatch(name)
    width, height = map(int, sides.groups()) if sides else WORDS.get(name, (1, 1))
    if not width or not height:
        return LONG_SIDE, LONG_SIDE
    if name.startswith("portrait"):
        width, height = sorted((width, height))
    elif name.startswith("landscape"):
        height, width = sorted((width, height))
    ratio = width / height
    if ratio >= 1:
        return LONG_SIDE, max(round(LONG_SIDE / ratio), 1)
    return max(round(LONG_SIDE * ratio), 1), LONG_SIDE


def picture(
    prompt: str, caption: str, shape: str, extension: str, *, task_id: str, number: int, clear: bool = False
) -> bytes:
    """A PNG, JPEG or WebP of a landscape with the prompt and a caption; every `number` has other colours.

    `clear` ones are transparent where the sky is dark.

    The task's id stands in the file's own comment, so that a file can be traced to its task.
    """
    width, height = size(shape)
    image = landscape(prompt, number, width, height)
    draw = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(20), ImageFont.load_default(12)
    lines = _wrapped(draw, prompt or "(no prompt)", large, width - 2 * MARGIN)
    fitting = max(height // 4 // 25, 1)
    words = "\n".join(lines[:fitting]) + (" ..." if len(lines) > fitting else "")
    at = (MARGIN, height - MARGIN - 18)
    draw.multiline_text(at, words, fill="white", font=large, anchor="ld", stroke_width=1, stroke_fill=SHADE)
    at = (MARGIN, height - MARGIN)
    draw.text(at, caption, fill="white", font=small, anchor="ls", stroke_width=1, stroke_fill=SHADE)
    if clear:
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
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


def landscape(prompt: str, number: int, width: int, height: int, moment: float = 0.0) -> Image.Image:
    """A sun above ranges of hills, always the same for one prompt and number; `moment` (0 to 1) moves both a little."""
    seed = crc32(prompt.encode())
    draws = Random(seed + number)  # noqa: S311  nothing is kept secret by it
    top, above, sun = SKIES[(seed + number) % len(SKIES)]
    ramp = Image.linear_gradient("L").resize((width, height))
    image = Image.composite(Image.new("RGB", (width, height), above), Image.new("RGB", (width, height), top), ramp)
    draw = ImageDraw.Draw(image)
    side = min(width, height)
    x, y = width * draws.uniform(0.25, 0.75), height * (draws.uniform(0.34, 0.46) - 0.1 * moment)
    radius = side * draws.uniform(0.09, 0.14)
    sky = _between(top, above, y / height)
    for times, share in RINGS:
        reach = radius * times
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=_between(sky, sun, share))
    for hill in range(HILLS):
        waves = [
            (
                draws.uniform(0.03, 0.07) * side / (part + 1),
                draws.uniform(1.6, 3.2) * (part + 1) * math.pi / width,
                draws.uniform(0, math.tau),
            )
            for part in range(5)
        ]
        base, shift = height * (0.52 + 0.11 * hill), moment * width * 0.03 * hill
        crest = [
            (at, base + sum(most * math.sin(often * (at + shift) + begin) for most, often, begin in waves))
            for at in range(0, width + STEP, STEP)
        ]
        colour = _between(_between(above, sun, 0.35), _between(top, (0, 0, 0), 0.35), hill / (HILLS - 1))
        draw.polygon([(0, height), *crest, (width + STEP, height)], fill=colour)
    return image


def _between(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


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
