"""Limits between the arguments of a tool, found by asking its function, in lines like those of a model's rules."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from kie_ai_mcp._models.samples import choices, usual, usual_input
from kie_ai_mcp._models.wording import joined
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.models import Model
from kie_ai_mcp.specs import field_of

MOST_VALUES = 40  # so many numbers or lengths of one argument are tried, else one
MODEL = "model"

Values = Mapping[Any, Any]  # what is tried of one argument, each by its word: a value, the length of a list


def model_of(tool: BoundTool, schema: Mapping[str, Any] | None = None) -> Model:
    """Return a tool's arguments as the fields of a model, by default all that it takes."""
    media = {path: limits for name, limits in tool.arguments.media.items() for path in (name, f"{name}[]")}
    return Model(tool.name, tool.title, tool.kind, "", schema or tool.arguments.schema, media)


@dataclass(frozen=True)
class Limits:
    """What the arguments of a tool need besides what every call does, and what they exclude.

    The tool's function is called here, many times, so it must be one of this project.
    """

    tool: BoundTool
    _known: dict[frozenset[tuple[str, Any]], bool] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield a line for each limit: ``with style FICTION: needs image_urls``, ``sound not with model 2.6``."""
        for name, (longest, allowed) in self._lengths.items():
            if longest < allowed:
                yield f"length of {name} at most {longest}"
        for name in self._tried:
            yield from self._alone(name)
        for one, other in combinations(self._tried, 2):
            yield from self._together(*((other, one) if one == MODEL else (one, other)))

    @cached_property
    def _model(self) -> Model:
        return model_of(self.tool)

    @cached_property
    def _fields(self) -> dict[str, Mapping[str, Any]]:
        """The fields that are looked at: those without parts, of which no sample is as good as what people write."""
        fields, callbacks = self._model.input["properties"], self.tool.arguments.callbacks
        kinds = {name: {fields[name].get("type"), fields[name].get("items", {}).get("type")} for name in fields}
        return {
            name: fields[name]
            for name in fields
            if "object" not in kinds[name] and name not in callbacks and not fields[name].get("deprecated")
        }

    @cached_property
    def _least(self) -> dict[str, Any]:
        """The arguments of the least call that is sent, as far as a refusal names what it needs."""
        least = usual_input(self._model)
        needed = {field_of(fault.field) for fault in self._faults(least) if fault.value is None}
        return least | {name: usual(self._model, name) for name in needed & self._fields.keys()}

    @cached_property
    def _lengths(self) -> dict[str, tuple[int, int]]:
        """How long a list or a free text may be at the most, and what its field says of that."""
        return {
            name: self._longest(name, schema)
            for name, schema in self._fields.items()
            if schema.get("type") in {"array", "string"} and not choices(schema)
        }

    def _longest(self, name: str, schema: Mapping[str, Any]) -> tuple[int, int]:
        sample = usual(self._model, name)
        one, least = ("a", len(sample)) if isinstance(sample, str) else (sample[:1], 1)
        allowed = most = schema.get("maxLength", least) if one == "a" else schema.get("maxItems", MOST_VALUES)
        is_file = one == "a" and name in self._model.media
        if is_file or not self._takes({name: one * least}) or self._takes({name: one * most}):
            return allowed, allowed
        while most - least > 1:
            half = (least + most) // 2
            least, most = (half, most) if self._takes({name: one * half}) else (least, half)
        return least, allowed

    @cached_property
    def _tried(self) -> dict[str, Values]:
        tried = {name: self._values(name, schema) for name, schema in self._fields.items()}
        return {name: values for name, values in tried.items() if len(values) > (name in self._least)}

    @cached_property
    def _taken(self) -> dict[str, Values]:
        """The values that are taken beside what every call needs."""
        return {
            name: {word: value for word, value in values.items() if self._takes({name: value})}
            for name, values in self._tried.items()
        }

    @cached_property
    def _alike(self) -> dict[str, dict[Any, list[Any]]]:
        """The values that are taken, each class of numbers or lengths that go with the same under the first of them.

        A look at each pair of numbers would take seconds.
        """
        alike = dict[str, dict[Any, list[Any]]]()
        for name, values in self._taken.items():
            classes = dict[Any, list[Any]]()
            for word in values:
                is_number = type(word) is int
                classes.setdefault(self._goes_with(name, word, [MODEL]) if is_number else word, []).append(word)
            others = [other for other in self._taken if other not in (name, MODEL)]
            whole = list[list[Any]]()
            for words in classes.values():
                first, last = (self._goes_with(name, words[end], others) for end in (0, -1)) if words[1:] else (0, 0)
                whole += [words] if first == last else [[word] for word in words]
            alike[name] = {words[0]: words for words in whole}
        return alike

    def _goes_with(self, name: str, word: Any, others: Iterable[str]) -> tuple[bool, ...]:
        """Return whether a value is taken with each of other arguments' values; of numbers with the ends alone."""
        ranges = {other: [*self._taken.get(other, ())] for other in others}
        return tuple(
            self._go(name, word, other, each)
            for other, values in ranges.items()
            for each in (values[:1] + values[-1:] if values and type(values[0]) is int else values)
        )

    def _values(self, name: str, schema: Mapping[str, Any]) -> Values:
        least, most = schema.get("minimum"), schema.get("maximum")
        if schema.get("type") == "integer" and least is not None and most is not None and most - least < MOST_VALUES:
            return {number: number for number in choices(schema) or range(least, most + 1)}
        if named := choices(schema):
            return {value: value for value in named}
        sample = usual(self._model, name)
        if isinstance(sample, list):
            return {length: sample[:1] * length for length in range(1, min(self._lengths[name][0], MOST_VALUES) + 1)}
        return {"": sample}

    def _alone(self, name: str) -> Iterator[str]:
        """Yield what values need that are refused beside what every call needs."""
        needs = dict[str, list[Any]]()
        for word in (word for word in self._tried[name] if word not in self._taken[name]):
            beside = {other: self._beside(name, word, other) for other in self._tried if other != name}
            ways = (self._words(other, words) for other, words in beside.items() if words)
            needs.setdefault(" or ".join(ways), []).append(word)
        for needed, words in needs.items():
            refused = self._words(name, words)
            yield f"with {refused}: needs {needed}" if needed else f"{refused}: refused"

    def _together(self, one: str, other: str) -> Iterator[str]:
        """Yield which values of two arguments exclude each other."""
        excluded = dict[tuple[Any, ...], list[Any]]()
        for word, same in self._alike[other].items():
            taken = {*self._beside(other, word, one)}
            refused = tuple(each for each in self._taken[one] if each not in taken)
            excluded.setdefault(refused, []).extend(same)
        for words, others in excluded.items():
            if words:
                placed = [each for each in self._taken[other] if each in others]
                yield f"{self._words(one, words)} not with {self._words(other, placed)}"

    def _beside(self, name: str, word: Any, other: str) -> list[Any]:
        """Return the values of another argument that are taken beside one."""
        return [
            each for first, same in self._alike[other].items() if self._go(name, word, other, first) for each in same
        ]

    def _words(self, name: str, words: Collection[Any]) -> str:
        """Return an argument with these of its values; all of them go without saying."""
        if len(words) == len(self._tried[name]):
            return name
        is_list = self._fields[name].get("type") == "array"
        return f"{'length of ' if is_list else ''}{name} {joined(words)}"

    def _go(self, one: str, word: Any, other: str, second: Any) -> bool:
        """Return whether two values are taken together."""
        pair = frozenset(((one, word), (other, second)))
        if pair not in self._known:
            self._known[pair] = self._takes({one: self._tried[one][word], other: self._tried[other][second]})
        return self._known[pair]

    def _takes(self, chosen: Mapping[str, Any]) -> bool:
        return not self._faults({**self._least, **chosen})

    def _faults(self, arguments: Mapping[str, Any]) -> tuple[InvalidArgument, ...]:
        try:
            self.tool.fn(**self.tool.check(arguments, saves=True)[1])
        except InvalidArgument as exc:
            return exc.faults
        return ()
