"""Checks of a model's data: types and limits of its values, terms that name its fields, values that these can have."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice, product
from typing import Any

from kie_ai_mcp._models.checking import check, fault_of_schema, fits
from kie_ai_mcp._models.pricing import estimate, is_length
from kie_ai_mcp._models.samples import choices, usual_input
from kie_ai_mcp._models.terms import alternatives, group, number_of, parts_of, same, schema_at, terms_of
from kie_ai_mcp._models.wording import rule_line, written
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp.errors import guess, shorten
from kie_ai_mcp.models import Condition, Model, Price, PriceLine, Rule

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
LOOKS_AT = {"limit": ("min", "max", "above", "step"), "only_with": ("values",), "refers": ("to",)}  # of rules, by kind
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
        for number, rule in enumerate(model.rules):
            yield from ((f"its rules[{number}] ({rule.kind}) {what}", cure) for what, cure in _faults_of_rule(rule))
        if model.price and not model.price.lines:
            yield "its price has no lines", "Add one, or leave price out where nobody knows it."
        for part in ("lines", "plus") if model.price else ():
            for number, line in enumerate(getattr(model.price, part)):
                if not line.per and (idle := _set_in(line, ("each", "after"))):
                    cure = "Add per, the term that is counted, or leave it out."
                    yield f"its price.{part}[{number}] has {idle} without per, so it counts nothing", cure
        for subject in (*model.rules, *([model.price] if model.price else ())):
            yield from _faults_of_terms(model, subject)


def _faults_of_rule(rule: Rule) -> Iterator[Fault]:
    """Yield why a rule says nothing: it lacks what its kind needs, or has what its kind does not look at."""
    if not rule.fields:
        yield "names no fields", "Name those that it speaks of."
    if rule.kind == "not_both" and len(rule.fields) == 1:
        yield "names one field or group alone", "Name at least two, of which one may be sent."
    bounds = _set_in(rule, LOOKS_AT["limit"])
    if rule.kind == "limit" and not bounds:
        yield "has no bound, so no value breaks it", "Add min, max, above or step."
    least, most = number_of(rule.min), number_of(rule.max)
    over = number_of(rule.above)
    if most is not None and ((least is not None and least > most) or (over is not None and over >= most)):
        yield "allows no value at all", "Write a max that is more than min and above."
    if rule.kind == "only_with" and not all(alternatives(rule.when) or [{}]):
        yield "has no when, so nothing breaks it", "Add when, the condition under which its fields may be sent."
    if rule.kind == "refers" and not rule.to:
        yield "has no to, so nobody knows what it refers to", "Add to, the field whose values it may name."
    for kind, names in LOOKS_AT.items():
        if kind != rule.kind and (idle := _set_in(rule, names)):
            yield f"has {idle}, which only a rule of the kind {kind} looks at", "Leave it out, or write another kind."


def _set_in(value: Rule | PriceLine, names: Iterable[str]) -> str:
    """Return which of these fields have another value than they have when they are left out, in words."""
    defaults = {each.name: each.default for each in fields(value)}
    return " and ".join(name for name in names if getattr(value, name) != defaults[name])


def _faults_of_schema(model: Model) -> Iterator[Fault]:
    """Yield what a schema may say, and nobody means: needed fields that there are not, and misspelt keywords."""
    for name in model.input.get("required", ()):
        if name not in model.input.get("properties", {}):
            likely = guess(name, model.input.get("properties", {}))
            yield f"it requires {name!r}, which is no field{likely}", "Name a field of its schema."
    for path, schema in {path: schema_at(model.input, path) or {} for path in _paths(model.input)}.items():
        if schema.get("default") is not None and not fits(schema, schema["default"]):
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
    if isinstance(subject, Price):
        yield from _faults_of_counts(model, subject)
        yield from _faults_of_lines(subject)
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


def _faults_of_counts(model: Model, price: Price) -> Iterator[Fault]:
    """Yield each part of a factor that can't be counted, by which the price could never be known."""
    counted = (part for line in (*price.lines, *price.plus) if line.per for part in parts_of(line.per))
    for part in dict.fromkeys(part for part in counted if part.sort != "("):
        schema, media = schema_at(model.input, part.path), model.media.get(part.path, model.media.get(f"{part.path}[]"))
        if schema is None:
            continue
        types = schema.get("type", [])
        types = {types} if isinstance(types, str) else {*types}
        samples = [number_of(value) for value in [*choices(schema), schema.get("default", 1)]]
        if not part.sort and (
            types <= {"array", "object", "boolean"} or None in samples or _is_free(part.path, schema)
        ):
            yield f"its price counts {part.path}, which is no number", f"Write #{part.path} for its length."
        elif part.sort == "#" and types.isdisjoint({"string", "array"}):
            yield f"its price counts the length of {part.path}, which has none", f"Write {part.path} for the number."
        elif part.sort == "~" and (media is None or {"video", "audio"}.isdisjoint(media.kinds)):
            cure = f"Name {part.path} under media, as a video or a sound."
            yield f"its price counts the seconds of {part.path}, which is no clip and no sound", cure


def _is_free(path: str, schema: Mapping[str, Any]) -> bool:
    """Return whether a field is a text that people write, and no length in seconds."""
    return schema.get("type") == "string" and not choices(schema) and "default" not in schema and not is_length(path)


def _faults_of_lines(price: Price) -> Iterator[Fault]:
    """Yield each line of a price that is never reached, since one before it always holds with it."""
    for number, line in enumerate(price.lines):
        before = (place for place, other in enumerate(price.lines[:number]) if _covers(other.when, line.when))
        for place in islice(before, 1):
            what = (
                f"its price.lines[{number}] is never reached: where it holds, price.lines[{place}] does, and is first"
            )
            yield what, "Write the line that holds in fewer cases first."


def _covers(wide: Condition | None, narrow: Condition | None) -> bool:
    """Return whether the one condition holds wherever the other does, as far as their terms say."""
    ways = [{}] if narrow is None else alternatives(narrow)
    return wide is None or all(any(_follows(one, other) for other in alternatives(wide)) for one in ways)


def _follows(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether each test of the other follows from one of the same term, or is the same."""
    return all(term in one and (one[term] == test or _named(one[term]) <= _named(test)) for term, test in other.items())


def _named(test: Any) -> set[str]:
    """Return the values that a test names, as texts; of a test that names none, one that no other has."""
    is_open = isinstance(test, Mapping) or test == "*"
    return {repr(test)} if is_open else {str(each) for each in (test if isinstance(test, list | tuple) else (test,))}


def _can_be(schema: Mapping[str, Any], value: Any) -> bool:
    named = choices(schema)
    return any(same(value, each) for each in named) if named else fits(schema, value)
