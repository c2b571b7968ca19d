"""Types of files that decide a price: what a tool costs of a WAV and what of an MP3, and what is cheaper."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from kie_ai_mcp._models.catalogue import Entry
from kie_ai_mcp._models.samples import ADDRESS
from kie_ai_mcp._models.search import Offer, dearness, default_of_tool
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.models import Model
from kie_ai_mcp.specs import Media


@dataclass(frozen=True)
class Dear:
    """A tool's price where an argument is a file of some types, which is above its price for files of others.

    `offer` is the model that it then buys, `cheap` that for the `others`; `rivals` are tools that do it for less.
    """

    tool: str
    field: str
    kinds: tuple[str, ...]
    formats: tuple[str, ...]
    offer: Offer
    others: tuple[str, ...]
    cheap: Offer
    rivals: tuple[tuple[str, str], ...] = ()  # names and prices

    @property
    def words(self) -> str:
        """Both prices, and what takes the dearer files for less."""
        dear = f"{self.offer.price} of {types_in_words(self.formats)} ({self.offer.name})"
        cheap = f"{self.cheap.price} of {types_in_words(self.others)} ({self.cheap.name})"
        rivals = " or ".join(f"{name} for {price}" for name, price in self.rivals)
        return f"{dear}, {cheap}{f'; {types_in_words(self.formats)} is taken by {rivals}' if rivals else ''}"


@dataclass(frozen=True)
class Formats:
    """The prices of tools by the types of files that they take. Their functions are called, so they must be ours."""

    tools: Mapping[str, BoundTool]
    entries: Mapping[str, Entry]

    _of_tools: dict[str, tuple[Dear, ...]] = field(default_factory=dict)
    _of_results: dict[tuple[str, ...], tuple[Dear, ...]] = field(default_factory=dict)

    def of_tool(self, name: str) -> tuple[Dear, ...]:
        """Return what costs more of some files than of others in a usual call of a tool."""
        if name in self.tools and name not in self._of_tools:
            self._of_tools[name] = tuple(self.of_call(self.tools[name], {}))
        return self._of_tools.get(name, ())

    def of_result(self, kind: str, formats: tuple[str, ...]) -> tuple[Dear, ...]:
        """Return what tools cost that take a result of this kind and of these types, and are cheaper with others."""
        if not formats:
            return ()
        if (kind, *formats) not in self._of_results:
            found = chain.from_iterable(self.of_call(tool, {}, kind) for tool in self.tools.values())
            self._of_results[kind, *formats] = tuple(dear for dear in found if {*formats} <= {*dear.formats})
        return self._of_results[kind, *formats]

    def of_results_of(self, name: str) -> tuple[Dear, ...]:
        """Return what tools cost more that take the results of a usual call of a tool or model."""
        bought = default_of_tool(self.tools[name], self.entries) if name in self.tools else None
        entry = self.entries.get(bought.name if bought else name)
        return self.of_result(entry.model.kind, entry.model.formats) if entry else ()

    def of_call(self, tool: BoundTool, arguments: Mapping[str, Any], kind: str = "") -> Iterator[Dear]:
        """Yield what costs more of some files than of others in a call with these arguments, whatever they name.

        With a `kind`, only of files that are of it.
        """
        for name, media in _files_of(tool):
            if kind and kind not in media.kinds:
                continue
            groups: dict[Offer, list[str]] = {}
            for ending in self._taken(tool, media):
                if offer := self._offer(tool, arguments, name, ending):
                    groups.setdefault(offer, []).append(ending)
            cheap = min(groups, key=dearness, default=None)
            for offer, endings in groups.items():
                if cheap is not None and _is_below(cheap, offer):
                    formats, others = tuple(endings), tuple(groups[cheap])
                    rivals = tuple(self._rivals(tool, media, formats, offer))
                    yield Dear(tool.name, name, media.kinds, formats, offer, others, cheap, rivals)

    def notes(self, tool: str, arguments: Mapping[str, Any], model: str | None) -> tuple[str, ...]:
        """Return what is to be said before a call is paid, a sentence each: of its files, and of what it makes."""
        own = self.of_call(self.tools[tool], arguments) if self.of_tool(tool) else ()
        found = [
            f"The type of {dear.field} decides the price: {dear.words}." for dear in own if dear.offer.name == model
        ]
        entry = self.entries.get(model or "")
        return (*found, *(self.notes_of(entry.model) if entry else ()))

    def notes_of(self, model: Model) -> Iterator[str]:
        """Yield what tools cost that take a model's results, where other files are cheaper, a sentence each."""
        for dear in self.of_result(model.kind, model.formats):
            yield f"It makes {types_in_words(model.formats)}, which decides the price of {dear.tool}: {dear.words}."

    def _rivals(
        self, tool: BoundTool, media: Media, formats: tuple[str, ...], dear: Offer
    ) -> Iterator[tuple[str, str]]:
        """Yield the tools that do the same with the same kinds of files, and take those of the dear types for less."""
        for other in self.tools.values():
            if other is tool or _needed(other) != _needed(tool):
                continue
            for name, taken in _files_of(other):
                takes = taken.kinds == media.kinds and {*formats} <= {*self._taken(other, taken)}
                offer = self._offer(other, {}, name, formats[0]) if takes else None
                if offer and offer.task == dear.task and _is_below(offer, dear):
                    yield other.name, offer.price

    def _taken(self, tool: BoundTool, media: Media) -> tuple[str, ...]:
        """Return the types that a tool takes of these files: those that it names, else those that its models do."""
        own = (entry.model.media for entry in self.entries.values() if entry.model.tool == tool.name)
        theirs = (each.formats for files in own for each in files.values() if each.kinds == media.kinds)
        return media.formats or tuple(dict.fromkeys(chain.from_iterable(theirs)))

    def _offer(self, tool: BoundTool, arguments: Mapping[str, Any], name: str, ending: str) -> Offer | None:
        address: Any = ADDRESS.format(f"file.{ending}")
        is_list = tool.arguments.schema["properties"][name].get("type") == "array"
        return default_of_tool(tool, self.entries, **{**arguments, name: [address] if is_list else address})


def _files_of(tool: BoundTool) -> Iterator[tuple[str, Media]]:
    """Yield the arguments that are a file's address or a list of such, with the limits of these files."""
    return ((name, media) for name, media in tool.arguments.media.items() if name in tool.arguments.names)


def _needed(tool: BoundTool) -> list[tuple[str, ...]]:
    """Return the kinds of the files that a tool can't do without."""
    required = tool.arguments.schema.get("required", ())
    return sorted(media.kinds for name, media in _files_of(tool) if name in required)


def _is_below(offer: Offer, other: Offer) -> bool:
    """Return whether a price is lower than another in the same unit."""
    (*unit, price), (*unit_of_other, price_of_other) = dearness(offer), dearness(other)
    return unit == unit_of_other and price < price_of_other


def types_in_words(endings: tuple[str, ...]) -> str:
    """Return types of files as people read them (``MP3, AAC or OGG``)."""
    words = [ending.upper() for ending in endings]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
