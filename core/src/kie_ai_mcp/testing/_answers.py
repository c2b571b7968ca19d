"""Checks of how a provider reads the service's answers, each a generator of breaches. Part of `kie_ai_mcp.testing`."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import product
from typing import Any

from kie_ai_mcp._providers.asking import outcome_of, route_of
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import KieError, Refused, shorten
from kie_ai_mcp.specs import Accepted, Answer, Gateway, Outcome, Query, StatusRoute, Submission, Task
from kie_ai_mcp.testing import _junk as junk
from kie_ai_mcp.testing._calls import Calls
from kie_ai_mcp.testing._checks import Breach
from kie_ai_mcp.testing._load import Loaded

CODES = (200, 400, 404, 422, 500, 501)
"""Codes of readable answers that a request's own `read` must take."""

HTTP_CODES = (200, 202, 401, 404, 422, 429, 500)
"""HTTP statuses that a gateway's own `read` must take."""

MESSAGES = ("", "still processing")

TASK_ID = "task-1"


def routes_are_total(tasks: Sequence[Task], loaded: Loaded) -> Iterator[Breach]:
    """Every task has a status route, which names the task."""
    for task in tasks:
        try:
            route, again = route_of(loaded.plugins, task), route_of(loaded.plugins, task)
        except KieError as exc:
            yield Breach("kie_route_status", str(exc), "Return a StatusRoute for every task, or None.", repr(task))
            return
        what = _wrong_in_route(route)
        if what is None and route != again:
            what = "it gave another route for the same task"
        if what is not None:
            yield Breach("kie_route_status", what, "Return StatusRoute(path, {...: task.task_id}).", repr(task))
            return


def outcomes_are_total(
    tasks: Sequence[Task], payloads: Sequence[Mapping[str, Any]], loaded: Loaded
) -> Iterator[Breach]:
    """Every payload has an outcome that is well formed, and one that says nothing is no end."""
    hook = "kie_normalize_result"
    cure = "Read tolerantly: kie_ai_mcp.readings takes every shape and raises nothing."
    known = [(dict(payload), "a given payload", task) for payload in payloads for task in tasks]
    sorts = {(task.api_type, task.gateway): task for task in tasks}.values()
    flagged = [(payload, "a possible answer", task) for payload in junk.flagged(payloads) for task in sorts]
    turns = enumerate(junk.payloads(payloads, loaded.name))
    strange = [(payload, "junk", tasks[number % len(tasks)]) for number, payload in turns]
    for payload, sort, task in [*known, *flagged, *strange]:
        kept = deepcopy(payload)
        try:
            outcome, again = (outcome_of(loaded.plugins, task, payload) for _ in range(2))
        except KieError as exc:
            yield Breach(hook, f"it does not take {sort}: {exc}", cure, shorten(kept, 400))
            return
        what = _wrong_in_route(outcome) if isinstance(outcome, StatusRoute) else _wrong_in_outcome(outcome)
        if what is None and (outcome != again or repr(payload) != repr(kept)):
            what = "it is not pure: it changed the payload, or gave another outcome for the same one"
        if what is not None:
            yield Breach(hook, what, cure, shorten(kept, 400))
            return
    for empty in junk.NOTHING:
        status = getattr(outcome_of(loaded.plugins, tasks[0], empty), "status", "processing")
        if status in {"completed", "failed"}:
            cure = "Only a word that is known to mean an end is one; anything else is processing."
            yield Breach(hook, f"it takes an answer that says nothing for {status}", cure, repr(dict(empty)))
            return


def own_readings_are_total(tool: BoundTool, calls: Calls, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Breach]:
    """A request's own `read` takes every readable answer."""
    readers = {_place(request.read): request for _, request in calls.built if request.read is not None}
    for request in readers.values():
        where = f"tool {tool.name}, read of its {type(request).__name__}"
        yield from _reading_is_total(where, request.read, isinstance(request, Query), payloads)


def gateways_are_total(loaded: Loaded, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Breach]:
    """Every gateway has an address, says how its key is sent, and takes every body that is JSON."""
    for gateway in loaded.gateways:
        where = f"gateway {gateway.name}"
        if not str(gateway.base_url).startswith(("http://", "https://")):
            yield Breach(where, f"base_url is {gateway.base_url!r}", "Give an address that begins with https://.")
        if "{key}" not in gateway.authorization:
            cure = "Write {key} where the key stands: 'Bearer {key}'."
            yield Breach(where, "its authorization does not send the key", cure)
        yield from _envelope_is_total(where, gateway, payloads)
        if gateway.accept is not None:
            yield from _reading_is_total(f"{where}, accept", gateway.accept, False, payloads)


def tasks_of(loaded: Loaded, calls: Mapping[str, Calls]) -> list[Task]:
    """Return tasks as core would ask a provider about them: found elsewhere, and made by its own tools."""
    provider = loaded.plugin.provider
    kind = (provider.kinds or ("image",))[0]
    found = [Task(TASK_ID, api_type, loaded.name, kind=kind) for api_type in provider.api_types or (loaded.name,)]
    made: dict[tuple[str, str | None, str, str], Task] = {}
    for name, tool in {**loaded.tools, **loaded.served}.items():
        for _, request in calls[name].built:
            if isinstance(request, Submission):
                key = (request.api_type, request.model, request.paths[0], request.gateway)
                made.setdefault(key, _task(tool, request, loaded.name))
    return [*found, *made.values()]


def _task(tool: BoundTool, request: Submission, provider: str) -> Task:
    return Task(
        TASK_ID,
        request.api_type,
        provider,
        kind=tool.kind,
        tool=tool.name,
        model=request.model,
        path=request.paths[0],
        gateway=request.gateway,
        status_address="" if request.gateway == "kie" else f"{request.paths[0]}/requests/{TASK_ID}/status",
    )


def _wrong_in_route(route: StatusRoute) -> str | None:
    said_there = json.dumps([route.paths, dict(route.params)], default=str)
    return judge(route, StatusRoute) or (None if TASK_ID in said_there else "its route does not name the task")


def _wrong_in_outcome(outcome: Outcome) -> str | None:
    if outcome.status == "failed" and not outcome.error:
        return "it says failed and gives no reason"
    return judge(outcome, Outcome)


def _reading_is_total(where: str, read: Any, is_query: bool, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Breach]:
    for number, (code, data) in enumerate(product(CODES, _anything(where, payloads))):
        given = Answer(code, MESSAGES[number % 2], deepcopy(data))
        try:
            what = _wrong_in_reading(read(given), is_query)
        except Refused as exc:
            may = code != 200 and not is_query
            what = None if may else f"it refuses with {exc!r}, which only a create that was not accepted may"
        except Exception as exc:  # noqa: BLE001  whatever it is, the answer would be lost with it
            what = f"it raised {exc!r}"
        if what is not None:
            cure = "Look before taking: the data may be anything, whatever the code."
            yield Breach(where, what, cure, shorten(given, 400))
            return


def _envelope_is_total(where: str, gateway: Gateway, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Breach]:
    if gateway.read is None:
        return
    for status, body in product(HTTP_CODES, _anything(where, payloads)):
        try:
            answer: Any = gateway.read(status, deepcopy(body))
            what = judge(answer, Answer)
            if what is not None:
                what = f"it returned what can't be used: {what}"
            elif status >= 400 and answer.code == 200:
                what = f"it takes HTTP {status} for a success"
        except Exception as exc:  # noqa: BLE001  whatever it is, the answer would be lost with it
            what = f"it raised {exc!r}"
        if what is not None:
            cure = "Look before taking: any body may come with any status."
            yield Breach(f"{where}, read", what, cure, f"HTTP {status}, {shorten(body, 400)}")
            return


def _anything(seed: str, payloads: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [*payloads, *junk.flagged(payloads), *junk.leaves(), *junk.payloads(payloads, seed)]


def _wrong_in_reading(read: Any, is_query: bool) -> str | None:
    if isinstance(read, Outcome):
        return _wrong_in_outcome(read)
    if is_query:
        return f"it returned {type(read).__name__}, not an Outcome"
    return None if read is None else judge(Accepted(read) if isinstance(read, str) else read, Accepted, Outcome)


def _place(fn: Callable[..., Any]) -> str:
    inner = getattr(fn, "func", fn)
    return f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', repr(inner))}"
