"""The HTTP server: the protocol at /mcp, plain tool calls, the gallery, and the callbacks of the service."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import anyio.abc
from mcp.server.transport_security import TransportSecuritySettings
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from kie_ai_mcp._app.app import App, words_of
from kie_ai_mcp._flow.links import FILES_PATH, Links
from kie_ai_mcp._flow.submit import CALLBACK_PATH
from kie_ai_mcp._gallery.page import entries, page
from kie_ai_mcp._mcp.content import result_of
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._media.uploading import UPLOADS_PATH
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._start.limits import MESSAGE_BYTES
from kie_ai_mcp._web.access import GALLERY_PATH, HEALTH_PATH, METRICS_PATH, PROBES, READY_PATH, ending, refusal
from kie_ai_mcp._web.callbacks import Callbacks
from kie_ai_mcp._web.files import FILE, Files
from kie_ai_mcp._web.metrics import Metrics
from kie_ai_mcp._web.readiness import Readiness
from kie_ai_mcp._web.uploads import AT_ONCE, UploadAddress
from kie_ai_mcp._web.visitors import MCP_PATH
from kie_ai_mcp.errors import InvalidArgument, StorageError, shorten
from kie_ai_mcp.readings import object_in

CALL_PATH = "/tools/call"
ENTRIES = "/entries.json"  # below the gallery: what its page shows, for the page to ask again
MOMENT = "%Y-%m-%dT%H:%M:%SZ"  # as entries write it
UNSEEN = timedelta(minutes=1)  # how long a deleted file may go unnoticed: nothing is written then
CLOSE_S = 1  # how long answers may still be written once every paid request has ended, in whole seconds


@dataclass
class Site:
    """Everything that is served. Once `drained`, all paid requests are recorded, and calls that still wait are cut."""

    app: App
    drained: anyio.Event = field(default_factory=anyio.Event)
    more: Iterable[Route] = ()  # addresses that others answer
    room: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(AT_ONCE))  # for uploads to all sites
    _current: dict[str, tuple[str, tuple[int, ...], str]] = field(default_factory=dict)  # as `_entries` keeps it

    def __post_init__(self) -> None:
        callbacks, engine = Callbacks(self.app.engine), self.app.engine
        # Also where answers name paths, pages can only follow links.
        self.links = engine.links or Links.of(self.app.settings, "", engine.record.path)
        files = Files(engine.record, self.links, self.app.settings.output_dir)
        self.starlette = server_of(self.app).streamable_http_app(
            streamable_http_path=MCP_PATH,
            max_request_body_size=MESSAGE_BYTES,
            # `Access` has checked host and origin.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            custom_starlette_routes=[
                Route(HEALTH_PATH, _health, methods=["GET"]),
                Route(METRICS_PATH, Metrics(self.app.engine).answer, methods=["GET"]),
                Route(READY_PATH, Readiness(self.app.engine).answer, methods=["GET"]),
                Route(CALL_PATH, self._call, methods=["POST"]),
                Route(GALLERY_PATH, self._gallery, methods=["GET"]),
                Route(GALLERY_PATH + ENTRIES, self._entries, methods=["GET"]),
                Route(GALLERY_PATH + FILE, files.send, methods=["GET"]),
                Route(FILES_PATH + FILE, files.send, methods=["GET"]),
                Route(UPLOADS_PATH, UploadAddress(self.app, self.room).take, methods=["POST"]),
                Route(CALLBACK_PATH, callbacks.take, methods=["POST"]),
                *self.more,
            ],
        )
        self.starlette.add_exception_handler(HTTPException, _nothing_there)

    async def _call(self, request: Request) -> Response:
        """Call one tool: ``{"name", "arguments"}`` in, the tool's result out, as the protocol writes it."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Anything else could be sent by any web page without asking us first.
            return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send it with the header Content-Type: application/json.")
        body = object_in((await request.body()).decode(errors="replace"))
        if not isinstance(body.get("name"), str):
            return refusal(HTTPStatus.BAD_REQUEST, 'Send a JSON object: {"name": "...", "arguments": {...}}.')
        arguments = body.get("arguments")
        if not isinstance(arguments, dict | None):
            return refusal(HTTPStatus.BAD_REQUEST, "arguments must be a JSON object.")
        if unknown := sorted(set(body) - {"name", "arguments"}):
            hint = nearest(unknown[0], ("name", "arguments"))
            return refusal(HTTPStatus.BAD_REQUEST, f"{unknown[0]} is not known here. {hint}")
        answer = ending("The server is ending. Tasks that run go on by themselves.")

        async def is_heard() -> bool:
            return not await request.is_disconnected()

        async with anyio.create_task_group() as group:
            group.start_soon(self._cut, group.cancel_scope)
            try:
                result = result_of(await self.app.call(body["name"], arguments, is_heard=is_heard))
                answer = JSONResponse(result.model_dump(mode="json", by_alias=True, exclude_none=True))
            except InvalidArgument as exc:
                answer = refusal(HTTPStatus.NOT_FOUND, str(exc))
            group.cancel_scope.cancel()
        return answer

    async def _cut(self, call: anyio.CancelScope) -> None:
        await self.drained.wait()
        await anyio.sleep(CLOSE_S / 2)  # what was paid for has ended; its answer is still put into words
        call.cancel()

    async def _gallery(self, request: Request) -> Response:
        # Relative to what the client asked for: a proxy may serve it below a prefix that nobody tells us.
        start = "." if request.scope["raw_path"].endswith(b"/") else f".{GALLERY_PATH}"
        live = f"{start}{ENTRIES}?start={quote(start)}"
        try:
            text = await page(self.app.engine.record, live=live, **self._shown_at(start))
        except StorageError as exc:
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, words_of(self.app, exc))
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    async def _entries(self, request: Request) -> Response:
        """Return what a page that is open shows now; the same as before is not sent again."""
        start = f".{GALLERY_PATH}" if request.query_params.get("start") == f".{GALLERY_PATH}" else "."
        known, record = request.headers.get("if-none-match", "").removeprefix("W/"), self.app.engine.record
        tag, written, until = self._current.get(start, ("", (), ""))
        now = datetime.now(UTC)
        try:
            stamp = await record.tasks.stamp()
            if known == tag and stamp == written and f"{now:{MOMENT}}" < until:
                return _same(tag)
            stage = await entries(record, **self._shown_at(start))
        except StorageError as exc:
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, words_of(self.app, exc))
        del stage["written"]
        text = json.dumps(stage, ensure_ascii=False).encode("utf-8", "replace")
        tag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
        ends = [entry["expires_at"] for entry in stage["entries"] if entry.get("expires_at", "") > f"{now:{MOMENT}}"]
        self._current[start] = tag, stamp, min([*ends, f"{now + UNSEEN:{MOMENT}}"])
        return _same(tag) if known == tag else Response(text, headers=_tagged(tag), media_type="application/json")

    def _shown_at(self, start: str) -> dict[str, Any]:
        """Return how the page that an address begins shows saved files, by links, and what it hides."""

        def address(record: TaskRecord, number: int, path: Path) -> str:
            return f"{start}{self.links.path(record.user, record.written_id, number, path.name)}"

        return {"address": address, "mask": self.app.engine.links and self.links.mask}


def _tagged(tag: str) -> dict[str, str]:
    return {"ETag": tag, "Cache-Control": "private, no-cache"}


def _same(tag: str) -> Response:
    return Response(status_code=HTTPStatus.NOT_MODIFIED.value, headers=_tagged(tag))


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _nothing_there(request: Request, exc: Exception) -> Response:
    """Refuse a request that no address takes, or not by this method."""
    assert isinstance(exc, HTTPException)  # noqa: S101  what it is registered for
    posts = f"POST {CALL_PATH}, POST {UPLOADS_PATH}, POST {CALLBACK_PATH}"
    known = f"There are {MCP_PATH}, {posts}, {', '.join((GALLERY_PATH, METRICS_PATH, *PROBES))}."
    what = f"{request.method} {shorten(request.url.path)}"
    return refusal(HTTPStatus(exc.status_code), f"{what} is not answered here. {known}", exc.headers)
