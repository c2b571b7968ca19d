"""The upload address of the server: bytes of users on other machines become addresses that tools take."""

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, until

if TYPE_CHECKING:
    from tests.wire.conftest import RunIn, SiteIn
    from tests.wire.processes import Site

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def png(shade: int = 0) -> bytes:
    """Return a picture."""
    file = io.BytesIO()
    Image.new("RGB", (400, 400), (200, 80, shade)).save(file, "PNG")
    return file.getvalue()


PICTURE = png()
LARGE = PICTURE + bytes(2_000_000)


@pytest.fixture(scope="module")
def site(site_in: "SiteIn", folder: Path, service: Sandbox) -> Iterator["Site"]:
    (folder / "tmp").mkdir()
    settings = {
        "KIE_AI_HTTP_TOKEN": TOKEN,
        "KIE_AI_UPLOAD_URL": service.upload_url,
        "KIE_AI_MAX_UPLOAD_MB": "1",
        "KIE_AI_ALLOWED_ORIGINS": "https://app.example",
        "TMPDIR": str(folder / "tmp"),
    }
    with site_in(folder, "--host", "0.0.0.0", sandbox=service, **settings) as site:
        site.client.headers.update(BEARER)
        yield site
    assert "Traceback" not in site.child.errors


@pytest.fixture(autouse=True)
def nothing_stays(site: "Site", folder: Path) -> Iterator[None]:
    yield
    until(lambda: not [*(folder / "tmp").iterdir()])


def connect(site: "Site", head: str, body: bytes = b"", token: str = TOKEN) -> socket.socket:
    """Send the beginning of an upload by hand."""
    client = socket.create_connection(("127.0.0.1", int(site.url.rpartition(":")[2])), timeout=LIMIT_S)
    start = f"POST /uploads HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{head}\r\n\r\n"
    client.sendall(start.encode() + body)
    return client


def test_uploaded_bytes_become_an_address_that_a_tool_takes(site: "Site", service: Sandbox) -> None:
    answer = site.client.post("/uploads?name=a%20fox.png", content=PICTURE)
    sent = answer.json()
    assert (answer.status_code, sent["type"], sent["size"]) == (200, "image/png", len(PICTURE))
    assert sent["expires_at"] > "2026"
    assert httpx.get(sent["url"], trust_env=False).content == PICTURE
    made = site.tool("edit_nano_banana", prompt="A fox, uploaded", image_urls=[sent["url"]])
    assert not made["isError"]
    assert service.ledger[-1].body["input"]["image_urls"] == [sent["url"]]
    again = site.client.post("/uploads", content=PICTURE, headers={"Content-Type": "text/html"})
    assert again.json()["url"] == sent["url"]


@pytest.mark.skipif(not all(map(shutil.which, ("sh", "curl"))), reason="there is no shell with curl here")
def test_line_of_a_refused_path_uploads_the_file(site: "Site", tmp_path: Path) -> None:
    picture = tmp_path / "Ann's $(fox) & \u00e9.png"
    picture.write_bytes(PICTURE)
    error = site.tool("upload_file", path=str(picture))["structuredContent"]["error"]
    line = error[error.index("curl -H") :].removesuffix(".")
    done = subprocess.run(
        ["sh", "-c", line], env={"TOKEN": TOKEN, "PATH": os.environ["PATH"]}, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["type"] == "image/png"


def test_body_in_chunks_and_one_that_waits_are_taken(site: "Site") -> None:
    parts = iter([PICTURE[:10], PICTURE[10:]])
    assert site.client.post("/uploads", content=parts).status_code == 200
    with connect(site, f"Content-Length: {len(PICTURE)}\r\nExpect: 100-continue") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(PICTURE)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_document_is_known_by_its_name(site: "Site") -> None:
    pdf = b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
    assert site.client.post("/uploads?name=A%20Paper.PDF", content=pdf).json()["type"] == "application/pdf"
    assert site.client.post("/uploads?name=paper", content=pdf).status_code == 422


@pytest.mark.parametrize("name", ["", "../../fox.png", "/etc/passwd", "fox.png%00.pdf", "%F0%9F%A6%8A.txt"])
@pytest.mark.parametrize("content", [b"", b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", PICTURE[:60]])
def test_what_no_tool_takes_is_refused_and_sent_nowhere(
    site: "Site", service: Sandbox, folder: Path, content: bytes, name: str
) -> None:
    known = sum("upload" in seen.path for seen in service.requests)
    answer = site.client.post(f"/uploads?name={name}", content=content)
    if name.endswith(".txt") and content and content is not PICTURE:
        assert answer.status_code in {200, 422}
        return
    assert answer.status_code == 422
    assert "Send its bytes as the whole body" in answer.json()["error"]
    assert str(folder) not in answer.text
    assert sum("upload" in seen.path for seen in service.requests) == known


def test_file_that_is_too_large_is_refused_before_it_is_read(site: "Site") -> None:
    with connect(site, f"Content-Length: {len(LARGE)}\r\nExpect: 100-continue") as client:
        answer = b""
        while not answer.endswith(b"}"):
            answer += client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 1 MB" in answer


def test_file_of_unknown_size_is_cut_off_at_the_limit(site: "Site") -> None:
    with connect(site, "Transfer-Encoding: chunked") as client:
        for _ in range(3):
            client.sendall(b"%x\r\n%b\r\n" % (len(LARGE), LARGE))
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")  # though the end has not come


def test_client_that_goes_away_leaves_nothing(site: "Site", folder: Path) -> None:
    for head, start in (("Content-Length: 900000", b""), ("Transfer-Encoding: chunked", b"%x\r\n" % 900_000)):
        with connect(site, head, start + LARGE[:500_000]):
            until(lambda: [*(folder / "tmp").rglob("file")])
        until(lambda: not [*(folder / "tmp").iterdir()])


def test_more_uploads_than_few_are_put_off(site: "Site", folder: Path) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(site, "Content-Length: 900000", b"begin"))
        until(lambda: len([*(folder / "tmp").iterdir()]) == 8)
        answer = site.client.post("/uploads", content=PICTURE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    until(lambda: not [*(folder / "tmp").iterdir()])
    assert site.client.post("/uploads", content=PICTURE).status_code == 200


def test_uploads_of_all_users_together_are_bounded(
    site_in: "SiteIn", run_in: "RunIn", service: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    settings = {"KIE_AI_UPLOAD_URL": service.upload_url, "TMPDIR": str(tmp_path / "tmp")}
    with site_in(tmp_path, sandbox=service, **settings) as site, ExitStack() as stack:
        tokens = [
            json.loads(run_in(tmp_path, "users", "add", name, "--json").stdout)["token"] for name in ("ada", "bob")
        ]
        for number in range(8):
            stack.enter_context(connect(site, "Content-Length: 900000", b"begin", token=tokens[number % 2]))
        until(lambda: len([*(tmp_path / "tmp").iterdir()]) == 8)
        for token in tokens:
            answer = site.client.post("/uploads", content=PICTURE, headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_upload_needs_the_token_and_a_known_page(site: "Site") -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{site.url}/uploads", headers=asked, trust_env=False).status_code == 200
    for headers, status in (
        ({}, 401),
        ({"Origin": "https://app.example"}, 401),
        ({**BEARER, "Origin": "https://app.example"}, 200),
        ({**BEARER, "Origin": "https://evil.example"}, 403),
        ({**BEARER, "Host": "evil.example"}, 421),
    ):
        answer = httpx.post(f"{site.url}/uploads", content=PICTURE, headers=headers, trust_env=False)
        assert answer.status_code == status, headers
        assert ("error" in answer.json()) == (status != 200)
    assert site.client.get("/uploads").status_code == 405


def test_failure_of_the_service_is_told_with_its_status(site: "Site", service: Sandbox) -> None:
    service.play("http:500@file-stream-upload")
    answer = site.client.post("/uploads", content=png(99))
    assert answer.status_code in {502, 503}
    assert "Nothing was charged" in answer.json()["error"]


def test_uploads_at_once_come_out_apart(site: "Site") -> None:
    contents = [png(shade) for shade in range(40, 46)]
    with ThreadPoolExecutor(6) as pool:
        answers = [*pool.map(lambda content: site.client.post("/uploads", content=content).json(), contents)]
    found = [hashlib.sha256(httpx.get(answer["url"], trust_env=False).content).digest() for answer in answers]
    assert found == [hashlib.sha256(content).digest() for content in contents], json.dumps(answers)
    assert tempfile.gettempdir() not in json.dumps(answers)
