"""Status addresses of Midjourney tasks, and outcomes of their answers."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome, StatusRoute, Task
from kie_ai_mcp.readings import object_in, outcome_by_flag
from kie_ai_mcp.specs import DAY_S

STATUS = "mj/record-info"

KEEPS_S = 15 * DAY_S
"""How long the service keeps the pictures, in seconds, by its former documentation."""


def status_route(task: Task) -> StatusRoute:
    """Return the status addresses: next to the address that created the task, then the service's usual one."""
    folder, _, _ = task.path.rpartition("/")
    paths = (f"{folder}/record-info", STATUS) if folder else (STATUS,)
    return StatusRoute(tuple(dict.fromkeys(paths)), {"taskId": task.task_id})


def outcome_of(payload: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a status answer, with every picture of the task in the service's order."""
    info = payload.get("resultInfoJson")
    return outcome_by_flag(payload, object_in(info).get("resultUrls"), info, payload.get("resultUrls"), keeps_s=KEEPS_S)
