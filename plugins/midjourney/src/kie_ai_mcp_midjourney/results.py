"""Where a task's status is read, and what its answers mean."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome, StatusRoute, Task
from kie_ai_mcp.readings import object_in, outcome_by_flag
from kie_ai_mcp.specs import DAY_S

STATUS = "mj/record-info"

KEEPS_S = 15 * DAY_S
"""How long the service said it keeps the pictures, in seconds."""


def status_route(task: Task) -> StatusRoute:
    """Return the status address: beside the one the task was created at, then the service's usual one."""
    folder, _, _ = task.path.rpartition("/")
    paths = (f"{folder}/record-info", STATUS) if folder else (STATUS,)
    return StatusRoute(tuple(dict.fromkeys(paths)), {"taskId": task.task_id})


def outcome_of(payload: Mapping[str, Any]) -> Outcome:
    """Return what a status answer means; every picture of a task is kept, in the service's order."""
    info = payload.get("resultInfoJson")
    return outcome_by_flag(
        payload,
        object_in(info).get("resultUrls"),
        info,
        payload.get("resultUrls"),
        keeps_s=KEEPS_S,
    )
