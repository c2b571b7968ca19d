"""Defaults of the two status hooks: the market's status route and its reading."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp.hookspecs import hookimpl
from kie_ai_mcp.readings import code_in, number_in, object_in, share, status_in, text_in, time_in, urls_in
from kie_ai_mcp.specs import MARKET_STATUS, Outcome, StatusRoute, Task


@hookimpl(trylast=True)
def kie_route_status(task: Task) -> StatusRoute:
    """Read the task where every market model's task is read."""
    return StatusRoute(MARKET_STATUS, {"taskId": task.task_id})


@hookimpl(trylast=True)
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    """Read the market's answer: `state` decides, and only then are results or reasons looked for."""
    status = status_in(payload.get("state"))
    result = object_in(payload.get("resultJson")) or object_in(payload.get("response"))
    credits = number_in(payload.get("creditsConsumed"))
    model = text_in(payload.get("model"))
    if status == "completed":
        return Outcome(
            "completed",
            urls_in(result.get("resultUrls"), result.get("firstFrameUrl"), result.get("lastFrameUrl")),
            progress=1.0,
            credits=credits,
            model=model,
            finished_at=time_in(payload.get("completeTime")),
        )
    if status == "failed":
        return Outcome(
            "failed",
            error=text_in(payload.get("failMsg")) or "the service gave no reason",
            error_code=code_in(payload.get("failCode")),
            credits=credits,
            model=model,
            finished_at=time_in(payload.get("completeTime")),
        )
    return Outcome(status, progress=share(payload.get("progress"), 100), credits=credits, model=model)
