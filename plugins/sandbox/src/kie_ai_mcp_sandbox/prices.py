"""Prices: what the service takes for a request, and the words that its list has for them.

The prices are those of the models that are registered, read here once more and on purpose: the sandbox charges what the
service would, which is what a client's own estimate is compared with. Where no field says what decides (how many layers
a picture has, how long an unmeasured clip is), the sandbox knows, for it is the one that makes them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kie_ai_mcp import Price, PriceLine
from kie_ai_mcp.models import Condition

USD = 0.005
"""The dollars of one credit."""

USUAL_S = 5.0
"""The seconds of a clip or a sound whose length is not known here."""

_SIGNS = re.compile(r" ([+-]) ")
_WEIGHT = re.compile(r"(\d+) (.+)")


def listed(credits: float, *steps: tuple[Mapping[str, Any], float], times: tuple[str, float] | None = None) -> Price:
    """Return a price of few numbers.

    Args:
        credits: The usual price.
        *steps: Other prices, each with the values that lead to it; the first that fits counts.
        times: A field that multiplies the price (seconds, pictures) and what it is when absent.
    """
    per, unset = (times[0], dict([times])) if times else ("", {})
    lines = [PriceLine(price, when, per) for when, price in steps]
    return Price((*lines, PriceLine(credits, None, per)), unset=unset)


def _usual(_: str) -> float:
    return USUAL_S


@dataclass(frozen=True)
class Bill:
    """A request as its price sees it.

    Args:
        sent: The input as it arrived.
        defaults: What counts for a field that is left out.
        facts: What no field holds, by its term (``(layers)``).
        seconds: Returns the seconds of the file at an address.
        is_guess: Whether a field without a value passes every test of its value.
    """

    sent: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    seconds: Callable[[str], float] = _usual
    is_guess: bool = False

    def credits(self, price: Price) -> float:
        """Return what the request costs."""
        plus = [line for line in price.plus if self._with(price, line)._holds(line.when)]
        return round(sum(self._with(price, line)._part(line) for line in (self.line(price), *plus)), 6)

    def line(self, price: Price) -> PriceLine:
        """Return the line that counts; where nothing is sent that decides, the first that may."""
        bills = (self, replace(self, is_guess=True))
        holding = (line for bill in bills for line in price.lines if bill._with(price, line)._holds(line.when))
        return next(holding, price.lines[0])

    def unset(self, price: Price) -> Mapping[str, Any]:
        """Return what counts for fields that are left out."""
        return {**price.unset, **self.line(price).unset, **self.defaults}

    def _with(self, price: Price, line: PriceLine) -> "Bill":
        return replace(self, defaults={**price.unset, **line.unset, **self.defaults})

    def _part(self, line: PriceLine) -> float:
        count = self._amount(line.per) if line.per else 1.0
        return line.credits * max(count - line.after, 0.0) / line.each

    def _values(self, path: str) -> list[Any]:
        """Return what stands at ``field`` or ``list[].field``; nothing where it is left out."""
        name, _, rest = path.partition(".")
        value = self.sent.get(name.removesuffix("[]"))
        if value in (None, "", [], {}):
            value = self.defaults.get(name.removesuffix("[]"))
        values = value if name.endswith("[]") and isinstance(value, list) else [value]
        if rest:
            values = [item.get(rest) for item in values if isinstance(item, dict)]
        return [value for value in values if value not in (None, "", [], {})]

    def _amount(self, term: str) -> float:
        first, *others = _SIGNS.split(term)
        pairs = zip(others[::2], others[1::2], strict=True)
        return self._one(first) + sum((-1 if sign == "-" else 1) * self._one(part) for sign, part in pairs)

    def _one(self, part: str) -> float:
        if weighted := _WEIGHT.fullmatch(part):
            return int(weighted[1]) * self._one(weighted[2])
        if part.startswith("("):
            return self.facts.get(part, 1.0)
        values = self._values(part.lstrip("#?~"))
        match part[0]:
            case "#":
                return sum(len(value) for value in values if isinstance(value, str | list))
            case "?":
                return float(bool(values))
            case "~":
                addresses = [address for value in values for address in (value if isinstance(value, list) else [value])]
                return sum(self.seconds(str(address)) for address in addresses)
        # A length that the model chooses is -1 or a word.
        usual = USUAL_S if "duration" in part else 1.0
        return sum((number(value, usual) for value in values), 0.0) if values else usual

    def _holds(self, when: Condition | None) -> bool:
        if when is None:
            return True
        if isinstance(when, tuple):
            return any(map(self._holds, when))
        return all(self._passes(term, test) for term, test in when.items())

    def _passes(self, term: str, test: Any) -> bool:
        if term.startswith("("):
            return term not in self.facts or _is(self.facts[term], test)
        values = [self._one(term)] if term[0] in "#?~" else self._values(term)
        if self.is_guess and not values and test not in (None, "*"):
            return True
        if isinstance(test, Mapping):
            return not any(_is(value, other) for value in values for other in test["not"])
        if isinstance(test, list | tuple):
            return any(self._passes(term, one) for one in test)
        if test is None or test == "*":
            return bool(values) == (test is not None)
        return any(_is(value, test) for value in values)


def number(value: Any, default: float) -> float:
    """Return a value as a number above 0, else the default: durations and counts come as numbers and as text."""
    try:
        read = float(value)
    except (TypeError, ValueError):
        return default
    return read if 0 < read < 10_000 else default


def _is(value: Any, wanted: Any) -> bool:
    """Return whether a value is the one that a price names; the service is not strict about its form."""
    return str(value).lower() == str(wanted).lower() or (
        number(value, -1.0) > 0 and number(value, -1.0) == number(wanted, -2.0)
    )


# Words ---------------------------------------------------------------------------------------------------------------

NAMES: Mapping[str, str] = {
    "audio_url": "second",
    "dialogue[].text": "characters",
    "duration": "second",
    "generate_audio": "audio",
    "generate_audio_switch": "audio",
    "image_urls": "input image",
    "layers": "layer",
    "max_images": "image",
    "megapixels": "megapixel",
    "n": "image",
    "num_images": "image",
    "reference_image_urls": "input image",
    "seconds of the result": "second",
    "text": "characters",
    "video_url": "second",
    "video_urls": "second",
}
"""What the list calls a field, where that is not the field's own name."""


def words(price: Price | None) -> str | None:
    """Return the text of the list for a price: ``8 credits ($0.04) for 1K; 12 credits ($0.06) for 2K.``"""
    if price is None:
        return None
    parts = [_line(line) for line in price.lines]
    parts += [f"plus {_line(line)}" for line in price.plus]
    return f"{'; '.join(parts)}."


def _line(line: PriceLine) -> str:
    said = f"{line.credits:g} credits (${line.credits * USD:.6g})" if line.credits else "free"
    if line.per:
        unit = "second of input and output" if " + " in line.per else _name(line.per)
        said += f" per {unit}" if line.each == 1 else f" per {line.each:,.0f} {unit}"
    if line.after:
        said += f" after the first {line.after:g}"
    conditions = line.when if isinstance(line.when, tuple) else (line.when,) if line.when else ()
    choices = " or ".join(map(_choice, conditions))
    return f"{said} {'' if choices.startswith('with') else 'for '}{choices}" if choices else said


def _choice(when: Mapping[str, Any]) -> str:
    said = [_condition(term, test) for term, test in when.items()]
    return " ".join(sorted(said, key=lambda one: one.startswith("with")))


def _name(term: str) -> str:
    term = term.strip("()#?~")
    return NAMES.get(term, term.replace("_", " "))


def _condition(term: str, test: Any) -> str:
    if isinstance(test, bool) or test is None or test == "*":
        return f"{'with' if test else 'without'} {_name(term)}"
    if isinstance(test, Mapping):
        return f"{_name(term)} not {' or '.join(map(str, test['not']))}"
    if isinstance(test, list | tuple):
        return " or ".join(_condition(term, one) for one in test)
    if term == "duration":
        return f"{test} s"
    return f"{_name(term)} {test}" if isinstance(test, int | float) else str(test)
