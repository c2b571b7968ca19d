"""Uploads: which files may leave this machine, and that the same bytes leave it once."""

import base64
import errno
import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pillow_heif
import pytest
from PIL import Image
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import kie_ai_mcp_sandbox
from kie_ai_mcp import ImageUrls, InvalidArgument, Media, Outcome, Task
from kie_ai_mcp._media import thumbnails
from kie_ai_mcp._media.uploading import Uploads, brief
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp._settings import folders
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.errors import MediaError

pytestmark = pytest.mark.anyio

MakeUploads = Callable[..., Uploads]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(200)
WEB = "https://x.example/a.png"
ADDRESS = "https://tempfile.example/up.png"
TAKEN = {"success": True, "code": 200, "msg": "ok", "data": {"downloadUrl": ADDRESS, "fileSize": 208}}
MEDIA = {"image_urls": Media("image"), "video_url": Media("video")}


@dataclass(frozen=True)
class Taken:
    """One upload as the service got it; `words` is everything in it that is neither its bytes nor the key."""

    data: bytes
    mime_type: str
    authorization: str
    words: str


@pytest.fixture
def taking(service: HTTPServer) -> list[Taken]:
    """Lets the service take uploads, and holds them."""
    taken: list[Taken] = []

    def take(request: Request) -> Response:
        with request:
            file = request.files["file"]
            words = " ".join([file.filename or "", *request.form.values()])
            taken.append(Taken(file.read(), file.mimetype, request.headers["Authorization"], words))
        return Response(json.dumps(TAKEN), content_type="application/json")

    service.expect_request("/api/file-stream-upload", "POST").respond_with_handler(take)
    return taken


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that is allowed, with a picture in it and one outside of it."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "fox.png").write_bytes(PNG)
    (folder / "fox.mp4").write_bytes(MP4)
    (tmp_path / "secret.png").write_bytes(PNG)
    return folder


@pytest.fixture
def uploads(
    service: HTTPServer, root: Path, make_gateway: Callable[..., Caller], make_record: Callable[..., Record]
) -> MakeUploads:
    """Makes uploads to the service; nothing but `root` is allowed unless the test says otherwise."""

    def make(**settings: Any) -> Uploads:
        values = {"upload_roots": (root,), "upload_url": service.url_for("").rstrip("/"), **settings}
        gateway = make_gateway(service.url_for(""), **values)
        return Uploads(gateway.settings, gateway, make_record())

    return make


async def send_files(uploads: Uploads, arguments: Mapping[str, Any], media: Mapping[str, Media]) -> dict[str, Any]:
    """Check the local files of a call, send them, and return the arguments with their addresses."""
    files = await uploads.files(arguments, media)
    return await uploads.addresses(arguments, media, files, uploads.caller.gateway)


async def refusal(uploads: Uploads, path: object) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as error:
        await send_files(uploads, {"image_urls": [ADDRESS, str(path)]}, MEDIA)
    assert error.value.field == "image_urls[1]"
    assert error.value.value == str(path)
    return error.value


async def test_local_paths_become_addresses_and_addresses_stay(
    taking: list[Taken], uploads: MakeUploads, root: Path, key: str
) -> None:
    given = {"prompt": "/not/media.png", "image_urls": ["https://x.example/a.png", str(root / "fox.png")], "n": 3}

    changed = await send_files(uploads(), given, MEDIA)

    assert changed == {**given, "image_urls": ["https://x.example/a.png", ADDRESS]}
    (taken,) = taking
    assert (taken.data, taken.mime_type, taken.authorization) == (PNG, "image/png", f"Bearer {key}")
    assert "fox" not in taken.words


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("image_urls", {"image_urls": ["FILE", WEB]}),
        ("image_urls[]", {"image_urls": [WEB, "FILE"]}),
        ("image_urls[]", {"image_urls": "FILE"}),
        ("shots[].image_url", {"shots": [{"image_url": WEB, "words": "FOX"}, {"words": "FOX"}, {"image_url": "FILE"}]}),
        ("elements[].urls[]", {"elements": [{"urls": [WEB]}, {"urls": ["FILE", "FILE"]}, {"urls": None}, "FOX"]}),
        ("scene.sky.url", {"scene": {"sky": {"url": "FILE"}, "url": "FOX"}, "url": "FOX"}),
    ],
)
async def test_file_is_sent_wherever_the_path_of_its_marker_leads(
    path: str, given: dict[str, Any], taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    def with_(address: str) -> dict[str, Any]:
        text = json.dumps({"prompt": "FILE", "ids": [1], **given}).replace("FILE", address)
        return json.loads(text) | {"prompt": str(root / "fox.png")}  # type: ignore[no-any-return]

    arguments = with_(str(root / "fox.png"))

    assert await send_files(uploads(), arguments, {path: Media("image")}) == with_(ADDRESS)
    assert arguments == with_(str(root / "fox.png"))
    assert len(taking) == 1


async def test_refused_file_inside_an_object_is_named_by_its_written_place(uploads: MakeUploads, root: Path) -> None:
    shots = [{"image_urls": [WEB]}, {"image_urls": [WEB, str(root / "fox.mp4")]}]

    with pytest.raises(InvalidArgument) as error:
        await send_files(uploads(), {"shots": shots}, {"shots[].image_urls[]": Media("image")})

    assert error.value.field == "shots[1].image_urls[1]"


async def test_same_bytes_are_sent_once_also_by_the_next_server(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "copy.jpg").write_bytes(PNG)

    for name in ("fox.png", "fox.png", "copy.jpg"):
        changed = await send_files(uploads(), {"image_urls": [str(root / name)]}, MEDIA)
        assert changed == {"image_urls": [ADDRESS]}

    assert len(taking) == 1


async def test_without_an_allowed_folder_no_file_is_looked_at(uploads: MakeUploads, root: Path) -> None:
    for path in (root / "fox.png", root / "nothing.png"):
        error = await refusal(uploads(upload_roots=()), path)
        assert "local files are not allowed yet" in error.allowed
        assert f"`kie-ai-mcp-server config set upload_roots --add {root}`, then restart" in error.next_step


async def test_setting_that_a_refusal_of_a_path_names_can_be_used_as_it_is(uploads: MakeUploads) -> None:
    error = await refusal(uploads(upload_roots=()), "pictures/fox.png")

    assert "`kie-ai-mcp-server config set upload_roots --add FOLDER` with its absolute path" in error.next_step


async def test_file_in_the_home_of_an_unknown_user_is_refused(uploads: MakeUploads) -> None:
    for made in (uploads(), uploads(upload_roots=())):
        assert "no home folder is known for ~nobody-here" in (await refusal(made, "~nobody-here/fox.png")).allowed


@pytest.mark.parametrize(
    "path", ["ROOT/../secret.png", "ROOT/link.png", "ROOT/folder/secret.png", "OUTSIDE/secret.png"]
)
async def test_file_outside_the_allowed_folders_is_refused_however_it_is_written(
    path: str, uploads: MakeUploads, root: Path
) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "folder").symlink_to(root.parent)

    error = await refusal(uploads(), path.replace("ROOT", str(root)).replace("OUTSIDE", str(root.parent)))

    assert "it lies outside the allowed folders" in error.allowed
    assert f"`kie-ai-mcp-server config set upload_roots --add {root.parent}`, then restart" in error.next_step


async def test_folder_whose_name_begins_like_the_allowed_one_is_outside(uploads: MakeUploads, root: Path) -> None:
    beside = root.with_name("allowed-not")
    beside.mkdir()
    (beside / "fox.png").write_bytes(PNG)

    assert "outside" in (await refusal(uploads(), beside / "fox.png")).allowed


async def test_link_inside_the_allowed_folder_may_be_used(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "link.png").symlink_to(root / "fox.png")

    assert await send_files(uploads(), {"image_urls": [str(root / "link.png")]}, MEDIA) == {"image_urls": [ADDRESS]}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.png", "there is no such file"),
        ("nul\x00.png", "there is no such file"),
        ("x" * 5000, "there is no such file"),
        ("", "it can't be read"),
        ("words.png", "its bytes are no image"),
        ("empty.png", "its bytes are no image"),
        ("fox.mp4", "its bytes are no image"),
        ("big.png", "it is larger than 1 MB"),
        ("cut.png", "it ends before its end"),
        ("cut.jpg", "it ends before its end"),
        ("cut.webp", "it ends before its end"),
    ],
    ids=ascii,
)
async def test_what_is_no_such_picture_is_refused_with_the_reason(
    name: str, reason: str, uploads: MakeUploads, root: Path
) -> None:
    (root / "words.png").write_text("a shopping list", encoding="utf-8")
    (root / "empty.png").touch()
    (root / "big.png").write_bytes(PNG + bytes(1_000_000))
    for cut in ("cut.png", "cut.jpg", "cut.webp"):
        Image.effect_noise((120, 90), 80).convert("RGB").save(root / cut)
        os.truncate(root / cut, (root / cut).stat().st_size // 2)

    assert reason in (await refusal(uploads(max_upload_mb=1), f"{root}/{name}")).allowed


async def test_file_a_hundred_times_too_large_is_refused_unread(
    uploads: MakeUploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (root / "fox.png").open("r+b") as file:
        file.truncate(100_000_000)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was read"))

    assert "it is larger than 1 MB" in (await refusal(uploads(max_upload_mb=1), root / "fox.png")).allowed
    with pytest.raises(InvalidArgument, match="it is larger than 1 MB"):
        await uploads(max_upload_mb=1).send_data(f"data:image/png;base64,{'A' * 4_000_000}")


async def test_file_above_the_cap_of_its_argument_is_refused_and_not_sent(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "fox.png").write_bytes(PNG + bytes((1 << 20) - len(PNG)))
    marked = {"image_urls": Media("image", most_mb=1)}
    await send_files(uploads(), {"image_urls": [str(root / "fox.png")]}, marked)
    with (root / "fox.png").open("ab") as file:
        file.write(b"!")
    with pytest.raises(InvalidArgument, match="larger than 1 MB, the most that the service takes there"):
        await send_files(uploads(), {"image_urls": [str(root / "fox.png")]}, marked)

    assert len(taking) == 1


async def test_pipe_is_refused_without_waiting_for_somebody_who_writes(uploads: MakeUploads, root: Path) -> None:
    pipe = root / "pipe.png"
    os.mkfifo(pipe)
    waited: list[bool] = []

    def relieve() -> None:
        # Only where somebody waits at the other end this can be opened.
        with suppress(OSError):
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            waited.append(True)

    timer = threading.Timer(2, relieve)
    timer.start()
    error = await refusal(uploads(), pipe)
    timer.cancel()

    assert "it is not a plain file" in error.allowed
    assert not waited


async def test_relative_path_is_refused(uploads: MakeUploads, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)

    assert "absolute path" in (await refusal(uploads(), "fox.png")).allowed


async def test_file_that_was_exchanged_after_it_was_checked_is_not_sent(
    service: HTTPServer, uploads: MakeUploads, root: Path
) -> None:
    ours = uploads()
    file = await ours.file("path", str(root / "fox.png"))
    (root / "fox.png").unlink()
    (root / "fox.png").symlink_to(root.parent / "secret.png")

    with pytest.raises(MediaError, match="changed after it was looked at") as error:
        await ours.send(file)

    assert error.value.charged == "no"
    assert service.log == []


async def test_nothing_is_sent_unless_every_file_may_be(service: HTTPServer, uploads: MakeUploads, root: Path) -> None:
    with pytest.raises(InvalidArgument) as error:
        await send_files(uploads(), {"image_urls": [str(root / "fox.png")], "video_url": str(root / "fox.png")}, MEDIA)

    assert (error.value.field, service.log) == ("video_url", [])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"success": False, "code": 400, "msg": "no"}),
        (200, {"success": True, "code": 200, "data": {}}),
        (200, {"success": True, "code": 200, "data": None}),
        (200, {"success": True, "code": 200, "data": {"downloadUrl": 7}}),
        (401, {"success": False, "code": 401, "msg": "no"}),
        (500, "oops"),
        (200, []),
    ],
)
async def test_upload_that_the_service_does_not_take_is_an_error(
    status: int, body: object, service: HTTPServer, uploads: MakeUploads, root: Path
) -> None:
    service.expect_request("/api/file-stream-upload").respond_with_json(body, status=status)
    sender = uploads()

    with pytest.raises(MediaError, match=r"fox\.png could not be uploaded to .*KIE_AI_UPLOAD_URL") as error:
        await send_files(sender, {"image_urls": [str(root / "fox.png")]}, MEDIA)

    assert ("KIE_AI_API_KEY" if status == 401 else "Call again later") in error.value.next_step
    assert await sender.record.uploads.find((await sender.file("path", str(root / "fox.png"))).sha256) is None


@pytest.mark.parametrize("text", ["PLAIN", "data:image/png;base64,PLAIN"])
async def test_base64_text_is_sent_as_the_file_it_is(text: str, taking: list[Taken], uploads: MakeUploads) -> None:
    sent = await uploads(upload_roots=()).send_data(text.replace("PLAIN", base64.b64encode(PNG).decode()))

    assert (sent.url, sent.size, sent.format.extension) == (ADDRESS, len(PNG), "png")
    assert [taken.data for taken in taking] == [PNG]


TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)),
        f"\n{TEXT}\n",
        TEXT.replace("+", "-").replace("/", "_"),
        TEXT.rstrip("="),
        quote(TEXT, safe=""),
        f"data:image/png;charset=utf-8;base64,{quote(TEXT, safe='')}",
        f"DATA:;BASE64,{TEXT}",
        f"data:image/png,{quote(PNG)}",
    ],
    ids=["wrapped", "newlines", "for URLs", "unpadded", "quoted", "quoted data", "capitals", "no base64"],
)
async def test_base64_text_is_taken_however_it_is_written(text: str, taking: list[Taken], uploads: MakeUploads) -> None:
    await uploads(upload_roots=()).send_data(text)

    assert [taken.data for taken in taking] == [PNG]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not base64!", "it is not base64"),
        (base64.b64encode(b"a shopping list").decode(), "its bytes are no picture"),
        ("", "its bytes are no picture"),
        ("A" * 1_400_000, "it is larger than 1 MB"),
    ],
    ids=["words", "list", "empty", "large"],
)
async def test_base64_text_that_is_no_picture_is_refused(text: str, reason: str, uploads: MakeUploads) -> None:
    with pytest.raises(InvalidArgument) as error:
        await uploads(max_upload_mb=1).send_data(text)

    assert reason in error.value.allowed


async def test_what_stands_at_an_address_is_sent_as_the_file_it_is(
    service: HTTPServer, taking: list[Taken], uploads: MakeUploads
) -> None:
    service.expect_request("/shop/fox").respond_with_data(PNG, content_type="text/html")
    sent = await uploads(upload_roots=()).send_from(service.url_for("/shop/fox"))

    assert (sent.url, sent.size, sent.format.extension) == (ADDRESS, len(PNG), "png")
    assert [taken.data for taken in taking] == [PNG]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"<html>a shop</html>", "its bytes are no picture"), (PNG + bytes(1_000_000), "it is larger than 1 MB")],
    ids=["page", "large"],
)
async def test_address_of_no_usable_picture_is_refused_and_nothing_is_sent(
    content: bytes, reason: str, service: HTTPServer, uploads: MakeUploads
) -> None:
    service.expect_request("/shop/fox").respond_with_data(content)
    with pytest.raises(InvalidArgument) as error:
        await uploads(max_upload_mb=1).send_from(service.url_for("/shop/fox"))

    assert reason in error.value.allowed


@pytest.mark.parametrize("text", ["/tmp/fox.png", "ftp://pictures.example/fox.png", ""])
async def test_only_web_addresses_are_fetched(text: str, uploads: MakeUploads) -> None:
    with pytest.raises(InvalidArgument) as error:
        await uploads().send_from(text)

    assert (error.value.field, "give an http" in error.value.allowed) == ("url", True)


async def test_private_address_is_not_fetched(uploads: MakeUploads) -> None:
    with pytest.raises(MediaError, match="private"):
        await uploads().send_from("http://10.0.0.1/admin/fox.png")


def test_allowed_folders_may_start_at_home(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("HOME", str(root.parent))

    assert load_settings({"KIE_AI_UPLOAD_ROOTS": "~/allowed"}).upload_roots[0] == root


# Names, and other words for files ------------------------------------------------------------------------------------

NAMES = {
    "Screenshot 2026-11-02 at 3.45.12\u202fPM.png": "Screenshot 2026-11-02 at 3.45.12 PM.png",
    "\u30b9\u30af\u30b7\u30e7\u3000\u4e00.png": "\u30b9\u30af\u30b7\u30e7 \u4e00.png",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.png": "\U0001f468\U0001f469\U0001f467.png",
    "fu\u0308chse\u00a0\u2764\ufe0f.png": "f\u00fcchse \u2764.png",
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_name_is_used_as_people_have_it_and_as_models_write_it(
    name: str, taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    folder = root / name.removesuffix(".png")
    folder.mkdir()
    (folder / name).write_bytes(PNG)

    for text in (f"{folder}/{name}", f"{root}/{NAMES[name].removesuffix('.png')}/{NAMES[name]}"):
        tool = Arguments(edit)
        checked = tool.check({"image_urls": [text]})
        assert await send_files(uploads(), checked, tool.media) == {"image_urls": [ADDRESS]}


async def test_two_files_that_look_like_the_name_are_not_guessed_between(uploads: MakeUploads, root: Path) -> None:
    for space in ("\u202f", "\u3000"):
        (root / f"fox{space}one.png").write_bytes(PNG)

    assert "there is no such file" in (await refusal(uploads(), root / "fox one.png")).allowed


def edit(image_urls: ImageUrls) -> None:
    """Edit pictures."""


@pytest.mark.parametrize(
    "text",
    [
        "file://ROOT/red%20fox.png",
        "file://localhost/ROOT/red%20fox.png",
        "'ROOT/red fox.png'",
        '"ROOT/red fox.png"',
        " ROOT/red fox.png\t",
        "ROOT/red\\ fox.png",
        "'file://ROOT/red%20fox.png'",
        f"data:image/png;base64,{TEXT}",
        f" data:image/png;base64,{TEXT[:76]}\n{TEXT[76:]}",
    ],
)
async def test_media_argument_takes_paths_and_data_as_people_paste_them(
    text: str, taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "red fox.png").write_bytes(PNG)
    tool = Arguments(edit)

    checked = tool.check({"image_urls": [text.replace("ROOT", str(root)).replace("\t", "")]})

    assert await send_files(uploads(), checked, tool.media) == {"image_urls": [ADDRESS]}
    assert [taken.data for taken in taking] == [PNG]


@pytest.mark.parametrize("text", ["file:///etc/passwd", "'ROOT/../secret.png'", "file://ROOT/%2e%2e/secret.png"])
async def test_file_outside_is_refused_in_other_words_too(text: str, uploads: MakeUploads, root: Path) -> None:
    error = await refusal(uploads(), text.replace("ROOT", str(root)))

    assert "outside the allowed folders" in error.allowed


def test_of_data_only_the_beginning_is_recorded() -> None:
    assert brief(f"data:image/png;base64,{'A' * 5000}") == f"data:image/png;base64,{'A' * 18}\u2026 (5022 characters)"
    assert brief("https://x.example/a.png") == "https://x.example/a.png"


# Own results ---------------------------------------------------------------------------------------------------------

LINK = "https://tempfile.example/result.png"
SONG = "https://tempfile.example/song.mp3"


@pytest.fixture
async def finished(uploads: MakeUploads, root: Path) -> Callable[..., Any]:
    """Puts a finished task with results on record: ``await finished("t-1", LINK, days_ago=2, files=(path,))``."""

    async def put(task_id: str, *urls: str, days_ago: float = 0.0, files: tuple[str, ...] = ()) -> None:
        tasks = uploads().record.tasks
        await tasks.adopt(Task(task_id, "nano-banana", "nano-banana"))
        await tasks.record_outcome(
            task_id, Outcome("completed", urls, finished_at=datetime.now(UTC) - timedelta(days=days_ago))
        )
        await tasks.record_files(task_id, files)

    return put


@pytest.mark.parametrize("text", ["kie://files/t-1/1", "kie://tasks/t-1", "kie://files/t-1", "t-1", " t-1 "])
async def test_own_result_is_used_at_its_link_while_that_lives(
    text: str, finished: Callable[..., Any], uploads: MakeUploads
) -> None:
    await finished("t-1", LINK)
    tool = Arguments(edit)

    checked = tool.check({"image_urls": [text]})

    assert await send_files(uploads(upload_roots=()), checked, tool.media) == {"image_urls": [LINK]}


@pytest.mark.parametrize("text", ["kie://files/t-1/1", "t-1", "SAVED"])
async def test_own_result_whose_link_has_ended_is_uploaded_from_its_file(
    text: str, finished: Callable[..., Any], taking: list[Taken], uploads: MakeUploads, tmp_path: Path
) -> None:
    saved = tmp_path / "out" / "fox.png"
    saved.parent.mkdir()
    saved.write_bytes(PNG)
    await finished("t-1", LINK, days_ago=3, files=(str(saved),))
    ours = uploads(upload_roots=(), output_dir=saved.parent)

    changed = await send_files(ours, {"image_urls": [text.replace("SAVED", str(saved))]}, MEDIA)

    assert changed == {"image_urls": [ADDRESS]}
    assert [taken.data for taken in taking] == [PNG]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kie://files/nobody/1", "no such task is on record"),
        ("t-gone", "its link has ended and it is not saved"),
        ("t-four", "the task has 2 results that fit; choose one: kie://files/t-four/1 or kie://files/t-four/2"),
        ("t-mixed", "2 results that fit; choose one: kie://files/t-mixed/1 or kie://files/t-mixed/3"),
        ("t-song", "its results are of the kind audio or text, not image"),
        ("t-failed", "the task is failed, it has no result"),
        ("kie://files/t-four/3", "its results are kie://files/t-four/1 to 2"),
        ("kie://files/t-four/0", "its results are kie://files/t-four/1 to 2"),
        ("t-running", "the task is still pending and has no result yet"),
        ("t-clip", "it is a result of the kind video, not image"),
        ("t-fo", "only the beginning of a task's id; give the whole one: t-four"),
        ("kie://files/t-fo/2", "give the whole one: kie://files/t-four/2"),
        ("kie://tasks/t-clip-", "it begins the ids of several tasks: kie://tasks/t-clip-2, kie://tasks/t-clip-3; give"),
    ],
)
async def test_own_result_that_can_not_be_used_says_why(
    text: str, reason: str, finished: Callable[..., Any], uploads: MakeUploads, tmp_path: Path
) -> None:
    await finished("t-gone", LINK, days_ago=3)
    await finished("t-four", LINK, f"{LINK}?2")
    for name in ("t-clip", "t-clip-2", "t-clip-3"):
        await finished(name, "https://tempfile.example/clip.mp4?x=1")
    await finished("t-mixed", LINK, "https://tempfile.example/clip.mp4", "https://tempfile.example/any")
    (tmp_path / "song.json").write_text("{}", "utf-8")
    await finished("t-song", SONG, SONG, files=("", "", str(tmp_path / "song.json")))
    await uploads().record.tasks.adopt(Task("t-failed", "nano-banana", "nano-banana"))
    await uploads().record.tasks.record_outcome("t-failed", Outcome("failed", error="no"))
    await uploads().record.tasks.adopt(Task("t-running", "nano-banana", "nano-banana"))

    assert reason in (await refusal(uploads(), text)).allowed


async def test_one_result_that_fits_is_used_beside_those_of_other_kinds(
    finished: Callable[..., Any], uploads: MakeUploads, tmp_path: Path
) -> None:
    (tmp_path / "1.json").write_text("{}", "utf-8")
    await finished("t-1", SONG, LINK, files=("", "", str(tmp_path / "1.json")))
    await finished("t-2", SONG, files=("", str(tmp_path / "gone.json")))

    assert await send_files(uploads(), {"image_urls": ["t-1"]}, MEDIA) == {"image_urls": [LINK]}
    for text in ("t-1", "t-2"):
        assert await send_files(uploads(), {"sound": text}, {"sound": Media("audio")}) == {"sound": SONG}
    assert (await uploads().file("path", "t-2")).url == SONG  # to any argument


# Pictures that the service does not take -----------------------------------------------------------------------------


def photo(form: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), colour: str = "teal") -> bytes:
    pillow_heif.register_heif_opener()
    data = io.BytesIO()
    Image.new(mode, size, colour).save(data, form)
    return data.getvalue()


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
async def test_photo_of_a_phone_is_sent_as_a_jpeg(
    form: str, taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "IMG_0001.HEIC").write_bytes(photo(form))

    assert await send_files(uploads(), {"image_urls": [str(root / "IMG_0001.HEIC")]}, MEDIA) == {
        "image_urls": [ADDRESS]
    }

    (taken,) = taking
    assert taken.mime_type == "image/jpeg"
    with Image.open(io.BytesIO(taken.data)) as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))


@pytest.mark.parametrize(
    ("form", "formats", "sent"),
    [
        ("TIFF", (), "image/jpeg"),
        ("TIFF", ("jpg", "png", "bmp", "tiff"), "image/tiff"),
        ("BMP", ("jpeg", "bmp"), "image/bmp"),
        ("BMP", ("jpg", "png", "webp"), "image/jpeg"),
        ("WEBP", ("jpg", "png", "webp"), "image/webp"),
        ("WEBP", ("jpeg", "png"), "image/jpeg"),
        ("GIF", ("jpg", "png"), "image/jpeg"),
        ("JPEG", ("jpeg", "png"), "image/jpeg"),
        ("HEIF", ("jpg", "heic", "heif"), "image/heic"),
    ],
)
async def test_picture_is_converted_only_where_its_type_is_not_taken(
    form: str, formats: tuple[str, ...], sent: str, taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "fox").write_bytes(photo(form))

    await send_files(uploads(), {"url": str(root / "fox")}, {"url": Media("image", formats=formats)})

    (taken,) = taking
    assert taken.mime_type == sent
    assert (taken.data == photo(form)) is (sent != "image/jpeg" or form == "JPEG")


@pytest.mark.parametrize(
    ("media", "sent"),
    [
        (Media("image", formats=("jpg", "png")), "image/png"),
        (Media("image", formats=("jpg", "png"), alpha=False), "image/jpeg"),
        (Media("image", formats=("jpg",)), "image/jpeg"),
    ],
)
async def test_converted_picture_keeps_its_clear_parts_where_the_service_takes_them(
    media: Media, sent: str, taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    image = Image.new("RGBA", (8, 8), (0, 128, 128, 0))
    image.save(root / "fox.webp", lossless=True, exact=True)

    await send_files(uploads(), {"url": str(root / "fox.webp")}, {"url": media})

    (taken,) = taking
    assert taken.mime_type == sent
    with Image.open(io.BytesIO(taken.data)) as picture:
        assert picture.getpixel((4, 4)) == ((0, 128, 128, 0) if sent == "image/png" else (255, 255, 255))


async def test_opaque_picture_with_a_channel_for_clear_parts_becomes_a_jpeg(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "fox.tiff").write_bytes(photo("TIFF", "RGBA"))

    await send_files(uploads(), {"url": str(root / "fox.tiff")}, {"url": Media("image", formats=("jpg", "png"))})

    assert [taken.mime_type for taken in taking] == ["image/jpeg"]


async def test_file_that_two_arguments_take_in_other_types_is_sent_as_one_that_both_take(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "fox").write_bytes(photo("WEBP"))
    media = {"a": Media("image"), "b": Media("image", formats=("jpg",)), "c": Media("image")}

    await send_files(uploads(), dict.fromkeys(media, str(root / "fox")), media)

    assert [taken.mime_type for taken in taking] == ["image/jpeg"]


async def test_photo_is_refused_with_the_cure_where_nothing_converts_it(
    service: HTTPServer, uploads: MakeUploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "IMG_0001.HEIC").write_bytes(photo("HEIF"))
    monkeypatch.setattr(thumbnails, "find_spec", lambda name: None if name == "pillow_heif" else name)

    error = await refusal(uploads(), root / "IMG_0001.HEIC")

    assert "it is HEIC, which the service does not take; convert it to JPEG or PNG, or install" in error.allowed
    assert "kie-ai-mcp-core[preview]" in error.allowed
    assert service.log == []


async def test_picture_of_a_type_that_nothing_converts_is_refused(
    service: HTTPServer, uploads: MakeUploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "fox").write_bytes(photo("WEBP"))
    monkeypatch.setattr(thumbnails, "find_spec", lambda name: None if name == "PIL" else name)

    with pytest.raises(InvalidArgument, match="it is WEBP, which the service does not take; convert it to JPEG or PNG"):
        await send_files(uploads(), {"url": str(root / "fox")}, {"url": Media("image", formats=("jpg", "png"))})
    with pytest.raises(InvalidArgument, match="it is WEBP, the service takes png there; convert it"):
        await send_files(uploads(), {"url": str(root / "fox")}, {"url": Media("image", formats=("png",))})
    assert service.log == []


async def test_broken_photo_is_refused_before_anything_is_sent(
    service: HTTPServer, uploads: MakeUploads, root: Path
) -> None:
    (root / "IMG_0001.HEIC").write_bytes(photo("HEIF")[:200])

    assert "it can't be made a JPEG here" in (await refusal(uploads(), root / "IMG_0001.HEIC")).allowed
    assert service.log == []


async def test_photo_is_no_clip(uploads: MakeUploads, root: Path) -> None:
    (root / "IMG_0001.HEIC").write_bytes(photo("HEIF"))

    with pytest.raises(InvalidArgument, match="its bytes are no video"):
        await send_files(uploads(), {"video_url": str(root / "IMG_0001.HEIC")}, MEDIA)


async def test_protected_folder_of_macos_is_named_with_the_setting_that_opens_it(
    uploads: MakeUploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(_path: Path, *_flags: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    (root / "Desktop").symlink_to(root)
    monkeypatch.setattr(Path, "home", lambda: root)
    maker = uploads()
    with monkeypatch.context() as patch:
        patch.setattr(folders, "sys", SimpleNamespace(platform="darwin"))
        patch.setattr(os, "open", deny)
        error = await refusal(maker, str(root / "Desktop" / "fox.png"))
    assert "it can't be read: Operation not permitted. macOS protects this folder" in str(error)


# Limits of a service -------------------------------------------------------------------------------------------------

CLIP = (Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4").read_bytes()  # 2 s, 320 x 180, 12 a second


async def test_every_limit_that_any_file_breaks_is_named_before_anything_is_sent(
    service: HTTPServer, uploads: MakeUploads, root: Path
) -> None:
    (root / "small.png").write_bytes(photo("PNG", "RGBA", (100, 400), "#00808080"))
    (root / "clip.mp4").write_bytes(CLIP)
    arguments = {
        "shots": [{"url": WEB}, {"url": str(root / "small.png")}, {"url": str(root / "fox.mp4")}],
        "clips": [str(root / "clip.mp4"), "data:video/mp4;base64," + base64.b64encode(CLIP).decode()],
    }
    media = {
        "shots[].url": Media("image", alpha=False, least_px=300, least_ratio=0.4, most_ratio=2.5),
        "clips[]": Media("video", formats=("mov",), least_s=3, total_s=3, least_fps=24, codecs=("h265",)),
    }

    with pytest.raises(InvalidArgument) as error:
        await send_files(uploads(), arguments, media)

    words = [
        "shots[2].url: ",
        "its bytes are no image",
        "shots[1].url: ",
        "it has transparency, which the service does not take there; save it without, for example as JPEG.",
        "it has 100 x 400 pixels, the service takes at least 300 on each side there; resize it.",
        "its width is 0.25 times its height, the service takes 0.4 to 2.5 times there; crop it.",
    ]
    for name in ("clips[0]: ", "clips[1]: 'data:video/mp4;base64,"):
        words += [
            name,
            "it is MP4, the service takes mov there; convert it.",
            "its codec is h264, the service takes h265 there; encode it again.",
            "it has 12 frames a second, the service takes at least 24 there; change its frame rate.",
            "it lasts 2 s, the service takes at least 3 s there; make it longer.",
        ]
    words.append("together they have 4 s, the service takes at most 3 s there; give fewer or smaller.")
    at = 0
    for word in words:
        at = error.value.message.index(word, at)
    assert error.value.message.count("is not accepted") == 13
    assert service.log == []


async def test_opaque_screenshot_is_taken_where_no_transparency_is(uploads: MakeUploads, root: Path) -> None:
    (root / "screen.png").write_bytes(photo("PNG", "RGBA"))
    files = await uploads().files(
        {"image_url": str(root / "screen.png")}, {"image_url": Media("image", formats=("png",), alpha=False)}
    )
    assert [file.format.extension for file in files.values()] == ["png"]


async def test_seconds_of_a_local_clip_are_known_and_those_at_an_address_are_not(
    uploads: MakeUploads, root: Path
) -> None:
    (root / "clip.mp4").write_bytes(CLIP)

    files = await uploads().files({"clips": [WEB, str(root / "clip.mp4"), str(root / "fox.mp4")]}, {"clips": CLIPS})

    assert {Path(path).name: file.seconds for path, file in files.items()} == {"clip.mp4": 2.0, "fox.mp4": None}


CLIPS = Media("video", most_s=1000)


async def test_empty_address_is_left_as_it_is(uploads: MakeUploads) -> None:
    assert await send_files(uploads(), {"image_url": ""}, {"image_url": Media("image")}) == {"image_url": ""}


async def test_address_is_never_fetched_to_be_measured(service: HTTPServer, uploads: MakeUploads) -> None:
    clip = service.url_for("/clip.mp4")
    media = {"clip": Media("video", formats=("mov",), most_s=1, total_mb=0, same_px_as="clip")}

    assert await send_files(uploads(), {"clip": clip}, media) == {"clip": clip}
    assert service.log == []


@pytest.mark.parametrize("days_ago", [0.0, 3.0])
async def test_own_result_that_is_kept_is_measured(
    days_ago: float, finished: Callable[..., Any], uploads: MakeUploads, tmp_path: Path, service: HTTPServer
) -> None:
    (saved := tmp_path / "fox.png").write_bytes(photo("PNG"))
    await finished("t-1", LINK, days_ago=days_ago, files=(str(saved),))

    with pytest.raises(InvalidArgument, match="it has 64 x 48 pixels, the service takes at least 300 on each side"):
        await send_files(uploads(), {"url": "t-1"}, {"url": Media("image", least_px=300)})
    assert service.log == []


async def test_own_result_of_a_type_that_is_not_taken_is_converted_and_sent(
    finished: Callable[..., Any], uploads: MakeUploads, tmp_path: Path, taking: list[Taken]
) -> None:
    (saved := tmp_path / "fox.webp").write_bytes(photo("WEBP"))
    await finished("t-1", LINK, files=(str(saved),))

    assert await send_files(uploads(), {"url": "t-1"}, {"url": Media("image", formats=("webp",))}) == {"url": LINK}
    assert await send_files(uploads(), {"url": "t-1"}, {"url": Media("image", formats=("jpg",))}) == {"url": ADDRESS}
    assert [taken.mime_type for taken in taking] == ["image/jpeg"]


async def test_file_may_be_of_any_kind_that_its_argument_takes(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    media = {"urls[]": Media(("image", "video"))}

    await send_files(uploads(), {"urls": [str(root / "fox.png"), str(root / "fox.mp4")]}, media)

    assert [taken.mime_type for taken in taking] == ["image/png", "video/mp4"]
    (root / "fox.mp3").write_bytes(b"ID3" + bytes(100))
    with pytest.raises(InvalidArgument, match="its bytes are no image or video"):
        await send_files(uploads(), {"urls": [str(root / "fox.mp3")]}, media)


# Documents, and addresses of a service's own -------------------------------------------------------------------------

OFFICE = "application/vnd.openxmlformats-officedocument"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def archive(**parts: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, text in parts.items():
            file.writestr(name.replace("_", "/", 1).replace("_", "."), text)
    return data.getvalue()


DOCUMENTS = {
    "Fox tale.PDF": (b"%PDF-1.7\n", "application/pdf"),
    "fox.docx": (archive(word_document_xml="<w/>"), f"{OFFICE}.wordprocessingml.document"),
    "fox.xlsx": (archive(xl_workbook_xml="<w/>"), f"{OFFICE}.spreadsheetml.sheet"),
    "fox.pptx": (archive(ppt_presentation_xml="<w/>"), f"{OFFICE}.presentationml.presentation"),
    "fox.doc": (OLE, "application/msword"),
    "fox.xls": (OLE, "application/vnd.ms-excel"),
    "fox.ppt": (OLE, "application/vnd.ms-powerpoint"),
    "fox.key": (archive(Index_Document_iwa="x"), "application/vnd.apple.keynote"),
    "fox.pages": (archive(Index_Document_iwa="x"), "application/vnd.apple.pages"),
    "fox.numbers": (archive(Index_Document_iwa="x"), "application/vnd.apple.numbers"),
    "fox.txt": ("Der Fuchs – über den Hund.".encode(), "text/plain"),
    "fox.md": ("# Fox".encode("utf-16"), "text/markdown"),
}
FILES = {"files[]": Media("file")}


async def test_document_is_sent_under_its_own_ending_and_type(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    for name, (data, _) in DOCUMENTS.items():
        (root / name).write_bytes(data + name.encode())

    await send_files(uploads(), {"files": [str(root / name) for name in DOCUMENTS]}, FILES)

    assert [taken.mime_type for taken in taking] == [mime_type for _, mime_type in DOCUMENTS.values()]
    for name, taken in zip(DOCUMENTS, taking, strict=True):
        assert taken.data == DOCUMENTS[name][0] + name.encode()
        assert name.lower().rpartition(".")[2] in {word.rpartition(".")[2] for word in taken.words.split()}


async def test_document_may_be_data_whose_type_is_said(taking: list[Taken], uploads: MakeUploads) -> None:
    data, mime_type = DOCUMENTS["fox.docx"]
    texts = [f"data:{mime_type};base64,{base64.b64encode(data).decode()}", "data:text/plain;charset=utf-8,A%20fox"]

    assert await send_files(uploads(), {"files": texts}, FILES) == {"files": [ADDRESS, ADDRESS]}
    assert [(taken.data, taken.mime_type) for taken in taking] == [(data, mime_type), (b"A fox", "text/plain")]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("fox.docx", b"a shopping list", "its bytes are no document"),
        ("fox.txt", b"a\0b", "its bytes are no document"),
        ("fox.txt", b"", "its bytes are no document"),
        ("fox.csv", b"a;b", "give one of pdf, txt"),
        ("fox.pdf", PNG, "its bytes are no document"),
        ("fox.doc", OLE, "it is DOC, the service takes pdf or txt there; convert it"),
        ("fox.docx", bytes.fromhex("504b0304") + bytes(90), "it is DOCX, the service takes pdf or txt there"),
    ],
)
async def test_file_that_is_no_such_document_is_refused(
    name: str, data: bytes, reason: str, uploads: MakeUploads, root: Path, service: HTTPServer
) -> None:
    (root / name).write_bytes(data)

    with pytest.raises(InvalidArgument) as error:
        await send_files(uploads(), {"files": [str(root / name)]}, {"files[]": Media("file", formats=("pdf", "txt"))})

    assert (error.value.field, service.log) == ("files[0]", [])
    assert reason in str(error.value)


async def test_document_is_sent_only_where_one_is_taken(uploads: MakeUploads, root: Path, service: HTTPServer) -> None:
    (root / "fox.txt").write_text("a shopping list", encoding="utf-8")

    assert "its bytes are no image" in (await refusal(uploads(), root / "fox.txt")).allowed
    with pytest.raises(InvalidArgument, match="its bytes are no picture, clip or sound"):
        await uploads().file("path", str(root / "fox.txt"))
    assert service.log == []


async def test_address_of_a_scheme_that_the_service_knows_goes_out_as_it_is(uploads: MakeUploads) -> None:
    arguments = {"elements": [{"urls": ["asset://asset-2026-Ab", "oss://fox/tail.png?v=1#x", "OSS://fox/tail.png"]}]}
    media = {"elements[].urls[]": Media(("image", "video"), schemes=("asset", "oss"))}

    assert await send_files(uploads(), arguments, media) == arguments
    with pytest.raises(InvalidArgument, match=r"elements\[0\]\.urls\[0\]: 'asset://asset-2026-Ab' is not accepted"):
        await send_files(uploads(), arguments, {"elements[].urls[]": Media("image", schemes=("oss",))})
