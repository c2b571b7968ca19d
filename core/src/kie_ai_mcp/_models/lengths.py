"""Lengths and resolutions: those that people ask for, the input that has them, and those that a price is for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.pricing import is_length
from kie_ai_mcp._models.samples import choices, usual_input
from kie_ai_mcp._models.terms import View, number_of, parts_of, terms_of
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.models import Model

# A number before it or a part of one is none; nor is a decade, as of music of the 80s.
LENGTH = re.compile(
    r"(?<![\w.,:])(?![5-9]0s|\d{4}s)(\d{1,4}(?:\.\d{1,3})?)[ -]?(?:(s|secs?|seconds?)|(?:min|mins|minutes?))\b",
    re.IGNORECASE,
)
NO_LENGTH = re.compile(r"start|begin|end|offset|interval", re.IGNORECASE)  # in the name of a point in time
RESOLUTION = re.compile(r"(\d{3,4}p|[1-8]k)", re.IGNORECASE)
WORD = re.compile(rf"\b{RESOLUTION.pattern}\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """The length and the resolution of what people want; None and "" where they named none."""

    seconds: float | None = None
    resolution: str = ""

    def __bool__(self) -> bool:
        """Whether anything is wished for."""
        return self.seconds is not None or bool(self.resolution)

    def fields(self, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the fields of an input that has the wish; None where its schema has no such value."""
        found: dict[str, Any] = {}
        has_length = has_resolution = False
        for name, field in schema.get("properties", {}).items():
            named = choices(field)
            if self.seconds is not None and is_length(name) and not NO_LENGTH.search(name):
                has_length = True
                found[name] = _length(field, self.seconds)
            elif self.resolution and any(isinstance(each, str) and RESOLUTION.fullmatch(each) for each in named):
                has_resolution = True
                found[name] = next((each for each in named if str(each).lower() == self.resolution), None)
        lacks = (self.seconds is not None and not has_length) or (bool(self.resolution) and not has_resolution)
        return None if lacks or None in found.values() else found

    def is_met(self, settings: str) -> bool:
        """Return whether a price for these settings is one of the wish."""
        words = settings.lower().split(", ")
        length = "" if self.seconds is None else f"{plain(self.seconds)} s"
        return all(word in words for word in (length, self.resolution) if word)


NO_WISH = Wish()


def wish_in(text: str) -> tuple[Wish, str]:
    """Return the length and the resolution in people's words, and the words without the length."""
    length, resolution = LENGTH.search(text), WORD.search(text)
    seconds = None if length is None else float(length[1]) * (1 if length[2] else 60)
    return Wish(seconds, resolution[0].lower() if resolution else ""), LENGTH.sub(" ", text)


def input_with(model: Model, wish: Wish) -> dict[str, Any] | None:
    """Return a usual input of a model that has the wish; None where the model can't do that."""
    fields = wish.fields(model.input)
    if fields is None:
        return None
    usual, sent = usual_input(model), usual_input(model) | fields
    # A usual input has only what the schema requires, not what a rule asks for.
    before = {fault.message for fault in check(model, usual).faults}
    return sent if {fault.message for fault in check(model, sent).faults} <= before else None


def settings_of(model: Model, sent: Mapping[str, Any]) -> str:
    """Return the length and resolution that the price of an input is for (``5 s, 720p``); "" where it names none."""
    if model.price is None:
        return ""
    paths = [part.path for term in terms_of(model.price) for part in parts_of(term) if not part.sort]
    paths += [name for name in model.input.get("properties", ()) if model.kind == "video" and is_length(name)]
    unset = dict(model.price.unset)
    for line in model.price.lines:
        unset = {**line.unset, **unset}
    view, found = replace(View(sent, model.input, filled=True), unset=unset), dict[str, None]()
    for path in dict.fromkeys(paths):
        for _, value in view.at(path)[:1]:
            number = number_of(value)
            if is_length(path) and number is not None and number > 0:
                found[f"{plain(number)} s"] = None
            elif isinstance(value, str) and RESOLUTION.fullmatch(value):
                found[value] = None
    return ", ".join(sorted(found, key=lambda words: not words.endswith(" s")))


def _length(field: Mapping[str, Any], seconds: float) -> Any:
    """Return the value of a field that is this length; None where it takes none."""
    if named := choices(field):
        return next((each for each in named if number_of(each) == number_of(seconds)), None)
    kinds = field.get("type")
    if {"integer", "number"}.isdisjoint([kinds] if isinstance(kinds, str) else kinds or ()):
        return None
    value = int(seconds) if float(seconds).is_integer() else seconds
    return value if field.get("minimum", value) <= value <= field.get("maximum", value) else None
