"""Samples of what a schema allows: the smallest usual values, for prices, cures and tests."""

import re
from collections.abc import Mapping
from typing import Any

from kie_ai_mcp._models.terms import schema_at
from kie_ai_mcp.models import Model

TEXT = "a quiet harbour at dawn, with gulls over red boats and a slow mist on the water; "
ADDRESS = "https://media.example.com/{}"
LONGEST = 20_000  # of a sample; a service may ask for more than there is memory
FILES = {"image": "picture.png", "video": "clip.mp4", "audio": "sound.mp3", "file": "page.pdf", "link": "page.html"}
_CLASS = re.compile(r"(\[[^\]]*\]|\\d|\\w)(?:\{(\d+)[^}]*\}|[+*?])?")  # in a pattern, with how often it stands there


def usual_input(model: Model) -> dict[str, Any]:
    """Return the fields that a model's schema requires, each with its default or smallest usual value."""
    return {name: usual(model, name) for name in model.input.get("required", ())}


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
