"""Results of Ideogram tasks: read as the market gives them, and how long the service keeps them."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import market_outcome

KEPT_S = 86_400


def outcome(payload: Mapping[str, Any]) -> Outcome:
    """Return the outcome that a status answer's ``data`` reports."""
    return market_outcome(payload, KEPT_S)
