"""Calls of a tool with argument sets that its schema allows. Part of `kie_ai_mcp.testing`."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

from jsonschema import Draft202012Validator

from kie_ai_mcp._providers.arguments import leave_out_empty
from kie_ai_mcp._providers.guard import described, place_of
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import Query, Submission
from kie_ai_mcp.testing._draw import AnyTool, Draw, Values

Request = Submission | Query

COUNT = 200  # how many different argument sets a tool is called with, at least
STEPS_A_SET = 2
SHOWN_CHARS = 90


@dataclass
class Calls:
    """The results of a tool for its argument sets.

    Args:
        built: Arguments as the function takes them, with the request it built.
        refused: Arguments, with the `InvalidArgument` that answered them.
        broken: Breaches of the contract, with the calls where each was seen.
    """

    built: list[tuple[dict[str, Any], Request]] = field(default_factory=list)
    refused: list[tuple[dict[str, Any], InvalidArgument]] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    by_model: dict[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False)

    def make(self, tool: BoundTool, arguments: dict[str, Any]) -> None:
        """Call a tool with one argument set, unless it was called so before."""
        arguments = leave_out_empty(arguments, tool.arguments.schema)
        if (key := json.dumps(arguments, sort_keys=True)) in self.seen:
            return
        try:
            checked = tool.arguments.check(deepcopy(arguments))
        except InvalidArgument as exc:
            # A rule of the schema that `Draw` doesn't know is no fault of the tool's.
            if Draft202012Validator(tool.arguments.schema).is_valid(arguments):
                self.breaks(f"its schema allows what its validation refuses: {exc}", tool, arguments)
            return
        self.seen[key] = checked
        original = deepcopy(checked)
        try:
            result = answer(tool, checked)
        except Exception as exc:  # noqa: BLE001  anything else a tool raises is what is looked for
            what = f"it raised {described(exc)}{place_of(exc)}; only InvalidArgument is an answer"
            self.breaks(what, tool, arguments)
            return
        if checked != original:
            self.breaks("it changed its own arguments; copy a list or object before changing it", tool, arguments)
        if isinstance(result, InvalidArgument):
            self.refused.append((original, result))
        elif isinstance(result, Submission | Query):
            self.built.append((original, result))
            self.by_model.setdefault(str(content_of(result).get("model")), []).append(arguments)
        else:
            self.breaks(f"it returned {type(result).__name__}; return a Submission or a Query", tool, arguments)

    def forms(self) -> Iterator[tuple[dict[str, Any], Request]]:
        """Yield each request that was built, and the other form of it where it has one."""
        for arguments, request in self.built:
            yield arguments, request
            if isinstance(request, Submission) and request.otherwise is not None:
                yield arguments, request.otherwise

    def breaks(self, what: str, tool: BoundTool, arguments: Mapping[str, Any]) -> None:
        """Note one breach."""
        self.broken.setdefault(what, []).append(call_text(tool, arguments))


def calls_of(tool: AnyTool, count: int = COUNT, values: Values | None = None) -> Calls:
    """Call a tool with its required arguments, with all, with each optional value alone and beside each other one,
    and then with random steps away from sets that built a request, taken evenly from the models that were reached.
    """
    draw, calls = Draw(tool, values), Calls()
    tool, optional = draw.tool, draw.optional
    minimal = draw.required()
    calls.make(tool, minimal)
    calls.make(tool, minimal | {name: draw.argument(name, plain=True) for name in optional})
    for name in optional:
        for value in draw.choices(name):
            calls.make(tool, minimal | {name: value})
    for one, other in combinations(optional, 2):
        for value, beside in product(draw.choices(one), draw.choices(other)):
            calls.make(tool, draw.required(plain=False) | {one: value, other: beside})
    steps = STEPS_A_SET * count
    for step in range(5 * steps):
        if step >= steps and len(calls.seen) >= count:
            break
        models = calls.by_model
        start = draw.random.choice(models[draw.random.choice(sorted(models))]) if models else minimal
        changed = {name: draw.argument(name) for name in draw.some(tool.arguments.schema["properties"])}
        left_out = draw.some(optional)
        calls.make(tool, {name: value for name, value in {**start, **changed}.items() if name not in left_out})
    return calls


def argument_sets(tool: AnyTool, count: int = COUNT, values: Values | None = None) -> list[dict[str, Any]]:
    """Return different argument sets that a tool's input schema allows, as the function takes them.

    The required arguments alone come first, then all, then every value of an optional argument alone and beside
    every other, then random ones. The same tool gives the same sets.

    Args:
        tool: The tool function, or a `Tool`.
        count: How many at least, as far as the schema has so many.
        values: By argument name, values to choose from where the schema alone does not say enough (a pattern).

    Raises:
        PluginError: The function can't be a tool.
        AssertionError: No value can be made for an argument; says for which.
    """
    return list(calls_of(tool, count, values).seen.values())


def answer(tool: BoundTool, arguments: Mapping[str, Any]) -> Request | InvalidArgument:
    """Return the answer of a tool function: a request, or the refusal it raised."""
    try:
        return tool.fn(**arguments)
    except InvalidArgument as exc:
        return exc


def content_of(request: Request) -> Mapping[str, Any]:
    """Return the content of a request to the service: a body, or a query's parameters."""
    return request.body if isinstance(request, Submission) else request.params


def same(one: Request | InvalidArgument, other: Request | InvalidArgument) -> bool:
    """Return whether two answers ask for the same results; two refusals do not."""
    if isinstance(one, InvalidArgument) or isinstance(other, InvalidArgument):
        return False
    first, second = ((type(each), each.paths, content_of(each), _format_of(each)) for each in (one, other))
    return first == second


def _format_of(request: Request) -> str | None:
    return request.convert_to if isinstance(request, Submission) else None


def call_text(tool: BoundTool, arguments: Mapping[str, Any]) -> str:
    """Return a call as a message names it; long values are cut."""
    texts = {name: json.dumps(value, ensure_ascii=False, default=str) for name, value in arguments.items()}
    shown = {name: text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 20]}…" for name, text in texts.items()}
    return f"{tool.name}({', '.join(f'{name}={text}' for name, text in shown.items())})"
