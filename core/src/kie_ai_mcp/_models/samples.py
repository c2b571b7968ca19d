"""Samples of what a schema allows: the smallest usual values, for prices, cures and tests; those near a wrong one."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import log
from typing import Any

from kie_ai_mcp._models.terms import number_of, schema_at
from kie_ai_mcp.models import Model

TEXT = "a quiet harbour at dawn, with gulls over red boats and a slow mist on the water; "
ADDRESS = "https://media.example.com/{}"
CLIP_S = 5  # of a usual clip
LONGEST = 20_000  # of a sample; a service may ask for more than there is memory
FILES = {"image": "picture.png", "video": "clip.mp4", "audio": "sound.mp3", "file": "page.pdf", "link": "page.html"}
_SHAPE = re.compile(r"([0-9]{1,5})\s*[:x/]\s*([0-9]{1,5})")
_SIZE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)([kKpPs]?)")  # 1K is about 540p, as 4K is 2160p
_CLASS = re.compile(r"(\[[^\]]*\]|\\d|\\w)(?:\{(\d+)[^}]*\}|[+*?])?")  # in a pattern, with how often it stands there


def usual_input(model: Model) -> dict[str, Any]:
    """Return the fields that a model's schema requires, each with its default or smallest usual value."""
    return {name: _usual_length(model, name) or usual(model, name) for name in model.input.get("required", ())}


def _usual_length(model: Model, name: str) -> int | None:
    """Return the seconds of a usual clip, so that prices compare; None where the model takes no such length."""
    field = schema_at(model.input, name) or {}
    is_open = name == "duration" and model.kind == "video" and not {"default", "enum", "const"} & field.keys()
    is_open = is_open and field.get("type") in {"integer", "number"} and "minimum" in field
    return CLIP_S if is_open and field["minimum"] <= CLIP_S <= field.get("maximum", CLIP_S) else None


def usual(model: Model, path: str) -> Any:
    """Return the default of the field at a path, else its smallest usual value."""
    return _usual(model, path, schema_at(model.input, path) or {})


def choices(schema: Mapping[str, Any] | None) -> list[Any]:
    """Return the values that a schema names; none where it names none."""
    schema = schema or {}
    named = [schema["const"]] if "const" in schema else [False, True] if schema.get("type") == "boolean" else []
    return list(schema.get("enum", named))


def _usual(model: Model, path: str, schema: Mapping[str, Any]) -> Any:
    if schema.get("default") is not None:
        return schema["default"]
    if values := [*choices(schema), *schema.get("examples", ())]:
        return values[0]
    kind = schema.get("type", "string")
    match kind if isinstance(kind, str) else kind[0]:
        case "object":
            fields, needed = schema.get("properties", {}), schema.get("required", ())
            return {name: _usual(model, f"{path}.{name}", fields.get(name, {})) for name in needed}
        case "array":
            least = min(int(schema.get("minItems", 1)) or 1, LONGEST)
            return [_usual(model, f"{path}[]", schema.get("items", {}))] * least
        case "integer" | "number":
            step, least = schema.get("multipleOf", 1), schema.get("minimum", schema.get("exclusiveMinimum", 0))
            # Nothing is usually asked for 0 times, or for 0 seconds.
            is_above = "exclusiveMinimum" in schema or (least == 0 and schema.get("maximum", 1) >= step)
            return least + step if is_above else least
    media = model.media.get(path)
    return ADDRESS.format(FILES[media.kinds[0]]) if media else _text(schema)


def _text(schema: Mapping[str, Any]) -> str:
    least, most = (min(int(schema.get(word, other)), LONGEST) for word, other in (("minLength", 0), ("maxLength", 99)))
    pattern = schema.get("pattern", "")
    simple = _CLASS.sub(lambda each: "1" * min(int(each[2] or 1), LONGEST), pattern.strip("^$")).replace("\\", "")
    samples = [ADDRESS.format("page"), TEXT[:15]][:: 1 if schema.get("format") == "uri" else -1]
    for sample in filter(None, (*samples, simple)):
        text: str = (sample * (1 + least // len(sample)))[: max(least, min(most, len(sample)))]
        if re.search(pattern, text):
            return text
    return TEXT


def nearest_first(value: Any, values: Iterable[Any]) -> list[Any]:
    """Return those of several values that are like a wrong one, the nearest first.

    One that begins with the wrong value is meant, or has it as a word of its own. Shapes are compared by their ratio,
    sizes and numbers by their distance, everything else by its letters.
    """
    values, text = [each for each in values if each != value], str(value)[:100].lower()
    begun = [each for each in values if text and str(each).lower().startswith(text)]
    holding = begun or [each for each in values if text in re.split(r"[^a-z0-9.]", str(each).lower())]
    if len(holding) == 1 and number_of(holding[0]) is None:
        return holding
    for measure in (_ratio, _size):
        mark, marks = measure(value), [(each, measure(each)) for each in values]
        known = [(each, one) for each, one in marks if one is not None]
        if measure is _size and (mark or 0) >= 0:
            known = [(each, one) for each, one in known if one >= 0] or known  # -1 stands for "automatic"
        if mark is not None and known:
            return [each for each, _ in sorted(known, key=lambda entry: abs(entry[1] - mark))]
    texts = {str(each).lower(): each for each in values}
    return [texts[text] for text in get_close_matches(text, texts, n=3, cutoff=0.5)]


def _ratio(value: Any) -> float | None:
    """Return the logarithm of a shape's width by its height; None where there is none."""
    found = _SHAPE.fullmatch(str(value)[:20])
    return log(int(found[1]) / int(found[2])) if found and int(found[1]) and int(found[2]) else None


def _size(value: Any) -> float | None:
    """Return the number in a size or a length (``720p``, ``4K``, ``10``); None where there is none."""
    found = _SIZE.fullmatch(str(value)[:20])
    return float(found[1]) * (540 if found[2] in {"k", "K"} else 1) if found else None
