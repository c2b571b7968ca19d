"""Serving over HTTP: the protocol at /mcp, plain tool calls, the gallery, and what the service posts to us.

One door stands before every address: whom a request names as its host, which page it comes from, how large it is and,
where a token is set, whether it has it. What the service posts is proved by its own signature instead.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import anyio
import anyio.abc
import uvicorn
from mcp.server.transport_security import RequestBodyLimitMiddleware, TransportSecuritySettings
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kie_ai_mcp._config import Settings, nearest
from kie_ai_mcp._flow import CALLBACK_PATH, Flow
from kie_ai_mcp._gallery import page
from kie_ai_mcp._server import CLEANUP_S, USUAL_PATIENCE_S, App, build, server_of
from kie_ai_mcp._waiting import wake
from kie_ai_mcp.errors import ConfigError, InvalidArgument, KieError, shorten
from kie_ai_mcp.readings import object_in, text_in

log = logging.getLogger(__name__)

MCP_PATH = "/mcp"
CALL_PATH = "/tools/call"
GALLERY_PATH = "/gallery"
HEALTH_PATH = "/healthz"

BODY_LIMIT = 16 * 1024 * 1024
"""The largest request, in bytes: a file of 10 MB in base64 with room around it."""

CALLBACK_LIMIT = 1024 * 1024
"""The largest thing that the service may post, in bytes; it posts addresses, not media."""

CLOSE_S = 1
"""How long answers may still be written once every paid request has ended, in whole seconds."""

OLDEST_S = 300
"""A signature of an earlier or later time than this many seconds is a replay, or a clock that is wrong."""

HINT_EVERY_S = 2.0
"""An unsigned callback makes one task be read at most so often."""

HINTS = (100, 10.0)
"""At most so many unsigned callbacks are looked at in so many seconds."""


async def serve_http(settings: Settings, host: str, port: int) -> int:
    """Serve over HTTP until a signal; return the exit code that stands for it.

    Raises:
        ConfigError: As `kie_ai_mcp._server.build`; or it would be open to others, or the port is not to be had.
        StorageError: The database can't be used.
    """
    _check_closed(settings, host)
    app = build(settings)
    try:
        listener = _listen(host, port)
    except ConfigError:
        app.flow.store.close()
        raise
    site = Site(app, host)
    config = uvicorn.Config(
        site.door,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=CLOSE_S,
    )
    logging.getLogger("uvicorn.error").addFilter(_worth_saying)
    server = _Uvicorn(config)
    async with anyio.create_task_group() as group, app.flow.running():
        # Draining cancels what the flow itself has started; the answers are still to be written then.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as serving:
                serving.start_soon(server.serve, [listener])
                _announce(host, listener)
                received = await _signal()
                group.start_soon(_give_up, received)
                site.closing = True
                await app.flow.drain()
                site.drained.set()
                server.should_exit = True
        group.cancel_scope.cancel()
    return 128 + received


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to us: requests that are paid for end first."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator's is one
        return nullcontext()


def _worth_saying(record: logging.LogRecord) -> bool:
    """Leave out what the web server says of requests that a signal ends: that is how they are meant to end."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    return not record.getMessage().startswith("Cancel ")


async def _signal() -> int:
    if sys.platform == "win32":  # no signal receivers there
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return int(signal.SIGINT)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for received in signals:
            return int(received)
    raise AssertionError("signals never run out")


async def _give_up(received: int) -> None:
    """End without an end: a thread that waits for another's database can't be interrupted."""
    await anyio.sleep(CLEANUP_S + CLOSE_S)
    sys.stderr.flush()
    os._exit(128 + received)


def _check_closed(settings: Settings, host: str) -> None:
    if settings.token is None and not _loopback(host):
        raise ConfigError(
            f"--host {host} opens this server, and the account it spends from, to other machines, and no token is set.",
            next_step="Set KIE_AI_HTTP_TOKEN to a secret of 16 characters or more, or leave --host out.",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError(
            f"Port {port} of {host} can't be listened on: {reason}.", next_step="Choose another --port or --host."
        ) from exc


def _announce(host: str, listener: socket.socket) -> None:
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"kie-ai-mcp-server: serving MCP at http://{shown}:{listener.getsockname()[1]}{MCP_PATH}\n")
    sys.stderr.flush()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass
class Site:
    """Everything that is served, behind its door.

    Args:
        app: The tools.
        host: Where it listens.
        closing: No request is taken any more.
        drained: What was paid for has its answer; what still waits is cut.
    """

    app: App
    host: str
    closing: bool = False
    drained: anyio.Event = field(default_factory=anyio.Event)
    _shown: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        callbacks = Callbacks(self.app.flow)
        starlette = server_of(self.app).streamable_http_app(
            streamable_http_path=MCP_PATH,
            max_request_body_size=BODY_LIMIT,
            # The door has looked at host and origin.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            custom_starlette_routes=[
                Route(HEALTH_PATH, _health, methods=["GET"]),
                Route(CALL_PATH, self._call, methods=["POST"]),
                Route(GALLERY_PATH, self._gallery, methods=["GET"]),
                Route(GALLERY_PATH + "/{mark}/{name}", self._file, methods=["GET"]),
                Route(CALLBACK_PATH, callbacks.take, methods=["POST"]),
            ],
        )
        starlette.add_exception_handler(HTTPException, _nothing_there)
        self.door = Door(starlette, self)

    async def _call(self, request: Request) -> Response:
        """Call one tool: ``{"name", "arguments"}`` in, the tool's result out, as the protocol writes it."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Anything else could be sent by any web page without asking us first.
            return _error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send it with the header Content-Type: application/json.")
        body = _object(await request.body())
        if body is None or not isinstance(body.get("name"), str):
            return _error(HTTPStatus.BAD_REQUEST, 'Send a JSON object: {"name": "...", "arguments": {...}}.')
        arguments = body.get("arguments")
        if not isinstance(arguments, dict | None):
            return _error(HTTPStatus.BAD_REQUEST, "arguments must be a JSON object.")
        unknown = sorted(set(body) - {"name", "arguments"})
        if unknown:
            hint = nearest(unknown[0], ("name", "arguments"))
            return _error(HTTPStatus.BAD_REQUEST, f"{unknown[0]} is not known here. {hint}")
        try:
            self.app.check_offered(body["name"])
        except InvalidArgument as exc:
            return _error(HTTPStatus.NOT_FOUND, str(exc))
        patience_s = self.app.settings.patience_s or USUAL_PATIENCE_S
        answer = _ending("The server is ending. Tasks that run go on by themselves.")
        async with anyio.create_task_group() as group:
            group.start_soon(self._cut, group.cancel_scope)
            result = await self.app.call(body["name"], arguments, _say_nothing, patience_s)
            answer = JSONResponse(result.model_dump(mode="json", by_alias=True, exclude_none=True))
            group.cancel_scope.cancel()
        return answer

    async def _cut(self, calling: anyio.CancelScope) -> None:
        await self.drained.wait()
        calling.cancel()

    async def _gallery(self, _: Request) -> Response:
        text = await page(self.app.flow.store, address=self._address)
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    def _address(self, path: Path) -> str:
        """Return where the page finds a saved file; only what a page has shown can be fetched."""
        mark = hashlib.sha256(str(path).encode(errors="replace")).hexdigest()[:32]
        self._shown[mark] = path
        return f"{GALLERY_PATH}/{mark}/{quote(path.name)}"

    async def _file(self, request: Request) -> Response:
        path = self._shown.get(request.path_params["mark"])
        if path is None or not await anyio.Path(path).is_file():
            return _error(HTTPStatus.NOT_FOUND, "There is no such file; reload the gallery.")
        return FileResponse(path, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private"})


@dataclass
class Door:
    """Stands before the site: looks at host, origin, token and size before anything else happens."""

    inside: ASGIApp
    site: Site

    OPEN: ClassVar[frozenset[str]] = frozenset({HEALTH_PATH, CALLBACK_PATH})
    """Addresses that need no token: one says nothing, the other has a proof of its own."""

    def __post_init__(self) -> None:
        self._limited = RequestBodyLimitMiddleware(self.inside, BODY_LIMIT)
        self._limited_callback = RequestBodyLimitMiddleware(self.inside, CALLBACK_LIMIT)
        settings = self.site.app.settings
        public = urlsplit(settings.public_url).hostname if settings.public_url else None
        named = {self.site.host, public, *settings.allowed_hosts} - {None, "0.0.0.0", "::"}  # noqa: S104  not an address
        self._hosts = frozenset(str(name).lower() for name in named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self.inside(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["path"] == CALLBACK_PATH:
            await self._limited_callback(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._known(f"//{host}"):
            return _error(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This server is not known as {shorten(host)}; KIE_AI_ALLOWED_HOSTS names further ones.",
            )
        origin = headers.get("origin")
        if origin is not None and not (origin.startswith(("http://", "https://")) and self._known(origin)):
            return _error(HTTPStatus.FORBIDDEN, "Requests from other sites' pages are not answered.")
        if self.site.closing:
            return _ending("The server is ending; nothing was done.")
        token = self.site.app.settings.token
        if token is None or path in self.OPEN:
            return None
        in_browser = path.startswith(GALLERY_PATH)
        if hmac.compare_digest(_given(headers, in_browser=in_browser).encode(), token.encode()):
            return None
        return _error(
            HTTPStatus.UNAUTHORIZED,
            "Send the header Authorization: Bearer with the token that KIE_AI_HTTP_TOKEN holds on the server.",
            {"WWW-Authenticate": 'Basic realm="kie-ai-mcp-server: any name, the token as password"'}
            if in_browser
            else {"WWW-Authenticate": "Bearer"},
        )

    def _known(self, address: str) -> bool:
        """Whether an address names this server; ports may differ, for they are forwarded."""
        try:
            parts = urlsplit(address)
            name = parts.hostname
            parts.port  # noqa: B018  raises where it is none
        except ValueError:
            return False
        return name is not None and (_loopback(name) or name in self._hosts)


def _given(headers: Headers, *, in_browser: bool) -> str:
    """Return the token that a request brings; a browser may bring it as a password."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if in_browser and scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    return ""


@dataclass
class Callbacks:
    """Takes what the service posts. Nothing is believed of it but that the task is worth reading now."""

    flow: Flow
    _hinted: dict[str, float] = field(default_factory=dict)
    _looked: deque[float] = field(default_factory=deque)

    async def take(self, request: Request) -> Response:
        """Check a callback, then wake those who wait for the task, or read it where nobody does."""
        body = _object(await request.body())
        ids = [] if body is None else _task_ids(body)
        if not ids:
            return _error(HTTPStatus.BAD_REQUEST, "It names no task.")
        key = self.flow.settings.signing_key
        if key is not None:
            signed = [task_id for task_id in ids if _is_signed(task_id, request.headers, key)]
            if not signed:
                log.warning(
                    "a callback without a valid signature was refused; KIE_AI_WEBHOOK_KEY must be the account's own key"
                )
                return _error(HTTPStatus.UNAUTHORIZED, "Its signature is missing, wrong or too old.")
            return await self._taken(signed[0])
        if not self._may_look():
            return _error(HTTPStatus.TOO_MANY_REQUESTS, "Too many unsigned callbacks.", {"Retry-After": "10"})
        return await self._taken(ids[0], hint=True)

    async def _taken(self, task_id: str, *, hint: bool = False) -> Response:
        record = await self.flow.store.find(task_id)
        # The same answer whatever is on record: who posts learns nothing.
        answer = JSONResponse({"code": 200, "msg": "success"})
        if record is not None and not record.final and not (hint and self._hinted_lately(task_id)):
            answer.background = BackgroundTask(self._read, task_id)
        return answer

    async def _read(self, task_id: str) -> None:
        if wake(self.flow, task_id):
            return
        try:
            await self.flow.refresh(task_id)
        except KieError as exc:
            log.warning("task %s was announced but could not be read: %s", task_id, exc)

    def _may_look(self) -> bool:
        most, within_s = HINTS
        now = time.monotonic()
        while self._looked and self._looked[0] < now - within_s:
            self._looked.popleft()
        if len(self._looked) >= most:
            return False
        self._looked.append(now)
        return True

    def _hinted_lately(self, task_id: str) -> bool:
        now = time.monotonic()
        self._hinted = {name: moment for name, moment in self._hinted.items() if moment > now - HINT_EVERY_S}
        return self._hinted.setdefault(task_id, now) != now


def signature(key: str, task_id: str, timestamp: str) -> str:
    """Return what the service's header must hold: Base64 of HMAC-SHA256 over ``taskId.timestamp``."""
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(errors="replace"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _is_signed(task_id: str, headers: Headers, key: str) -> bool:
    timestamp = headers.get("x-webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdecimal() and abs(time.time() - int(timestamp[:12])) <= OLDEST_S):
        return False
    given = headers.get("x-webhook-signature", "")
    return hmac.compare_digest(given.encode(), signature(key, task_id, timestamp).encode())


def _task_ids(body: Mapping[str, Any]) -> list[str]:
    """Return the task's id from each of the three places where the families put it."""
    data = object_in(body.get("data"))
    found = (text_in(data.get("taskId")), text_in(data.get("task_id")), text_in(body.get("taskId")))
    return list(dict.fromkeys(task_id for task_id in found if task_id))


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _nothing_there(request: Request, exc: Exception) -> Response:
    """Answer what no address takes: there is none such, or not with this method."""
    assert isinstance(exc, HTTPException)  # noqa: S101  what it is registered for
    known = f"There are {MCP_PATH}, POST {CALL_PATH}, {GALLERY_PATH}, {HEALTH_PATH} and POST {CALLBACK_PATH}."
    what = f"{request.method} {shorten(request.url.path)}"
    return _error(HTTPStatus(exc.status_code), f"{what} is not answered here. {known}", exc.headers)


async def _say_nothing(_message: str, _share: float | None) -> None:
    """Take progress that a plain call has nowhere to show."""


def _ending(message: str) -> Response:
    return _error(HTTPStatus.SERVICE_UNAVAILABLE, f"{message} Call again once it runs.", {"Retry-After": "5"})


def _error(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status.value, headers)
