"""Live catalogue of Kie.ai: addresses of its list, schemas, prices and success rates, and what their answers say.

Each read is free. A published schema is taken as it is meant, not as it is written: branches become one flat object,
references are resolved, and what is only required outside ``input`` is left out.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from kie_ai_mcp import Answer, LiveCatalogue, LiveModel, LiveRead

LOWER, UPPER = {"minimum", "minLength", "minItems"}, {"maximum", "maxLength", "maxItems"}
WORDS = LOWER | UPPER | {
    "type", "enum", "const", "default", "format", "pattern", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "uniqueItems", "items", "properties", "required", "anyOf", "deprecated",
}  # fmt: skip
"""The words of a JSON schema that limit a value; the rest is prose."""

DEEPEST = 20  # references in references; a published schema that refers to itself ends there
HOUR = timedelta(hours=1)


# Addresses -----------------------------------------------------------------------------------------------------------


def _address(part: str) -> Any:
    return lambda model_id: f"models/{quote(model_id, safe='/')}/{part}"


# Answers -------------------------------------------------------------------------------------------------------------


def listed(answer: Answer) -> tuple[LiveModel, ...] | None:
    """Return the models of the list; entries without an id are left out."""
    entries = _part(answer.data, "models")
    if not isinstance(entries, list):
        return None
    return tuple(_models(entries))


def _models(entries: list[Any]) -> Iterator[LiveModel]:
    for entry in entries:
        model_id = _text(_part(entry, "model"))
        if model_id:
            labels = _part(entry, "taskType")
            tasks = tuple(label for label in labels if isinstance(label, str)) if isinstance(labels, list) else ()
            yield LiveModel(model_id, _text(_part(entry, "title")), tasks, _text(_part(entry, "pricingDesc")))


def schema(answer: Answer) -> dict[str, Any] | None:
    """Return the JSON schema of a model's input; None where the service publishes none."""
    document = _part(answer.data, "openapi")
    paths = _part(document, "paths")
    for path, methods in paths.items() if isinstance(paths, dict) else ():
        body = _part(methods, "post", "requestBody", "content", "application/json", "schema")
        taken = _part(_resolved(body, document), "properties", "input")
        if path.endswith("/createTask") and isinstance(taken, dict):  # models that chat are asked elsewhere
            return flat(taken)
    return None


def price(answer: Answer) -> str | None:
    """Return the service's words for a price; None where it has none."""
    return _text(_part(answer.data, "pricingDesc")) or None


def health(answer: Answer) -> float | None:
    """Return the share of the last hour's requests that succeeded; None where there was no traffic.

    The service tells of spans of ten minutes, the oldest first. Their shares are averaged, for how many requests there
    were in each is not told.
    """
    points = _part(answer.data, "points")
    rates = []
    try:
        last = datetime.fromisoformat(points[-1]["end"])
        for point in points:
            rate = point["successRate"]
            is_recent = last - datetime.fromisoformat(point["start"]) <= HOUR
            if is_recent and isinstance(rate, int | float) and 0 <= rate <= 100:
                rates.append(rate)
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    return sum(rates) / len(rates) / 100 if rates else None


def _part(value: Any, *names: str) -> Any:
    """Return what lies under names in nested objects; None where one of them isn't there."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


# Schemas -------------------------------------------------------------------------------------------------------------


def flat(published: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its branches merged: what any of them takes, and what all of them need.

    What only some branches need stays as ``anyOf`` of ``required``.
    """
    whole = {key: value for key, value in published.items() if key not in {"oneOf", "anyOf", "allOf", "not"}}
    branches = [branch for word in ("oneOf", "anyOf") for branch in published.get(word, ()) if isinstance(branch, dict)]
    for part in published.get("allOf", ()):
        whole["properties"] = {**whole.get("properties", {}), **part.get("properties", {})}
        whole["required"] = [*whole.get("required", ()), *part.get("required", ())]
    if branches:
        needs = [_needed(branch) for branch in branches]
        for branch in branches:
            shared = whole.get("properties", {})
            whole["properties"] = shared | {
                name: either(shared[name], inner) if name in shared else inner
                for name, inner in branch.get("properties", {}).items()
            }
        common = [name for name in needs[0] if all(name in names for names in needs)]
        whole["required"] = list(dict.fromkeys([*whole.get("required", ()), *common]))
        rest = [[name for name in names if name not in whole["required"]] for names in needs]
        if all(rest):
            whole["anyOf"] = [{"required": names} for names in rest]
    return _field(whole)


def _needed(branch: Mapping[str, Any]) -> list[str]:
    """Return what a branch needs, without what the same branch forbids."""
    refused = branch.get("not", {})
    forbidden = {name for part in (refused, *refused.get("anyOf", ())) for name in part.get("required", ())}
    return [name for name in branch.get("required", ()) if name not in forbidden]


def either(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that takes what one of two takes."""
    one, other = (
        {**{key: value for key, value in schema.items() if key != "const"}, "enum": [schema["const"]]}
        if "const" in schema
        else schema
        for schema in (one, other)
    )
    merged: dict[str, Any] = {}
    for key in {**one, **other}:
        left, right = one.get(key), other.get(key)
        if key == "default":
            merged[key] = right if left is None else left
        elif left is None or right is None:
            continue
        elif key == "properties":
            merged[key] = left | {
                name: either(left[name], inner) if name in left else inner for name, inner in right.items()
            }
        elif key == "required":
            merged[key] = [name for name in left if name in right]
        elif key == "enum":
            merged[key] = list(dict.fromkeys([*left, *right]))
        elif key == "items":
            merged[key] = either(left, right)
        elif key in LOWER | UPPER:
            merged[key] = min(left, right) if key in LOWER else max(left, right)
        elif left == right:
            merged[key] = left
    return merged


def _field(published: Mapping[str, Any]) -> dict[str, Any]:
    """Return one field in today's words, without prose and without what repeats itself or limits nothing."""
    words = {key: value for key, value in published.items() if key in WORDS}
    if published.get("nullable") and isinstance(words.get("type"), str):
        words["type"] = [words["type"], "null"]
    if "const" in words:
        words["enum"] = [words.pop("const")]
    open_lists = [choice["enum"] for choice in words.get("anyOf", ()) if "enum" in choice]
    if open_lists and {"type": "string"} in words["anyOf"]:  # any other text is taken, too
        del words["anyOf"]
        words = {"type": "string", **words, "examples": open_lists[0]}
    values = words.get("enum", ())
    if sorted(values, key=str) == [False, True]:
        del words["enum"]
    elif values and all(words.get("minimum", value) <= value <= words.get("maximum", value) for value in values):
        words.pop("minimum", None)
        words.pop("maximum", None)
    if "default" in words and words["default"] in (None, "", [], {}):
        del words["default"]
    if "items" in words:
        words["items"] = _field(words["items"])
    if "properties" in words:
        words["properties"] = {name.strip(): _field(inner) for name, inner in words["properties"].items()}
    if "required" in words:
        words["required"] = [name.strip() for name in words["required"]]
    return words


def _resolved(value: Any, document: Any, depth: int = 0) -> Any:
    """Return a schema with its references replaced by what they name; blanks in them may be percent-encoded."""
    if isinstance(value, list):
        return [_resolved(part, document, depth) for part in value]
    if not isinstance(value, dict):
        return value
    address = value.get("$ref")
    if isinstance(address, str) and address.startswith("#/"):
        if depth == DEEPEST:
            return {}
        names = [unquote(name).replace("~1", "/").replace("~0", "~") for name in address[2:].split("/")]
        return _resolved(_part(document, *names) or {}, document, depth + 1)
    return {name: _resolved(part, document, depth) for name, part in value.items()}


CATALOGUE = LiveCatalogue(
    gateway="kie",
    list=LiveRead(lambda _: "models", listed),
    schema=LiveRead(_address("schema"), schema),
    price=LiveRead(_address("price"), price),
    health=LiveRead(_address("success-rate"), health),
)
