"""Thumbnails of results, for `show_result` and for the gallery: a picture made smaller, or one frame of a clip.

Pillow and PyAV, an optional extra, are imported when the first thumbnail is made.
"""

import base64
import io
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kie_ai_mcp._media.files import Format
from kie_ai_mcp.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 80_000_000  # pictures with more are not decoded: a small file can stand for gigabytes
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")
DEMUXERS = {"mp4": "mp4", "mov": "mov", "webm": "matroska"}

PREVIEW_PX = 1024
QUALITIES = (85, 70, 50, 30)

THUMBNAIL_PX = 480
THUMBNAILS = 48  # number of thumbnails on a page: each costs the decoding of its picture
THUMBNAILS_BYTES = 1_500_000  # size limit of all thumbnails on a page together; the pictures after them are linked
THREADS = 4


@dataclass(frozen=True)
class Picture:
    """A small picture, in base64."""

    data: str
    mime_type: str


def preview(file: BinaryIO, form: Format, limit: int) -> tuple[Picture, str]:
    """Return a small JPEG of a result, at most `limit` bytes in base64, and a description of it; close the file.

    Raise MediaError where it has no picture or too large a one, and ImportError without Pillow, or for a clip PyAV.
    """
    with file:
        if form.kind == "audio":
            raise MediaError("A sound has no picture.", next_step="Open the link.")
        small, (width, height) = _reduced(file, form, PREVIEW_PX)
    if small.mode == "RGBA":
        clear = small.getchannel("A").point(lambda alpha: 255 - alpha)
        small = small.convert("RGB")
        small.paste("white", None, clear)
    small, encoded = _encoded_below(small, limit)
    label = "a frame of the clip" if form.kind == "video" else "a preview"
    return Picture(encoded, "image/jpeg"), f"{label}, {small.width} x {small.height} of {width} x {height} pixels."


def thumbnails(formats: Mapping[Path, Format]) -> dict[Path, str]:
    """Return thumbnails of the first pictures and clips among some files, as ``data:`` addresses.

    A file has none if it can't be decoded, or if Pillow, or for a clip PyAV, is not installed.
    """
    first = [(path, form) for path, form in formats.items() if form.kind != "audio"][:THUMBNAILS]
    thumbs: dict[Path, str] = {}
    left = THUMBNAILS_BYTES
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        # Pillow only warns of a picture that is large enough to be an attack.
        warnings.filterwarnings("error", "Image size .* exceeds limit")
        for (path, _), address in zip(first, pool.map(_thumbnail_of, first), strict=True):
            if address is not None and len(address) <= left:
                thumbs[path] = address
                left -= len(address)
    return thumbs


def _thumbnail_of(file: tuple[Path, Format]) -> str | None:
    with suppress(OSError):
        return _thumbnail(*file, file[0].stat().st_mtime_ns)
    return None


@lru_cache(maxsize=2 * THUMBNAILS)
def _thumbnail(path: Path, form: Format, _changed_ns: int) -> str | None:
    try:
        with path.open("rb") as file:
            small, _ = _reduced(file, form, THUMBNAIL_PX)
        return f"data:image/webp;base64,{_encoded(small, 'WEBP', quality=70, method=2)}"
    except Exception:  # noqa: BLE001  decoders raise anything, and the page is complete without a thumbnail
        return None


def _encoded(picture: "Image.Image", form: str, **options: Any) -> str:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return base64.b64encode(data.getvalue()).decode()


def _reduced(file: BinaryIO, form: Format, side: int) -> tuple["Image.Image", tuple[int, int]]:
    """Return a picture, or a frame of a clip, at most `side` pixels wide and high, and its full width and height.

    Pillow may raise anything where it can't decode the picture.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  an optional extra, and heavy

    if form.kind == "video":
        frame = _frame(file, form)
        full = frame.size
        frame.thumbnail((side, side), reducing_gap=2.0)
        return frame, full
    with Image.open(file, formats=PICTURE_FORMATS) as opened:
        _check_pixels("picture", opened.width, opened.height)
        turned = opened.getexif().get(0x0112, 1) >= 5  # the orientations that exchange width and height
        full = (opened.height, opened.width) if turned else opened.size
        # Only these are reduced smoothly; the colours of a palette, for example, can't be mixed.
        picture: Image.Image = opened if opened.mode in {"L", "RGB", "RGBA"} else _in_colour(opened)
        picture.thumbnail((side, side), reducing_gap=2.0)
        return _in_colour(ImageOps.exif_transpose(picture)), full


def _in_colour(picture: "Image.Image") -> "Image.Image":
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _frame(file: BinaryIO, form: Format) -> "Image.Image":
    """Return a frame from the first third of a clip: the very first is often black."""
    import av  # noqa: PLC0415  an optional extra, and heavy

    try:
        # The demuxer is named, so that nothing is read as a playlist which leads to other files.
        with av.open(file, mode="r", format=DEMUXERS[form.extension]) as clip:
            if not clip.streams.video:
                raise MediaError("The clip has no picture.", next_step="Open the link.")
            stream = clip.streams.video[0]
            _check_pixels("clip", stream.width, stream.height)
            if clip.duration:
                clip.seek(clip.duration // 3)
            frame: Any = next(clip.decode(stream), None)  # some versions of PyAV have no types for its methods
            if frame is not None:
                picture: Image.Image = frame.to_image()
                return picture
    except av.FFmpegError as exc:
        raise MediaError("The clip could not be decoded.", next_step="Open the link.") from exc
    raise MediaError("The clip has no frame that can be decoded.", next_step="Open the link.")


def _check_pixels(noun: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise MediaError(f"The {noun} has {width} x {height} pixels, too many for a preview.")


def _encoded_below(picture: "Image.Image", limit: int) -> tuple["Image.Image", str]:
    """Return a picture, made as small as `limit` needs, and its JPEG in base64."""
    while True:
        for quality in QUALITIES:
            encoded = _encoded(picture, "JPEG", quality=quality, optimize=True)
            if len(encoded) <= limit:
                return picture, encoded
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
