"""Media files on disk: their type by their first bytes, and files that are written completely or not at all."""

import glob
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kie_ai_mcp.specs import Kind

HEAD_BYTES = 16  # number of bytes from the start that `format_of` needs


@dataclass(frozen=True)
class Format:
    """One type of media file."""

    kind: Kind
    extension: str
    mime_type: str


# (offset, bytes there, type); the particular brands of a container stand before the container itself.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", Format("image", "png", "image/png")),
    (0, b"\xff\xd8\xff", Format("image", "jpg", "image/jpeg")),
    (8, b"WEBP", Format("image", "webp", "image/webp")),
    (0, b"GIF8", Format("image", "gif", "image/gif")),
    (4, b"ftypavif", Format("image", "avif", "image/avif")),
    (4, b"ftypqt", Format("video", "mov", "video/quicktime")),
    (4, b"ftypM4A", Format("audio", "m4a", "audio/mp4")),
    (4, b"ftyp", Format("video", "mp4", "video/mp4")),
    (0, b"\x1aE\xdf\xa3", Format("video", "webm", "video/webm")),
    (8, b"WAVE", Format("audio", "wav", "audio/wav")),
    (0, b"ID3", Format("audio", "mp3", "audio/mpeg")),
    (0, b"\xff\xfb", Format("audio", "mp3", "audio/mpeg")),
    (0, b"\xff\xf3", Format("audio", "mp3", "audio/mpeg")),
    (0, b"OggS", Format("audio", "ogg", "audio/ogg")),
    (0, b"fLaC", Format("audio", "flac", "audio/flac")),
)

EXTENSIONS = tuple(dict.fromkeys(entry[2].extension for entry in _SIGNATURES))


def format_of(head: bytes) -> Format | None:
    """Return the type of a file that begins with `head`; None for anything that is no picture, clip or sound."""
    return next((entry for at, magic, entry in _SIGNATURES if head[at : at + len(magic)] == magic), None)


def format_of_file(path: Path) -> Format | None:
    """Return the type of a file by its first bytes; None if it does not exist, can't be read or is no media file."""
    with suppress(OSError, ValueError):
        if path.is_file():
            with path.open("rb") as file:
                return format_of(file.read(HEAD_BYTES))
    return None


def mime_type_of(extension: str) -> str:
    """Return the MIME type of a file by the extension of its name, as `format_of` or a service gave it."""
    types = {entry[2].extension: entry[2].mime_type for entry in _SIGNATURES} | {"jpeg": "image/jpeg"}
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
