"""Helpers of tests in every folder: example addresses, the content of answers, unused ports, waiting."""

import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from mcp_types import CallToolResult, TextContent

from kie_ai_mcp import Family, InvalidArgument, Submission
from kie_ai_mcp._models.pricing import estimate

PICTURE = "https://example.com/a.png"

LIMIT_S = 90.0
"""The longest that an answer, an end or a condition may take, on a machine that is slow and runs many tests at once."""

PAUSE_S = 0.01

_ports = itertools.count(os.getpid() * 37)


def data(answer: CallToolResult | Mapping[str, Any]) -> dict[str, Any]:
    """Return the structured content of an answer, whether of the SDK or as JSON."""
    content = answer.structured_content if isinstance(answer, CallToolResult) else answer["structuredContent"]
    assert content is not None, answer
    return dict(content)


def text(answer: CallToolResult) -> str:
    """Return the text that an answer begins with."""
    first = answer.content[0]
    assert isinstance(first, TextContent)
    return first.text


def unused_port() -> int:
    """Return a port of this machine where nothing listens."""
    while True:
        # The system gives sockets of other tests, which run at the same time, only ports above these.
        port = 10_000 + next(_ports) % 20_000
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(PAUSE_S)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, while other tasks go on."""
    with anyio.fail_after(LIMIT_S):
        while not condition():  # noqa: ASYNC110  it depends on another process or thread, which sets no event
            await anyio.sleep(PAUSE_S)


def price_of(family: Family, submission: Submission) -> float:
    """Return the credits of a market request by the family's own data."""
    price = estimate(family.models[str(submission.model)], submission.body["input"])
    assert price.credits is not None, submission
    return price.credits


def capable(error: InvalidArgument) -> list[str]:
    """Return the models that a refusal names as those that take the whole call."""
    return re.findall(r"model='([^']+)'", error.message.partition("The whole call is taken by")[2])
