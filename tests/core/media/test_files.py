"""Atomic files: written completely or not at all, with the leftovers of processes that died."""

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import kie_ai_mcp_sandbox
from kie_ai_mcp._media.files import HEAD_BYTES, format_of, format_of_file, is_cut, remove_leftovers, replacing

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
        (part,) = names(tmp_path)
        assert part.startswith("a.json.")
        assert part.endswith(".part")
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["a.json"])


@pytest.mark.parametrize("fsync", [False, True])
def test_existing_file_is_replaced(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"a longer old one")
    with replacing(path, fsync=fsync) as file:
        file.write(b"new")
        assert path.read_bytes() == b"a longer old one"
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["a.json"])


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:  # noqa: PT012  the block fails after it has written
        file.write(b"half")
        raise error
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a.json"])


def test_failed_rename_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"), replacing(tmp_path / "taken") as file:
        file.write(b"new")
    assert names(tmp_path) == ["taken"]


@pytest.mark.skipif(os.name != "posix", reason="this system has no permissions of this sort")
def test_private_file_is_never_readable_for_others(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch(0o644)
    with replacing(path, mode=0o600) as file:
        assert stat.S_IMODE(Path(file.name).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert (path.read_bytes(), names(tmp_path)) == (b"first", ["a.json"])


WRITER = """
import sys
from pathlib import Path
from kie_ai_mcp._media.files import replacing
with replacing(Path(sys.argv[1])) as file:
    print(Path(file.name).name, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="this system does not say whether a process is alive")
def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    def write(name: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", WRITER, str(tmp_path / name)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    theirs = {"video.part", "archive.7z.part", f"film.{os.getppid() + 1}.part", "x-1.png"}
    for name in theirs:
        (tmp_path / name).touch()
    with write("dead.png") as dead, write("alive.png") as alive, replacing(tmp_path / "mine.png"):
        assert dead.stdout
        assert alive.stdout
        names_of_parts = dead.stdout.readline().strip(), alive.stdout.readline().strip()
        dead.kill()
        dead.wait()
        before = set(names(tmp_path))
        assert before.issuperset({*theirs, *names_of_parts})
        remove_leftovers(tmp_path)
        assert set(names(tmp_path)) == before - {names_of_parts[0]}
        alive.communicate()


def test_leftover_that_nobody_writes_to_is_removed_after_a_day(tmp_path: Path) -> None:
    old, theirs = tmp_path / "x.png.1-0a1b2c3d.part", tmp_path / "film.mkv.part"
    for path in (old, theirs):
        path.touch()
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [theirs.name]


@pytest.mark.parametrize("plant", ["link", "dangling", "folder", "file"])
def test_name_that_is_taken_is_neither_followed_nor_replaced(plant: str, tmp_path: Path) -> None:
    secret, path = tmp_path / "secret", tmp_path / "a.png"
    secret.write_bytes(b"secret")
    match plant:
        case "link":
            path.symlink_to(secret)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "folder":
            path.mkdir()
        case _:
            path.write_bytes(b"theirs")
    before = names(tmp_path)
    with pytest.raises(FileExistsError), replacing(path, exclusive=True) as file:
        file.write(b"mine")
    assert (names(tmp_path), secret.read_bytes()) == (before, b"secret")


def test_type_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    picture, words = tmp_path / "picture.mp4", tmp_path / "words.png"
    picture.write_bytes(PNG)
    words.write_text("a shopping list", encoding="utf-8")
    form = format_of_file(picture)
    assert form is not None
    assert (form.kind, form.extension) == ("image", "png")
    for other in (words, tmp_path, tmp_path / "nothing.png", Path("\0")):
        assert format_of_file(other) is None


def ftyp(*brands: str) -> bytes:
    """The begin of a file with a main brand and compatible ones."""
    main, *others = (brand.ljust(4).encode() for brand in brands)
    content = b"ftyp" + main + bytes(4) + b"".join(others)
    return (len(content) + 4).to_bytes(4) + content + b"\0\0\1\0meta"


@pytest.mark.parametrize(
    ("head", "kind", "extension"),
    [
        *((ftyp(brand), "image", "heic") for brand in ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs")),
        (ftyp("mif1", "mif1", "heic"), "image", "heic"),
        (ftyp("msf1", "iso8", "msf1", "hevc"), "image", "heic"),
        (ftyp("mif1", "miaf"), "image", "heif"),
        (ftyp("avif"), "image", "avif"),
        (ftyp("avis", "avif", "msf1", "iso8"), "image", "avif"),
        (ftyp("mif1", "avif", "miaf"), "image", "avif"),
        *((ftyp(brand), "video", "mp4") for brand in ("isom", "iso6", "mp41", "mp42", "avc1", "dash", "M4V", "MSNV")),
        (ftyp("XXXX", "YYYY", "isom"), "video", "mp4"),
        *((ftyp(brand), "video", "3gp") for brand in ("3gp4", "3gp5", "3g2a")),
        (ftyp("qt"), "video", "mov"),
        (b"\0\0\0\x08wide\0\0\x10\0mdat", "video", "mov"),
        (b"\0\0\x10\0moov\0\0\0\x6cmvhd", "video", "mov"),
        (b"\x7f\0\x10\0mdat", "video", "mov"),
        *((ftyp(brand, "isom"), "audio", "m4a") for brand in ("M4A", "M4B", "M4P")),
        *((bytes([0xFF, second, 0x90]), "audio", "mp3") for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)),
        *((bytes([0xFF, second, 0x50]), "audio", "aac") for second in (0xF1, 0xF9, 0xF0, 0xF8)),
        (b"ADIF", "audio", "aac"),
        (b"FORM\0\0\x10\0AIFFCOMM", "audio", "aiff"),
        (b"RIFF\0\0\x10\0AVI LIST", "video", "avi"),
        (b"\x1aE\xdf\xa3\x93B\x82\x88matroska", "video", "mkv"),
        (b"\x1aE\xdf\xa3\x93B\x82\x84webm", "video", "webm"),
        (b"BM\x36\x10\0\0\0\0\0\0\x36\0", "image", "bmp"),
        (b"II*\0\x08\0\0\0", "image", "tiff"),
        (b"MM\0*\0\0\0\x08", "image", "tiff"),
    ],
)
def test_type_is_known_by_brand_or_frame(head: bytes, kind: str, extension: str) -> None:
    form = format_of(head)
    assert form is not None
    assert (form.kind, form.extension) == (kind, extension)


@pytest.mark.parametrize(
    "head",
    [
        ftyp("crx"),
        ftyp("XXXX", "YYYY"),
        "free lunch".encode("utf-16"),
        b"The free lunch",
        b"BMW cars",
        b"\xff\xfb\xf0",
        b"\xff\xfb\x9c",
        b"RIFF\0\0\x10\0RMID",
        b"\0" * 64,
    ],
)
def test_what_only_looks_like_a_medium_is_none(head: bytes) -> None:
    assert format_of(head) is None


def picture(form: str) -> bytes:
    data = io.BytesIO()
    Image.effect_noise((120, 90), 80).convert("RGB").save(data, form)
    return data.getvalue()


CLIP = (Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4").read_bytes()
WHOLE = {form: picture(form) for form in ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP")} | {"MP4": CLIP}


def is_cut_short(data: bytes) -> bool:
    form = format_of(data[:HEAD_BYTES])
    assert form is not None
    return is_cut(io.BytesIO(data), form)


@pytest.mark.parametrize("form", WHOLE)
def test_file_that_ends_early_is_cut_and_a_whole_one_never(form: str) -> None:
    whole = WHOLE[form]
    assert not is_cut_short(whole)
    assert not is_cut_short(whole + bytes(7))
    for size in (len(whole) - 1, len(whole) - 12, len(whole) // 2, 200):
        assert is_cut_short(whole[:size]), size


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"\xff\xd8\xff\xe0" + bytes(64),
        b"\x00\x00\x00\x20ftypisom" + bytes(range(256)),
        b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(64),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(64),
        b"\xff\xfb\x90" + bytes(64),
        b"OggS" + bytes(64),
    ],
)
def test_file_that_does_not_say_where_it_ends_is_never_cut(data: bytes) -> None:
    assert not is_cut_short(data)
