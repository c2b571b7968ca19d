"""Refusal of a call: every fault at once, and a call that works in its place, tried before it is named."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from functools import partial
from typing import Any

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.ownership import check_named
from kie_ai_mcp._flow.pricing import Quote, check_limits, has_models, quote, with_price
from kie_ai_mcp._flow.report import CORRECT, COSTS, words_of
from kie_ai_mcp._flow.report import LEFT_OUT as GIVEN_UP
from kie_ai_mcp._models.checking import is_plain
from kie_ai_mcp._models.rules import LEFT_OUT
from kie_ai_mcp._models.samples import choices, nearest_first
from kie_ai_mcp._models.terms import number_of, same, schema_at
from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._models.wording import RATE
from kie_ai_mcp._providers.tools import OPTION_NAMES, BoundTool, own_options
from kie_ai_mcp._providers.understanding import TIMES, own_name, seconds_in, spelled
from kie_ai_mcp._settings.amounts import in_words
from kie_ai_mcp.errors import InvalidArgument, KieError, LimitReached, PluginError, shorten
from kie_ai_mcp.specs import field_of, is_web_address

MOST_TRIES = 200  # calls of a provider's function for one refusal
MOST_STEPS = 12  # arguments that are changed
NEAR = 30  # whole numbers tried on each side of a wrong one
MODEL = "model"
MOST_CREDITS = "max_credits"
NEAREST = "the nearest is"  # where a fault says so, that is tried before another model
LEAVE = "leave it out"  # where a fault says so, other values need not be tried
NUMBER = re.compile(r"(?<![\w.-])-?[0-9]+(?:\.[0-9]+)?(?![\w.]*[\w])")
SPELT = 0.6  # how like a value a word is that was meant to be it
MOST_TOLD = 1_000  # characters of a value that was given up
LARGEST = 1e15  # of a number that others are tried beside
LIMIT = re.compile(r"at most ([0-9]+)")

Change = Mapping[str, Any]
Attempt = Callable[[BoundTool, Mapping[str, Any]], Awaitable[InvalidArgument | None]]


async def completed(
    engine: Engine, tool: BoundTool, arguments: Mapping[str, Any], error: InvalidArgument
) -> InvalidArgument:
    """Return a refusal that also names what a provider finds after its first fault, and holds a call that works.

    Each fault is mended by the smallest change that takes the call further: a value near by, one model for another, an
    argument left out. What works is `instead`, its files included, with its price and what it gives up; None where
    nothing was found. A call that works but for a limit is told with its price alone.
    """
    arguments = own_options(arguments)
    given = {name: value for name, value in tool.arguments.understood(arguments).arguments.items() if value is not None}
    await engine.catalogue.load()
    search, own = Search(partial(_fault, engine), tool, given), error.instead
    # What only files, limits or earlier requests show can't be tried here.
    working = await search.run(error) if await search.attempt(tool, given) else None
    if own is not None:
        options = {name: arguments[name] for name in OPTION_NAMES if arguments.get(name) is not None}
        own = {**own, "arguments": {**own.get("arguments", {}), **options}}
        other = engine.plugins.tools.get(str(own.get("tool")))
        is_working = other is not None and await search.attempt(other, own.get("arguments", {})) is None
        working = own if is_working else working
    further, step = search.further, ""
    if working is None and search.dear is not None:
        step = f"{CORRECT} A call like it would be taken but for max_credits: {search.dear.allowed}."
    if working is not None:
        maker, used = engine.plugins.tools.get(working["tool"], tool), _flat(working)
        given = maker.arguments.understood(given).arguments
        cost, refused = await _last_look(engine, maker, used)
        known = {fault.field for fault in (*error.faults, *further)}
        for fault in refused.faults if isinstance(refused, InvalidArgument) else ():
            name = field_of(fault.field)
            further += [fault] if fault.field not in known and used.get(name) == given.get(name) else []
        left = given_up(given, used, maker.arguments.schema["properties"])
        left = {name: _as_told(value) for name, value in left.items()}
        working = {**working, **({COSTS: _price(engine, cost)} if cost and cost.charges else {})}
        working |= {GIVEN_UP: left} if left else {}
        if isinstance(refused, LimitReached):
            step = f"{CORRECT} The nearest call that would be taken {words_of(working)}, but a limit forbids it: "
            step += refused.message.removesuffix("Nothing was sent.").strip()
        working = working if refused is None else None
    whole = InvalidArgument.joined([*error.faults, *further])
    whole.message = " ".join([error.message, *(fault.message for fault in further)])
    whole.instead, whole.next_step = working, step or whole.next_step
    return whole


async def _last_look(
    engine: Engine, tool: BoundTool, arguments: Mapping[str, Any]
) -> tuple[Quote | None, KieError | None]:
    """Return what a call costs, once its files and tasks are looked at, and why it would not be sent all the same."""
    cost = None
    try:
        await check_named(engine, tool, arguments)
        cost = await quote(engine, tool, arguments)
        if cost.charges:
            await check_limits(engine, cost)
    except KieError as exc:
        return cost, exc
    return cost, None


def _price(engine: Engine, cost: Quote) -> str:
    """Return what a call costs in words, with the model that it buys."""
    rates = (note.removeprefix(RATE).removesuffix(".") for note in cost.notes if note.startswith(RATE))
    price = next(rates, "an unknown amount")
    if cost.credits is not None:
        price = f"{'at most ' if cost.at_most else ''}{in_words(cost.credits, engine.record.units[cost.gateway])}"
    return f"{price} with {cost.model}" if cost.model else price


def _flat(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as its tool takes them, also of a model's."""
    if call["tool"] != RUN:
        return dict(call["arguments"])
    options = {name: value for name, value in call["arguments"].items() if name in OPTION_NAMES}
    return {**call["arguments"]["input"], **options}


def given_up(given: Mapping[str, Any], used: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the given arguments a call does not have: left out, changed, or the end of a list or free text."""
    moved = [str(used[name]).lower() for name in used if name not in given]
    left = {name: value for name, value in given.items() if name not in used and str(value).lower() not in moved}
    for name, value in given.items():
        now = used.get(name)
        if isinstance(value, list) and isinstance(now, list) and len(now) < len(value):
            left[name] = [each for each in value if each not in now] or value[len(now) :]
        elif isinstance(value, str) and isinstance(now, str) and now and not choices(fields.get(name, {})):
            left |= {name: value.removeprefix(now).strip()} if value.startswith(now) and len(now) < len(value) else {}
        elif now is not None and not isinstance(value, list | dict) and not _is_meant(value, now):
            left[name] = value
    return left


def _as_told(value: Any) -> Any:
    """Return a value that was given up as an answer may hold it."""
    if not is_plain(value):
        return "…"
    return value if len(str(value)) <= MOST_TOLD else shorten(value)


def _is_meant(value: Any, now: Any) -> bool:
    """Return whether a value is what another was meant to be: the same number, or a text that is misspelt."""
    if isinstance(value, bool) or isinstance(now, bool) or not isinstance(value, str):
        return same(value, now) or str(value).lower() == str(now).lower()
    alike = SequenceMatcher(None, value.lower(), str(now).lower()).ratio() >= SPELT
    return re.findall(r"\d+", value) == re.findall(r"\d+", str(now)) and (alike or bool(re.search(r"\d", value)))


async def _fault(engine: Engine, tool: BoundTool, arguments: Mapping[str, Any]) -> InvalidArgument | None:
    try:
        saves = engine.settings.output_dir is not None
        options, checked, request = await engine.asking.prepare(tool, arguments, saves=saves)
        if has_models(engine, tool) and not request.checked:
            request = with_price(engine, tool, request, checked)
        price, most = request.estimated_credits, options.max_credits
        if price is not None and most is not None and price > most:
            cost = in_words(price, engine.record.units[request.gateway])
            return InvalidArgument(MOST_CREDITS, most, f"it costs {cost}")
    except InvalidArgument as exc:
        return exc
    except PluginError as exc:
        return InvalidArgument(MODEL, None, "", message=exc.message)
    return None


@dataclass
class Search:
    """The search for a call that works, near one that does not.

    Args:
        attempt: Returns why a call would be refused before anything is sent; None where it would be sent.
        tool: The tool.
        given: The caller's arguments, in the tool's own names.
        further: The faults that were found on the way.
        dear: Why a call that works but for its price was not taken.
        tries: How many calls were tried.
    """

    attempt: Attempt
    tool: BoundTool
    given: Mapping[str, Any]
    further: list[InvalidArgument] = field(default_factory=list)
    dear: InvalidArgument | None = None
    tries: int = 0

    async def run(self, error: InvalidArgument) -> Mapping[str, Any] | None:
        """Return a whole call that works; None where none was found. Collects faults that are found on the way."""
        state, known = dict(self.given), {fault.field for fault in error.faults}
        for _ in range(MOST_STEPS):
            step = await self._step(state, error)
            if step is None:
                return None
            state, after = step
            if after is None:
                return self._call(await self._with_what_works(state))
            for fault in after.faults:
                name = field_of(fault.field)
                # A fault of what was changed here, or of what is missing since, is none of the caller's.
                is_own = fault.value is not None and state.get(name) == self.given.get(name)
                if fault.field not in known and is_own and name not in OPTION_NAMES:
                    self.further.append(fault)
                known.add(fault.field)
            error = after
        return None

    async def _step(
        self, state: dict[str, Any], error: InvalidArgument
    ) -> tuple[dict[str, Any], InvalidArgument | None] | None:
        """Return the call after the best single change, and what is still wrong with it."""
        ways = (self._of_what_is_wrong, self._of_the_rest, self._of_files)
        for changes in (way(state, error) for way in ways):
            found = await self._best(state, error, changes)
            if found is not None:
                return found
        return None

    async def _best(
        self, state: dict[str, Any], error: InvalidArgument, changes: Iterable[Change]
    ) -> tuple[dict[str, Any], InvalidArgument | None] | None:
        """Return the first change after which the call works, else the one that leaves least to be mended."""
        best: tuple[dict[str, Any], InvalidArgument] | None = None
        wrong, least, tried = {*_names(error)}, (0, False), list[Change]()
        for change in changes:
            if change in tried or self.tries >= MOST_TRIES:
                continue
            tried.append(change)
            after = {key: each for key, each in {**state, **change}.items() if each is not LEFT_OUT}
            if after == state:
                continue
            fault = await self._try(after)
            if fault is None:
                return after, None
            rank = (len(fault.faults), wrong.isdisjoint(change))
            if _is_further(error, fault) and (best is None or rank < least):
                best, least = (after, fault), rank
        return best

    async def _with_what_works(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a working call with those of the caller's arguments that turn out to work after all."""
        for name in self.given:
            if state.get(name) != self.given[name]:
                more = {**state, name: self.given[name]}
                state = more if self.tries < MOST_TRIES and await self._try(more) is None else state
        return {name: state[name] for name in (*self.given, *state) if name in state}

    async def _try(self, arguments: Mapping[str, Any]) -> InvalidArgument | None:
        self.tries += 1
        fault = await self.attempt(self.tool, arguments)
        self.dear = self.dear or (fault if fault is not None and fault.field == MOST_CREDITS else None)
        return fault

    def _call(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        model = self.tool.model
        if model is None or self.tool.name != RUN:
            return {"tool": self.tool.name, "arguments": dict(arguments)}
        options = {name: arguments[name] for name in OPTION_NAMES if name in arguments}
        sent = {name: value for name, value in arguments.items() if name not in options}
        return {"tool": RUN, "arguments": {MODEL: model.id, "input": sent, **options}}

    def _of_what_is_wrong(self, state: Mapping[str, Any], error: InvalidArgument) -> Iterator[Change]:
        """Yield single changes of the model and of what is wrong, those first that keep most of what was asked for."""
        fields, required = self.tool.arguments.schema["properties"], self.tool.arguments.schema.get("required", ())
        if MODEL in state and MODEL not in {*required, *_names(error)}:
            told = [fault for fault in error.faults if NEAREST in fault.allowed and fault.field in fields]
            yield from (
                {fault.field: each} for fault in told for each in _near(fault.value, fields[fault.field], fault)
            )
            yield {MODEL: LEFT_OUT}
        for fault in error.faults:
            name = field_of(fault.field)
            value = state.get(name)
            if name in OPTION_NAMES:
                continue
            if name == MODEL and name in fields and value is not None:
                yield from ({name: each} for each in nearest_first(value, choices(fields[name])))
            if name not in fields:
                near = get_close_matches(name, {*fields, *OPTION_NAMES} - state.keys(), n=1, cutoff=0.7)
                yield from ({name: LEFT_OUT, each: value} for each in near)
            elif (LEAVE in fault.allowed or name == MODEL) and name not in required:
                yield {name: LEFT_OUT}
            elif value is None:
                yield from ({name: each} for each in _usual(fields[name]))
            else:
                others = [each for each in fields if each not in state] if isinstance(value, str) else []
                words = ((each, spelled(value, choices(fields[each]))) for each in others)
                yield from ({name: LEFT_OUT, each: word} for each, word in words if word is not None)
                yield from ({name: each} for each in _near(value, fields[name], fault, every=name in required))
        kept = {*required, *map(field_of, self.tool.arguments.media)}
        wrong = (name for name in _names(error) if name in state and name not in kept)
        yield from ({name: LEFT_OUT} for name in wrong if name in fields or not _is_precious(name, state[name]))

    def _of_the_rest(self, state: Mapping[str, Any], error: InvalidArgument) -> Iterator[Change]:
        """Yield single changes of arguments that no fault names."""
        fields, required = self.tool.arguments.schema["properties"], self.tool.arguments.schema.get("required", ())
        names = [name for name in state if name in fields and name not in _names(error)]
        yield from ({name: word} for name in names for word in choices(fields[name]))
        kept = {*required, *map(field_of, self.tool.arguments.media)}
        yield from ({name: LEFT_OUT} for name in names if name not in kept)

    def _of_files(self, state: Mapping[str, Any], error: InvalidArgument) -> Iterator[Change]:
        """Yield what gives up files, which say most of what was meant."""
        required = self.tool.arguments.schema.get("required", ())
        files = dict.fromkeys(map(field_of, self.tool.arguments.media))
        names = [name for name in files if name in state and name not in required]
        yield from ({name: LEFT_OUT} for name in sorted(names, key=lambda name: name not in _names(error)))


def _is_precious(name: str, value: Any) -> bool:
    """Return whether an unknown argument may name files, or limit the cost, so that it is not given up."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    is_file = any(isinstance(text, str) and is_web_address(text) for text in texts)
    return is_file or bool(get_close_matches(own_name(name), map(own_name, OPTION_NAMES), cutoff=0.7))


def _is_further(before: InvalidArgument, after: InvalidArgument) -> bool:
    """Return whether one of the faults before a change is gone after it."""
    return not {(fault.field, fault.allowed) for fault in before.faults} <= {
        (fault.field, fault.allowed) for fault in after.faults
    }


def _names(error: InvalidArgument) -> dict[str, None]:
    """Return the arguments that an error names, in its order."""
    return dict.fromkeys(field_of(fault.field) for fault in error.faults)


def _usual(schema: Mapping[str, Any]) -> list[Any]:
    """Return values for an argument that is missing; none for one that only the caller knows."""
    return [schema["default"]] if "default" in schema else choices(schema)


def _near(value: Any, schema: Mapping[str, Any], fault: InvalidArgument, *, every: bool = True) -> Iterator[Any]:
    """Yield values like a wrong one, the nearest first; none for a number that nothing can be reckoned with."""
    if isinstance(value, str) and TIMES.search(field_of(fault.field)):
        value = value if (seconds := seconds_in(value)) is None else seconds
    if isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        return
    if listed := choices(schema):
        yield from dict.fromkeys([*nearest_first(value, listed), *(listed if every else ())])
    elif isinstance(value, list):
        place = re.match(r"\w+\[([0-9]+)\]", fault.field)
        if place and (index := int(place[1])) < len(value):
            yield from ([*value[:index], each, *value[index + 1 :]] for each in _near_item(value[index], schema, fault))
            yield from [value[:index] + value[index + 1 :]] if len(value) > 1 else []
        yield from (value[:count] for count in range(len(value) - 1, 0, -1))
    elif isinstance(value, str):
        for limit in sorted({int(each) for each in LIMIT.findall(fault.message)}, reverse=True):
            yield value[:limit].rsplit(" ", 1)[0] if " " in value[:limit] else value[:limit]
        number = number_of(value)
        yield from [int(number)] if number is not None and number.denominator == 1 else []
    elif isinstance(value, int | float) and schema.get("type") == "string":
        yield str(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        told = {float(each) for each in NUMBER.findall(fault.allowed)}
        near = sorted(told, key=lambda each: abs(each - value))
        yield from (int(each) if schema.get("type") == "integer" or each.is_integer() else each for each in near)
        yield from _numbers(value, schema)


def _near_item(item: Any, schema: Mapping[str, Any], fault: InvalidArgument) -> Iterator[Any]:
    """Yield items of a list like a wrong one, by the field of it that is wrong, or by any where none is named."""
    name = fault.field.rpartition(".")[2]
    for key in () if not isinstance(item, dict) else (name,) if name in item else item:
        inner = schema_at(schema.get("items"), key) or {}
        yield from ({**item, key: each} for each in _near(item[key], inner, fault))


def _numbers(value: float, schema: Mapping[str, Any]) -> Iterator[float]:
    """Yield numbers that a schema allows, the nearest first."""
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    inside = max(value if low is None else low, min(value, value if high is None else high))
    if schema.get("type") != "integer":
        yield from (inside, *(each for each in (round(inside, 1), low, high) if each is not None))
        return
    step = int(schema.get("multipleOf", 1))
    first = step * round(inside / step)
    for distance in range(NEAR):
        for each in dict.fromkeys((first + step * distance, first - step * distance)):
            if (low is None or each >= low) and (high is None or each <= high):
                yield each
