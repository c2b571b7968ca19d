"""Uploads: which files may leave this machine, and that the same bytes leave it once."""

import base64
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp import InvalidArgument, Media
from kie_ai_mcp._media.uploading import Uploads
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.errors import MediaError

pytestmark = pytest.mark.anyio

MakeUploads = Callable[..., Uploads]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(200)
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


async def refusal(uploads: Uploads, path: object) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as error:
        await uploads.addresses({"image_urls": [ADDRESS, str(path)]}, MEDIA)
    assert error.value.field == "image_urls[1]"
    assert error.value.value == str(path)
    return error.value


async def test_local_paths_become_addresses_and_addresses_stay(
    taking: list[Taken], uploads: MakeUploads, root: Path, key: str
) -> None:
    given = {"prompt": "/not/media.png", "image_urls": ["https://x.example/a.png", str(root / "fox.png")], "n": 3}

    changed = await uploads().addresses(given, MEDIA)

    assert changed == {**given, "image_urls": ["https://x.example/a.png", ADDRESS]}
    (taken,) = taking
    assert (taken.data, taken.mime_type, taken.authorization) == (PNG, "image/png", f"Bearer {key}")
    assert "fox" not in taken.words


async def test_same_bytes_are_sent_once_also_by_the_next_server(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "copy.jpg").write_bytes(PNG)

    for name in ("fox.png", "fox.png", "copy.jpg"):
        changed = await uploads().addresses({"image_urls": [str(root / name)]}, MEDIA)
        assert changed == {"image_urls": [ADDRESS]}

    assert len(taking) == 1


async def test_without_an_allowed_folder_no_file_is_looked_at(uploads: MakeUploads, root: Path) -> None:
    for path in (root / "fox.png", root / "nothing.png"):
        error = await refusal(uploads(upload_roots=()), path)
        assert "local files are not allowed yet" in error.allowed
        assert f"KIE_AI_UPLOAD_ROOTS={root}" in error.allowed


async def test_setting_that_a_refusal_of_a_path_names_can_be_used_as_it_is(uploads: MakeUploads) -> None:
    error = await refusal(uploads(upload_roots=()), "pictures/fox.png")

    assert error.allowed.endswith("set KIE_AI_UPLOAD_ROOTS to its absolute path")


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


async def test_folder_whose_name_begins_like_the_allowed_one_is_outside(uploads: MakeUploads, root: Path) -> None:
    beside = root.with_name("allowed-not")
    beside.mkdir()
    (beside / "fox.png").write_bytes(PNG)

    assert "outside" in (await refusal(uploads(), beside / "fox.png")).allowed


async def test_link_inside_the_allowed_folder_may_be_used(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "link.png").symlink_to(root / "fox.png")

    assert await uploads().addresses({"image_urls": [str(root / "link.png")]}, MEDIA) == {"image_urls": [ADDRESS]}


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
    ],
    ids=ascii,
)
async def test_what_is_no_such_picture_is_refused_with_the_reason(
    name: str, reason: str, uploads: MakeUploads, root: Path
) -> None:
    (root / "words.png").write_text("a shopping list", encoding="utf-8")
    (root / "empty.png").touch()
    (root / "big.png").write_bytes(PNG + bytes(1_000_000))

    assert reason in (await refusal(uploads(max_upload_mb=1), f"{root}/{name}")).allowed


async def test_file_above_the_cap_of_its_argument_is_refused_and_not_sent(
    taking: list[Taken], uploads: MakeUploads, root: Path
) -> None:
    (root / "fox.png").write_bytes(PNG + bytes((1 << 20) - len(PNG)))
    marked = {"image_urls": Media("image", most_mb=1)}
    await uploads().addresses({"image_urls": [str(root / "fox.png")]}, marked)
    with (root / "fox.png").open("ab") as file:
        file.write(b"!")
    with pytest.raises(InvalidArgument, match="larger than 1 MB, the most that the service takes there"):
        await uploads().addresses({"image_urls": [str(root / "fox.png")]}, marked)

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
        await uploads().addresses({"image_urls": [str(root / "fox.png")], "video_url": str(root / "fox.png")}, MEDIA)

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

    with pytest.raises(MediaError, match=r"fox\.png could not be uploaded"):
        await sender.addresses({"image_urls": [str(root / "fox.png")]}, MEDIA)

    assert await sender.record.tasks.upload_of((await sender.file("path", str(root / "fox.png"))).sha256) is None


@pytest.mark.parametrize("text", ["PLAIN", "data:image/png;base64,PLAIN"])
async def test_base64_text_is_sent_as_the_file_it_is(text: str, taking: list[Taken], uploads: MakeUploads) -> None:
    sent = await uploads(upload_roots=()).send_data(text.replace("PLAIN", base64.b64encode(PNG).decode()))

    assert (sent.url, sent.size, sent.format.extension) == (ADDRESS, len(PNG), "png")
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
