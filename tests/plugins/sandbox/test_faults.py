"""Faults as a raw client sees them, and whether the ledger has the task."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp_sandbox.faults import KINDS, Fault, Plan, parse_fault, parse_plan
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S

KEY = "key-of-the-tests"
BODY = json.dumps({"model": "google/nano-banana", "input": {"prompt": "a fox"}}).encode()


def dial(sandbox: Sandbox) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sandbox.port), timeout=LIMIT_S)


def ask(connection: socket.socket, method: str = "POST", path: str = "/api/v1/jobs/createTask") -> None:
    body = BODY if method == "POST" else b""
    connection.sendall(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def everything(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def exchange(sandbox: Sandbox, method: str = "POST", path: str = "/api/v1/jobs/createTask") -> tuple[str, bytes, bytes]:
    """Status line, headers and body of one request."""
    with dial(sandbox) as connection:
        ask(connection, method, path)
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    status, _, headers = head.partition(b"\r\n")
    return status.decode(), headers.lower(), body


def answered(sandbox: Sandbox, fault: str) -> tuple[str, Any]:
    sandbox.play(fault)
    status, _, body = exchange(sandbox)
    return status.split()[1], json.loads(body)


def test_timeout_accepts_and_never_answers(sandbox: Sandbox) -> None:
    sandbox.play("timeout")
    with dial(sandbox) as connection:
        ask(connection)
        deadline = time.monotonic() + 5
        while not sandbox.ledger:
            assert time.monotonic() < deadline
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert sandbox.requests[0].code is None


def test_drop_before_closes_without_accepting(sandbox: Sandbox) -> None:
    sandbox.play("drop-before")
    with dial(sandbox) as connection:
        # The body is never sent: the connection is closed all the same.
        connection.sendall(b"POST /api/v1/jobs/createTask HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n")
        assert everything(connection) == b""
    assert sandbox.ledger == []
    assert (sandbox.requests[0].body, sandbox.requests[0].code) == (None, None)


def test_drop_after_accepts_and_resets(sandbox: Sandbox) -> None:
    sandbox.play("drop-after")
    with dial(sandbox) as connection:
        ask(connection)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert len(sandbox.ledger) == 1
    assert sandbox.requests[0].code is None


def test_cut_sends_half_of_what_it_promised(sandbox: Sandbox) -> None:
    sandbox.play("cut")
    status, headers, body = exchange(sandbox)
    (accepted,) = sandbox.ledger
    promised = int(headers.partition(b"content-length: ")[2].split()[0])
    assert status.split()[1] == "200"
    assert len(body) == promised // 2
    assert body.startswith(b'{"code": 200')
    assert accepted.task_id.encode() not in body


def test_slow_answers_late_but_accepts_at_once(sandbox: Sandbox) -> None:
    sandbox.play("slow:0.05")
    assert json.loads(exchange(sandbox)[2])["code"] == 200
    assert time.time() - sandbox.ledger[0].time >= 0.05


def test_slow_body_comes_in_pieces(sandbox: Sandbox) -> None:
    sandbox.play("slow-body:60")
    with dial(sandbox) as connection:
        ask(connection)
        received = b""
        while b"{" not in received:
            received += connection.recv(65536)
    assert b"}" not in received
    assert len(sandbox.ledger) == 1


def test_slow_body_is_whole_in_the_end(sandbox: Sandbox) -> None:
    sandbox.play("slow-body:0.02")
    started = time.monotonic()
    assert json.loads(exchange(sandbox)[2])["data"]["taskId"] == sandbox.ledger[0].task_id
    assert time.monotonic() - started >= 0.02


def test_html_is_a_page_with_status_200(sandbox: Sandbox) -> None:
    sandbox.play("html")
    status, headers, body = exchange(sandbox)
    assert status.split()[1] == "200"
    assert b"text/html" in headers
    assert body.startswith(b"<html>")
    assert sandbox.ledger == []


@pytest.mark.parametrize(
    ("fault", "code"), [("http:503", 503), ("http:404", 404), ("http:401", 401), ("http:433", 433)]
)
def test_http_answers_status_and_envelope(sandbox: Sandbox, fault: str, code: int) -> None:
    status, body = answered(sandbox, fault)
    assert (status, body["code"]) == (str(code), code)
    assert sandbox.ledger == []
    assert sandbox.requests[0].code == code


def test_http_html_answers_a_page(sandbox: Sandbox) -> None:
    sandbox.play("http-html:502")
    status, headers, body = exchange(sandbox)
    assert status == "HTTP/1.1 502 Bad Gateway"
    assert b"text/html" in headers
    assert b"502" in body
    assert sandbox.ledger == []


def test_code_stands_inside_status_200(sandbox: Sandbox) -> None:
    assert answered(sandbox, "code:455")[0] == "200"
    assert answered(sandbox, "code:505")[1]["code"] == 505
    assert sandbox.ledger == []


def test_429_says_when_to_come_back(sandbox: Sandbox) -> None:
    sandbox.play("429:3")
    status, headers, body = exchange(sandbox)
    assert status.split()[1] == "429"
    assert b"retry-after: 3\r\n" in headers
    assert json.loads(body)["code"] == 429
    assert sandbox.ledger == []


def test_echo_key_repeats_the_key(sandbox: Sandbox) -> None:
    _, body = answered(sandbox, "echo-key")
    assert body["code"] == 401
    assert f"Bearer {KEY}" in body["msg"]
    assert f"key={KEY}" in body["msg"]
    assert sandbox.ledger == []


def test_answers_that_are_no_envelope_still_accept(sandbox: Sandbox) -> None:
    sandbox.play("empty")
    assert exchange(sandbox)[2] == b""
    sandbox.play("garbage")
    with pytest.raises(ValueError):  # noqa: PT011  json's and unicode's errors
        json.loads(exchange(sandbox)[2])
    assert isinstance(answered(sandbox, "list")[1], list)
    assert answered(sandbox, "no-task-id")[1] == {"code": 200, "msg": "success", "data": {}}
    assert len(sandbox.ledger) == 4


def test_string_code_is_text(sandbox: Sandbox) -> None:
    _, body = answered(sandbox, "string-code")
    assert (body["code"], body["data"]["taskId"]) == ("200", sandbox.ledger[0].task_id)


def test_same_task_id_makes_nothing_new(sandbox: Sandbox) -> None:
    first = answered(sandbox, "same-task-id")[1]["data"]["taskId"]
    assert [accepted.task_id for accepted in sandbox.ledger] == [first]
    assert answered(sandbox, "same-task-id")[1]["data"]["taskId"] == first
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize(("accept", "count"), [(True, 1), (False, 0), (None, 0)])
def test_plan_can_override_whether_it_is_accepted(sandbox: Sandbox, accept: bool | None, count: int) -> None:
    sandbox.play("http:500", accept=accept)
    assert exchange(sandbox)[0].split()[1] == "500"
    assert len(sandbox.ledger) == count


@pytest.mark.parametrize("fault", ["http:500", "code:500", "empty", "list", "html", "cut", "string-code"])
def test_status_reads_meet_faults_too(sandbox: Sandbox, fault: str) -> None:
    exchange(sandbox)
    path = f"/api/v1/jobs/recordInfo?taskId={sandbox.ledger[0].task_id}"
    good = exchange(sandbox, "GET", path)
    sandbox.play(fault)
    assert exchange(sandbox, "GET", path)[::2] != good[::2]
    assert exchange(sandbox, "GET", path)[::2] == good[::2]
    assert len(sandbox.ledger) == 1


def test_same_task_id_on_a_status_read_is_an_answer(sandbox: Sandbox) -> None:
    exchange(sandbox)
    sandbox.play("same-task-id")
    body = json.loads(exchange(sandbox, "GET", "/api/v1/jobs/recordInfo?taskId=other")[2])
    assert body["data"]["taskId"] == sandbox.ledger[0].task_id


def test_faults_are_played_in_order_as_often_and_where_they_are_planned(sandbox: Sandbox) -> None:
    sandbox.play("code:501", times=2, path="jobs/createTask")
    sandbox.play("code:455*always@chat/credit")
    sandbox.play("code:500")
    codes = [json.loads(exchange(sandbox)[2])["code"] for _ in range(4)]
    assert codes == [501, 501, 500, 200]
    sandbox.play("code:505", times=0, path="createTask")
    assert [json.loads(exchange(sandbox)[2])["code"] for _ in range(3)] == [505] * 3
    credit = [json.loads(exchange(sandbox, "GET", "/api/v1/chat/credit")[2])["code"] for _ in range(3)]
    assert credit == [455, 455, 455]


def test_files_meet_only_faults_that_name_them(sandbox: Sandbox) -> None:
    exchange(sandbox)
    sandbox.finish(sandbox.ledger[0].task_id)
    path = f"/files/{sandbox.ledger[0].task_id}-1.png"
    sandbox.play("code:500")
    whole = exchange(sandbox, "GET", path)[2]
    assert whole.startswith(b"\x89PNG")
    sandbox.play("cut", path="/files/")
    assert exchange(sandbox, "GET", path)[2] == whole[: len(whole) // 2]


def test_every_fault_has_a_test_of_its_acceptance(sandbox: Sandbox) -> None:
    for name, kind in KINDS.items():
        if name in {"timeout", "same-task-id"}:
            continue
        sandbox.reset()
        sandbox.play({"seconds": f"{name}:0.01", "code": f"{name}:500", "": name}[kind.takes])
        with dial(sandbox) as connection:
            ask(connection)
            try:
                everything(connection)
            except ConnectionResetError:
                assert name == "drop-after"
        assert len(sandbox.ledger) == kind.accepts, name


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("drop-after", Plan(Fault("drop-after"))),
        ("slow:2.5", Plan(Fault("slow", 2.5))),
        ("http:503*3@jobs/createTask", Plan(Fault("http", 503), times=3, path="jobs/createTask")),
        ("429:2*always", Plan(Fault("429", 2), times=None)),
        (" cut @recordInfo", Plan(Fault("cut"), path="recordInfo")),
    ],
)
def test_plan_is_read(text: str, plan: Plan) -> None:
    assert parse_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("drop", "there is no fault 'drop'; there are: slow:SECONDS, timeout"),
        ("", "there is no fault ''"),
        ("cut:3", "takes no value, '3' was given"),
        ("slow", "'slow' needs seconds, '' is no number; write slow:2"),
        ("slow:-1", "needs 0 to 3600 seconds"),
        ("slow:nan", "needs 0 to 3600 seconds"),
        ("http", "'http' needs code, '' is no number; write http:500"),
        ("http:5000", "needs a code from 100 to 999"),
        ("http:700", "needs an HTTP status from 200 to 599"),
        ("code:4.5", "needs a code from 100 to 999"),
    ],
)
def test_fault_that_is_none_is_explained(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_fault(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["cut*", "cut*0", "cut*-1", "cut*often"])
def test_plan_with_no_usable_count_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match="a number from 1 or the word always"):
        parse_plan(text)


def test_readme_names_every_fault_as_the_table_does() -> None:
    readme = (Path(__file__).parents[3] / "plugins" / "sandbox" / "README.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        usage = f"{name}:{kind.takes.upper()}" if kind.takes else name
        assert f"| `{usage}` | {'yes' if kind.accepts else 'no'} | {kind.says} |" in readme
