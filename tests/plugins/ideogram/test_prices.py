"""Estimated prices of the Ideogram tools."""

from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_ideogram.prices import CHECKED, CREDITS, credits_of
from kie_ai_mcp_ideogram.tools import edit_ideogram_image, generate_ideogram_image, remix_ideogram_image
from tests.service.facts import price_list

Tool = Callable[..., Submission]
IMAGE = {"image_url": "https://example.com/a.png"}
MASK = {**IMAGE, "mask_url": "https://example.com/mask.png"}
CHARACTER = {"character_url": "https://example.com/hero.png"}
V3: dict[str, float] = {"TURBO": 3.5, "BALANCED": 7, "QUALITY": 10}
WITH_CHARACTER: dict[str, float] = {"TURBO": 12, "BALANCED": 18, "QUALITY": 24}

# The model, the price list's word for it, how it is reached, the credits by speed, and without a speed.
MODELS: list[tuple[str, str, Tool, dict[str, Any], dict[str, float], float | None]] = [
    ("ideogram/v3-text-to-image", "ideogram/v3-text-to-image", generate_ideogram_image, {}, V3, None),
    ("ideogram/v3-edit", "ideogram/v3-edit", edit_ideogram_image, MASK, V3, 7),
    ("ideogram/v3-remix", "ideogram/v3-remix, ideogram/v3-reframe", remix_ideogram_image, IMAGE, V3, None),
    (
        "ideogram/character",
        "ideogram/character",
        generate_ideogram_image,
        {"model": "ideogram/character", "image_urls": ["https://example.com/hero.png"]},
        WITH_CHARACTER,
        18,
    ),
    (
        "ideogram/character-edit",
        "ideogram/character-edit",
        edit_ideogram_image,
        {**MASK, **CHARACTER},
        WITH_CHARACTER,
        18,
    ),
    (
        "ideogram/character-remix",
        "ideogram/character-remix",
        remix_ideogram_image,
        {**IMAGE, **CHARACTER},
        WITH_CHARACTER,
        18,
    ),
]


@pytest.mark.parametrize(("model", "words", "tool", "arguments", "by_speed", "plain"), MODELS)
def test_a_picture_costs_what_its_model_and_speed_cost(
    model: str, words: str, tool: Tool, arguments: dict[str, Any], by_speed: dict[str, float], plain: float | None
) -> None:
    for speed, credits in by_speed.items():
        submission = tool(prompt="a fox", rendering_speed=speed, **arguments)
        assert (submission.model, submission.estimated_credits) == (model, credits)


@pytest.mark.parametrize(("model", "words", "tool", "arguments", "by_speed", "plain"), MODELS)
def test_without_a_speed_the_price_is_known_where_the_default_is_documented(
    model: str, words: str, tool: Tool, arguments: dict[str, Any], by_speed: dict[str, float], plain: float | None
) -> None:
    assert tool(prompt="a fox", **arguments).estimated_credits == plain


@pytest.mark.parametrize(("model", "speed"), [("ideogram/v4", "TURBO"), ("ideogram/v3-edit", "FLASH")])
def test_what_the_table_does_not_say_stays_unknown(model: str, speed: str) -> None:
    assert credits_of(model, speed) is None


def test_cases_and_table_hold_exactly_what_is_listed() -> None:
    listed = price_list("ideogram/")
    assert {setting: credits for setting, ((credits,), _) in listed.items()} == {
        (words, f"{speed}, per image"): credits
        for _, words, _, _, by_speed, _ in MODELS
        for speed, credits in by_speed.items()
    }
    for model, words, *_ in MODELS:
        assert set(CREDITS[model].values()) == {
            credits for (name, _), ((credits,), _) in listed.items() if name == words
        }
    assert max(date for _, date in listed.values()) == CHECKED
