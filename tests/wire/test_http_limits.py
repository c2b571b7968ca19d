"""Limits of the HTTP server: whatever comes in, in whatever number, paid requests are made, answered and recorded."""

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.wire.conftest import SiteIn
    from tests.wire.processes import Site

resource = pytest.importorskip("resource", reason="there are no such limits on Windows")

FILES = 128
HALF = b"POST /tools/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LIMIT = 16 * 1024 * 1024
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(speed=10_000, rate_limit=1000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def site(site_in: "SiteIn", folder: Path, service: Sandbox) -> Iterator["Site"]:
    """A server that may open few files."""
    setting = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))"
    (folder / "sitecustomize.py").write_text(setting, "utf-8")
    with site_in(folder, sandbox=service, PYTHONPATH=str(folder), KIE_AI_RATE_LIMIT="1000") as site:
        yield site
        log = site.child.errors
    assert "Traceback" not in log
    assert log.count("\n") < 20, log


@pytest.fixture
def attacked(site: "Site") -> Iterator["Site"]:
    """The server while two hundred connections have sent half a request each."""
    with ThreadPoolExecutor(50) as pool, ExitStack() as stack:
        for client in pool.map(lambda _: connect(site), range(200)):
            stack.enter_context(client).sendall(HALF)
        yield site


def connect(site: "Site") -> socket.socket:
    host, port = site.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=LIMIT_S)


def paid(rows: "Rows", folder: Path, prompt: str) -> list[str]:
    """Return the tasks on record that were made for a prompt."""
    return [row["task_id"] for row in rows(folder, "submissions") if json.loads(row["arguments"])["prompt"] == prompt]


# Descriptors ---------------------------------------------------------------------------------------------------------


def test_half_requests_without_end_keep_nobody_from_a_picture(
    attacked: "Site", service: Sandbox, rows: "Rows", folder: Path
) -> None:
    made = attacked.tool("generate_nano_banana", prompt="A fox in a crowd")["structuredContent"]
    (task,) = attacked.tool("wait_for_tasks", task_ids=[made["task_id"]])["structuredContent"]["tasks"]
    assert (task["status"], len(task["files"])) == ("completed", 1)
    assert paid(rows, folder, "A fox in a crowd") == [service.ledger[-1].task_id]


@pytest.mark.skipif(sys.platform != "linux", reason="only there can the limits of another process be set")
def test_paid_request_is_on_record_although_no_descriptor_is_free(
    site: "Site", service: Sandbox, rows: "Rows", folder: Path
) -> None:
    process = site.child.process.pid
    service.play("slow:0.5@createTask")
    with ThreadPoolExecutor(1) as pool:
        before = len(service.ledger)
        calling = pool.submit(site.tool, "generate_nano_banana", prompt="A fox without a descriptor")
        until(lambda: len(service.ledger) > before)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (3, FILES))
        try:
            made = calling.result()["structuredContent"]
        finally:
            resource.prlimit(process, resource.RLIMIT_NOFILE, (FILES, FILES))
    assert made["task_id"] == service.ledger[-1].task_id
    assert paid(rows, folder, "A fox without a descriptor") == [made["task_id"]]
    assert site.tool("list_tasks")["structuredContent"]["tasks"][0]["task_id"] == made["task_id"]


# A hundred times too large -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tools/call", "/mcp", "/callbacks/kie"])
def test_body_that_is_said_to_be_far_too_large_is_refused_unread(site: "Site", path: str) -> None:
    with connect(site) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {100 * LIMIT}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("path", "limit"), [("/tools/call", LIMIT), ("/mcp", LIMIT), ("/callbacks/kie", 1024 * 1024)])
def test_body_that_is_far_too_large_is_refused_before_its_end(site: "Site", path: str, limit: int) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with connect(site) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode())
        client.sendall(b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.settimeout(0.01)
        answer, sent = b"", 0
        while not answer and sent < 100 * limit:
            client.settimeout(20)
            client.sendall(chunk)
            sent += 0x100000
            client.settimeout(0.0001)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                answer = client.recv(100)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert sent < 3 * limit + 8 * 0x100000


def test_headers_that_are_far_too_large_are_refused(site: "Site") -> None:
    with connect(site) as client, contextlib.suppress(OSError):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 100 * 16_384 + b"\r\n\r\n")
        assert client.recv(100)[:13] in {b"HTTP/1.1 400 ", b""}
    assert site.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/tools/call", "/mcp", "/callbacks/kie"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 50_000 + "]" * 50_000])
def test_body_that_is_nested_far_too_deep_is_refused(site: "Site", path: str, text: str) -> None:
    for modern in ({}, {"MCP-Protocol-Version": "2026-07-28"}):
        answer = site.client.post(path, content=text, headers=JSON | modern)
        assert answer.status_code == 400
        assert len(answer.text) < 500


def test_arguments_nested_far_too_deep_are_refused_and_nothing_is_sent(site: "Site", service: Sandbox) -> None:
    before = len(service.requests)
    for arguments in ('{"prompt": %s}', '{"prompt": "a", "sessionId": %s}', '{"prompt": "a", "model": %s}'):
        deep = arguments % ("[" * 900 + "]" * 900)
        body = f'{{"name": "generate_nano_banana", "arguments": {deep}}}'
        answer = site.client.post("/tools/call", content=body, headers=JSON)
        assert answer.status_code in {200, 400}, answer.text
        assert answer.status_code == 400 or answer.json()["isError"] or "sessionId" in arguments
    assert len(service.requests) - before <= 1


# Those who leave -----------------------------------------------------------------------------------------------------


def test_client_that_leaves_inside_a_request_is_no_line_of_the_log(site: "Site") -> None:
    before = site.child.errors
    for path in ("/tools/call", "/mcp", "/callbacks/kie"):
        with connect(site) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Accept: */*\r\nContent-Length: 100\r\n\r\nhalf".encode())
    assert site.client.get("/healthz").status_code == 200
    assert site.child.errors == before
