"""The live catalogue: which models there are, what each takes, what it costs, and how often it has worked lately."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from kie_ai_mcp import Model
from kie_ai_mcp_sandbox.faults import Reply, envelope
from kie_ai_mcp_sandbox.incoming import Handler, key_of
from kie_ai_mcp_sandbox.installed import is_market
from kie_ai_mcp_sandbox.prices import words
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.words import Refusal, iso

CREATE = "/api/v1/jobs/createTask"
UNKNOWN = "The model name you specified is not supported. Please check it and try again."

BRANDS: Mapping[str, str] = {
    "4o": "OpenAI",
    "ai": "Suno",
    "bytedance": "ByteDance",
    "elevenlabs": "ElevenLabs",
    "flux": "Black Forest Labs",
    "flux1": "Black Forest Labs",
    "gemini": "Google",
    "gpt": "OpenAI",
    "nano": "Google",
    "omnihuman": "ByteDance",
    "pixverse": "PixVerse",
    "seedream": "ByteDance",
    "veo": "Google",
    "volcengine": "ByteDance",
}
"""By the first word of an id; for others it is the brand itself."""

UNPUBLISHED = ("google/gemini-3-8-flash-tts",)
"""Models whose schema the service does not publish."""

OUTER: Mapping[str, list[str]] = {
    "veo-3-1": ["input"],
    "bytedance/seedance-1.5-pro": ["model"],
    "kling-3.0/motion-control": ["model", "input", "callBackUrl"],
}
"""What the outer ``required`` says of some models; it can't be relied on."""

BUCKET_S = 600
BUCKETS = 144
HOUR = 6
USUAL_RATE = 97.0
NORMAL_RATE = 90.0


async def models(request: Request, service: Service) -> Reply:
    """GET models: all of them, or those that three filters leave."""
    _admit(request, service)
    wanted = {name: request.query_params.get(name, "").lower() for name in ("taskType", "provider", "q")}
    kinds = {kind.strip() for kind in wanted["taskType"].split(",") if kind.strip()}
    items = [_item(model) for model in service.models.values() if model.availability == "current"]
    found = [
        item
        for item in items
        if (not kinds or kinds & {kind.lower() for kind in item["taskType"]})
        and wanted["provider"] in {"", item["provider"].lower()}
        and wanted["q"] in f"{item['model']} {item['title']} {item['provider']}".lower()
    ]
    return envelope(200, data={"total": len(found), "models": found})


async def schema(request: Request, service: Service) -> Reply:
    """GET models/ID/schema: one OpenAPI document, or none where no schema is published."""
    model = _model(request, service)
    hidden = model.id in UNPUBLISHED or service.drifted("no-schema", model.id)
    return envelope(200, data={"model": model.id, "openapi": None if hidden else document(model)})


async def price(request: Request, service: Service) -> Reply:
    """GET models/ID/price: the text of the list."""
    model = _model(request, service)
    return envelope(200, data={"model": model.id, "pricingDesc": words(model.price)})


async def success_rate(request: Request, service: Service) -> Reply:
    """GET models/ID/success-rate: a day in pieces of ten minutes, oldest first; the first hour had no traffic."""
    model = _model(request, service)
    drift = service.drifted("success-rate", model.id)
    lately = drift.number if drift else USUAL_RATE
    rates = [None] * HOUR + [USUAL_RATE] * (BUCKETS - 2 * HOUR) + [lately] * HOUR
    first = service.now() // BUCKET_S * BUCKET_S - BUCKETS * BUCKET_S
    points = [_point(first + n * BUCKET_S, rate) for n, rate in enumerate(rates)]
    return envelope(200, data={"model": model.id, "points": points})


HANDLERS: Mapping[str, Handler] = {
    "models": models,
    "models/{id:path}/schema": schema,
    "models/{id:path}/price": price,
    "models/{id:path}/success-rate": success_rate,
}


def _admit(request: Request, service: Service) -> None:
    """Raise `Refusal` for a call that comes too soon after the one before with the same key."""
    service.list_once(key_of(request, "bearer"))


def _model(request: Request, service: Service) -> Model:
    _admit(request, service)
    model = service.models.get(request.path_params["id"])
    # A slash of the id stays a slash in the address.
    if model is None or b"%2f" in request.scope.get("raw_path", b"").lower():
        raise Refusal(404, UNKNOWN)
    return model


def _item(model: Model) -> dict[str, Any]:
    return {
        "model": model.id,
        "slug": model.id,
        "title": model.title,
        "provider": _brand(model.id),
        "taskType": [model.task.replace("-", " ").title().replace(" To ", " to ")],
        "description": None,
        "pricingDesc": words(model.price),
    }


def _brand(model_id: str) -> str:
    first = model_id.replace("/", "-").partition("-")[0]
    return BRANDS.get(first, first.title())


def _point(start: float, rate: float | None) -> dict[str, Any]:
    return {
        "start": iso(start).replace(".000", ""),
        "end": iso(start + BUCKET_S).replace(".000", ""),
        "successRate": rate,
        "errorRate": None if rate is None else 100 - rate,
        "isNormal": None if rate is None else rate >= NORMAL_RATE,
    }


def document(model: Model) -> dict[str, Any]:
    """Return the OpenAPI document of a model, with the traps that the service's own documents have."""
    operation = {
        "summary": model.title,
        "deprecated": False,
        "description": "",
        "operationId": model.id.replace("/", "-"),
        "tags": [],
        "parameters": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _body(model)}}},
        "responses": {
            "200": {
                "description": "",
                "content": {"application/json": {"schema": {"allOf": [{"$ref": "#/components/schemas/an%20answer"}]}}},
                "headers": {},
            },
            "500": {"$ref": "#/components/responses/Error ", "description": ""},
        },
        "security": [{"BearerAuth": []}],
        "callbacks": {
            "onDone": {"{$request.body#/callBackUrl}": {"post": {"responses": {"200": {"description": ""}}}}}
        },
    }
    path = CREATE if is_market(model) else f"/api/v1/{model.path}"
    return {
        "openapi": "3.1.0",
        "info": {"title": "kie.ai", "description": "", "version": "1.0.0", "contact": {"name": "", "email": ""}},
        "tags": [],
        "paths": {path: {"post": operation}},
        "webhooks": {},
        "components": {
            "schemas": {"an answer": {"type": "object"}},
            "responses": {"Error ": {"description": ""}},
            "securitySchemes": {"BearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "API Key"}},
        },
        "servers": [{"url": "https://api.kie.ai", "description": ""}],
        "security": [{"BearerAuth": []}],
    }


def _body(model: Model) -> dict[str, Any]:
    name: dict[str, Any] = {"type": "string", "default": model.id, "examples": [model.id]}
    if model.id != "veo-3-1":
        name["enum"] = [model.id]
    callback = {"type": "string", "format": "uri", "description": ""}
    if not is_market(model):
        return {**_opened(model.input), "properties": {"model": name, **_opened(model.input)["properties"]}}
    return {
        "type": "object",
        "required": OUTER.get(model.id, ["model", "input"]),
        "properties": {"model": name, "callBackUrl": callback, "input": _opened(model.input)},
    }


def _opened(schema: Any) -> Any:
    """Return a schema as the service writes it, which never says that other fields are refused."""
    if isinstance(schema, Mapping):
        return {name: _opened(value) for name, value in schema.items() if name != "additionalProperties"}
    return [_opened(value) for value in schema] if isinstance(schema, list | tuple) else schema
