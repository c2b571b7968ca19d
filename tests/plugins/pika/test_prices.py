"""Pika's tool names no price: the service lists none today."""

from pathlib import Path

import pytest

from kie_ai_mcp_pika.tools import pika_tools

PRICING = Path(__file__).parents[4] / "shared" / "kie-api" / "pricing.md"
needs_prices = pytest.mark.skipif(not PRICING.exists(), reason=f"the collected price list is not at {PRICING}")


def test_the_price_stays_unknown() -> None:
    (generate,) = pika_tools({})

    assert generate(prompt="a fox").estimated_credits is None


@needs_prices
def test_the_collected_list_has_no_current_price_either() -> None:
    rows = [line.split("|") for line in PRICING.read_text("utf-8").splitlines() if line.startswith("| ")]
    priced = [row[1] for row in rows if row[5].strip() in {"M", "D"}]

    assert len(priced) > 100
    assert [model for model in priced if any(word in model for word in ("pika",))] == []
