"""Midjourney, on create and status addresses that the service no longer documents."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import Model, Outcome, Provider, StatusRoute, Submission, Task, Tool, hookimpl
from kie_ai_mcp_midjourney.results import outcome_of, status_route
from kie_ai_mcp_midjourney.tools import FAMILY, IMAGE, VIDEO, midjourney_tools


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission] | Tool]:
    return midjourney_tools(settings)


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_route_status(task: Task) -> StatusRoute:
    return status_route(task)


@hookimpl
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    return outcome_of(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Midjourney",
        homepage="https://www.midjourney.com/",
        kinds=("image", "video"),
        availability="retired",
        checked="2026-08-19",
        note="Documented by Kie.ai in 2025, gone by April 2026; its address still took a request in June 2026. "
        "For clips: generate_kling_video.",
        nearest="generate_nano_banana",
        api_types=(IMAGE, VIDEO),
        settings={"path": "The create path to use instead of mj/generate; results are read beside it."},
    )
