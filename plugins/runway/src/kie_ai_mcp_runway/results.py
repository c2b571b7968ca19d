"""What the two status endpoints mean: Aleph counts flags, Runway's own clips have state words."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import (
    TWO_WEEKS_S,
    code_in,
    number_in,
    object_in,
    outcome_by_flag,
    status_in,
    text_in,
    time_in,
    urls_in,
)


def aleph_outcome(payload: Mapping[str, Any]) -> Outcome:
    """Read ``data`` of ``aleph/record-info``.

    Flag 0 stands for running and, in the documentation, for failed too; only an ended task has an error code
    or a time of completion.
    """
    response = object_in(payload.get("response"))
    ended = number_in(payload.get("errorCode")) or payload.get("completeTime")
    return outcome_by_flag(
        payload,
        response.get("resultVideoUrl"),
        response.get("result_video_url"),
        failed=(0, 2, 3) if ended else (2, 3),
    )


def clip_outcome(payload: Mapping[str, Any]) -> Outcome:
    """Read ``data`` of ``runway/record-detail``: new clips and extensions."""
    status = status_in(payload.get("state"))
    if status == "failed":
        return Outcome(
            "failed",
            error=text_in(payload.get("failMsg")) or "the service gave no reason",
            error_code=code_in(payload.get("failCode")),
        )
    if status != "completed":
        return Outcome(status)
    video = object_in(payload.get("videoInfo"))
    return Outcome(
        "completed",
        urls_in(*(place.get(name) for place in (video, payload) for name in ("videoUrl", "video_url"))),
        progress=1.0,
        credits=number_in(payload.get("creditsConsumed")),
        finished_at=time_in(payload.get("completeTime")),
        keeps_s=0 if number_in(payload.get("expireFlag")) == 1 else TWO_WEEKS_S,
    )
