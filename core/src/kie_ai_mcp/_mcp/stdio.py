"""Answers to unreadable requests over stdio, which the SDK leaves without one."""

import json
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from kie_ai_mcp.errors import sound

Line = SessionMessage | Exception  # A message, or the reason why a line can't be read


async def answer_unreadable(
    lines: AsyncIterable[Line],
    forward: MemoryObjectSendStream[Line],
    answer: Callable[[SessionMessage], Awaitable[None]],
) -> None:
    """Pass lines on until they end, but answer a request whose JSON can't be read; its sender would wait for ever."""
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has ended
        async with forward:
            async for line in lines:
                refusal = _refusal_of(line) if isinstance(line, ValidationError) else None
                await (forward.send(line) if refusal is None else answer(SessionMessage(refusal)))


def _refusal_of(unread: ValidationError) -> types.JSONRPCError | None:
    """Return the answer to a request that holds half of a character, as cutting a text leaves it; else None.

    JavaScript writes such JSON, and strict readers don't take it.
    """
    problem = unread.errors(include_url=False)[0]
    if problem["type"] != "json_invalid":
        return None
    try:
        request = json.loads(problem["input"])
    except (TypeError, ValueError, RecursionError):
        return None
    message = (
        f"The request can't be read, so nothing was recorded or sent. {problem['msg']}. "
        "Where a text in it holds half of a character, send it whole."
    )
    match request:
        case {"method": str(), "id": int() | str() as number} if not isinstance(number, bool):
            error = types.ErrorData(code=types.PARSE_ERROR, message=sound(message))
            return types.JSONRPCError(jsonrpc="2.0", id=number, error=error)
    return None
