"""Status reads: a task at its service, an id that was made elsewhere, the account's credits. All of them are free."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from kie_ai_mcp._flow.engine import ACCOUNT_CODES, Engine
from kie_ai_mcp._providers.arguments import BoundTool
from kie_ai_mcp._providers.contract import wrong_in_outcome, wrong_in_request
from kie_ai_mcp._providers.guard import apart
from kie_ai_mcp._providers.installed import KIE
from kie_ai_mcp._record.rows import TaskRecord
from kie_ai_mcp._service.envelope import error_of, error_text
from kie_ai_mcp.errors import KieError, PluginError, ReadFailed, TaskNotFound
from kie_ai_mcp.readings import text_in
from kie_ai_mcp.specs import Answer, Outcome, Query, StatusRoute, Submission, Task

Asked = TypeVar("Asked", Submission, Query)
Made = TypeVar("Made")

UNKNOWN_ID_CODES = (400, 404, 422)
"""Codes by which a status route says that it does not know an id; some routes answer with empty data instead."""


async def payload_of(engine: Engine, task: Task) -> Mapping[str, Any]:
    """Return the service's status answer about a task.

    Raises:
        ReadFailed: The read failed, or the service says that it does not know the task.
    """
    return await _read(engine, task, await _route(engine, task))


async def outcome_of(engine: Engine, task: Task, payload: Mapping[str, Any]) -> tuple[Outcome, Mapping[str, Any]]:
    """Return the meaning of a status answer, and the answer it came from; reads on once where results lie elsewhere.

    Raises:
        ReadFailed: The provider can't read it, or the second read failed.
    """
    outcome = await _normalized(engine, task, payload)
    if isinstance(outcome, StatusRoute) and outcome.read is not None:
        return await _ending(engine, task, outcome, outcome.read)
    if isinstance(outcome, StatusRoute):
        payload = await _read(engine, task, outcome)
        outcome = await _normalized(engine, task, payload)
    if isinstance(outcome, StatusRoute):
        raise ReadFailed(f"The provider {task.provider} asks to read on for ever.")
    return outcome, payload


async def look_up(engine: Engine, task_id: str) -> tuple[TaskRecord, Mapping[str, Any]]:
    """Find a task that was made elsewhere and adopt it: ask each distinct status route once, the market's first.

    Raises:
        ReadFailed: Not every route could be asked.
        TaskNotFound: No route knows the id.
    """
    unread: list[str] = []
    for task in await _probes(engine, task_id):
        try:
            payload = await payload_of(engine, task)
        except ReadFailed as exc:
            if not exc.absent:
                unread.append(exc.message)
            continue
        return await engine.record.tasks.adopt(_owned(engine, task, payload)), payload
    if unread:
        raise ReadFailed(
            f"The task {task_id} is not on record here, and the service could not be asked everywhere: {unread[0]}",
            next_step="Ask again later.",
        )
    raise TaskNotFound(
        f"No task {task_id!r} is on record here, and no status route of the enabled providers knows it.",
        next_step="Check the id; list_tasks shows the recorded ones. A disabled provider's tasks need it enabled.",
    )


def with_provider(engine: Engine, record: TaskRecord) -> TaskRecord:
    """Name the owner of a task that the seed's server recorded, which kept no provider."""
    owner = None if record.provider else engine.plugins.owner_of_api_type(record.api_type)
    return record if owner is None else replace(record, provider=owner.name)


async def credits_left(engine: Engine) -> float:
    """Return the credits that the account has left.

    Raises:
        ServiceError: The service gave no number.
    """
    answer = await engine.caller(KIE).read(("chat/credit",), {})
    if answer.code == 401:
        raise error_of(answer)
    if answer.code != 200 or not isinstance(answer.data, (int, float)) or isinstance(answer.data, bool):
        raise ReadFailed(f"The credits could not be read. {error_text(answer)}", code=answer.code)
    return float(answer.data)


async def _read(engine: Engine, task: Task, route: StatusRoute) -> Mapping[str, Any]:
    answer = await engine.caller(task.gateway).read(route.paths, route.params)
    if answer.code == 200 and isinstance(answer.data, Mapping) and answer.data:
        return answer.data
    message = f"{route.paths[0]} has no record of the task." if answer.code == 200 else error_text(answer)
    error = ReadFailed(message, code=answer.code)
    error.absent = answer.code in UNKNOWN_ID_CODES or answer.code == 200
    raise error


async def _ending(
    engine: Engine, task: Task, route: StatusRoute, read: Callable[[Answer], Outcome | None]
) -> tuple[Outcome, Mapping[str, Any]]:
    """Return the result or error at the address where the service keeps a task's end.

    Raises:
        ReadFailed: The answer does not speak of the task, or the provider can't read it.
    """
    answer = await engine.caller(task.gateway).read(route.paths, route.params)
    outcome = None if answer.code in ACCOUNT_CODES else await meaning(task.provider, read, answer)
    if outcome is None:
        raise ReadFailed(error_text(answer), code=answer.code)
    return outcome, answer.data if isinstance(answer.data, Mapping) else {}


async def _probes(engine: Engine, task_id: str) -> list[Task]:
    probes: dict[tuple[str, ...], Task] = {}
    for task in (Task(task_id, "market", ""), *engine.plugins.probes(task_id)):
        with suppress(ReadFailed):
            probes.setdefault((await _route(engine, task)).paths, task)
    return list(probes.values())


def _owned(engine: Engine, task: Task, payload: Mapping[str, Any]) -> Task:
    """Give a task found at the shared route to the provider its model belongs to."""
    model = text_in(payload.get("model"))
    owner = None if task.provider else engine.plugins.owner_of_model(model)
    if owner is None:
        return replace(task, model=model, provider=task.provider or KIE)
    kind = (owner.provider.kinds or ("image",))[0]
    api_type = (owner.provider.api_types or (owner.name,))[0]
    return replace(task, model=model, provider=owner.name, kind=kind, api_type=api_type)


# -- asking providers -----------------------------------------------------------------------------------------------


async def request_of(engine: Engine, tool: BoundTool, checked: Mapping[str, Any], kind: type[Asked]) -> Asked:
    """Return the request that a provider's tool makes of arguments; what it does to them changes nothing here.

    Raises:
        InvalidArgument: The provider refuses the arguments.
        PluginError: The provider failed. Nothing was sent.
    """
    cure = f"Nothing was sent. Report it to the author of {tool.provider}; another tool may serve meanwhile."
    try:
        request = await apart(
            f"{tool.name} of the provider {tool.provider}", partial(tool.fn, **deepcopy(dict(checked)))
        )
    except PluginError as exc:
        raise PluginError(exc.message, next_step=cure) from exc
    wrong: str | None = f"a {type(request).__name__}, not a {kind.__name__}"
    if isinstance(request, kind):
        wrong = wrong_in_request(request)
        if wrong is None and request.gateway not in engine.callers:
            wrong = f"its gateway {request.gateway!r} is registered by nobody"
        if wrong is None:
            return request
    raise PluginError(
        f"{tool.name} of the provider {tool.provider} returned what can't be sent: {wrong}.", next_step=cure
    )


async def meaning(provider: str, read: Callable[[Answer], Outcome | None], answer: Answer) -> Outcome | None:
    """Return what a provider's own `read` makes of an answer.

    Raises:
        ReadFailed: It failed, or made something of it that can't be used.
    """
    outcome = await _hook(provider, partial(read, answer))
    if outcome is None:
        return None
    wrong: str | None = f"a {type(outcome).__name__}, not an Outcome"
    if isinstance(outcome, Outcome):
        wrong = wrong_in_outcome(outcome)
    if wrong is not None:
        raise ReadFailed(f"The provider {provider} made of the answer what can't be used: {wrong}.")
    return outcome


async def _route(engine: Engine, task: Task) -> StatusRoute:
    return await _hook(task.provider, partial(engine.plugins.route, task))


async def _normalized(engine: Engine, task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute:
    # What a provider does to its copy of the answer must not change what is shown of it.
    return await _hook(task.provider, partial(engine.plugins.normalize, task, deepcopy(payload)))


async def _hook(provider: str, ask: Callable[[], Made]) -> Made:
    """Ask a provider about a status; whatever goes wrong there is a failed read."""
    try:
        return await apart(f"The provider {provider or KIE}", ask)
    except ReadFailed:
        raise
    except KieError as exc:
        raise ReadFailed(exc.message, next_step="Ask again later.") from exc
