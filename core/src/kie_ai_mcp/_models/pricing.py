"""Prices of requests before they are paid, from a model's own price lines: exact, at most, or the rate alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kie_ai_mcp._models import terms
from kie_ai_mcp._models.terms import EMPTY, Part, View, number_of, part_words, parts_of, schema_at
from kie_ai_mcp._settings.amounts import plain, priced
from kie_ai_mcp.models import Model, Price, PriceLine

# Bounds of speech that is priced by tokens: no token is shorter than a byte, and no text is spoken more slowly.
AUDIO_TOKENS_A_SECOND, MOST_SECONDS_A_BYTE, SILENCE_S = 25, Fraction(1, 2), 10
USUAL_BYTES, USUAL_CHARS_A_SECOND = 4, 15  # of a token, and of speech
_SECONDS = re.compile(r"(?:.*[^a-z])?(?:durations?|seconds|s)", re.IGNORECASE)  # names of fields that are seconds


@dataclass(frozen=True)
class Estimate:
    """The price of one request.

    Args:
        credits: The price in the service's unit; None where it is not known, which is never 0.
        at_most: Whether it may be less.
        rate: The rate behind it (``28 credits per second of duration``); "" for a price per request.
        missing: The facts that the input does not hold and without which it is not exact.
        gap: The settings of the input for which the price has no line (``size L, quality high``).
    """

    credits: float | None
    at_most: bool = False
    rate: str = ""
    missing: str = ""
    gap: str = ""


def estimate(
    model: Model,
    sent: Mapping[str, Any],
    seconds: Mapping[str, float] = EMPTY,
    *,
    usual: bool = False,
    unit: str = "credits",
) -> Estimate:
    """Return the price of a valid input.

    Args:
        model: The model.
        sent: The input.
        seconds: Measured seconds of media, by the text that names them.
        usual: Whether the input is only an example: lengths of texts are then not known, nothing counts with its
            largest value, and the rate has few characters (``28 credits/s``).
        unit: What the service counts its prices in.
    """
    if (price := model.price) is None:
        return Estimate(None, missing="price")
    view = View(sent, model.input, seconds, filled=True)
    lines, undecided = _lines(price, price.lines, view)
    if not lines:
        gap = ", ".join(_settings(price, view))
        return Estimate(None, missing=f"price for {gap}", gap=gap)
    costs = [_cost(model, line, own, usual) for line, own in lines]
    # The dearest that may hold; one that is not known may be any.
    main = max(costs, key=lambda cost: (cost.credits is None, cost.credits or 0, cost.line.credits))
    plus, open_plus = _lines(price, price.plus, view, every=True)
    parts = [main, *(_cost(model, line, own, usual) for line, own in plus)]
    missing = [*(undecided if len({cost.credits for cost in costs}) > 1 else ()), *open_plus]
    missing += [part_words(part) for cost in parts for part in cost.missing]
    amounts = [cost.credits for cost in parts if cost.credits is not None]
    is_known = len(amounts) == len(parts)
    return Estimate(
        credits=round(float(sum(amounts)), 6) if is_known else None,
        at_most=is_known and (bool(missing) or any(cost.line.at_most for cost in parts)),
        rate=" + ".join(rate_of(cost.line, unit, short=usual) for cost in parts if cost.line.per),
        missing=", ".join(dict.fromkeys(missing)),
    )


def least(model: Model, sent: Mapping[str, Any]) -> float | None:
    """Return the least that an input, with what it leaves open, costs; None where it has a rate, or is unknown."""
    if (price := model.price) is None:
        return None
    lines, _ = _lines(price, price.lines, View(sent, model.input, EMPTY, filled=True))
    costs = [_cost(model, line, own, usual=True).credits for line, own in lines]
    amounts = [cost for cost in costs if cost is not None]
    return float(min(amounts)) if len(amounts) == len(costs) > 0 else None


def _settings(price: Price, view: View) -> Iterator[str]:
    """Yield each term that decides between the lines of a price, with its value in an input."""
    for term in dict.fromkeys(term for line in price.lines for one in terms.alternatives(line.when) for term in one):
        parts = parts_of(term)
        values = [value for _, value in view.at(term)] if not parts[0].sort and not parts[1:] else [view.number(term)]
        words = (plain(float(value)) if isinstance(value, Fraction) else str(value) for value in values)
        yield f"{part_words(*parts)} {' and '.join(dict.fromkeys(words)) or 'left out'}"


def _lines(
    price: Price, lines: Sequence[PriceLine], view: View, *, every: bool = False
) -> tuple[list[tuple[PriceLine, View]], list[str]]:
    """Return the lines that may hold, up to the first that does, and the facts that are not known."""
    found, undecided = [], []
    for line in lines:
        own = replace(view, unset={**price.unset, **line.unset})
        holds = own.holds(line.when)
        if holds is not False:
            found.append((line, own))
        if holds is None:
            entries = (entry for one in terms.alternatives(line.when) for entry in one.items())
            undecided += [part_words(*parts_of(term)) for term, test in entries if own.passes(term, test) is None]
        if holds and not every:
            break
    return found, undecided


@dataclass(frozen=True)
class _Cost:
    """The price by one line, with the parts of its factor that are not known."""

    line: PriceLine
    credits: Fraction | None
    missing: tuple[Part, ...] = ()


def _cost(model: Model, line: PriceLine, view: View, usual: bool) -> _Cost:
    price = number_of(line.credits) or Fraction(0)
    if not line.per or not price:
        return _Cost(line, price)
    count, missing, is_known = Fraction(0), [], True
    for part in parts_of(line.per):
        number = view.part(part)
        is_text = part.sort == "#" and (schema_at(model.input, part.path) or EMPTY).get("type") == "string"
        # A negative length stands for one that the model chooses.
        if number is None or (not part.sort and number < 0) or (usual and is_text):
            missing.append(part)
            number = _largest(model, view, part) if part.weight > 0 else Fraction(0)
            is_known = is_known and not usual and number is not None
        count += part.weight * (number or 0)
    total = price * max(count - (number_of(line.after) or 0), Fraction(0)) / (number_of(line.each) or 1)
    return _Cost(line, total if is_known else None, tuple(missing))


def _largest(model: Model, view: View, part: Part) -> Fraction | None:
    """Return the largest value of a part by its schema or by the limits of its media; None where neither has one."""
    media = model.media.get(part.path) or model.media.get(f"{part.path}[]")
    if part.sort == "~" and media:
        texts = terms.texts_in(value for _, value in view.at(part.path))
        each = [number_of(view.seconds.get(text, media.most_s)) for text in texts]
        limits = [None if None in each else sum(filter(None, each), Fraction(0)), number_of(media.total_s)]
        return min((limit for limit in limits if limit is not None), default=None)
    if part.sort == "(":
        return None if model.media else _most_tokens(part.path, view)
    schema = (schema_at(model.input, part.path) if not part.sort else None) or EMPTY
    values = schema.get("enum") or (schema.get("maximum"), schema.get("exclusiveMaximum"))
    return max((number for number in map(number_of, values) if number is not None), default=None)


def _most_tokens(fact: str, view: View) -> Fraction | None:
    """Return the most tokens that the texts of an input can be, read or spoken; None without, or for another fact."""
    size = Fraction(sum(len(text.encode(errors="replace")) for text in terms.free_texts(view.input, view.schema)))
    spoken = AUDIO_TOKENS_A_SECOND * (SILENCE_S + MOST_SECONDS_A_BYTE * size)
    return {"input tokens": size, "audio tokens": spoken}.get(fact) if size else None


def of_1000_characters(price: Price) -> float | None:
    """Return what 1000 characters of speech usually cost by a price that counts tokens; None for another price."""
    tokens = {"input tokens": 1000 / USUAL_BYTES, "audio tokens": 1000 / USUAL_CHARS_A_SECOND * AUDIO_TOKENS_A_SECOND}
    lines = [(line, parts_of(line.per)) for line in (*price.lines, *price.plus) if line.per]
    facts = [(line, parts[0].path) for line, parts in lines if len(parts) == 1 and parts[0].path in tokens]
    if "audio tokens" not in {fact for _, fact in facts}:
        return None
    return sum(line.credits * tokens[fact] / line.each for line, fact in facts)


def rate_of(line: PriceLine, unit: str = "credits", *, short: bool = False) -> str:
    """Return a line's price in words, without its condition (``28 credits per second of duration``)."""
    price = f"{'at most ' if line.at_most else ''}{priced(line.credits, unit)}"
    if not line.per:
        return price
    parts = parts_of(line.per)
    clips = [_seconds_of(part) for part in parts]
    if short and all(clips):
        return f"{price}/s"
    each = "" if line.each == 1 else f"{plain(line.each)} "
    nouns = {"#": "characters of " if each else "item of ", "~": "second of ", "(": ""}
    names = [part.path.removesuffix("s") if part.sort == "(" and not each else part.path for part in parts]
    words = [f"{nouns.get(part.sort, '')}{name}" for part, name in zip(parts, names, strict=True)]
    factor = each + (f"second of {' and '.join(clips)}" if all(clips) else " and ".join(words))
    if short:
        return f"{price}/{factor.partition(' of ')[0]}"
    return f"{price} per {factor}{f' after the first {plain(line.after)}' if line.after else ''}"


def is_length(name: str) -> bool:
    """Return whether a field of this name holds seconds."""
    return name == "n_frames" or _SECONDS.fullmatch(name) is not None


def _seconds_of(part: Part) -> str:
    """Return what a part counts the seconds of; "" where it counts something else."""
    if part.sort == "(":
        return part.path.removeprefix("seconds of ") if part.path.startswith("seconds of ") else ""
    return part.path if part.sort == "~" or (not part.sort and _SECONDS.fullmatch(part.path)) else ""
