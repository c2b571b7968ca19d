"""Veo 3: Google's clips on Kie.ai's own endpoints; clips, extensions and 4k versions share one status route."""

from collections.abc import Callable, Mapping
from typing import Any

from kie_ai_mcp import Outcome, Provider, Query, StatusRoute, Submission, Task, Tool, hookimpl
from kie_ai_mcp_veo3.results import task_outcome
from kie_ai_mcp_veo3.tools import (
    EXTEND,
    FOUR_K,
    GENERATE,
    STATUS_PATHS,
    extend_veo3_video,
    generate_veo3_video,
    get_veo3_4k_video,
    get_veo3_1080p_video,
)


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission | Query] | Tool]:
    larger = [Tool(get_veo3_1080p_video, charges=True), Tool(get_veo3_4k_video, once=True)]
    return [generate_veo3_video, extend_veo3_video, *larger]


@hookimpl
def kie_route_status(task: Task) -> StatusRoute:
    return StatusRoute(STATUS_PATHS, {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    return task_outcome(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Veo 3",
        homepage="https://docs.kie.ai/veo3-api/quickstart",
        kinds=("video",),
        checked="2026-08-19",
        api_types=(GENERATE, FOUR_K, EXTEND),
    )
