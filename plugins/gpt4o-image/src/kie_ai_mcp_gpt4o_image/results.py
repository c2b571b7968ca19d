"""Outcomes of the status answers of ``gpt4o-image/record-info``."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import object_in, outcome_by_flag, status_in

# The answer has a state word, a flag, or both; a final word takes precedence over the flag.
FINAL_WORDS = {"completed": 1, "failed": 2}


def read_result(payload: Mapping[str, Any]) -> Outcome:
    """Return the outcome of one status answer."""
    flag = FINAL_WORDS.get(status_in(payload.get("status")), payload.get("successFlag"))
    response = object_in(payload.get("response"))
    return outcome_by_flag({**payload, "successFlag": flag}, response.get("resultUrls"), response.get("result_urls"))
