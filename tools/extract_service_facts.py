#!/usr/bin/env python3
"""Extraction of the facts that tests use: models, operations, prices of the service, schemas of the protocol.

::

    python tools/extract_service_facts.py service FOLDER tests/service
    python tools/extract_service_facts.py protocol FOLDER tests/protocol

The first folder holds ``market-models.json``, ``-rules``, ``-media`` and ``-prices`` beside it, ``operations.json`` and
``pricing.md``, the second one JSON schema for each revision of the protocol. Names, numbers and choices are kept;
titles, descriptions and notes are left out.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WIDTH = 120

KEYWORDS = frozenset(
    {
        "type",
        "enum",
        "const",
        "default",
        "format",
        "pattern",
        "required",
        "deprecated",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "properties",
        "additionalProperties",
    }
)
"""The words of a JSON schema that limit a value, or say what it is when it is left out."""

PROSE = frozenset({"description", "title", "$comment", "examples"})
"""The words of a JSON schema that limit nothing."""

NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""The words of a JSON schema whose keys are names, not words."""

LITERAL = frozenset({"enum", "const", "default", "required"})
"""The words of a JSON schema whose values are data, not schemas."""


def prune(schema: Any, keep: Callable[[str], bool]) -> Any:
    """Return a JSON schema with the words to keep, at every depth."""
    if isinstance(schema, list):
        return [prune(part, keep) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for word, value in schema.items():
        if not keep(word):
            continue
        if word in LITERAL:
            kept[word] = value
        elif word in NAMED:
            kept[word] = {name: prune(part, keep) for name, part in value.items()}
        else:
            kept[word] = prune(value, keep)
    return kept


def facts_of(schema: Any) -> Any:
    """Return what a schema of the service demands."""
    return prune(schema, KEYWORDS.__contains__)


def models(source: Path) -> dict[str, Any]:
    """Return each model's kind, task, date and input, by its id."""
    loaded: dict[str, Any] = json.loads((source / "market-models.json").read_text(encoding="utf-8"))
    return {
        name: {
            **{key: model[key] for key in ("kind", "task", "checked") if key in model},
            "input": facts_of(model["input"]),
        }
        for name, model in sorted(loaded.items())
    }


def of_models(source: Path, name: str) -> dict[str, Any]:
    """Return what is known of each model beside its schema, by its id: rules, media or prices."""
    loaded: dict[str, Any] = json.loads((source / f"market-{name}.json").read_text(encoding="utf-8"))
    return {model: facts for model, facts in sorted(loaded.items()) if model != "_about"}


def operations(source: Path) -> dict[str, Any]:
    """Return each operation's server, parameters and body, by its method and path."""
    loaded: dict[str, Any] = json.loads((source / "operations.json").read_text(encoding="utf-8"))
    kept: dict[str, Any] = {}
    for name, operation in sorted(loaded.items()):
        facts: dict[str, Any] = {"server": operation["server"]}
        if "content_type" in operation:
            facts["content_type"] = operation["content_type"]
        if operation["params"]:
            facts["params"] = [{**entry, "schema": facts_of(entry["schema"])} for entry in operation["params"]]
        if "body" in operation:
            facts["body"] = facts_of(operation["body"])
        kept[name] = facts
    return kept


def prices(source: Path) -> list[list[str]]:
    """Return the rows of the price list, in its order: model, setting, credits, source, date."""
    lines = (source / "pricing.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    return [[model, setting, credits, letter, date] for model, setting, credits, _usd, letter, date in rows[1:]]


def layout(value: Any, indent: str = "") -> str:
    """Return JSON with one line for whatever fits one, so that a changed field is one changed line."""
    line = json.dumps(value, ensure_ascii=False)
    is_flat = not isinstance(value, dict | list) or not any(
        isinstance(part, dict | list) for part in (value.values() if isinstance(value, dict) else value)
    )
    if is_flat or (indent and len(indent) + len(line) <= WIDTH):
        return line
    inner = indent + " "
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"{inner}{layout(part, inner)}" for part in value) + f"\n{indent}]"
    parts = (f"{inner}{json.dumps(name, ensure_ascii=False)}: {layout(part, inner)}" for name, part in value.items())
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def service(source: Path) -> dict[str, Any]:
    """Return the files of ``tests/service`` by name."""
    beside = {f"model_{name}.json": of_models(source, name) for name in ("rules", "media", "prices")}
    return {
        "models.json": models(source),
        **beside,
        "operations.json": operations(source),
        "prices.json": prices(source),
    }


def protocol(source: Path) -> dict[str, Any]:
    """Return the files of ``tests/protocol`` by name."""
    return {
        path.name: prune(json.loads(path.read_text(encoding="utf-8")), lambda word: word not in PROSE)
        for path in sorted(source.glob("*.json"))
    }


KINDS: Mapping[str, Callable[[Path], dict[str, Any]]] = {"service": service, "protocol": protocol}


def main() -> None:
    """Write the files of one kind."""
    parser = argparse.ArgumentParser(description="Extract the facts that tests use.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("source", type=Path, help="the folder to read")
    parser.add_argument("target", type=Path, help="the folder to write")
    given = parser.parse_args()
    for name, content in KINDS[given.kind](given.source).items():
        (given.target / name).write_text(layout(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
