"""Measures of files: what pictures, clips and sounds have, and the reasons for which a service would not take them."""

import io
import sys
import wave
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

import kie_ai_mcp_sandbox
from kie_ai_mcp import Media
from kie_ai_mcp._media import thumbnails
from kie_ai_mcp._media.files import HEAD_BYTES, Format, format_of
from kie_ai_mcp._media.measuring import MB, Measures, faults_of, measured

CLIP = (Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4").read_bytes()
CLEAR = Image.new("RGBA", (70, 48), (0, 128, 128, 100))


def picture(image: Image.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def clip(
    form: str = "mp4", codec: str = "libx264", *, size: tuple[int, int] = (320, 180), fps: int = 24, turned: int = 0
) -> bytes:
    """A clip of one second."""
    data = io.BytesIO()
    with av.open(data, "w", format=form) as file:
        stream: Any = file.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        frames: Any = av.VideoFrame
        frame = frames.from_image(Image.new("RGB", size, "teal"))
        for _ in range(fps):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return data.getvalue()


def sound(form: str, codec: str, seconds: float, **options: str) -> bytes:
    """A sound that begins quietly and becomes loud, so that a coder spends more on its end."""
    data = io.BytesIO()
    with av.open(data, "w", format=form) as file:
        stream: Any = file.add_stream(codec, rate=48_000, options=options)
        stream.layout = "mono"
        noise = Image.effect_noise((1024, 1), 100).tobytes()
        for number in range(round(seconds * 48_000 / 1024)):
            frame: Any = av.AudioFrame(format="s16", layout="mono", samples=1024)
            frame.planes[0].update(b"".join(bytes([0, part if number > 60 else 0]) for part in noise))
            frame.rate, frame.pts = 48_000, number * 1024
            for part in resampled(stream, frame):
                file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return data.getvalue()


def resampled(stream: Any, frame: Any) -> list[Any]:
    return av.AudioResampler(stream.format.name, "mono", 48_000).resample(frame)


def waves(seconds: float) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(round(16_000 * seconds)))
    return data.getvalue()


def measures(data: bytes) -> Measures:
    form = format_of(data[:HEAD_BYTES])
    assert form is not None
    return measured(io.BytesIO(data), form)


OPAQUE = CLEAR.convert("RGB")
PALETTE = CLEAR.convert("RGB").convert("P")
PICTURES = {
    "png": (picture(OPAQUE, "PNG"), False),
    "clear png": (picture(CLEAR, "PNG"), True),
    "grey and clear png": (picture(CLEAR.convert("LA"), "PNG"), True),
    "clear colour png": (picture(PALETTE, "PNG", transparency=0, dpi=(72, 72)), True),
    "jpg": (picture(OPAQUE, "JPEG"), False),
    "progressive jpg": (
        picture(OPAQUE, "JPEG", progressive=True, exif=Image.Exif().tobytes(), comment=b"x" * 999),
        False,
    ),
    "gif": (picture(OPAQUE, "GIF"), False),
    "webp": (picture(OPAQUE, "WEBP"), False),
    "lossless webp": (picture(OPAQUE, "WEBP", lossless=True), False),
    "lossless clear webp": (picture(CLEAR, "WEBP", lossless=True), True),
    "clear webp": (picture(CLEAR, "WEBP"), True),
    "bmp": (picture(OPAQUE, "BMP"), False),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_measured_by_its_header_without_any_decoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    data, alpha = PICTURES[name]

    facts = measures(data)

    assert (facts.size, facts.extension, facts.px, facts.alpha) == (
        len(data),
        name.rsplit(maxsplit=1)[-1],
        (70, 48),
        alpha,
    )


SOLID = CLEAR.copy()
SOLID.putalpha(255)
DOT = SOLID.copy()
DOT.putpixel((69, 47), (0, 0, 0, 254))
SHADES = Image.new("RGBA", (256, 1))
SHADES.putdata([(shade, 0, 0, 255) for shade in range(256)])


@pytest.mark.parametrize(
    ("data", "alpha"),
    [
        (picture(SOLID, "PNG"), False),
        (picture(SOLID.convert("LA"), "PNG"), False),
        (picture(SHADES.convert("P"), "PNG", transparency=b"\xff" * 256), False),
        (picture(SOLID, "WEBP", lossless=True, exact=True), False),
        (picture(DOT, "PNG"), True),
        (picture(DOT, "WEBP", lossless=True), True),
        (picture(PALETTE, "PNG", transparency=PALETTE.getpixel((0, 0))), True),
        (picture(PALETTE, "PNG", transparency=255), False),
    ],
)
def test_picture_with_an_alpha_channel_is_transparent_only_where_a_pixel_is(data: bytes, alpha: bool) -> None:
    form = format_of(data[:HEAD_BYTES])
    assert form is not None
    file = io.BytesIO(data)
    assert measured(file, form, Media("image", alpha=False)).alpha is alpha
    assert measured(file, form, Media("image", alpha=False)).size == len(data)


@pytest.mark.parametrize("without", ["Pillow", "its end", "enough memory"])
def test_picture_whose_pixels_can_not_be_looked_at_is_taken_by_its_header(
    without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(SOLID, "PNG")
    if without == "Pillow":
        monkeypatch.setitem(sys.modules, "PIL", None)
    if without == "enough memory":
        monkeypatch.setattr(thumbnails, "MOST_PIXELS", 70 * 48 - 1)
    data = data[:-30] if without == "its end" else data
    form = format_of(data[:HEAD_BYTES])
    assert form is not None
    facts = measured(io.BytesIO(data), form, Media("image", alpha=False))
    assert (facts.px, facts.alpha) == ((70, 48), True)


def test_file_that_ends_or_lies_anywhere_is_measured_without_an_error() -> None:
    for data, _ in PICTURES.values():
        for length in range(16, min(100, len(data))):
            facts = measures(data[:length])
            assert facts.size == length
            assert facts.px in {None, (70, 48)}
            measures(data[:length] + bytes(500))
            measures(data[:length] + b"\xff" * 500)
    for data in (CLIP, CLIP.replace(b"avc1", b"what"), waves(1), sound("mp3", "libmp3lame", 1)):
        measures(data)
        for length in (40, 64, 700, len(data) // 2):
            measures(data[:length])
            measures(data[:length] + b"\xff" * 500)


@pytest.mark.parametrize(
    ("form", "codec", "size", "name"),
    [
        ("mp4", "libx264", (320, 180), "h264"),
        ("mov", "libx265", (180, 320), "h265"),
        ("webm", "libvpx-vp9", (64, 48), "vp9"),
        ("matroska", "mpeg4", (64, 48), "mpeg4"),
        ("avi", "mpeg4", (64, 48), "mpeg4"),
    ],
)
def test_clip_has_its_seconds_pixels_frames_and_codec(form: str, codec: str, size: tuple[int, int], name: str) -> None:
    facts = measures(clip(form, codec, size=size, fps=25))

    assert facts.seconds == pytest.approx(1, abs=0.05)
    assert (facts.px, facts.fps, facts.codec) == (size, 25, name)


def test_clip_of_a_turned_phone_is_as_wide_as_it_is_shown() -> None:
    assert measures(clip(turned=90)).px == (180, 320)
    assert measures(clip(turned=180)).px == (320, 180)


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("mp3", "libmp3lame", {"q": "2"}),
        ("mp3", "libmp3lame", {"b": "64k"}),
        ("adts", "aac", {"b": "48k"}),
        ("ipod", "aac", {}),
        ("ogg", "libopus", {}),
        ("flac", "flac", {}),
        ("aiff", "pcm_s16be", {}),
    ],
)
def test_sound_has_its_seconds(form: str, codec: str, options: dict[str, str]) -> None:
    assert measures(sound(form, codec, 3.3, **options)).seconds == pytest.approx(3.3, abs=0.1)


def test_wave_has_its_seconds() -> None:
    assert measures(waves(2.5)).seconds == 2.5


def test_clip_is_not_measured_without_the_extra_or_where_it_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measures(CLIP[:64] + bytes(900)) == Measures(964, "mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    assert measures(CLIP) == Measures(len(CLIP), "mp4")


def test_clip_too_large_to_be_decoded_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measures(CLIP)
    monkeypatch.setattr(thumbnails, "MOST_BYTES", 0)
    monkeypatch.setattr("kie_ai_mcp._media.measuring.MOST_BYTES", 0)
    assert measures(CLIP) == whole


def document(data: bytes, extension: str) -> int | None:
    return measured(io.BytesIO(data), Format("file", extension, "")).pages


def test_pages_of_a_pdf_are_counted() -> None:
    pages = [Image.new("RGB", (20, 20), colour) for colour in ("teal", "red", "navy")]
    data = picture(pages[0], "PDF", save_all=True, append_images=pages[1:])
    assert document(data, "pdf") == 3
    tree = b"<< /Type /Pages /Kids [3 0 R] /Count 50 >> << /Type/Pages /Parent 1 0 R /Count 9 >>"
    packed = zlib.compress(tree)
    assert document(data + b"1 0 obj << /Type /Pages /Count 2 >> endobj", "pdf") == 2
    assert document(b"%%PDF-1.5 << /Type /ObjStm /Length 99 >>\nstream\r\n%bendstream" % packed, "pdf") == 50
    assert document(b"%PDF-1.5 << /Type /ObjStm >> stream\nendstream", "pdf") is None
    assert document(b"%PDF-1.5", "pdf") is None


def test_pages_of_a_text_and_slides_are_those_that_it_says_itself() -> None:
    for extension, word in (("docx", "Pages"), ("pptx", "Slides")):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as file:
            file.writestr("docProps/app.xml", f"<Properties><{word}>51</{word}></Properties>")
        assert document(data.getvalue(), extension) == 51
        assert document(data.getvalue()[:40], extension) is None
        assert document(data.getvalue().replace(b"app.xml", b"app.xyz"), extension) is None
    assert document(b"a", "txt") is None


# Limits --------------------------------------------------------------------------------------------------------------

MEDIUM = Measures(5 * MB, "mp4", (640, 480), False, 10.0, 30.0, "h264", 7)


def reasons(media: Media | Mapping[str, Media], **files: Measures) -> list[str]:
    marked = {"file": media} if isinstance(media, Media) else media
    measured_ = {path: {path.removesuffix("[]"): (f"/{path}", file)} for path, file in files.items()}
    return [str(fault) for fault in faults_of(measured_, marked)]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"most_mb": 4.9}, "it is larger than 4.9 MB, the most that the service takes there; make it smaller"),
        ({"formats": ("mov", "webm")}, "it is MP4, the service takes mov or webm there; convert it"),
        ({"codecs": ("h265",)}, "its codec is h264, the service takes h265 there; encode it again"),
        ({"least_s": 11}, "it lasts 10 s, the service takes at least 11 s there; make it longer"),
        ({"least_s": 2, "most_s": 8}, "it lasts 10 s, the service takes 2 to 8 s there; make it shorter"),
        (
            {"least_px": 481, "most_px": 6000},
            "it has 640 x 480 pixels, the service takes 481 to 6000 on each side there; resize it",
        ),
        ({"most_px": 639}, "it has 640 x 480 pixels, the service takes at most 639 on each side there; resize it"),
        (
            {"least_pixels": 8_294_400},
            "it has 307200 pixels in all, the service takes at least 8294400 there; make it larger",
        ),
        (
            {"most_pixels": 300_000},
            "it has 307200 pixels in all, the service takes at most 300000 there; make it smaller",
        ),
        (
            {"least_ratio": 0.0625, "most_ratio": 1.3},
            "its width is 1.33 times its height, the service takes 0.0625 to 1.3 times there; crop it",
        ),
        (
            {"least_ratio": 1.5},
            "its width is 1.33 times its height, the service takes at least 1.5 times there; crop it",
        ),
        ({"least_fps": 48}, "it has 30 frames a second, the service takes at least 48 there; change its frame rate"),
        ({"most_fps": 24}, "it has 30 frames a second, the service takes at most 24 there; change its frame rate"),
        ({"most_pages": 6}, "it has 7 pages, the service takes at most 6 there; give fewer pages"),
        ({"least_mbps": 5}, "it has 4.19 megabits a second, the service takes at least 5 there; encode it with more"),
        ({"most_mbps": 4}, "it has 4.19 megabits a second, the service takes at most 4 there; encode it with fewer"),
    ],
)
def test_reason_says_what_it_is_what_is_taken_and_what_to_do(limits: dict[str, Any], reason: str) -> None:
    assert reasons(Media("video", **limits), file=MEDIUM) == [f"file: '/file' is not accepted: {reason}."]
    assert reasons(Media("video", **limits), file=Measures()) == []


def test_file_at_its_limits_is_taken() -> None:
    sides = {"least_px": 480, "most_px": 640, "least_pixels": 307_200, "most_pixels": 307_200}
    ratio = {"least_ratio": 1.333, "most_ratio": 1.334, "least_mbps": 4.2, "most_mbps": 4.2}
    times = {"least_s": 10, "most_s": 10, "least_fps": 30, "most_fps": 30}
    assert reasons(Media("video", most_mb=5, formats=("mp4",), **sides, **ratio, **times), file=MEDIUM) == []  # type: ignore[arg-type]


def test_length_and_frame_rate_that_only_coders_make_different_are_taken() -> None:
    coded = replace(MEDIUM, seconds=15.06, fps=24_000 / 1001)
    assert reasons(Media("video", most_s=15, least_fps=24), file=coded) == []


def test_all_limits_that_one_file_breaks_are_named() -> None:
    limits = Media("image", formats=("jpeg", "png"), alpha=False, most_mb=1, least_px=900, most_ratio=1)
    assert len(reasons(limits, file=replace(MEDIUM, extension="webp", alpha=True))) == 5


def test_files_of_one_argument_are_summed() -> None:
    media = Media("audio", total_s=15, total_mb=9)
    here = {f"sounds[{number}]": (f"/{number}.mp3", MEDIUM) for number in range(2)}

    faults = [str(fault) for fault in faults_of({"sounds[]": here}, {"sounds[]": media})]

    start = 'sounds: ["/0.mp3", "/1.mp3"] is not accepted: together they have'
    assert faults == [
        f"{start} 10 MB, the service takes at most 9 MB there; give fewer or smaller.",
        f"{start} 20 s, the service takes at most 15 s there; give fewer or smaller.",
    ]
    assert [*faults_of({"sounds[]": here}, {"sounds[]": Media("audio", total_s=20, total_mb=10)})] == []


def test_file_must_be_as_large_as_the_one_it_belongs_to() -> None:
    media = {"mask": Media("image", same_px_as="picture"), "picture": Media("image")}

    (reason,) = reasons(media, mask=MEDIUM, picture=replace(MEDIUM, px=(480, 640)))

    assert "it has 640 x 480 pixels, and picture has 480 x 640; make both the same size" in reason
    assert reasons(media, mask=MEDIUM, picture=MEDIUM) == []
    assert reasons(media, mask=MEDIUM, picture=Measures()) == reasons(media, mask=MEDIUM) == []
