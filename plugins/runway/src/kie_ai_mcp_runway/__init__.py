"""Runway: Aleph, which changes clips, and Runway's own clips, each with its own status endpoint."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import Model, Outcome, Provider, StatusRoute, Submission, Task, hookimpl, is_on, otherwise_first
from kie_ai_mcp_runway.results import aleph_outcome, clip_outcome
from kie_ai_mcp_runway.tools import (
    ALEPH,
    ALEPH_STATUS_PATHS,
    CLIP_STATUS_PATHS,
    EXTEND,
    FAMILY,
    GEN3,
    extend_runway_video,
    generate_runway_aleph_video,
    generate_runway_gen3_video,
)


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    tools = (generate_runway_aleph_video, generate_runway_gen3_video, extend_runway_video)
    return otherwise_first(*tools) if is_on(settings, "unified") else [*tools]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_route_status(task: Task) -> StatusRoute | None:
    if task.is_market:
        return None
    paths = ALEPH_STATUS_PATHS if task.api_type == ALEPH else CLIP_STATUS_PATHS
    return StatusRoute(paths, {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome | None:
    if task.is_market:
        return None
    return aleph_outcome(payload) if task.api_type == ALEPH else clip_outcome(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Runway",
        homepage="https://docs.kie.ai/runway-api/generate-ai-video",
        kinds=("video",),
        checked="2026-10-07",
        api_types=(GEN3, ALEPH, EXTEND),
        models=("runway",),
        settings={"unified": "true begins with jobs/createTask (runway), false with the family's own addresses"},
    )
