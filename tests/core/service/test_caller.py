"""HTTP calls, and what each ending proves: nothing sent, refused, accepted, or unknown."""

import gc
import gzip
import json
import re
import socket
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import ANSWER_LIMIT, RETRY_AFTER_CEILING_S, Caller, Departure, Reply, clock_of, kie
from kie_ai_mcp._service.envelope import error_of
from kie_ai_mcp._service.transfer import REDIRECTS, file_mark
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import (
    KEYS_PAGE,
    LOGS_PAGE,
    MEANINGS,
    ConfigError,
    KieError,
    MediaError,
    RateLimited,
    ReadFailed,
    Refused,
    ServiceError,
    Unknown,
    meaning_of,
)
from kie_ai_mcp.specs import Accepted, Answer, Gateway
from tests.helpers import unused_port

if TYPE_CHECKING:
    from tests.core.conftest import Line, Raw

pytestmark = pytest.mark.anyio

MakeGateway = Callable[..., Caller]

ACCEPTED = {"code": 200, "msg": "success", "data": {"taskId": "t-1"}}
BODY = {"model": "x", "input": {"prompt": "a fox, ein Füchslein"}}
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"

# What stands where an answer was expected: nothing of it is one, though some of it names a task.
UNREADABLE: dict[str, bytes] = {
    "html": HTML.encode(),
    "cut JSON": b'{"code": 200, "msg": "success", "data": {"taskId": "t-',
    "empty": b"",
    "blank": b" \n",
    "list": json.dumps([ACCEPTED]).encode(),
    "string": b'"success"',
    "number": b"200",
    "null": b"null",
    "no code": b'{"data": {"taskId": "t-1"}}',
    "null code": b'{"code": null, "data": {"taskId": "t-1"}}',
    "true code": b'{"code": true, "data": {"taskId": "t-1"}}',
    "word code": b'{"code": "OK", "data": {"taskId": "t-1"}}',
    "list code": b'{"code": [200], "data": {"taskId": "t-1"}}',
    "endless code": b'{"code": "' + b"2" * 5000 + b'", "data": {"taskId": "t-1"}}',
    "huge code": b'{"code": 1' + b"0" * 30 + b', "data": {"taskId": "t-1"}}',
    "endless number": b'{"code": ' + b"2" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "no text": b"\x00\xff\xfe\x80",
}
NAMES_NO_TASK = {
    name: body for name, body in UNREADABLE.items() if name == "cut JSON" or b"taskId" not in body or name == "list"
}


def http(body: str | bytes, status: str = "200 OK", length: int | None = None, headers: str = "") -> bytes:
    """A whole answer; with `length`, one that announces another length than it has."""
    raw = body.encode() if isinstance(body, str) else body
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(raw) if length is None else length}\r\n{headers}\r\n".encode() + raw
    )


async def end_of(call: Awaitable[Reply | Answer]) -> ServiceError:
    """The error that a call ends in: raised by the gateway, or meant by the answer that it returns."""
    try:
        given = await call
    except ServiceError as error:
        return error
    return error_of(given.answer if isinstance(given, Reply) else given)


# A create that is answered -------------------------------------------------------------------------------------------


async def test_create_is_one_post_with_the_key_and_the_body(
    service: HTTPServer, make_gateway: MakeGateway, key: str
) -> None:
    service.expect_ordered_request(
        "/api/v1/jobs/createTask", "POST", json=BODY, headers={"Authorization": f"Bearer {key}"}
    ).respond_with_json(ACCEPTED)

    reply = await make_gateway(service.url_for("/api/v1/")).create(["jobs/createTask"], BODY)

    assert reply.path == "jobs/createTask"
    assert reply.answer == Answer(200, "success", {"taskId": "t-1"})
    assert len(service.log) == 1


@pytest.mark.parametrize("code", sorted(MEANINGS))
@pytest.mark.parametrize("where", ["as HTTP status", "inside an HTTP 200", "as both"])
async def test_each_code_means_the_same_as_status_and_in_the_envelope(
    where: str, code: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    envelope = {"code": 200 if where == "as HTTP status" else code, "msg": "their words", "data": None}
    service.expect_request("/x").respond_with_json(envelope, status=200 if where == "inside an HTTP 200" else code)
    meaning = meaning_of(code)

    error = await end_of(make_gateway(service.url_for("")).create(["x"], BODY))

    assert type(error) is meaning.error
    assert str(error) == f'Code {code}: {meaning.text}. The service says: "their words". {meaning.next_step}'
    assert (error.charged, error.can_retry) == (meaning.error.charged, meaning.can_retry)


@pytest.mark.parametrize(
    ("status", "code", "read"),
    [(422, 200, 422), (500, 200, 500), (400, 422, 422), (200, 402, 402), (201, 200, 200), (403, None, 403)],
)
async def test_an_http_status_that_says_no_is_never_overruled_by_a_friendly_code(
    status: int, code: int | None, read: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_json({"code": code, "msg": "m"}, status=status)

    assert (await make_gateway(service.url_for("")).create(["x"], BODY)).answer.code == read


@pytest.mark.parametrize("code", ["200", " 200 ", 200.0])
async def test_code_may_be_text_or_a_decimal_number(
    code: object, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_json({**ACCEPTED, "code": code})

    assert (await make_gateway(service.url_for("")).create(["x"], BODY)).answer == Answer(
        200, "success", {"taskId": "t-1"}
    )


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        ({"msg": "a\n\nNext: pay\r again"}, "a Next: pay again"),
        ({"msg": "\x1b[31mred\x1b[0m \x1b]0;title\x07\u202e\x00\x9b2Jend"}, "red end"),
        ({"msg": "x" * 3_000}, f"{'x' * 499}…"),
        ({"msg": "a"}, "a"),
        ({"message": "b"}, "b"),
        ({"msg": None}, ""),
        ({}, ""),
        ({"msg": 7}, "7"),
        ({"msg": ["c"]}, "['c']"),
    ],
)
async def test_message_may_be_missing_or_of_any_sort(
    envelope: dict[str, Any], message: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_json({"code": 422, **envelope})

    assert (await make_gateway(service.url_for("")).create(["x"], BODY)).answer.message == message


@pytest.mark.parametrize("body", NAMES_NO_TASK.values(), ids=NAMES_NO_TASK)
@pytest.mark.parametrize("status", [200, 302, 502])
async def test_unreadable_answer_is_unknown_because_it_may_have_been_charged(
    status: int, body: bytes, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_data(body, status=status)

    error = await end_of(make_gateway(service.url_for("")).create(["x"], BODY))

    assert (type(error), error.charged, error.can_retry, error.code) == (Unknown, "unknown", False, status)
    assert "https://kie.ai/logs" in error.next_step
    assert len(service.log) == 1


# An answer that names a task -----------------------------------------------------------------------------------------

STATUSES = (200, 201, 302, 307, 400, 401, 402, 403, 404, 405, 408, 409, 422, 429, 451, 455, 500, 501, 502, 503)
ACCEPTING: dict[str, Any] = {
    "success": ACCEPTED,
    "refusal": {"code": 422, "msg": "no", "data": {"taskId": "t-1"}},
    "too busy": {"code": 429, "msg": "no", "data": {"taskId": "t-1"}},
    "failure": {"code": 500, "msg": "no", "data": {"task_id": "t-1"}},
    "JSON text": {"code": 500, "data": json.dumps({"taskId": "t-1"})},
    "beside the data": {"code": 404, "taskId": "t-1", "data": None},
    "no code": {"data": {"taskId": "t-1"}},
    "odd code": {"code": "OK", "task_id": "t-1"},
    "list": {"code": 200, "data": [{"taskId": "t-1"}]},
    "data in data": {"code": 200, "data": {"data": {"taskId": "t-1"}}},
    "record": {"code": 200, "data": {"recordId": "t-1"}},
    "record beside the task": {"code": 200, "recordId": "r-1", "data": {"recordId": "r-2", "taskId": "t-1"}},
    "refusal with a task": {"code": 400, "msg": "no", "data": {"task": {"taskId": "t-1"}, "param": {"taskId": "t-0"}}},
    "other case": {"code": 400, "msg": "no", "data": {"taskID": "t-1"}},
}


@pytest.mark.parametrize("body", ACCEPTING.values(), ids=ACCEPTING)
@pytest.mark.parametrize("status", STATUSES)
async def test_answer_that_names_a_task_accepts_whatever_its_codes_say(
    status: int, body: Any, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/new").respond_with_json(body, status=status)

    reply = await make_gateway(service.url_for("")).create(["new", "old"], BODY)

    assert (reply.path, reply.made) == ("new", Accepted("t-1"))
    assert len(service.log) == 1


async def test_answer_with_a_byte_order_mark_is_read(service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/x").respond_with_data("\ufeff" + json.dumps(ACCEPTED))

    assert (await make_gateway(service.url_for("")).create(["x"], BODY)).made == Accepted("t-1")


@pytest.mark.parametrize("task_id", ["", None, 0, False, [], {}, "  "])
async def test_answer_with_an_empty_task_id_names_none(
    task_id: object, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_json({"code": 422, "data": {"taskId": task_id}})

    assert (await make_gateway(service.url_for("")).create(["x"], BODY)).made is None


async def seen(answer: Answer) -> Accepted | None:
    """How a plugin reads an answer of a service that has a word of its own for the task's id."""
    data = answer.data if isinstance(answer.data, dict) else {}
    return Accepted(data["request_id"]) if "request_id" in data else None


async def misread(answer: Answer) -> Accepted | None:
    raise Unknown("The provider misread the answer.")


@pytest.mark.parametrize("status", STATUSES)
async def test_task_that_only_the_plugin_sees_accepts_whatever_the_codes_say(
    status: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/new").respond_with_json({"code": status, "data": {"request_id": "r-1"}}, status=status)

    reply = await make_gateway(service.url_for("")).create(["new", "old"], BODY, read=seen)

    assert (reply.path, reply.made) == ("new", Accepted("r-1"))


@pytest.mark.parametrize("status", STATUSES)
async def test_task_that_is_named_counts_although_the_plugin_fails(
    status: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/new").respond_with_json(ACCEPTED, status=status)

    assert (await make_gateway(service.url_for("")).create(["new"], BODY, read=misread)).made == Accepted("t-1")


async def test_address_that_is_not_served_is_left_although_the_plugin_fails_on_its_answer(
    service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_ordered_request("/new").respond_with_json({"code": 404}, status=404)
    service.expect_ordered_request("/old").respond_with_json(ACCEPTED)

    assert (await make_gateway(service.url_for("")).create(["new", "old"], BODY, read=misread)).path == "old"


# Sizes ---------------------------------------------------------------------------------------------------------------


def endless(line: "Line") -> None:
    """Send a body a hundred times as large as any that is read."""
    line.send(f"HTTP/1.1 200 OK\r\nContent-Length: {100 * ANSWER_LIMIT}\r\n\r\n")
    with suppress(OSError):
        for _ in range(100):
            line.send(b" " * ANSWER_LIMIT)


BOMB = gzip.compress(bytes(100 * ANSWER_LIMIT))


def packed(line: "Line") -> None:
    line.send(http(BOMB, headers="Content-Encoding: gzip\r\n"))


@pytest.mark.parametrize("talk", [endless, packed])
@pytest.mark.parametrize("kind", ["create", "read", "upload", "download"])
async def test_answer_a_hundred_times_too_large_is_no_answer_and_fills_no_memory(
    kind: str, talk: Callable[["Line"], None], raw: "Raw", make_gateway: MakeGateway, tmp_path: Path
) -> None:
    url, _ = raw(talk)
    gateway = make_gateway(url, upload_url=url, max_download_mb=1)
    file = tmp_path / "fox.png"
    file.write_bytes(b"fox")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: gateway.create(["x"], BODY),
        "read": lambda: gateway.read(["x"], {}),
        "upload": lambda: transfer.upload(gateway, file, file_mark(file.stat()), "fox.png", "image/png"),
        "download": lambda: fetched(gateway, f"{url}/a.png"),
    }
    await gateway.connections.client("read", url)
    tracemalloc.start()
    try:
        with pytest.raises({"create": Unknown, "read": ReadFailed}.get(kind, MediaError)):
            await calls[kind]()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 30 * ANSWER_LIMIT


async def test_time_of_the_service_is_read_without_its_endless_answer(raw: "Raw", make_gateway: MakeGateway) -> None:
    def endless_with_date(line: "Line") -> None:
        line.send("HTTP/1.1 200 OK\r\nDate: Mon, 20 Apr 2026 10:00:00 GMT\r\nContent-Length: 100000000\r\n\r\n ")
        line.stall()

    url, _ = raw(endless_with_date)

    assert await clock_of(make_gateway(url)) == datetime(2026, 4, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize("packing", ["br", "zstd", "deflate", "compress", "gzip, gzip", "x\x1b[31m"])
@pytest.mark.parametrize("kind", ["create", "read", "download"])
async def test_packing_that_was_not_asked_for_is_refused(
    kind: str, packing: str, raw: "Raw", make_gateway: MakeGateway
) -> None:
    body = http(json.dumps(ACCEPTED), headers=f"Content-Encoding: {packing}\r\n")
    url, received = raw(lambda line: line.send(body))
    gateway = make_gateway(url)
    call = {"create": gateway.create(["x"], BODY), "read": gateway.read(["x"], {}), "download": fetched(gateway, url)}

    with pytest.raises((Unknown, ReadFailed, MediaError)) as error:
        await call.pop(kind)

    assert "which was not asked for" in error.value.message or "\\x1b" in packing
    assert b"accept-encoding: gzip\r\n" in received[0].lower()
    for other in call.values():
        other.close()


async def test_packed_answer_is_read(service: HTTPServer, make_gateway: MakeGateway) -> None:
    content = gzip.compress(json.dumps(ACCEPTED).encode())
    service.expect_request("/x").respond_with_data(content, headers={"Content-Encoding": "gzip"})

    assert (await make_gateway(service.url_for("")).create(["x"], BODY)).made == Accepted("t-1")


async def test_packed_answer_that_ends_early_is_unknown(service: HTTPServer, make_gateway: MakeGateway) -> None:
    content = gzip.compress(json.dumps(ACCEPTED).encode())[:-4]
    service.expect_request("/x").respond_with_data(content, headers={"Content-Encoding": "gzip"})

    with pytest.raises(Unknown, match="it ends before its packed content does"):
        await make_gateway(service.url_for("")).create(["x"], BODY)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_number_that_is_none_never_enters(number: str, service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/x").respond_with_data(f'{{"code": 200, "data": {{"credits": {number}, "progress": 0.5}}}}')

    assert (await make_gateway(service.url_for("")).read(["x"], {})).data == {"credits": None, "progress": 0.5}


@pytest.mark.parametrize("body", [HTML, "", "[]", "null"])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 422, 429, 451, 455])
async def test_http_status_that_says_no_is_believed_whatever_its_body(
    status: int, body: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_data(body, status=status)

    error = await end_of(make_gateway(service.url_for("")).create(["x"], BODY))

    assert type(error) is meaning_of(status).error
    assert issubclass(meaning_of(status).error, Refused)
    assert (error.code, error.charged) == (status, "no")


async def test_answer_that_never_ends_is_read_only_so_far(service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/x").respond_with_data(json.dumps({**ACCEPTED, "pad": "x" * (ANSWER_LIMIT + 1)}))

    with pytest.raises(Unknown, match="larger than 2 MB, the most that is read"):
        await make_gateway(service.url_for("")).create(["x"], BODY)


async def test_read_of_an_answer_that_is_too_large_says_so(service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/x").respond_with_data(json.dumps({**ACCEPTED, "pad": "x" * ANSWER_LIMIT}))

    with pytest.raises(ReadFailed, match="larger than 2 MB, the most that is read") as error:
        await make_gateway(service.url_for("")).read(["x"], {})

    assert (error.value.can_retry, error.value.next_step) == (False, f"Look for the task at {LOGS_PAGE}.")


# A create that is not answered ---------------------------------------------------------------------------------------


async def test_connection_refused_is_refused_and_nothing_was_sent(make_gateway: MakeGateway) -> None:
    with pytest.raises(Refused) as error:
        await make_gateway(f"http://127.0.0.1:{unused_port()}").create(["x"], BODY)

    assert "nothing was sent" in error.value.message
    assert (error.value.charged, error.value.can_retry, error.value.code) == ("no", True, None)


async def test_connection_that_was_refused_once_is_tried_again(
    make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = unused_port()
    requests: list[bytes] = []

    def serve_once(listener: socket.socket) -> None:
        with listener:
            connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(65_536))
            connection.sendall(http(json.dumps(ACCEPTED)))

    async def pause(_seconds: float) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        listener.settimeout(5)
        group.start_soon(anyio.to_thread.run_sync, serve_once, listener)

    monkeypatch.setattr("kie_ai_mcp._service.caller.anyio.sleep", pause)
    async with anyio.create_task_group() as group:
        reply = await make_gateway(f"http://127.0.0.1:{port}").create(["x"], BODY)

    assert reply.answer.code == 200
    assert [request[:7] for request in requests] == [b"POST /x"]


async def test_failed_handshake_is_refused_and_not_a_byte_of_the_request_left(
    raw: "Raw", make_gateway: MakeGateway, key: str
) -> None:
    hello: list[bytes] = []
    url, _ = raw(lambda line: hello.append(line.receive()), reads=False)

    with pytest.raises(Refused, match="nothing was sent") as error:
        await make_gateway(url.replace("http:", "https:")).create(["x"], BODY)

    assert error.value.charged == "no"
    assert hello
    assert not [data for data in hello if b"POST" in data or key.encode() in data or b"fox" in data]


@pytest.fixture
def swept() -> Iterator[None]:
    """Collects the socket of a handshake that was given up, which the HTTP library leaves to the garbage collector."""
    yield
    gc.collect()


@pytest.mark.usefixtures("swept")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_handshake_that_takes_too_long_is_refused(raw: "Raw", make_gateway: MakeGateway) -> None:
    url, _ = raw(lambda line: line.stall(), reads=False)

    with pytest.raises(Refused, match="nothing was sent") as error:
        await make_gateway(url.replace("http:", "https:"), timeout=100).create(["x"], BODY)

    assert error.value.charged == "no"


def resets(line: "Line") -> None:
    line.reset()


def closes(line: "Line") -> None:
    pass


def closes_inside_the_head(line: "Line") -> None:
    line.send("HTTP/1.1 200 OK\r\nContent-Le")


def closes_inside_the_body(line: "Line") -> None:
    line.send(http('{"code": 200', length=80))


def resets_inside_the_body(line: "Line") -> None:
    line.send(http('{"code": 200', length=80))
    line.reset()


def breaks_a_chunk(line: "Line") -> None:
    line.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort")


def talks_nonsense(line: "Line") -> None:
    line.send("SSH-2.0-OpenSSH_9.2\r\n")


def sends_broken_gzip(line: "Line") -> None:
    line.send(http(b"\x1f\x8bnothing", headers="Content-Encoding: gzip\r\n"))


def says_nothing(line: "Line") -> None:
    line.stall()


def drips(line: "Line") -> None:
    line.send(http("", length=1000))
    for _ in range(100):
        line.send(" ")
        line.stall(0.02)


def patience(talk: Callable[["Line"], None]) -> int:
    """Milliseconds: short where the end of them is what is tested, else more than enough."""
    return 500 if talk in {says_nothing, drips} else 5000


SILENCES = [
    resets,
    closes,
    closes_inside_the_head,
    closes_inside_the_body,
    resets_inside_the_body,
    breaks_a_chunk,
    talks_nonsense,
    sends_broken_gzip,
    says_nothing,
    drips,
]


@pytest.mark.parametrize("talk", SILENCES)
async def test_request_that_left_and_was_not_answered_is_unknown_and_sent_once(
    talk: Callable[["Line"], None], raw: "Raw", make_gateway: MakeGateway
) -> None:
    url, received = raw(talk)

    with pytest.raises(Unknown) as error:
        await make_gateway(url, timeout=patience(talk)).create(["x", "y"], BODY)

    assert error.value.message.startswith("The request was sent to x, but no readable answer came (")
    assert (error.value.charged, error.value.can_retry, error.value.code) == ("unknown", False, None)
    assert [request.split(b" ", 2)[:2] for request in received] == [[b"POST", b"/x"]]


async def test_connection_that_dies_while_the_request_is_sent_is_unknown(raw: "Raw", make_gateway: MakeGateway) -> None:
    def hangs_up(line: "Line") -> None:
        line.receive()
        line.reset()

    url, received = raw(hangs_up, reads=False)

    with pytest.raises(Unknown):
        await make_gateway(url).create(["x"], {"prompt": "x" * 5_000_000})

    assert len(received) == 1


async def test_each_create_has_a_connection_of_its_own(raw: "Raw", make_gateway: MakeGateway) -> None:
    def answers_and_stays(line: "Line") -> None:
        line.send(http(json.dumps(ACCEPTED)))
        line.stall(0.05)

    url, received = raw(answers_and_stays)
    gateway = make_gateway(url)

    for _ in range(2):
        assert (await gateway.create(["x"], BODY)).answer.code == 200

    assert len(received) == 2


@pytest.mark.parametrize(
    ("status", "error"), [(301, Refused), (307, Refused), (308, Refused), (302, Unknown), (303, Unknown)]
)
async def test_redirect_of_a_create_is_not_followed_and_refused_only_where_it_says_moved(
    status: int, error: type[KieError], raw: "Raw", make_gateway: MakeGateway
) -> None:
    elsewhere, seen = raw(lambda line: line.send(http(json.dumps(ACCEPTED))))
    url, received = raw(lambda line: line.send(http("", f"{status} Moved", headers=f"Location: {elsewhere}\r\n")))

    with pytest.raises(error):
        await make_gateway(url).create(["x", "y"], BODY)

    assert (len(received), len(seen)) == (1, 0)


# What never leaves ---------------------------------------------------------------------------------------------------


async def test_without_a_key_nothing_is_sent(service: HTTPServer, make_gateway: MakeGateway) -> None:
    gateway = make_gateway(service.url_for(""), api_key=None)

    for call in (gateway.create(["x"], BODY), gateway.read(["x"], {})):
        with pytest.raises(ConfigError, match="nothing was sent") as error:
            await call
        assert "KIE_AI_API_KEY" in error.value.next_step
        assert KEYS_PAGE in error.value.next_step

    assert service.log == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, b"x"])
async def test_body_that_no_request_can_carry_is_an_error_and_nothing_was_sent(
    value: object, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    with pytest.raises(KieError) as error:
        await make_gateway(service.url_for("")).create(["x"], {"prompt": value})

    assert error.value.charged == "no"
    assert service.log == []


async def test_plugin_that_names_no_address_is_refused(make_gateway: MakeGateway) -> None:
    gateway = make_gateway("http://127.0.0.1:1")

    with pytest.raises(Refused, match="names no address"):
        await gateway.create([], BODY)
    with pytest.raises(ReadFailed, match="names no address"):
        await gateway.read([], {})


# Addresses that were renamed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["", HTML, json.dumps({"code": 404, "msg": "No such path", "data": None})])
@pytest.mark.parametrize("status", [404, 405])
async def test_path_that_is_not_served_is_followed_by_the_next_and_the_used_one_is_named(
    status: int, body: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_ordered_request("/new", "POST", json=BODY).respond_with_data(body, status=status)
    service.expect_ordered_request("/old", "POST", json=BODY).respond_with_json(ACCEPTED)

    reply = await make_gateway(service.url_for("")).create(["new", "old", "older"], BODY)

    assert (reply.path, reply.answer.data) == ("old", {"taskId": "t-1"})
    assert [request.path for request, _ in service.log] == ["/new", "/old"]


async def test_request_whose_next_address_cant_be_reached_is_refused_and_not_unknown(make_gateway: MakeGateway) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_once() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            listener.close()
            connection.sendall(http("", "404 Not Found"))

    threading.Thread(target=serve_once, daemon=True).start()
    departure = Departure()

    with pytest.raises(Refused, match="nothing was sent"):
        await make_gateway(f"http://127.0.0.1:{listener.getsockname()[1]}").create(["new", "old"], BODY, departure)

    assert not departure.sent


@pytest.mark.parametrize("status", [404, 405])
async def test_where_no_address_is_served_the_last_answer_counts(
    status: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    for path in ("/new", "/old"):
        service.expect_request(path).respond_with_data(HTML, status=status)

    reply = await make_gateway(service.url_for("")).create(["new", "old"], BODY)

    assert (reply.path, reply.answer) == ("old", Answer(status, ""))
    assert type(error_of(reply.answer)) is Refused


@pytest.mark.parametrize(
    ("status", "code"),
    [(200, 404), (200, 405), *((status, status) for status in (400, 401, 403, 409, 410, 422, 429, 455, 500, 501, 503))],
)
async def test_nothing_else_moves_on(status: int, code: int, service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/new").respond_with_json({"code": code, "msg": "m"}, status=status)
    error = await end_of(make_gateway(service.url_for("")).create(["new", "old"], BODY))

    assert error.code == code
    assert [request.path for request, _ in service.log] == ["/new"]


# Waiting as asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("86400", RETRY_AFTER_CEILING_S),
        ("9" * 500, RETRY_AFTER_CEILING_S),
        ("-5", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [200, 429])
async def test_retry_after_is_reported_in_seconds_and_has_a_ceiling(
    status: int, header: str, seconds: float | None, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_json({"code": 429}, status=status, headers={"Retry-After": header})

    with pytest.raises(RateLimited) as error:
        await make_gateway(service.url_for("")).create(["x"], BODY)

    assert (error.value.retry_after_s, error.value.code, error.value.can_retry) == (seconds, 429, True)
    assert len(service.log) == 1


# The key -------------------------------------------------------------------------------------------------------------


def echo(key: str) -> str:
    return f"Authorization: Bearer {key}; https://proxy.example/v1?key={quote(key, safe='')}"


@pytest.mark.parametrize("status", [200, 401, 422, 502])
@pytest.mark.parametrize(
    "write",
    [
        lambda text: json.dumps({"code": 401, "msg": text}),
        lambda text: json.dumps({"code": 401, "msg": text}).replace("/", r"\/"),
        lambda text: f"<html>{text}</html>",
    ],
    ids=["envelope", "escaped envelope", "HTML"],
)
@pytest.mark.parametrize("call", ["create", "read"])
async def test_key_that_the_service_echoes_is_masked(
    call: str, write: Callable[[str], str], status: int, service: HTTPServer, make_gateway: MakeGateway, key: str
) -> None:
    service.expect_request("/x").respond_with_data(write(echo(key)), status=status)
    gateway = make_gateway(service.url_for(""))

    error = await end_of(gateway.create(["x"], BODY) if call == "create" else gateway.read(["x"], {}))

    text = f"{error} {error!r} {error.__cause__!r}"
    assert key not in text.replace("\\", "")
    assert quote(key, safe="") not in text


async def test_key_too_short_to_be_one_damages_no_answer(service: HTTPServer) -> None:
    service.expect_request("/x").respond_with_json({"code": 200, "msg": "ok", "data": {"taskId": "task-1"}})
    settings = Settings.model_validate({"api_key": "k", "base_url": service.url_for("").rstrip("/")})
    caller = Caller(settings, kie(settings))
    reply = await caller.create(["x"], BODY)
    await caller.close()
    assert reply.answer.data == {"taskId": "task-1"}


@pytest.mark.parametrize("call", ["create", "read"])
async def test_key_is_masked_also_where_a_long_text_is_cut_inside_it(
    call: str, service: HTTPServer, make_gateway: MakeGateway, key: str
) -> None:
    gateway = make_gateway(service.url_for(""))
    for status, places in ((200, (485, 490, 495)), (422, (185, 190, 195)), (502, (45, 50, 55))):
        for place in places:
            text = f"{'-' * place}{key}{'-' * 600}"
            body = json.dumps({"code": 422, "msg": text}) if status == 200 else text
            service.expect_oneshot_request("/x").respond_with_data(body, status=status)

            shown = str(await end_of(gateway.create(["x"], BODY) if call == "create" else gateway.read(["x"], {})))

            # All around it are dashes: a letter after one is the key's, and a mask begins with a bracket.
            assert not re.search(rf"--{key[0]}", shown)


# A read --------------------------------------------------------------------------------------------------------------


async def test_read_is_a_get_with_key_and_parameters(service: HTTPServer, make_gateway: MakeGateway, key: str) -> None:
    service.expect_request(
        "/api/v1/jobs/recordInfo", "GET", query_string={"taskId": "a/b c"}, headers={"Authorization": f"Bearer {key}"}
    ).respond_with_json({"code": 200, "msg": "ok", "data": {"state": "success"}})

    answer = await make_gateway(service.url_for("/api/v1")).read(["jobs/recordInfo"], {"taskId": "a/b c"})

    assert answer == Answer(200, "ok", {"state": "success"})


@pytest.mark.parametrize("params", [{}, {"full": True}])
async def test_query_in_an_address_is_sent(
    params: dict[str, Any], service: HTTPServer, make_gateway: MakeGateway
) -> None:
    sent = {"ref": "1", **({"full": "true"} if params else {})}
    service.expect_request("/v1/job", "GET", query_string=sent).respond_with_json({"code": 200, "msg": "", "data": {}})
    caller = make_gateway(service.url_for("/v1"))

    for path in ("job?ref=1", service.url_for("/v1/job?ref=1")):
        assert (await caller.read([path], params)).code == 200


@pytest.mark.parametrize("code", [400, 401, 404, 422, 429, 500])
@pytest.mark.parametrize("status", [200, None])
async def test_read_that_is_refused_is_an_answer_with_its_code(
    status: int | None, code: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_json({"code": code, "msg": "m"}, status=status or code)

    assert await make_gateway(service.url_for("")).read(["x"], {}) == Answer(code, "m")


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_read_is_a_failed_read(body: bytes, service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/x").respond_with_data(body)

    with pytest.raises(ReadFailed) as error:
        await make_gateway(service.url_for("")).read(["x"], {})

    assert (error.value.charged, error.value.can_retry) == ("no", True)


@pytest.mark.parametrize("talk", SILENCES)
async def test_read_without_an_answer_is_a_failed_read(
    talk: Callable[["Line"], None], raw: "Raw", make_gateway: MakeGateway
) -> None:
    url, received = raw(talk)

    with pytest.raises(ReadFailed) as error:
        await make_gateway(url, timeout=patience(talk)).read(["x", "y"], {})

    assert (error.value.charged, error.value.can_retry) == ("no", True)
    assert len(received) == 1


async def test_read_without_a_connection_is_a_failed_read(make_gateway: MakeGateway) -> None:
    with pytest.raises(ReadFailed, match="could not be read"):
        await make_gateway(f"http://127.0.0.1:{unused_port()}").read(["x"], {})


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", ["", HTML, json.dumps({"code": 404, "msg": "No such path", "data": None})])
async def test_read_moves_on_where_the_address_is_not_served(
    status: int, body: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_ordered_request("/new").respond_with_data(body, status=status)
    service.expect_ordered_request("/old").respond_with_json({"code": 200, "data": {"state": "success"}})

    answer = await make_gateway(service.url_for("")).read(["new", "old"], {})

    assert answer.data == {"state": "success"}


@pytest.mark.parametrize("older", [HTML, json.dumps({"code": 404, "msg": "No such path"})])
async def test_read_of_a_record_that_no_address_has_tells_what_the_first_said(
    older: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/new").respond_with_json({"code": 404, "msg": "no record"}, status=404)
    service.expect_request("/old").respond_with_data(older, status=404)

    assert await make_gateway(service.url_for("")).read(["new", "old"], {}) == Answer(404, "no record")


# A download ----------------------------------------------------------------------------------------------------------


async def fetched(gateway: Caller, url: str) -> bytes:
    with anyio.fail_after(5):
        async with transfer.download(gateway, url) as chunks:
            return b"".join([chunk async for chunk in chunks])


async def test_result_is_fetched_from_the_service_itself_without_the_key(
    service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/files/a.png").respond_with_data(b"\x00picture")

    gateway = make_gateway(service.url_for("/api/v1"))

    assert await fetched(gateway, service.url_for("/files/a.png?x=1")) == b"\x00picture"
    ((request, _),) = service.log
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:PORT"])
async def test_result_of_a_trusted_host_is_fetched_although_it_is_private(
    host: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/a.png").respond_with_data(b"picture")
    gateway = make_gateway("https://api.kie.ai/api/v1", trusted_hosts=(host.replace("PORT", str(service.port)),))

    assert await fetched(gateway, f"http://127.0.0.1:{service.port}/a.png") == b"picture"


@pytest.mark.parametrize("chosen", [True, False], ids=["the user's", "the provider's"])
async def test_private_address_of_a_service_is_trusted_only_where_the_user_wrote_it(
    chosen: bool, service: HTTPServer
) -> None:
    service.expect_request("/files/a.png").respond_with_data(b"picture")
    address = service.url_for("/queue")
    sections = {"stranger": {"base_url": address}} if chosen else {}
    settings = Settings.model_validate({"providers": sections})
    caller = Caller(settings, Gateway("stranger", "Stranger", address, key="k-123456"))
    try:
        if chosen:
            assert await fetched(caller, service.url_for("/files/a.png")) == b"picture"
        else:
            with pytest.raises(MediaError, match="leads to the private address"):
                await fetched(caller, service.url_for("/files/a.png"))
            assert service.log == []
    finally:
        await caller.close()


@pytest.mark.parametrize("trusted", ["127.0.0.1:1", "localhost:PORT", "127.0.0", "127.0.0.1:PORT0"])
async def test_trust_in_one_host_and_port_is_no_trust_in_another(
    trusted: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    gateway = make_gateway("https://api.kie.ai", trusted_hosts=(trusted.replace("PORT", str(service.port)),))

    with pytest.raises(MediaError, match=r"private address 127\.0\.0\.1"):
        await fetched(gateway, f"http://127.0.0.1:{service.port}/a.png")

    assert service.log == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "localhost",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::169.254.169.254]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2001:0:7f00:1::]",
        "[fec0::1]",
        "192.0.0.192",
        "168.63.129.16",
        "[fd00:ec2::254]",
    ],
)
async def test_private_address_is_never_fetched_from(host: str, make_gateway: MakeGateway) -> None:
    for url in (f"http://{host}/a.png", f"https://user:word@{host}:8443/a.png"):
        with pytest.raises(MediaError) as error:
            await fetched(make_gateway("https://api.kie.ai/api/v1"), url)

        assert "leads to the private address" in error.value.message
        assert "KIE_AI_TRUSTED_HOSTS" in error.value.next_step


@pytest.mark.parametrize(
    ("address", "networks", "fetched_from"),
    [
        ("127.0.0.1", ("127.0.0.0/8",), True),
        ("127.0.0.1", ("fd00::/8", "127.0.0.1"), True),
        ("127.0.0.1", ("127.0.0.2/32", "10.0.0.0/8"), False),
        ("198.18.0.7", (), False),
    ],
)
async def test_private_address_in_a_trusted_range_is_fetched_from(
    address: str,
    networks: tuple[str, ...],
    fetched_from: bool,
    service: HTTPServer,
    make_gateway: MakeGateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers_for_every_name(monkeypatch, address)
    if fetched_from:
        service.expect_request("/a.png", headers={"Host": f"files.example:{service.port}"}).respond_with_data(
            b"picture"
        )
    gateway = make_gateway("https://api.kie.ai/api/v1", trusted_networks=tuple(map(ip_network, networks)))
    url = f"http://files.example:{service.port}/a.png"

    if fetched_from:
        assert await fetched(gateway, url) == b"picture"
        return
    with pytest.raises(MediaError, match="leads to the private address") as error:
        await fetched(gateway, url)
    assert "KIE_AI_TRUSTED_NETWORKS" in error.value.next_step
    assert ("198.18.0.0/15" in error.value.next_step) == address.startswith("198.18")


@pytest.mark.parametrize("dead", [("127.0.0.9",), ("127.0.0.9", "::1"), ("127.0.0.8", "127.0.0.9")])
async def test_next_address_of_a_host_is_used_where_the_first_is_dead(
    dead: tuple[str, ...], service: HTTPServer, make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_for_every_name(monkeypatch, *dead, "127.0.0.1")
    service.expect_request("/a.png").respond_with_data(b"picture")
    service.expect_request("/x").respond_with_json(ACCEPTED)
    url = f"http://host.example:{service.port}"
    networks = (ip_network("127.0.0.0/8"), ip_network("::1"))
    gateway = make_gateway(url, trusted_networks=networks)
    elsewhere = make_gateway("https://api.kie.ai", trusted_networks=networks)

    assert await fetched(elsewhere, f"{url}/a.png") == b"picture"
    assert (await gateway.create(["x"], BODY)).made == Accepted("t-1")
    assert len(service.log) == 2


async def test_download_that_began_is_not_begun_again_at_the_next_address(
    raw: "Raw", make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, received = raw(resets)
    answers_for_every_name(monkeypatch, "127.0.0.1", "127.0.0.1", "127.0.0.9")
    gateway = make_gateway("https://api.kie.ai", trusted_networks=(ip_network("127.0.0.0/8"),))

    with pytest.raises(MediaError, match="could not be fetched"):
        await fetched(gateway, url.replace("127.0.0.1", "host.example"))

    assert len(received) == 1


def answers_for_every_name(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def look_up(_host: object, port: int, *_args: object, **_options: object) -> list[Any]:
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def test_every_request_names_this_program(service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/x").respond_with_json(ACCEPTED)
    gateway = make_gateway(service.url_for(""))

    await gateway.create(["x"], BODY)
    await gateway.read(["x"], {})
    await fetched(gateway, service.url_for("/x"))

    agents = {request.headers["User-Agent"] for request, _ in service.log}
    assert agents == {f"kie-ai-mcp-server/{version('kie-ai-mcp-core')}"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_a_private_address_is_not_followed(
    status: int, raw: "Raw", make_gateway: MakeGateway
) -> None:
    private, seen = raw(lambda line: line.send(http("secret")))
    url, received = raw(lambda line: line.send(http("", f"{status} Moved", headers=f"Location: {private}/a\r\n")))
    gateway = make_gateway("https://api.kie.ai", trusted_hosts=(url.removeprefix("http://"),))

    with pytest.raises(MediaError, match=r"leads to the private address 127\.0\.0\.1"):
        await fetched(gateway, f"{url}/a.png")

    assert (len(received), seen) == (1, [])


async def test_proxy_is_given_the_name_that_the_certificate_is_for(
    raw: "Raw", make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(*args: Any, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))]

    monkeypatch.setattr(anyio, "getaddrinfo", look_up)
    proxy, received = raw(lambda line: line.send(http("", "403 Forbidden")))
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(MediaError):
        await fetched(make_gateway("https://api.kie.ai/api/v1"), "https://files.example/a.png")

    assert received[0].startswith(b"CONNECT files.example:443 ")


async def test_redirect_to_another_scheme_is_not_followed(service: HTTPServer, make_gateway: MakeGateway) -> None:
    for target in ("file:///etc/passwd", "ftp://x.example/a"):
        service.expect_oneshot_request("/a.png").respond_with_data("", 302, headers={"Location": target})

        with pytest.raises(MediaError, match="is not a web address"):
            await fetched(make_gateway(service.url_for("")), service.url_for("/a.png"))


async def test_redirects_among_trusted_addresses_are_followed_so_far(
    service: HTTPServer, make_gateway: MakeGateway
) -> None:
    def hop(request: Request) -> Response:
        left = int(request.args["left"])
        return Response("picture") if left == 0 else Response("", 302, {"Location": f"/a.png?left={left - 1}"})

    service.expect_request("/a.png").respond_with_handler(hop)
    gateway = make_gateway(service.url_for(""))

    assert await fetched(gateway, service.url_for(f"/a.png?left={REDIRECTS}")) == b"picture"
    with pytest.raises(MediaError, match=f"redirects more than {REDIRECTS} times"):
        await fetched(gateway, service.url_for(f"/a.png?left={REDIRECTS + 1}"))


@pytest.mark.parametrize("status", [300, 301, 302, 304, 305, 307])
async def test_redirect_to_nowhere_is_an_error(status: int, service: HTTPServer, make_gateway: MakeGateway) -> None:
    service.expect_request("/a.png").respond_with_data("", status)

    with pytest.raises(MediaError, match=f"HTTP {status}"):
        await fetched(make_gateway(service.url_for("")), service.url_for("/a.png"))


@pytest.mark.parametrize("status", [204, 206, 403, 404, 410, 429, 500])
async def test_any_other_status_is_an_error_with_advice(
    status: int, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/a.png").respond_with_data("gone", status)

    with pytest.raises(MediaError) as error:
        await fetched(make_gateway(service.url_for("")), service.url_for("/a.png"))

    assert error.value.message.endswith(f"answered HTTP {status}.")
    assert "read anew by get_task_status" in error.value.next_step
    assert ("lets no program fetch it" in error.value.next_step) == (status == 403)
    assert error.value.can_retry == (status in {429, 500})


@pytest.mark.parametrize("announced", [True, False])
async def test_file_larger_than_the_cap_is_refused(announced: bool, raw: "Raw", make_gateway: MakeGateway) -> None:
    def endless(line: "Line") -> None:
        line.send(http("", length=10**12) if announced else "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(64):
            line.send(bytes(65_536))

    url, _ = raw(endless)

    with pytest.raises(MediaError) as error:
        await fetched(make_gateway(url, max_download_mb=1), f"{url}/a.png")

    assert "is larger than 1 MB" in error.value.message
    assert "KIE_AI_MAX_DOWNLOAD_MB" in error.value.next_step


async def test_packed_file_is_measured_unpacked(service: HTTPServer, make_gateway: MakeGateway) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    service.expect_request("/a.png").respond_with_data(bomb, headers={"Content-Encoding": "gzip"})

    with pytest.raises(MediaError, match="larger than 1 MB"):
        await fetched(make_gateway(service.url_for(""), max_download_mb=1), service.url_for("/a.png"))


async def test_download_that_only_drips_is_given_up(raw: "Raw", make_gateway: MakeGateway) -> None:
    def endless(line: "Line") -> None:
        line.send(http("", length=10**6))
        for _ in range(200):
            line.send(" ")
            line.stall(0.05)

    url, _ = raw(endless)

    with anyio.fail_after(5), pytest.raises(MediaError, match="comes too slowly") as error:
        await fetched(make_gateway(url, timeout=500), f"{url}/a.png")

    assert error.value.can_retry


@pytest.mark.parametrize("talk", [talk for talk in SILENCES if talk is not drips])
async def test_broken_download_is_an_error_that_can_be_retried(
    talk: Callable[["Line"], None], raw: "Raw", make_gateway: MakeGateway
) -> None:
    url, _ = raw(talk)

    with pytest.raises(MediaError, match="could not be fetched") as error:
        await fetched(make_gateway(url, timeout=patience(talk)), f"{url}/a.png")

    assert error.value.can_retry


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "//x.example/a.png",
        "file:///etc/passwd",
        "ftp://x.example/a.png",
        "http://",
        "http:///a.png",
        "http://[::1",
        "http://127.0.0.1:99999/a.png",
        "http://127.0.0.1:x/a.png",
        "http://127.0.0.1\\@x.example:80:80/",
        "http://x.example\u2100/a.png",
    ],
)
async def test_result_that_is_no_web_address_is_an_error(url: str, make_gateway: MakeGateway) -> None:
    with pytest.raises(MediaError):
        await fetched(make_gateway("http://127.0.0.1:1"), url)


async def test_host_that_is_not_found_is_an_error_that_can_be_retried(make_gateway: MakeGateway) -> None:
    with pytest.raises(MediaError, match="can't be found") as error:
        await fetched(make_gateway("http://127.0.0.1:1"), "https://no-such-host.invalid/a.png")

    assert error.value.can_retry


# Another service -----------------------------------------------------------------------------------------------------

THERE = Gateway(
    "there", "There", "https://there.example", key_help="Set THE_KEY.", logs_page="https://there.example/logs"
)


@pytest.mark.parametrize(
    ("code", "next_step"),
    [
        (401, "Set THE_KEY."),
        (402, "Top up the account at There."),
        (500, "Look at https://there.example/logs before retrying."),
    ],
)
def test_advice_names_the_service_that_answered(code: int, next_step: str) -> None:
    error = error_of(Answer(code, "no"), THERE)
    assert (type(error), error.next_step) == (type(error_of(Answer(code, "no"))), next_step)
    assert "kie.ai" in error_of(Answer(code, "no")).next_step.lower()
    assert ("the account at There has not enough left" in error.message) == (code == 402)


@pytest.mark.parametrize("key", ["kéy", "a\nb", "a\x00"])
async def test_key_that_no_header_can_hold_is_reported_before_anything_is_sent(key: str) -> None:
    caller = Caller(Settings.model_validate({}), replace(THERE, key=key))
    with pytest.raises(ConfigError, match="The There key holds characters") as error:
        await caller.create(["x"], BODY)
    assert key not in str(error.value)


def trusting(status: int, body: Any) -> Answer:
    """How a plugin reads answers that are not always there."""
    return Answer(200, "", body["result"])


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (200, Unknown, "The service may have taken the request."),
        (500, Unknown, "The service may have taken the request."),
        (401, Refused, "The status says that nothing was made."),
    ],
)
async def test_reading_that_fails_is_blamed_on_the_plugin_and_not_on_the_key(
    status: int, kind: type[KieError], words: str, service: HTTPServer, make_gateway: MakeGateway
) -> None:
    caller = make_gateway(service.url_for("/"))
    caller.gateway = replace(caller.gateway, name="tide", read=trusting, key_help="Check the key.")
    service.expect_request("/x").respond_with_json({"state": "made"}, status=status)
    with pytest.raises(kind) as bought:
        await caller.create(["x"], BODY)
    with pytest.raises(ReadFailed) as read:
        await caller.read(["x"], {})
    for error in (bought.value, read.value):
        assert error.message.startswith("The function read of the gateway tide failed: KeyError: 'result' (")
        assert f"). x did answer (HTTP {status}, with " in error.message
        assert error.next_step.endswith("Report it to the plugin's author.")
        assert "the key" not in str(error)
    assert type(bought.value) is kind
    assert bought.value.message.endswith(words)


# Headers of a service ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "sent", "absent"),
    [
        ({}, {"Authorization": "Bearer kie/secret+0123456789"}, []),
        ({"authorization": "Key {key}"}, {"Authorization": "Key kie/secret+0123456789"}, []),
        ({"headers": {"X-API-Key": "{key}"}}, {"X-API-Key": "kie/secret+0123456789"}, ["Authorization"]),
        (
            {"headers": {"x-goog-api-key": "{key}", "X-Version": "2026-06"}},
            {"x-goog-api-key": "kie/secret+0123456789", "X-Version": "2026-06"},
            ["Authorization"],
        ),
        ({"headers": {"X-Version": "{a}"}}, {"Authorization": "Bearer kie/secret+0123456789", "X-Version": "{a}"}, []),
        ({"authorization": "", "key": None, "headers": {"X-Team": "blue"}}, {"X-Team": "blue"}, ["Authorization"]),
    ],
)
async def test_headers_of_a_gateway_are_sent_with_creates_and_reads(
    declared: dict[str, Any], sent: dict[str, str], absent: list[str], service: HTTPServer, make_gateway: MakeGateway
) -> None:
    caller = make_gateway(service.url_for("/"))
    caller.gateway = replace(Gateway("tide", "Tide", service.url_for("/"), key=caller.gateway.key), **declared)
    for method, path in (("POST", "/create"), ("GET", "/status")):
        service.expect_request(path, method=method, headers=sent).respond_with_json(ACCEPTED)

    await caller.create("create", BODY)
    await caller.read(["status"], {})

    for request, _ in service.log:
        assert not any(name in request.headers for name in absent)


@pytest.mark.parametrize("key", ["trailing ", " ", "trailing\u00a0"])
async def test_header_that_can_not_be_sent_is_noticed_before_anything_is(key: str, service: HTTPServer) -> None:
    caller = Caller(Settings.model_validate({}), replace(THERE, key=key, base_url=service.url_for("")))
    try:
        with pytest.raises((Refused, ConfigError)) as error:
            await caller.create(["x"], BODY)
    finally:
        await caller.close()
    assert error.value.charged == "no"
    assert service.log == []
