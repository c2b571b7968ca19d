"""Drift notices: what a service does otherwise than this version expects, in words for its user, each told once.

They are noticed in the background, after paid requests and failures, and kept in the record for the next answer.
"""

import hashlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kie_ai_mcp._flow.catalogue import Kept, live
from kie_ai_mcp._flow.engine import Engine, News
from kie_ai_mcp._models.terms import terms_of
from kie_ai_mcp._record.kept import Key
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.errors import LOGS_PAGE, MEANINGS, KieError, shorten
from kie_ai_mcp.models import LiveModel, Model
from kie_ai_mcp.specs import DAY_S, KIE

log = logging.getLogger(__name__)

UPDATE = "Update kie-ai-mcp-server."
MAKES_MEDIA = re.compile("image|video|audio|speech|music|sound|voice|song", re.IGNORECASE)  # other models chat
FREE = re.compile("prompt|text|title|name|style|seed|url", re.IGNORECASE)  # arguments that decide no price
KNOWN_CODES = {"200", "524", *map(str, MEANINGS)}
LEAST_TASKS, LAST_TASKS = 3, 10  # how many tasks of one model and setting are compared with what was expected
OFF = 0.05  # the difference between charge and estimate that is told, as a share
WELL = 0.8  # the share of successes from which a failure is more likely the request's
MOST_COUNTED = 100  # tasks with one unknown state
NAMED = 5  # how many models a notice names


async def look(engine: Engine, news: Collection[News]) -> None:
    """Notice what has changed at the services, after paid requests once a day; log whatever goes wrong."""
    try:
        if "failed" in news:
            await _failing(engine)
        if "unseen" in news:
            await _unseen_words(engine)
        if "paid" in news and not await engine.record.kept.turn(_key(engine, "look"), DAY_S, DAY_S):
            for notice in (_listed, _price_texts, _charges, _unseen_codes, _older_addresses):
                await notice(engine)
        engine.life.has_notices = bool(await engine.record.kept.notices())
    except KieError as exc:
        log.warning("changes at the service could not be noticed: %s", exc)
    except Exception:  # the calls beside it must not end with it
        log.exception("noticing changes at the service failed inside")


def models_of(engine: Engine) -> dict[str, Model]:
    """Return the models of Kie.ai that can be used here, by id."""
    models = (entry.model for entry in engine.catalogue.entries.values())
    return {model.id: model for model in models if model.gateway == KIE}


async def differences(engine: Engine) -> tuple[Kept, list[str], list[str]]:
    """Return Kie.ai's own list of models, the ids of it that are new to this version, and those that it lacks."""
    kept, ours = await live(engine, KIE, "list"), models_of(engine)
    listed: dict[str, LiveModel] = {model.id: model for model in kept.value or ()}
    unknown = listed.keys() - engine.catalogue.ids(KIE)
    new = [name for name in unknown if MAKES_MEDIA.search(" ".join(listed[name].tasks))]
    gone = [name for name in ours.keys() - listed if listed and ours[name].availability == "current"]
    return kept, sorted(new), sorted(gone)


def words_of_new(ids: Sequence[str]) -> str:
    """Return what new models mean for the user."""
    return (
        f"Kie.ai has new models: {_names(ids)}. run_model takes them by name; their price is unknown to this version."
    )


def words_of_gone(engine: Engine, ids: Sequence[str]) -> str:
    """Return what it means for the user that the service does not list models."""
    models = models_of(engine)
    names = _names([f"{name} ({models[name].tool or 'run_model'})" for name in ids])
    return f"Kie.ai does not list {names}: calls of them may be refused, which costs nothing. Use other models."


def words_of_schema(model: Model, schema: Mapping[str, Any]) -> str:
    """Return how the service's own schema of a model differs from ours in what it takes; empty where it does not."""
    ours, theirs = model.input["properties"], schema.get("properties", {})
    groups = [group for rule in model.rules for group in rule.fields]
    ruled = {name for group in groups for name in ([group] if isinstance(group, str) else group)}
    needed = {*schema.get("required", ())} - {*model.input.get("required", ())} - ruled
    both = [(name, ours[name].get("enum"), theirs[name].get("enum")) for name in ours.keys() & theirs.keys()]
    values = [f"{name} {value}" for name, old, new in both if old and new for value in old if value not in new]
    words = {"needs": needed, "no longer takes": [*(ours.keys() - theirs), *values], "also takes": theirs.keys() - ours}
    return ", ".join(f"{verb} {_names(sorted(names))}" for verb, names in words.items() if names)


async def _listed(engine: Engine) -> None:
    _, new, gone = await differences(engine)
    await _notice(engine, "new", new, words_of_new)
    await _notice(engine, "gone", gone, lambda ids: words_of_gone(engine, ids))


async def _price_texts(engine: Engine) -> None:
    """Compare the service's words for the prices of models that were bought with those of the last look."""
    bought, kept = {row["model"] for row in await engine.record.tasks.charged()}, engine.record.kept
    for model in (await live(engine, KIE, "list")).value or ():
        if model.id not in bought or not model.price:
            continue
        key, words = _key(engine, "price text", model.id), hashlib.sha256(model.price.encode()).hexdigest()
        before = await kept.find(key)
        await kept.put(key, {"value": words})
        if before is not None and before["value"] != words:
            text = f"Kie.ai changed what it says of the price of {model.id}: {shorten(model.price, 200)}."
            await _notice(engine, "price", [f"{model.id} {words}"], f"{text} Estimates of it may be wrong. {UPDATE}")


async def _charges(engine: Engine) -> None:
    """Compare what the last tasks of each model and setting cost with what was expected."""
    groups, models = defaultdict[Any, list[float]](list), models_of(engine)
    for row in await engine.record.tasks.charged():
        setting = sorted(f"{name}={value}" for name, value in row["arguments"].items() if not FREE.search(name))
        groups[row["model"] or row["tool"], row["estimated_credits"], " ".join(setting)].append(row["credits"])
    for (name, expected, _), credits in groups.items():
        last, model = sorted(credits[:LAST_TASKS]), models.get(name)
        charge, date, is_most = last[len(last) // 2], "this version", False
        if model is not None and (price := model.price):
            date, is_most = price.checked or model.checked, any(line.at_most for line in (*price.lines, *price.plus))
            is_most = is_most or any(sign in term for term in terms_of(price) for sign in "(~")  # facts of the result
        if not expected or len(last) < LEAST_TASKS or abs(charge - expected) <= OFF * expected:
            continue
        if charge > expected or not is_most:
            text = f"{name} costs {plain(charge)} credits where {plain(expected)} were estimated"
            text = f"The price table of {date} is old: {text}, by its last {len(last)} tasks. {UPDATE}"
            await _notice(engine, "charge", [f"{name} {expected:g} {charge:g}"], text)


async def _failing(engine: Engine) -> None:
    """Ask for the success rate of models of which two tasks have failed in the last hour."""
    now = datetime.now(UTC)
    for gateway, model in await engine.record.tasks.failing(now - timedelta(hours=1)):
        health = (await live(engine, gateway, "health", model)).value
        if health is None:
            continue
        if health < WELL:
            text = f"{model} failed {100 - 100 * health:.0f} % of the last hour; it is probably not your prompt."
            text += " Wait, or use another model."
        else:
            text = f"{100 * health:.0f} % of all requests of {model} succeeded in the last hour: change yours."
        await _notice(engine, "failing", [f"{model} {now:%Y-%m-%d}"], text)


async def _unseen_words(engine: Engine) -> None:
    """Count the tasks of which the service reports a state that this version does not know."""
    for word in list(engine.unseen):
        key, tasks = _key(engine, "unseen", word), list(engine.unseen.pop(word))
        before = await engine.record.kept.find(key)
        tasks = sorted({*tasks, *json.loads(before["value"] if before else "[]")})[:MOST_COUNTED]
        await engine.record.kept.put(key, {"value": json.dumps(tasks)})
        text = f"Kie.ai reports a state that is unknown here, {word!r} (tasks: {len(tasks)}, such as {tasks[0]})."
        text += f" They count as running; if one never ends, look at {LOGS_PAGE}. {UPDATE}"
        await _notice(engine, "state", [word], text)
        await engine.record.kept.put(_key(engine, "notice state", word), {"value": text})  # the count goes on


async def _unseen_codes(engine: Engine) -> None:
    for code, count, last in await engine.record.tasks.codes():
        if code.isdecimal() and code not in KNOWN_CODES:
            text = f"Kie.ai answers with an unknown code, {code} (times: {count}, the last for {last})."
            await _notice(engine, "code", [code], f"{text} {LOGS_PAGE} shows what it charged for that. {UPDATE}")


async def _older_addresses(engine: Engine) -> None:
    for caller in engine.callers.values():
        for new, old in caller.older.items():
            text = f"{caller.gateway.title} does not serve {new}; {old} answers in its place, so calls work. {UPDATE}"
            await _notice(engine, "address", [new], text)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _key(engine: Engine, sort: str, name: str = "") -> Key:
    return Key(sort, KIE, engine.record.accounts.get(KIE, ""), name)


async def _notice(
    engine: Engine, sort: str, subjects: Iterable[str], words: str | Callable[[Sequence[str]], str]
) -> None:
    keys = [_key(engine, f"notice {sort}", subject) for subject in subjects]
    await engine.record.kept.notice(keys, (lambda _: words) if isinstance(words, str) else words)
