"""Completions of what a person types into an argument of a prompt, or into an address of a task or a result."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import anyio.to_thread

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.prompts import CLIP, SPEECH
from kie_ai_mcp._app.resources import FILE_TEMPLATE, TASK_TEMPLATE, results_of
from kie_ai_mcp._record.tasks import Filters, Tasks
from kie_ai_mcp.errors import InvalidArgument

MOST = 100  # as many as the protocol allows
IDS_SEARCHED = 50  # how many ids that begin so are looked for


@dataclass(frozen=True)
class Completion:
    """Values that fit, best first; `total` is None where nobody has counted."""

    values: list[str]
    total: int | None
    has_more: bool


async def of_prompt(app: App, name: str, argument: str, text: str, others: Mapping[str, str]) -> Completion:
    """Return values for a prompt's argument; none where it is free text. `others` are its arguments that are filled in.

    Raise InvalidArgument for a prompt or an argument that there is not.
    """
    arguments = {each.name: each for each in (await app.prompts.find(name)).arguments}
    if argument not in arguments:
        raise InvalidArgument("argument", argument, f"{name} takes {', '.join(arguments)}")
    values: Iterable[str] = arguments[argument].values
    if argument == "model":
        await app.engine.catalogue.load()
        offers = await anyio.to_thread.run_sync(app.prompts.candidates, CLIP)
        return _counted(_like(text, {offer.name: f"{offer.name} {offer.makes} {offer.words}" for offer in offers}))
    if argument == "seconds" and (model := others.get("model", "").strip()):
        maker = await app.prompts.maker(CLIP, model)
        values = map(str, maker.values_of("duration")) if maker else ()
    elif argument == "voice":
        maker = await app.prompts.maker(SPEECH)
        values = map(str, maker.values_of("voice")) if maker else ()
    return _counted(_like(text, {value: value for value in values}))


async def of_address(app: App, template: str, argument: str, text: str, others: Mapping[str, str]) -> Completion:
    """Return values for a part of an address: ids of tasks by their first letters or by words, numbers of results.

    Raise InvalidArgument for an address or a part that there is not.
    """
    tasks = app.engine.record.tasks
    parts = {TASK_TEMPLATE: ("id",), FILE_TEMPLATE: ("id", "n")}
    if template not in parts:
        raise InvalidArgument("uri", template, f"there are {' and '.join(parts)}")
    if argument not in parts[template]:
        raise InvalidArgument("argument", argument, f"{template} has {' and '.join(parts[template])}")
    if argument == "id":
        return await _ids(tasks, text.strip(), "completed" if template == FILE_TEMPLATE else None)
    record = await tasks.find(others["id"]) if others.get("id") else None
    numbers = map(str, range(1, results_of(record) + 1)) if record else ()
    return _counted([number for number in numbers if number.startswith(text)])


async def _ids(tasks: Tasks, text: str, status: str | None) -> Completion:
    """Return the ids of tasks that begin with a text, then of those whose words it holds, newest first."""
    filters = Filters(status, limit=MOST + 1, words=text)
    if text:
        filters = Filters(status, limit=MOST + 1, words=text, from_id=await tasks.search_from(None))
    by_id = await tasks.beginning_with(text, IDS_SEARCHED, status) if text else []
    records = await tasks.newest(filters)
    ids = list(dict.fromkeys([*by_id, *(record.written_id for record in records)]))
    is_whole = len(records) <= MOST and len(by_id) < IDS_SEARCHED and (filters.from_id or 0) <= 1
    return Completion(ids[:MOST], len(ids) if is_whole else None, len(ids) > MOST or not is_whole)


def _like(text: str, described: Mapping[str, str]) -> list[str]:
    """Return the values that begin with a text, then those in whose description words begin with its words."""
    beginnings = [value for value in described if value.lower().startswith(text.strip().lower())]
    words = [f" {word}" for word in _plain(text).split()] or [text.strip()]
    others = [value for value, said in described.items() if all(word in f" {_plain(said)}" for word in words)]
    return list(dict.fromkeys([*beginnings, *others]))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", " ", text.lower())


def _counted(values: list[str]) -> Completion:
    return Completion(values[:MOST], len(values), len(values) > MOST)
