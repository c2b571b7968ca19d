"""Outcomes of Luma's status record."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import object_in, outcome_by_flag

# 4 means that the callback could not be delivered; the results exist.
COMPLETED = (1, 4)


def task_outcome(payload: Mapping[str, Any]) -> Outcome:
    """Read ``data`` of ``modify/record-info``."""
    response = object_in(payload.get("response"))
    return outcome_by_flag(payload, response.get("resultUrls"), payload.get("resultUrls"), completed=COMPLETED)
