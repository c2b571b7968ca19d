"""Questions that may be answered from memory, and lines that only look like one."""

import json
from typing import Any

import pytest

from kie_ai_mcp._start.questions import META, MODERN, question_in

HANDSHAKE, STATELESS = "2025-11-25", "2026-07-28"
CLIENT = {"name": "test", "version": "1"}
HELLO: dict[str, Any] = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
ENVELOPE: dict[str, Any] = {
    f"{META}protocolVersion": STATELESS,
    f"{META}clientInfo": CLIENT,
    f"{META}clientCapabilities": {},
}
WRONG: dict[str, list[Any]] = {
    "capabilities": [[], {"roots": 5}, {"roots": {"listChanged": 1}}, {"sampling": None}, {"sampling": {"tools": 1}}],
    "clientInfo": [5, {}, {**CLIENT, "title": 5}, {**CLIENT, "name": "\ud800"}],
    "_meta": [[], 0, None, {"progressToken": True}],
    "id": [None, True, 1.5, []],
}
LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'


def line(method: str, number: Any = 1, **params: Any) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method} | ({} if number == "none" else {"id": number})
    return json.dumps(message | ({"params": params} if params else {})).encode() + b"\n"


def listed(**meta: Any) -> bytes:
    return line("tools/list", _meta=ENVELOPE | {f"{META}{name}": value for name, value in meta.items()})


@pytest.mark.parametrize(
    ("sent", "agreed", "question"),
    [
        (line("initialize", **HELLO), None, (1, f"initialize {HANDSHAKE}")),
        (line("initialize", "a", **{**HELLO, "_meta": {"progressToken": 7}}), None, ("a", f"initialize {HANDSHAKE}")),
        (line("notifications/initialized", "none"), HANDSHAKE, (None, "")),
        (line("tools/list"), HANDSHAKE, (1, f"tools/list {HANDSHAKE}")),
        (
            line("tools/list", _meta={"progressToken": "p", "traceparent": "00"}),
            HANDSHAKE,
            (1, f"tools/list {HANDSHAKE}"),
        ),
        (line("server/discover", _meta=ENVELOPE), None, (1, f"server/discover {MODERN} {STATELESS}")),
        (listed(), MODERN, (1, f"tools/list {MODERN} {STATELESS}")),
        (listed(protocolVersion=HANDSHAKE), None, (1, f"tools/list {MODERN} {HANDSHAKE}")),
    ],
)
def test_question_names_what_its_answer_depends_on(sent: bytes, agreed: str | None, question: Any) -> None:
    assert question_in(sent, agreed) == question


@pytest.mark.parametrize(
    "capabilities",
    [
        {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}},
        {"tasks": {"list": {}, "requests": {"sampling": {"createMessage": {}}}}, "experimental": {"x": {"y": 1}}},
        {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}, "tools": True, "logging": None},
    ],
)
def test_clients_of_every_kind_are_answered(capabilities: Any) -> None:
    assert question_in(line("initialize", **{**HELLO, "capabilities": capabilities}), None)
    assert question_in(listed(clientCapabilities=capabilities), None)


@pytest.mark.parametrize(
    ("sent", "agreed"),
    [
        *((line("initialize", **{**HELLO, "capabilities": bad}), None) for bad in WRONG["capabilities"]),
        *((line("initialize", **{**HELLO, "clientInfo": bad}), None) for bad in WRONG["clientInfo"]),
        (line("initialize", **HELLO, _meta={"progressToken": {}}), None),
        (line("initialize", **HELLO, more=1), None),
        (line("initialize", **{**HELLO, "protocolVersion": 5}), None),
        (line("initialize", **HELLO), MODERN),
        (line("initialize", **HELLO), HANDSHAKE),
        *((listed(**{name: 5}), None) for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel")),
        (listed(), HANDSHAKE),
        (line("tools/list"), None),
        (line("tools/list"), MODERN),
        (line("tools/list", cursor="x"), HANDSHAKE),
        *((line("tools/list", _meta=bad), HANDSHAKE) for bad in WRONG["_meta"]),
        *((line("tools/list", number), HANDSHAKE) for number in WRONG["id"]),
        *((LIST.replace(b"{}", bad), HANDSHAKE) for bad in (b"[]", b"0", b'""', b"null", b'{"_meta":{"x":NaN}}')),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}', HANDSHAKE),
        (line("tools/list").decode().encode("utf-16"), HANDSHAKE),
        (b"[" + line("tools/list").strip() + b"]", HANDSHAKE),
        (line("notifications/initialized", "none"), None),
        (line("notifications/initialized", "none"), MODERN),
        (line("notifications/initialized"), HANDSHAKE),
        (line("ping"), HANDSHAKE),
        (b"[" * 100_000, HANDSHAKE),
        (b"\n", HANDSHAKE),
    ],
)  # fmt: skip
def test_line_that_the_server_may_refuse_is_left_to_it(sent: bytes, agreed: str | None) -> None:
    assert question_in(sent, agreed) is None
