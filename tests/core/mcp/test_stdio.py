"""Messages over stdin and stdout: lines within limits of memory, answers that wait for no disk."""

import io
import json
import threading
import tracemalloc
from collections.abc import Callable

import anyio
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp import stdio
from kie_ai_mcp._mcp.stdio import message_streams, read_messages
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._start import remembered
from kie_ai_mcp._start.memory import Memory
from kie_ai_mcp._start.questions import MODERN
from kie_ai_mcp._start.remembered import Start
from tests.helpers import until

pytestmark = pytest.mark.anyio

LIMIT = 100_000
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
QUESTIONS = ("tools/list", "prompts/list", "resources/templates/list")
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
    for module in (stdio, remembered):
        monkeypatch.setattr(module, "MESSAGE_BYTES", LIMIT)
    answers: list[SessionMessage] = []

    async def answer(message: SessionMessage) -> None:
        answers.append(message)

    forward, received = anyio.create_memory_object_stream[SessionMessage | Exception](9)
    tracemalloc.start()
    try:
        await read_messages(Start(io.BufferedReader(Endless(100 * LIMIT)), io.BytesIO(), Memory()), forward, answer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    (refused,) = (json.loads(answer.message.model_dump_json()) for answer in answers)
    assert (refused["id"], refused["error"]["code"]) == (None, -32600)
    async with received:
        (served,) = [message async for message in received]
    assert isinstance(served, SessionMessage)
    assert peak < 40 * LIMIT


async def test_lines_that_wait_for_the_server_are_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "WAITING_BYTES", LIMIT)
    line = b'"' + b"x" * (LIMIT - 2) + b'"\n'
    taken: list[int] = []
    ahead: list[int] = []

    class Lines(io.BytesIO):
        def readline(self, _size: int | None = -1) -> bytes:
            ahead.append(len(ahead) - len(taken))
            return line if len(ahead) <= 20 else b""

    start = Start(Lines(), io.BytesIO(), Memory())
    until(lambda: ahead)
    while start.readline():
        taken.append(1)
    assert len(taken) == 20
    assert max(ahead) <= 2


async def answered(save: Callable[[Memory], None], out: io.BytesIO) -> None:
    """Have three questions answered whose answers are new, and end the input."""
    memory = Memory()
    lines = ({"jsonrpc": "2.0", "id": name, "method": name, "params": {"_meta": META}} for name in QUESTIONS)
    stdin = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
    app, start = App.open(load_settings({}), []), Start(stdin, out, memory)
    async with message_streams(start, app, lambda: None, lambda: save(memory)) as (read, write), read:
        async for message in read:
            assert isinstance(message, SessionMessage)
            number = json.loads(message.message.model_dump_json())["id"]
            await write.send(SessionMessage(types.JSONRPCResponse(jsonrpc="2.0", id=number, result={})))


class Out(io.BytesIO):
    """A client's pipe that can still be read after its end."""

    def close(self) -> None:
        pass

    def answers(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.getvalue().splitlines()]


async def test_answers_and_the_end_wait_for_no_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "COLLECT_S", 0.0)
    monkeypatch.setattr(stdio, "SAVE_S", 0.05)
    out, works = Out(), threading.Event()

    def save(_memory: Memory) -> None:
        works.wait()

    with anyio.fail_after(10):
        await answered(save, out)
    works.set()
    assert out.answers() == [*QUESTIONS]


@pytest.mark.parametrize("error", [None, OSError("the disk is gone"), ValueError("no such path")])
async def test_answers_that_come_together_are_saved_once(error: Exception | None) -> None:
    out = Out()
    saved: list[list[str]] = []

    def save(memory: Memory) -> None:
        saved.append([*memory.answers])
        if error is not None:
            raise error

    await answered(save, out)
    assert (out.answers(), saved) == ([*QUESTIONS], [[f"{name} {MODERN} 2026-07-28" for name in QUESTIONS]])
