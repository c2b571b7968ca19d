"""Tools over all models: find one, describe it, say what a call would cost, run it."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from typing import Annotated, Any

import anyio.to_thread
from pydantic import Field

from kie_ai_mcp._app.tools import Answer, Call, Tool, tool_of_method
from kie_ai_mcp._flow.consent import LIMIT
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.models import find, fitting
from kie_ai_mcp._flow.pricing import Quote, check_limits, quote
from kie_ai_mcp._flow.refusal import completed
from kie_ai_mcp._flow.report import LIST, NUMBER, OUTPUT_SCHEMA, TEXT, cure_of, object_schema
from kie_ai_mcp._flow.status import credits_left
from kie_ai_mcp._models.catalogue import Entry, some
from kie_ai_mcp._models.formats import types_in_words
from kie_ai_mcp._models.lengths import wish_in
from kie_ai_mcp._models.limits import Limits, model_of
from kie_ai_mcp._models.search import Offer, best
from kie_ai_mcp._models.tools import CALLBACK, RUN, tool_of
from kie_ai_mcp._models.validity import unpriced
from kie_ai_mcp._models.wording import field_lines, price_lines, remarked_lines, rule_line
from kie_ai_mcp._providers.loader import set_aside_in
from kie_ai_mcp._providers.tools import OPTION_NAMES, BoundTool, own_options, server_options, tool_name
from kie_ai_mcp._settings.amounts import USD, exact, in_words, plain
from kie_ai_mcp._settings.settings import APP
from kie_ai_mcp.errors import InvalidArgument, KieError, LimitReached, StorageError
from kie_ai_mcp.models import Model
from kie_ai_mcp.specs import KIE, Kind

FIND_SCHEMA = object_schema(models=LIST, next_step=TEXT)
DESCRIBE_SCHEMA = object_schema(name=TEXT, fields=LIST, rules=LIST, price=LIST, checked=TEXT, source=TEXT)
COST_SCHEMA = object_schema(valid={"type": "boolean"}, model=TEXT, next_step=TEXT, balance=NUMBER)

UNLISTED = ("idempotency_key", "subfolder")  # of run_model: understood all the same
Runner = Callable[[BoundTool], Tool]


@dataclass(frozen=True)
class ModelTools:
    """The four tools, in one call.

    `tools` are all others by name, `runner` makes one of a model, `offers` returns what can be found, and `limits`
    those between the arguments of a tool.
    """

    engine: Engine
    tools: Mapping[str, Tool]
    runner: Runner
    offers: Callable[..., Sequence[Offer]]
    limits: Callable[[str], list[str]]
    call: Call

    async def find_models(
        self, words: Annotated[str, Field(max_length=200)], kind: Kind | None = None, task: str | None = None
    ) -> Answer:
        """Find tools and models, with prices: "upscale", "cheap video", "Hailuo"."""
        await self.engine.catalogue.load()
        priced = await anyio.to_thread.run_sync(self.offers, wish_in(words)[0])
        found = await anyio.to_thread.run_sync(lambda: [*map(self._with_formats, best(priced, words, kind, task))])
        keys = ("name", "makes", "kind", "task", "said_price", "tool", "availability")
        listed = [{key.removeprefix("said_"): getattr(offer, key) for key in keys} for offer in found]
        step = "Call the tool that is named, or describe_model and run_model with a model's name. "
        step += "estimate_cost has the price of other settings."
        if not found:
            step = "Nothing fits. Use fewer or other words: what to make, from what, or a maker's name."
        for reason in set_aside_in(self.engine.plugins, words):
            step += f" {reason} Then run: {APP} doctor"
        for provider, faults in self.engine.catalogue.faults.items():
            step += f" Of the provider {provider}, {some(faults)}."
        return Answer(
            "\n".join([*(offer.line for offer in found), f"Next: {step}"]), {"models": listed, "next_step": step}
        )

    async def describe_model(self, model: str) -> Answer:
        """Show what a model or tool takes and costs: fields, rules, price table."""
        if tool := self.tools.get(model):
            return await self._tool_described(tool)
        entry = await find(self.engine, model)
        source, gaps = "live" if entry.note else "bundled", await anyio.to_thread.run_sync(unpriced, entry.model)
        answer: dict[str, Any] = {
            "name": entry.name,
            "fields": field_lines(entry.model),
            "rules": [rule_line(rule) for rule in entry.model.rules],
            "price": [*price_lines(entry.model, entry.unit), *(f"{gap}: no price is known" for gap in gaps)],
            "checked": entry.model.checked,
            "source": source,
        }
        notes = [*entry.model.notes, *await anyio.to_thread.run_sync(self._by_format, "", [entry.model])]
        answer |= {"notes": notes} if notes else {}
        answer |= {"tool": entry.model.tool} if entry.model.tool else {}
        answer["options"] = self._option_lines()
        lines = [f"{entry.name}: {entry.model.title}, {entry.model.task} ({source}, {entry.model.checked})"]
        lines += _under_heads(answer)
        lines.append(f"Next: run_model with this name{f', or {entry.model.tool}' if entry.model.tool else ''}.")
        return Answer("\n".join(lines), answer)

    async def _tool_described(self, tool: Tool) -> Answer:
        bound = self.engine.plugins.tools.get(tool.name)
        own = Model(tool.name, tool.title, "text", "", tool.input_schema, {})
        shown = model_of(bound, bound.exact_schema) if bound else own
        fields, source = remarked_lines(shown), f"tool of {bound.provider}" if bound else "tool of the server"
        rules, (_, *notes) = await anyio.to_thread.run_sync(self.limits, tool.name), tool.description.split("\n")
        price, step = ["free"], f"Call {tool.name}; it is free."
        if tool.charges:
            await self.engine.catalogue.load()
            listed = await anyio.to_thread.run_sync(self.offers)
            price = [offer.said_price for offer in listed if offer.name == tool.name]
            price += [f"{each.name}: {each.said_price}" for each in listed if each.tool == tool.name != each.name]
            sold = [entry for entry in self.engine.catalogue.entries.values() if entry.model.tool == tool.name]
            price += [line for entry in sold if len(sold) == 1 for line in price_lines(entry.model, entry.unit)]
            price += await anyio.to_thread.run_sync(self._by_format, tool.name, [entry.model for entry in sold])
            step = (
                "estimate_cost says what a call costs; describe_model shows the price table of a model that is named."
            )
        answer = {"name": tool.name, "fields": fields, "rules": rules, "price": price, "source": source}
        answer |= {"notes": notes} if notes else {}
        answer |= {"options": self._option_lines(shown)} if bound and bound.paid else {}
        told = {**answer, "fields": [], "notes": []}  # the fields and the description stand above
        lines = [tool.description, *fields, *_under_heads(told), f"Next: {step}"]
        return Answer("\n".join(lines), {**answer, "next_step": step})

    def _option_lines(self, shown: Model | None = None) -> list[str]:
        """Return the server's own arguments of a paid call, without those that are among the shown fields."""
        listed = shown.input["properties"] if shown else ()
        saves = self.engine.settings.output_dir is not None
        fields = server_options().listed["properties"]
        own = {name: fields[name] for name in fields if name not in listed and (saves or name != "subfolder")}
        return remarked_lines(Model("", "", "text", "", {"properties": own}, {}))

    def _with_formats(self, offer: Offer) -> Offer:
        """Return an offer whose price names the types of files of which it is another."""
        formats = self.engine.formats.of_tool(offer.name)
        dear = (f"{each.offer.price} of {types_in_words(each.formats)}" for each in formats)
        return replace(offer, price=", ".join([offer.price, *dear]))

    def _by_format(self, tool: str, models: Sequence[Model]) -> list[str]:
        """Return what the types of files do to the price of a tool, or of what takes the results of models."""
        formats = self.engine.formats
        own = [f"the type of {dear.field} decides: {dear.words}" for dear in formats.of_tool(tool)]
        return [*own, *dict.fromkeys(chain.from_iterable(map(formats.notes_of, models)))]

    async def run_model(
        self,
        model: str,
        input: dict[str, Any],  # noqa: A002  the service's own word
        max_credits: Annotated[float, Field(ge=0)] | None = None,
        callBackUrl: str | None = None,
        idempotency_key: str | None = None,
        subfolder: str | None = None,
    ) -> Answer:
        """Start ONE paid task of any model or tool that find_models names. describe_model shows its input."""
        own = {"max_credits": max_credits, CALLBACK: callBackUrl}
        own |= {"idempotency_key": idempotency_key, "subfolder": subfolder}
        arguments = {**input, **{name: value for name, value in own.items() if value is not None}}
        if model in self.tools:
            return await self.tools[model].run(arguments, self.call)
        return await self.runner(await self._model(model, arguments)).run(arguments, self.call)

    async def _model(self, name: str, arguments: Mapping[str, Any], field: str = "model", *more: str) -> BoundTool:
        """Return a model as a tool that takes these arguments, with the user's own defaults where it is pinned."""
        usual = self.engine.settings.tools.get(name, {})
        whole = {**usual, **own_options(arguments)}
        entry = await find(self.engine, name, field, *more)
        try:
            sent = {key: value for key, value in whole.items() if key not in (*OPTION_NAMES, CALLBACK)}
            return tool_of(await fitting(self.engine, entry, sent), usual=usual)
        except InvalidArgument as exc:
            raise await completed(self.engine, tool_of(entry), whole, exc) from exc

    async def estimate_cost(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Check and price a call of a tool or model. Buys nothing."""
        if name == RUN:
            options = {key: value for key, value in arguments.items() if key not in {"model", "input"}}
            name, sent = str(arguments.get("model") or ""), arguments.get("input")
            arguments = {**sent, **options} if isinstance(sent, dict) else {"input": sent}
        answer: dict[str, Any] = {"valid": True, "tool": name}
        try:
            cost = await self._quote(name, arguments)
        except InvalidArgument as exc:
            answer |= {"valid": False, "errors": [fault.message for fault in exc.faults]}
            answer |= {"instead": dict(exc.instead)} if exc.instead else {}
            answer["next_step"] = f"Nothing was sent. {cure_of(exc)}"
        else:
            answer |= await self._costs(cost)
        return Answer("\n".join(_cost_lines(answer)), answer)

    async def _quote(self, name: str, arguments: Mapping[str, Any]) -> Quote:
        tool = self.engine.plugins.tools.get(name)
        if tool is None and name in self.tools:
            self.tools[name].check(arguments)
            return Quote(name, "", 0.0, KIE)  # one of the server's own
        if tool is None:
            tool = await self._model(name, arguments, "name", *self.tools)
        try:
            return await quote(self.engine, tool, arguments)
        except InvalidArgument as exc:
            error = await completed(self.engine, tool, arguments, exc)
            tool.name_defaults(error, arguments)
            raise error from exc

    async def _costs(self, cost: Quote) -> dict[str, Any]:
        unit = self.engine.record.units[cost.gateway]
        known = cost.credits is not None
        answer: dict[str, Any] = {"model": cost.model, "credits": _number(cost.credits) if known else "unknown"}
        answer |= {"unit": unit, "at_most": cost.at_most, "notes": list(cost.notes)}
        if known and cost.gateway == KIE:
            answer["dollars"] = round(float(cost.credits or 0) * USD, 4)
        budget = self.engine.record.budget
        if cost.charges and budget.asks(cost.credits, cost.gateway):
            limit = f"{LIMIT} is {plain(budget.confirm_credits or 0)}"
            answer["notes"].append(f"A person is asked before it is bought: {limit}.")
        step = cost.standing.step("Call it to buy this.") if cost.credits != 0 else "Call it; it is free."
        if cost.gateway == KIE and cost.charges:
            with suppress(StorageError):
                spent = await self.engine.record.spent_today()
                caps = {"day": budget.credits_per_day, "request": budget.credits_per_request}
                caps["day"] = None if caps["day"] is None else exact(max(0, caps["day"] - spent))
                answer["left"] = {name: _number(value) for name, value in caps.items() if value is not None}
            left = math.inf
            with suppress(KieError):
                left = await credits_left(self.engine)
            if left < math.inf and self.engine.adopts:  # what the server's own account holds is no user's to know
                answer["balance"] = _number(left)
            try:
                await check_limits(self.engine, cost)
            except LimitReached as exc:
                cure = cost.standing.step(exc.next_step) if exc.is_unpriced else exc.next_step
                step = " ".join(filter(None, ["It would be refused:", cost.standing.words, exc.message, cure]))
            else:
                if (cost.credits or 0) > left:
                    step = "The account has not enough credits. Top up at https://kie.ai/billing."
        return {**{name: value for name, value in answer.items() if value not in ("", [], {})}, "next_step": step}


_SCHEMAS: dict[str, tuple[dict[str, Any], bool]] = {
    "find_models": (FIND_SCHEMA, True),
    "describe_model": (DESCRIBE_SCHEMA, True),
    "estimate_cost": (COST_SCHEMA, True),
    RUN: (OUTPUT_SCHEMA, False),
}
MODEL_TOOLS = tuple(_SCHEMAS)


def model_tools(
    engine: Engine, tools: Mapping[str, Tool], runner: Runner, offers: Callable[..., Sequence[Offer]]
) -> Iterable[Tool]:
    """Yield the tools over all models that the settings want."""
    owner = partial(ModelTools, engine, tools, runner, offers, cache(partial(_limits, engine)))
    for name, (schema, reads_only) in _SCHEMAS.items():
        if engine.plugins.lists(name):
            method = getattr(ModelTools, name)
            hidden = UNLISTED if name == RUN else ()
            usual, world = engine.settings.tools.get(name, {}), not reads_only
            yield tool_of_method(
                method, owner, schema, reads_only=reads_only, open_world=world, unlisted=hidden, usual=usual
            )


def _limits(engine: Engine, name: str) -> list[str]:
    """Return the limits between a tool's arguments; none of the server's own tools, or those of third parties."""
    tool = engine.plugins.tools.get(name)
    is_ours = tool is not None and engine.plugins.plugins[tool.provider].is_first_party
    return [*Limits(tool).lines()] if tool is not None and is_ours else []


def pinned(engine: Engine, entry: Entry, runner: Runner) -> Tool:
    """Return a model as a tool of its own, which takes what `run_model` takes as the model's input."""
    name = tool_name(entry.model.id)
    usual = engine.settings.tools.get(name, {})
    tool = runner(tool_of(entry, name, usual))

    async def run(arguments: Mapping[str, Any], call: Call) -> Answer:
        asked = {**usual, **arguments}
        fits = await fitting(engine, entry, {key: asked[key] for key in asked if key not in (*OPTION_NAMES, CALLBACK)})
        return await runner(tool_of(fits, name, usual)).run(arguments, call)

    return replace(tool, run=run)


def _number(value: float | None) -> float | int | None:
    """Return whole numbers as such: 8, not 8.0."""
    return int(value) if value is not None and value == int(value) else value


def _under_heads(answer: Mapping[str, Any]) -> Iterable[str]:
    """Yield the lists of a description in words, each below its name."""
    for head in ("fields", "rules", "price", "notes", "options"):
        if answer.get(head):
            yield from (f"{head.capitalize()}:", *(f"  {line}" for line in answer[head]))


def _cost_lines(answer: Mapping[str, Any]) -> Iterable[str]:
    """Yield an estimate in words, one fact a line."""
    if not answer["valid"]:
        yield from (f"Wrong: {error}" for error in answer["errors"])
        yield from [f"Instead: {json.dumps(answer['instead'], ensure_ascii=False)}"] if "instead" in answer else []
    else:
        credits = answer["credits"]
        most = "at most " if answer["at_most"] else ""
        yield f"Cost: {most}{in_words(credits, answer['unit'])}" if credits != "unknown" else "Cost: unknown"
        yield from [f"Model: {answer['model']}"] if "model" in answer else []
        yield from (f"Note: {note}" for note in answer.get("notes", ()))
        yield from (f"Left of the {cap}'s limit: {plain(value)}" for cap, value in answer.get("left", {}).items())
        yield from [f"Balance: {in_words(answer['balance'])}"] if "balance" in answer else []
    yield f"Next: {answer['next_step']}"
