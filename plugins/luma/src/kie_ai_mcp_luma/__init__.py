"""Luma: retired at Kie.ai; requests are still forwarded to the addresses that it had."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome, Provider, StatusRoute, Task, Tool, hookimpl
from kie_ai_mcp_luma.results import task_outcome
from kie_ai_mcp_luma.tools import GENERATE, luma_tools, status_paths


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Tool]:
    # Simple changes of a clip, by the documentation of 2025; as of 2026-10 there is no later figure.
    return [Tool(fn, usual_s=(120, 300)) for fn in luma_tools(settings)]


@hookimpl
def kie_route_status(task: Task) -> StatusRoute:
    return StatusRoute(status_paths(task.path), {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    return task_outcome(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Luma",
        homepage="https://kie.ai",
        kinds=("video",),
        availability="retired",
        checked="2026-08-19",
        note="Kie.ai took Luma out of its documentation before 2026-04-20; its last form changed a clip by words. "
        "Without a clip: generate_veo3_video.",
        nearest="generate_runway_aleph_video",
        api_types=(GENERATE,),
        settings={"path": "Where a task is created, instead of modify/generate."},
    )
