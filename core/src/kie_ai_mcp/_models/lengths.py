"""Lengths, resolutions and sound: those that people ask for, the input with them, and those that a price is for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.pricing import is_length
from kie_ai_mcp._models.samples import choices, usual_input
from kie_ai_mcp._models.talking import SOUNDING, plain_words
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
SWITCH = re.compile(r"(generate_)?(audio|sound)(_switch)?")  # a field that turns the sound of a clip on
SOUND, ALWAYS = "with sound", "always with sound"  # a setting, and a model's note


@dataclass(frozen=True)
class Wish:
    """The length and the resolution of what people want, None and "" where they named none, and whether it sounds."""

    seconds: float | None = None
    resolution: str = ""
    sound: bool = False

    def __bool__(self) -> bool:
        """Whether anything is wished for."""
        return self.seconds is not None or bool(self.resolution) or self.sound

    def fields(self, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the fields of an input that has the wish; None where its schema has no such value."""
        found: dict[str, Any] = {}
        has_length = has_resolution = has_sound = False
        for name, field in schema.get("properties", {}).items():
            named = choices(field)
            if self.seconds is not None and is_length(name) and not NO_LENGTH.search(name):
                has_length = True
                found[name] = _length(field, self.seconds)
            elif self.resolution and any(isinstance(each, str) and RESOLUTION.fullmatch(each) for each in named):
                has_resolution = True
                found[name] = next((each for each in named if str(each).lower() == self.resolution), None)
            elif self.sound and _is_switch(name, field):
                has_sound = found[name] = True
        lacks = (self.seconds is not None and not has_length) or (bool(self.resolution) and not has_resolution)
        return None if lacks or (self.sound and not has_sound) or None in found.values() else found

    def is_met(self, settings: str, model: Model, sent: Mapping[str, Any]) -> bool:
        """Return whether a price for these settings, or this input, is one of the wish."""
        fields, words = self.fields(model.input), settings.lower().split(", ")
        if fields is not None and all(sent.get(name) == value for name, value in fields.items()):
            return True
        length = "" if self.seconds is None else f"{plain(self.seconds)} s"
        return all(word in words for word in (length, self.resolution, SOUND if self.sound else "") if word)


NO_WISH = Wish()


def wish_in(text: str) -> tuple[Wish, str]:
    """Return the wish in people's words, and the words without the length, and plain as by `plain_words`."""
    text = plain_words(text)
    length, resolution = LENGTH.search(text), WORD.search(text)
    seconds = None if length is None else float(length[1]) * (1 if length[2] else 60)
    wish = Wish(seconds, resolution[0].lower() if resolution else "", bool(SOUNDING.search(text)))
    return wish, LENGTH.sub(" ", text)


def input_with(model: Model, wish: Wish) -> dict[str, Any] | None:
    """Return a usual input of a model that has the wish; None where the model can't do that."""
    usual = usual_input(model)
    fields = replace(wish, sound=wish.sound and not has_sound(model, usual)).fields(model.input)
    if fields is None:
        return None
    sent = usual | fields
    # A usual input has only what the schema requires, not what a rule asks for.
    before = {fault.message for fault in check(model, usual).faults}
    return sent if {fault.message for fault in check(model, sent).faults} <= before else None


def has_sound(model: Model, sent: Mapping[str, Any]) -> bool:
    """Return whether the clip that an input makes has sound, as far as that is known."""
    switches = {name: field for name, field in model.input.get("properties", {}).items() if _is_switch(name, field)}
    if model.kind != "video" or not switches:
        return model.kind == "video" and (model.task == "lip-sync" or ALWAYS in model.notes)
    return any(sent.get(name, field.get("default")) is True for name, field in switches.items())


def _is_switch(name: str, field: Mapping[str, Any]) -> bool:
    kinds = [each.get("type") for each in (field, *field.get("anyOf", ()))]
    return SWITCH.fullmatch(name) is not None and "boolean" in kinds


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
