"""Small pictures of results, to show in between: of a picture a smaller one, of a clip a frame."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from kie_ai_mcp._media.files import Format
from kie_ai_mcp._media.frames import MOST_PIXELS, frame_of
from kie_ai_mcp.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

PREVIEW_PX = 1024
QUALITIES = (85, 70, 50, 30)
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")


@dataclass(frozen=True)
class Picture:
    """A small picture, in base64."""

    data: str
    mime_type: str


class NoLibrary(Exception):
    """The library that a preview needs is not installed."""


def preview(file: BinaryIO, form: Format, limit: int) -> tuple[Picture, str]:
    """Return a small picture of a result, and what it is.

    Args:
        file: The result; it is closed.
        form: What it is.
        limit: What the picture may weigh as it is sent.

    Raises:
        MediaError: There is nothing to see.
        NoLibrary: Pillow, or for a clip PyAV, is not installed.
    """
    with file:
        if form.kind == "audio":
            raise MediaError("A sound has no picture.", next_step="Open the link.")
        try:
            whole = frame_of(file, form) if form.kind == "video" else _picture(file)
        except ImportError:
            raise NoLibrary from None
    small, encoded = _drawn_down(whole, limit)
    shown = "a frame of the clip" if form.kind == "video" else "a preview"
    note = f"{shown}, {small.width} x {small.height} of {whole.width} x {whole.height} pixels."
    return Picture(encoded, "image/jpeg"), note


def _picture(file: BinaryIO) -> "Image.Image":
    from PIL import Image, ImageOps  # noqa: PLC0415  an optional extra, and heavy

    with Image.open(file, formats=PICTURE_FORMATS) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise MediaError(f"It has {picture.width} x {picture.height} pixels, too many to draw down.")
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        clear = upright.convert("RGBA")
    paper = Image.new("RGB", clear.size, "white")
    paper.paste(clear, mask=clear.getchannel("A"))
    return paper


def _drawn_down(whole: "Image.Image", limit: int) -> tuple["Image.Image", str]:
    """Return a picture as small as it has to be, and the same in base64."""
    side = PREVIEW_PX
    while True:
        small = whole.copy()
        small.thumbnail((side, side))
        for quality in QUALITIES:
            data = io.BytesIO()
            small.save(data, "JPEG", quality=quality, optimize=True)
            encoded = base64.b64encode(data.getvalue()).decode()
            if len(encoded) <= limit:
                return small, encoded
        side //= 2
