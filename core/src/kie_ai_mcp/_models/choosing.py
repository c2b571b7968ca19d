"""Forms of a tool: the models that can do its work, how each writes the tool's arguments, and the choice among them.

A plugin keeps its models as data beside its module, and says only where a tool's words differ from a model's::

    FAMILY = Family(__name__, "Nano Banana")
    FORMS = (
        Form("google/nano-banana", fields={"image_size": "aspect_ratio"}),
        Form("nano-banana-2", fields={"image_size": "aspect_ratio", "image_urls": "image_input"}),
    )

    def generate_nano_banana(prompt: Prompt, image_size: Shape | None = None, model: str | None = None) -> Submission:
        asked = {"prompt": prompt, "image_size": image_size}
        return FAMILY.choose(FORMS, asked, model).submission("nano-banana")

The cheapest form that takes the whole call is used. Where none does, every fault is told in the tool's own words.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from math import inf
from typing import Any, get_args

from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.pricing import Estimate, estimate
from kie_ai_mcp._models.terms import EMPTY, beside, number_of, plain, same, texts_in
from kie_ai_mcp._models.wording import price_notes, shown
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.models import Form, Model, read_models
from kie_ai_mcp.specs import FORMAT, ConvertTo, Kind, Paths, Submission, field_of

SHOWN = 3  # models that take a call whose own does not, in one message
USUAL_S = 10.0  # the length of a file that is not measured, where forms are compared
AUTO = "auto"  # leaves a choice to the service, as an argument that is left out does
Notes = tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The model that was chosen for a call.

    Args:
        form: The form of it.
        model: Its data.
        input: What is sent to it, checked.
        notes: What was chosen, rounded, left out or appended, a sentence each.
        price: Its price for this input.
        convert_to: As for `Submission`.
    """

    form: Form
    model: Model
    input: Mapping[str, Any]
    notes: tuple[str, ...]
    price: Estimate
    convert_to: ConvertTo | None = None

    def submission(
        self, api_type: str, callback_url: str | None = None, *, kind: Kind | None = None, notes: Sequence[str] = ()
    ) -> Submission:
        """Return the request to the market's common address, with further notes."""
        # Where there is more to be said of the price, core says it when it has seen the files.
        exact = None if price_notes(self.model, self.price) else self.price.credits
        return Submission.market(
            self.model.id,
            self.input,
            api_type=api_type,
            callback_url=callback_url,
            estimated_credits=exact,
            notes=(*self.notes, *notes),
            kind=kind,
            checked=exact is not None,
            convert_to=self.convert_to,
        )

    def own(
        self,
        path: Paths,
        api_type: str,
        callback_url: str | None = None,
        *,
        model: str | None = None,
        names: Mapping[str, str] = EMPTY,
    ) -> Submission:
        """Return the request to a family's own address, in camel case but for `names`; `submission` is its other form.

        Args:
            path: As for `Submission`.
            api_type: As for `Submission`.
            callback_url: As for `Submission.market`.
            model: As for `Submission`.
            names: What the address calls fields that it does not write in camel case.
        """
        camel = {name: re.sub("_([a-z])", lambda sign: sign[1].upper(), name) for name in self.input}
        body = {names.get(name, camel[name]): value for name, value in self.input.items()}
        return Submission(
            path,
            {**body, "callBackUrl": callback_url},
            api_type,
            model=model,
            estimated_credits=self.price.credits,
            notes=self.notes,
            otherwise=self.submission(api_type, callback_url),
            convert_to=self.convert_to,
        )


@dataclass(frozen=True)
class Family:
    """The models of one plugin, read from its data file when they are first needed.

    Args:
        package: The plugin's package, ``__name__`` of its ``__init__`` module.
        title: The family's name before a form's name in messages (``"Kling"``).
        file: The data file, in the form of `read_models`.
    """

    package: str
    title: str
    file: str = "models.json"

    @cached_property
    def models(self) -> Mapping[str, Model]:
        """Every model by id."""
        text = files(self.package).joinpath(self.file).read_text(encoding="utf-8")
        return {model.id: model for model in read_models(text)}

    def choose(
        self,
        forms: Sequence[Form],
        asked: Mapping[str, Any],
        named: str | None = None,
        by: str = "model",
        *,
        instead: Mapping[str, Any] | None = None,
        preferred: Collection[Form] = (),
        faults: Sequence[InvalidArgument] = (),
    ) -> Choice:
        """Return the form that takes a whole call and ignores least of it, the cheapest of several.

        Args:
            forms: The tool's forms; the first of several that cost the same is used.
            asked: The tool's arguments; None and empty ones count as left out.
            named: The form's name that the caller insists on, or the model's id.
            by: The tool's argument that names it.
            instead: A whole call of another tool that works where no form takes this one, as in `InvalidArgument`.
            preferred: Those of the forms that come before the others, whatever they cost.
            faults: What the tool itself finds wrong with the call; told together with the rest.

        Raises:
            InvalidArgument: No form takes the call. Names everything that is wrong with the one that comes nearest.
        """
        chosen, notes = choose(self.title, self.models, forms, asked, named, by, instead, preferred, faults)
        return Choice(chosen.form, chosen.model, chosen.input, notes, chosen.price, chosen.convert_to)


def choose(
    title: str,
    models: Mapping[str, Model],
    forms: Sequence[Form],
    asked: Mapping[str, Any],
    named: str | None,
    by: str = "model",
    instead: Mapping[str, Any] | None = None,
    preferred: Collection[Form] = (),
    further: Sequence[InvalidArgument] = (),
) -> tuple["Written", Notes]:
    """Return the call as the form writes it that `Family.choose` describes, and what is to be said of it."""
    given = {name: value for name, value in asked.items() if value is not None and value not in ([], {}, "")}

    def written(form: Form) -> Written:
        return write(models[form.id], form, given, label_of(form), tuple(asked))

    def label_of(form: Form) -> str:
        return form.id if form.name in {"", *models} else f"{title} {form.name}".strip()

    allowed = [written(form) for form in forms if named in {None, form.name or form.id, form.id}]
    # A check costs more than a price, so the cheapest is checked first, and mostly alone.
    allowed.sort(key=lambda one: (one.form not in preferred, one.convert_to is not None, one.cost))
    best: Written | None = None
    for one in allowed:
        if one.fits and (best is None or len(one.ignored) < len(best.ignored)):
            best = one
            if not one.ignored:
                break
    names = dict.fromkeys(form.name or form.id for form in forms)
    if best is not None and not further:
        rank = "first" if best.cost == inf else "cheapest"
        kind = "fitting model" if best.form in preferred else "model"
        note = f"{label_of(best.form)} was chosen: the {rank} {kind} that takes the whole call."
        return best, (*(() if named or len(names) == 1 else (note,)), *best.notes, *best.ignored)
    nearest = min(allowed, key=lambda one: (one.unfit, len(one.faults)))
    error = InvalidArgument.joined([*further, *nearest.faults])
    others = sorted(map(written, forms), key=lambda one: one.cost) if named and not further else ()
    if able := dict.fromkeys(one.form.name or one.form.id for one in others if one.fits):
        error.message += f" The whole call is taken by {' or '.join(f'{by}={name!r}' for name in [*able][:SHOWN])}."
        error.instead = {"arguments": {by: next(iter(able))}}  # the rest of the call is added where it is known
    elif instead:
        error.message += f" {instead['tool']} can do it."
        error.instead = instead
    elif not further and (spare := _spare(nearest, asked)):
        error.instead = {"arguments": dict.fromkeys(spare)}
    raise error


def _spare(one: "Written", asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments without which the model takes the call, where it has no setting for any that is wrong."""
    names = tuple(fault.field for fault in one.faults)
    rest = {name: value for name, value in one.given.items() if name not in names}
    is_spare = all(name in one.given and not one.has(name) for name in names)
    return names if is_spare and not write(one.model, one.form, rest, one.label, tuple(asked)).faults else ()


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

    def has(self, argument: str) -> bool:
        """Return whether the model has a field for an argument."""
        return any(name in self.model.input["properties"] for name in fields_of(self.form, argument))

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
        if any(same(value, each) for each in form.anyway.get(argument, ())):
            continue
        words, targets = form.words.get(argument), fields_of(form, argument)
        names = [name for name in targets if name in fields]
        if not names and argument in form.said:
            said.append(form.said[argument].format(value))
            notes.append(f"{label} has no {argument}: {said[-1]!r} was appended to the prompt.")
        elif not names and argument == FORMAT and value in get_args(ConvertTo):
            convert_to = value
        elif not names:
            why = form.lacks.get(argument, f"{label} has no such setting")
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
    return isinstance(value, str) and value.lower() == AUTO and not _spelled(value, schema)


def _spelled(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a text as a schema's enum spells it; None where it has no such value."""
    texts = {each.lower(): each for each in schema.get("enum", ()) if isinstance(each, str)}
    return texts.get(value.lower()) if isinstance(value, str) else None


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
    return _spelled(value, schema) or value, ""


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
    allowed = _renamed(form, fault.allowed, call.names)
    if fault.value is None:
        allowed = re.sub(r"^give \[([^]]*)\].*", r"give \1", allowed)  # a list there may be one value here
        return InvalidArgument(place, None, allowed, message=f"{place}: {call.label} needs it; {allowed}.")
    value = given.get(argument, fault.value) if place == argument else fault.value
    if isinstance(value, int | float):
        allowed = re.sub(r"'(-?[\d.]+)'", r"\1", allowed)  # a number here may be text there
    return InvalidArgument(place, value, f"with {call.label}, {allowed}")


def _renamed(form: Form, text: str, arguments: Sequence[str]) -> str:
    """Return a sentence about a model's fields and values in the tool's arguments and values."""
    names = {name: argument for argument in reversed(arguments) for name in fields_of(form, argument)}
    text = _pattern(tuple(names)).sub(lambda found: names[found[1]], text) if names else text
    for words in form.words.values():
        for ours, theirs in words.items():
            text = re.sub(rf"(?<!\w){re.escape(shown(theirs))}(?!\w)", shown(ours).replace("\\", ""), text)
    return text
