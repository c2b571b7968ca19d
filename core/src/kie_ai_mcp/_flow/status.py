"""Status reads: a task at its service, an id that was made elsewhere, the account's credits. All of them are free."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._providers.asking import REPORT, Read, balance_of, with_whole_addresses
from kie_ai_mcp._providers.guard import place_in
from kie_ai_mcp._providers.loader import is_of_others
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._service.envelope import error_of, ids_in, unread_text
from kie_ai_mcp.errors import KieError, ReadFailed, TaskNotFound, meaning_of, one_line, shorten
from kie_ai_mcp.readings import STATES, number_in, object_in, text_in
from kie_ai_mcp.specs import KIE, MARKET_CREATE, WORD_CHARS, Answer, Outcome, Query, StatusRoute, Task

UNKNOWN_ID_CODES = (400, 404, 422)  # of a status route that does not know an id; some answer with empty data instead

SHOWN_CHARS = 200  # of an answer in which a plugin finds nothing
ID_CHARS = 500  # no service gives a task a longer id


async def payload_of(engine: Engine, task: Task) -> Mapping[str, Any]:
    """Return the service's status answer about a task; raise ReadFailed where there is none."""
    return await _read(engine, task, await engine.asking.route(task))


async def outcome_of(engine: Engine, task: Task, payload: Mapping[str, Any]) -> tuple[Outcome, Mapping[str, Any]]:
    """Return the meaning of a status answer, and the answer it came from; read on once where results lie elsewhere."""
    outcome = await engine.asking.outcome(task, payload)
    if isinstance(outcome, StatusRoute):
        if outcome.read is not None:
            return await _outcome_at(engine, task, outcome.paths, outcome.params, outcome.read)
        payload = await _read(engine, task, outcome)
        outcome = await engine.asking.outcome(task, payload)
    if isinstance(outcome, StatusRoute):
        raise ReadFailed(f"The provider {task.provider} asks to read on for ever.")
    return with_whole_addresses(outcome, engine.caller(task.gateway).gateway.base_url), payload


async def asked_again(engine: Engine, record: TaskRecord) -> tuple[Outcome, Mapping[str, Any]] | None:
    """Return how the task of a reading tool stands, as `outcome_of`: ask once more. Return None for any other task."""
    tool = engine.plugins.tools.get(record.tool)
    if tool is None or tool.paid or (request := await engine.record.submissions.of_task(record.row_id)) is None:
        return None
    query = await engine.asking.request(tool, tool.arguments.check(request.arguments), Query)
    return await _outcome_at(engine, record, query.paths, query.params, query.read)


async def meaning_of_read(
    engine: Engine, provider: str, gateway: str, path: str, read: Read, answer: Answer
) -> Outcome:
    """Return the meaning of a gateway's answer by a provider's own reading; raise ReadFailed where there is none."""
    outcome = await engine.asking.meaning(provider, read, answer)
    service = engine.caller(gateway).gateway
    if outcome is None and answer.code == 200:
        what = f"The read of the provider {provider} for {path}{place_in(read)} returned None for an answer of success"
        raise ReadFailed(f"{what}: {shorten(answer.data, SHOWN_CHARS)}.", code=200, next_step=REPORT)
    if outcome is None:
        raise ReadFailed(unread_text(answer, service), code=answer.code)
    return with_whole_addresses(outcome, service.base_url)


async def _answer_about(engine: Engine, task: Task, paths: Sequence[str], params: Mapping[str, Any]) -> Answer:
    """Return the answer to a read about a task; raise ReadFailed where it names another one."""
    answer = await engine.caller(task.gateway).read(paths, params)
    data = object_in(answer.data)
    named = ids_in(data, *(object_in(data.get(name)) for name in ("response", "resultJson", "info")))
    if named and {task.task_id, *map(str, params.values())}.isdisjoint(named):
        raise ReadFailed(f"The service was asked for the task {task.task_id} and answered for {shorten(named[0])}.")
    return answer


async def look_up(engine: Engine, task_id: str) -> tuple[TaskRecord, Mapping[str, Any]]:
    """Find a task that was made elsewhere and adopt it: ask each distinct status route once, the market's first.

    Raise TaskNotFound where no route knows the id, ReadFailed where not every route could be asked.
    """
    if len(task_id) > ID_CHARS:
        message = f"{shorten(task_id)} is no task's id: it has {len(task_id)} characters."
        raise TaskNotFound(message, next_step="Give the id that an earlier answer names.")
    probes: dict[tuple[str, ...], Task] = {}
    if not engine.adopts:
        message = f"No task {shorten(task_id)} of yours is on record here."
        raise TaskNotFound(message, next_step="Check the id; list_tasks shows yours.")
    task_id = engine.checked("task_id", task_id.strip())
    if (gateway := task_id.partition(":")[0]) in engine.callers.keys() - {KIE}:
        message = (
            f"No task {shorten(task_id)} is on record here; only Kie.ai is asked for tasks that were made elsewhere."
        )
        raise TaskNotFound(message, next_step=f"Check the id; {engine.logs_of(gateway)} may show it.")
    task_id = task_id.removeprefix(f"{KIE}:")
    message = f"No task {shorten(task_id)} is on record here, and no status route of the enabled providers knows it."
    step = "Check the id; list_tasks shows the recorded ones. A disabled provider's tasks need it enabled."
    if await engine.record.tasks.not_seen([task_id]):  # the service may tell everybody of it
        raise TaskNotFound(message, next_step=step)
    for task in (Task(task_id, "market", "", path=MARKET_CREATE[0]), *engine.plugins.probes(task_id)):
        with suppress(ReadFailed):
            probes.setdefault((await engine.asking.route(task)).paths, task)
    unread: list[ReadFailed] = []
    codes: set[int | None] = set()
    for task in probes.values():
        try:
            payload = await payload_of(engine, task)
        except ReadFailed as exc:
            codes.add(exc.code)
            if not exc.absent:
                unread.append(exc)
            continue
        await engine.catalogue.load()
        return await engine.record.tasks.adopt(_owned(engine, task, payload)), payload
    if unread:
        problem = f"The task {shorten(task_id)} is not on record here, and the service could not be asked everywhere:"
        raise ReadFailed(f"{problem} {unread[0].message}", next_step=unread[0].next_step or "Ask again later.")
    if codes == {404}:
        step = f"{meaning_of(404).next_step} {step}"
    raise TaskNotFound(message, next_step=step)


def with_provider(engine: Engine, record: TaskRecord) -> TaskRecord:
    """Name the owner of a task that the seed's server recorded, which kept no provider."""
    owner = None if record.provider else engine.plugins.owner_of_api_type(record.api_type)
    return record if owner is None else replace(record, provider=owner.name)


async def credits_left(engine: Engine) -> float:
    """Return the credits that the account has left; raise ServiceError where the service gives no number."""
    answer = await engine.caller(KIE).read(("chat/credit",), {})
    if answer.code == 401:
        raise error_of(answer)
    if answer.code != 200 or (credits := number_in(answer.data)) is None:
        reason = unread_text(answer, engine.caller(KIE).gateway)
        raise ReadFailed(f"The credits could not be read. {reason}", code=answer.code)
    return credits


async def balances(engine: Engine) -> list[dict[str, Any]]:
    """Return what is left at every other service that says it and has its key: service, left or error, unit."""
    entries: list[dict[str, Any]] = []
    for caller in engine.callers.values():
        gateway = caller.gateway
        if gateway.balance is None or (caller.needs_key and not gateway.key):
            continue
        entry: dict[str, Any] = {"service": gateway.title, "unit": gateway.unit}
        try:
            answer = await caller.read(gateway.balance.paths, gateway.balance.params)
            if answer.code != 200:
                raise error_of(answer, gateway)
            entry["left"] = await balance_of(gateway, answer)
        except KieError as error:
            entry |= {"error": error.message, "next_step": error.next_step}
        entries.append(entry)
    return entries


def keyless(engine: Engine) -> list[str]:
    """Return, for every service that a third-party plugin brings and that has no key, the setting to make."""
    unset = (each.gateway for name, each in engine.callers.items() if name != KIE and each.needs_key)
    unset = (gateway for gateway in unset if not gateway.key and is_of_others(engine.plugins, gateway.name))
    return [f"{gateway.title}: no key is set. {gateway.key_help}".strip() for gateway in unset]


async def _outcome_at(
    engine: Engine, task: Task, paths: Sequence[str], params: Mapping[str, Any], read: Read
) -> tuple[Outcome, Mapping[str, Any]]:
    answer = await _answer_about(engine, task, paths, params)
    outcome = await meaning_of_read(engine, task.provider, task.gateway, paths[0], read, answer)
    return outcome, object_in(answer.data)


async def _read(engine: Engine, task: Task, route: StatusRoute) -> Mapping[str, Any]:
    answer = await _answer_about(engine, task, route.paths, route.params)
    if answer.code == 200 and (record := object_in(answer.data)):
        word = one_line(text_in(record.get("state")) or "", WORD_CHARS)
        if word and task.gateway == KIE and word.lower() not in STATES:
            engine.unseen.setdefault(word, set()).add(task.task_id)
            engine.news.add("unseen")
        return record
    message = f"{route.paths[0]} has no record of the task."
    if answer.code != 200:
        message = unread_text(answer, engine.caller(task.gateway).gateway)
    error = ReadFailed(message, code=answer.code)
    error.absent = answer.code in UNKNOWN_ID_CODES or answer.code == 200
    raise error


def _owned(engine: Engine, task: Task, payload: Mapping[str, Any]) -> Task:
    """Give a task found at the shared route to the provider its model belongs to."""
    model = one_line(text_in(payload.get("model")) or "", WORD_CHARS) or None
    if task.provider:
        return replace(task, model=model)
    owner, entry = engine.plugins.owner_of_model(model), engine.catalogue.find(model or "")
    if entry is not None:
        task = replace(task, kind=entry.model.kind, api_type=entry.model.api_type or entry.model.id)
    if owner is None:
        return replace(task, model=model, provider=entry.provider if entry else KIE)
    kind = entry.model.kind if entry else owner.kind
    api_type = (owner.provider.api_types or (owner.name,))[0]
    return replace(task, model=model, provider=owner.name, kind=kind, api_type=api_type)
