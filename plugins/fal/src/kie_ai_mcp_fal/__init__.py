"""fal, a second service with a queue protocol, for families that Kie.ai retired or never documented."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from kie_ai_mcp import Gateway, Outcome, Provider, StatusRoute, Task, hookimpl
from kie_ai_mcp_fal.queue import GATEWAY, KEYS_PAGE, LOGS_PAGE, QUEUE, accepted, read_answer, status_route, task_outcome
from kie_ai_mcp_fal.tools import MODELS, fal_tools


@hookimpl
def kie_register_gateways(settings: Mapping[str, Any]) -> list[Gateway]:
    base_url = str(settings.get("base_url") or QUEUE).rstrip("/")
    return [
        Gateway(
            name=GATEWAY,
            title="fal",
            base_url=base_url,
            key=str(settings.get("key") or "").strip() or None,
            key_help=f"Set KIE_AI_PROVIDER_FAL_KEY, or key below [providers.fal], to a working key from {KEYS_PAGE}.",
            authorization="Key {key}",
            read=read_answer,
            accept=partial(accepted, base_url=base_url),
            logs_page=LOGS_PAGE,
            result_hosts=("fal.media", "*.fal.media"),
            serves={tool.__name__: tool for tool in fal_tools(settings)},
        )
    ]


@hookimpl
def kie_route_status(task: Task) -> StatusRoute | None:
    return status_route(task)


@hookimpl
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute | None:
    return task_outcome(task, payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="fal",
        homepage="https://fal.ai/",
        kinds=("video", "image"),
        checked="2026-11-22",
        note="A service of its own: with a key of it, [providers.pika] gateway = 'fal' sends Pika there; likewise "
        "haiper, playground, stable-diffusion, luma, sora2.",
        settings={
            "key": "The fal key; https://fal.ai/dashboard/keys makes one.",
            "base_url": f"The queue's address instead of {QUEUE}.",
            **{f"{form}_model": f"The model id to send instead of {model}." for form, model in MODELS.items()},
        },
    )
