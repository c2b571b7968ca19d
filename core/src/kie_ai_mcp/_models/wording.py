"""Lines for people and models: the fields, rules and prices of one model."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any

from kie_ai_mcp._models.pricing import Estimate, estimate, of_1000_characters, rate_of
from kie_ai_mcp._models.samples import usual_input
from kie_ai_mcp._models.terms import alternatives, group, number_of, part_words, parts_of
from kie_ai_mcp._settings.amounts import plain, priced
from kie_ai_mcp.models import Condition, Model, Price, Rule

MOST = "Estimated credits are the most that it can cost."
RATE = "Price: "  # begins the note of a price that depends on what is not known yet
LISTED = 24  # so many values of a field stand in its line
_TYPES = {"string": "text", "integer": "int", "boolean": "true|false"}
_OF_GROUPS = {"not_both": "at most one of", "exactly_one": "exactly one of", "at_least_one": "at least one of"}


def field_lines(model: Model) -> list[str]:
    """Return one short line for each field: ``duration int 4..15=5``, ``image_urls [image] <=14``."""
    return list(_fields(model, model.input, ""))


def remarked_lines(model: Model) -> list[str]:
    """Return the same with the description of each field behind it, for what has short ones: tools."""
    remarks = (field.get("description") for field in model.input["properties"].values())
    pairs = zip(field_lines(model), remarks, strict=True)
    return [f"{line} ({remark})" if remark else line for line, remark in pairs]


def rule_line(rule: Rule) -> str:
    """Return a rule as people read it: ``resolution 4K only with aspect_ratio not 1:1``."""
    names = [" + ".join(group(fields)) for fields in rule.fields]
    listed, condition = ", ".join(names), condition_words(rule.when)
    match rule.kind:
        case "only_with":
            words = f"{listed}{f' {joined(rule.values)}' if rule.values else ''} only {condition}"
            condition = ""
        case "needs":
            words = f"needs {listed}"
        case "limit":
            words = f"{', '.join(map(term_words, names))} {bounds(rule)}"
        case "refers":
            words = f"{listed} must be one of {rule.to}"
        case "unique":
            words = f"{listed}: no value twice"
        case _:
            words = f"{_OF_GROUPS[rule.kind]} {', or '.join(names) if len(names) == 2 else listed}"
    each = f"in each of {rule.each}: " if rule.each else ""
    return f"{condition}{': ' if condition else ''}{each}{words}{', else ignored' if rule.soft else ''}"


def price_lines(model: Model, unit: str = "credits") -> list[str]:
    """Return a model's price as a table, one line a row; empty where it is unknown."""
    if (price := model.price) is None:
        return []
    rows = []
    for start, lines in (("", price.lines), ("plus ", price.plus)):
        for line in lines:
            condition = condition_words(line.when).removeprefix("with ")
            rows.append(f"{start}{condition}{': ' if condition else ''}{rate_of(line, unit)}")
    unset = dict(price.unset, **{name: value for line in price.lines for name, value in line.unset.items()})
    rows += [f"{name} left out counts as {written(value)}" for name, value in unset.items()]
    return [*rows, *offer(price)]


def price_notes(model: Model, price: Estimate) -> tuple[str, ...]:
    """Return what is to be said of a price besides its number, a sentence each."""
    rate = (f"{RATE}{price.rate}.",) if price.credits is None and price.rate else ()
    rate = (f"The price is not known: it has no line for {price.gap}.",) if price.gap else rate
    offers = (f"The price is {words}." for words in (offer(model.price) if model.price else ()))
    return (*((MOST,) if price.at_most else rate), *offers)


def offer(price: Price) -> Iterator[str]:
    """Yield what there is to say of a price that is an offer."""
    if price.until:
        over = date.fromisoformat(price.until) < datetime.now(UTC).date()
        yield f"an offer that ended {price.until}: it may cost more now" if over else f"an offer until {price.until}"


def usual_price(model: Model, unit: str = "credits", sent: Mapping[str, Any] | None = None) -> str:
    """Return the price of a request, by default a usual one, in a few characters: ``28 credits/s``."""
    if model.price is None:
        return "price unknown"
    usual = estimate(model, usual_input(model) if sent is None else sent, usual=True, unit=unit)
    if usual.credits is None:
        if spoken := of_1000_characters(model.price):
            return f"about {priced(float(f'{spoken:.2g}'), unit)}/1000 characters"
        return usual.rate or "price unknown"
    return f"{'at most ' if usual.at_most else ''}{priced(usual.credits, unit)}"


def described(model: Model, schema: Any, path: str) -> str:
    """Return what a field takes in a few characters (``int 4..15=5``); `path` is its path in the input."""
    schema = schema if isinstance(schema, Mapping) else {}  # it may be true or false
    values, default = schema.get("enum", [schema[key] for key in ("const",) if key in schema]), schema.get("default")
    end = "" if default is None or default == [] else f"={written(default, quoted=bool(values))}"
    if values:
        listed = spans(values, quoted=True)
        more = f"|… ({len(values)} values)" if len(listed) > LISTED else ""
        return f"{'|'.join(listed[:LISTED])}{more}{end}"
    kinds = schema.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    if "array" in kinds:
        words = f"[{described(model, schema.get('items', {}), f'{path}[]')}]"
    elif "properties" in schema:
        words = f"{{{'; '.join(_fields(model, schema, f'{path}.'))}}}"
    else:
        media = model.media.get(path)
        words = "|".join(media.kinds if media else (_TYPES.get(kind, kind) for kind in kinds))
    step = f" step {plain(schema['multipleOf'])}" if schema.get("multipleOf", 1) != 1 else ""
    return f"{words}{_span(schema)}{step}{end}"


def _fields(model: Model, schema: Mapping[str, Any], start: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        is_old = isinstance(field, Mapping) and field.get("deprecated")
        mark = " required" if name in schema.get("required", ()) else " deprecated" if is_old else ""
        yield f"{name} {described(model, field, f'{start}{name}')}{mark}"


def _span(schema: Mapping[str, Any]) -> str:
    low, high = (
        next((schema[key] for key in keys if key in schema), None)
        for keys in (("minimum", "minItems", "minLength"), ("maximum", "maxItems", "maxLength"))
    )
    low = low if low or "minimum" in schema else None
    if low is not None and high is not None:
        return f" {plain(low)}..{plain(high)}" if low != high else f" {plain(low)}"
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    limits = ((">", over), (">=", low), ("<", under), ("<=", high))
    return "".join(f" {sign}{plain(limit)}" for sign, limit in limits if limit is not None)


def bounds(rule: Rule) -> str:
    """Return what a rule of the kind ``limit`` allows."""
    if rule.min is not None and rule.min == rule.max:
        return f"exactly {plain(rule.min)}"
    limits = (("more than", rule.above), ("at least", rule.min), ("at most", rule.max), ("in steps of", rule.step))
    return " and ".join(f"{words} {plain(limit)}" for words, limit in limits if limit is not None)


def term_words(term: str) -> str:
    """Return a term as people read it."""
    return part_words(*parts_of(term))


def condition_words(condition: Condition | None) -> str:
    """Return a condition as people read it (``with aspect_ratio not 1:1``); "" where there is none."""
    return " or ".join(map(_tests, alternatives(condition)))


def _tests(tests: Mapping[str, Any]) -> str:
    sent = " and ".join(f"{term_words(term)}{_test(test)}" for term, test in tests.items() if test is not None)
    absent = ", ".join(term_words(term) for term, test in tests.items() if test is None)
    return " and ".join(words for words in (sent and f"with {sent}", absent and f"without {absent}") if words)


def _test(test: Any) -> str:
    if test == "*":
        return ""
    listed = test["not"] if isinstance(test, Mapping) else test if isinstance(test, list | tuple) else [test]
    words = joined((value for value in listed if value is not None), " or ")
    if isinstance(test, Mapping):
        return f"{' given and' if None in listed else ''} not {words}"
    return f" {words}{' or left out' if None in listed else ''}"


def joined(values: Iterable[Any], sign: str = "|") -> str:
    """Return values one behind the other."""
    return sign.join(spans(values))


def spans(values: Iterable[Any], *, quoted: bool = False) -> list[str]:
    """Return values in words, whole numbers that follow each other as one span."""
    runs: list[list[Any]] = []
    for value in values:
        if runs and type(value) is type(runs[-1][-1]) is int and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words = ([f"{run[0]}..{run[-1]}"] if run[2:] else [written(each, quoted=quoted) for each in run] for run in runs)
    return list(chain.from_iterable(words))


def written(value: Any, *, quoted: bool = False) -> str:
    """Return a value as a line shows it; with `quoted`, a text that could be taken for a number in quotes."""
    return value if isinstance(value, str) and not (quoted and number_of(value) is not None) else json.dumps(value)


def shown(value: Any) -> str:
    """Return a value as a message shows it: texts in single quotes, everything else as in JSON."""
    return repr(value) if isinstance(value, str) else json.dumps(value)
