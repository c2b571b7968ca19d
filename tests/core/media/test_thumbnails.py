"""Thumbnails: small, upright, in the right colours, for every kind of result that has a picture."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

import kie_ai_mcp_sandbox
from kie_ai_mcp._media import thumbnails as module
from kie_ai_mcp._media.files import HEAD_BYTES, Format, format_of
from kie_ai_mcp._media.thumbnails import preview, thumbnails
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
