"""Lines of a model for people and models: its fields, rules and prices in few words."""

from dataclasses import replace
from typing import Any

import pytest

from kie_ai_mcp import Model, Price, PriceLine, Rule
from kie_ai_mcp._models.wording import condition_words, field_lines, price_lines, rule_line, usual_price
from tests.core.models.examples import model, priced


def test_field_is_one_short_line() -> None:
    assert field_lines(model(required=("prompt",))) == [
        "prompt text 3..30 required",
        "duration -1|4..6|10=5",
        "resolution 720p|1080p|4k=720p",
        "size S|L",
        "sound true|false=false",
        "strength number 0..1 step 0.1",
        "n int 1..8",
        "image_urls [image] <=4",
        "video_url video",
        "ids [text]",
        "shots [{text text <=20 required; image_url image; start number >=0=0; end number=8}] <=3",
    ]


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"type": "string", "enum": ["5", "10"], "default": "5"}, '"5"|"10"="5"'),
        ({"type": "integer", "enum": list(range(100))}, "0..99"),
        (
            {"type": "string", "enum": [f"v{n}" for n in range(30)]},
            f"{'|'.join(f'v{n}' for n in range(24))}|… (30 values)",
        ),
        ({"const": False}, "false"),
        ({"type": ["integer", "null"], "minimum": 1}, "int >=1"),
        ({"type": ["number", "string"], "exclusiveMinimum": 0, "maximum": 9.5}, "number|text >0 <=9.5"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}, "[int] 2"),
        ({"type": "array", "items": {}, "default": []}, "[any]"),
        ({"type": "string", "deprecated": True}, "text deprecated"),
        ({"type": "integer", "minimum": -1}, "int >=-1"),
    ],
)
def test_field_says_what_it_takes(schema: dict[str, Any], line: str) -> None:
    assert field_lines(model(own=schema))[-1] == f"own {line}"


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (
            Rule("only_with", ("resolution",), values=("4K",), when={"aspect_ratio": {"not": ["1:1", "3:1"]}}),
            "resolution 4K only with aspect_ratio not 1:1 or 3:1",
        ),
        (Rule("only_with", ("n", "ids"), when=({"a": "*"}, {"b": None})), "n, ids only with a or without b"),
        (Rule("only_with", ("n",), when={"a": "*"}, soft=True), "n only with a, else ignored"),
        (Rule("needs", ("first",), when={"last": "*"}), "with last: needs first"),
        (Rule("needs", ("prompt",)), "needs prompt"),
        (Rule("not_both", ("a", ("b", "c"))), "at most one of a, or b + c"),
        (Rule("exactly_one", (("a", "b"), "c")), "exactly one of a + b, or c"),
        (Rule("at_least_one", ("a", "b", "c"), when={"d": True}), "with d true: at least one of a, b, c"),
        (Rule("limit", ("#a + 2 #b",), max=7), "length of a + 2 x length of b at most 7"),
        (
            Rule("limit", ("end - start",), each="shots", above=0, max=10),
            "in each of shots: end - start more than 0 and at most 10",
        ),
        (Rule("limit", ("?a + ~b",), min=3, max=3), "1 for a + seconds of b exactly 3"),
        (Rule("limit", ("strength", "style"), step=0.01), "strength, style in steps of 0.01"),
        (Rule("refers", ("turns[].id",), to="speakers[].id"), "turns[].id must be one of speakers[].id"),
        (Rule("unique", ("speakers[].id",)), "speakers[].id: no value twice"),
    ],
)
def test_rule_is_one_line_for_people(rule: Rule, line: str) -> None:
    assert rule_line(rule) == line


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (None, ""),
        ({"a": [None, 1, 2, 3, "x"]}, "with a 1..3 or x or left out"),
        (
            {"a": {"not": [None, "auto"]}, "b": None, "#c": 2, "d": None},
            "with a given and not auto and length of c 2 and without b, d",
        ),
        ({"(tier of the source)": "fast"}, "with tier of the source fast"),
    ],
)
def test_condition_is_read_as_words(condition: Any, words: str) -> None:
    assert condition_words(condition) == words


def test_price_is_a_table_with_what_is_added_and_what_counts_as_left_out() -> None:
    lines = PriceLine(8, when={"resolution": "720p", "ids": None}, per="duration"), PriceLine(1, unset={"n": 4})
    plus = (PriceLine(0.5, when={"sound": True}, per="#image_urls", after=5),)
    fox = replace(model(), price=Price(lines, plus, {"size": "S"}, until="2999-12-31"))
    assert price_lines(fox) == [
        "resolution 720p and without ids: 8 credits per second of duration",
        "1 credit",
        "plus sound true: 0.5 credits per item of image_urls after the first 5",
        "size left out counts as S",
        "n left out counts as 4",
        "an offer until 2999-12-31",
    ]
    assert price_lines(model()) == []
    assert price_lines(priced(PriceLine(1)), "USD") == ["1 USD"]


@pytest.mark.parametrize(
    ("fox", "words"),
    [
        (model(), "price unknown"),
        (priced(PriceLine(0)), "0 credits"),
        (priced(PriceLine(1)), "1 credit"),
        (priced(PriceLine(28, per="duration")), "140 credits"),
        (priced(PriceLine(28, per="~video_url + (seconds of the result)")), "28 credits/s"),
        (priced(PriceLine(12, per="#prompt", each=1000)), "12 credits/1000 characters"),
        (priced(PriceLine(4, per="(megapixels)", at_most=True)), "at most 4 credits/megapixel"),
        (priced(PriceLine(5, when={"size": "S"}), PriceLine(60, when={"size": "L"})), "at most 60 credits"),
        (priced(PriceLine(5, when={"size": "*"})), "price unknown"),
    ],
)
def test_usual_price_has_a_few_characters(fox: Model, words: str) -> None:
    assert usual_price(fox) == words


def test_usual_price_is_of_the_first_choice_of_a_required_field() -> None:
    lines = PriceLine(5, when={"size": "S"}), PriceLine(60, when={"size": "L"})
    assert usual_price(model(required=("size",), price=Price(lines))) == "5 credits"


def test_offer_that_has_ended_may_cost_more() -> None:
    ended = Price((PriceLine(4),), until="2026-10-07")
    assert price_lines(model(price=ended)) == ["4 credits", "an offer that ended 2026-10-07: it may cost more now"]
