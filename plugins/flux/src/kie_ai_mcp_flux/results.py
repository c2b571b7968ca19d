"""Outcomes of the status answers of ``flux/kontext/record-info``."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import object_in, outcome_by_flag


def read_result(payload: Mapping[str, Any]) -> Outcome:
    """Return the outcome of one status answer.

    ``originImageUrl`` is not a result: the service keeps it for ten minutes only.
    """
    return outcome_by_flag(payload, object_in(payload.get("response")).get("resultImageUrl"))
