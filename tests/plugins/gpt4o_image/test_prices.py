"""Estimated prices of the GPT-4o image tool."""

from typing import Any

import pytest

from kie_ai_mcp_gpt4o_image.prices import CHECKED, CREDITS_PER_PICTURE
from kie_ai_mcp_gpt4o_image.tools import gpt4o_image_tools
from tests.service.facts import price_list

# The price list's words for model and setting, the arguments, the credits of one picture.
PRICED: list[tuple[str, str, dict[str, Any], float]] = [
    ("gpt4o-image/generate (4o-image-api)", "per image", {}, 6),
    ("gpt4o-image/generate (4o-image-api)", "per image", {"nVariants": 1}, 6),
    ("gpt4o-image/generate (4o-image-api)", "per image", {"image_urls": ["https://example.com/a.png"]}, 6),
]


@pytest.mark.parametrize(("model", "setting", "arguments", "credits"), PRICED)
def test_one_picture_costs_one_price(model: str, setting: str, arguments: dict[str, Any], credits: float) -> None:
    (generate,) = gpt4o_image_tools({})

    assert generate(prompt="a fox", **arguments).estimated_credits == credits


@pytest.mark.parametrize(("variants", "credits"), [(None, 6), (1, 6), (2, 12), (4, 24)])
def test_every_variant_is_paid_for(variants: int | None, credits: float) -> None:
    (generate,) = gpt4o_image_tools({"older_fields": True})

    assert generate(prompt="a fox", nVariants=variants).estimated_credits == credits


def test_cases_and_table_hold_exactly_what_is_listed() -> None:
    listed = price_list("gpt4o-image")
    prices = {setting: credits for setting, ((credits,), _) in listed.items()}

    assert {(model, setting): credits for model, setting, *_, credits in PRICED} == prices
    assert {CREDITS_PER_PICTURE} == set(prices.values())
    assert max(date for _, date in listed.values()) == CHECKED
