"""Terms and conditions of rules and prices over one input; `kie_ai_mcp.models` explains what they mean."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, isfinite
from typing import Any

from kie_ai_mcp.models import Condition, Group, Price, Rule

EMPTY: Mapping[str, Any] = {}
_PART = re.compile(r"\s*([+-])?\s*(?:(\d+)\s+)?(?:\(([^)]+)\)|([#?~]?)([^\s()#?~+-][^\s()#?~]*))\s*")
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)


@dataclass(frozen=True)
class Part:
    """One part of a term: its weight, its sort (``#``, ``?``, ``~``, ``(`` for a fact, or "") and its path or fact."""

    weight: int
    sort: str
    path: str


@lru_cache(maxsize=4096)
def parts_of(term: str) -> tuple[Part, ...]:
    """Return the parts whose sum a term is; raise ValueError where it is none."""
    parts: list[Part] = []
    end = 0
    while end < len(term) or not parts:
        match = _PART.match(term, end)
        if not match or bool(match[1]) == (not parts):
            raise ValueError(f"{term!r} is no term")
        sort, path = ("(", match[3]) if match[3] else (match[4], match[5])
        parts.append(Part(int(f"{match[1] or ''}{match[2] or 1}"), sort, path))
        end = match.end()
    return tuple(parts)


def group(fields: Group) -> tuple[str, ...]:
    """Return the fields of a group, which may be one field."""
    return (fields,) if isinstance(fields, str) else fields


def alternatives(condition: Condition | None) -> tuple[Mapping[str, Any], ...]:
    """Return the mappings of which one must hold; none for a condition that always holds."""
    return (condition,) if isinstance(condition, Mapping) else tuple(condition or ())


def terms_of(subject: Rule | Price) -> Iterator[str]:
    """Yield every term of a rule or a price, as it stands there."""
    if isinstance(subject, Rule):
        yield from (name for fields in (*subject.fields, subject.to) for name in group(fields) if name)
    for line in (subject,) if isinstance(subject, Rule) else (*subject.lines, *subject.plus):
        yield from (term for one in alternatives(line.when) for term in one)
        if not isinstance(line, Rule):
            yield from filter(None, (line.per, *line.unset))


def schema_at(schema: Any, path: str) -> Any:
    """Return the schema of what lies at a path of an input; None where its schema has no such field."""
    keys = (key for name in path.split(".") for key in ("properties", name.rstrip("[]"), *["items"] * name.count("[]")))
    for key in keys:
        schema = schema.get(key) if isinstance(schema, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def number_of(value: Any) -> Fraction | None:
    """Return the exact number that a value is, or that a text holds; a bool is none."""
    if isinstance(value, str):
        return Fraction(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, float):
        return Fraction(repr(value)) if isfinite(value) else None
    return Fraction(value) if isinstance(value, int | Fraction) and not isinstance(value, bool) else None


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same for a test; 6 and "6" are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    number = number_of(one)
    return one == other if number is None else number == number_of(other)


@dataclass(frozen=True)
class View:
    """One input, or one item of a list in it, as a rule or a price sees it.

    Args:
        input: The input.
        schema: Its schema.
        seconds: Measured seconds of media, by the text that names them.
        filled: Whether fields that are left out take the schema's defaults, and are unknown where there is none.
        unset: What counts for a field that is left out and has no default.
        prefix: The place of the item.
    """

    input: Any
    schema: Any
    seconds: Mapping[str, float] = field(default_factory=dict)
    filled: bool = False
    unset: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""

    def at(self, path: str, *, filled: bool | None = None) -> list[tuple[str, Any]]:
        """Return what was sent at a path, each value with its place (``shots[0].prompt``)."""
        found = [(self.prefix, self.input, self.schema)]
        for name in path.split("."):
            bare, inner = name.rstrip("[]"), []
            for place, value, schema in found:
                part, declared = value.get(bare) if isinstance(value, dict) else None, schema_at(schema, bare) or EMPTY
                part = declared.get("default") if (self.filled if filled is None else filled) and blank(part) else part
                inner.append((f"{place}.{bare}".removeprefix("."), part, declared))
            for _ in range(name.count("[]")):
                inner = [
                    (f"{place}[{number}]", item, declared.get("items"))
                    for place, value, declared in inner
                    for number, item in enumerate(value if isinstance(value, list) else ())
                ]
            found = inner
        values = [(place, value) for place, value, _ in found if not blank(value)]
        return [(path, self.unset[path])] if path in self.unset and not values else values

    def items(self, path: str) -> "Iterator[View]":
        """Yield a view of each item of a list, or this one where no list is named."""
        schema = schema_at(self.schema, f"{path}[]")
        for place, item in self.at(f"{path}[]") if path else ():
            yield replace(self, input=item, schema=schema, prefix=place)
        yield from () if path else (self,)

    def part(self, part: Part) -> Fraction | None:
        """Return the number that one part of a term is, without its weight; None where it is not known."""
        if part.sort == "(":
            return None
        values = [value for _, value in self.at(part.path, filled=self.filled or not part.sort)]
        if part.sort == "?":
            return Fraction(bool(values))
        if part.sort == "#":
            return _sum(Fraction(len(value)) if isinstance(value, str | list) else None for value in values)
        if part.sort == "~":
            return _sum(number_of(self.seconds.get(text)) for text in texts_in(values))
        return _sum(map(number_of, values or [None]))

    def number(self, term: str) -> Fraction | None:
        """Return the number that a term is; None where a part of it is not known."""
        numbers = ((part.weight, self.part(part)) for part in parts_of(term))
        return _sum(None if number is None else weight * number for weight, number in numbers)

    def holds(self, condition: Condition | None) -> bool | None:
        """Return whether a condition holds; None where that is not known."""
        results = [[self.passes(*entry) for entry in one.items()] for one in alternatives(condition)]
        every = [False if False in each else None if None in each else True for each in results]
        return True if condition is None or True in every else None if None in every else False

    def passes(self, term: str, test: Any) -> bool | None:
        """Return whether what a term means passes a test; None where that is not known."""
        (first, *more) = parts_of(term)
        if more or first.sort or first.weight != 1:
            number = self.number(term)
            return None if number is None else _fits(number, test)
        values = self.at(first.path)
        if not values and self.filled and test != "*" and not _names_none(test):
            return None
        return all(_fits(value, test) for _, value in values) if values else _fits(None, test)


def blank(value: Any) -> bool:
    """Return whether a value counts as left out."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def texts_in(values: Iterable[Any]) -> Iterator[str]:
    """Yield the texts among values and in lists among them."""
    for value in values:
        yield from texts_in(value) if isinstance(value, list) else (value,) if isinstance(value, str) else ()


def free_texts(value: Any, schema: Any) -> Iterator[str]:
    """Yield the texts in an input that its schema lets anyone write: no choices, no names of a set form."""
    schema = schema if isinstance(schema, Mapping) else EMPTY
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from free_texts(each, schema.get("properties", EMPTY).get(name))
    elif isinstance(value, list):
        for each in value:
            yield from free_texts(each, schema.get("items"))
    elif isinstance(value, str) and not {"enum", "const", "pattern"} & schema.keys():
        yield value


def _fits(value: Any, test: Any) -> bool:
    if test == "*":
        return value is not None
    if isinstance(test, Mapping):
        return not _fits(value, test["not"])
    return any(same(value, each) for each in (test if isinstance(test, list | tuple) else (test,)))


def _names_none(test: Any) -> bool:
    """Return whether a test says what holds for a field that is left out."""
    test = test["not"] if isinstance(test, Mapping) else test
    return test is None or (isinstance(test, list | tuple) and None in test)


def _sum(numbers: Iterable[Fraction | None]) -> Fraction | None:
    numbers = list(numbers)
    return None if None in numbers else sum(filter(None, numbers), Fraction(0))


def beside(number: Fraction, step: float) -> tuple[Fraction, ...]:
    """Return the number itself where it is a multiple of a step, as near as floats get; else the two next to it."""
    each = number_of(step) or Fraction(1)
    steps = number / each
    return (number,) if abs(steps - round(steps)) < 1e-6 else (floor(steps) * each, ceil(steps) * each)


def part_words(*parts: Part) -> str:
    """Return a sum of parts as people read it."""
    words = ""
    for part in parts:
        sign = " - " if part.weight < 0 else " + " if words else ""
        weight = f"{abs(part.weight)} x " if abs(part.weight) != 1 else ""
        words += (
            f"{sign}{weight}{ {'#': 'length of ', '~': 'seconds of ', '?': '1 for '}.get(part.sort, '') }{part.path}"
        )
    return words
