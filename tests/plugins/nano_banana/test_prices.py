"""Estimated prices of the Nano Banana tools."""

from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_nano_banana.prices import CHECKED, CREDITS, credits_of
from kie_ai_mcp_nano_banana.tools import edit_nano_banana, generate_nano_banana
from tests.service.facts import price_list

Tool = Callable[..., Submission]
PICTURES = {"image_urls": ["https://example.com/a.png", "https://example.com/b.png"]}

# The price list's words for model and setting, the resolution that is asked for, the credits.
SIZES = [
    ("nano-banana-2-lite", "1K, per image", None, 4),
    ("nano-banana-2-1", "1K, per image", None, 4),
    ("nano-banana-2-1", "1K, per image", "1K", 4),
    ("nano-banana-2-1", "2K, per image", "2K", 6),
    ("nano-banana-2-1", "4K, per image", "4K", 9),
    ("nano-banana-2", "1K, per image", None, 8),
    ("nano-banana-2", "1K, per image", "1K", 8),
    ("nano-banana-2", "2K, per image", "2K", 12),
    ("nano-banana-2", "4K, per image", "4K", 18),
    ("nano-banana-pro", "1K or 2K, per image", None, 18),
    ("nano-banana-pro", "1K or 2K, per image", "1K", 18),
    ("nano-banana-pro", "1K or 2K, per image", "2K", 18),
    ("nano-banana-pro", "4K, per image", "4K", 24),
]
PRICED: list[tuple[str, str, Tool, dict[str, Any], float]] = [
    ("google/nano-banana", "per image", generate_nano_banana, {}, 4),
    ("google/nano-banana-edit", "per image", edit_nano_banana, PICTURES, 4),
    *(
        (model, setting, tool, {"model": model, "resolution": resolution, **pictures}, credits)
        for model, setting, resolution, credits in SIZES
        for tool, pictures in (
            (generate_nano_banana, {}),
            (generate_nano_banana, PICTURES),
            (edit_nano_banana, PICTURES),
        )
    ),
]


@pytest.mark.parametrize(("model", "setting", "tool", "arguments", "credits"), PRICED)
def test_a_picture_costs_what_its_model_and_resolution_cost(
    model: str, setting: str, tool: Tool, arguments: dict[str, Any], credits: float
) -> None:
    submission = tool(prompt="a fox", **arguments)

    assert (submission.model, submission.estimated_credits) == (model, credits)


@pytest.mark.parametrize(("model", "resolution"), [("nano-banana-9", "1K"), ("nano-banana-2", "8K")])
def test_what_the_table_does_not_say_stays_unknown(model: str, resolution: str) -> None:
    assert credits_of(model, resolution) is None


def test_cases_and_table_hold_exactly_what_is_listed() -> None:
    listed = price_list("google/nano-banana", "nano-banana")
    prices = {setting: credits for setting, ((credits,), _) in listed.items()}

    assert {(model, setting): credits for model, setting, *_, credits in PRICED} == prices
    assert {price for prices_of in CREDITS.values() for price in prices_of.values()} == set(prices.values())
    assert {date for (model, _), (_, date) in listed.items() if model != "nano-banana-2-1"} == {CHECKED}
