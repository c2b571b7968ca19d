"""Prices before a payment: exact, at most, or only a rate; never a guess and never 0 for unknown."""

from dataclasses import replace
from typing import Any

import pytest

from kie_ai_mcp import Media, Model, Price, PriceLine
from kie_ai_mcp._models.pricing import Estimate, estimate
from kie_ai_mcp._models.wording import price_notes
from tests.core.models.examples import A, B, C, model, priced

PER_SECOND = priced(
    PriceLine(2.4, when={"resolution": "720p"}, per="duration"),
    PriceLine(4.5, when={"resolution": ["1080p", "4k"]}, per="duration"),
)
WITH_CLIP = priced(
    PriceLine(28, when={"video_url": None}, per="duration"),
    PriceLine(17, when={"video_url": "*"}, per="duration + ~video_url"),
)


@pytest.mark.parametrize(
    ("priced_model", "sent", "expected"),
    [
        (model(), {}, Estimate(None, missing="price")),
        (priced(PriceLine(0)), {}, Estimate(0)),
        (priced(PriceLine(3.24)), {}, Estimate(3.24)),
        (PER_SECOND, {}, Estimate(12, rate="2.4 credits per second of duration")),
        (PER_SECOND, {"duration": 6}, Estimate(14.4, rate="2.4 credits per second of duration")),
        (PER_SECOND, {"resolution": "4k", "duration": 10}, Estimate(45, rate="4.5 credits per second of duration")),
        (
            PER_SECOND,
            {"duration": -1},  # the model chooses
            Estimate(24, at_most=True, rate="2.4 credits per second of duration", missing="duration"),
        ),
        (WITH_CLIP, {}, Estimate(140, rate="28 credits per second of duration")),
        (WITH_CLIP, {"video_url": C}, Estimate(255, rate="17 credits per second of duration and video_url")),
        (
            WITH_CLIP,
            {"video_url": A},  # not measured: 30 s by the limit of its file
            Estimate(595, True, "17 credits per second of duration and video_url", "seconds of video_url"),
        ),
        (
            priced(PriceLine(5, when={"(tier)": "Pro"}), PriceLine(10, when={"(tier)": "Max"})),
            {},
            Estimate(10, at_most=True, missing="tier"),
        ),
        (priced(PriceLine(5, when={"size": "S"}), PriceLine(5, when={"size": "L"})), {}, Estimate(5)),
        (priced(PriceLine(5, when={"size": "S"}), PriceLine(9, when={"size": "L"})), {"size": "S"}, Estimate(5)),
        (priced(PriceLine(5, when={"size": "S"}), PriceLine(9, when={"size": "L"}), size="S"), {}, Estimate(5)),
        (
            priced(PriceLine(5, when={"size": "S"})),
            {"size": "L"},
            Estimate(None, missing="price for size L", gap="size L"),
        ),
        (
            priced(PriceLine(4, per="(megapixels)")),
            {},
            Estimate(None, rate="4 credits per megapixel", missing="megapixels"),
        ),
        (
            priced(PriceLine(12, per="#prompt", each=1000)),
            {"prompt": "a" * 1234},
            Estimate(14.808, rate="12 credits per 1000 characters of prompt"),
        ),
        (
            priced(PriceLine(7), plus=(PriceLine(0.5, per="#image_urls", after=1),)),
            {"image_urls": [A, B, C]},
            Estimate(8, rate="0.5 credits per item of image_urls after the first 1"),
        ),
        (
            priced(PriceLine(7), plus=(PriceLine(0.5, per="#image_urls", after=1),)),
            {},
            Estimate(7, rate="0.5 credits per item of image_urls after the first 1"),
        ),
        (priced(PriceLine(7), plus=(PriceLine(1), PriceLine(2, when={"size": "*"}), PriceLine(4))), {}, Estimate(12)),
        (
            priced(PriceLine(7), plus=(PriceLine(1, when={"size": "L"}), PriceLine(2, when={"sound": True}))),
            {"sound": True},
            Estimate(10, at_most=True, missing="size"),
        ),
        (
            priced(PriceLine(140, per="(input tokens)", each=1_000_000), plus=(PriceLine(8, per="(audio tokens)"),)),
            {},
            Estimate(
                None,
                rate="140 credits per 1000000 input tokens + 8 credits per audio token",
                missing="input tokens, audio tokens",
            ),
        ),
        (
            priced(PriceLine(5, per="n", at_most=True, unset={"n": 4})),
            {},
            Estimate(20, True, "at most 5 credits per n"),
        ),
        (priced(PriceLine(5, per="n")), {}, Estimate(40, True, "5 credits per n", "n")),
        (priced(PriceLine(5, per="n"), n="2"), {}, Estimate(10, rate="5 credits per n")),
        (priced(PriceLine(6, at_most=True)), {}, Estimate(6, at_most=True)),
    ],
)
def test_price_is_what_the_first_line_that_holds_says(
    priced_model: Model, sent: dict[str, Any], expected: Estimate
) -> None:
    assert estimate(priced_model, sent, {C: 10}) == expected


def test_sums_of_decimals_are_exact() -> None:
    assert estimate(priced(PriceLine(0.1, per="duration"), plus=(PriceLine(0.2),)), {"duration": 4}).credits == 0.6
    assert estimate(priced(PriceLine(1.1, per="duration")), {"duration": 6}).credits == 6.6


@pytest.mark.parametrize(
    ("limits", "seconds", "credits"),
    [
        (Media("video", most_s=15, total_s=20), {}, 200),
        (Media("video", most_s=15, total_s=20), {A: 2}, 170),
        (Media("video", most_s=15), {}, 300),
        (Media("video", total_s=20), {}, 200),
        (Media("video"), {}, None),
        (Media("video"), {A: 2, B: 3}, 50),
    ],
)
def test_unmeasured_clips_count_with_their_largest_length(
    limits: Media, seconds: dict[str, float], credits: float | None
) -> None:
    clips = replace(priced(PriceLine(10, per="~image_urls")), media={"image_urls[]": limits})
    assert estimate(clips, {"image_urls": [A, B]}, seconds).credits == credits


def test_tokens_of_a_text_count_with_the_most_that_it_can_be() -> None:
    lines = PriceLine(1, per="(input tokens)"), PriceLine(10, per="(audio tokens)")
    spoken = replace(priced(lines[0]), price=Price(lines[:1], plus=lines[1:]), media={})
    found = estimate(spoken, {"prompt": "né"})  # 3 bytes, spoken in 1.5 s, after 10 s without a word
    assert (found.credits, found.at_most) == (3 + 10 * 25 * 11.5, True)
    with_pictures = replace(spoken, media={"image_urls[]": Media("image")})
    assert estimate(with_pictures, {"prompt": "né"}).credits is None


def test_line_that_may_hold_and_has_no_price_leaves_the_whole_unknown() -> None:
    lines = PriceLine(5, when={"size": "S"}), PriceLine(1, when={"size": "L"}, per="(megapixels)")
    found = estimate(priced(*lines), {})
    assert (found.credits, found.rate, found.missing) == (None, "1 credit per megapixel", "size, megapixels")


def test_options_without_a_line_are_named() -> None:
    lines = PriceLine(5, when={"size": "S"}), PriceLine(6, when={"size": "L", "#image_urls": [0, 1]})
    gapped = priced(*lines)
    found = estimate(gapped, {"size": "L", "image_urls": [A, B]})
    assert (found.credits, found.gap) == (None, "size L, length of image_urls 2")
    assert price_notes(gapped, found) == ("The price is not known: it has no line for size L, length of image_urls 2.",)
    assert estimate(gapped, {"size": "S"}).gap == ""


def test_price_of_another_service_is_in_its_own_unit() -> None:
    dollars = replace(model(), price=Price((PriceLine(0.05, per="duration"),)))
    assert estimate(dollars, {}, unit="USD").rate == "0.05 USD per second of duration"
