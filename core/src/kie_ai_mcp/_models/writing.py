"""Calls as a tool's forms write them: a model's fields from the arguments, and its faults in the tool's words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import inf
from typing import Any, get_args

from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.pricing import Estimate, estimate
from kie_ai_mcp._models.terms import beside, number_of, same, texts_in
from kie_ai_mcp._models.wording import shown
from kie_ai_mcp._providers.understanding import AUTO, spelled
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.models import Form, Model
from kie_ai_mcp.specs import FORMAT, ConvertTo, field_of

USUAL_S = 10.0  # the length of a file that is not measured, where forms are compared
Notes = tuple[str, ...]


@cache
def _pattern(names: tuple[str, ...]) -> "re.Pattern[str]":
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w/'\"-])({words})(?![\w/'-])")


@dataclass(frozen=True)
class Written:
    """A call as one form writes it.

    Args:
        model: The model.
        form: The form.
        label: The form's name in messages.
        given: The arguments that were given.
        names: Those that a message may speak of, the given ones first.
        input: What would be sent.
        unwritten: What the form can't write.
        notes: What was rounded, left out or appended.
        convert_to: As for `Submission`.
    """

    model: Model
    form: Form
    label: str
    given: Mapping[str, Any]
    names: tuple[str, ...]
    input: Mapping[str, Any]
    unwritten: tuple[InvalidArgument, ...]
    notes: Notes
    convert_to: ConvertTo | None

    @cached_property
    def price(self) -> Estimate:
        """What the service asks for it."""
        return estimate(self.model, self.input)

    @property
    def cost(self) -> float:
        """The credits by which forms are compared, for files of a usual length; what is not known comes last."""
        price = self.price
        if price.missing:
            price = estimate(self.model, self.input, dict.fromkeys(texts_in(self.input.values()), USUAL_S))
        return inf if price.credits is None else price.credits

    @property
    def name(self) -> str:
        """The model as a caller names it."""
        return self.form.name or self.form.id

    @property
    def fits(self) -> bool:
        """Whether the model takes the whole call; the check costs most, so it comes last."""
        return not self.unwritten and not self.faults

    @property
    def unfit(self) -> int:
        """How many arguments the model has no field for, or needs besides."""
        fields = {*self.model.input["properties"]}
        return sum(fault.value is None or fields.isdisjoint(fields_of(self.form, fault.field)) for fault in self.faults)

    @cached_property
    def _found(self) -> tuple[tuple[InvalidArgument, ...], Notes]:
        found = check(self.model, self.input)
        said = {fault.field for fault in self.unwritten}
        told = [_in_words_of_tool(self, fault) for fault in found.faults]
        faults = (fault for fault in told if field_of(fault.field) not in said)
        return (*self.unwritten, *faults), tuple(_renamed(self.form, note, self.names) for note in found.notes)

    @property
    def faults(self) -> tuple[InvalidArgument, ...]:
        """Everything that forbids sending it, in the tool's words."""
        return self._found[0]

    @property
    def ignored(self) -> Notes:
        """What the service would ignore."""
        return self._found[1]


def write(model: Model, form: Form, given: Mapping[str, Any], label: str, asked: tuple[str, ...] = ()) -> Written:
    """Return a call as a form of this model writes it; `label` names the form in messages, `asked` all arguments."""
    fields: dict[str, Any] = model.input["properties"]
    sent: dict[str, Any] = {}
    faults, notes, said, convert_to = [], [], list[str](), None
    for argument, value in given.items():
        if any(same(value, each) for each in form.implied.get(argument, ())):
            continue
        words, targets = form.words.get(argument), fields_of(form, argument)
        names = [name for name in targets if name in fields]
        if not names and argument in form.appended:
            said.append(form.appended[argument].format(value))
            notes.append(f"{label} has no {argument}: {said[-1]!r} was appended to the prompt.")
        elif not names and argument == FORMAT and value in get_args(ConvertTo):
            convert_to = value
        elif not names:
            why = form.reasons.get(argument, f"{label} has no such setting")
            faults.append(InvalidArgument(argument, value, f"{why}; leave it out"))
        elif _is_auto(value, fields[names[0]]):
            chosen = f"{form.always[names[0]]} is sent" if names[0] in form.always else "the service chooses"
            notes.append(f"{argument} {value} was left out: {chosen}.")
        elif words is not None and value not in words:
            faults.append(InvalidArgument(argument, value, f"{label} takes {' or '.join(map(shown, words))}"))
        elif isinstance(value, list) and not isinstance(form.fields.get(argument, ""), str):
            sent |= {name: _as_schema(item, fields[name], label)[0] for name, item in zip(names, value, strict=False)}
            if len(value) > len(names):
                faults.append(InvalidArgument(argument, value, _too_many(label, len(names), len(value))))
        else:
            earlier = sent.get(names[0])
            sent[names[0]], problem = _as_schema(value if words is None else words[value], fields[names[0]], label)
            if isinstance(earlier, list):
                sent[names[0]] = [*earlier, *sent[names[0]]]
            if problem:
                faults.append(InvalidArgument(argument, value, problem))
            if (rounded := _rounded(model, names[0], sent[names[0]])) is not None:
                sent[names[0]] = rounded
                notes.append(f"{argument} {value:g} was rounded to {rounded:g}, a step that {label} takes.")
    if said:
        sent["prompt"] = "\n".join([*filter(None, [sent.get("prompt")]), *said])
    required = (name for name in model.input.get("required", ()) if "default" in fields[name])
    whole = {**{name: fields[name]["default"] for name in required}, **form.always, **sent}
    speakable = tuple(dict.fromkeys((*given, *form.fields, *asked)))
    return Written(model, form, label, given, speakable, whole, tuple(faults), tuple(notes), convert_to)


def fields_of(form: Form, argument: str) -> tuple[str, ...]:
    """Return the fields that an argument is written to; none where the form does not take it."""
    name = form.fields.get(argument, re.sub("[A-Z]", r"_\g<0>", argument).lower())
    return tuple(filter(None, (name,) if isinstance(name, str) else name))


def _too_many(label: str, most: int, count: int) -> str:
    return f"{label} takes at most {most}, {count} were given"


def _is_auto(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value leaves the choice to the service, which has no word for that here."""
    return isinstance(value, str) and value.lower() == AUTO and not spelled(value, schema.get("enum", ()))


def _as_schema(value: Any, schema: Mapping[str, Any], label: str) -> tuple[Any, str]:
    """Return a value in the type that a field wants, where it is the same, and what keeps it from being so."""
    kind = schema.get("type")
    if kind == "array" and not isinstance(value, list):
        value = [value]
    elif kind == "string" and isinstance(value, list):
        return value[0], "" if len(value) == 1 else _too_many(label, 1, len(value))
    elif kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        value = plain(value)
    elif kind in {"integer", "number"} and isinstance(value, str) and (number := number_of(value)) is not None:
        value = int(number) if number.denominator == 1 else float(number)
    return (isinstance(value, str) and "enum" in schema and spelled(value, schema["enum"])) or value, ""


def _rounded(model: Model, name: str, value: Any) -> float | None:
    """Return the nearest step to a number where a field has steps and the number is between two of them."""
    schema = model.input["properties"][name]
    if schema.get("type") != "number" or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    steps = [rule.step for rule in model.rules if rule.kind == "limit" and name in rule.fields and rule.step]
    step, number = schema.get("multipleOf") or next(iter(steps), None), number_of(value)
    low, high = number_of(schema.get("minimum")), number_of(schema.get("maximum"))
    if step is None or number is None or number in beside(number, step):
        return None
    near = min(beside(number, step), key=lambda each: (abs(each - number), -each))
    near = max(near, low) if low is not None else near
    return float(min(near, high) if high is not None else near)


def _in_words_of_tool(call: Written, fault: InvalidArgument) -> InvalidArgument:
    """Return a fault of a model's field as one of the argument that is written there."""
    form, given, name = call.form, call.given, field_of(fault.field)
    argument = next((each for each in call.names if name in fields_of(form, each)), name)
    place = argument + fault.field.removeprefix(name)
    targets = fields_of(form, argument)
    if len(targets) > 1 and argument in given:
        place = f"{argument}[{targets.index(name)}]"
    allowed = _renamed(form, fault.allowed, call.names, argument)
    if fault.value is None:
        allowed = re.sub(r"^give \[([^]]*)\].*", r"give \1", allowed)  # a list there may be one value here
        return InvalidArgument(place, None, allowed, message=f"{place}: {call.label} needs it; {allowed}.")
    value = given.get(argument, fault.value) if place == argument else fault.value
    if isinstance(value, int | float):
        allowed = re.sub(r"'(-?[\d.]+)'", r"\1", allowed)  # a number here may be text there
    return InvalidArgument(place, value, f"with {call.label}, {allowed}")


def _renamed(form: Form, text: str, arguments: Sequence[str], about: str = "") -> str:
    """Return a sentence about a model's fields and values in a tool's arguments and values.

    Only texts are recognised anywhere; numbers are those of the argument that the sentence is `about`.
    """
    names = {name: argument for argument in reversed(arguments) for name in fields_of(form, argument)}
    text = _pattern(tuple(names)).sub(lambda found: names[found[1]], text) if names else text
    for argument, words in form.words.items():
        for ours, theirs in words.items():
            if isinstance(theirs, str) or argument == about:
                text = re.sub(rf"(?<!\w){re.escape(shown(theirs))}(?!\w)", shown(ours).replace("\\", ""), text)
    return text
