"""Media files on disk: their type by their first bytes, and files that are written completely or not at all."""

import glob
import json
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kie_ai_mcp._providers.quarantine import is_running
from kie_ai_mcp.specs import DAY_S, Kind, MediaKind

_HOST = f"{zlib.crc32(socket.gethostname().encode()) & 0xFFFF:04x}"  # processes of another machine may share the folder
HEAD_BYTES = 64  # number of bytes from the start that `format_of` needs


@dataclass(frozen=True)
class Format:
    """One type of media file."""

    kind: Kind | MediaKind
    extension: str
    mime_type: str


_HEIF = Format("image", "heif", "image/heif")
_MOV = Format("video", "mov", "video/quicktime")
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
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][%b]" % _RATES, Format("audio", "mp3", "audio/mpeg")),
    (rb"ADIF|\xff[\xf0\xf1\xf8\xf9]", Format("audio", "aac", "audio/aac")),
    (rb"OggS", Format("audio", "ogg", "audio/ogg")),
    (rb"fLaC", Format("audio", "flac", "audio/flac")),
    (rb"FORM....AIF", Format("audio", "aiff", "audio/aiff")),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format("audio", "wma", "audio/x-ms-wma")),
)

# Brands of the container that begins with `ftyp`: the first that is listed here decides, a general one last.
_BRANDS = (
    (rb"avi[fs]", Format("image", "avif", "image/avif")),
    (rb"hei[cxms]|hev[cxms]", Format("image", "heic", "image/heic")),
    (rb"qt  ", _MOV),
    (rb"M4[ABP] |F4[AB] |aax", Format("audio", "m4a", "audio/mp4")),
    (rb"3g[2pegrst]", Format("video", "3gp", "video/3gpp")),
    (
        rb"iso|mp[4-7]|avc1|hvc1|dash|M4V|MSNV|[fF]4[vVP]|cmf|mmp4|ND|XAVC|piff|dby1",
        Format("video", "mp4", "video/mp4"),
    ),
    (rb"mif|msf1|miaf|jpe|jpgs|j2", _HEIF),
)

# Results that are no media, as they are saved: they have no bytes to be known by.
TEXTS = {".txt": Format("text", "txt", "text/plain"), ".json": Format("text", "json", "application/json")}

# Documents, which are inputs alone: known by the ending of their name, and by how files of that ending begin.
_ZIP, _OLE, _TEXT = rb"PK\x03\x04", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", rb"\xff\xfe|\xfe\xff|[^\0]+\Z"
_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCUMENTS = {
    "pdf": (rb"%PDF-", "application/pdf"),
    "docx": (_ZIP, f"{_OFFICE}.wordprocessingml.document"),
    "xlsx": (_ZIP, f"{_OFFICE}.spreadsheetml.sheet"),
    "pptx": (_ZIP, f"{_OFFICE}.presentationml.presentation"),
    "doc": (_OLE, "application/msword"),
    "xls": (_OLE, "application/vnd.ms-excel"),
    "ppt": (_OLE, "application/vnd.ms-powerpoint"),
    "key": (_ZIP, "application/vnd.apple.keynote"),
    "pages": (_ZIP, "application/vnd.apple.pages"),
    "numbers": (_ZIP, "application/vnd.apple.numbers"),
    "txt": (_TEXT, "text/plain"),
    "md": (_TEXT, "text/markdown"),
}

FORMATS = {form.extension: form for form in (*(form for _, form in (*_SIGNATURES, *_BRANDS)), *TEXTS.values())}
FORMATS["jpeg"] = FORMATS["jpg"]
EXTENSIONS = tuple(FORMATS)


def format_of(head: bytes, name: str = "") -> Format | None:
    """Return the type of a file that begins with `head`; None for anything that is no picture, clip or sound.

    With its `name` it may be a document, too.
    """
    extension = name.rpartition(".")[2].lower()
    if extension in DOCUMENTS and re.match(DOCUMENTS[extension][0], head):
        return Format("file", extension, DOCUMENTS[extension][1])
    if head[4:8] != b"ftyp":
        return next((form for pattern, form in _SIGNATURES if re.match(pattern, head, re.DOTALL)), None)
    brands = [head[at : at + 4] for at in (8, *range(16, min(int.from_bytes(head[:4]), len(head)), 4))]
    forms = [form for brand in brands for pattern, form in _BRANDS if re.match(pattern, brand)]
    # A general brand of pictures may stand before the one that says more.
    pictures = [form for form in forms if form.kind == "image" and form is not _HEIF]
    return pictures[0] if forms[:1] == [_HEIF] and pictures else next(iter(forms), None)


def is_there(path: Path) -> bool:
    """Return whether a path leads to a file; not to one that this program may not look at."""
    try:
        return path.is_file()
    except OSError:
        return False


def format_of_file(path: Path) -> Format | None:
    """Return the type of a file by its first bytes; None if it does not exist, can't be read or is no result."""
    with suppress(OSError, ValueError):
        if path.is_file():
            with path.open("rb") as file:
                return format_of(file.read(HEAD_BYTES)) or TEXTS.get(path.suffix)
    return None


def text_of(data: Any) -> tuple[bytes, Format]:
    """Return a result that is data as a file: text as it is, all else as JSON."""
    if isinstance(data, str):
        return f"{data}\n".encode(errors="replace"), TEXTS[".txt"]
    try:
        text = json.dumps(data, ensure_ascii=False, indent=1)
    except RecursionError:  # JSON on one line may be nested deeper
        text = json.dumps(data, ensure_ascii=False)
    return f"{text}\n".encode(errors="replace"), TEXTS[".json"]


def format_of_url(url: str) -> Format:
    """Return the type of a file by the end of its address or name; of no extension where that says nothing."""
    unknown = Format("image", "", "application/octet-stream")
    return FORMATS.get(url.partition("?")[0].rpartition(".")[2].lower(), unknown)


def is_cut(file: BinaryIO, form: Format) -> bool:
    """Tell whether a file certainly ends before its end. One of a format that does not say where it ends never does."""
    size = file.seek(0, os.SEEK_END)
    if form.extension in {"webp", "wav", "avi", "aiff", "bmp"}:
        at, before = (2, 0) if form.extension == "bmp" else (4, 8)
        file.seek(at)
        length = int.from_bytes(file.read(4), "big" if form.extension == "aiff" else "little")
        return 0 < length < 0xFFFF_FFFF and length + before > size
    if form.extension == "jpg":
        file.seek(2)
        begins = file.read(1) == b"\xff" and int.from_bytes(file.read(3)[1:]) >= 2  # a segment with a length
        file.seek(max(2, size - 4096))
        return begins and b"\xff\xd9" not in file.read()
    if form.extension == "gif":
        file.seek(max(0, size - 1024))
        return not file.read().rstrip(b"\0\r\n").endswith(b"\0;")
    if form.extension == "png":
        return _are_blocks_cut(file, size, at=8, least=12)
    return form.extension in {"avif", "heic", "heif", "m4a", "mov", "mp4", "3gp"} and _are_blocks_cut(file, size)


def _are_blocks_cut(file: BinaryIO, size: int, at: int = 0, least: int = 8) -> bool:
    """Tell whether the chunks of a PNG, or the boxes of a container, end before the last one that must be there."""
    names = set[bytes]()
    while at + 8 <= size:
        file.seek(at)
        length, name = int.from_bytes(file.read(4)), file.read(4)
        if least == 12:  # a chunk's length counts neither its head nor its checksum
            length += least
        elif length == 1:
            length = int.from_bytes(file.read(8))
        if length < least or not name.isascii() or not name.strip().isalnum():
            return False  # to the end of the file, or something else
        names.add(name)
        at += length
        if at > size or name == b"IEND":
            return at > size
    return least == 12 or (b"mdat" in names and names.isdisjoint({b"moov", b"moof", b"meta"}))


@contextmanager
def replacing(path: Path, *, mode: int = 0o666, fsync: bool = False, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Write a file completely or not at all, in place of an earlier one of that name.

    The block writes to a ``.part`` file, which is renamed at its end, with `fsync` once the bytes are on the disk.
    With `exclusive`, raise FileExistsError where anything has that name, which is neither followed nor replaced.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{_HOST}{os.urandom(2).hex()}.part")
    try:
        with open(part, "x+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        try:
            if exclusive:
                path.open("xb").close()
        except FileExistsError:
            if path.is_symlink() or path.stat().st_size:  # an empty file is the claim of a process that died
                raise
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the ``.part`` files of `replacing` whose process died, or that nobody has written to for a day.

    With `name`, only those of the file of that name.
    """
    for part in folder.glob(f"{glob.escape(name)}.*.part" if name else "*.part"):
        if owner := re.search(rf"\.([0-9]+)-({_HOST})?[0-9a-f]+\.part$", part.name):
            with suppress(OSError):
                is_dead = owner[2] and int(owner[1]) != os.getpid() and not is_running(int(owner[1]))
                if is_dead or time.time() - part.stat().st_mtime > DAY_S:
                    part.unlink()


def path_in(text: str) -> Path:
    """Return the path that a text names: plain, in quotes, escaped for a shell, or as a ``file:`` address."""
    if os.path.lexists(text):
        return Path(text)
    bare = text.strip()
    bare = bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`" else bare
    if bare[:5].lower() == "file:":
        return Path(url2pathname(urlsplit(bare).path))
    return Path(bare if os.sep == "\\" else re.sub(r"\\(.)", r"\1", bare))
