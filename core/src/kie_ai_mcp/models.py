"""Models of a service as data: what each takes, what it costs, and how a service lists its own.

A plugin keeps its models in a data file of its wheel and returns them from `kie_register_models`::

    @hookimpl
    def kie_register_models():
        return read_models(files(__name__).joinpath("models.json"))

**Terms.** Rules and prices speak of a request's input in terms: ``field``, ``list[].field`` (of every item), ``#field``
(how many items, or characters of a text; 0 when it is left out), ``?field`` (1 when it is sent, else 0), ``~field``
(seconds of the media that it names, known only where they are measured), and sums and differences of these, each with a
whole number as its weight (``#images + 2 #clips``). A fact that no field holds stands in brackets (``(megapixels)``).
None, "", [] and {} count as left out. A number that is left out takes the schema's default.

**Conditions.** A mapping of terms to tests, all of which must hold, or a tuple of such, of which one must. A test is a
value, a list of values (None among them: or left out), None (left out), ``"*"`` (sent) or ``{"not": [values]}``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from kie_ai_mcp.errors import PluginError, guess, shorten
from kie_ai_mcp.specs import DAY_S, KIE, MARKET_CREATE, Answer, Day, Kind, Media, Paths

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

T = TypeVar("T")
RuleKind = Literal[
    "not_both", "exactly_one", "at_least_one", "needs", "only_with", "limit", "refers", "unique"
]  # fmt: skip
Value = str | float | bool | None
Tested = Value | Sequence[Value]
Test = Tested | Annotated[Mapping[Literal["not"], Tested], Field(min_length=1)]
Condition = Mapping[str, Test] | tuple[Mapping[str, Test], ...]
Group = str | tuple[str, ...]
_Path = tuple[str | int, ...]  # of a key in an entry of a data file
_When = Annotated[Condition | None, Field(description="a mapping of terms to tests, or a tuple of such mappings")]
_Credits = Annotated[float, Field(ge=0, description="a finite number of at least 0")]
_OptionalPrice = Annotated["Price | None", Field(description="a Price, or None where nobody knows it")]


@dataclass(frozen=True)
class Rule:
    """A rule between the fields of one input. It looks at what is sent, never at defaults.

    Args:
        kind: ``not_both`` (at most one of `fields` is touched), ``exactly_one`` and ``at_least_one`` (is complete),
            ``needs`` (where `when` holds, all are sent), ``only_with`` (`fields`, or these `values` of them, are sent
            only where `when` holds), ``limit`` (each term lies within `min`, `max` and `above`, and moves in steps of
            `step`), ``refers`` (each value occurs among those of `to`), ``unique`` (no value occurs twice).
        fields: Fields; terms for ``limit``. A tuple among them is a group: touched when any of it is sent, complete
            when all are.
        when: The condition under which it speaks; None is always.
        values: See ``only_with``.
        to: See ``refers``.
        each: A list of objects, to each of which the rule applies; its `fields` are then named from there.
        min: The least value of each term.
        max: The largest value of each term.
        above: What each term must exceed.
        step: What each term is a multiple of.
        soft: Whether the service takes the input all the same and ignores the field. The request is then sent, and
            the answer says so.
    """

    kind: RuleKind
    fields: tuple[Group, ...]
    when: _When = None
    values: tuple[Any, ...] = ()
    to: str = ""
    each: str = ""
    min: float | None = None
    max: float | None = None
    above: float | None = None
    step: float | None = None
    soft: bool = False


@dataclass(frozen=True)
class PriceLine:
    """One line of a price: `credits` for every `each` of the term `per`, in proportion, where `when` holds.

    Args:
        credits: The price in the service's unit, 0 or more.
        when: The condition, over the input with its defaults; None is always.
        per: The factor, a term; "" is once per request.
        each: How many of `per` the price is for (1000 characters).
        after: How many of `per` are free.
        at_most: Whether the price may be less: the factor is a ceiling and not a count.
        unset: What counts for a field of this line that is left out and has no default.
    """

    credits: _Credits
    when: _When = None
    per: str = ""
    each: Annotated[float, Field(gt=0, description="a finite number above 0")] = 1
    after: _Credits = 0
    at_most: bool = False
    unset: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Price:
    """The price of a request: the first of `lines` whose condition holds, and every line of `plus` besides.

    Args:
        lines: The alternatives. Where an unknown fact decides between them, the dearest that may hold counts, as "at
            most".
        plus: What is added.
        unset: What counts for a field that is left out and has no default.
        checked: The day on which it was read, ``YYYY-MM-DD``.
        until: The last day of an offer, or "".
    """

    lines: tuple[PriceLine, ...]
    plus: tuple[PriceLine, ...] = ()
    unset: Mapping[str, Any] = field(default_factory=dict)
    checked: Day = ""
    until: Day = ""


@dataclass(frozen=True)
class Model:
    """One model of a service, as data.

    Args:
        id: The service's id, as its requests name it.
        title: The name for people.
        kind: What comes out.
        task: One word for what it does (``text-to-image``, ``upscale``, ``speech``, ...).
        input: A flat, closed JSON schema of what the service takes.
        media: Fields that name files, by their path in the input (``"image_urls[]"``, ``"shots[].image_url"``).
        rules: What the schema can't say.
        price: None where nobody knows it; that is never 0.
        checked: The day on which the facts were read, ``YYYY-MM-DD``.
        notes: Facts in short words that neither schema nor rules hold; shown by ``describe_model``.
        gateway: The name of the service.
        api_type: The sort of its tasks; the id where it is left out.
        tool: The tool that does the same act with friendlier arguments.
        availability: As of `Provider`.
        path: Where the request is sent, below the gateway's base URL; ``{id}`` in it stands for the model's id.
        wrapped: Whether the body is ``{"model", "input", "callBackUrl"}``, as of Kie.ai's market; else it is the input.
        formats: The type of its results by its ending (``("wav",)``), or those that it may be; empty where nobody
            knows. Tools that cost more of such files are then named before it is bought.
        source: The file and the line of its data, for messages; `read_models` fills it in.
        fault: Why its data can't be read, where `read_models` can't; it is then left out.
    """

    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: str
    kind: Kind
    task: str
    input: Mapping[str, Any]
    media: Mapping[str, Media] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    price: _OptionalPrice = None
    checked: Day = ""
    notes: tuple[str, ...] = ()
    gateway: str = KIE
    api_type: str = ""
    tool: str = ""
    availability: Literal["current", "retired", "undocumented"] = "current"
    path: Paths = MARKET_CREATE
    wrapped: bool = True
    formats: tuple[str, ...] = ()
    source: str = field(default="", compare=False, repr=False)
    fault: str = field(default="", repr=False)


@dataclass(frozen=True)
class Form:
    """One model that can do a tool's work, and how it writes the tool's arguments.

    An argument is written to the field of its own name in snake case, as the field's schema wants it: a number as
    text or a list of one where it asks for that, a choice in its own case. What no field takes is refused, but
    for an `output_format` of PNG or JPEG: pictures are then converted when they are saved.

    Args:
        id: The service's id of the model.
        name: The model as a caller names it; the id where it is left out. Several forms may share a name.
        fields: Fields of other names, by argument. A tuple of fields takes the items of a list, one each; "" is none.
            Several arguments may share a field that is a list.
        words: By argument, the service's words for its values; other values are refused.
        always: Fields that are sent in any case, unless the call says otherwise.
        implied: By argument, values that need no field, because the model always does what they ask for.
        appended: By argument that no field takes, the words that are appended to the prompt, with ``{}`` for the value.
            The answer says so.
        reasons: By argument that no field takes, why the form refuses it.
    """

    id: str
    name: str = ""
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    implied: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    appended: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveModel:
    """One entry of a service's own list of models.

    Args:
        id: The model's id.
        title: Its name for people; may be empty.
        tasks: The service's words for what it does.
        price: The service's words for what it costs; may be empty.
    """

    id: str
    title: str = ""
    tasks: tuple[str, ...] = ()
    price: str = ""


@dataclass(frozen=True)
class LiveRead:
    """One free read of a live catalogue.

    Args:
        path: Returns the address below the gateway's base URL from a model's id ("" for the list).
        read: Returns the value in an answer whose code is 200; None where it holds none.
    """

    path: Callable[[str], str]
    read: Callable[[Answer], Any]


@dataclass(frozen=True)
class LiveCatalogue:
    """How a service says which models it has now. Core makes the calls, spaces them, and keeps the answers.

    Args:
        gateway: The name of the service.
        list: Reads a tuple of `LiveModel`.
        schema: Reads the JSON schema of one model's input; core reads it as closed.
        price: Reads the service's words for one model's price.
        health: Reads the share of one model's recent requests that succeeded, from 0 to 1.
        per_s: The calls in one second that the service allows, over all processes of an account.
        keeps_s: How long an answer is fresh, in seconds.
    """

    gateway: str
    list: LiveRead
    schema: LiveRead
    price: LiveRead
    health: LiveRead
    per_s: float = 1.0
    keeps_s: int = DAY_S


def read_models(source: "str | Traversable", **common: Any) -> Iterator[Model]:
    """Yield the models of a data file: one JSON object with an entry for each id.

    An entry has the fields of `Model`, but `fields` and `required` in place of `input`: the schemas of the fields by
    name, and the names of those that must be sent. Objects are closed unless they say otherwise. An entry that can't be
    read is a model with a `fault`, which is left out by its id; the others can be used.

    Args:
        source: The file, which messages then name (``files(__name__).joinpath("models.json")``), or its text.
        **common: Fields of `Model` that all of them have (``gateway="fal"``).

    Raises:
        PluginError: No field of `Model` has the name of an argument; the file is missing, or holds no such object.
    """
    allowed = _keys_of(Model).keys() - {"fields", "required"}
    for name in common.keys() - allowed:
        what = f"read_models was called with {name}=, which is no field of Model{guess(name, allowed - common.keys())}"
        raise PluginError(f"{what}.", next_step="Correct the call.")
    return _models_of(source, common)


def _models_of(source: "str | Traversable", common: Mapping[str, Any]) -> Iterator[Model]:
    file = "" if isinstance(source, str) else "/".join(Path(str(source)).parts[-2:])
    whole = f"the data file of models{f' {file}' if file else ''}"
    try:
        text = source if isinstance(source, str) else source.read_text(encoding="utf-8").removeprefix("\ufeff")
    except FileNotFoundError as exc:
        cure = "it must lie in the package's own folder, and so in its wheel"
        raise PluginError(f"{whole} is missing: {cure}.") from exc
    repeating: list[_Repeating] = []
    try:
        entries = json.loads(text, object_pairs_hook=partial(_members, repeating))
    except ValueError as exc:
        raise PluginError(f"{whole} is no JSON object: {exc}.") from exc
    if not isinstance(entries, dict):
        raise PluginError(f"{whole} is no JSON object: it holds {shorten(entries)}.")
    lines = dict[str, int]()
    at, line = 0, 1
    members = entries.pairs if isinstance(entries, _Repeating) else entries.items()
    for (model_id, entry), (_, start, inside) in zip(members, _members_at(text, 0), strict=True):
        at, line = start, line + text.count("\n", at, start)
        place = line
        try:
            if model_id in lines:
                raise _Misread(f"its id stands twice, first in line {lines[model_id]}")
            lines[model_id] = line
            if repeating:
                _check_once(entry)
            model, fault = _model(model_id, entry, common), ""
        except _Misread as exc:
            model, fault = Model(model_id, model_id, "image", "", {}), exc.fault
            place += text.count("\n", at, max(at, _key_at(text, inside, exc.path)))
        where = f"{file}, line {place}" if file else f"line {place} of its data file"
        yield replace(model, source=where, fault=fault)


class _Misread(Exception):
    """What is wrong with an entry of a data file, and the path of the key with which it is wrong."""

    def __init__(self, fault: str, path: _Path = ()) -> None:
        super().__init__(fault)
        self.fault, self.path = fault, path


class _Repeating(dict[str, Any]):
    """A JSON object in which a key stands twice, with all its members in order."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _members(seen: list[_Repeating], pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; one in which a key stands twice is among those `seen`."""
    if len(members := dict(pairs)) == len(pairs):
        return members
    seen.append(_Repeating(pairs))
    return seen[-1]


def _check_once(value: Any, path: _Path = ()) -> None:
    """Raise _Misread where a key stands twice in an object, or in one inside."""
    if isinstance(value, _Repeating):
        names = [name for name, _ in value.pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise _Misread(f"{_said(path)} has the key {name!r} twice", (*path, name))
    if isinstance(value, list | dict):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_once(inner, (*path, key))


def _said(path: _Path) -> str:
    """Return a path in an entry as messages write it (``price.lines[0]``)."""
    words = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return "".join(words).removeprefix(".") or "the entry"


def _members_at(text: str, start: int) -> Iterator[tuple[str | int, int, int]]:
    """Yield the members of the JSON object or list at a place in a text: the key, where it begins, where its value."""
    at = _next(text, start)
    is_object = text[at : at + 1] == "{"
    if not is_object and text[at : at + 1] != "[":
        return
    read, number = json.JSONDecoder().raw_decode, 0
    at = _next(text, at + 1)
    while text[at] not in "]}":
        key: str | int = number
        begin = value = at
        if is_object:
            key, end = read(text, at)
            value = _next(text, _next(text, end) + 1)  # after the colon
        yield key, begin, value
        at, number = _next(text, read(text, value)[1]), number + 1
        if text[at] == ",":
            at = _next(text, at + 1)


def _next(text: str, at: int) -> int:
    """Return where the next sign that is no blank stands."""
    while text[at : at + 1].isspace():
        at += 1
    return at


def _key_at(text: str, start: int, path: _Path) -> int:
    """Return where the key at the end of a path is written in the JSON value that begins at `start`, the last of its
    name; -1 for no path, or where it is not found.
    """
    if not path:
        return -1
    places = [(begin, value) for key, begin, value in _members_at(text, start) if key == path[0]]
    if not places:
        return -1
    begin, value = places[-1]
    return begin if len(path) == 1 else _key_at(text, value, path[1:])


def _model(model_id: str, entry: Any, common: Mapping[str, Any]) -> Model:
    values = dict(_object(entry, ()))
    _check_keys(_keys_of(Model), {**common, **values}, ())
    schema = {"type": "object", "properties": _object(values.pop("fields"), ("fields",))}
    closed = _closed(schema | {"required": values.pop("required", [])})
    if media := values.get("media"):
        values["media"] = {
            path: _read(Media, value, ("media", path)) for path, value in _object(media, ("media",)).items()
        }
    if "rules" in values:
        values["rules"] = _read_all(Rule, values["rules"], ("rules",))
    if values.get("price") is not None:
        price = dict(_object(values["price"], ("price",)))
        price |= {part: _read_all(PriceLine, price.get(part, []), ("price", part)) for part in ("lines", "plus")}
        values["price"] = _read(Price, price, ("price",))
    return Model(id=model_id, input=closed, **{**common, **{name: _fixed(value) for name, value in values.items()}})


def _read(kind: type[T], value: Any, path: _Path) -> T:
    """Return an object of a data file as a value of a class, with tuples in place of its lists, one or two deep."""
    values = _object(value, path)
    _check_keys(_keys_of(kind), values, path)
    return kind(**{name: _fixed(value) for name, value in values.items()})


def _read_all(kind: type[T], values: Any, path: _Path) -> tuple[T, ...]:
    if not isinstance(values, list):
        raise _Misread(f"{_said(path)} must be a list, not {shorten(values)}", path)
    return tuple(_read(kind, value, (*path, number)) for number, value in enumerate(values))


def _keys_of(kind: type) -> Mapping[str, bool]:
    """Return the keys of an object of a data file that is read as a class, each with whether it must be there."""
    keys = {each.name: each.default is MISSING and each.default_factory is MISSING for each in fields(kind)}
    if kind is not Model:
        return keys
    own = {key: needed for key, needed in keys.items() if key not in _FILLED_IN}
    return {**own, "fields": True, "required": False}


_FILLED_IN = frozenset(("id", "input", "source", "fault"))  # of a Model, by `read_models`


def _check_keys(keys: Mapping[str, bool], values: Mapping[str, Any], path: _Path) -> None:
    """Raise _Misread for a key that is unknown, and where one that is needed is left out."""
    for name in values:
        if name not in keys:
            likely = guess(name, keys.keys() - values.keys())
            raise _Misread(f"{_said(path)} has the unknown key {name!r}{likely}", (*path, name))
    for name, is_needed in keys.items():
        if is_needed and name not in values:
            raise _Misread(f"{_said(path)} has no key {name!r}", path)


def _object(value: Any, path: _Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Misread(f"{_said(path)} must be an object, not {shorten(value)}", path)
    return value


def _closed(schema: Any) -> Any:
    """Return a schema in which no object takes a field that it does not name."""
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) if key == "items" else value for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict):
        closed["properties"] = {name: _closed(value) for name, value in closed["properties"].items()}
        closed.setdefault("additionalProperties", False)
    return closed


def _fixed(value: Any) -> Any:
    return tuple(map(_fixed, value)) if isinstance(value, list) else value
