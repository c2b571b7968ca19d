"""fal's queue protocol below /fal: a second service with the same clock, credits, limit and faults.

A request for a known model is always accepted; what is wrong with its arguments is said where its result is read.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kie_ai_mcp import Price
from kie_ai_mcp.specs import Kind
from kie_ai_mcp_sandbox.faults import JSON, Fault, Reply
from kie_ai_mcp_sandbox.incoming import json_object, key_of, origin_of
from kie_ai_mcp_sandbox.prices import Bill, listed
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Family, State, Task
from kie_ai_mcp_sandbox.words import Refusal

BASE = "/fal/"

WORDS: Mapping[State, str] = {
    "waiting": "IN_QUEUE",
    "queuing": "IN_QUEUE",
    "generating": "IN_PROGRESS",
    "success": "COMPLETED",
    "fail": "COMPLETED",
}
DETAILS: Mapping[int, str] = {
    401: "Authentication is required to access this application.",
    402: "User is locked. Reason: Exhausted balance.",
    422: "The request is not valid.",
    429: "Too many requests.",
    500: "Internal Server Error",
}
# Our code for an empty account, and the HTTP status that says so there.
STATUSES = {402: 403}

_TEXT, _PICTURE, _CLIP = ("prompt",), ("prompt", "image_url"), ("prompt", "video_url")


@dataclass(frozen=True)
class Model:
    """One model of fal's: what it makes, the arguments that must be there, and what it costs."""

    kind: Kind
    required: tuple[str, ...]
    price: Price


# Prices are fal's of November 2026 in credits of 0.005 USD; where none is known the number is ours.
MODELS: Mapping[str, Model] = {
    "fal-ai/pika/v2.2/text-to-video": Model("video", _TEXT, listed(40, ({"resolution": "1080p"}, 90))),
    "fal-ai/pika/v2.2/image-to-video": Model("video", _PICTURE, listed(40, ({"resolution": "1080p"}, 90))),
    "fal-ai/haiper-video/v2": Model("video", _TEXT, listed(40)),
    "fal-ai/haiper-video/v2/image-to-video": Model("video", _PICTURE, listed(40)),
    "fal-ai/playground-v25": Model("image", _TEXT, listed(1)),
    "fal-ai/playground-v25/image-to-image": Model("image", _PICTURE, listed(1)),
    "fal-ai/stable-diffusion-v3-medium": Model("image", _TEXT, listed(7)),
    "fal-ai/stable-diffusion-v3-medium/image-to-image": Model("image", _PICTURE, listed(7)),
    "fal-ai/luma-dream-machine/ray-2": Model("video", _TEXT, listed(100, ({"duration": "9s"}, 200))),
    "fal-ai/luma-dream-machine/ray-2/image-to-video": Model("video", _TEXT, listed(100, ({"duration": "9s"}, 200))),
    "luma/agent/ray/v3.2/video-to-video": Model("video", _CLIP, listed(144)),
    "fal-ai/sora-2/text-to-video": Model("video", _TEXT, listed(20, times=("duration", 4))),
    "fal-ai/sora-2/image-to-video": Model("video", _PICTURE, listed(20, times=("duration", 4))),
    "fal-ai/sora-2/text-to-video/pro": Model("video", _TEXT, listed(60, times=("duration", 4))),
    "fal-ai/sora-2/image-to-video/pro": Model("video", _PICTURE, listed(60, times=("duration", 4))),
}


def routes(service: Service) -> list[Route]:
    """Create, status and result."""

    def served(handler: Callable[[Request, Service], Awaitable[Reply]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                _authorize(request, service)
                reply = await handler(request, service)
            except Refusal as refusal:
                reply = refused(refusal.code, None if refusal.code in STATUSES else refusal.message)
            return Response(reply.body, reply.status, dict(reply.headers))

        return endpoint

    return [
        Route(f"{BASE}{{owner}}/{{app}}/requests/{{task_id}}/status", served(status), methods=["GET"]),
        Route(f"{BASE}{{owner}}/{{app}}/requests/{{task_id}}", served(result), methods=["GET"]),
        Route(f"{BASE}{{model:path}}", served(create), methods=["POST"]),
    ]


async def create(request: Request, service: Service) -> Reply:
    """POST MODEL: put a request into the queue."""
    name = request.path_params["model"]
    model = MODELS.get(name)
    if model is None:
        raise Refusal(404, f"Application {name!r} not found")
    body = await json_object(request)
    task = service.accept(
        FAMILY,
        f"{BASE}{name}".strip("/"),
        body,
        origin=origin_of(request),
        model=name,
        kind=model.kind,
        price=Bill(body).credits(model.price),
    )
    return _json(200, {"status": "IN_QUEUE", **_addresses(task), "queue_position": 0})


async def status(request: Request, service: Service) -> Reply:
    """GET .../status: 202 while it is not completed; a request that failed is completed too."""
    task, now = _task(request, service), service.now()
    word = WORDS[task.state(now)]
    state = {"status": word, **_addresses(task)}
    if word == "IN_QUEUE":
        state["queue_position"] = 0
    return _json(200 if word == "COMPLETED" else 202, state)


async def result(request: Request, service: Service) -> Reply:
    """GET the result, or why there is none."""
    task, now = _task(request, service), service.now()
    state = task.state(now)
    if WORDS[state] != "COMPLETED":
        return refused(400, "Request is still in progress")
    absent = [name for name in MODELS[task.model].required if task.body.get(name) in (None, "")]
    if absent:
        wrong = [{"loc": ["body", name], "msg": "field required", "type": "missing"} for name in absent]
        return _json(422, {"detail": wrong})
    if state == "fail":
        return _json(500, {"detail": task.failure, "error_type": "internal_error"})
    files = [{"url": url, "content_type": TYPES[task.extension]} for url in task.results]
    return _json(200, {"video": files[0]} if task.kind == "video" else {"images": files, "prompt": task.body["prompt"]})


TYPES = {"png": "image/png", "jpg": "image/jpeg", "mp4": "video/mp4"}


def refused(code: int, detail: str | None = None) -> Reply:
    """An answer that gives nothing, in fal's form."""
    return _json(STATUSES.get(code, code), {"detail": detail or DETAILS.get(code, "error")})


def spoilt(fault: Fault, reply: Reply, authorization: str, earlier: str) -> Reply | None:
    """The answer a fault gives in fal's form; None for one that has no form of its own here."""
    code = int(fault.value)
    match fault.name:
        case "no-task-id":
            return _json(200, {"status": "IN_QUEUE"})
        case "same-task-id":
            return _json(200, {"status": "IN_QUEUE", "request_id": earlier})
        case "string-code":
            return reply
        case "http" | "code":
            return _json(code, {"detail": DETAILS.get(code, "error")})
        case "429":
            return replace(refused(429), headers={**JSON, "retry-after": f"{fault.value:g}"})
        case "echo-key":
            key = authorization.removeprefix("Key ")
            return refused(401, f"{DETAILS[401]} Authorization: {authorization} (https://proxy.invalid/?key={key})")
    return None


def _authorize(request: Request, service: Service) -> None:
    key, accepted = key_of(request, "key"), service.settings.key
    if not key or (accepted is not None and key != accepted):
        raise Refusal(401, DETAILS[401])


def _task(request: Request, service: Service) -> Task:
    task = service.task(FAMILY, request.path_params["task_id"])
    if not task.model.startswith("{owner}/{app}".format_map(request.path_params)):
        raise Refusal(*FAMILY.unknown)
    return task


def _addresses(task: Task) -> dict[str, Any]:
    app = "/".join(task.model.split("/")[:2])
    address = f"{task.origin}{BASE}{app}/requests/{task.task_id}"
    return {
        "request_id": task.task_id,
        "response_url": address,
        "status_url": f"{address}/status",
        "cancel_url": f"{address}/cancel",
    }


def _json(code: int, value: Mapping[str, Any]) -> Reply:
    return Reply(code, JSON, json.dumps(value).encode())


def _record(task: Task, now: float) -> dict[str, Any]:
    return {"status": WORDS[task.state(now)], **_addresses(task)}


FAMILY = Family("fal", "", _record, _record, unknown=(404, "Request not found"))
