"""Checks of a model's data: types and limits of its values, terms that name its fields, values that these can have."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from kie_ai_mcp._models.checking import check, fault_of_schema, fits
from kie_ai_mcp._models.pricing import estimate
from kie_ai_mcp._models.samples import choices, usual_input
from kie_ai_mcp._models.terms import alternatives, group, parts_of, same, schema_at, terms_of
from kie_ai_mcp._models.wording import rule_line, written
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp.errors import guess, shorten
from kie_ai_mcp.models import Model, Price, Rule

Fault = tuple[str, str]  # what is wrong, and its cure
KEYWORDS = frozenset(
    (
        "$anchor", "$comment", "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const",
        "contains", "contentEncoding", "contentMediaType", "default", "dependentRequired", "deprecated", "description",
        "else", "enum", "example", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "if", "items",
        "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
        "multipleOf", "not", "nullable", "oneOf", "pattern", "patternProperties", "prefixItems", "properties",
        "propertyNames", "readOnly", "required", "then", "title", "type", "uniqueItems", "writeOnly",
    )
)  # fmt: skip
TRIED = 200  # settings of one model whose price is looked at
ALIKE = 0.75  # how like a keyword a key is that was meant to be one; others are notes of the plugin's own


def faults_of_data(model: Model) -> Iterator[Fault]:
    """Yield what makes a model's data unusable: with any of it, a price or a rule could be missed."""
    try:
        yield from _faults_of(model)
    except Exception as exc:  # noqa: BLE001  data by others may hold anything, and harm no other model
        yield f"its data can't be read: {type(exc).__name__}: {exc}", "Look at its schema, rules and price."


def _faults_of(model: Model) -> Iterator[Fault]:
    if model.fault:
        yield model.fault, "Correct its entry; docs/plugins/models.md explains it."
    elif wrong := judge(model, Model):
        yield wrong, "Correct it."
    elif fault := fault_of_schema(model.input):
        yield f"its schema is not valid (draft 2020-12): {fault}", "Correct it there."
    else:
        yield from _faults_of_schema(model)
        for path in model.media:
            if (schema_at(model.input, path) or {}).get("type") != "string":
                likely = guess(path, _paths(model.input))
                yield f"its media path {path!r} is no field of text{likely}", "Write [] for each item of a list."
        for subject in (*model.rules, *([model.price] if model.price else ())):
            yield from _faults_of_terms(model, subject)


def _faults_of_schema(model: Model) -> Iterator[Fault]:
    """Yield what a schema may say, and nobody means: needed fields that there are not, and misspelt keywords."""
    for name in model.input.get("required", ()):
        if name not in model.input.get("properties", {}):
            likely = guess(name, model.input.get("properties", {}))
            yield f"it requires {name!r}, which is no field{likely}", "Name a field of its schema."
    for path, schema in {path: schema_at(model.input, path) or {} for path in _paths(model.input)}.items():
        if "default" in schema and not fits(schema, schema["default"]):
            likely = guess(schema["default"], choices(schema))
            what = f"its field {path} has the default {shorten(schema['default'])}, which it does not take{likely}"
            yield what, "Name a value that its schema allows: its price is that of the default."
        for key in schema.keys() - KEYWORDS:
            if likely := guess(key, KEYWORDS, ALIKE):
                yield f"its field {path} has {key!r}, which is no keyword of a schema{likely}", "Correct it."


def _paths(schema: Mapping[str, Any], start: str = "") -> Iterator[str]:
    """Yield the path of every field of a schema, and of every item of its lists."""
    for name, field in schema.get("properties", {}).items():
        path, part = f"{start}{name}", field
        yield path
        while isinstance(part, Mapping) and isinstance(part.get("items"), Mapping):
            path, part = f"{path}[]", part["items"]
            yield path
        if isinstance(part, Mapping):
            yield from _paths(part, f"{path}.")


def unpriced(model: Model) -> list[str]:
    """Return the settings that a model takes and for which its price has no line, in words (``size L``)."""
    when = [one for line in (model.price.lines if model.price else ()) for one in alternatives(line.when)]
    named = {
        term: choices(schema_at(model.input, term)) for term in dict.fromkeys(term for one in when for term in one)
    }
    named = {term: values for term, values in named.items() if values and "." not in term}
    settings = [dict(zip(named, each, strict=True)) for each in islice(product(*named.values()), TRIED)]
    start, gaps, others = usual_input(model), list[dict[str, Any]](), list[dict[str, Any]]()
    for setting in settings if named else ():
        value = {**start, **setting}
        if not check(model, value).faults:
            (gaps if estimate(model, value).gap else others).append(setting)
    # A value that no line is for, whatever the others are, says it for all of them.
    alone = {name: [value for value in values if not _occurs(name, value, others)] for name, values in named.items()}
    alone = {name: [value for value in values if _occurs(name, value, gaps)] for name, values in alone.items()}
    rest = [gap for gap in gaps if not any(_occurs(name, value, [gap]) for name in alone for value in alone[name])]
    words = [f"{name} {written(value)}" for name, values in alone.items() for value in values]
    return words + [", ".join(f"{name} {written(value)}" for name, value in gap.items()) for gap in rest]


def _occurs(name: str, value: Any, settings: Iterable[Mapping[str, Any]]) -> bool:
    return any(same(setting[name], value) for setting in settings)


def paths_of(subject: Rule | Price) -> Iterator[tuple[str, str]]:
    """Yield the sort and the path, from the whole input on, of every field that a rule or a price speaks of."""
    each = subject.each if isinstance(subject, Rule) else ""
    own = {term for fields in subject.fields for term in group(fields)} if isinstance(subject, Rule) and each else ()
    for term in terms_of(subject):
        for part in parts_of(term):
            if part.sort != "(":
                yield part.sort, f"{each}[].{part.path}" if term in own else part.path


def tested(test: Any) -> Iterator[Any]:
    """Yield the values that a test of a condition names."""
    named = test["not"] if isinstance(test, Mapping) else test
    yield from (each for each in (named if isinstance(named, list | tuple) else (named,)) if each not in {None, "*"})


def _faults_of_terms(model: Model, subject: Rule | Price) -> Iterator[Fault]:
    try:
        paths = {path for _, path in paths_of(subject)}
    except ValueError as exc:
        yield f"its {type(subject).__name__} can't be read: {exc}", "See kie_ai_mcp.models for terms."
        return
    where = f"its rule {rule_line(subject)!r}" if isinstance(subject, Rule) else "its price"
    for path in sorted(path for path in paths if schema_at(model.input, path) is None):
        likely = guess(path, _paths(model.input))
        yield f"{where} names {path!r}, which is no field{likely}", "Name a field of its schema, or a fact in brackets."
    lines = (subject,) if isinstance(subject, Rule) else (*subject.lines, *subject.plus)
    tests = [entry for line in lines for one in alternatives(line.when) for entry in one.items()]
    if isinstance(subject, Rule):
        tests += [(name, [*subject.values]) for fields in subject.fields for name in group(fields)]
    for term, value in ((term, value) for term, test in tests for value in tested(test)):
        schema = schema_at(model.input, term) or {}
        if re.fullmatch(r"[^#?~( ]+", term) and not _can_be(schema, value):
            likely = guess(value, choices(schema))
            yield (
                f"{where} tests {term} for {value!r}, which it can't be{likely}",
                "Name a value that its schema allows.",
            )


def _can_be(schema: Mapping[str, Any], value: Any) -> bool:
    named = choices(schema)
    return any(same(value, each) for each in named) if named else fits(schema, value)
