"""Every request of every tool is one that the service's official schemas accept.

Each tool of each installed provider is called with argument sets made from its own input schema; what it asks of
the service is held against the facts in ``shared/kie-api``, where a field the schema doesn't list is an error too.
The sets are seeded by the tool's name, so a failure comes back.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, product
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from kie_ai_mcp import InvalidArgument, Query, Submission
from kie_ai_mcp._config import Settings
from kie_ai_mcp._plugins import Plugins
from kie_ai_mcp._tools import BoundTool
from kie_ai_mcp.errors import shorten

Request = Submission | Query

SHARED = Path(__file__).parents[3] / "shared" / "kie-api"
SETS = 200
"""How many different argument sets a tool is called with, at least."""

STEPS = 400
"""How many of them are random steps away from sets that built a request."""

ENOUGH = 20
"""How many must build a request, so that a tool can't pass by refusing."""

SHOWN = 6
"""How many kinds of problem one message shows."""

NO_SCHEMA = {
    "dalle3": "never documented",
    "stable-diffusion": "never documented",
    "playground": "never documented",
    "pika": "never documented",
    "haiper": "never documented",
    "midjourney": "gone from the docs",
    "luma": "gone from the docs",
    "sora2": "gone from the docs",
}
"""Families without an official schema of today: their tools still have to build requests."""

MINIMAL_REFUSED = {
    "generate_runway_aleph_video": "today's Aleph changes a clip; the seed asked for a prompt alone",
    "generate_kling_omni_video": "it starts from pictures or a clip, so neither alone can be required",
}
"""Tools whose required arguments alone are refused, and why."""

SYNONYMS = {
    ("generate_kling_video", "mode"): "fast and turbo both mean today's turbo model, which is also the first choice",
}
"""Arguments of which several values ask for what leaving them out asks for, and why."""

needs_schemas = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the service's schemas are not at {SHARED}")


# Argument sets -------------------------------------------------------------------------------------------------------

MEDIA_FILES = {"image": "picture.png", "video": "clip.mp4", "audio": "sound.mp3"}
TEXT = "a quiet harbour at dawn, with gulls over red boats and a slow mist on the water; "


def web_file(name: str) -> str | None:
    """What an argument's address ends in, judged by its name alone; None for one that is no address."""
    return "hook" if "url" in name.lower() else None


@dataclass
class Draw:
    """Values for one tool's arguments, each inside the limits of the argument's schema."""

    tool: BoundTool
    random: Random

    def argument(self, name: str, *, plain: bool = False) -> Any:
        marker = self.tool.arguments.media.get(name)
        web = MEDIA_FILES[marker.kind] if marker else web_file(name)
        return self.value(self.tool.arguments.schema["properties"][name], web, plain)

    def required(self, *, plain: bool = True) -> dict[str, Any]:
        return {
            name: self.argument(name, plain=plain)
            for name in self.tool.arguments.schema["properties"]
            if name not in self.tool.arguments.defaults
        }

    def choices(self, name: str) -> list[Any]:
        """Every value of an argument that has few, else some."""
        schema = self.tool.arguments.schema["properties"][name]
        few: list[Any] = schema.get("enum") or ([False, True] if schema.get("type") == "boolean" else [])
        return few or [self.argument(name, plain=True), *(self.argument(name) for _ in range(2))]

    def some(self, names: Iterable[str]) -> list[str]:
        """None, one or two of the names."""
        names = list(names)
        return self.random.sample(names, min(len(names), self.random.choice((0, 1, 1, 2))))

    def value(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> Any:
        if "anyOf" in schema:
            branches = schema["anyOf"]
            return self.value(branches[0] if plain else self.random.choice(branches), web, plain)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0] if plain else self.random.choice(schema["enum"])
        draw = getattr(self, f"_{schema.get('type')}", None)
        if draw is None or "pattern" in schema:
            raise NotImplementedError(f"{self.tool.name}: teach Draw to fill {schema}")
        return draw(schema, web, plain)

    def _string(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> str:
        if web:
            return f"https://media.example.com/{self.random.randrange(10**6)}/{web}"
        least, most = schema.get("minLength", 1), schema.get("maxLength", 60)
        length = min(most, 12) if plain else self._between(least, most)
        start = 0 if plain else self.random.randrange(len(TEXT))
        return (TEXT * (2 + length // len(TEXT)))[start : start + max(least, length, 1)].strip().ljust(least, "s")

    def _integer(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> int:
        step = schema.get("multipleOf", 1)
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0 - step) + step)
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 16 + step) - step)
        first, last = -(-least // step), most // step
        return int(step * (first + (last - first) // 3 if plain else self._between(first, last)))

    def _number(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 20))
        step = schema.get("multipleOf", (most - least) / 16)
        steps = int((most - least) / step + 1e-9)
        inner = (1 if "exclusiveMinimum" in schema else 0, steps - 1 if "exclusiveMaximum" in schema else steps)
        return float(round(least + step * (steps // 3 if plain else self.random.randint(*inner)), 6))

    def _boolean(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> bool:
        return True if plain else self.random.random() < 0.5

    def _array(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", 8)
        count = max(least, 1) if plain else self._between(least, most)
        return [self.value(schema.get("items", {"type": "string"}), web, plain) for _ in range(count)]

    def _object(self, schema: Mapping[str, Any], web: str | None, plain: bool) -> dict[str, Any]:
        listed, required = schema.get("properties"), schema.get("required", ())
        if not listed:
            raise NotImplementedError(f"{self.tool.name}: {schema} says nothing of its fields")
        names = [name for name in listed if name in required or (not plain and self.random.random() < 0.5)]
        return {name: self.value(listed[name], web_file(name), plain) for name in names}

    def _between(self, least: int, most: int) -> int:
        """Mostly small, sometimes anything, and both ends often: limits are where mistakes are."""
        pick = self.random.random()
        if pick < 0.15:
            return most
        if pick < 0.45:
            return least
        return self.random.randint(least, most if pick < 0.65 else min(most, least + 15))


# Calls ---------------------------------------------------------------------------------------------------------------


@dataclass
class Calls:
    """What a tool made of its argument sets."""

    built: list[tuple[dict[str, Any], Request]] = field(default_factory=list)
    refused: list[tuple[dict[str, Any], InvalidArgument]] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def make(self, tool: BoundTool, given: dict[str, Any]) -> None:
        """Call a tool with one argument set, unless it was called so before."""
        if (key := json.dumps(given, sort_keys=True)) in self.seen:
            return
        self.seen.add(key)
        try:
            checked = tool.arguments.check(given)
        except InvalidArgument as exc:
            kind = f"its schema allows what its validation refuses: {exc}"
            self.broken.setdefault(kind, []).append(said(tool, given))
            return
        try:
            made = answer(tool, checked)
        except Exception as exc:  # noqa: BLE001  anything else a tool raises is what is looked for
            kind = f"raised {exc!r}; only InvalidArgument is an answer"
            self.broken.setdefault(kind, []).append(said(tool, given))
            return
        if isinstance(made, InvalidArgument):
            self.refused.append((checked, made))
        else:
            self.built.append((checked, made))


@cache
def calls_of(tool_name: str) -> Calls:
    """Call a tool with its required arguments, with all, with each optional value alone and beside each other one,
    and then with random steps away from sets that built a request, taken evenly from the models that were reached.
    """
    tool, calls = TOOLS[tool_name], Calls()
    draw = Draw(tool, Random(tool_name))
    optional = list(tool.arguments.defaults)
    minimal = draw.required()
    calls.make(tool, minimal)
    calls.make(tool, minimal | {name: draw.argument(name, plain=True) for name in optional})
    for name in optional:
        for value in draw.choices(name):
            calls.make(tool, minimal | {name: value})
    for one, other in combinations(optional, 2):
        for value, beside in product(draw.choices(one), draw.choices(other)):
            calls.make(tool, draw.required(plain=False) | {one: value, other: beside})
    for step in range(5 * STEPS):
        if step >= STEPS and len(calls.seen) >= SETS:
            break
        reached: dict[str, list[dict[str, Any]]] = {}
        for arguments, request in calls.built:
            reached.setdefault(str(sent(request).get("model")), []).append(arguments)
        start = draw.random.choice(reached[draw.random.choice(sorted(reached))]) if reached else minimal
        changed = {name: draw.argument(name) for name in draw.some(tool.arguments.schema["properties"])}
        left_out = draw.some(optional)
        calls.make(tool, {name: value for name, value in {**start, **changed}.items() if name not in left_out})
    return calls


def answer(tool: BoundTool, arguments: Mapping[str, Any]) -> Request | InvalidArgument:
    try:
        return tool.fn(**arguments)
    except InvalidArgument as exc:
        return exc


def same(one: Request | InvalidArgument, other: Request | InvalidArgument) -> bool:
    """Whether two answers ask the service for the same thing."""
    if isinstance(one, InvalidArgument) or isinstance(other, InvalidArgument):
        return False
    return (one.paths, sent(one)) == (other.paths, sent(other))


def sent(request: Request) -> Mapping[str, Any]:
    return request.body if isinstance(request, Submission) else request.params


def said(tool: BoundTool, arguments: Mapping[str, Any]) -> str:
    """A call as a message names it; long values are cut."""
    texts = {name: json.dumps(value) for name, value in arguments.items()}
    shown = ", ".join(f"{name}={text if len(text) <= 90 else text[:70] + '…'}" for name, text in texts.items())
    return f"{tool.name}({shown})"


def expect_none(tool: BoundTool, problems: Mapping[str, list[str]]) -> None:
    """Fail with the first kinds of problem, each with how often it came and one example."""
    if problems:
        shown = [f"{len(found)} x {kind}\n    e.g. {found[0]}" for kind, found in list(problems.items())[:SHOWN]]
        title = f"provider {tool.provider}, tool {tool.name}: {len(problems)} kind(s) of problem"
        pytest.fail("\n".join([title, *shown]), pytrace=False)


# The service's schemas ------------------------------------------------------------------------------------------------

formats = FormatChecker(formats=())


@formats.checks("uri")
def _is_address(value: object) -> bool:
    parts = urlsplit(value) if isinstance(value, str) else None
    return parts is None or bool(parts.scheme and parts.netloc)


@cache
def facts(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SHARED / name).read_text(encoding="utf-8"))
    return loaded


def strict(schema: Any, *, part: bool = False) -> Any:
    """A schema for which fields it doesn't list are errors, at every depth where it lists any.

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


@cache
def validator(file: str, key: str, section: str) -> Draft202012Validator:
    return Draft202012Validator(strict(facts(file)[key][section]), format_checker=formats)


def complaints(request: Request) -> Iterator[str]:
    """What the official schemas say against a request."""
    verb, address = ("POST" if isinstance(request, Submission) else "GET"), f"/api/v1/{request.paths[0]}"
    operation = facts("operations.json").get(f"{verb} {address}")
    if operation is None:
        yield f"{verb} {address} is not an operation of the service"
    elif isinstance(request, Query):
        schema = {
            "type": "object",
            "properties": {entry["name"]: entry["schema"] for entry in operation["params"]},
            "required": [entry["name"] for entry in operation["params"] if entry["required"]],
        }
        yield from errors_of(Draft202012Validator(strict(schema), format_checker=formats), request.params, "params")
    else:
        yield from errors_of(validator("operations.json", f"{verb} {address}", "body"), request.body, "body")
        if request.paths[0] == "jobs/createTask":
            yield from market_complaints(request.body)


def market_complaints(body: Mapping[str, Any]) -> Iterator[str]:
    model = body.get("model")
    if model not in facts("market-models.json"):
        yield f"model {model!r} is not a market model of the service"
        return
    yield from errors_of(validator("market-models.json", model, "input"), body.get("input", {}), f"input of {model}")


def errors_of(rules: Draft202012Validator, instance: Mapping[str, Any], where: str) -> Iterator[str]:
    # A round trip, because what counts is what is on the wire.
    for error in rules.iter_errors(json.loads(json.dumps(instance))):
        cause = best_match([error]) or error
        place = "".join(f"[{part!r}]" for part in cause.absolute_path)
        yield f"{where}{place}: {cause.message if len(cause.message) < 300 else cause.message[:300] + '…'}"


# Tests ---------------------------------------------------------------------------------------------------------------

PLUGINS = Plugins(Settings.model_validate({}))
TOOLS = PLUGINS.tools
every_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: f"{tool.provider}-{tool.name}")


def test_every_installed_provider_loads() -> None:
    assert {name: plugin.reason for name, plugin in PLUGINS.plugins.items() if plugin.state != "enabled"} == {}
    assert TOOLS


def test_families_without_a_schema_are_the_ones_that_say_so() -> None:
    current = {name: plugin.provider.availability == "current" for name, plugin in PLUGINS.plugins.items()}
    assert [name for name, is_current in current.items() if is_current == (name in NO_SCHEMA)] == []


@needs_schemas
@every_tool
def test_requests_are_accepted_by_the_official_schema(tool: BoundTool) -> None:
    problems: dict[str, list[str]] = {}
    for arguments, request in calls_of(tool.name).built:
        if tool.provider not in NO_SCHEMA and request.gateway == "kie":
            for complaint in complaints(request):
                problems.setdefault(complaint, []).append(said(tool, arguments))
    expect_none(tool, problems)


@every_tool
def test_arguments_build_a_request_or_are_refused_by_name(tool: BoundTool) -> None:
    calls = calls_of(tool.name)
    problems = dict(calls.broken)
    for arguments, refusal in calls.refused:
        if refusal.field.split("[")[0] not in tool.arguments.schema["properties"]:
            kind = f"the refusal names {refusal.field!r}, which is no argument of it"
            problems.setdefault(kind, []).append(said(tool, arguments))
    expect_none(tool, problems)
    assert len(calls.built) + len(calls.refused) >= SETS
    if len(calls.built) < ENOUGH:
        refusals: dict[str, list[str]] = {}
        for arguments, refusal in calls.refused:
            refusals.setdefault(f"{refusal.field}: {refusal.allowed}", []).append(said(tool, arguments))
        expect_none(tool, {f"only {len(calls.built)} sets build a request": ["see the refusals"], **refusals})


@every_tool
def test_required_arguments_alone_build_a_request(tool: BoundTool) -> None:
    arguments = tool.arguments.check(Draw(tool, Random(tool.name)).required())
    made = answer(tool, arguments)
    if tool.name in MINIMAL_REFUSED:
        assert isinstance(made, InvalidArgument), f"{tool.name} builds a request now: take it off MINIMAL_REFUSED"
    else:
        expect_none(tool, {str(made): [said(tool, arguments)]} if isinstance(made, InvalidArgument) else {})


@every_tool
def test_description_names_every_argument_that_is_never_accepted(tool: BoundTool) -> None:
    accepted: dict[str, set[str]] = {}
    for arguments, _ in calls_of(tool.name).built:
        for name, value in arguments.items():
            accepted.setdefault(name, set()).add(json.dumps(value))
    tempting = {
        name: sorted({json.dumps(value) for value in schema.get("enum", ())} - accepted.get(name, set()))
        for name, schema in tool.arguments.schema["properties"].items()
        if name not in accepted or "enum" in schema
    }
    problems = {
        f"{name}: the schema offers what is never accepted, and the description doesn't name it": [
            ", ".join(values) or "any value"
        ]
        for name, values in tempting.items()
        if (name not in accepted or values) and name not in tool.description
    }
    expect_none(tool, problems)


@every_tool
def test_no_argument_is_dropped_in_silence(tool: BoundTool) -> None:
    draw, problems = Draw(tool, Random(tool.name)), dict[str, list[str]]()
    for arguments, request in calls_of(tool.name).built:
        for name in sorted(arguments.keys() & tool.arguments.defaults.keys()):
            if (tool.name, name) in SYNONYMS:
                continue
            rest = {key: value for key, value in arguments.items() if key != name}
            if not same(answer(tool, rest), request):
                continue
            # It says what leaving it out says. One value may, and "auto" besides, but not a second one.
            others = [
                value for _ in range(8) if (value := draw.argument(name)) not in (arguments[name], "auto", "Auto")
            ]
            silent = [value for value in others if same(answer(tool, rest | {name: value}), request)]
            if silent and arguments[name] not in ("auto", "Auto"):
                kind = (
                    f"{name} is dropped: {shorten(arguments[name])} and {shorten(silent[0])} ask for the same as none"
                )
                problems.setdefault(kind, []).append(said(tool, arguments))
    expect_none(tool, problems)


@every_tool
def test_requests_belong_to_the_provider_by_its_own_account(tool: BoundTool) -> None:
    problems: dict[str, list[str]] = {}
    for arguments, request in calls_of(tool.name).built:
        if not isinstance(request, Submission):
            continue
        owners = {f"api_type {request.api_type!r}": PLUGINS.owner_of_api_type(request.api_type)}
        if request.paths[0] == "jobs/createTask":
            owners[f"model {request.model!r}"] = PLUGINS.owner_of_model(request.model)
        for what, owner in owners.items():
            if owner is None or owner.name != tool.provider:
                kind = f"{what} belongs to {owner.name if owner else 'nobody'} by Provider.api_types and .models"
                problems.setdefault(kind, []).append(said(tool, arguments))
    expect_none(tool, problems)
