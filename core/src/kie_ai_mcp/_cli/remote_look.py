"""Look at a server elsewhere as a client does: greeting and list of tools, with every failure put into words."""

import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp.errors import ConfigError, shorten
from kie_ai_mcp.readings import object_in

REVISION = "2025-11-25"
LIMIT_S = 15.0
MOST_BYTES = 10_000_000
WORDS = 200  # characters of a server's own words that are shown
CURES = {
    401: "Give --token-env the name of a variable that holds a valid token.",
    403: "Give a token of a user who may use it, or look at its proxy.",
    404: "Check the path: it ends with /mcp, below the path under which the proxy serves it.",
    405: "Check the path: it ends with /mcp.",
    421: "Add this host to KIE_AI_ALLOWED_HOSTS, or set KIE_AI_PUBLIC_URL, on the server.",
    502: "The proxy reaches no server: look whether it runs, and where the proxy looks for it.",
    503: "Wait, and look at the server's own /readyz.",
    504: "The proxy waits too short, or the server hangs.",
}


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: what is posted would be lost on the way."""


@dataclass
class Look:
    """One look at the server of an address; a token is sent where one is given."""

    url: str
    token: str = field(repr=False)
    _headers: dict[str, str] = field(default_factory=dict)

    def words(self) -> str:
        """Return what answers there; raise ConfigError with what is wrong, and its cure."""
        self._headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.token:
            self._headers["Authorization"] = f"Bearer {self.token}"
        client = {"name": "kie-ai-mcp-server-doctor", "version": "1"}
        greeting = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client}
        try:
            about = self._ask("initialize", greeting).get("serverInfo")
            if not isinstance(about, dict):
                raise ConfigError(f"What answers at {self.url} is no MCP server.", next_step=CURES[404])
            self._headers["MCP-Protocol-Version"] = REVISION
            self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
            tools = self._ask("tools/list", {}).get("tools")
            if "Mcp-Session-Id" in self._headers:
                self._open(Request(self.url, headers=self._headers, method="DELETE")).close()  # noqa: S310  checked
        except HTTPError as exc:
            with exc:
                return self._refused(exc)
        except OSError as exc:
            raise self._unreached(exc) from None
        number = len(tools) if isinstance(tools, list) else 0
        name = f"{about.get('name')} {about.get('version')}"[:WORDS]
        return f"{name} answers, with {number} tools."

    def _ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        result = found.get("result")
        return result if isinstance(result, dict) else {}

    def _post(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        request = Request(self.url, json.dumps(message).encode(), self._headers, method="POST")  # noqa: S310  checked
        with self._open(request) as answer:
            headers: Message = answer.headers
            if session := headers.get("Mcp-Session-Id"):
                self._headers["Mcp-Session-Id"] = session
            if headers.get_content_type() == "text/event-stream":
                return _event(answer)
            return object_in(answer.read(MOST_BYTES).decode(errors="replace"))

    def _open(self, request: Request) -> Any:
        return build_opener(_Stay).open(request, timeout=LIMIT_S)

    def _refused(self, exc: HTTPError) -> str:
        """Return what is right about a refusal, or raise what is wrong."""
        if exc.code == 401 and not self.token and "resource_metadata" in exc.headers.get("WWW-Authenticate", ""):
            return "It answers, and wants users to sign in, which clients do by themselves (OAuth)."
        if place := exc.headers.get("Location"):
            cure = "Use the address that it leads to."
            raise ConfigError(f"{self.url} leads to {shorten(place)} ({exc.code}).", next_step=cure)
        body = object_in(exc.read(MOST_BYTES).decode(errors="replace"))
        said = body.get("error")
        reason = Mask([self.token]).text(said)[:WORDS] if isinstance(said, str) else exc.reason
        cure = CURES.get(exc.code, "Look into the logs of the server and of its proxy.")
        raise ConfigError(f"{self.url} answers {exc.code}: {reason}", next_step=cure)

    def _unreached(self, exc: OSError) -> ConfigError:
        reason = exc.reason if isinstance(exc, URLError) else exc
        host = urlsplit(self.url).hostname
        match reason:
            case socket.gaierror():
                return ConfigError(f"The name {host} is not known.", next_step="Correct it, or its DNS record.")
            case ssl.SSLCertVerificationError():
                cure = "Give the proxy a certificate for this name from an authority that clients know."
                return ConfigError(
                    f"The certificate of {host} is not accepted: {reason.verify_message}.", next_step=cure
                )
            case ssl.SSLError():
                cure = "Check the port, and that the proxy has TLS there."
                return ConfigError(f"{host} does not speak TLS there: {reason.reason}.", next_step=cure)
            case TimeoutError():
                cure = "Check the port, a firewall, and whether the server runs."
                return ConfigError(f"{host} has not answered within {LIMIT_S:g} s.", next_step=cure)
        cure = "Check the port, a firewall, and whether the server runs."
        return ConfigError(f"{host} can't be reached: {reason}.", next_step=cure)


def _event(lines: Iterable[bytes]) -> Mapping[str, Any]:
    """Return the answer in a stream of events; raise TimeoutError where none of many is it."""
    until = time.monotonic() + LIMIT_S
    for line in lines:
        if time.monotonic() > until:
            raise TimeoutError
        found = object_in(line.decode(errors="replace").removeprefix("data:")) if line.startswith(b"data:") else {}
        if "id" in found:
            return found
    return {}
