"""Tools as the application offers them: one shape for providers' and the server's own, one call, one answer."""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kie_ai_mcp._app.patience import USUAL_PATIENCE_S
from kie_ai_mcp._app.resources import Link, Resources
from kie_ai_mcp._flow.engine import Engine, IsHeard, Say, always
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._models.lengths import NO_WISH, Wish
from kie_ai_mcp._models.search import Offer, default_of_tool, lowest_of_tool, offer_of_model, offer_of_tool
from kie_ai_mcp._providers.arguments import NOTHING_USUAL, Arguments, with_defaults
from kie_ai_mcp._providers.tools import BoundTool, describe, title_of

if TYPE_CHECKING:
    from kie_ai_mcp._media.thumbnails import Picture


async def say_nothing(_message: str, _share: float | None) -> None:
    """Drop progress that nobody reads."""


@dataclass(frozen=True)
class Call:
    """The circumstances of one call."""

    say: Say = say_nothing
    patience_s: float = USUAL_PATIENCE_S  # how long the caller waits for an answer, unless the arguments say so
    most_s: float = math.inf  # a longer wait would answer nobody
    is_heard: IsHeard = always
    agreed: int = 0  # the number of the question to a person that it brings a yes to


@dataclass(frozen=True)
class Answer:
    """The answer of a tool: words, the same as data, links to results, pictures of them, and tasks for a page."""

    text: str
    data: dict[str, Any] | None = None
    links: tuple[Link, ...] = ()
    pictures: tuple["Picture", ...] = ()
    entries: Sequence[dict[str, Any]] = ()
    is_error: bool = False


def answer_of(report: Report, links: tuple[Link, ...] = ()) -> Answer:
    """Return a report as the answer of a tool."""
    text, data, is_error = report.rendered()
    return Answer(text, data, links, is_error=is_error)


async def answer_on_record(resources: Resources, report: Report) -> Answer:
    """Return a report of what is on record as the answer of a tool, with the addresses of its results."""
    return answer_of(resources.shown(report), await resources.links([report]))


@dataclass(frozen=True)
class Tool:
    """One tool that can be called. `run` calls it, and raises `KieError` where it fails."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None  # None for a tool that answers in words and pictures alone
    reads_only: bool  # it neither spends nor changes anything
    idempotent: bool  # the same call twice does no more than once
    open_world: bool  # it deals with services other than this server
    run: Callable[[Mapping[str, Any], Call], Awaitable[Answer]]
    check: Callable[[Mapping[str, Any]], object] = dict  # raises InvalidArgument for arguments that it does not take
    failed: str = "refused"  # the status of a call that fails: that of a submission, else "unread" or "not done"

    @property
    def charges(self) -> bool:
        """Whether a call may cost something."""
        return self.open_world and not self.reads_only

    def for_client(self, answer: Answer) -> Answer:
        """Return an answer as a client gets it: hosts that are given data show their model no pictures."""
        return answer if self.output_schema is not None else replace(answer, data=None)


def tool_of_method(
    method: Callable[..., Awaitable[Answer]],
    owner: Callable[[Call], Any],
    output_schema: Mapping[str, Any] | None,
    *,
    reads_only: bool,
    open_world: bool = False,
    unlisted: Iterable[str] = (),
    usual: Mapping[str, Any] = NOTHING_USUAL,
    failed: str = "refused",
) -> Tool:
    """Return an unbound method as a tool: its signature is the schema, its docstring the description.

    `owner` makes the object of one call. A tool that only reads is idempotent. Arguments that are `unlisted` are taken
    all the same; `usual` are the user's own defaults.
    """
    arguments = Arguments(method, ignore=("self",))
    listed = with_defaults(arguments.listed, usual)
    for name in set(unlisted) - usual.keys():
        del listed["properties"][name]

    async def run(values: Mapping[str, Any], call: Call) -> Answer:
        return await method(owner(call), **arguments.check(values, usual))

    return Tool(
        name=arguments.name,
        title=title_of(arguments.name),
        description=describe(method),
        input_schema=listed,
        output_schema=output_schema,
        reads_only=reads_only,
        idempotent=reads_only,
        open_world=open_world,
        run=run,
        check=partial(arguments.check, usual=usual),
        failed="unread" if reads_only else failed,
    )


def offers(engine: Engine, wish: Wish = NO_WISH) -> Sequence[Offer]:
    """Return every tool of the providers and every model, as search shows them, at the prices of a wish."""
    entries, plugins = engine.catalogue.entries, engine.plugins
    models = [offer_of_model(entry, wish=wish) for entry in entries.values()]

    def offer(tool: BoundTool) -> Offer:
        plugin = plugins.plugins[tool.provider]
        if not (plugin.is_first_party and tool.paid):
            return offer_of_tool(tool, plugin.provider, models, None)
        default, lowest = default_of_tool(tool, entries, wish), lowest_of_tool(tool, entries, wish)
        return offer_of_tool(tool, plugin.provider, models, default, lowest)

    return [*map(offer, plugins.tools.values()), *models]
