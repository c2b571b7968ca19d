"""Files of the sandbox: uploads, results and their addresses."""

import base64
import threading
from typing import Any

import httpx
import pytest

from kie_ai_mcp_sandbox import files
from kie_ai_mcp_sandbox.pictures import size
from kie_ai_mcp_sandbox.server import Sandbox

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = base64.b64encode(PIXEL).decode()


def upload(sandbox: Sandbox, client: httpx.Client, way: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{sandbox.upload_url}/api/file-{way}-upload", json=body)
    assert answer.status_code == 200
    read: dict[str, Any] = answer.json()
    return read


@pytest.mark.parametrize("text", [TEXT, f"data:image/png;base64,{TEXT}", f"{TEXT[:20]}\n{TEXT[20:]}"])
def test_base64_upload_can_be_read_back(sandbox: Sandbox, client: httpx.Client, text: str) -> None:
    answer = upload(sandbox, client, "base64", base64Data=text, uploadPath="images/mine", fileName="a fox.png")
    data = answer["data"]
    assert (answer["success"], answer["code"], data["success"]) == (True, 200, True)
    assert (data["fileName"], data["filePath"], data["fileSize"]) == ("a fox.png", "images/mine/a fox.png", len(PIXEL))
    assert data["mimeType"] == "image/png"
    assert data["uploadedAt"].endswith("Z")
    read = client.get(data["downloadUrl"])
    assert (read.content, read.headers["content-type"]) == (PIXEL, "image/png")


def test_upload_without_a_name_gets_one(sandbox: Sandbox, client: httpx.Client) -> None:
    text = f"data:image/png;base64,{TEXT}"
    names = [upload(sandbox, client, "base64", base64Data=text, uploadPath="x")["data"]["fileName"] for _ in range(2)]
    assert names[0] != names[1]
    assert all(name.endswith(".png") for name in names)


@pytest.mark.parametrize("length", [3, 3_000_000])
def test_stream_upload_can_be_read_back(sandbox: Sandbox, client: httpx.Client, length: int) -> None:
    content = bytes(range(256)) * (length // 256) + b"abc"
    answer = client.post(
        f"{sandbox.upload_url}/api/file-stream-upload",
        files={"file": ("clip.mp4", content, "video/mp4")},
        data={"uploadPath": "clips"},
    ).json()
    assert answer["success"] is True
    assert answer["data"]["filePath"] == "clips/clip.mp4"
    read = client.get(answer["data"]["downloadUrl"])
    assert (read.content == content, read.headers["content-type"]) == (True, "video/mp4")
    assert [thread.name for thread in threading.enumerate() if "worker" in thread.name] == []


def test_url_upload_takes_the_sandboxes_own_files(sandbox: Sandbox, client: httpx.Client) -> None:
    first = upload(sandbox, client, "base64", base64Data=TEXT, uploadPath="x", fileName="a.png")["data"]["downloadUrl"]
    data = upload(sandbox, client, "url", fileUrl=first, uploadPath="y")["data"]
    assert data["filePath"] == "y/a.png"
    assert client.get(data["downloadUrl"]).content == PIXEL
    elsewhere = first.replace(sandbox.host, "example.com")
    assert upload(sandbox, client, "url", fileUrl=elsewhere, uploadPath="y")["code"] == 400
    assert client.post("common/download-url", json={"url": elsewhere}).json()["code"] == 422


@pytest.mark.parametrize(
    ("way", "body", "says"),
    [
        ("base64", {"uploadPath": "x"}, "base64Data"),
        ("base64", {"base64Data": TEXT}, "uploadPath"),
        ("base64", {"base64Data": "%%%", "uploadPath": "x"}, "base64Data"),
        ("base64", {"base64Data": TEXT, "uploadPath": "../x", "fileName": "a"}, "usable path"),
        ("base64", {"base64Data": TEXT, "uploadPath": "x", "fileName": "../../a"}, "usable path"),
        ("url", {"uploadPath": "x"}, "fileUrl"),
        ("url", {"uploadPath": "x", "fileUrl": "http://169.254.169.254/latest"}, "fetches nothing"),
        ("url", {"uploadPath": "x", "fileUrl": "http://127.0.0.1:1/files/a.png"}, "fetches nothing"),
        ("stream", {"uploadPath": "x"}, "form"),
    ],
)
def test_unusable_upload_says_why(
    sandbox: Sandbox, client: httpx.Client, way: str, body: dict[str, Any], says: str
) -> None:
    answer = upload(sandbox, client, way, **body)
    assert (answer["success"], answer["code"]) == (False, 400)
    assert says in answer["msg"]


def test_form_without_a_file_says_so(sandbox: Sandbox, client: httpx.Client) -> None:
    url = f"{sandbox.upload_url}/api/file-stream-upload"
    assert client.post(url, files={"other": b"x"}, data={"uploadPath": "x"}).json()["msg"] == "file is required"
    broken = {"Content-Type": "multipart/form-data"}
    assert client.post(url, content=b"x", headers=broken).json()["code"] == 400


def test_upload_beyond_the_limit_is_refused(
    sandbox: Sandbox, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    answer = upload(sandbox, client, "base64", base64Data=TEXT, uploadPath="x", fileName="a.png")
    assert "at most 10 bytes" in answer["msg"]


def test_upload_needs_a_key(sandbox: Sandbox, client: httpx.Client) -> None:
    client.headers["Authorization"] = "Bearer other"
    assert upload(sandbox, client, "base64", base64Data=TEXT, uploadPath="x")["code"] == 401


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("portrait_16_9", (288, 512)),
        ("portrait_3_2", (341, 512)),
        ("portrait_2_3", (341, 512)),
        ("landscape_4_3", (512, 384)),
        ("landscape_3_2", (512, 341)),
        ("landscape_21_9", (512, 219)),
        ("portrait", (288, 512)),
        ("landscape", (512, 288)),
        ("square_hd", (512, 512)),
        ("1024x1536", (341, 512)),
        ("1536*1024", (512, 341)),
        ("Auto", (512, 512)),
        ("1.5K", (512, 512)),
        ("1:0", (512, 512)),
        ("8:1", (512, 64)),
        ("", (512, 512)),
    ],
)
def test_every_word_for_a_shape_is_understood(shape: str, expected: tuple[int, int]) -> None:
    assert size(shape) == expected
