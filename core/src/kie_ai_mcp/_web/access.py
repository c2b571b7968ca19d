"""Access checks of the HTTP server: host, origin, token, body size."""

import base64
import binascii
import hmac
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kie_ai_mcp._flow.links import FILES_PATH
from kie_ai_mcp._flow.submit import CALLBACK_PATH
from kie_ai_mcp._media.uploading import UPLOADS_PATH
from kie_ai_mcp._record.users import BEGINNING
from kie_ai_mcp._settings.hosts import host_of, is_local, names_of
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._start.limits import MESSAGE_BYTES
from kie_ai_mcp._web.visitors import RESOURCE_PATH, IssuerAway, TokenRefused, Visitors
from kie_ai_mcp.errors import InvalidArgument, StorageError, shorten

if TYPE_CHECKING:
    from kie_ai_mcp._web.oauth import Issuer

log = logging.getLogger(__name__)

GALLERY_PATH = "/gallery"
HEALTH_PATH, READY_PATH = "/healthz", "/readyz"
METRICS_PATH = "/metrics"
PASSED_ON = "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"  # headers that proxies add
PROBES = HEALTH_PATH, READY_PATH  # they say nothing that is to be kept, and are answered to the end
# Names in a request's scope: of the user who makes it, and of its having a proof of its own, whoever the users are.
USER, PROVEN, WHY = "kie_ai_mcp.user", "kie_ai_mcp.proven", "kie_ai_mcp.why"
CALLBACK_LIMIT = 1024 * 1024  # the largest callback, in bytes; the service posts addresses, not media
EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  hosts to listen on that are no address
RESUME = b"last-event-id"  # a client asks for what it missed; nothing is kept, and the SDK would answer 500
IN_BROWSER = 'Basic realm="kie-ai-mcp-server: any name, the token as password"'
EXPOSED = ("Mcp-Session-Id", "Mcp-Protocol-Version", "Retry-After", "WWW-Authenticate")  # what pages may read


@dataclass
class Access:
    """Checks host, origin, token and size of every request before the site gets it; refuses all once `closing`.

    Pages of this machine and of origins that the user names may call; browsers ask for that beforehand (CORS).
    """

    site: ASGIApp
    settings: Settings
    host: str
    visitors: Visitors
    issuer: "Issuer | None" = None  # of tokens whose users it vouches for
    closing: bool = False

    OPEN: ClassVar[frozenset[str]] = frozenset({*PROBES, CALLBACK_PATH})
    """Addresses that need no token: the probes, and one whose callers have a proof of their own, as links have."""

    def __post_init__(self) -> None:
        self._limited = RequestBodyLimitMiddleware(self._whole, MESSAGE_BYTES)
        self._limited_callback = RequestBodyLimitMiddleware(self._whole, CALLBACK_LIMIT)
        # The origin of whatever reaches it was checked, so each is answered by its own name.
        self._shared = CORSMiddleware(
            self._guarded,
            allow_origin_regex=".*",
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=EXPOSED,
            allow_private_network=True,
        )
        public = urlsplit(self.settings.public_url or "").hostname
        named = {self.host, public or ""} - EVERYWHERE
        self._hosts = {*map(host_of, named), *self.settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self.site(scope, receive, send)
            return
        kept = [pair for pair in scope["headers"] if pair[0] != RESUME]
        # An address is the same with a slash at its end: a redirect would name the scheme that a proxy has taken off.
        scope = {**scope, "path": "/" + scope["path"].strip("/"), "headers": kept}
        headers = Headers(scope=scope)
        misdirected = self._misdirected(scope["path"], headers)
        if misdirected is not None:
            is_host = misdirected.status_code == HTTPStatus.MISDIRECTED_REQUEST
            name = "host" if is_host else "origin"
            _note(scope, misdirected, {name: shorten(headers.get(name, ""))})
        await (misdirected or self._shared)(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A file is limited by whoever takes it, for it is not held in memory.
        own: dict[str, ASGIApp] = {CALLBACK_PATH: self._limited_callback, UPLOADS_PATH: self.site}
        limited = own.get(scope["path"], self._limited)
        try:
            refused = await self._refusal(scope)
            if refused is not None and scope["path"] not in PROBES:
                _note(scope, refused, {"reason": shorten(scope[WHY])} if WHY in scope else None)
            answer = refused or limited
        except StorageError as exc:
            log.warning("users can't be looked up: %s", exc)
            message = "Who calls can't be looked up now: the server's database can't be used. Call again."
            answer = refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": "5"})
        await answer(scope, receive, send)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the site once it is there as a whole; the sender of a part is gone and needs no answer."""
        messages = [await receive()]
        if messages[0]["type"] != "http.request" or messages[0].get("more_body"):
            return

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.site(scope, replay, send)

    def _misdirected(self, path: str, headers: Headers) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        # A probe of the machine asks by whatever address it knows.
        if path not in PROBES and not self._is_ours(host):
            message = f"This server is not known as {shorten(host)}; KIE_AI_ALLOWED_HOSTS names further ones."
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, message)
        if origin is not None and not self._may_call(origin):
            message = f"Pages of {shorten(origin)} are not answered; KIE_AI_ALLOWED_ORIGINS names those that are."
            return refusal(HTTPStatus.FORBIDDEN, message)
        return None

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the refusal of who may not get in; the user of who may, if there are any, stands in the scope then."""
        if self.closing and scope["path"] not in PROBES:
            return ending("The server is ending; nothing was done.")
        path, token = scope["path"], self.settings.token
        scope[PROVEN] = path in self.OPEN or path.startswith(f"{FILES_PATH}/")
        if scope[PROVEN]:
            return None
        in_browser = path.startswith(GALLERY_PATH)
        sent = _token_in(Headers(scope=scope), in_browser=in_browser)
        is_known = token is not None and hmac.compare_digest(sent.encode(), token.encode())
        if path == METRICS_PATH and is_known:  # the figures are those of all users, and are asked for by no user
            scope[PROVEN] = True
            return None
        if self.issuer is not None and path != METRICS_PATH and not sent.startswith(BEGINNING):
            return await self._unknown_to(self.issuer, sent, scope)
        message = "Send the header Authorization: Bearer with the token that KIE_AI_HTTP_TOKEN holds on the server."
        has_users = self.issuer is not None or await self._has_users(sent)
        if has_users and path != METRICS_PATH:
            scope[USER] = await self.visitors.find(sent)
            if scope[USER] is not None:
                return None
            message = "Send the header Authorization: Bearer with your own token, which an administrator has given you."
        elif not has_users and token is None and self.settings.public_url is not None and not _is_near(scope):
            message = "This server is open to the internet and has no token: set KIE_AI_HTTP_TOKEN, or add users."
            return refusal(HTTPStatus.FORBIDDEN, message)
        elif not has_users and (token is None or is_known):
            return None
        return refusal(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": IN_BROWSER if in_browser else "Bearer"})

    async def _has_users(self, token: str) -> bool:
        """Return whether there are users; raise `StorageError` where that can't be known.

        On a machine of one person a database that can't be used is better told by each call.
        """
        try:
            return await self.visitors.exist(token)
        except StorageError:
            if self.settings.public_url is not None or not is_local(self.host):
                raise
            return False

    async def _unknown_to(self, issuer: "Issuer", token: str, scope: Scope) -> Response | None:
        """Return the refusal of a token that is not the issuer's; else None, with its user in the scope."""
        path, fault = scope["path"], ""
        if path.startswith(RESOURCE_PATH):
            return None
        try:
            if token:
                name = await issuer.user_of(token)
                scope[USER] = await self.visitors.admit(name)
                gone = f"{shorten(name)} was removed from this server; an administrator lets users in again."
                return None if scope[USER] is not None else refusal(HTTPStatus.FORBIDDEN, gone)
        except InvalidArgument as exc:  # no user has such a name
            return refusal(HTTPStatus.FORBIDDEN, str(exc))
        except IssuerAway as exc:
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(exc), {"Retry-After": "10"})
        except TokenRefused as exc:
            fault = scope[WHY] = exc.message
        why = f"The token is refused: {fault}. " if fault else ""
        message = f"{why}Send the header Authorization: Bearer with a token for {issuer.resource} from {issuer.issuer}."
        scheme = IN_BROWSER if path.startswith(GALLERY_PATH) else issuer.challenge(fault)
        return refusal(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": scheme})

    def _is_ours(self, host: str) -> bool:
        """Return whether a host names this server; ports may differ, for they are forwarded."""
        try:
            name = host_of(host)
        except ValueError:
            return False
        return is_local(name) or name in self._hosts

    def _may_call(self, origin: str) -> bool:
        """Return whether pages of an origin may call this server: its own, this machine's, or those that are named."""
        scheme, _, host = origin.partition("://")
        if scheme.lower() in {"http", "https"} and self._is_ours(host):
            return True
        try:
            return not names_of(origin).isdisjoint(self.settings.allowed_origins)
        except ValueError:
            return False


def _note(scope: Scope, refused: Response, more: Mapping[str, str] | None = None) -> None:
    """Write the log's line of a request that was turned away."""
    client = (scope.get("client") or ("-",))[0]
    path, status = shorten(scope["path"]), refused.status_code
    fields = {"who": "-", "method": scope["method"], "path": path, "status": status, "from": client, **(more or {})}
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    log.info("refused: %s", text, extra={"fields": fields})


def _is_near(scope: Scope) -> bool:
    """Return whether a request seems to come from this machine itself, and not through a proxy that faces others."""
    headers = Headers(scope=scope)
    return not any(name in headers for name in PASSED_ON) and is_local(host_of(headers.get("host", "")))


def _token_in(headers: Headers, *, in_browser: bool) -> str:
    """Return the token that a request brings; a browser may bring it as a password."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if in_browser and scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    return ""


def ending(message: str) -> Response:
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{message} Call again once it runs.", {"Retry-After": "5"})


def refusal(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status.value, headers)
