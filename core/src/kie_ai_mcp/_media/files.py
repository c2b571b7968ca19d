"""What a media file is, judged by its first bytes and never by its name."""

from dataclasses import dataclass

from kie_ai_mcp.specs import Kind

HEAD_BYTES = 16
"""How many bytes from the start `format_of` needs."""


@dataclass(frozen=True)
class Format:
    """One sort of media file."""

    kind: Kind
    extension: str
    mime_type: str


# (offset, bytes there, what it is); the particular brands of a container stand before the container itself.
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
    """Return what a file that begins with `head` is; None for anything that is no picture, clip or sound."""
    return next((entry for at, magic, entry in _SIGNATURES if head[at : at + len(magic)] == magic), None)


def mime_type_of(extension: str) -> str:
    """Return the MIME type of a file by the ending of its name, as `format_of` or a service gave it."""
    known = {entry[2].extension: entry[2].mime_type for entry in _SIGNATURES} | {"jpeg": "image/jpeg"}
    return known.get(extension.lower().lstrip("."), "application/octet-stream")
