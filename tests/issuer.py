"""A small issuer of OAuth tokens: a real HTTP server with real keys, that can be away, slow, huge or wrong."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Key = RSAPrivateKey | EllipticCurvePrivateKey
RESOURCE = "https://kie.example/mcp"
METADATA = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
KEYS = "/keys"


@cache
def new_key(number: int = 0) -> RSAPrivateKey:
    """A key; the same for a number, since it takes its time."""
    return rsa.generate_private_key(65537, 2048)


@cache
def curve_key() -> EllipticCurvePrivateKey:
    """A key of another sort."""
    return ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """The issuer at ``url``; `path` is a part of its name.

    Args:
        server: It serves.
        path: A path below the server's address.
        metadata: Where its metadata are.
    """

    def __init__(self, server: HTTPServer, path: str = "", metadata: str = METADATA) -> None:
        self.server = server
        self.url = server.url_for("").rstrip("/") + path
        self.keys: dict[str, Key] = {"rsa": new_key(), "ec": curve_key()}
        self.document: dict[str, Any] = {"issuer": self.url, "jwks_uri": server.url_for(KEYS)}
        self.content: bytes | None = None  # in place of its keys
        self.drips = False
        self.held = threading.Event()
        self.held.set()
        server.expect_request(metadata).respond_with_handler(lambda _: self._json(self.document))
        server.expect_request(KEYS).respond_with_handler(self._send_keys)

    def jwk(self, kid: str) -> dict[str, Any]:
        """The public half of a key."""
        key = self.keys[kid]
        form = RSAAlgorithm if isinstance(key, RSAPrivateKey) else ECAlgorithm
        public = form.to_jwk(key.public_key())  # type: ignore[arg-type]  # each of its own sort
        return {**json.loads(public), "kid": kid, "use": "sig"}

    def token(self, user: str = "ann", *, by: str = "rsa", header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token for a user, with other claims, those that are None left out."""
        now = int(time.time())
        claims = {"iss": self.url, "sub": user, "aud": RESOURCE, "iat": now, "exp": now + 600, **changes}
        said = {name: value for name, value in claims.items() if value is not None}
        algorithm = "RS256" if isinstance(self.keys[by], RSAPrivateKey) else "ES256"
        return jwt.encode(said, self.keys[by], algorithm, {"kid": by} if header is None else header)

    @property
    def reads(self) -> int:
        """How often its keys were read."""
        return sum(request.path == KEYS for request, _ in self.server.log)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Let its keys come after the end of the context."""
        self.held.clear()
        try:
            yield
        finally:
            self.held.set()

    def _send_keys(self, _request: Request) -> Response:
        if self.drips:
            return Response(self._drops(), content_type="application/json")
        self.held.wait(20)
        if self.content is not None:
            return Response(self.content, content_type="application/json")
        return self._json({"keys": [self.jwk(kid) for kid in self.keys]})

    def _drops(self) -> Iterator[bytes]:
        for _ in range(100):
            if self.held.wait(0.05):
                break
            yield b" "

    @staticmethod
    def _json(value: Any) -> Response:
        return Response(json.dumps(value), content_type="application/json")
