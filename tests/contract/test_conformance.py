"""Conformance: the service's official schemas accept every request of every tool.

Each tool of each installed provider is called with the argument sets of `kie_ai_mcp.testing`; what it asks of the
service is held against the facts in ``tests/service``, where a field the schema doesn't list is an error too.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from kie_ai_mcp import InvalidArgument, Model, Query, Submission, testing
from kie_ai_mcp._models.checking import check
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import shorten
from kie_ai_mcp.testing._calls import Request, answer, call_text, content_of, same
from kie_ai_mcp_market import kie_register_models
from tests.service import facts

SETS = 200
"""How many different argument sets a tool is called with, at least."""

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

MINIMAL_REFUSED = {"generate_runway_aleph_video": "today's Aleph changes a clip; the seed asked for a prompt alone"}
"""Tools whose required arguments alone are refused, and why."""

SYNONYMS = {
    ("generate_midjourney_image", "taskType"): "txt2img with pictures is img2img, and the answer says so",
    ("generate_kling_video", "mode"): "fast and turbo both mean today's turbo model, which is also the first choice",
}
"""Arguments of which several values ask for what leaving them out asks for, and why."""


# Calls ---------------------------------------------------------------------------------------------------------------


@cache
def calls_of(tool_name: str) -> testing.Calls:
    return testing.calls_of(TOOLS[tool_name], SETS)


def expect_none(tool: BoundTool, problems: Mapping[str, list[str]]) -> None:
    """Fail with the first kinds of problem, each with how often it came and one example."""
    if problems:
        shown = [f"{len(found)} x {kind}\n    e.g. {found[0]}" for kind, found in list(problems.items())[:SHOWN]]
        title = f"provider {tool.provider}, tool {tool.name}: {len(problems)} kind(s) of problem"
        pytest.fail("\n".join([title, *shown]), pytrace=False)


# The service's schemas ------------------------------------------------------------------------------------------------


def complaints(request: Request) -> Iterator[str]:
    """What the official schemas say against a request."""
    verb, address = ("POST" if isinstance(request, Submission) else "GET"), f"/api/v1/{request.paths[0]}"
    operation = facts.operations().get(f"{verb} {address}")
    if operation is None:
        yield f"{verb} {address} is not an operation of the service"
    elif isinstance(request, Query):
        schema = {
            "type": "object",
            "properties": {entry["name"]: entry["schema"] for entry in operation.get("params", ())},
            "required": [entry["name"] for entry in operation.get("params", ()) if entry["required"]],
        }
        yield from errors_of(facts.validator(schema), request.params, "params")
    else:
        yield from errors_of(facts.official(f"{verb} {address}"), request.body, "body")
        if request.paths[0] == "jobs/createTask":
            yield from market_complaints(request.body)


def market_complaints(body: Mapping[str, Any]) -> Iterator[str]:
    model = body.get("model")
    if model not in facts.models():
        yield f"model {model!r} is not a market model of the service"
        return
    if MODELS[model].tool not in TOOLS:
        yield f"model {model!r} of the market points to no tool that buys it"
    yield from errors_of(facts.official(model), body.get("input", {}), f"input of {model}")


def errors_of(rules: Draft202012Validator, instance: Mapping[str, Any], where: str) -> Iterator[str]:
    # A round trip, because what counts is what is on the wire.
    for error in rules.iter_errors(json.loads(json.dumps(instance))):
        cause = best_match([error]) or error
        place = "".join(f"[{part!r}]" for part in cause.absolute_path)
        yield f"{where}{place}: {cause.message if len(cause.message) < 300 else cause.message[:300] + '…'}"


# Tests ---------------------------------------------------------------------------------------------------------------

PLUGINS = Plugins(Settings.model_validate({}))
TOOLS = PLUGINS.tools
MODELS = {model.id: model for model in kie_register_models() if isinstance(model, Model)}
every_tool = pytest.mark.parametrize(
    "tool", TOOLS.values(), ids=lambda tool: f"{tool.provider}-{tool.name}", scope="module"
)
"""All tests of one tool come one after the other, so that the process that runs them calls the tool once."""


def test_families_without_a_schema_are_the_ones_that_say_so() -> None:
    current = {name: plugin.provider.availability == "current" for name, plugin in PLUGINS.plugins.items()}
    assert [name for name, is_current in current.items() if is_current == (name in NO_SCHEMA)] == []


@every_tool
def test_requests_are_accepted_by_the_official_schema(tool: BoundTool) -> None:
    problems: dict[str, list[str]] = {}
    for arguments, request in calls_of(tool.name).built:
        if tool.provider not in NO_SCHEMA and request.gateway == "kie":
            for complaint in complaints(request):
                problems.setdefault(complaint, []).append(call_text(tool, arguments))
    expect_none(tool, problems)


@every_tool
def test_requests_break_no_rule_of_the_model_that_they_buy(tool: BoundTool) -> None:
    problems: dict[str, list[str]] = {}
    for arguments, request in calls_of(tool.name).built:
        model = MODELS.get(content_of(request).get("model", ""))
        if model and request.gateway == model.gateway and request.paths[0] == "jobs/createTask":
            for fault in check(model, content_of(request)["input"]).faults:
                problems.setdefault(f"{model.id}: {fault.message}", []).append(call_text(tool, arguments))
    expect_none(tool, problems)


@every_tool
def test_enough_argument_sets_build_a_request(tool: BoundTool) -> None:
    calls = calls_of(tool.name)
    assert len(calls.built) + len(calls.refused) >= SETS
    if len(calls.built) < ENOUGH:
        refusals: dict[str, list[str]] = {}
        for arguments, refusal in calls.refused:
            refusals.setdefault(f"{refusal.field}: {refusal.allowed}", []).append(call_text(tool, arguments))
        expect_none(tool, {f"only {len(calls.built)} sets build a request": ["see the refusals"], **refusals})


@every_tool
def test_required_arguments_alone_build_a_request(tool: BoundTool) -> None:
    arguments = tool.arguments.check(testing.Draw(tool).required())
    made = answer(tool, arguments)
    if tool.name in MINIMAL_REFUSED:
        assert isinstance(made, InvalidArgument), f"{tool.name} builds a request now: take it off MINIMAL_REFUSED"
    else:
        expect_none(tool, {str(made): [call_text(tool, arguments)]} if isinstance(made, InvalidArgument) else {})


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
        if (name not in accepted or values)
        and name not in tool.description
        and "refused" not in tool.arguments.schema["properties"][name].get("description", "")
    }
    expect_none(tool, problems)


@every_tool
def test_no_argument_is_dropped_in_silence(tool: BoundTool) -> None:
    draw, problems, built = testing.Draw(tool), dict[str, list[str]](), calls_of(tool.name).built
    for arguments, request in built[:: len(built) // SETS + 1]:
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
                problems.setdefault(kind, []).append(call_text(tool, arguments))
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
                problems.setdefault(kind, []).append(call_text(tool, arguments))
    expect_none(tool, problems)
