"""Reading of stdin: no line takes more memory than the largest message."""

import io
import json
import tracemalloc

import anyio
import pytest
from mcp.shared.message import SessionMessage

from kie_ai_mcp._mcp import stdio
from kie_ai_mcp._mcp.stdio import read_messages

pytestmark = pytest.mark.anyio

LIMIT = 100_000
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n'


class Endless(io.RawIOBase):
    """A line of so many bytes, and a message after it."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.rest = b"\n" + PING

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what a BufferedReader hands over
        data = b"x" * min(len(buffer), self.left) or self.rest[: len(buffer)]
        if self.left:
            self.left -= len(data)
        else:
            self.rest = self.rest[len(data) :]
        buffer[: len(data)] = data
        return len(data)


async def test_line_a_hundred_times_too_long_is_refused_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "MESSAGE_BYTES", LIMIT)
    answers: list[SessionMessage] = []

    async def answer(message: SessionMessage) -> None:
        answers.append(message)

    forward, received = anyio.create_memory_object_stream[SessionMessage | Exception](9)
    tracemalloc.start()
    try:
        await read_messages(io.BufferedReader(Endless(100 * LIMIT)), forward, answer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    (refused,) = (json.loads(answer.message.model_dump_json()) for answer in answers)
    assert (refused["id"], refused["error"]["code"]) == (None, -32600)
    async with received:
        (served,) = [message async for message in received]
    assert isinstance(served, SessionMessage)
    assert peak < 40 * LIMIT
