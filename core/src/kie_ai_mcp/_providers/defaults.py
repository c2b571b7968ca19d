"""Defaults of the two status hooks: the market's status route and its reading."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp.hookspecs import hookimpl
from kie_ai_mcp.readings import market_outcome
from kie_ai_mcp.specs import MARKET_STATUS, Outcome, StatusRoute, Task


@hookimpl(trylast=True)
def kie_route_status(task: Task) -> StatusRoute:
    """Read the task where every market model's task is read."""
    return StatusRoute(MARKET_STATUS, {"taskId": task.task_id})


@hookimpl(trylast=True)
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    """Read the task as a market model's."""
    return market_outcome(payload)
