"""Checks of a model's data: types and limits of its values, terms that name its fields, values that these can have."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kie_ai_mcp._models.checking import fault_of_schema, fits
from kie_ai_mcp._models.samples import choices
from kie_ai_mcp._models.terms import alternatives, group, parts_of, same, schema_at, terms_of
from kie_ai_mcp._models.wording import rule_line
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp.models import Model, Price, Rule

Fault = tuple[str, str]  # what is wrong, and its cure


def faults_of_data(model: Model) -> Iterator[Fault]:
    """Yield what makes a model's data unusable: with any of it, a price or a rule could be missed."""
    try:
        yield from _faults_of(model)
    except Exception as exc:  # noqa: BLE001  data by others may hold anything, and harm no other model
        yield f"its data can't be read: {type(exc).__name__}: {exc}", "Look at its schema, rules and price."


def _faults_of(model: Model) -> Iterator[Fault]:
    if wrong := judge(model, Model):
        yield wrong, "Correct it."
    elif fault := fault_of_schema(model.input):
        yield f"its schema is not valid (draft 2020-12): {fault}", "Correct it."
    else:
        for path in model.media:
            if (schema_at(model.input, path) or {}).get("type") != "string":
                yield f"its media path {path!r} is no field of text", "Write [] for each item of a list."
        for subject in (*model.rules, *([model.price] if model.price else ())):
            yield from _faults_of_terms(model, subject)


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
        yield f"{where} names {path!r}, which is no field", "Name a field of its schema, or a fact in brackets."
    lines = (subject,) if isinstance(subject, Rule) else (*subject.lines, *subject.plus)
    tests = [entry for line in lines for one in alternatives(line.when) for entry in one.items()]
    if isinstance(subject, Rule):
        tests += [(name, [*subject.values]) for fields in subject.fields for name in group(fields)]
    for term, value in ((term, value) for term, test in tests for value in tested(test)):
        if re.fullmatch(r"[^#?~( ]+", term) and not _can_be(schema_at(model.input, term) or {}, value):
            yield f"{where} tests {term} for {value!r}, which it can't be", "Name a value that its schema allows."


def _can_be(schema: Mapping[str, Any], value: Any) -> bool:
    named = choices(schema)
    return any(same(value, each) for each in named) if named else fits(schema, value)
