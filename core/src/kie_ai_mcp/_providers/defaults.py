"""Defaults of the two status hooks: the market's status route and its reading."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp.hookspecs import hookimpl
from kie_ai_mcp.readings import object_in, outcome_by_state
from kie_ai_mcp.specs import MARKET_STATUS, Outcome, StatusRoute, Task


@hookimpl(trylast=True)
def kie_route_status(task: Task) -> StatusRoute:
    """Read the task where every market model's task is read."""
    return StatusRoute(MARKET_STATUS, {"taskId": task.task_id})


@hookimpl(trylast=True)
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    """Read the market's answer, whose ``state`` decides whether results or a reason are read."""
    result = object_in(payload.get("resultJson")) or object_in(payload.get("response"))
    return outcome_by_state(payload, *(result.get(name) for name in ("resultUrls", "firstFrameUrl", "lastFrameUrl")))
