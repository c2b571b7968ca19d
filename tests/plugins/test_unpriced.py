"""Families for which the service lists no price today: their tools name none, and the collected list has none."""

from importlib import import_module
from typing import Any

import pytest

from kie_ai_mcp.testing import argument_sets
from tests.service.facts import price_list

UNPRICED = {
    "dalle3": ("dall-e", "dalle"),
    "haiper": ("haiper",),
    "luma": ("luma", "modify/"),
    "midjourney": ("midjourney", "mj/"),
    "pika": ("pika",),
    "playground": ("playground/", "playground-"),
    "sora2": ("sora",),
    "stable_diffusion": ("stable-diffusion", "stability"),
}
"""By the plugin's module: parts of the model names that a list would have."""


@pytest.mark.parametrize("name", UNPRICED)
def test_price_stays_unknown(name: str) -> None:
    tools = import_module(f"kie_ai_mcp_{name}").kie_register_tools({})

    for entry in tools:
        fn: Any = getattr(entry, "fn", entry)
        required = next(iter(argument_sets(fn, count=1)))
        assert fn(**required).estimated_credits is None


@pytest.mark.parametrize("name", UNPRICED)
def test_collected_list_has_no_current_price_either(name: str) -> None:
    priced = [model for model, _setting in price_list("")]

    assert len(priced) > 100
    assert [model for model in priced if any(word in model for word in UNPRICED[name])] == []
