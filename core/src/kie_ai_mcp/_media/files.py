"""Media files on disk: their type by their first bytes, and files that are written completely or not at all."""

import glob
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kie_ai_mcp.specs import Kind

HEAD_BYTES = 64  # number of bytes from the start that `format_of` needs


@dataclass(frozen=True)
class Format:
    """One type of media file."""

    kind: Kind
    extension: str
    mime_type: str


_AAC, _M4A = Format("audio", "aac", "audio/aac"), Format("audio", "m4a", "audio/mp4")
_HEIC, _HEIF = Format("image", "heic", "image/heic"), Format("image", "heif", "image/heif")
_MOV = Format("video", "mov", "video/quicktime")
_MP3 = Format("audio", "mp3", "audio/mpeg")
_RATES = re.escape(bytes(byte for byte in range(0xF0) if byte & 0x0C != 0x0C))

_SIGNATURES = (
    (rb"\x89PNG\r\n\x1a\n", Format("image", "png", "image/png")),
    (rb"\xff\xd8\xff", Format("image", "jpg", "image/jpeg")),
    (rb"RIFF....WEBP", Format("image", "webp", "image/webp")),
    (rb"GIF8", Format("image", "gif", "image/gif")),
    (rb"BM....\0\0\0\0", Format("image", "bmp", "image/bmp")),
    (rb"II\*\0|MM\0\*", Format("image", "tiff", "image/tiff")),
    (rb"\x1aE\xdf\xa3.*matroska", Format("video", "mkv", "video/x-matroska")),
    (rb"\x1aE\xdf\xa3", Format("video", "webm", "video/webm")),
    (rb"RIFF....AVI ", Format("video", "avi", "video/x-msvideo")),
    (rb"\0...(moov|wide|pnot|free|skip)|....mdat", _MOV),  # QuickTime of the time before `ftyp`
    (rb"RIFF....WAVE", Format("audio", "wav", "audio/wav")),
    # Frames without a tag before them: sync word, layer, and of MP3 the rates that exist.
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][%b]" % _RATES, _MP3),
    (rb"ADIF|\xff[\xf0\xf1\xf8\xf9]", _AAC),
    (rb"OggS", Format("audio", "ogg", "audio/ogg")),
    (rb"fLaC", Format("audio", "flac", "audio/flac")),
    (rb"FORM....AIF", Format("audio", "aiff", "audio/aiff")),
)

# Brands of the container that begins with `ftyp`: the first that is listed here decides, a general one last.
_BRANDS = (
    (rb"avi[fs]", Format("image", "avif", "image/avif")),
    (rb"hei[cxms]|hev[cxms]", _HEIC),
    (rb"qt  ", _MOV),
    (rb"M4[ABP] |F4[AB] |aax", _M4A),
    (rb"3g[2pegrst]", Format("video", "3gp", "video/3gpp")),
    (
        rb"iso|mp[4-7]|avc1|hvc1|dash|M4V|MSNV|[fF]4[vVP]|cmf|mmp4|ND|XAVC|piff|dby1",
        Format("video", "mp4", "video/mp4"),
    ),
    (rb"mif|msf1|miaf|jpe|jpgs|j2", _HEIF),
)

EXTENSIONS = tuple(dict.fromkeys(form.extension for _, form in (*_SIGNATURES, *_BRANDS)))


def format_of(head: bytes) -> Format | None:
    """Return the type of a file that begins with `head`; None for anything that is no picture, clip or sound."""
    if head[4:8] != b"ftyp":
        return next((form for pattern, form in _SIGNATURES if re.match(pattern, head, re.DOTALL)), None)
    brands = [head[at : at + 4] for at in (8, *range(16, min(int.from_bytes(head[:4]), len(head)), 4))]
    forms = [form for brand in brands for pattern, form in _BRANDS if re.match(pattern, brand)]
    # A general brand of pictures may stand before the one that says more.
    pictures = [form for form in forms if form.kind == "image" and form is not _HEIF]
    return pictures[0] if forms[:1] == [_HEIF] and pictures else next(iter(forms), None)


def format_of_file(path: Path) -> Format | None:
    """Return the type of a file by its first bytes; None if it does not exist, can't be read or is no media file."""
    with suppress(OSError, ValueError):
        if path.is_file():
            with path.open("rb") as file:
                return format_of(file.read(HEAD_BYTES))
    return None


def mime_type_of(extension: str) -> str:
    """Return the MIME type of a file by the extension of its name, as `format_of` or a service gave it."""
    types = {form.extension: form.mime_type for _, form in (*_SIGNATURES, *_BRANDS)} | {"jpeg": "image/jpeg"}
    return types.get(extension.lower().lstrip("."), "application/octet-stream")


@contextmanager
def replacing(path: Path, *, mode: int = 0o666, fsync: bool = False) -> Iterator[BinaryIO]:
    """Write a file completely or not at all, in place of an earlier one of that name.

    The block writes to a ``.part`` file, which is renamed at its end, with `fsync` once the bytes are on the disk.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def remove_leftovers(folder: Path, stem: str) -> None:
    """Remove the ``.part`` files, of names that begin with `stem`, whose process died before the rename."""
    for part in folder.glob(f"{glob.escape(stem)}.*.part"):
        owner = part.name.split(".")[-2].partition("-")[0]
        if owner.isdecimal() and int(owner) != os.getpid() and not _alive(int(owner)):
            part.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if sys.platform == "win32":  # there the question itself would end the process
        return True
    try:
        os.kill(process, 0)
    except OSError as exc:
        return not isinstance(exc, ProcessLookupError)
    return True
