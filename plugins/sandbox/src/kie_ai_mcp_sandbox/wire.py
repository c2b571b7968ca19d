"""Interception of requests: each is noted, and meets the fault that was planned for it.

Faults of the connection need the socket itself; `Protocol` hands its transport to the application.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from asyncio import BaseTransport, Transport
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kie_ai_mcp_sandbox import fal
from kie_ai_mcp_sandbox.faults import JSON, Fault, Plan, Reply, envelope, spoilt
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.veo import GET_1080P

TRANSPORT = "kie_ai_mcp_sandbox.transport"
PIECES = 20
CONTROL = "/_sandbox/"


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol, which also tells the application its connection."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Put the connection into the state of every request made on it."""
        assert isinstance(transport, Transport)  # noqa: S101  a server's TCP connection
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        # asyncio does this only for sockets it has made itself; without it every second answer waits 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Interceptor:
    """The ASGI application around the routes."""

    def __init__(self, routes: ASGIApp, service: Service) -> None:
        self.routes = routes
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, well or badly."""
        try:
            if scope["path"].startswith(CONTROL):
                await self.routes(scope, receive, send)
            else:
                await self._exchange(scope, receive, send)
        except asyncio.CancelledError:
            # The sandbox is being stopped and has already closed the connection; no client is left to answer.
            if not self.service.closing:
                raise

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        read_only = scope["method"] in {"GET", "HEAD"} and not path.endswith(GET_1080P)  # which takes credits
        plan = self.service.next_fault(path)
        number = self.service.note(scope["method"], path, scope["query_string"].decode("latin-1"))
        if plan and plan.fault.name == "drop-before":
            scope["state"][TRANSPORT].close()
            await _gone(receive)
            return
        body = await _body(receive)
        if body is None:
            return
        self.service.note_body(number, _json(body))
        authorization = _header(scope, b"authorization")
        earlier = self.service.last_task_id()
        if plan and plan.fault.name == "same-task-id" and not earlier:
            plan = None
        if plan is None or plan.accepts or read_only:
            reply = await _answer_of(self.routes, scope, body)
        else:
            reply = envelope(200, data={})
        if plan:
            own = fal.spoilt(plan.fault, reply, authorization, earlier) if path.startswith(fal.BASE) else None
            reply = own or spoilt(plan.fault, reply, authorization, earlier)
            delivered = await _disturb(plan, scope["state"][TRANSPORT], reply, receive, send)
        else:
            await _send(reply, send)
            delivered = True
        self.service.note_code(number, reply.code if delivered else None)


async def _disturb(plan: Plan, transport: Transport, reply: Reply, receive: Receive, send: Send) -> bool:
    """Deliver an answer as the fault wants it; whether the client could read the whole of it."""
    fault: Fault = plan.fault
    match fault.name:
        case "slow":
            await asyncio.sleep(fault.value)
        case "timeout":
            await _gone(receive)
            return False
        case "drop-after":
            _reset(transport)
            await _gone(receive)
            return False
        case "cut":
            head = (
                f"HTTP/1.1 {reply.status} OK\r\ncontent-type: {reply.headers.get('content-type', JSON['content-type'])}"
            )
            transport.write(f"{head}\r\ncontent-length: {len(reply.body)}\r\n\r\n".encode())
            transport.write(reply.body[: len(reply.body) // 2])
            transport.close()
            await _gone(receive)
            return False
        case "slow-body":
            await _send(reply, send, over_s=fault.value)
            return True
    await _send(reply, send)
    return True


def _reset(transport: Transport) -> None:
    """Close with RST instead of FIN, as a host does that knows nothing of the connection."""
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


async def _send(reply: Reply, send: Send, over_s: float = 0) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if over_s:
        step = max(1, -(-len(reply.body) // PIECES))
        for start in range(0, len(reply.body), step):
            piece = reply.body[start : start + step]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(over_s / PIECES)
    await send({"type": "http.response.body", "body": b"" if over_s else reply.body})


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when the client left before it was sent."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    """Wait until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer_of(routes: ASGIApp, scope: Scope, body: bytes) -> Reply:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await routes(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = {name.decode(): value.decode() for name, value in start["headers"] if name != b"content-length"}
    return Reply(start["status"], headers, b"".join(message.get("body", b"") for message in sent))


def _header(scope: Scope, name: bytes) -> str:
    value: bytes = dict(scope["headers"]).get(name, b"")
    return value.decode("latin-1")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
