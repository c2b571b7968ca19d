"""Veo 3: Google's clips on Kie.ai's own endpoints; clips, extensions and 4k versions share one status route."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import (
    Model,
    Outcome,
    Provider,
    Query,
    StatusRoute,
    Submission,
    Task,
    Tool,
    hookimpl,
    is_on,
    otherwise_first,
)
from kie_ai_mcp_veo3 import unified
from kie_ai_mcp_veo3.results import task_outcome
from kie_ai_mcp_veo3.tools import (
    EXTEND,
    FAMILY,
    FOUR_K,
    GENERATE,
    HD,
    STATUS_PATHS,
    extend_veo3_video,
    generate_veo3_video,
    get_veo3_4k_video,
    get_veo3_1080p_video,
)

# Seconds that larger versions usually take by the service's documentation, as of 2026-10.
HD_S, FOUR_K_S = (60, 180), (300, 600)


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission | Query] | Tool]:
    if is_on(settings, "unified"):
        *clips, in_4k = otherwise_first(generate_veo3_video, extend_veo3_video, get_veo3_4k_video)
        in_hd = Tool(unified.get_veo3_1080p_video, once=True, usual_s=HD_S)
        return [*clips, in_hd, Tool(in_4k, once=True, usual_s=FOUR_K_S)]
    in_hd = Tool(get_veo3_1080p_video, charges=True, usual_s=HD_S)
    return [generate_veo3_video, extend_veo3_video, in_hd, Tool(get_veo3_4k_video, once=True, usual_s=FOUR_K_S)]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_route_status(task: Task) -> StatusRoute | None:
    return None if task.is_market else StatusRoute(STATUS_PATHS, {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome | None:
    return None if task.is_market else task_outcome(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Veo 3",
        homepage="https://docs.kie.ai/veo3-api/quickstart",
        kinds=("video",),
        checked="2026-10-07",
        api_types=(GENERATE, FOUR_K, EXTEND, HD),
        models=("veo",),
        settings={"unified": "true begins with jobs/createTask (veo-3-1), false with the family's own addresses"},
    )
