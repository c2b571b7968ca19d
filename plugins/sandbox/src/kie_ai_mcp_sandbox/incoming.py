"""Readings of a request that the endpoints share."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from kie_ai_mcp_sandbox.faults import Reply
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.words import Refusal

API = "/api/v1/"

Handler = Callable[[Request, Service], Awaitable[Reply]]


def authorize(request: Request, service: Service) -> None:
    """Raise `Refusal` for a key that is missing or wrong."""
    key, accepted = key_of(request, "bearer"), service.settings.key
    if not key or (accepted is not None and key != accepted):
        raise Refusal(401, "You have no access permissions; check the API key")


def key_of(request: Request, scheme: str) -> str:
    """The key that the request sends in this way, or ""."""
    sent, _, key = request.headers.get("authorization", "").partition(" ")
    return key if sent.lower() == scheme else ""


async def json_object(request: Request) -> dict[str, Any]:
    """The body; raises `Refusal` when it is no JSON object."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object")
    return body


def path_of(request: Request) -> str:
    """The address below the base URL."""
    return request.url.path.removeprefix(API)


def origin_of(request: Request) -> str:
    """``http://host:port`` as the client wrote it."""
    return f"{request.url.scheme}://{request.url.netloc}"
