"""Outcomes of the two status endpoints: Aleph answers with flags, Runway's own clips with state words."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import TWO_WEEKS_S, number_in, object_in, outcome_by_flag, outcome_by_state


def aleph_outcome(payload: Mapping[str, Any]) -> Outcome:
    """Read ``data`` of ``aleph/record-info``.

    Flag 0 means running and, in the documentation, failed too; only an ended task has an error code or a time of
    completion.
    """
    response = object_in(payload.get("response"))
    ended = number_in(payload.get("errorCode")) or payload.get("completeTime")
    return outcome_by_flag(
        payload, response.get("resultVideoUrl"), response.get("result_video_url"), failed=(0, 2, 3) if ended else (2, 3)
    )


def clip_outcome(payload: Mapping[str, Any]) -> Outcome:
    """Read ``data`` of ``runway/record-detail``: new clips and extensions."""
    places = (object_in(payload.get("videoInfo")), payload)
    return outcome_by_state(
        payload,
        *(place.get(name) for place in places for name in ("videoUrl", "video_url")),
        keeps_s=0 if number_in(payload.get("expireFlag")) == 1 else TWO_WEEKS_S,
    )
