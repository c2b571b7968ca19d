"""Connections of the HTTP server: how many there may be, and how long the parts of a request may take to arrive."""

import asyncio
import logging
import socket
import sys
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from kie_ai_mcp.errors import KieError

if sys.platform != "win32":
    import resource

HEADERS_S = 10.0  # how long a connection may take until it has sent all headers of a request
BODY_S = 120.0  # and then its body, or the next part of one
PART_BYTES = 1_000_000  # of a body, so that a file may take its time and a drip may not
IDLE_S = 5  # and then without another request
MOST = 1000  # connections at once
OWN_FILES = 48  # file descriptors that are kept for the database and the calls of the service, beside half of all
QUIET_S = 60.0  # a line of the log that comes again within so many seconds is not repeated
NO_FILE = "socket.accept() out of system resource"  # as asyncio begins its message


def most_connections() -> int:
    """Return how many connections leave enough file descriptors for everything else."""
    if sys.platform == "win32":
        return MOST
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else min(MOST, max(8, (files - OWN_FILES) // 2))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise KieError where it can't, which may pass."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        message = f"Port {port} of {host} can't be listened on: {exc.strerror or exc}."
        raise KieError(message, next_step="End what uses it, or choose another --port or --host.") from exc


class Connection(H11Protocol):
    """One connection; it ends where a request arrives too slowly, or where it sends none and others need the place."""

    _awaited: object = None  # what the client has to send, as the HTTP library names it
    _since: float = 0.0
    _came: int = 0  # bytes since the time limit was last set for them
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library's
        super().connection_made(transport)
        # asyncio does so only for sockets that name their protocol, which `create_server` leaves out.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()
        if len(self.connections) < (self.limit_concurrency or MOST):
            return
        others = (other for other in self.connections if isinstance(other, Connection) and other is not self)
        waiting = [other for other in others if other.conn.their_state is h11.IDLE and not other.transport.is_closing()]
        if waiting:
            self.logger.warning("all connections are in use; the one that sent no request for longest is closed")
            min(waiting, key=lambda other: other._since).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._came += len(data)
        if self._came >= PART_BYTES and not getattr(self.cycle, "response_complete", False):
            self._came, self._awaited = 0, None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def send_400_response(self, msg: str) -> None:
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # the answer to an earlier request has begun
            self.transport.abort()

    def _watch(self) -> None:
        """Start a new time limit where the client has to send something else than before."""
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        self._awaited, self._since = awaited, self.loop.time()
        if self._timer is not None:
            self._timer.cancel()
        limit_s = {h11.IDLE: HEADERS_S, h11.SEND_BODY: BODY_S}.get(awaited)
        self._timer = None if limit_s is None else self.loop.call_later(limit_s, self.transport.abort)


class Quiet(logging.Filter):
    """Filter of the web server's log: it drops what a signal ends, and a line that came within the last minute."""

    def __init__(self) -> None:
        super().__init__()
        self._again_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().startswith(NO_FILE):
            record.msg, record.args, record.exc_info = "No file descriptor is free for another connection.", (), None
        text, now = record.getMessage(), time.monotonic()
        if record.exc_info:
            return not isinstance(record.exc_info[1], asyncio.CancelledError)
        if text.startswith("Cancel ") or now < self._again_at.get(text, now):
            return False
        self._again_at[text] = now + QUIET_S
        return True


def options() -> dict[str, Any]:
    """Return the options of the web server that limit connections."""
    most = most_connections()
    # As many as the backlog are accepted at once, before they are counted.
    numbers = {"limit_concurrency": most + 1, "backlog": max(16, most // 2)}
    return {"http": Connection, "timeout_keep_alive": IDLE_S, **numbers}
