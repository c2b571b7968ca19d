"""Inputs of models that are known as data, and checks of such models. Part of `kie_ai_mcp.testing`."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from itertools import count, islice, product
from typing import Any

from jsonschema import Draft202012Validator

from kie_ai_mcp._models.checking import addresses_in, check
from kie_ai_mcp._models.pricing import estimate
from kie_ai_mcp._models.rules import LEFT_OUT, breaks_of
from kie_ai_mcp._models.samples import ADDRESS, TEXT, choices, usual, usual_input
from kie_ai_mcp._models.terms import View, alternatives, blank, same, schema_at
from kie_ai_mcp._models.validity import faults_of_data, paths_of, tested, unpriced
from kie_ai_mcp._models.wording import rule_line
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp._providers.guard import described, place_of
from kie_ai_mcp._providers.loader import place_of_hook
from kie_ai_mcp.errors import PluginError, guess
from kie_ai_mcp.models import LiveCatalogue, Model, Rule
from kie_ai_mcp.specs import KIE, Submission, field_of
from kie_ai_mcp.testing._checks import Breach, schemas_in
from kie_ai_mcp.testing._load import Loaded

STEPS = 3_000  # inputs that are tried for one rule
PRICED = 40  # settings of one model whose price is looked at
_CLIP = re.compile(r'"([^"]*-([\d.]+)s\.mp4)"')
_BRANCHES = {"$ref", "$defs", "oneOf", "anyOf", "allOf", "not", "if", "dependentRequired", "patternProperties"}


@dataclass(frozen=True)
class Sample:
    """One input of a model, and the seconds that the clips and sounds in it are to have, by address."""

    input: dict[str, Any]

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds, by the texts that name the files."""
        return {name: float(length) for name, length in _CLIP.findall(json.dumps(self.input))}


def smallest_input(model: Model) -> Sample:
    """Return the fields that a model's schema and rules ask for, each with its default or smallest usual value.

    Raises:
        AssertionError: No such input was found.
    """
    return _search(model, frozenset())


def breaking_input(model: Model, rule: Rule) -> Sample:
    """Return an input that its model's schema allows, and that breaks one rule and no other.

    Raises:
        AssertionError: No such input was found.
    """
    return _search(model, frozenset({model.rules.index(rule)}))


def _search(model: Model, wanted: frozenset[int]) -> Sample:
    """Return an input, by few changes, that breaks exactly the rules of these numbers."""
    start, order, bare = usual_input(model), count(), replace(model, rules=())
    heap, seen = [(0, next(order), 0, start)], {json.dumps(start, sort_keys=True)}
    moves = cache(lambda number: tuple(_moves(model, model.rules[number])))
    for _ in range(STEPS):
        if not heap:
            break
        _, _, depth, value = heappop(heap)
        wrong = _wrong(model, value, wanted)
        if not wrong and not check(bare, value).faults:
            return Sample(value)
        for changed in (each for number in {*wrong} or wanted for each in _changes(model, value, moves(number))):
            if (key := json.dumps(changed, sort_keys=True)) not in seen:
                seen.add(key)
                heappush(heap, (4 * len(_wrong(model, changed, wanted)) + depth, next(order), depth + 1, changed))
    rules = "; ".join(rule_line(model.rules[number]) for number in wanted)
    what = f"breaks this rule alone: {rules}" if wanted else "keeps its rules"
    raise AssertionError(f"{model.id}: no input was found that its schema allows and that {what}")


def _wrong(model: Model, value: dict[str, Any], wanted: frozenset[int]) -> list[int]:
    """Return the numbers of the rules that are not as they are wanted, one for each place."""
    view = View(value, model.input, Sample(value).seconds)
    broken = [number for number, rule in enumerate(model.rules) for _ in breaks_of(model, rule, view)]
    return [number for number in broken if number not in wanted] + [number for number in wanted if number not in broken]


def _changes(model: Model, value: dict[str, Any], moves: tuple[tuple[str, Any], ...]) -> Iterator[dict[str, Any]]:
    for path, candidate in moves:
        changed = deepcopy(value)
        if candidate is LEFT_OUT:
            changed.pop(path, None)
        else:
            _put(model, changed, path.split("."), "", candidate)
        yield changed


def _moves(model: Model, rule: Rule) -> Iterator[tuple[str, Any]]:
    """Yield fields that a rule speaks of, each with a value that it may have."""
    for path in dict.fromkeys(path for _, path in paths_of(rule)):
        if (top := field_of(path)) not in model.input.get("required", ()):
            yield top, LEFT_OUT
        for each in {path, path.rpartition("[]")[0]} - {""}:
            yield from ((each, candidate) for candidate in _candidates(model, rule, each))


def _candidates(model: Model, rule: Rule, path: str) -> Iterator[Any]:
    schema = schema_at(model.input, path) or {}
    limits = [limit for limit in (rule.min, rule.max, rule.above) if limit is not None]
    numbers = dict.fromkeys(limit + more for limit in limits for more in (0, 1, -1))
    conditions = (one for each in model.rules for one in alternatives(each.when) if path in one)
    named = [value for one in conditions for value in tested(one[path])]
    named += [value for each in model.rules if path in each.fields for value in each.values]
    values: list[Any] = [*named, *choices(schema)[:3], usual(model, path)]
    match schema.get("type"):
        case "integer" | "number":
            least = schema.get("minimum", 0)
            values += [*numbers, least, schema.get("maximum"), least + 1.5 * (rule.step or 1)]
        case "string":
            values += [f"{values[-1][:-1]}{chr(ord(values[-1][-1]) + 1)}"]
            values += [(TEXT * (1 + int(number) // len(TEXT)))[: int(number)] for number in numbers if 0 < number < 1e5]
            if ("~", path) in paths_of(rule):
                values += [ADDRESS.format(f"clip-{number:g}s.mp4") for number in numbers if number > 0]
        case "array":
            sizes = {1, schema.get("minItems", 1), schema.get("maxItems", 8), *map(int, numbers)}
            item = values[-1][0]
            sizes = {size for size in sizes if 0 < size <= schema.get("maxItems", 50)}
            values += [[_other(schema["items"], item, number) for number in range(size)] for size in sorted(sizes)]
            if ("~", path) in paths_of(rule):
                values += [[ADDRESS.format(f"clip-{number:g}s.mp4")] for number in numbers if number > 0]
    # A whole number may come as a float from a limit.
    whole = (int(value) if isinstance(value, float) and value == int(value) else value for value in values)
    yield from (value for value in whole if not blank(value) and Draft202012Validator(schema).is_valid(value))


def _other(schema: Any, value: Any, number: int) -> Any:
    """Return a value like one of a list, but with texts of its own."""
    if isinstance(value, dict):
        return {name: _other(schema["properties"][name], part, number) for name, part in value.items()}
    is_free = isinstance(value, str) and "://" not in value and not {"enum", "pattern"} & schema.keys()
    return f"{number}{value}"[: schema.get("maxLength", 99)] if is_free and number else value


def _put(model: Model, holder: dict[str, Any], names: list[str], start: str, value: Any) -> None:
    """Set what lies at a path of an input, in every item of its lists; what is missing on the way is added."""
    name, *rest = names
    bare, path = name.removesuffix("[]"), f"{start}{name}"
    if bare != name:
        items = holder[bare] = holder.get(bare) or [deepcopy(usual(model, path))]
        holder[bare] = items if rest else [value] * len(items)
        for item in items if rest else ():
            _put(model, item, rest, f"{path}.", value)
    elif rest:
        _put(model, holder.setdefault(bare, deepcopy(usual(model, path))), rest, f"{path}.", value)
    else:
        holder[bare] = value


def models_can_be_used(loaded: Loaded) -> Iterator[Breach]:
    """Every model has a schema, rules, files and prices that belong together, and inputs that build a request."""
    try:
        models = loaded.models
    except Exception as exc:  # noqa: BLE001  whatever it is, there would be no models
        cure = "Correct the data file; docs/plugins/models.md explains it."
        cure = cure if isinstance(exc, PluginError) else "Correct it there."
        place = place_of(exc) or place_of_hook(loaded.plugins.hook("kie_register_models", loaded.name))
        yield Breach("kie_register_models", f"it raised {described(exc)}{place}", cure)
        return
    ids = set[str]()
    for model in models:
        if not isinstance(model, Model):
            if wrong := judge(model, Model, LiveCatalogue):
                yield Breach("kie_register_models", f"it returned {wrong}", "Return models and one LiveCatalogue.")
            continue
        if model.gateway not in {KIE, *loaded.plugins.gateways}:
            services = [KIE, *loaded.plugins.gateways]
            what = f"its gateway {model.gateway!r} is not registered{guess(model.gateway, services)}"
            cure = "Return it from kie_register_gateways."
            yield Breach(f"model {model.id}", what, cure)
        if model.id in ids:
            yield Breach(f"model {model.id}", "it is registered twice", "Return every model once.")
        ids.add(model.id)
        for what, cure in [*_faults_of_form(model)] or _faults_in_use(model):
            yield Breach(f"model {model.id}", f"{what}{f' ({model.source})' if model.source else ''}", cure)


def _faults_of_form(model: Model) -> Iterator[tuple[str, str]]:
    faults = [*faults_of_data(model)]
    yield from faults
    for place, schema in schemas_in(model.input, "input") if not faults else ():
        if "properties" in schema and schema.get("additionalProperties") is not False:
            yield f"{place} takes unknown fields", "Close it, as read_models does: a misspelt field would be bought."
        if branches := _BRANCHES & schema.keys():
            yield f"{place} branches ({', '.join(branches)})", "Name every field once, and say the rest in rules."


def _faults_in_use(model: Model) -> Iterator[tuple[str, str]]:
    try:
        smallest = smallest_input(model)
    except AssertionError as exc:
        yield str(exc), "Correct the rules, or give examples in the schema of a field with a pattern."
        return
    for rule in model.rules:
        try:
            sample = breaking_input(model, rule)
        except AssertionError as exc:
            yield str(exc), "Leave out a rule that can't be broken, or that another one says."
        else:
            findings = check(model, sample.input, sample.seconds)
            if (bool(findings.faults), bool(findings.notes)) != (not rule.soft, rule.soft):
                yield f"{rule_line(rule)} is not found broken in {sample.input}", "Correct the rule."
    prices = [estimate(model, value) for value in _settings_of(model, smallest.input)]
    if model.price and all(price.credits is None and not price.rate for price in prices):
        yield f"no line of its price holds for {json.dumps(smallest.input)}", "Add one, or say what counts as unset."
    if gaps := unpriced(model):
        what = f"{model.id}: its price has no line for {'; nor for '.join(gaps)}, so that it is not known there."
        warnings.warn(f"{what} Add a line, or a rule where the service does not take it.", stacklevel=2)
    for path in sorted(addresses_in(model.input) - model.media.keys()):
        if not re.search("(?i)call_?back|hook", path):
            what = f"{model.id}: its field {path} is an address, and no file: local paths are refused there."
            warnings.warn(f"{what} Name it under media where it is a picture, a clip or a sound.", stacklevel=2)
    for rule in (rule for rule in model.rules if rule.kind != "needs"):  # which asks for less then
        if term := _left_to_default(model, rule):
            what = f"{model.id}: its rule {rule_line(rule)!r} does not hold where {term} is left out,"
            cure = "Name null beside it (null among the values) where it is to hold then, too."
            warnings.warn(f"{what} though the schema's default is what it names. {cure}", stacklevel=2)
    body = {"model": model.id, "input": smallest.input} if model.wrapped else smallest.input
    request = Submission(model.path, body, model.api_type or model.id, model=model.id, gateway=model.gateway)
    if wrong := judge(request, Submission):
        yield f"its request can't be sent: {wrong}", "Correct its path or its id."


def _left_to_default(model: Model, rule: Rule) -> str:
    """Return the field of which a condition names the default, but not that it may be left out; "" where none is."""
    for term, test in ((term, test) for one in alternatives(rule.when) for term, test in one.items()):
        default = (schema_at(model.input, term) or {}).get("default")
        values = test if isinstance(test, list | tuple) else (test,)
        is_named = not isinstance(test, Mapping) and any(same(default, value) for value in values)
        if default is not None and is_named and None not in values:
            return term
    return ""


def _settings_of(model: Model, smallest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield valid inputs with the values of the fields on which the price depends."""
    paths = {path for _, path in paths_of(model.price)} if model.price else set()
    named = {path: choices(schema_at(model.input, path)) for path in sorted(paths) if "." not in path}
    named = {path: values for path, values in named.items() if values}
    settings = ({**smallest, **dict(zip(named, each, strict=True))} for each in product(*named.values()))
    yield from (value for value in islice(settings, PRICED) if not check(model, value).faults)
