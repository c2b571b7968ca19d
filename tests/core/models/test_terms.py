"""Terms and conditions: numbers that are exact, values that are the same, facts that are not known."""

from fractions import Fraction
from typing import Any

import pytest

from kie_ai_mcp._models.terms import View, number_of, parts_of, same, terms_of
from kie_ai_mcp.models import Price, PriceLine, Rule
from tests.core.models.examples import A, B, C, model

SHOTS = [{"text": "abc", "end": 5}, {"text": "de", "start": 1.5}]
INPUT = {
    "duration": 10,
    "ids": ["x", "y"],
    "prompt": "fox",
    "image_urls": [],
    "n": None,
    "shots": SHOTS,
    "video_url": C,
}


def view(sent: dict[str, Any], **facts: Any) -> View:
    return View(sent, model().input, **facts)


@pytest.mark.parametrize(
    ("term", "number"),
    [
        ("duration", 10),
        ("#ids", 2),
        ("#prompt", 3),
        ("#image_urls", 0),
        ("?image_urls", 0),
        ("?ids", 1),
        ("#ids + 2 #shots", 6),
        ("duration - #ids", 8),
        ("#shots[].text", 5),
        ("shots[].end", 13),
        ("~video_url", 7.5),
        ("duration + ~video_url", 17.5),
        ("~image_urls", 0),
        ("n", None),
        ("prompt", None),
        ("(megapixels)", None),
        ("duration + (seconds of the result)", None),
    ],
)
def test_term_is_an_exact_number_or_not_known(term: str, number: float | None) -> None:
    assert view(INPUT, seconds={C: 7.5}).number(term) == (None if number is None else Fraction(str(number)))


def test_seconds_are_known_only_where_every_clip_is_measured() -> None:
    clips = View({"image_urls": [A, B]}, model().input, {A: 1.1, B: 2.2})
    assert clips.number("~image_urls") == Fraction("3.3")
    assert View(clips.input, clips.schema, {A: 1.1}).number("~image_urls") is None


@pytest.mark.parametrize("term", ["", "a b", "+ a", "a +", "a & b", "(open", "#"])
def test_text_that_is_no_term_is_refused(term: str) -> None:
    with pytest.raises(ValueError, match="is no term"):
        parts_of(term)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(6, "6", True), ("6", 6.0, True), (1, True, False), (0, False, False), ("a", "A", False), (None, None, True)],
)
def test_numbers_equal_their_texts_and_no_bool(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other) is same(other, one) is expected


@pytest.mark.parametrize("value", [True, None, "", "5 s", "nan", "1e5", float("nan"), float("inf"), [1], "１"])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert number_of(value) is None


@pytest.mark.parametrize(
    ("condition", "sent", "filled"),
    [
        (None, True, True),
        ({"size": "S"}, False, None),
        ({"size": ["S", None]}, True, True),
        ({"size": None}, True, True),
        ({"size": "*"}, False, False),
        ({"size": {"not": ["S"]}}, True, None),
        ({"size": {"not": ["S", None]}}, False, False),
        ({"resolution": "720p"}, False, True),
        ({"resolution": {"not": ["720p"]}}, True, False),
        ({"duration": "10", "ids": "*"}, True, True),
        ({"duration": 10, "size": "S"}, False, None),
        ({"#ids": 2}, True, True),
        ({"shots[].text": {"not": ["de"]}}, False, False),
        (({"size": "S"}, {"duration": 10}), True, True),
        (({"size": "S"}, {"duration": 4}), False, None),
        ({"(tier)": "Pro"}, None, None),
        ({"~video_url": [8]}, None, None),
    ],
)
def test_condition_holds_of_what_is_sent_and_is_open_of_what_is_not_known(
    condition: Any, sent: bool | None, filled: bool | None
) -> None:
    assert (view(INPUT).holds(condition), view(INPUT, filled=True).holds(condition)) == (sent, filled)


def test_every_term_of_a_rule_and_of_a_price_is_named() -> None:
    rule = Rule("needs", (("a", "b"), "c"), when=({"d": 1}, {"#e": 2}), to="f")
    assert [*terms_of(rule)] == ["a", "b", "c", "f", "d", "#e"]
    price = Price((PriceLine(1, when={"a": 1}, per="b"),), (PriceLine(2, per="#c", unset={"d": 1}),))
    assert [*terms_of(price)] == ["a", "b", "#c", "d"]
