"""Access checks of the HTTP server: host, origin, token, body size."""

import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlsplit

from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kie_ai_mcp._flow.submit import CALLBACK_PATH
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import shorten

GALLERY_PATH = "/gallery"
HEALTH_PATH = "/healthz"
BODY_LIMIT = 16 * 1024 * 1024  # the largest request, in bytes: a file of 10 MB in base64, and what surrounds it
CALLBACK_LIMIT = 1024 * 1024  # the largest callback, in bytes; the service posts addresses, not media


@dataclass
class Access:
    """Checks host, origin, token and size of every request before the site gets it; refuses all once `closing`."""

    site: ASGIApp
    settings: Settings
    host: str
    closing: bool = False

    OPEN: ClassVar[frozenset[str]] = frozenset({HEALTH_PATH, CALLBACK_PATH})
    """Addresses that need no token: one says nothing, the other has a proof of its own."""

    def __post_init__(self) -> None:
        self._limited = RequestBodyLimitMiddleware(self.site, BODY_LIMIT)
        self._limited_callback = RequestBodyLimitMiddleware(self.site, CALLBACK_LIMIT)
        public = urlsplit(self.settings.public_url or "").hostname
        named = {self.host, public, *self.settings.allowed_hosts} - {None, "0.0.0.0", "::"}  # noqa: S104  not an address
        self._hosts = frozenset(str(name).lower() for name in named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self.site(scope, receive, send)
            return
        limited = self._limited_callback if scope["path"] == CALLBACK_PATH else self._limited
        answer = self._refusal(scope["path"], Headers(scope=scope)) or limited
        await answer(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_ours(f"//{host}"):
            message = f"This server is not known as {shorten(host)}; KIE_AI_ALLOWED_HOSTS names further ones."
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, message)
        origin = headers.get("origin")
        if origin is not None and not (origin.startswith(("http://", "https://")) and self._is_ours(origin)):
            return refusal(HTTPStatus.FORBIDDEN, "Requests from other sites' pages are not answered.")
        if self.closing:
            return ending("The server is ending; nothing was done.")
        token = self.settings.token
        if token is None or path in self.OPEN:
            return None
        in_browser = path.startswith(GALLERY_PATH)
        if hmac.compare_digest(_token_in(headers, in_browser=in_browser).encode(), token.encode()):
            return None
        message = "Send the header Authorization: Bearer with the token that KIE_AI_HTTP_TOKEN holds on the server."
        scheme = 'Basic realm="kie-ai-mcp-server: any name, the token as password"' if in_browser else "Bearer"
        return refusal(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": scheme})

    def _is_ours(self, address: str) -> bool:
        """Return whether an address names this server; ports may differ, for they are forwarded."""
        try:
            parts = urlsplit(address)
            name = parts.hostname
            parts.port  # noqa: B018  raises where it is none
        except ValueError:
            return False
        return name is not None and (is_local(name) or name in self._hosts)


def _token_in(headers: Headers, *, in_browser: bool) -> str:
    """Return the token that a request brings; a browser may bring it as a password."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if in_browser and scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    return ""


def is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def json_object(text: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def ending(message: str) -> Response:
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{message} Call again once it runs.", {"Retry-After": "5"})


def refusal(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status.value, headers)
