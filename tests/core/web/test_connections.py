"""Connections of the HTTP server: limits of time and number, with the real web server and real sockets."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from kie_ai_mcp._web import connections
from kie_ai_mcp._web.connections import Connection, Quiet
from tests.serving import serving

WAIT_S = 10.0
SHORT_S = 0.25
MOST = 8
HEAD = b"GET / HTTP/1.1\r\nHost: kie\r\n"
REQUEST = HEAD + b"\r\n"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: kie\r\nContent-Length: 10\r\n\r\nhalf"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after the time that the path names, with the body; at once, and without reading it, for ``/early``."""
    body = b""
    if scope["path"] != "/early":
        body = await Request(scope, receive).body()
        await asyncio.sleep(float(scope["path"].strip("/") or 0))
    await PlainTextResponse(body or b"done")(scope, receive, send)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server with short limits that takes few connections."""
    monkeypatch.setattr(connections, "HEADERS_S", SHORT_S)
    monkeypatch.setattr(connections, "BODY_S", SHORT_S)
    monkeypatch.setattr(connections, "IDLE_S", SHORT_S)
    options = connections.options() | {"limit_concurrency": MOST + 1}
    with serving(echo, access_log=False, lifespan="off", **options) as port:
        yield port


@pytest.fixture
def connect(port: int) -> Iterator[Callable[[bytes], socket.socket]]:
    with ExitStack() as stack:

        def start(data: bytes) -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
            client.sendall(data)
            return client

        yield start


Connect = Callable[[bytes], socket.socket]


def answer(client: socket.socket) -> bytes:
    """Return what comes until the connection ends, or the first answer has come as a whole."""
    received = b""
    try:
        while (data := client.recv(65_536)) and not (received := received + data).endswith((b"done", b"half, whole")):
            pass
    except ConnectionResetError:
        pass
    return received


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [b"", HEAD, HALF_BODY], ids=["nothing", "head", "body"])
@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
def test_request_that_never_arrives_as_a_whole_ends_its_connection(
    connect: Connect, before: bytes, half: bytes
) -> None:
    client, began = connect(before), time.monotonic()
    if before:
        assert answer(client).endswith(b"done")
    client.sendall(half)
    assert answer(client) == b""
    assert time.monotonic() - began >= SHORT_S / 2


@pytest.mark.parametrize("start", [HEAD, b"POST / HTTP/1.1\r\nHost: kie\r\nContent-Length: 99999\r\n\r\n"])
def test_bytes_that_drip_do_not_lengthen_the_time(connect: Connect, start: bytes) -> None:
    client = connect(start)
    for _ in range(200):
        try:
            client.sendall(b"x")
        except OSError:  # broken, or reset
            return
        time.sleep(SHORT_S / 20)
    raise AssertionError("the connection never ended")


def test_body_that_keeps_coming_may_take_longer(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PART_BYTES", 1000)
    client = connect(b"POST / HTTP/1.1\r\nHost: kie\r\nContent-Length: 10011\r\n\r\n")
    for _ in range(10):
        client.sendall(b"x" * 1000)
        time.sleep(SHORT_S / 5)
    client.sendall(b"half, whole")
    assert answer(client).endswith(b"half, whole")


def test_body_that_was_answered_already_has_no_time_anew(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PART_BYTES", 1000)
    client = connect(b"POST /early HTTP/1.1\r\nHost: kie\r\nContent-Length: 999999\r\n\r\n")
    for _ in range(200):
        try:
            client.sendall(b"x" * 1000)
        except OSError:
            return
        time.sleep(SHORT_S / 20)
    raise AssertionError("the connection never ended")


def test_answer_may_take_longer_than_a_request(connect: Connect) -> None:
    assert answer(connect(b"GET /0.6 HTTP/1.1\r\nHost: kie\r\n\r\n")).endswith(b"done")


def test_each_request_of_a_connection_has_the_time_anew(connect: Connect) -> None:
    client = connect(HEAD)
    for _ in range(3):
        time.sleep(SHORT_S / 2)
        client.sendall(b"\r\n")
        assert answer(client).endswith(b"done")
        client.sendall(HEAD)
    client.sendall(b"\r\n" + HALF_BODY.replace(b"10", b"11"))
    assert answer(client).endswith(b"done")
    client.sendall(b", whole")
    assert answer(client).endswith(b"half, whole")


# Number --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [b"", HEAD], ids=["nothing", "head"])
def test_request_is_answered_however_many_connections_send_none(
    connect: Connect, half: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    others = [connect(half) for _ in range(40 * MOST)]
    assert answer(connect(REQUEST)).endswith(b"done")
    assert {answer(other) for other in others} == {b""}
    assert set(caplog.messages) == {"all connections are in use; the one that sent no request for longest is closed"}


def test_idle_connection_gives_its_place_to_a_new_one(connect: Connect) -> None:
    idle = []
    for _ in range(3 * MOST):
        idle.append(connect(REQUEST))
        assert answer(idle[-1]).endswith(b"done")


def test_request_beyond_those_being_answered_is_told_to_come_back(connect: Connect) -> None:
    busy = [connect(b"GET /1 HTTP/1.1\r\nHost: kie\r\n\r\n") for _ in range(MOST)]
    time.sleep(0.1)
    assert answer(connect(REQUEST)).startswith(b"HTTP/1.1 503 ")
    assert all(answer(client).endswith(b"done") for client in busy)


@pytest.mark.parametrize(
    ("files", "most"), [(64, 8), (128, 40), (256, 104), (1024, 488), (1_048_576, 1000), (-1, 1000)]
)
def test_connections_leave_file_descriptors_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections.most_connections() == most
    backlog = connections.options()["backlog"]
    assert files == -1 or most + backlog < files


# The rest ------------------------------------------------------------------------------------------------------------


def test_small_answers_are_not_held_back(monkeypatch: pytest.MonkeyPatch, connect: Connect) -> None:
    seen: list[int] = []
    made = Connection.connection_made

    def look(self: Connection, transport: asyncio.Transport) -> None:
        made(self, transport)
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(Connection, "connection_made", look)
    assert answer(connect(REQUEST)).endswith(b"done")
    assert seen
    assert all(seen)


def test_rubbish_after_an_early_answer_ends_the_connection_without_a_traceback(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(b"POST /early HTTP/1.1\r\nHost: kie\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    assert answer(client).endswith(b"done")
    client.sendall(b"no chunk at all\r\n\r\n")
    assert answer(client) == b""
    assert [record for record in caplog.records if record.exc_info] == []


def test_exhausted_descriptors_are_one_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log, quiet = logging.getLogger("asyncio"), Quiet()
    log.addFilter(quiet)
    try:
        for _ in range(5):
            try:
                raise OSError(24, "Too many open files")
            except OSError as exc:
                log.error("socket.accept() out of system resource\nsocket: <socket>", exc_info=exc)
        log.error("something else")
    finally:
        log.removeFilter(quiet)
    assert caplog.messages == ["No file descriptor is free for another connection.", "something else"]
    assert [record for record in caplog.records if record.exc_info] == []
