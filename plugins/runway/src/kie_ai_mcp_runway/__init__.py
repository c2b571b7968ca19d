"""Runway: Aleph, which changes clips, and Runway's own clips, each with its own status endpoint."""

from collections.abc import Callable, Mapping
from typing import Any

from kie_ai_mcp import Outcome, Provider, StatusRoute, Submission, Task, hookimpl
from kie_ai_mcp_runway.results import aleph_outcome, clip_outcome
from kie_ai_mcp_runway.tools import (
    ALEPH,
    ALEPH_STATUS_PATHS,
    CLIP_STATUS_PATHS,
    EXTEND,
    GEN3,
    extend_runway_video,
    generate_runway_aleph_video,
    generate_runway_gen3_video,
)


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_runway_aleph_video, generate_runway_gen3_video, extend_runway_video]


@hookimpl
def kie_route_status(task: Task) -> StatusRoute:
    paths = ALEPH_STATUS_PATHS if task.api_type == ALEPH else CLIP_STATUS_PATHS
    return StatusRoute(paths, {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome:
    return aleph_outcome(payload) if task.api_type == ALEPH else clip_outcome(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Runway",
        homepage="https://docs.kie.ai/runway-api/generate-ai-video",
        kinds=("video",),
        checked="2026-08-19",
        api_types=(ALEPH, GEN3, EXTEND),
    )
