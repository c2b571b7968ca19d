"""Saved results: complete or absent, named safely, never over another file."""

import io
import json
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from kie_ai_mcp._media.saving import copied, save_results
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp.errors import MediaError
from kie_ai_mcp.specs import LONGEST_KEEP_S

if TYPE_CHECKING:
    from tests.core.conftest import Line, Raw

pytestmark = pytest.mark.anyio

MakeGateway = Callable[..., Caller]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(range(256))
DAY = datetime(2026, 4, 20, 23, 59, tzinfo=UTC)


def record(*urls: str, task_id: str = "t-1", provider: str = "veo3") -> TaskRecord:
    return TaskRecord(
        task_id,
        "veo3",
        provider,
        kind="video",
        tool="generate_veo3_video",
        model="veo3_fast",
        status="completed",
        created_at=DAY,
        updated_at=DAY,
        result_urls=urls,
        credits=63.5,
        finished_at=DAY,
        keeps_s=LONGEST_KEEP_S,
    )


async def saved_files(*given: Any) -> tuple[str, ...]:
    """Save results and return their files; raise what went wrong."""
    saved = await save_results(*given)
    if saved.notes:
        raise MediaError(saved.notes[0])
    return saved.files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files_below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def mode(file: str) -> int:
    return stat.S_IMODE(Path(file).stat().st_mode)


def content(file: str) -> bytes:
    return Path(file).read_bytes()


def written(folder: Path) -> dict[str, int]:
    """When each file was written last."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def lock(folder: Path) -> None:
    """Make it read-only."""
    folder.chmod(0o555)


async def test_results_are_saved_whole_under_date_provider_task_and_place(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "not" / "yet" / "there"
    service.expect_request("/one").respond_with_data(PNG)
    service.expect_request("/two").respond_with_data(MP4)

    files = await saved_files(
        make_gateway(service.url_for("")), record(service.url_for("/one"), service.url_for("/two")), folder, {}
    )

    assert files == (str(folder / "2026-04-20-veo3-t-1-1.png"), str(folder / "2026-04-20-veo3-t-1-2.mp4"))
    assert [content(file) for file in files] == [PNG, MP4]
    assert names(folder) == sorted(
        [*(Path(file).name for file in files), *(f"{Path(file).name}.json" for file in files)]
    )


async def test_sidecar_says_where_the_file_comes_from(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path, key: str
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    url = service.url_for("/one")

    (file,) = await saved_files(make_gateway(service.url_for("")), record(url), tmp_path, {"prompt": "ein Füchslein"})

    text = content(f"{file}.json").decode()
    origin = json.loads(text)
    assert datetime.fromisoformat(origin.pop("saved_at")).tzinfo is not None
    assert origin == {
        "task_id": "t-1",
        "provider": "veo3",
        "tool": "generate_veo3_video",
        "api_type": "veo3",
        "model": "veo3_fast",
        "arguments": {"prompt": "ein Füchslein"},
        "credits": 63.5,
        "unit": "credits",
        "source_url": url,
        "created_at": DAY.isoformat(),
    }
    assert "Füchslein" in text
    assert key not in text


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
        (b"GIF89a\0;", "gif"),
        (b"\x00\x00\x00\x20ftypavif", "avif"),
        (b"\x00\x00\x00\x20ftypisom", "mp4"),
        (b"\x00\x00\x00\x20ftypqt  ", "mov"),
        (b"\x00\x00\x00\x20ftypM4A ", "m4a"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90", "mp3"),
        (b"OggS", "ogg"),
        (b"fLaC", "flac"),
    ],
)
async def test_extension_comes_from_the_bytes_and_from_nothing_else(
    head: bytes, extension: str, service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/a.exe").respond_with_data(
        head + bytes(64), content_type="text/html", headers={"Content-Disposition": 'attachment; filename="b.sh"'}
    )

    (file,) = await saved_files(
        make_gateway(service.url_for("")), record(service.url_for("/a.exe?c=d.bat")), tmp_path, {}
    )

    assert Path(file).name == f"2026-04-20-veo3-t-1-1.{extension}"


async def test_first_bytes_may_come_in_pieces(raw: "Raw", make_gateway: MakeGateway, tmp_path: Path) -> None:
    def dribbles(line: "Line") -> None:
        line.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(PNG)}\r\n\r\n")
        for byte in PNG[:12]:
            line.send(bytes([byte]))
            line.stall(0.002)
        line.send(PNG[12:])

    url, _ = raw(dribbles)

    (file,) = await saved_files(make_gateway(url), record(f"{url}/a"), tmp_path, {})

    assert content(file) == PNG


@pytest.mark.parametrize(
    "body", [b"", b"<html>expired</html>", b'{"code": 404}', b"#!/bin/sh\n", b"MZ\x90\x00", b"%PDF-1.7", b"\x89PN"]
)
async def test_what_is_no_picture_clip_or_sound_is_not_saved(
    body: bytes, service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/a.png").respond_with_data(body, content_type="image/png")

    with pytest.raises(MediaError) as error:
        await saved_files(make_gateway(service.url_for("")), record(service.url_for("/a.png")), tmp_path, {})

    assert "is not a picture, clip or sound" in error.value.message
    assert "Open the link in a browser" in error.value.message
    assert names(tmp_path) == []


def cuts(line: "Line") -> None:
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + PNG)


def resets(line: "Line") -> None:
    cuts(line)
    line.reset()


def stalls(line: "Line") -> None:
    cuts(line)
    line.stall()


def swells(line: "Line") -> None:
    line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PNG)
    for _ in range(64):
        line.send(bytes(65_536))


@pytest.mark.parametrize("talk", [cuts, resets, stalls, swells])
async def test_broken_download_leaves_nothing_and_what_was_saved_before_stays(
    talk: Callable[["Line"], None], service: HTTPServer, raw: "Raw", make_gateway: MakeGateway, tmp_path: Path
) -> None:
    url, _ = raw(talk)
    service.expect_request("/one").respond_with_data(PNG)
    gateway = make_gateway(url, timeout=300, max_download_mb=1, trusted_hosts=(f"{service.host}:{service.port}",))

    with pytest.raises(MediaError):
        await saved_files(gateway, record(service.url_for("/one"), f"{url}/a.png"), tmp_path, {})

    assert names(tmp_path) == ["2026-04-20-veo3-t-1-1.png", "2026-04-20-veo3-t-1-1.png.json"]


@pytest.mark.parametrize("talk", [cuts, resets, stalls, swells, None])
@pytest.mark.parametrize("broken", [1, 4])
async def test_broken_result_is_named_and_all_others_are_saved(
    talk: Callable[["Line"], None] | None,
    broken: int,
    service: HTTPServer,
    raw: "Raw",
    make_gateway: MakeGateway,
    tmp_path: Path,
) -> None:
    url = raw(talk)[0] if talk else service.url_for("/gone")
    service.expect_request("/gone/a.png").respond_with_data("gone", 404)
    service.expect_request("/one").respond_with_data(PNG)
    gateway = make_gateway(url, timeout=1000, max_download_mb=1, trusted_hosts=(f"{service.host}:{service.port}",))
    urls = [service.url_for("/one")] * 4
    urls[broken - 1] = f"{url}/a.png"

    saved = await save_results(gateway, record(*urls), tmp_path, {})

    assert [bool(file) for file in saved.files] == [number != broken for number in (1, 2, 3, 4)]
    assert all(content(file) == PNG for file in saved.files if file)
    (note,) = saved.notes
    assert note.startswith(f"Result {broken} of 4: ")
    assert urls[broken - 1][:40] in note


async def test_next_save_fetches_only_what_is_missing(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/two").respond_with_data(PNG)
    done = replace(record("http://127.0.0.1:1/a", service.url_for("/two")), files=("/elsewhere/mine.png",))

    saved = await save_results(make_gateway(service.url_for("")), done, tmp_path, {})

    assert saved.files == ("/elsewhere/mine.png", str(tmp_path / "2026-04-20-veo3-t-1-2.png"))


async def test_cancelled_download_leaves_nothing(raw: "Raw", make_gateway: MakeGateway, tmp_path: Path) -> None:
    url, received = raw(stalls)

    async with anyio.create_task_group() as group:
        group.start_soon(saved_files, make_gateway(url), record(f"{url}/a.png"), tmp_path, {})
        with anyio.fail_after(5):
            while not [name for name in names(tmp_path) if name.endswith(".part")]:  # noqa: ASYNC110  no event tells
                await anyio.sleep(0.005)
        group.cancel_scope.cancel()

    assert len(received) == 1
    assert names(tmp_path) == []


async def test_saving_again_fetches_and_changes_nothing(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    gateway, done = make_gateway(service.url_for("")), record(service.url_for("/one"))
    first = await saved_files(gateway, done, tmp_path, {})
    before = written(tmp_path)

    assert await saved_files(gateway, done, tmp_path, {}) == first
    assert written(tmp_path) == before
    assert len(service.log) == 1


async def test_empty_file_of_a_process_that_died_is_no_result(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    (tmp_path / "2026-04-20-veo3-t-1-1.png").touch()

    (file,) = await saved_files(make_gateway(service.url_for("")), record(service.url_for("/one")), tmp_path, {})

    assert content(file) == PNG


@pytest.mark.parametrize("extension", ["png", "mp4", "wav"])
async def test_file_that_is_there_is_never_written_over(
    extension: str, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    theirs = tmp_path / f"2026-04-20-veo3-t-1-1.{extension}"
    theirs.write_bytes(b"mine")

    files = await saved_files(make_gateway("http://127.0.0.1:1"), record("http://127.0.0.1:1/a.png"), tmp_path, {})

    assert files == (str(theirs),)
    assert theirs.read_bytes() == b"mine"


async def test_file_that_lost_its_sidecar_in_a_crash_is_given_one(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    gateway, done = make_gateway(service.url_for("")), record(service.url_for("/one"))
    (file,) = await saved_files(gateway, done, tmp_path, {"prompt": "a fox"})
    (tmp_path / f"{file}.json").unlink()

    await saved_files(gateway, done, tmp_path, {"prompt": "a fox"})

    assert json.loads(content(f"{file}.json"))["arguments"] == {"prompt": "a fox"}


@pytest.mark.skipif(os.name != "posix", reason="this system has no permissions of this sort")
async def test_sidecar_is_for_its_owner_alone(service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path) -> None:
    service.expect_request("/one").respond_with_data(PNG)

    (file,) = await saved_files(make_gateway(service.url_for("")), record(service.url_for("/one")), tmp_path, {})

    assert mode(f"{file}.json") == 0o600


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A fox reads a book", "a-fox-reads-a-book"),
        ("A fox, reading: “Moby-Dick” in the old library of Alexandria", "a-fox-reading-moby-dick-in-the-old"),
        ("../../etc/passwd\x00\n", "etc-passwd"),
        ("CON", "con"),
        ("\u202egnp.exe", "gnp-exe"),
        ("一只狐狸在读书", "一只狐狸在读书"),
        ("狐" * 40, "狐" * 13),
        ("u\u0308ber", "über"),
        ("x" * 300, "x" * 40),
        ("🦊🦊", ""),
        ("[not stored]", ""),
        (None, ""),
        (["a"], ""),
    ],
)
async def test_file_name_holds_the_first_words_of_the_prompt(
    prompt: object, name: str, service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    done, given = record(service.url_for("/one")), {"prompt": prompt}

    (file,) = await saved_files(make_gateway(service.url_for("")), done, tmp_path, given)

    assert Path(file).name == f"2026-04-20-{name}-veo3-t-1-1.png".replace("--", "-")
    assert await saved_files(make_gateway(service.url_for("")), done, tmp_path, given) == (file,)


async def test_prompt_that_is_not_stored_is_in_no_file_name(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    caller, done = make_gateway(service.url_for(""), store_prompts=False), record(service.url_for("/one"))

    (file,) = await saved_files(caller, done, tmp_path, {"prompt": "a secret"})

    assert Path(file).name == "2026-04-20-veo3-t-1-1.png"


async def test_download_that_ends_early_is_told_kept_aside_and_tried_again(
    raw: "Raw", make_gateway: MakeGateway, tmp_path: Path
) -> None:
    whole = (tmp_path / "whole.png").with_suffix(".png")
    Image.effect_noise((60, 40), 80).save(whole)
    data = content(str(whole))
    pieces = iter([data[:-30], data])
    url, _ = raw(lambda line: line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + next(pieces)))
    folder, done = tmp_path / "out", record(f"{url}/a")

    saved = await save_results(make_gateway(url), done, folder, {})

    assert saved.files == ("",)
    assert "ends before its end" in saved.notes[0]
    assert names(folder) == ["2026-04-20-veo3-t-1-1-cut.png"]
    assert content(str(folder / names(folder)[0])) == data[:-30]
    (file,) = await saved_files(make_gateway(url), done, folder, {})
    assert content(file) == data


@pytest.mark.parametrize("target", ["secret.png", "nothing.png"])
async def test_link_planted_under_a_coming_name_is_not_followed_or_replaced(
    target: str, service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    secret, link = tmp_path / "secret.png", tmp_path / "2026-04-20-veo3-t-1-1.png"
    secret.write_bytes(b"secret")
    link.symlink_to(tmp_path / target)

    saved = await save_results(make_gateway(service.url_for("")), record(service.url_for("/one")), tmp_path, {})

    assert saved.files == ("",)
    assert f"{link} is a link" in saved.notes[0]
    assert (names(tmp_path), secret.read_bytes()) == ([link.name, secret.name], b"secret")


async def test_label_distinguishes_two_results_of_one_task(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(MP4)
    gateway, done = make_gateway(service.url_for("")), record(service.url_for("/one"))

    (plain,) = await saved_files(gateway, done, tmp_path, {})
    (labelled,) = await saved_files(gateway, done, tmp_path, {}, "1080p")

    assert (Path(plain).name, Path(labelled).name) == ("2026-04-20-veo3-t-1-1.mp4", "2026-04-20-veo3-t-1-1080p-1.mp4")


async def test_label_of_a_result_stands_in_the_name_of_its_file(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(MP4)
    done = replace(record(*[service.url_for("/one")] * 2), labels=("", "whole ../film"))

    files = await saved_files(make_gateway(service.url_for("")), done, tmp_path, {})

    assert names(tmp_path)[::2] == ["2026-04-20-veo3-t-1-1.mp4", "2026-04-20-veo3-t-1-whole-film-2.mp4"]
    assert sorted(Path(file).name for file in files) == names(tmp_path)[::2]


async def test_title_in_any_script_is_cut_for_the_name_of_its_file(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(MP4)
    done = replace(record(service.url_for("/one")), labels=(f"Полночь {'и дождь ' * 20}",))

    (file,) = await saved_files(make_gateway(service.url_for("")), done, tmp_path, {})

    assert Path(file).name == "2026-04-20-veo3-t-1-полночь-и-дождь-и-1.mp4"


@pytest.mark.parametrize(
    ("data", "extension", "expected"),
    [("[Verse]\nрегн", "txt", "[Verse]\nрегн\n"), ({"notes": ["é"]}, "json", '{\n "notes": [\n  "é"\n ]\n}\n')],
)
async def test_data_is_saved_after_the_other_results_with_a_sidecar(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path, data: object, extension: str, expected: str
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    done, gateway = replace(record(service.url_for("/one")), data=data), make_gateway(service.url_for(""))

    files = await saved_files(gateway, done, tmp_path, {"prompt": "rain"})

    assert [Path(file).name for file in files] == [
        "2026-04-20-rain-veo3-t-1-1.png",
        f"2026-04-20-rain-veo3-t-1-2.{extension}",
    ]
    assert content(files[1]).decode() == expected
    sidecar = tmp_path / f"2026-04-20-rain-veo3-t-1-2.{'about' if extension == 'json' else extension}.json"
    assert json.loads(sidecar.read_bytes())["task_id"] == "t-1"
    times = written(tmp_path)
    assert await saved_files(gateway, done, tmp_path, {"prompt": "rain"}) == files  # what was not recorded
    assert written(tmp_path) == times


async def test_sidecar_that_an_earlier_version_wrote_beside_json_is_found(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    gateway, done = make_gateway("http://127.0.0.1:9"), replace(record(), data={"notes": []})
    (file,) = await saved_files(gateway, done, first, {})
    former = Path(f"{file}.json")
    Path(file).with_suffix(".about.json").rename(former)

    assert await saved_files(gateway, done, first, {}) == (file,)
    (other,) = await saved_files(gateway, replace(done, task_id="t-2"), first, {})
    assert copied([file, other], again) == (str(again / Path(file).name), str(again / Path(other).name))

    own = Path(other).with_suffix(".about.json")
    assert names(first) == names(again) == sorted(each.name for each in (Path(file), former, Path(other), own))


@pytest.mark.parametrize(
    ("provider", "prefix", "task_id", "name"),
    [
        ("lantern", "lantern:", "7", "lantern-7"),
        ("lantern", "", "lantern-7", "lantern-7"),
        ("lantern", "lantern:", "lantern-7", "lantern-7"),
        ("lantern", "", "lanterns-7", "lantern-lanterns-7"),
        ("pika", "fal:", "7", "pika-fal-7"),
    ],
)
async def test_name_of_a_provider_stands_once_in_the_name_of_a_file(
    make_gateway: MakeGateway, tmp_path: Path, provider: str, prefix: str, task_id: str, name: str
) -> None:
    done = replace(record(task_id=task_id, provider=provider), prefix=prefix, data="la")

    (file,) = await saved_files(make_gateway("http://127.0.0.1:9"), done, tmp_path, {})

    assert Path(file).name == f"2026-04-20-{name}-1.txt"


async def test_data_is_never_written_over_a_file_or_through_a_link(make_gateway: MakeGateway, tmp_path: Path) -> None:
    done = replace(record(), data="la")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "2026-04-20-veo3-t-1-1.txt").symlink_to(victim)

    saved = await save_results(make_gateway("http://127.0.0.1:9"), done, tmp_path, {})

    assert (saved.files, victim.read_text(), saved.gone) == (("",), "mine", False)
    assert "Result 1 of 1: The data could not be saved" in saved.notes[0]


@pytest.mark.parametrize(
    "hostile",
    [
        "../../../etc/passwd",
        "..",
        ".",
        "/etc/passwd",
        "a/b/c",
        "a\\b",
        "C:\\x",
        "nul\x00byte",
        "line\nbreak",
        ".hidden",
        "~root",
        "*?|<>:\"'$(id)`id`;",
        "\u202egnp.exe",
        "ä\u0301/ü",
        "x" * 300,
    ],
    ids=ascii,
)
async def test_hostile_ids_stay_inside_the_folder_under_harmless_names(
    hostile: str, service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    folder = tmp_path / "deep" / "er" / "out"
    done = record(service.url_for("/one"), task_id=hostile, provider=hostile[:40])

    (file,) = await saved_files(make_gateway(service.url_for("")), done, folder, {})

    assert files_below(tmp_path) == [file, f"{file}.json"]
    assert Path(file).parent == folder
    assert not set(Path(file).name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert len(Path(file).name) <= 200
    assert not Path(file).name.startswith(".")


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a_b"), ("x" * 80 + "1", "x" * 80 + "2"), ("ä", "ö")], ids=["sign", "length", "letter"]
)
async def test_ids_that_look_alike_on_disk_never_share_a_file(
    one: str, other: str, service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    service.expect_request("/other").respond_with_data(PNG + b"other")
    gateway = make_gateway(service.url_for(""))

    await saved_files(gateway, record(service.url_for("/one"), task_id=one), tmp_path, {})
    (file,) = await saved_files(gateway, record(service.url_for("/other"), task_id=other), tmp_path, {})

    assert content(file) == PNG + b"other"


async def test_task_without_a_provider_is_named_after_the_service(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)

    (file,) = await saved_files(
        make_gateway(service.url_for("")), record(service.url_for("/one"), provider=""), tmp_path, {}
    )

    assert Path(file).name == "2026-04-20-kie-t-1-1.png"


async def test_task_without_results_saves_nothing(make_gateway: MakeGateway, tmp_path: Path) -> None:
    assert await saved_files(make_gateway("http://127.0.0.1:1"), record(), tmp_path, {}) == ()
    assert names(tmp_path) == []


async def test_folder_that_can_not_be_made_is_an_error_with_a_cure(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MediaError) as error:
        await saved_files(make_gateway(service.url_for("")), record(service.url_for("/a")), tmp_path / "file" / "x", {})

    assert f"could not be saved in {tmp_path / 'file' / 'x'}" in error.value.message
    assert "KIE_AI_OUTPUT_DIR" in error.value.message
    assert service.log == []


async def test_read_only_folder_is_an_error_with_a_cure(
    service: HTTPServer,
    make_gateway: MakeGateway,
    open_folder: Path,
    powerless: Callable[[], AbstractContextManager[None]],
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    lock(open_folder)

    with powerless(), pytest.raises(MediaError) as error:
        await saved_files(make_gateway(service.url_for("")), record(service.url_for("/one")), open_folder, {})

    assert "KIE_AI_OUTPUT_DIR" in error.value.message
    assert names(open_folder) == []


async def test_calls_that_save_the_same_result_at_once_do_not_disturb_each_other(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    service.expect_request("/one").respond_with_data(PNG)
    done = record(service.url_for("/one"))
    saved: list[tuple[str, ...]] = []

    async def save() -> None:
        saved.append(await saved_files(make_gateway(service.url_for("")), done, tmp_path, {}))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(save)

    assert set(saved) == {(str(tmp_path / "2026-04-20-veo3-t-1-1.png"),)}
    assert content(saved[0][0]) == PNG
    assert names(tmp_path) == ["2026-04-20-veo3-t-1-1.png", "2026-04-20-veo3-t-1-1.png.json"]


# Formats -------------------------------------------------------------------------------------------------------------


def drawn(form: str, *more: Image.Image, mode: str = "RGB", colour: Any = "teal") -> bytes:
    file, options = io.BytesIO(), {"save_all": True, "append_images": list(more)} if more else {}
    Image.new(mode, (16, 8), colour).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("made", "wanted", "is_left"),
    [
        (drawn("PNG"), "jpeg", False),
        (drawn("JPEG"), "png", False),
        (drawn("WEBP", mode="RGBA", colour=(0, 128, 128, 9)), "png", False),
        (drawn("PNG"), "png", True),
        (drawn("PNG"), "webp", True),
        (drawn("PNG"), ["jpeg"], True),
    ],
    ids=["png to jpeg", "jpeg to png", "clear webp to png", "png to png", "to webp", "to a list"],
)
async def test_picture_is_saved_in_the_format_that_was_asked_for(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path, made: bytes, wanted: Any, is_left: bool
) -> None:
    service.expect_request("/one").respond_with_data(made)
    given = (make_gateway(service.url_for("")), record(service.url_for("/one")), tmp_path, {"output_format": wanted})

    (file,) = await saved_files(*given)
    again = await saved_files(*given)

    assert names(tmp_path) == [Path(file).name, f"{Path(file).name}.json"]
    assert again == (file,)
    assert len(service.log) == 1
    assert (content(file) == made) == is_left
    if not is_left:
        with Image.open(file) as picture, Image.open(io.BytesIO(made)) as before:
            assert (picture.format, picture.size) == (wanted.upper(), (16, 8))
            assert picture.has_transparency_data == before.has_transparency_data
            assert Path(file).suffix == {"jpeg": ".jpg", "png": ".png"}[wanted]


async def test_picture_of_a_save_that_died_before_its_conversion_is_converted(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "2026-04-20-veo3-t-1-1.png").write_bytes(drawn("PNG"))
    one = record("http://127.0.0.1:1/one")

    (file,) = await saved_files(make_gateway("http://127.0.0.1:1"), one, tmp_path, {"output_format": "jpeg"})

    assert names(tmp_path) == ["2026-04-20-veo3-t-1-1.jpg", "2026-04-20-veo3-t-1-1.jpg.json"]
    assert content(file).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (drawn("GIF", Image.new("RGB", (16, 8), "red")), "It has 2 frames; convert it yourself."),
        (drawn("PNG", Image.new("RGB", (16, 8), "red")), "It has 2 frames; convert it yourself."),
        (MP4, "it is MP4, no picture."),
        (PNG, "it can't be made a JPEG here: "),
    ],
    ids=["gif", "moving png", "clip", "broken"],
)
async def test_result_that_can_not_be_converted_is_kept_and_says_why(
    service: HTTPServer, make_gateway: MakeGateway, tmp_path: Path, made: bytes, reason: str
) -> None:
    service.expect_request("/one").respond_with_data(made)
    one = record(service.url_for("/one"))

    saved = await save_results(make_gateway(service.url_for("")), one, tmp_path, {"output_format": "jpeg"})

    (file,), (note,) = saved.files, saved.notes
    assert content(file) == made
    assert names(tmp_path) == [Path(file).name, f"{Path(file).name}.json"]
    assert note.startswith(f"{Path(file).name} stays as the service made it: ")
    assert reason in note
