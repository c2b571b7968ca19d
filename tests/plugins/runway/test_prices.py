"""Estimated prices of the Runway tools."""

from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_runway.prices import CHECKED, CREDITS, credits_of
from kie_ai_mcp_runway.tools import extend_runway_video, generate_runway_aleph_video, generate_runway_gen3_video
from tests.service.facts import price_list

Tool = Callable[..., Submission]
CLIP = "runway/generate (runway)"
SHORT = "5 s 720p, per video"
LONG_OR_SHARP = "10 s 720p or 5 s 1080p, per video"
VIDEO = {"videoUrl": "https://example.com/clip.mp4"}

# The price list's words for model and setting, how it is reached, the credits.
PRICED: list[tuple[str, str, Tool, dict[str, Any], float]] = [
    (CLIP, SHORT, generate_runway_gen3_video, {}, 12),
    (CLIP, SHORT, generate_runway_gen3_video, {"imageUrls": ["https://example.com/a.png"]}, 12),
    (CLIP, LONG_OR_SHARP, generate_runway_gen3_video, {"duration": 10}, 30),
    (CLIP, LONG_OR_SHARP, generate_runway_gen3_video, {"resolution": "1080p"}, 30),
    ("aleph/generate (runway/gen4-aleph)", "per video", generate_runway_aleph_video, VIDEO, 110),
]


@pytest.mark.parametrize(("model", "setting", "tool", "arguments", "credits"), PRICED)
def test_a_clip_costs_what_its_length_and_quality_cost(
    model: str, setting: str, tool: Tool, arguments: dict[str, Any], credits: float
) -> None:
    assert tool(prompt="a fox", **arguments).estimated_credits == credits


@pytest.mark.parametrize("resolution", ["720p", "1080p"])
def test_the_price_of_an_extension_stays_unknown(resolution: Any) -> None:
    assert extend_runway_video("t-1", "a fox", resolution).estimated_credits is None


@pytest.mark.parametrize(("duration_s", "quality"), [(10, "1080p"), (8, "720p"), (None, "720p")])
def test_what_the_table_does_not_say_stays_unknown(duration_s: int | None, quality: str) -> None:
    assert credits_of("runway-gen3-video", duration_s, quality) is None


def test_cases_and_table_hold_exactly_what_is_listed() -> None:
    listed = price_list("runway/", "aleph/")
    prices = {setting: credits for setting, ((credits,), _) in listed.items()}

    assert {(model, setting): credits for model, setting, *_, credits in PRICED} == prices
    assert set(CREDITS.values()) == set(prices.values())
    assert max(date for _, date in listed.values()) == CHECKED
