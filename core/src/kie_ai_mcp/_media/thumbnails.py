"""Thumbnails of results, for `show_result` and the gallery, and pictures made another format for service or caller.

Pillow, PyAV and the decoder of HEIC, an optional extra, are imported when the first is made. Files come from outside:
one at a time is decoded, and none that would take too much memory.
"""

import base64
import io
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

from kie_ai_mcp._media.files import FORMATS, Format, format_of_file, replacing
from kie_ai_mcp._settings.installation import PREVIEW, install_command
from kie_ai_mcp.errors import MediaError
from kie_ai_mcp.specs import ConvertTo

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 80_000_000  # pictures with more are not decoded: a small file can stand for gigabytes
MOST_BYTES = 160_000_000  # memory that decoding may take; the server as a whole stays below 300 MB
CONVERTING_BYTES = 240_000_000  # the same for a process that does nothing else
CONVERTING_S = 30.0
# Names of demuxers, where they are no extensions.
DEMUXERS = {"3gp": "mp4", "m4a": "mp4", "wma": "asf", "webm": "matroska", "mkv": "matroska"}
FRAME_BYTES = 8  # memory for each pixel of a clip's frame
COPY_BYTES = 4  # more for each pixel of a picture with transparency, or that is kept whole
WHOLE_JPEG_BYTES = 11  # for each pixel of a JPEG that can't be made smaller while it is decoded
PILLOW = {"jpg": "JPEG", "heic": "HEIF", "heif": "HEIF"}  # its names of formats, where they are no extensions
PIXEL_BYTES = {"jpg": 1, "gif": 7, "webp": 17, "avif": 16, "heic": 9, "heif": 9}  # memory for a pixel, as measured
OTHER_PIXEL_BYTES = 5.5

PREVIEW_PX = 1024
QUALITIES = (85, 70, 50, 30)

THUMBNAIL_PX = 480
THUMBNAILS = 48  # number of thumbnails on a page: each costs the decoding of its picture
THUMBNAILS_BYTES = 1_500_000  # size limit of all thumbnails on a page together; the pictures after them are linked

_ONE = threading.Lock()


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
        if form.kind not in {"image", "video"}:
            raise MediaError("A sound has no picture.", next_step="Open the link.")
        small, (width, height) = _reduced(file, form, PREVIEW_PX)
    small, encoded = _encoded_below(_opaque(small), limit)
    label = "a frame of the clip" if form.kind == "video" else "a preview"
    return Picture(encoded, "image/jpeg"), f"{label}, {small.width} x {small.height} of {width} x {height} pixels."


def thumbnails(formats: Mapping[Path, Format]) -> dict[Path, str]:
    """Return thumbnails of the first pictures and clips among some files, as ``data:`` addresses.

    A file has none if it can't be decoded, or if Pillow, or for a clip PyAV, is not installed.
    """
    first = [(path, form) for path, form in formats.items() if form.kind in {"image", "video"}][:THUMBNAILS]
    thumbs: dict[Path, str] = {}
    left = THUMBNAILS_BYTES
    for path, form in first:
        with suppress(OSError):
            address = _thumbnail(path, form, path.stat().st_mtime_ns)
            if address is not None and len(address) <= left:
                thumbs[path] = address
                left -= len(address)
    return thumbs


def to_format(target: str, extension: str, clear: str = "", wanted: str = "") -> None:
    """Write the picture at stdin as JPEG, or as `clear` where it has clear parts, without what a camera adds.

    With `wanted` as that, and only if nothing of it is lost: if it is one picture.
    """
    with open(0, "rb") as file:
        picture, _ = _reduced(file, Format("image", extension, ""), None, CONVERTING_BYTES)
    if wanted and extension != "jpg" and picture.info["frames"] > 1:
        raise MediaError(f"It has {picture.info['frames']} frames.")
    keeps = {"quality": 92, "icc_profile": picture.info.get("icc_profile")}
    form = clear if clear and _has_clear(picture) else wanted or "JPEG"
    (_opaque(picture) if form == "JPEG" else picture).save(target, form, **keeps)


def is_clear(file: BinaryIO, form: Format) -> bool:
    """Return whether a picture has a pixel that is not opaque; raise anything where it is too large to be decoded."""
    return _has_clear(_reduced(file, form, None)[0])


def convert(file: BinaryIO, form: Format, target: Path, clear: str = "", wanted: str = "") -> None:
    """Write a picture as `to_format` in a process of its own; raise ValueError, with the cure, where it fails."""
    why = f"not the {wanted} that was asked for" if wanted else "which the service does not take"
    what = f"it is {form.extension.upper()}, {why}"
    if not all(map(find_spec, ("PIL", "pillow_heif") if form.extension.startswith("hei") else ("PIL",))):
        raise ValueError(f"{what}; convert it to JPEG or PNG, or install what does so: {install_command(PREVIEW)}")
    code = "import sys; from kie_ai_mcp._media.thumbnails import to_format; to_format(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(target), form.extension, clear, wanted]
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        with _ONE:
            subprocess.run(command, stdin=file, capture_output=True, timeout=CONVERTING_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        error = (getattr(exc, "stderr", None) or b"").decode(errors="replace").strip().rpartition("\n")[2]
        reason = error.partition(": ")[2][:200].rstrip(".") or "it took too long"
        made = f"it can't be made a {wanted or 'JPEG'} here"
        raise ValueError(f"{what}, and {made}: {reason}; convert it yourself") from exc


def as_asked(path: Path, wanted: Any, kept: list[str]) -> Path:
    """Return the saved picture in the `output_format` of its call; where it stays as it is, add why to `kept`."""
    form, goal = format_of_file(path), FORMATS[wanted] if wanted in get_args(ConvertTo) else None
    if form is None or goal is None or form == goal:
        return path
    target = path.with_suffix(f".{goal.extension}")
    try:
        if form.kind != "image":
            raise ValueError(f"it is {form.extension.upper()}, no picture")
        with path.open("rb") as file, replacing(target, fsync=True) as copy:
            convert(file, form, Path(copy.name), "PNG" if wanted == "png" else "", wanted.upper())
        path.unlink()
    except (OSError, ValueError) as exc:
        if not target.is_file():  # another call may have converted it meanwhile
            kept.append(f"{path.name} stays as the service made it: {exc}.")
            return path
    return target


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


def _reduced(
    file: BinaryIO, form: Format, side: int | None, most_bytes: int = MOST_BYTES
) -> tuple["Image.Image", tuple[int, int]]:
    """Return a picture, or a frame of a clip, at most `side` pixels wide and high, and its full width and height.

    Without `side` the picture is kept whole. Pillow may raise anything where it can't decode it.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  an optional extra, and heavy

    if form.kind == "video":
        return _frame(file, form, side or PREVIEW_PX)
    with _ONE:
        name = PILLOW.get(form.extension, form.extension.upper())
        bytes_of_pixel = PIXEL_BYTES.get(form.extension, OTHER_PIXEL_BYTES)
        if name == "HEIF":
            import pillow_heif  # noqa: PLC0415  the same

            pillow_heif.register_heif_opener(thumbnails=False)
        with warnings.catch_warnings():
            # Pillow warns of a picture that is large enough to be an attack, and refuses one of twice that size.
            warnings.filterwarnings("error", "Image size .* exceeds limit")
            try:
                opened = Image.open(file, formats=[name])
            except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
                raise MediaError(f"The picture has too many pixels for a preview: {exc}") from exc
        with opened:
            if side is None:
                opened.info["frames"] = getattr(opened, "n_frames", 1)
            if name == "JPEG" and (side is None or opened.info.get("progressive") or opened.mode == "CMYK"):
                bytes_of_pixel = WHOLE_JPEG_BYTES
            if opened.has_transparency_data or (side is None and name != "HEIF"):
                bytes_of_pixel += COPY_BYTES
            _check_pixels("picture", opened.size, most_bytes / bytes_of_pixel)
            turned = opened.getexif().get(0x0112, 1) >= 5  # the orientations that exchange width and height
            full = (opened.height, opened.width) if turned else opened.size
            # Only these are reduced smoothly; the colours of a palette, for example, can't be mixed.
            picture: Image.Image = opened if opened.mode in {"L", "RGB", "RGBA"} else _in_colour(opened)
            if side:
                picture.thumbnail((side, side), reducing_gap=2.0)
            return _in_colour(ImageOps.exif_transpose(picture)), full


def _in_colour(picture: "Image.Image") -> "Image.Image":
    if picture.mode.startswith("I"):  # 16 bits of grey
        picture = picture.point(lambda grey: grey / 256).convert("L")
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _has_clear(picture: "Image.Image") -> bool:
    return picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)


def _opaque(picture: "Image.Image") -> "Image.Image":
    if picture.mode != "RGBA":
        return picture
    clear = picture.getchannel("A").point(lambda alpha: 255 - alpha)
    picture = picture.convert("RGB")
    picture.paste("white", None, clear)
    return picture


def _frame(file: BinaryIO, form: Format, side: int) -> tuple["Image.Image", tuple[int, int]]:
    """Return a frame from the first third of a clip, and the clip's width and height: the very first is often black."""
    with opened(file, form) as clip:
        if not clip.streams.video:
            raise MediaError("The clip has no picture.", next_step="Open the link.")
        stream = clip.streams.video[0]
        _check_pixels("clip", (stream.width, stream.height), MOST_BYTES // FRAME_BYTES)
        stream.codec_context.skip_frame = "NONKEY"
        if clip.duration:
            clip.seek(clip.duration // 3)
        frame = next(clip.decode(stream), None)
        if frame is not None:
            full = frame.width, frame.height
            width, height = (max(1, round(length * min(1.0, side / max(full)))) for length in full)
            picture: Image.Image = frame.to_image(width=width, height=height)
            return picture, full
    raise MediaError("The clip has no frame that can be decoded.", next_step="Open the link.")


@contextmanager
def opened(file: BinaryIO, form: Format) -> Iterator[Any]:
    """Open a clip or a sound with PyAV, one at a time; raise MediaError where it can't be read or decoded."""
    import av  # noqa: PLC0415  an optional extra, and heavy

    options = {"max_pixels": str(MOST_BYTES // FRAME_BYTES)}  # a container may say less than its clip has
    try:
        # The demuxer is named, so that nothing is read as a playlist which leads to other files.
        name = DEMUXERS.get(form.extension, form.extension)
        with _ONE, av.open(file, "r", format=name, options=options, metadata_errors="replace") as clip:
            for stream in clip.streams.video:
                if stream.codec_context is None:
                    raise MediaError("The clip's codec is not known here.", next_step="Open the link.")
                stream.codec_context.options = options
                stream.codec_context.thread_count = 1  # each would hold frames of its own
            yield clip
    except av.FFmpegError as exc:
        raise MediaError("The clip could not be decoded.", next_step="Open the link.") from exc


def _check_pixels(noun: str, size: tuple[int, int], most: float) -> None:
    if size[0] * size[1] > min(MOST_PIXELS, most):
        raise MediaError(f"The {noun} has {size[0]} x {size[1]} pixels, too many for a preview or a conversion.")


def _encoded_below(picture: "Image.Image", limit: int) -> tuple["Image.Image", str]:
    """Return a picture, made as small as `limit` needs, and its JPEG in base64."""
    while True:
        for quality in QUALITIES:
            encoded = _encoded(picture, "JPEG", quality=quality, optimize=True)
            if len(encoded) <= limit:
                return picture, encoded
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
