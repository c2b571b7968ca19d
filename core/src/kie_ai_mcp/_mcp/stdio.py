"""MCP messages over stdin and stdout: line limits, errors for unreadable lines, comparison of early answers."""

import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from io import StringIO, TextIOWrapper
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.os.win32.utilities import rebind_std_handle_to_fd
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from kie_ai_mcp._app.app import App
from kie_ai_mcp._start.limits import MESSAGE_BYTES
from kie_ai_mcp._start.remembered import Start

log = logging.getLogger(__name__)
Read = MemoryObjectReceiveStream[SessionMessage | Exception]
Write = MemoryObjectSendStream[SessionMessage]
Outgoing = MemoryObjectReceiveStream[SessionMessage]
Send = Callable[[SessionMessage], Awaitable[None]]

TOOLS_CHANGED = types.JSONRPCNotification(jsonrpc="2.0", method="notifications/tools/list_changed")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANK = b"\0 \t\r\n"
COLLECT_S = 0.2  # a client's first questions come together, and their answers are saved together
SAVE_S = 5.0  # how long saving may delay the end of the server


class _Saver(threading.Thread):
    """A thread that calls `look` once, and `save` soon after there is news, so that no answer waits for a disk.

    A disk may hang for ever, and the process ends all the same: the thread is a daemon.
    """

    def __init__(self, look: Callable[[], None], save: Callable[[], None]) -> None:
        super().__init__(name="memory", daemon=True)
        self._look, self._save = look, save
        self._wanted, self._is_ending, self._has_news = threading.Event(), threading.Event(), False
        self.start()

    def note_news(self) -> None:
        """Let the news be saved soon."""
        self._has_news = True
        self._wanted.set()

    def finish(self) -> None:
        """Save what is not saved, and wait for that no longer than `SAVE_S`."""
        self._is_ending.set()
        self._wanted.set()
        self.join(SAVE_S)

    def run(self) -> None:
        """Save until the end."""
        is_last = False
        self._is_ending.wait(COLLECT_S)
        with suppress(OSError, ValueError):
            self._look()
        while not is_last:
            self._wanted.wait()
            self._is_ending.wait(COLLECT_S)
            self._wanted.clear()
            is_last = self._is_ending.is_set()
            has_news, self._has_news = self._has_news, False
            if has_news:
                with suppress(OSError, ValueError):  # the next start is a usual one
                    self._save()


@asynccontextmanager
async def message_streams(
    start: Start, app: App, look: Callable[[], None], save: Callable[[], None]
) -> AsyncIterator[tuple[Read, Write]]:
    """Yield the streams of messages that a server reads and writes, over stdin and stdout.

    What is said for the first time, or otherwise than before, `save` writes down, in a thread of its own, with what
    `look` has seen at the start.
    """
    for descriptor in (0, 1):  # taken before the SDK was there; on Windows children would still get the client's pipes
        with suppress(OSError):
            rebind_std_handle_to_fd(descriptor)
    out = anyio.wrap_file(TextIOWrapper(start.stdout, encoding="utf-8"))
    # The SDK only writes: it would leave a line that is no message without an answer, and any length of one.
    async with stdio_server(anyio.wrap_file(StringIO()), out) as (unused, wire), unused, wire:
        forward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        saver = _Saver(look, save)
        async with outgoing, anyio.create_task_group() as group:
            group.start_soon(_send, start, app, outgoing, wire.send, saver.note_news)
            async with anyio.create_task_group() as reading:
                reading.start_soon(read_messages, start, forward, wire.send)
                yield read, write
                reading.cancel_scope.cancel()
            write.close()  # what was said until now is still sent
        await anyio.to_thread.run_sync(saver.finish)


async def _send(start: Start, app: App, outgoing: Outgoing, send: Send, note_news: Callable[[], None]) -> None:
    """Send what the server says, but for the answers that were given before it was loaded."""
    async for message in outgoing:
        content = message.message
        if not isinstance(content, types.JSONRPCResponse | types.JSONRPCError):
            await send(message)
            continue
        if start.is_to_send(content.id, content.result if isinstance(content, types.JSONRPCResponse) else None):
            await send(message)
        for question in start.take_corrected():
            log.warning("The remembered answer to %s was no longer right; it is corrected.", question)
            method, _, revision = question.partition(" ")
            if method == "tools/list" and revision in HANDSHAKE_PROTOCOL_VERSIONS:
                await send(SessionMessage(TOOLS_CHANGED))
            elif method == "tools/list":
                app.changes.tools_changed()
        if start.take_unsaved():
            note_news()


async def read_messages(
    start: Start, forward: MemoryObjectSendStream[SessionMessage | Exception], answer: Send
) -> None:
    """Pass messages on until the input ends; answer any other line with an error, for its sender waits."""
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has ended
        async with forward:
            while line := await anyio.to_thread.run_sync(start.readline):
                if line.strip(BLANK):
                    message = _message_in(line.removeprefix(BYTE_ORDER_MARK))
                    if isinstance(message, types.JSONRPCError):
                        await answer(SessionMessage(message))
                    else:
                        await forward.send(message)


def _message_in(line: bytes) -> SessionMessage | types.JSONRPCError:
    """Return the message in a line, or the error that answers it."""
    if len(line) > MESSAGE_BYTES:
        problem = f"It is longer than {MESSAGE_BYTES // 1024 // 1024} MB. Name a file by its path or address instead."
        return _error(types.INVALID_REQUEST, problem)
    try:
        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            # JavaScript writes half of a character where a text was cut inside one, and strict readers don't take it.
            cure = "Send each message whole, on a line of its own, in UTF-8, without half of a character in a text."
            return _error(types.PARSE_ERROR, f"{first['msg']}. {cure}", line)
    else:
        # One whose id is neither text nor a whole number is read as a notification, which nobody answers.
        if not isinstance(message, types.JSONRPCNotification) or "id" not in (_json_in(line) or ()):
            return SessionMessage(message)
    return _error(types.INVALID_REQUEST, "Send one JSON-RPC 2.0 object on each line, no batch of them.", line)


def _json_in(line: bytes) -> Any:
    """Return the JSON of a line as Python's reader, which takes more, understands it; None where it does not."""
    with suppress(ValueError, RecursionError):
        return json.loads(line.decode())
    return None


def _error(code: int, problem: str, line: bytes = b"") -> types.JSONRPCError:
    request = _json_in(line)
    number = request.get("id") if isinstance(request, dict) and "method" in request else None
    if isinstance(number, bool) or not isinstance(number, str | int) or not _is_text(number):
        number = None
    error = types.ErrorData(code=code, message=f"The request can't be read, so nothing was recorded or sent. {problem}")
    return types.JSONRPCError(jsonrpc="2.0", id=number, error=error)


def _is_text(value: str | int) -> bool:
    """Return whether a value can be written: a text may hold half of a character."""
    with suppress(UnicodeEncodeError):
        str(value).encode()
        return True
    return False
