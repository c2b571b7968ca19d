"""The application: a tool's name and arguments in, an answer out. It knows no protocol."""

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, lru_cache, partial
from typing import Any

import anyio

from kie_ai_mcp._app.calls import Calls
from kie_ai_mcp._app.changes import Changes
from kie_ai_mcp._app.gallery import SHOWN_BY, Gallery
from kie_ai_mcp._app.hints import for_user
from kie_ai_mcp._app.model_tools import MODEL_TOOLS, UNLISTED, ModelTools, model_tools, pinned
from kie_ai_mcp._app.own_tools import NAMES, OwnTools, own_tools
from kie_ai_mcp._app.patience import FIRST_WAIT_S, USUAL_PATIENCE_S, Waits, patience_of
from kie_ai_mcp._app.prompts import Prompts
from kie_ai_mcp._app.resources import Resources
from kie_ai_mcp._app.states import TaskStates
from kie_ai_mcp._app.tools import Answer, Call, Tool, answer_of, answer_on_record, offers, say_nothing
from kie_ai_mcp._flow.consent import ConsentNeeded
from kie_ai_mcp._flow.engine import Engine, IsHeard, Say, always
from kie_ai_mcp._flow.people import People
from kie_ai_mcp._flow.refusal import completed
from kie_ai_mcp._flow.report import OUTPUT_SCHEMA, Report, bounded, report_of_error
from kie_ai_mcp._flow.results import query
from kie_ai_mcp._flow.retention import forget
from kie_ai_mcp._flow.submit import deliver, submit
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._flow.watching import catch_up, watch
from kie_ai_mcp._models.search import Offer
from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._providers.tools import BoundTool, check_defaults, describe
from kie_ai_mcp._settings.load import STRICT, Faults, nearest
from kie_ai_mcp._settings.secrets import DEEPEST as DEEPEST_ANSWER
from kie_ai_mcp._settings.settings import Settings, variable
from kie_ai_mcp.errors import ConfigError, InvalidArgument, KieError, ReadFailed, StorageError, Unknown

log = logging.getLogger(__name__)
ANSWER_BYTES = 35_000  # the most of an answer in words, and as data: hosts refuse 100 kB of both and the links together
MOST_LINKS = 50
OFFERS_KEPT = 8  # lists of all offers, each at the prices of another length or resolution
RESERVED = (*MODEL_TOOLS, *NAMES)  # names of tools that no provider may take
DEEPEST = DEEPEST_ANSWER + 9  # how deep an answer may be nested: one of the service's lies inside our own


@dataclass
class App:
    """The tools of one process."""

    settings: Settings
    engine: Engine
    _has_caught_up: bool = False
    _waits: Waits = field(default_factory=Waits)

    @classmethod
    def open(cls, settings: Settings, faults: Faults = STRICT) -> "App":
        """Load the providers and open the record, as `Engine.open` does."""
        engine = Engine.open(settings, RESERVED, faults)
        for name in engine.settings.pinned_models:
            if engine.catalogue.find(name) is None:
                reason = f"{variable('pinned_models')} names {name!r}, but there is no such model."
                cure = nearest(name, engine.catalogue.entries)
                faults.append(ConfigError(reason, next_step=cure, where=("pinned_models", name)))
        app = cls(engine.settings, engine)
        own = engine.settings.tools.keys() - engine.plugins.tools.keys()  # the others were checked with their tools
        for name in own and own & {*app.names}:
            try:
                check_defaults(name, engine.settings.tools[name], app.tool(name).check)
            except ConfigError as exc:
                faults.append(exc)
                engine.settings = engine.settings.without(*exc.where)
        engine.people = People(engine)
        return cls(engine.settings, engine)

    @cached_property
    def calls(self) -> Calls:
        """The calls of tools, as they are logged and counted."""
        return Calls(self.engine)

    @cached_property
    def states(self) -> TaskStates:
        """The states of tasks, for clients that ask for them by their ids."""
        return TaskStates(self.engine, self.told, self.clean)

    @cached_property
    def resources(self) -> Resources:
        """Tasks, providers and results by address."""
        return Resources(self.engine)

    @cached_property
    def changes(self) -> Changes:
        """Notifications of changes on record."""
        return Changes(self.engine, self.resources)

    @cached_property
    def prompts(self) -> Prompts:
        """The prompts that people choose in their client."""
        return Prompts(self.engine, self._is_listed, self._offers)

    @cached_property
    def _is_listed(self) -> Callable[[str], bool]:
        return frozenset(tool.name for tool in self.listed).__contains__

    @cached_property
    def _offers(self) -> Callable[..., Sequence[Offer]]:
        return lru_cache(OFFERS_KEPT)(partial(offers, self.engine))

    @cached_property
    def gallery(self) -> Gallery:
        """Tasks of answers for a page that a host shows."""
        return Gallery(self.engine, self.resources, self._is_listed)

    @cached_property
    def _providers_tools(self) -> dict[str, Tool]:
        return {name: self._of_provider(tool) for name, tool in self.engine.plugins.tools.items()}

    @cached_property
    def _own_tools(self) -> dict[str, Tool]:
        return {tool.name: tool for tool in own_tools(self.engine, self.resources)}

    @cached_property
    def _model_tools(self) -> dict[str, Tool]:
        called = self._providers_tools | self._own_tools
        return {tool.name: tool for tool in model_tools(self.engine, called, self._of_provider, self._offers)}

    @cached_property
    def _pinned(self) -> dict[str, Tool]:
        """Single models as tools of their own, those that the settings name."""
        catalogue = self.engine.catalogue if self.settings.pinned_models else None
        entries = filter(None, map(catalogue.find, self.settings.pinned_models)) if catalogue else ()
        return {tool.name: tool for tool in (pinned(self.engine, entry, self._of_provider) for entry in entries)}

    @property
    def listed(self) -> Iterable[Tool]:
        """Every tool that a client is offered, the same for every client.

        The server's own follow those of the providers, and what the service no longer has, or never had, comes last.
        """
        of_providers = {} if self.settings.compact else self._providers_tools
        tools = of_providers | self._pinned | self._model_tools | self._own_tools
        return sorted(tools.values(), key=lambda tool: self.engine.plugins.rank(tool.name))

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every tool that can be called."""
        return (*self._providers_tools, *self._pinned, *self._model_tools, *self._own_tools)

    def tool(self, name: str) -> Tool:
        """Return a tool that can be called, or raise InvalidArgument where there is none of that name."""
        tools = self._providers_tools | self._pinned | self._model_tools | self._own_tools
        if name not in tools:
            reason = self.engine.plugins.why_unlisted(name) or f"there is no such tool. {nearest(name, tools)}"
            raise InvalidArgument("name", name, reason)
        return tools[name]

    def watch(self) -> None:
        """Look after running tasks and old ones for as long as the engine runs, as settings want it; for a server."""
        if self.settings.watch:
            self.engine.start_in_background(watch(self.engine))
        if self.settings.retention_days is not None:
            self.engine.start_in_background(forget(self.engine, timedelta(days=self.settings.retention_days)))

    async def run(self, name: str, arguments: Mapping[str, Any] | None, call: Call) -> Answer:
        """Call one tool; raise KieError where it fails, or there is none of that name."""
        return self._clean(await self.tool(name).run(arguments or {}, call))

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None,
        say: Say = say_nothing,
        client: str | None = None,
        is_heard: IsHeard = always,
        session: str | None = "",
        *,
        at_once: bool = False,
        asks: bool = False,
        shows: bool = False,
        agreed: int = 0,
    ) -> Answer:
        """Call one tool. Whatever goes wrong is an answer that a model can read; only an unknown name is raised.

        A caller that `asks` its person gets ConsentNeeded raised as well, and brings with `agreed` the question that
        they answered; one that `shows` the gallery gets entries.

        No wait outlasts the patience of the client, known by its name; `None` is a caller without a limit. Others'
        waits are short at first, by `session`, unless that is None: who wants progress waits for it. With `at_once` a
        paid call does not wait for its task.
        """
        with self.calls.made(arguments) as made:
            made.tool = tool = self.tool(name)
            patience_s = self.settings.patience_s or patience_of(client or "")
            most_s, who, began = math.inf if client is None else patience_s, f"{client} {session}", anyio.current_time()
            is_usual = patience_s == USUAL_PATIENCE_S != self.settings.patience_s
            if client is not None and session is not None and is_usual:
                most_s = min(most_s, abs(self._waits.get(who, FIRST_WAIT_S)))
            call = Call(say, patience_s, 0.0 if at_once and tool.charges else most_s, is_heard, agreed)
            if not self._has_caught_up:  # at the first call: before it nothing asks the service
                self._has_caught_up = True
                self.engine.start_in_background(catch_up(self.engine))
            try:
                answer = made.answered(await tool.run(arguments or {}, call))
                if tool.reads_only:
                    answer = await self._with_problems(answer)
                if self.engine.life.has_notices and self.engine.record.sees_all:
                    answer = await self._with_notices(answer)
                if shows and name in SHOWN_BY:
                    answer = replace(answer, entries=await self.gallery.beside(answer.data or {}))
                answer = _limited(self._clean(_typed(self.engine, tool.for_client(answer))))
                self._waits.learn(who, anyio.current_time() - began, given_up=False)
                return answer
            except KieError as exc:
                if asks and isinstance(exc, ConsentNeeded):
                    raise
                error = exc
            except anyio.get_cancelled_exc_class():
                self._waits.learn(who, anyio.current_time() - began, given_up=True)
                raise
            except Exception:
                log.exception("tool %s failed", name)
                error = _failed_inside(tool)
            made.failed(error)
            return made.answered(await self.refused(name, error))

    async def refused(self, name: str, error: KieError) -> Answer:
        """Return the error of a tool's call as the answer."""
        answer = answer_of(report_of_error(error, self.tool(name).failed))
        answer = await self._with_problems(answer) if self.tool(name).reads_only else answer
        return _limited(self._clean(_typed(self.engine, answer)))

    async def told(self, report: Report) -> Answer:
        """Return a report as the answer of a call."""
        return _limited(self._clean(_typed(self.engine, await answer_on_record(self.resources, report))))

    async def _with_problems(self, answer: Answer) -> Answer:
        """Add to a read's answer what keeps paid requests from being made, so that none is planned."""
        return _noted(answer, [f"Paid requests are refused: {error}" for error in await self.engine.problems()], 0)

    async def _with_notices(self, answer: Answer) -> Answer:
        """Add what was noticed of the service, before the last line; no other answer of any process says it again."""
        self.engine.life.has_notices = False
        with suppress(StorageError):
            return _noted(answer, await self.engine.record.kept.tell(), max(1, answer.text.count("\n")))
        return answer

    def clean(self, text: str) -> str:
        """Return text without the key, also where an argument held it, and with nothing that no encoder takes."""
        return str(self.resources.mask.json(text, encodable=True))

    def _clean(self, answer: Answer) -> Answer:
        links = [[link.uri, link.name] for link in answer.links]
        text, data, links = self.resources.mask.json([answer.text, answer.data, links], DEEPEST, encodable=True)
        named = (replace(link, uri=uri, name=name) for link, (uri, name) in zip(answer.links, links, strict=True))
        return replace(answer, text=text, data=data, links=tuple(named))

    def _of_provider(self, tool: BoundTool) -> Tool:
        async def run(arguments: Mapping[str, Any], call: Call) -> Answer:
            try:
                return await answered(arguments, call)
            except InvalidArgument as exc:
                error = await completed(self.engine, tool, arguments, exc)
                tool.name_defaults(error, arguments)
                raise error from exc
            except KieError as exc:
                tool.name_defaults(exc, arguments)
                raise

        async def answered(arguments: Mapping[str, Any], call: Call) -> Answer:
            if not tool.charges:
                # What a query finds is not on record, so no address leads to it.
                return answer_of(await query(self.engine, tool, arguments))
            wait_s, began = min(self.settings.wait_s, call.most_s), anyio.current_time()
            is_heard = None if wait_s else call.is_heard
            report = await submit(self.engine, tool, arguments, call.say, call.patience_s, is_heard, call.agreed)
            # What could not be recorded is answered at once: that it was paid for stands nowhere but in this report.
            if wait_s and report.error is None and report.status in {"pending", "processing"}:
                left_s = max(0.0, min(wait_s, began + call.most_s - anyio.current_time()))
                (ending,) = await wait_for(self.engine, [str(report.task_id)], left_s, call.say)
                report = _ended(report, ending)
            if wait_s:
                await deliver(self.engine, report, call.is_heard)
            return await answer_on_record(self.resources, report)

        return Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.input_schema,
            output_schema=OUTPUT_SCHEMA,
            reads_only=not tool.charges,
            idempotent=tool.once,
            open_world=True,
            run=run,
            check=partial(tool.check, saves=self.settings.output_dir is not None),
            failed="refused" if tool.charges else "unread",
        )


def words_of(app: App, error: KieError) -> str:
    """Return what an error says to the user where it is no tool's answer."""
    return app.clean(for_user(app.engine, str(error)))


def own_arguments(name: str) -> tuple[str, Arguments]:
    """Return the description of one of the server's own tools, and its arguments; needs no engine."""
    method = getattr(OwnTools if name in NAMES else ModelTools, name)
    return describe(method), Arguments(method, ignore=("self", *(UNLISTED if name == RUN else ())))


def _failed_inside(tool: Tool) -> KieError:
    """Return the error of a tool that raised what it should not have raised."""
    message = f"The server failed inside {tool.name}; its log on stderr says more."
    if tool.charges:
        return Unknown(message, next_step="list_tasks shows whether a task was made. Report this as a bug.")
    return ReadFailed(message, next_step="Report this as a bug.")


def _ended(report: Report, ending: Report) -> Report:
    """Return the report of a paid request once its task was waited for; what was paid for stays known."""
    if ending.status == "unread":
        return replace(report, read_error=ending.read_error)
    charged = "no" if report.charged == "no" else ending.charged
    return replace(ending, notes=(*report.notes, *ending.notes), request=report.request, charged=charged)


def _noted(answer: Answer, notes: Sequence[str], place: int) -> Answer:
    """Return an answer with notes, which stand in its text before the line at this place."""
    if not notes:
        return answer
    data = answer.data and {**answer.data, "notes": [*answer.data.get("notes", ()), *notes]}
    lines = answer.text.split("\n")
    lines[place:place] = [f"Note: {note}" for note in notes]
    return replace(answer, text="\n".join(lines), data=data)


def _typed(engine: Engine, answer: Answer) -> Answer:
    """Return an answer with commands of this program as its user types them."""
    return replace(answer, text=for_user(engine, answer.text), data=for_user(engine, answer.data))


def _limited(answer: Answer) -> Answer:
    """Return an answer that hosts take: services and tools decide how long it is, and hosts refuse what is too long."""
    text, data = answer.text, answer.data
    if len(json.dumps(data)) > ANSWER_BYTES:
        data = bounded(data, ANSWER_BYTES)
    if len(text.encode()) > ANSWER_BYTES:
        begin, end = text.encode()[: ANSWER_BYTES - 5_000].decode(errors="ignore"), text.rpartition("\n")[2][:1_000]
        text = f"{begin}…\nNote: The answer is too long to be shown whole.\n{end}"
    return replace(answer, text=text, data=data, links=answer.links[:MOST_LINKS])


def open_to_serve(settings: Settings, faults: Faults) -> App:
    """Return what `App.open` returns; served strictly, raise StorageError for a damaged database as well."""
    app = App.open(settings, faults)
    database = app.engine.record.database
    if faults is STRICT and (damage := database.guarded(partial(database.damage, soon=True))):
        raise damage
    for what, step in app.engine.record.recovery.of_others().items():
        log.warning("%s %s", what, step)
    return app
