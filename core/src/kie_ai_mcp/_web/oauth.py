"""OAuth: this server as a protected resource, whose tokens an issuer signs; the name in a token is the user.

Nobody is asked about a token: it is checked against the issuer's public keys, which are read now and then.
"""

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import anyio
import jwt
from mcp.server.auth.handlers.metadata import ProtectedResourceMetadataHandler
from mcp.server.auth.provider import AccessToken
from mcp.shared.auth import ProtectedResourceMetadata
from pydantic import AnyHttpUrl
from starlette.routing import Route

from kie_ai_mcp._service.connections import Connections, Fault
from kie_ai_mcp._settings.hosts import is_local
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web.visitors import MCP_PATH, RESOURCE_PATH, IssuerAway, TokenRefused

log = logging.getLogger(__name__)
# Those with a secret that both sides know are left out: the public key would be taken for it.
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
ALGORITHMS = {*(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)), "EdDSA"}
REQUIRED = ("exp", "iss", "aud", "sub")
LEEWAY_S = 30  # how much the clocks of the issuer and of this machine may differ
KEPT_S = 600.0  # after which the keys are read again while they go on
AGAIN_S = 10.0  # how long after a read no other one is made
LIMIT_S = 5.0  # how long a read may take
MOST_BYTES = 500_000

FAULTS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another resource",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.InvalidSignatureError: "its signature is not the issuer's",
    jwt.MissingRequiredClaimError: f"it lacks one of {', '.join(REQUIRED)}",
}


@dataclass
class Issuer:
    """The issuer of the tokens of one resource, as the SDK's `TokenVerifier`; its keys are kept while it is away."""

    issuer: str
    resource: str
    mask: Mask
    _name: str = ""  # as it writes itself
    _source: str = ""  # the address of its keys
    _keys: list[dict[str, Any]] = field(default_factory=list)
    _read_at: float = -KEPT_S
    _tried_at: float = -KEPT_S
    _is_away: bool = False
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _reading: "asyncio.Task[None] | None" = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the issuer that settings with a public address name."""
        resource = AnyHttpUrl(f"{settings.public_url}{MCP_PATH}")  # in the spelling that clients compare
        return cls(settings.oauth_issuer or "", str(resource), settings.mask)

    def routes(self) -> Iterable[Route]:
        """Return the addresses that tell clients of the issuer: where they look first, and where a proxy may lead."""
        about = {"resource": self.resource, "authorization_servers": [self.issuer]}
        handler = ProtectedResourceMetadataHandler(ProtectedResourceMetadata.model_validate(about))
        paths = dict.fromkeys(["", MCP_PATH, urlsplit(self.resource).path])
        return [Route(RESOURCE_PATH + path, handler.handle, methods=["GET"]) for path in paths]

    def challenge(self, fault: str) -> str:
        """Return the header of a refusal that leads a client to the issuer; `fault` is empty where no token came."""
        error = f'error="invalid_token", error_description="{fault}", ' if fault else ""
        return f'Bearer {error}resource_metadata="{self.resource.removesuffix(MCP_PATH)}{RESOURCE_PATH}{MCP_PATH}"'

    async def user_of(self, token: str) -> str:
        """Return the name of a token's user; raise as `verify_token` does."""
        return (await self.verify_token(token)).subject or ""

    async def verify_token(self, token: str) -> AccessToken:
        """Return what a token says, its user as the subject; raise TokenRefused, or IssuerAway where nobody knows."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(header)
            checks: dict[str, Any] = {"audience": self.resource, "issuer": self._name, "leeway": LEEWAY_S}
            claims = jwt.decode(token, key, [header["alg"]], options={"require": [*REQUIRED]}, **checks)
        except jwt.PyJWTError as exc:
            raise TokenRefused(_fault_of(exc)) from None
        user = claims["sub"]
        client, scopes = str(claims.get("client_id") or claims.get("azp") or user), str(claims.get("scope", "")).split()
        about: dict[str, Any] = {"resource": self.resource, "subject": user, "claims": claims}
        return AccessToken(token=token, client_id=client, scopes=scopes, expires_at=int(claims["exp"]), **about)

    async def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        """Return the key that signed a token; an unknown one may be new, so that the keys are read again first."""
        if str(header.get("alg")) not in ALGORITHMS:
            raise TokenRefused("its algorithm is none with a public key")
        key = self._known(header)
        if key is None:
            await self._refresh()
            key = self._known(header)
        elif time.monotonic() - self._read_at > KEPT_S and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._refresh())
        if key is None and (self._is_away or not self._keys):
            raise IssuerAway("The issuer of the tokens does not answer.", next_step="Call again in some seconds.")
        if key is None:
            raise TokenRefused("its key is none of the issuer's")
        return key

    def _known(self, header: Mapping[str, Any]) -> jwt.PyJWK | None:
        algorithm, kid = header["alg"], header.get("kid")
        fits = {"kty": KEY_TYPES[algorithm[:2]], "use": "sig", "alg": algorithm}
        keys = [key for key in self._keys if all(key.get(name, value) == value for name, value in fits.items())]
        keys = [key for key in keys if kid is None or key.get("kid") == kid]
        try:
            return jwt.PyJWK(keys[0], algorithm) if len(keys) == 1 else None
        except jwt.PyJWTError:
            return None

    async def _refresh(self) -> None:
        """Read the keys, unless that was tried a moment ago; where it fails, those that are known go on."""
        async with self._turn:
            if time.monotonic() - self._tried_at < AGAIN_S:
                return
            self._tried_at = time.monotonic()
            connections = Connections(self.mask)
            try:
                with connections.errors_as(_away, LIMIT_S):
                    self._keys = await self._read(connections)
                self._read_at, self._is_away = time.monotonic(), False
            except IssuerAway as exc:
                self._source, self._is_away = "", True
                log.warning("the keys of %s could not be read: %s", self.issuer, exc)
            finally:
                await connections.close()

    async def _read(self, connections: Connections) -> list[dict[str, Any]]:
        if not self._source:
            self._name, self._source = await self._discovered(connections)
        keys = (await _object_at(connections, self._source) or {}).get("keys")
        if not isinstance(keys, list) or not (found := [key for key in keys if isinstance(key, dict)]):
            raise IssuerAway(f"{self._source} holds no keys.")
        return found

    async def _discovered(self, connections: Connections) -> tuple[str, str]:
        """Return the issuer's name and the address of its keys, as its metadata tell them."""
        issuer = self.issuer.rstrip("/")
        path = urlsplit(issuer).path
        root = issuer.removesuffix(path)
        places = [f"{root}/.well-known/{name}{path}" for name in ("oauth-authorization-server", "openid-configuration")]
        for place in dict.fromkeys([*places, f"{issuer}/.well-known/openid-configuration"]):
            match await _object_at(connections, place):
                case {"issuer": str(name), "jwks_uri": str(source)} if name.rstrip("/") == issuer and _is_safe(source):
                    return name, source
        raise IssuerAway(f"No metadata at {root} name this issuer and a safe address of its keys.")


async def _object_at(connections: Connections, url: str) -> dict[str, Any] | None:
    """Return the JSON object at an address; None where there is none."""
    client = await connections.client("issuer", url, LIMIT_S)
    status, text, _ = await connections.exchange(client, "GET", url, MOST_BYTES)
    try:
        content = json.loads(text) if status == 200 else None
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _fault_of(exc: jwt.PyJWTError) -> str:
    return next((words for kind, words in FAULTS.items() if isinstance(exc, kind)), "it can't be read")


def _away(fault: Fault) -> IssuerAway:
    return IssuerAway(fault.reason)


def _is_safe(url: str) -> bool:
    """Return whether nobody on the way can change what stands at an address."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and is_local(parts.hostname or ""))
    except ValueError:
        return False
