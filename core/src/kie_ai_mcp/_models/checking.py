"""Checks of an input against its model before it is sent: every fault at once, each with what to do."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from kie_ai_mcp._models.rules import breaks_of, cure
from kie_ai_mcp._models.samples import choices, nearest_first
from kie_ai_mcp._models.terms import EMPTY, View, beside, number_of, schema_at
from kie_ai_mcp._models.wording import described, shown, spans
from kie_ai_mcp._providers.arguments import is_blank, wrong_addresses
from kie_ai_mcp._providers.tools import OPTION_NAMES
from kie_ai_mcp._providers.understanding import TIMES, seconds_in
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.errors import InvalidArgument, one_line, shorten
from kie_ai_mcp.models import Model
from kie_ai_mcp.specs import is_web_address, texts_at

DEEPEST = 50  # so many levels are looked at; no model takes more than five
LONGEST_BITS = 900  # of a number, so that sums of them stay within floats
_SIGN = re.compile(r"[^\W_]")  # a letter or digit, which nearly every text has
_REFERENCE = re.compile(r'"(\$(?:ref|dynamicRef|id))":')  # what may lead out of a schema, or round in it

_ADDRESS = re.compile(r"(^|_)urls?$|(?<=[a-z0-9])Urls?$")  # ends the names of fields that take addresses

_LOCAL = re.compile(r"\s*(~?[/\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:)")  # begins the path of a local file

_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_SIZES = {"minItems": "at least", "maxItems": "at most", "minLength": "at least", "maxLength": "at most"}
_OF_ADDRESSES = {"pattern", "format", "minLength", "maxLength"}
_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


@dataclass(frozen=True)
class Findings:
    """The result of a check: what forbids sending, what the service will ignore, and the input with rules' cures."""

    faults: tuple[InvalidArgument, ...] = ()
    notes: tuple[str, ...] = ()
    mended: Mapping[str, Any] = field(default_factory=dict, compare=False)


def check(model: Model, sent: Any, seconds: Mapping[str, float] = EMPTY) -> Findings:
    """Return everything that is wrong with an input, whatever it is.

    Args:
        model: The model.
        sent: The input, exactly as it was given; files may still be local paths.
        seconds: Measured seconds of media, by the text that names them. Others break no rule of seconds.
    """
    if not isinstance(sent, dict):
        return Findings((InvalidArgument("input", type(sent).__name__, "give an object of fields and values"),))
    faults = []
    odd = {_place([name]): name for name, value in sent.items() if not is_plain(value)}
    words = f"give plain JSON: finite numbers, nested at most {DEEPEST} times"
    faults += [InvalidArgument(place, "…", words, message=f"{place}: {words}.") for place in odd]
    usable = {name: value for name, value in sent.items() if name not in odd.values()}
    faults += [fault for fault in _faults_of_schema(model, usable) if fault.field not in odd]
    if odd:
        return Findings(tuple(faults))
    needed = model.input.get("required", ())
    # An empty address counts as left out where it may be.
    wrong = wrong_addresses(sent, model.media) if model.media else ()
    faults += [fault for fault in wrong if fault.value or fault.field.endswith("]") or fault.field in needed]
    faults += [
        InvalidArgument(place, holder[key], "it is no field of files; give an http:// or https:// address")
        for path in addresses_in(model.input) - model.media.keys()
        for place, holder, key in texts_at(path, sent)
        if _LOCAL.match(str(holder[key]))
    ]
    places = {fault.field for fault in faults}
    empty = {place: text for place, text in _empty(model.input, usable) if place not in places}
    faults += [InvalidArgument(place, text, "it can't be empty") for place, text in empty.items()]
    places |= empty.keys()
    notes, view = [], View(sent, model.input, seconds)
    mended = view
    for rule, found in ((each, found) for each in model.rules for found in breaks_of(model, each, view)):
        is_missing = found.value is None
        cured, after = cure(model, mended, rule, found)
        mended = mended if rule.soft else after  # cures that are told together must hold together
        what = "; ".join(filter(None, (found.says, cured)))
        if rule.soft and not is_missing:
            part = "some of " if rule.kind == "limit" else ""
            notes.append(f"The service ignores {part}{found.place}: {found.says}.")
        elif rule.soft:
            notes.append(f"{found.place}: {what}. The service takes the request without it.")
        elif not is_missing or found.place not in places:
            message = f"{found.place}: {what}." if is_missing else ""
            faults.append(InvalidArgument(found.place, found.value, what, message=message))
    return Findings(tuple(faults), tuple(notes), mended.input)


def addresses_in(schema: Mapping[str, Any], start: str = "") -> set[str]:
    """Return the paths of texts whose name says that they are addresses."""
    found: set[str] = set()
    for name, part in schema.get("properties", {}).items():
        path, field = f"{start}{name}", part if isinstance(part, dict) else {}
        while isinstance(field.get("items"), dict):
            path, field = f"{path}[]", field["items"]
        if _ADDRESS.search(name) and field.get("type") == "string":
            found.add(path)
        found |= addresses_in(field, f"{path}.")
    return found


def _empty(schema: Mapping[str, Any], sent: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield each required text that says nothing, where the schema alone would let it pass."""
    parts: Iterable[tuple[str | int, Any]] = sent.items() if isinstance(sent, dict) else enumerate(sent)
    for name, value in parts:
        part = schema.get("properties", {}).get(name, {}) if isinstance(sent, dict) else schema.get("items", {})
        part = part if isinstance(part, dict) else {}  # it may be true or false
        if isinstance(value, dict | list):
            yield from _empty(part, value, (*path, name))
        elif name not in schema.get("required", ()) or {"enum", "const"} & part.keys():
            continue
        elif isinstance(value, str) and not _SIGN.search(value) and is_blank(value):
            yield _place([*path, name]), value


def fault_of_schema(schema: Any) -> str:
    """Return why a schema is none of draft 2020-12, or has a pattern that can't be read; "" where all is well."""
    from jsonschema import Draft202012Validator, FormatChecker  # noqa: PLC0415  heavy

    own = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=FormatChecker(["regex"]))
    error = next(own.iter_errors(schema), None)
    if error is None:
        return ""
    keys = [str(key) for key in error.absolute_path]
    fields = [key for before, key in pairwise(["", *keys]) if before == "properties"]
    where = f"{'.'.join(fields)}: " if fields else ""
    if keys[-1:] == ["type"]:
        return f"{where}its type is {shorten(error.instance)}, not {', '.join(_TYPES)} or null"
    return f"{where}{error.message}"


def fits(schema: Any, value: Any) -> bool:
    """Return whether a schema allows a value."""
    return bool(_validator()(schema).is_valid(value))


def why_unusable(schema: Any) -> str:
    """Return why no input can be checked by the schema that a service publishes; "" where every one can."""
    if not is_plain(schema):
        return f"it is no plain JSON with numbers of usual size, nested at most {DEEPEST} times"
    if not isinstance(schema.get("properties"), dict):
        return "it names no fields (properties)"
    if found := _REFERENCE.search(json.dumps(schema)):
        return f"it refers to others ({found[1]})"
    return fault_of_schema(schema)


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator, ValidationError, validators  # noqa: PLC0415  heavy

    def multiple(_: Any, step: float, value: Any, _schema: Any) -> Iterator[Any]:
        number = None if isinstance(value, str) else number_of(value)
        if number is not None and number not in beside(number, step):
            yield ValidationError("")

    def form(_: Any, name: str, value: Any, _schema: Any) -> Iterator[Any]:
        if name == "uri" and isinstance(value, str) and value and not is_web_address(value):
            yield ValidationError("")

    own = {"multipleOf": multiple, "format": form}
    return validators.extend(Draft202012Validator, own)  # type: ignore[no-untyped-call]


def _faults_of_schema(model: Model, sent: Mapping[str, Any]) -> list[InvalidArgument]:
    """Return what the schema alone forbids, one fault for each field and limit."""
    faults: dict[tuple[str, str], InvalidArgument] = {}
    for error in _validator()(model.input).iter_errors(sent):
        kind, path = error.validator, error.absolute_path
        if kind in _OF_ADDRESSES and _place(path, "[]") in model.media:
            continue  # it may be a local file, which becomes another address
        if kind == "additionalProperties" and isinstance(error.instance, dict):
            found = _unknown(model, error)
        elif kind == "required":
            found = _missing(model, error)
        else:
            found = [InvalidArgument(_place(path), error.instance, _allowed(model, error))]
        faults |= {(fault.field, kind): fault for fault in found}
    # A value of another type is none of the choices either; the choices say more.
    chosen = {place for place, kind in faults if kind in {"enum", "const"}}
    return [fault for (place, kind), fault in faults.items() if kind != "type" or place not in chosen]


def _unknown(model: Model, error: Any) -> list[InvalidArgument]:
    names, faults = list(error.schema.get("properties", ())), []
    known = f"Known fields: {', '.join(names) or 'none'}."
    for name in error.instance.keys() - {*names}:
        place, value, near = _place([*error.absolute_path, name]), error.instance[name], nearest(name, names)
        what = f"{f'did you mean {near!r}?' if near else 'leave it out.'} {known}"
        if name in OPTION_NAMES and not error.absolute_path:
            what = f"give it beside input. {known}"
        message = f"{place}: {model.id} has no such field (given {shorten(value)}); {what}"
        faults.append(InvalidArgument(place, value, what, message=message))
    return faults


def _missing(model: Model, error: Any) -> list[InvalidArgument]:
    faults = []
    for name in error.validator_value:
        if name not in error.instance:
            place, path = (_place([*error.absolute_path, name], index) for index in (None, "[]"))
            what = f"give {described(model, schema_at(error.schema, name) or {}, path)}"
            message = f"{place}: this required field is missing; {what}."
            faults.append(InvalidArgument(place, None, what, message=message))
    return faults


def _allowed(model: Model, error: Any) -> str:
    """Return what a field takes, in the words for one kind of error."""
    kind, limit, value = error.validator, error.validator_value, error.instance
    if kind in {"enum", "const"}:
        values = choices(error.schema)
        near = nearest(value, values) if len(values) > 1 else None
        listing = spans(values) if all(type(each) is int for each in values) else map(shown, values)
        hint = "" if near is None else f"; the nearest is {shown(near)}"
        return f"use {'one of ' if len(values) > 1 else ''}{', '.join(listing)}{hint}"
    if kind in _SIZES:
        noun = "items" if isinstance(value, list) else "characters"
        return f"{_SIZES[kind]} {plain(limit)} {noun}, {len(value)} were given" if value else "it can't be empty"
    match kind:
        case "type":
            name = next((part for part in reversed(error.absolute_path) if isinstance(part, str)), "")
            return _of_type([limit] if isinstance(limit, str) else limit, value, is_time=bool(TIMES.search(name)))
        case "multipleOf":
            near = " or ".join(map(plain, beside(number_of(value), limit)))  # type: ignore[arg-type]
            return f"a multiple of {plain(limit)} ({near})"
        case "pattern":
            return f"write it as the pattern {limit}" if value.strip() else "it can't be empty"
        case "format":
            return "give a whole address that starts with http:// or https://"
        case "uniqueItems":
            return "no item may occur twice"
    if kind in _LIMITS:
        return f"{_LIMITS[kind]} {plain(limit)}"
    return f"give {described(model, error.schema, _place(error.absolute_path, '[]'))}"


def _of_type(kinds: Sequence[str], value: Any, *, is_time: bool = False) -> str:
    hint = ", or leave it out" if value is None else ""
    number = number_of(value)
    if isinstance(value, str):
        number = number_of(seconds_in(value)) if is_time and number is None else number
        if number is not None and {"integer", "number"} & {*kinds}:
            hint = f" ({plain(number)})"
        elif value.lower() in {"true", "false"} and "boolean" in kinds:
            hint = f" ({value.lower()})"
        elif "array" in kinds:
            hint = f" ({shorten([value])})"
    elif number is not None and "string" in kinds:
        hint = f" ('{plain(number)}')"
    unit = " of seconds" if is_time and {"integer", "number"} & {*kinds} else ""
    return f"give {' or '.join(_TYPES.get(kind, kind) for kind in kinds)}{unit}{hint}"


def nearest(value: Any, values: Sequence[Any]) -> Any:
    """Return the one of several values that is most like a wrong one; None where none is."""
    return next(iter(nearest_first(value, values)), None)


def _place(path: Any, index: str | None = None) -> str:
    """Return a path as text (``shots[0].prompt``); with `index`, that in place of each index (``shots[].prompt``)."""
    words = ((index or f"[{part}]") if isinstance(part, int) else f".{one_line(str(part), 80)}" for part in path)
    return "".join(words).removeprefix(".")


def is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether a value is JSON that every check can handle."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth < DEEPEST and all(is_plain(each, depth + 1) for each in inner)
    if isinstance(value, float):
        return abs(value) < 2.0**LONGEST_BITS
    return value is None or isinstance(value, str) or (isinstance(value, int) and value.bit_length() <= LONGEST_BITS)
