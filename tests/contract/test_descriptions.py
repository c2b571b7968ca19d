"""Descriptions of tools, read as people read them, against what the tools take and refuse."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import pytest

from kie_ai_mcp import testing
from kie_ai_mcp._app.app import App
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import field_of
from kie_ai_mcp.testing._calls import answer

pytestmark = pytest.mark.anyio

FIELD = re.compile(r"(?P<name>\w+) (?P<words>.*?)(?P<required> required)?(?: \((?P<remark>.*)\))?")
SORTS = {"text", "int", "number", "any", "image", "video", "audio", "file", "link", "true", "false"}
SPAN = re.compile(r"(?P<sort>\[.*\]|\w+) (?:(?P<low>-?[\d.]+)\.\.(?P<high>[\d.]+)|<=(?P<most>[\d.]+))(?: step .*)?")
LONG = 1000  # so long is no text beside another argument: limits of length by model are the models' to describe
FREE = {"shots", "elements", "voices"}  # made of parts, of which the drawn ones are no good
RULE = re.compile(r"(?:with )?(?P<first>.*?)(?P<kind>: refused|: needs | not with )(?P<second>.*)")
PART = re.compile(r"(?P<length>length of )?(?P<name>\w+)(?: (?P<values>\S+))?")

Described = Mapping[str, Any]


@pytest.fixture(scope="module")
async def described(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[tuple[BoundTool, Described]]]:
    """Every tool of the providers with its description."""
    app = App.open(Settings.model_validate({"db_path": tmp_path_factory.mktemp("descriptions") / "tasks.db"}))
    async with app.engine.running():
        tools = app.engine.plugins.tools.values()
        yield [(tool, (await app.call("describe_model", {"model": tool.name})).data or {}) for tool in tools]


def expanded(words: str) -> list[str]:
    """Return the values in a line, spans of numbers as each of them."""
    spans = (re.fullmatch(r"(-?\d+)\.\.(\d+)", word) for word in words.split("|"))
    parts = zip(words.split("|"), spans, strict=True)
    return [
        value
        for word, span in parts
        for value in (map(str, range(int(span[1]), int(span[2]) + 1)) if span else [word.strip('"')])
    ]


def faults(tool: BoundTool, name: str, value: Any, *, whole: bool) -> list[str]:
    """Return what the check of a tool's arguments finds wrong with a value, or the `whole` of a call with it."""
    needed = testing.Draw(tool).required() if whole else {}
    try:
        checked = tool.arguments.check({**needed, name: value})
        error = answer(tool, checked) if whole else None
    except InvalidArgument as exc:
        error = exc
    found = error.faults if isinstance(error, InvalidArgument) else ()
    return [fault.message for fault in found if field_of(fault.field) == name and fault.value is not None]


def values_of(tool: BoundTool, name: str, words: str) -> Iterator[tuple[Any, bool]]:
    """Yield values of a field, each with whether its line says that it is accepted."""
    sample = testing.Draw(tool).argument(name, plain=True)
    words = re.sub(r"(?<=[^>=<])=(?![=]).*", "", words)  # the default
    if "{" in words or set(words.split("|")) <= SORTS:
        return
    if "|" in words and not SPAN.fullmatch(words):
        is_number = tool.arguments.schema["properties"][name]["type"] in {"integer", "number"}
        yield from ((json.loads(value) if is_number else value, True) for value in expanded(words))
        yield (977 if is_number else "no such choice"), False
    elif span := SPAN.fullmatch(words):
        low, high = span["low"], float(span["high"] or span["most"])
        sides = [(high, True), (high + 1, False), *([(float(low), True), (float(low) - 1, False)] if low else [])]
        for number, is_accepted in sides:
            if span["sort"].startswith("["):
                yield (sample[:1] or ["https://x.example/a.png"]) * int(number), is_accepted
            elif span["sort"] == "text":
                yield "a" * int(number), is_accepted
            else:
                yield (int(number) if number.is_integer() else number), is_accepted


async def test_fields_say_which_values_are_accepted(described: Sequence[tuple[BoundTool, Described]]) -> None:
    wrong, seen = [], 0
    for tool, said in described:
        lines = [found for line in said["fields"] if (found := FIELD.fullmatch(line))]
        assert [found["name"] for found in lines] == [*tool.input_schema["properties"]]
        for found in (found for found in lines if found["name"] in tool.arguments.names):
            name, schema = found["name"], tool.arguments.schema["properties"][found["name"]]
            assert found["remark"] == schema.get("description"), found[0]
            assert bool(found["required"]) == (name in tool.arguments.schema.get("required", ())), found[0]
            for value, is_accepted in values_of(tool, name, found["words"]):
                seen += 1
                if bool(faults(tool, name, value, whole=not is_accepted)) == is_accepted:
                    wrong.append((tool.name, found[0], value))
            choices = set(map(str, schema.get("enum", ())))
            assert choices <= {*expanded(found["words"].partition("=")[0])}, found[0]

    assert wrong == []
    assert seen > 500


def names(part: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a part of a rule names an argument of a call."""
    found = PART.fullmatch(part)
    assert found, part
    if found["name"] not in arguments:
        return False
    value = arguments[found["name"]]
    value = len(value) if found["length"] else value if isinstance(value, str) else json.dumps(value)
    return not found["values"] or str(value) in expanded(found["values"])


def excludes(rule: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a rule says that a call is refused."""
    if longest := re.fullmatch(r"length of (\w+) at most (\d+)", rule):
        return len(arguments.get(longest[1], "")) > int(longest[2])
    found = RULE.fullmatch(rule)
    assert found, rule
    if found["kind"] == " not with ":
        return names(found["first"], arguments) and names(found["second"], arguments)
    beside = any(names(part, arguments) for part in found["second"].split(" or ")) if found["second"] else False
    return names(found["first"], arguments) and not beside


def calls(tool: BoundTool) -> Iterator[dict[str, Any]]:
    """Yield what every call needs with one argument more, and with two, drawn by the kit for authors."""
    draw = testing.Draw(tool)
    needed = draw.required() | {name: draw.argument(name) for name in ("videoUrl",) if needs(tool, name)}
    free = [name for name in draw.optional if name not in FREE | needed.keys()]
    values = {name: draw.choices(name) for name in free}
    yield from (needed | {name: value} for name in free for value in values[name])
    values = {
        name: [value for value in values[name] if len(str(value)) < LONG or name in tool.arguments.media]
        for name in free
    }
    for one, other in combinations(free, 2):
        yield from (needed | {one: first, other: second} for first, second in product(values[one], values[other]))


def needs(tool: BoundTool, name: str) -> bool:
    """Return whether a tool says of an optional argument that it is required."""
    return bool(tool.arguments.schema["properties"].get(name, {}).get("description") == "required")


async def test_rules_say_which_calls_are_refused(described: Sequence[tuple[BoundTool, Described]]) -> None:
    wrong, refused = [], 0
    for tool, said in described:
        for arguments in calls(tool):
            checked = {name: value for name, value in tool.arguments.check(arguments).items() if value != []}
            is_refused = isinstance(answer(tool, checked), InvalidArgument)
            refused += is_refused
            if is_refused != any(excludes(rule, checked) for rule in said["rules"]):
                wrong.append((tool.name, arguments, is_refused))

    assert wrong == []
    assert refused > 300
