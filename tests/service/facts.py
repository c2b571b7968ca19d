"""Facts of the service that tests use: its models, their rules, files and prices, its operations and its price list.

The data files beside this module are corrected by hand; ``tools/market_models.py`` makes those of the plugins of them.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker

FOLDER = Path(__file__).parent

formats = FormatChecker(formats=())


@formats.checks("uri")
def _is_address(value: object) -> bool:
    parts = urlsplit(value) if isinstance(value, str) else None
    return parts is None or bool(parts.scheme and parts.netloc)


class Price(NamedTuple):
    """Credits of one request or unit, more than one where the setting names several, and the date of the source."""

    credits: tuple[float, ...]
    date: str


@cache
def models() -> dict[str, Any]:
    """Return each market model's kind, task and input schema, by its id."""
    loaded: dict[str, Any] = _load("models.json")
    return loaded


@cache
def of_models(name: str) -> dict[str, Any]:
    """Return what is known of each model beside its schema, by its id: ``rules``, ``media`` or ``prices``."""
    loaded: dict[str, Any] = _load(f"model_{name}.json")
    return loaded


@cache
def operations() -> dict[str, Any]:
    """Return each operation's server, parameters and body schema, by method and path."""
    loaded: dict[str, Any] = _load("operations.json")
    return loaded


@cache
def official(name: str) -> Draft202012Validator:
    """Return the validator of a model's input, or of the body of an operation such as ``POST /api/v1/veo/generate``."""
    return validator(schema_of(name))


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of a model's input, or of an operation's body."""
    schema: dict[str, Any] = models()[name]["input"] if name in models() else operations()[name]["body"]
    return schema


def validator(schema: Any) -> Draft202012Validator:
    """Return a validator that also refuses fields that the schema doesn't list."""
    return Draft202012Validator(strict(schema), format_checker=formats)


def strict(schema: Any, *, part: bool = False) -> Any:
    """Return the schema with fields that it doesn't list as errors, at every depth where it lists any.

    Args:
        schema: A JSON schema.
        part: Whether it is one alternative of a larger schema, whose fields the larger one closes.
    """
    if not isinstance(schema, dict):
        return schema
    closed = {key: value for key, value in schema.items() if key != "additionalProperties" or value is not True}
    if "properties" in closed:
        closed["properties"] = {name: strict(value) for name, value in closed["properties"].items()}
    if "items" in closed:
        closed["items"] = strict(closed["items"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in closed:
            closed[key] = [strict(branch, part=True) for branch in closed[key]]
    branches = (branch for key in ("anyOf", "oneOf", "allOf") for branch in closed.get(key, ()))
    if not part and any("properties" in listing for listing in (closed, *branches)):
        closed["unevaluatedProperties"] = False
    return closed


def price_rows() -> list[list[str]]:
    """Return the rows of the price list: model, setting, credits, source, date."""
    loaded: list[list[str]] = _load("prices.json")
    return loaded


def price_list(*starts: str) -> dict[tuple[str, str], Price]:
    """Return the current prices of models that start so, by the price list's words for model and setting."""
    # M and D are the two sources that copy the service's own list, N the page of one newer model.
    rows = [row for row in price_rows() if row[0].startswith(starts) and row[3] in {"M", "D", "N"}]
    return {
        (model, setting): Price(tuple(float(part) for part in credits.split(" / ")), date)
        for model, setting, credits, _source, date in rows
    }


def _load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))
