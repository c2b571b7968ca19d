"""Thumbnails: small, upright, in the right colours, for every kind of result that has a picture."""

import base64
import io
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pillow_heif
import pytest
from PIL import Image, ImageCms

import kie_ai_mcp_sandbox
from kie_ai_mcp._media import thumbnails as module
from kie_ai_mcp._media.files import HEAD_BYTES, Format, format_of
from kie_ai_mcp._media.thumbnails import convert, preview, thumbnails
from kie_ai_mcp.errors import MediaError

LIMIT = 300_000
CLIP = (Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4").read_bytes()


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def type_of(data: bytes) -> Format:
    form = format_of(data[:HEAD_BYTES])
    assert form is not None
    return form


def seen(data: bytes, limit: int = LIMIT) -> tuple[Image.Image, str]:
    """The preview of a result, and its description."""
    picture, note = preview(io.BytesIO(data), type_of(data), limit)
    assert picture.mime_type == "image/jpeg"
    assert len(picture.data) <= limit
    return Image.open(io.BytesIO(base64.b64decode(picture.data))), note


def near(colour: object, wanted: tuple[int, int, int]) -> bool:
    assert isinstance(colour, tuple)
    return all(abs(part - want) < 12 for part, want in zip(colour, wanted, strict=True))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_large_picture_of_any_type_is_made_small(form: str) -> None:
    image, note = seen(encoded(Image.new("RGB", (2400, 1200), "teal"), form))
    assert image.size == (1024, 512)
    assert note == "a preview, 1024 x 512 of 2400 x 1200 pixels."
    assert near(image.getpixel((500, 250)), (0, 128, 128))


def test_small_picture_keeps_its_size() -> None:
    image, _ = seen(encoded(Image.new("RGB", (40, 30), "teal"), "PNG"))
    assert image.size == (40, 30)


def test_picture_taken_sideways_is_shown_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image, note = seen(encoded(Image.new("RGB", (2400, 1200), "teal"), "JPEG", exif=exif))
    assert image.size == (512, 1024)
    assert note.endswith("512 x 1024 of 1200 x 2400 pixels.")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_clear_parts_of_a_picture_become_white(mode: str) -> None:
    drawn = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    drawn.paste("black", (0, 0, 32, 64))
    image, _ = seen(encoded(drawn.convert(mode), "PNG"))
    assert near(image.getpixel((8, 32)), (0, 0, 0))
    assert near(image.getpixel((56, 32)), (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "I;16"])
def test_picture_of_another_colour_mode_is_shown(mode: str) -> None:
    image, _ = seen(encoded(Image.new(mode, (2000, 1000)), "JPEG" if mode == "CMYK" else "PNG"))
    assert image.size == (1024, 512)


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    row = b"".join(struct.pack("<H", grey) * 100 for grey in (0, 0x4000, 0xC000))
    shades = Image.frombytes("I;16", (300, 100), row * 100)
    image, _ = seen(encoded(shades, "PNG"))
    for column, grey in enumerate((0, 0x40, 0xC0)):
        assert near(image.getpixel((column * 100 + 50, 50)), (grey, grey, grey))


@pytest.mark.parametrize("form", ["HEIF", "AVIF", "BMP", "TIFF"])
def test_picture_of_a_camera_or_scanner_is_shown(form: str) -> None:
    pillow_heif.register_heif_opener()
    image, note = seen(encoded(Image.new("RGB", (1600, 800), "teal"), form))
    assert (image.size, note) == ((1024, 512), "a preview, 1024 x 512 of 1600 x 800 pixels.")
    assert near(image.getpixel((500, 250)), (0, 128, 128))


def test_picture_is_made_as_small_as_its_limit_needs() -> None:
    noise = Image.effect_noise((1600, 1200), 200)
    generous, _ = seen(encoded(noise, "PNG"))
    strict, _ = seen(encoded(noise, "PNG"), 20_000)
    assert strict.width < generous.width <= 1024
    assert strict.width / strict.height == pytest.approx(4 / 3, abs=0.02)


def test_clip_is_shown_by_a_frame_and_a_sound_by_nothing() -> None:
    image, note = seen(CLIP)
    assert (image.size, note) == ((320, 180), "a frame of the clip, 320 x 180 of 320 x 180 pixels.")
    with pytest.raises(MediaError, match="A sound has no picture"):
        seen(b"ID3" + bytes(40))


@pytest.mark.parametrize("data", [encoded(Image.new("RGB", (300, 200)), "PNG"), CLIP], ids=["picture", "clip"])
def test_result_with_too_many_pixels_is_not_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 100 * 100)
    with pytest.raises(MediaError, match=r"\d+ x \d+ pixels, too many for a preview"):
        seen(data)
    path = tmp_path / "result"
    path.write_bytes(data)
    assert thumbnails({path: type_of(data)}) == {}


def test_thumbnails_keep_clear_parts_and_leave_out_sounds_and_broken_files(tmp_path: Path) -> None:
    clear = encoded(Image.new("RGBA", (900, 600), (0, 0, 0, 0)), "PNG")
    files = {"clear.png": clear, "cut.png": clear[:40], "rain.mp3": b"ID3" + bytes(40)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    made = thumbnails({tmp_path / name: type_of(data) for name, data in files.items()})
    assert list(made) == [tmp_path / "clear.png"]
    image = Image.open(io.BytesIO(base64.b64decode(made[tmp_path / "clear.png"].partition(",")[2])))
    assert (image.size, image.mode) == ((480, 320), "RGBA")


# Limits --------------------------------------------------------------------------------------------------------------


def forged(form: str) -> bytes:
    """A small picture that says to have a hundred times more pixels than are decoded."""
    data = bytearray(
        encoded(Image.new("RGB", (32, 32), "teal"), form, **({"lossless": True} if form == "WEBP" else {}))
    )
    match form:
        case "PNG":
            data[16:24] = struct.pack(">II", 60_000, 60_000)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        case "GIF":
            data[6:10] = struct.pack("<HH", 60_000, 60_000)
        case "BMP":
            data[18:26] = struct.pack("<ii", 60_000, 60_000)
        case "JPEG":
            start = data.index(b"\xff\xc0")
            data[start + 5 : start + 9] = struct.pack(">HH", 65_000, 65_000)
        case "WEBP":  # it can't say more
            data[21:25] = struct.pack("<I", 16_382 | 16_382 << 14)
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "JPEG", "WEBP"])
def test_picture_a_hundred_times_too_large_is_refused_undecoded(form: str) -> None:
    with pytest.raises(MediaError, match="too many pixels for a preview"):
        seen(forged(form))


def clip_of(form: str, size: tuple[int, int], shown: tuple[int, int]) -> bytes:
    """A clip whose container says `size`, with one frame that says `shown`."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as clip:
        stream = clip.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        frame = bytearray(encoded(Image.new("RGB", (32, 32), "teal"), "PNG"))
        frame[16:24] = struct.pack(">II", *shown)
        frame[29:33] = struct.pack(">I", zlib.crc32(frame[12:29]))
        packet = av.Packet(bytes(frame))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1)
        clip.mux(packet)
    return file.getvalue()


def test_clip_a_hundred_times_too_large_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError, match="The clip could not be decoded"):
        seen(clip_of("mov", (320, 180), (16_000, 12_800)))
    monkeypatch.setattr(module, "MOST_BYTES", 320 * 180 * module.FRAME_BYTES // 100)
    with pytest.raises(MediaError, match="320 x 180 pixels, too many for a preview"):
        seen(CLIP)


PEAK = """
import sys
from pathlib import Path
import av, pillow_heif, kie_ai_mcp._app.app, kie_ai_mcp._mcp.server
from kie_ai_mcp._media.files import format_of_file
from kie_ai_mcp._media.thumbnails import preview
for path in map(Path, sys.argv[1:]):
    with path.open("rb") as file:
        preview(file, format_of_file(path), 300_000)
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process is told its own peak")
def test_server_stays_below_300_mb_with_the_largest_picture_it_decodes(tmp_path: Path) -> None:
    assert 0.95 < 4096 * 4096 * (module.OTHER_PIXEL_BYTES + module.COPY_BYTES) / module.MOST_BYTES <= 1
    Image.new("RGBA", (4096, 4096), "teal").save(tmp_path / "clear.png", compress_level=1)
    command = [sys.executable, "-c", PEAK, *map(str, sorted(tmp_path.iterdir()))]
    peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(peak) < 300_000


# Conversion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["HEIF", "AVIF", "BMP", "TIFF"])
def test_picture_becomes_a_jpeg_with_its_colours_and_nothing_of_the_camera(form: str, tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {} if form == "BMP" else {"exif": exif, "icc_profile": profile}
    source = tmp_path / "photo"
    source.write_bytes(encoded(Image.new("RGB", (320, 200), "teal"), form, **options))
    with source.open("rb") as file:
        convert(file, type_of(source.read_bytes()), tmp_path / "photo.jpg")
    with Image.open(tmp_path / "photo.jpg") as image:
        # A BMP has no such word, and a HEIC turns its picture by other means.
        assert (image.format, image.size) == ("JPEG", (200, 320) if form in {"AVIF", "TIFF"} else (320, 200))
        assert near(image.getpixel((100, 100)), (0, 128, 128))
        assert image.info.get("icc_profile") == options.get("icc_profile")
        assert dict(image.getexif()) == {}


def test_conversion_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONVERTING_S", 0.01)
    (tmp_path / "photo.bmp").write_bytes(encoded(Image.new("RGB", (8, 8)), "BMP"))
    with (tmp_path / "photo.bmp").open("rb") as file, pytest.raises(ValueError, match="it took too long"):
        convert(file, type_of((tmp_path / "photo.bmp").read_bytes()), tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (forged("BMP"), "too many pixels"),
        (encoded(Image.new("RGB", (64, 64)), "BMP")[:100], "can't be made a JPEG here: .*truncated"),
    ],
)
def test_picture_that_can_not_be_converted_names_reason_and_cure(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "photo.bmp").write_bytes(data)
    with (tmp_path / "photo.bmp").open("rb") as file, pytest.raises(ValueError, match=reason) as error:
        convert(file, type_of(data), tmp_path / "photo.jpg")
    assert str(error.value).startswith("it is BMP, which the service does not take")
    assert str(error.value).endswith("; convert it yourself")
