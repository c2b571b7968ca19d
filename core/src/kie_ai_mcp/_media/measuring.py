"""Measures of files before they are sent: size, pixels, seconds and the like, compared with what the service takes.

Of a picture the header is read; where it may be transparent and must not, and Pillow is installed, its pixels. Clips
and sounds are opened where PyAV is installed: both are optional extras. A limit on what can't be measured is left to
the service.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from kie_ai_mcp._media.files import FORMATS, Format
from kie_ai_mcp._media.thumbnails import FRAME_BYTES, MOST_BYTES, is_clear, opened
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import Media

MB = 1 << 20  # services do not say which MB they mean, so the larger one counts
SLACK = {"s": 0.1, "fps": 0.1, "mbps": 0.1, "ratio": 0.001}  # by which measures of equal files differ
BY = "{} x {}".format
TREE = re.compile(rb"<<([^<>]*/Type\s*/Pages\b[^<>]*)>>")  # of the pages of a PDF
PACKED = re.compile(rb"/ObjStm\b[^<>]*>>\s*stream\r?\n")  # what comes before packed objects of a PDF


@dataclass(frozen=True)
class Measures:
    """Facts of one file; None, or empty, where one can't be measured."""

    size: int | None = None
    extension: str = ""
    px: tuple[int, int] | None = None
    alpha: bool = False
    seconds: float | None = None
    fps: float | None = None
    codec: str = ""
    pages: int | None = None


NOTHING = Measures()
Measured = Mapping[str, Mapping[str, tuple[str, Measures]]]  # by path and written place: the text, and its file


def formats_of(media: Media | None) -> tuple[str, ...]:
    """Return the types that a service takes there, by our own endings; none where it names none."""
    return tuple(FORMATS[end].extension if end in FORMATS else end for end in media.formats) if media else ()


def measured(file: BinaryIO, form: Format, media: Media | None = None) -> Measures:
    """Return what can be measured of a file, as far as it matters for what a service takes."""
    facts = Measures(file.seek(0, os.SEEK_END), form.extension)
    file.seek(0)
    with suppress(Exception):  # files from outside make readers raise anything, and the service judges them anyway
        if form.kind == "image":
            width, height, alpha = _header(file, form.extension)
            facts = replace(facts, px=(width, height) if width and height else None, alpha=alpha)
            if alpha and media and not media.alpha:  # a screenshot has an alpha channel, and no clear pixel
                return replace(facts, alpha=is_clear(file, form))
            return facts
        if form.kind in {"video", "audio"}:
            return replace(facts, **_played(file, form))
        if form.kind == "file":
            return replace(facts, pages=_pages(file, form.extension))
    return facts


def measured_at(path: Path, form: Format, media: Media | None = None) -> Measures:
    """Return what `measured` does, of the file at a path; nothing where it can't be read."""
    with suppress(OSError), path.open("rb") as file:
        return measured(file, form, media)
    return NOTHING


def faults_of(files: Measured, media: Mapping[str, Media]) -> Iterator[InvalidArgument]:
    """Yield an error for every limit that a file, or the files of an argument together, do not keep."""
    for path, marker in media.items():
        here, other = files.get(path, {}), next(iter(files.get(marker.same_px_as, {}).values()), None)
        for place, (text, file) in here.items():
            yield from (InvalidArgument(place, text, reason) for reason in _faults(file, marker))
            if other and file.px and other[1].px and file.px != other[1].px:
                sizes = f"it has {BY(*file.px)} pixels, and {marker.same_px_as} has {BY(*other[1].px)}"
                yield InvalidArgument(place, text, f"{sizes}; make both the same size")
        for unit, most, slack in (("MB", marker.total_mb, 0.0), ("s", marker.total_s, SLACK["s"] * len(here))):
            total = sum((file.size or 0) / MB if unit == "MB" else file.seconds or 0 for _, file in here.values())
            if most is not None and len(here) > 1 and total > most + slack:
                words = f"together they have {_n(total)} {unit}, the service takes at most {most:g} {unit} there"
                texts = [text for text, _ in here.values()]
                yield InvalidArgument(path.removesuffix("[]"), texts, f"{words}; give fewer or smaller")


def _faults(file: Measures, media: Media) -> Iterator[str]:
    """Yield the reasons why a service does not take a file: what it is, what is taken, and what to do."""
    takes = formats_of(media)
    if takes and file.extension and file.extension not in takes:
        yield f"it is {file.extension.upper()}, the service takes {' or '.join(takes)} there; convert it"
    if media.most_mb is not None and (file.size or 0) > media.most_mb * MB:
        yield f"it is larger than {media.most_mb:g} MB, the most that the service takes there; make it smaller"
    if media.codecs and file.codec and file.codec not in media.codecs:
        yield f"its codec is {file.codec}, the service takes {' or '.join(media.codecs)} there; encode it again"
    if file.alpha and not media.alpha:
        yield "it has transparency, which the service does not take there; save it without, for example as JPEG"
    for name, low, high, fact, unit, cures in _ranges(file):
        least, most = getattr(media, f"least_{name}", None), getattr(media, f"most_{name}")
        slack, (more, _, fewer) = SLACK.get(name, 0), cures.partition("|")
        is_less, is_more = least is not None and low < least - slack, most is not None and high > most + slack
        if is_less or is_more:
            taken = " to ".join(f"{limit:.10g}" for limit in (least, most) if limit is not None)
            taken = taken if None not in {least, most} else f"at {'most' if least is None else 'least'} {taken}"
            yield f"{fact}, the service takes {taken}{unit} there; {more if is_less else fewer or more}"


def _ranges(file: Measures) -> Iterator[tuple[str, float, float, str, str, str]]:
    """Yield each limit's name, the least and the most that the file has of it, words for that, a unit, and cures."""
    if file.px:
        pixels, ratio = file.px[0] * file.px[1], file.px[0] / file.px[1]
        yield "px", min(file.px), max(file.px), f"it has {BY(*file.px)} pixels", " on each side", "resize it"
        yield "pixels", pixels, pixels, f"it has {pixels} pixels in all", "", "make it larger|make it smaller"
        yield "ratio", ratio, ratio, f"its width is {_n(ratio)} times its height", " times", "crop it"
    if file.pages:
        yield "pages", file.pages, file.pages, f"it has {file.pages} pages", "", "give fewer pages"
    if file.fps:
        yield "fps", file.fps, file.fps, f"it has {_n(file.fps)} frames a second", "", "change its frame rate"
    if file.seconds:
        yield "s", file.seconds, file.seconds, f"it lasts {_n(file.seconds)} s", " s", "make it longer|make it shorter"
        rate = (file.size or 0) * 8 / 1_000_000 / file.seconds
        yield "mbps", rate, rate, f"it has {_n(rate)} megabits a second", "", "encode it with more|encode it with fewer"


def _header(file: BinaryIO, extension: str) -> tuple[int, int, bool]:
    """Return a picture's width and height, 0 where it does not say them here, and whether it has transparency."""
    if len(head := file.read(32)) < 30:
        return 0, 0, False

    def number(at: int, size: int = 2, order: Any = "little") -> int:
        return int.from_bytes(head[at : at + size], order)

    match extension, head[12:16]:
        case "png", _:
            is_clear = head[25] in {4, 6} or b"tRNS" in file.read(MB).split(b"IDAT")[0]
            return number(16, 4, "big"), number(20, 4, "big"), is_clear
        case "gif", _:
            return number(6), number(8), False
        case "bmp", _:
            return number(18, 4), abs(int.from_bytes(head[22:26], "little", signed=True)), False
        case "webp", b"VP8X":
            return number(24, 3) + 1, number(27, 3) + 1, bool(head[20] & 16)
        case "webp", b"VP8L":
            bits = number(21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
        case "webp", b"VP8 ":
            return number(26) & 0x3FFF, number(28) & 0x3FFF, False
    file.seek(2)
    while extension == "jpg" and len(head := file.read(9)) == 9 and head[0] == 0xFF:
        if 0xC0 <= head[1] <= 0xCF and head[1] not in {0xC4, 0xC8, 0xCC}:
            return number(7, 2, "big"), number(5, 2, "big"), False
        file.seek(number(2, 2, "big") - 7, os.SEEK_CUR)
    return 0, 0, False


def _played(file: BinaryIO, form: Format) -> dict[str, Any]:
    """Return the facts of a clip or a sound."""
    with opened(file, form) as clip:
        facts: dict[str, Any] = {"seconds": clip.duration / 1_000_000 if clip.duration else None}
        if form.extension in {"mp3", "aac"}:  # their headers do not say how long they last, so packets are counted
            stream = clip.streams.audio[0]
            ticks = sum(packet.duration or 0 for packet in clip.demux(stream))
            facts["seconds"] = float(ticks * stream.time_base) or None
        if form.kind == "audio":  # its cover may be a stream of pictures
            return facts
        stream = clip.streams.video[0]
        px, turned = (stream.width, stream.height), False
        if stream.width * stream.height <= MOST_BYTES // FRAME_BYTES:
            turned = getattr(next(clip.decode(stream), None), "rotation", 0) % 180 != 0
        codec = stream.codec_context.codec.canonical_name.replace("hevc", "h265")
        return facts | {"px": px[::-1] if turned else px, "codec": codec, "fps": float(stream.average_rate or 0)}


def _pages(file: BinaryIO, extension: str) -> int | None:
    """Return the pages of a PDF, or what Word and PowerPoint wrote down; None where it does not say."""
    if extension in {"docx", "pptx"}:
        with zipfile.ZipFile(file) as parts, parts.open("docProps/app.xml") as part:
            pages = re.search(rb"<(?:Pages|Slides)>([0-9]{1,6})<", part.read(100_000))
    else:
        data, unpack = file.read(), zlib.decompressobj
        trees = TREE.findall(data)
        for packed in PACKED.finditer(data):
            with suppress(zlib.error):
                trees += TREE.findall(unpack().decompress(data[packed.end() : packed.end() + MB], 8 * MB))
        # The root counts all pages. A file that was changed has several roots, of which the last counts.
        roots = [tree for tree in trees if b"/Parent" not in tree]
        pages = re.search(rb"/Count\s+([0-9]{1,6})", roots[-1]) if roots else None
    return int(pages[1]) if pages else None


def _n(number: float) -> str:
    return f"{round(number, 2):.10g}"
