"""Estimated prices of the Flux Kontext tools."""

from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_flux.prices import CHECKED, CREDITS, credits_of
from kie_ai_mcp_flux.tools import edit_flux_image, generate_flux_image
from tests.service.facts import price_list

# The price list's words for model and setting, the arguments, the credits.
PRICED: list[tuple[str, str, dict[str, Any], float]] = [
    ("flux/kontext (flux1-kontext)", "Pro, per image", {}, 5),
    ("flux/kontext (flux1-kontext)", "Pro, per image", {"model": "flux-kontext-pro"}, 5),
    ("flux/kontext (flux1-kontext)", "Max, per image", {"model": "flux-kontext-max"}, 10),
]


@pytest.mark.parametrize("tool", [generate_flux_image, edit_flux_image])
@pytest.mark.parametrize(("model", "setting", "arguments", "credits"), PRICED)
def test_a_picture_costs_what_its_model_costs(
    tool: Callable[..., Submission], model: str, setting: str, arguments: dict[str, Any], credits: float
) -> None:
    submission = tool(prompt="a fox", image_urls=["https://example.com/a.png"], **arguments)

    assert submission.estimated_credits == credits


def test_what_the_table_does_not_say_stays_unknown() -> None:
    assert credits_of("flux-kontext-dev") is None


def test_cases_and_table_hold_exactly_what_is_listed() -> None:
    listed = price_list("flux/kontext")
    prices = {setting: credits for setting, ((credits,), _) in listed.items()}

    assert {(model, setting): credits for model, setting, *_, credits in PRICED} == prices
    assert set(CREDITS.values()) == set(prices.values())
    assert max(date for _, date in listed.values()) == CHECKED
