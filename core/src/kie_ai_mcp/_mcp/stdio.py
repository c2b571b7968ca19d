"""Lines of JSON-RPC on stdin: read within limits, passed on as messages, and answered where they are none."""

import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, BinaryIO

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

MESSAGE_BYTES = 16 * 1024 * 1024  # the largest message: a file of 10 MB in base64, and what surrounds it
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANK = b"\0 \t\r\n"


def take_stdin() -> BinaryIO:
    """Return stdin, and leave an empty file in its place: nothing else in this process can take a line."""
    stdin = os.fdopen(os.dup(0), "rb", closefd=False)  # a thread may still read from it at the end
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  `os.devnull` is no file
        os.dup2(nothing.fileno(), 0)
    return stdin


async def read_messages(
    stdin: BinaryIO,
    forward: MemoryObjectSendStream[SessionMessage | Exception],
    answer: Callable[[SessionMessage], Awaitable[None]],
) -> None:
    """Pass messages on until the input ends; answer any other line with an error, for its sender waits."""
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has ended
        async with forward:
            while line := await anyio.to_thread.run_sync(stdin.readline, MESSAGE_BYTES + 1):
                if len(line) > MESSAGE_BYTES:
                    await anyio.to_thread.run_sync(_skip_rest, stdin, line)
                if line.strip(BLANK):
                    message = _message_in(line.removeprefix(BYTE_ORDER_MARK))
                    if isinstance(message, types.JSONRPCError):
                        await answer(SessionMessage(message))
                    else:
                        await forward.send(message)


def _skip_rest(stdin: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stdin.readline(1024 * 1024)


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
    if isinstance(number, bool) or not isinstance(number, str | int):
        number = None
    error = types.ErrorData(code=code, message=f"The request can't be read, so nothing was recorded or sent. {problem}")
    return types.JSONRPCError(jsonrpc="2.0", id=number, error=error)
