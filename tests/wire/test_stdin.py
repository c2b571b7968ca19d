"""Lines on stdin that are no messages: an error answers each, and the server goes on."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.wire.conftest import Spawn, SpawnIn
    from tests.wire.processes import Child

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
MESSAGE = '{"jsonrpc": "2.0", "id": 77, "method": "tools/list", "params": %s}'
PING = b'{"jsonrpc": "2.0", "id": 78, "method": "ping"}'


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "remembered"])
def memory(request: pytest.FixtureRequest) -> bool:
    """Servers over stdio are loaded before they answer, or remember what they said."""
    return bool(request.param)


@pytest.fixture(scope="module")
def child(spawn_in: "SpawnIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Child"]:
    child = spawn_in(tmp_path_factory.mktemp("stdin"), KIE_AI_ENABLED_PROVIDERS="nano-banana")
    child.greet("2025-11-25")
    yield child
    child.close_input()
    assert child.ended() == 0
    assert "Traceback" not in child.errors


LINES = {
    "batch": (f"[{MESSAGE % '{}'}, {MESSAGE % '{}'}]".encode(), INVALID_REQUEST, None),
    "empty batch": (b"[]", INVALID_REQUEST, None),
    "text": (b'"tools/list"', INVALID_REQUEST, None),
    "null": (b"null", INVALID_REQUEST, None),
    "cut short": ((MESSAGE % "{}").encode()[:-20], PARSE_ERROR, None),
    "UTF-16": ((MESSAGE % "{}").encode("utf-16-be"), PARSE_ERROR, None),
    "UTF-16 with its mark": (b"\xff\xfe" + (MESSAGE % "{}").encode("utf-16-be"), PARSE_ERROR, None),
    "Latin-1": ((MESSAGE % '{"cursor": "Caf\xe9"}').encode("latin-1"), PARSE_ERROR, None),
    "cut inside a character": ((MESSAGE % '{"cursor": "\N{FOX FACE}"}').encode()[:-4], PARSE_ERROR, None),
    "bytes": (bytes(range(14, 256)), PARSE_ERROR, None),
    "too deep": ((MESSAGE % ("[" * 100_000 + "]" * 100_000)).encode(), PARSE_ERROR, None),
    "only open": (b"[" * 1_000_000, PARSE_ERROR, None),
    "too long": ((MESSAGE % json.dumps({"cursor": "x" * 17_000_000})).encode(), INVALID_REQUEST, None),
    "no version": (b'{"id": 77, "method": "tools/list"}', INVALID_REQUEST, 77),
    "list of params": ((MESSAGE % "[1]").encode(), INVALID_REQUEST, 77),
    "half an id": (b'{"jsonrpc": "2.0", "id": 7.5, "method": "tools/list"}', INVALID_REQUEST, None),
    "null as id": (b'{"jsonrpc": "2.0", "id": null, "method": "tools/list"}', INVALID_REQUEST, None),
    "answer to nothing": (b'{"jsonrpc": "2.0", "id": 77}', INVALID_REQUEST, None),
    "half a character": ((MESSAGE % '{"cursor": "\\ud83e"}').encode(), PARSE_ERROR, 77),
}


@pytest.mark.parametrize("name", LINES)
def test_line_that_is_no_message_is_answered_once_and_the_next_one_served(child: "Child", name: str) -> None:
    line, code, number = LINES[name]
    child.write_bytes(line + b"\n" + PING + b"\n")
    refused, served = json.loads(child.line()), json.loads(child.line())
    assert (refused["error"]["code"], refused["id"]) == (code, number)
    assert "nothing was recorded or sent" in refused["error"]["message"]
    assert len(refused["error"]["message"]) < 400
    assert (served["id"], served["result"]) == (78, {})


@pytest.mark.parametrize("line", [b"", b" \t ", b"\r", b"\0"])
def test_blank_line_is_no_message_and_needs_no_answer(child: "Child", line: bytes) -> None:
    child.write_bytes(line + b"\n" + PING + b"\n")
    assert json.loads(child.line())["id"] == 78


@pytest.mark.parametrize("line", [b"\xef\xbb\xbf" + PING, PING + b"\r"])
def test_byte_order_mark_and_carriage_return_are_part_of_no_message(child: "Child", line: bytes) -> None:
    child.write_bytes(line + b"\n")
    assert json.loads(child.line())["id"] == 78


def test_answer_of_the_client_is_not_answered(child: "Child") -> None:
    child.write_bytes(b'{"jsonrpc": "2.0", "id": 9, "error": {"code": 1, "message": "no"}}\n')
    child.write_bytes(b'{"jsonrpc": "2.0", "id": 9, "result": {}}\n' + PING + b"\n")
    assert json.loads(child.line())["id"] == 78


def test_input_that_ends_inside_a_message_is_answered_before_the_server_ends(spawn: "Spawn") -> None:
    child = spawn(KIE_AI_ENABLED_PROVIDERS="nano-banana")
    child.write_bytes(PING[:-5])
    child.close_input()
    assert json.loads(child.line())["error"]["code"] == PARSE_ERROR
    assert child.ended() == 0
