"""Price of a paid request before it is sent, and its check against the model that it buys."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio.to_thread

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.identity import CONTENT
from kie_ai_mcp._media.measuring import Measures, faults_of
from kie_ai_mcp._media.uploading import LocalFile, replaced
from kie_ai_mcp._models.catalogue import HOOK
from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.pricing import estimate
from kie_ai_mcp._models.wording import MOST, price_notes
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import InvalidArgument, LimitReached
from kie_ai_mcp.specs import KIE, Query, Submission, field_of, texts_at

# Notes that say why a price is what it is; one that begins so is on the price of what takes the result.
OF_PRICE = re.compile(r"(?!It makes ).*\b(price|cheap\w*|costs?|credits)\b")
NO_FILES: Mapping[str, LocalFile] = {}


@dataclass(frozen=True)
class Standing:
    """What a service that no longer has a family of models, or never documented it, means for a call; else empty.

    Args:
        words: What is to be known before anything is paid, or a limit raised.
        nearest: The tool to use instead, where it can be called.
    """

    words: str = ""
    nearest: str = ""

    def step(self, otherwise: str) -> str:
        """Return what to do next: the tool to use instead first."""
        if not self.nearest:
            return otherwise
        return f"Use {self.nearest}. Only where it must be this one, {otherwise[:1].lower()}{otherwise[1:]}"


@dataclass(frozen=True)
class Quote:
    """The price of a call that was not made; `credits` None is unknown."""

    tool: str
    model: str
    credits: float | None
    gateway: str
    at_most: bool = False
    notes: tuple[str, ...] = ()
    charges: bool = False
    max_credits: float | None = None
    standing: Standing = Standing()


def has_models(engine: Engine, tool: BoundTool) -> bool:
    """Return whether a tool sells models that are known as data."""
    return tool.model is not None or HOOK in engine.plugins.plugins[tool.provider].hooks


def standing_of(engine: Engine, tool: BoundTool, gateway: str) -> Standing:
    """Return how a tool's family, or the model that it is, stands at Kie.ai, of which alone that is known."""
    provider = engine.plugins.provider_of(tool.provider)
    subject = provider if tool.model is None else tool.model
    if subject.availability == "current" or gateway != KIE:
        return Standing()
    nearest = provider.nearest if provider.nearest in engine.plugins.tools else ""
    use = f"; use {nearest} instead" if nearest else ""
    return Standing(f"{subject.title} is {subject.availability} at Kie.ai{use}.", nearest)


@contextmanager
def before_limits(engine: Engine, tool: BoundTool, made: Submission) -> Iterator[None]:
    """Say in the refusal of a request that would pass a limit what it buys, what decides its price, how that stands."""
    try:
        yield
    except LimitReached as exc:
        standing = standing_of(engine, tool, made.gateway)
        is_dear = exc.is_unpriced or bool(exc.figures.get("asked"))
        reasons = [f"Model: {made.model}."] if made.model else []
        reasons += [note for note in made.notes if note != MOST and OF_PRICE.match(note)]
        exc.message = " ".join(filter(None, [standing.words, exc.message, *(reasons if is_dear else ())]))
        exc.next_step = standing.step(exc.next_step) if exc.is_unpriced else exc.next_step
        raise


def with_price(
    engine: Engine,
    tool: BoundTool,
    submission: Submission,
    arguments: Mapping[str, Any],
    files: Mapping[str, LocalFile] = NO_FILES,
) -> Submission:
    """Return a request with the price of its model, and notes of what the service ignores; raise InvalidArgument.

    The seconds of the local `files` that it names are those that were measured. What is wrong is said in the words of
    the tool's `arguments`.
    """
    model = tool.model or engine.catalogue.owned(tool.provider, submission.model, submission.gateway)
    if model is None:
        return submission
    sent: Any = submission.body.get("input") if model.wrapped else submission.body
    seconds = {text: file.seconds for text, file in files.items() if file.seconds is not None}
    findings = check(model, sent, seconds)
    # A tool's own limits are those of the most generous of its models.
    measured = {path: _measured(path, sent, files) for path in model.media} if files else {}
    if faults := [*findings.faults, *faults_of(measured, model.media)]:
        names = _arguments_of(arguments, sent) if isinstance(sent, dict) else {}
        told = [_in_words_of_tool(fault, names, arguments) for fault in faults]
        instead = _mended(tool, arguments, sent, names, findings.mended) if findings.mended else None
        # What no measured seconds show is mended by trying other calls.
        raise InvalidArgument.joined(told, instead=None if check(model, sent).faults else instead)
    notes = tuple(note for note in findings.notes if note not in submission.notes)
    if submission.estimated_credits is not None and not submission.checked:
        return replace(submission, notes=(*submission.notes, *notes))
    price = estimate(model, sent, seconds, unit=engine.caller(model.gateway).gateway.unit)
    notes += price_notes(model, price)
    return replace(submission, estimated_credits=price.credits, notes=(*submission.notes, *notes))


def _arguments_of(arguments: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, str]:
    """Return the argument that each field of another name was written from, known by its value."""
    names: dict[str, str] = {}
    for field, value in sent.items():
        like = [name for name, given in arguments.items() if value in (given, [given]) and name not in sent]
        names |= {field: like[0]} if field not in arguments and len(like) == 1 else {}
    return names


def _in_words_of_tool(
    fault: InvalidArgument, names: Mapping[str, str], arguments: Mapping[str, Any]
) -> InvalidArgument:
    """Return a fault of a model's field as one of the argument that was written there."""

    def renamed(text: str) -> str:
        words = "|".join(map(re.escape, names))
        return re.sub(rf"(?<![\w.'\"/])({words})(?![\w'\"/])", lambda found: names[found[1]], text) if names else text

    own = field_of(fault.field)
    name, allowed = names.get(own, own), renamed(fault.allowed)
    is_one = name != own and not isinstance(arguments[name], list)
    place, value = (name, arguments[name]) if is_one else (name + fault.field.removeprefix(own), fault.value)
    value = int(value) if isinstance(value, float) and value.is_integer() else value  # 60 was given, and became 60.0
    is_usual = InvalidArgument(fault.field, fault.value, fault.allowed).message == fault.message
    message = "" if is_usual else renamed(fault.message)
    return InvalidArgument(place, value, allowed, message=message, next_step=fault.next_step)


def _mended(
    tool: BoundTool,
    arguments: Mapping[str, Any],
    sent: Mapping[str, Any],
    names: Mapping[str, str],
    mended: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return a call with the cures of the rules that its measured files break; None where it has no word for one."""
    call = {name: value for name, value in arguments.items() if value is not None}
    changed = [field for field in {**sent, **mended} if sent.get(field) != mended.get(field)]
    for field in changed:
        name = names.get(field, field)
        if name not in call or call[name] != sent.get(field):
            return None
        call |= {name: mended.get(field)}
    whole = {name: value for name, value in call.items() if value is not None}
    return {"tool": tool.name, "arguments": whole} if changed else None


async def made_of(
    engine: Engine, tool: BoundTool, checked: Mapping[str, Any], plain: Submission, files: Mapping[str, LocalFile]
) -> tuple[Submission, Mapping[str, LocalFile]]:
    """Return the request that a tool makes of addresses, and the local files by what it names.

    A path or the name of a result need not tell the type of its file, by which a tool may choose the model.
    """
    named = {text: f"{CONTENT}{file.sha256}.{file.format.extension}" for text, file in files.items()}
    same = replaced(checked, tool.arguments.media, lambda text: named.get(text, text))
    try:
        made = await engine.asking.submission(tool, same) if files else plain
    except InvalidArgument as exc:
        texts = {address: text for text, address in named.items()}
        faults = [
            InvalidArgument(fault.field, texts[fault.value], fault.allowed, next_step=fault.next_step)
            if isinstance(fault.value, str) and fault.value in texts
            else fault
            for fault in exc.faults
        ]
        if instead := exc.instead:
            whole = replaced(instead["arguments"], tool.arguments.media, lambda text: texts.get(text, text))
            instead = {**instead, "arguments": whole}
        raise InvalidArgument.joined(faults, instead=instead) from None
    if made.model == plain.model:
        return plain, files
    return made, {named[text]: file for text, file in files.items()}


async def with_formats(
    engine: Engine, tool: BoundTool, checked: Mapping[str, Any], submission: Submission
) -> Submission:
    """Return a request with notes of what the type of a file does to its price, or to that of what comes after it."""
    work = partial(engine.formats.notes, tool.name, checked, submission.model)
    return replace(submission, notes=(*submission.notes, *await anyio.to_thread.run_sync(work)))


async def check_limits(engine: Engine, cost: Quote) -> None:
    """Raise LimitReached where a call of this price would not be sent now."""
    await engine.record.check_limits(cost.tool, cost.gateway, cost.credits, cost.max_credits, at_most=cost.at_most)


def _measured(path: str, sent: Mapping[str, Any], files: Mapping[str, LocalFile]) -> dict[str, tuple[str, Measures]]:
    found = ((place, holder[key]) for place, holder, key in texts_at(path, sent))
    return {place: (text, files[text].measures) for place, text in found if text in files}


async def quote(engine: Engine, tool: BoundTool, arguments: Mapping[str, Any]) -> Quote:
    """Return what a call would cost, having checked it as if it were made; raise InvalidArgument. Nothing is sent."""
    if not tool.charges:
        await engine.asking.request(tool, tool.check(arguments, saves=False)[1], Query)
        return Quote(tool.name, "", 0.0, KIE)
    saves = engine.settings.output_dir is not None
    options, checked, submission = await engine.asking.prepare(tool, arguments, saves=saves)
    files = await engine.uploads.files(checked, tool.arguments.media)
    submission, named = await made_of(engine, tool, checked, submission, files)
    await engine.catalogue.load()
    made = submission
    if has_models(engine, tool):
        made = await with_formats(engine, tool, checked, with_price(engine, tool, submission, checked, named))
    standing = standing_of(engine, tool, made.gateway)
    notes = (*filter(None, [standing.words]), *(note for note in made.notes if note != MOST))
    price, model, most = made.estimated_credits, made.model or "", MOST in made.notes
    cost = Quote(tool.name, model, price, made.gateway, most, notes, charges=True, standing=standing)
    return replace(cost, max_credits=options.max_credits)
