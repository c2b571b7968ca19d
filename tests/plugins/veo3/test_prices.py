"""Estimated prices of the Veo tools."""

from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Query, Submission
from kie_ai_mcp_veo3.prices import CHECKED, CREDITS, credits_of
from kie_ai_mcp_veo3.tools import extend_veo3_video, generate_veo3_video, get_veo3_4k_video, get_veo3_1080p_video
from tests.service.facts import price_list

Tool = Callable[..., Submission | Query]
CLIP = "veo/generate (veo-3-1)"
PROMPT = {"prompt": "a fox"}
TASK = {"task_id": "t-1"}

# The price list's words for model and setting, how it is reached, the credits.
PRICED: list[tuple[str, str, Tool, dict[str, Any], float]] = [
    *(
        (CLIP, f"{tier}, {resolution}, per video", generate_veo3_video, {**PROMPT, "model": model, **sent}, credits)
        for tier, model, by_resolution in (
            ("Lite", "veo3_lite", {"720p": 30, "1080p": 35, "4k": 150}),
            ("Fast", "veo3_fast", {"720p": 60, "1080p": 65, "4k": 180}),
            ("Quality", "veo3", {"720p": 250, "1080p": 255, "4k": 370}),
        )
        for resolution, credits in by_resolution.items()
        for sent in ({"resolution": resolution}, {"resolution": resolution, "duration": 4, "aspectRatio": "9:16"})
    ),
    (CLIP, "Lite, 720p, per video", generate_veo3_video, {**PROMPT, "model": "veo3_lite"}, 30),
    (CLIP, "Fast, 720p, per video", generate_veo3_video, PROMPT, 60),
    (CLIP, "Quality, 720p, per video", generate_veo3_video, {**PROMPT, "model": "veo3"}, 250),
    ("veo/extend", "fast, per extension", extend_veo3_video, {**TASK, **PROMPT}, 60),
    ("veo/extend", "lite, per extension", extend_veo3_video, {**TASK, **PROMPT, "model": "lite"}, 30),
    ("veo/extend", "quality, per extension", extend_veo3_video, {**TASK, **PROMPT, "model": "quality"}, 250),
    ("veo/get-1080p-video", "per video", get_veo3_1080p_video, TASK, 5),
    ("veo/get-4k-video", "per video", get_veo3_4k_video, TASK, 120),
]
NOT_TAKEN = {("veo/generate", "Quality, 4k, text to video, per video"): "a later source says 370"}


@pytest.mark.parametrize(("model", "setting", "tool", "arguments", "credits"), PRICED)
def test_a_clip_costs_what_its_tier_and_resolution_cost(
    model: str, setting: str, tool: Tool, arguments: dict[str, Any], credits: float
) -> None:
    assert tool(**arguments).estimated_credits == credits


@pytest.mark.parametrize(
    ("api_type", "model", "resolution"),
    [("veo3", "veo4", None), ("veo3", "fast", None), ("veo3", "veo3", "8k"), ("veo3-extend", "fast", "4k")],
)
def test_what_the_table_does_not_say_stays_unknown(api_type: str, model: str, resolution: str | None) -> None:
    assert credits_of(api_type, model, resolution) is None


def test_cases_and_table_hold_exactly_what_is_listed() -> None:
    listed = price_list("veo/")
    assert set(NOT_TAKEN) <= set(listed)
    prices = {setting: credits for setting, ((credits,), _) in listed.items() if setting not in NOT_TAKEN}

    assert {(model, setting): credits for model, setting, *_, credits in PRICED} == prices
    assert {price for by_resolution in CREDITS.values() for price in by_resolution.values()} == set(prices.values())
    assert max(date for _, date in listed.values()) == CHECKED
