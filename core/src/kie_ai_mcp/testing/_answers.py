"""Checks of how a provider reads the service's answers, each a generator of breaches. Part of `kie_ai_mcp.testing`."""

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from itertools import chain, cycle, product
from typing import Any, TypeVar

from kie_ai_mcp._providers.asking import outcome_of, route_of
from kie_ai_mcp._providers.contract import judge, judge_made
from kie_ai_mcp._providers.guard import described, place_in, place_of
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._service.caller import carries_key, header_templates
from kie_ai_mcp._service.envelope import envelope_answer, task_ids_in
from kie_ai_mcp._settings.settings import provider_variable
from kie_ai_mcp.errors import KieError, Refused, shorten
from kie_ai_mcp.models import Model
from kie_ai_mcp.readings import urls_in
from kie_ai_mcp.specs import KIE, MARKET_STATUS, Answer, Gateway, Outcome, Query, StatusRoute, Submission, Task
from kie_ai_mcp.testing import _junk as junk
from kie_ai_mcp.testing._calls import Calls
from kie_ai_mcp.testing._checks import Breach
from kie_ai_mcp.testing._junk import TASK_ID
from kie_ai_mcp.testing._load import Loaded

T = TypeVar("T")
Payloads = Sequence[Mapping[str, Any]]

CODES = (200, 400, 404, 422, 500, 501)  # of readable answers that a request's own `read` must take
HTTP_CODES = (200, 202, 401, 404, 422, 429, 500)  # that a gateway's own `read` must take
MESSAGES = ("", "still processing")
GIVEN = "a given payload"

HREF = "Name the field of an address: kie_ai_mcp.readings.urls_in(..., names=('href',))."
WHOLE = "a whole address"
WHOLE_CURE = "Return the path below the gateway's base_url: StatusRoute('job', {'ref': task.task_id})."

# The words of a fault, and the reading that can't make it.
CURES = {
    "status is": "Return one of our four words: map the service's own in a table, and an unknown one to 'processing'.",
    "credits are": "Read a price with kie_ai_mcp.readings.amount_in: a number of at least 0, or None.",
    "progress is": "Read a progress with kie_ai_mcp.readings.share: from 0 to 1, or None.",
    "urls are": "Read addresses with kie_ai_mcp.readings.urls_in, with names=('href',) for your own fields.",
    "finds no result": "Name the field: kie_ai_mcp.readings.urls_in(..., names=('href',)); or return Outcome.data.",
    "finished_at is": "Read a time with kie_ai_mcp.readings.time_in: with a time zone, or None.",
    "error_code is": "Read a code with kie_ai_mcp.readings.code_in: a number, text or None.",
    "error is": "Read words with kie_ai_mcp.readings.text_in: text in which something can be seen, or None.",
    "gives no reason": "Always give one: error=text_in(...) or 'the service gave no reason', with text_in of readings.",
    WHOLE: WHOLE_CURE,
    "returned ": "Return an Outcome, a StatusRoute to read next, or None for the common reading.",
}
IDS_CURE = "Return the id with kie_ai_mcp.readings.text_in, which makes text of a number, too."
TOLERANT = "Read tolerantly: kie_ai_mcp.readings takes every shape and raises nothing."


def routes_are_total(tasks: Sequence[Task], loaded: Loaded) -> Iterator[Breach]:
    """Every task has a status route, which names the task."""
    cure = "Return StatusRoute(path, {...: task.task_id})."
    for task in tasks:
        try:
            route, again = (route_of(loaded.plugins, task) for _ in range(2))
            what = _fault_of_route(route, task.status_address)
            what = what or (None if _content(route) == _content(again) else "it gave another route for the same task")
        except KieError as exc:
            what, cure = str(exc), "Return a StatusRoute for every task, or None."
        if what is not None:
            yield Breach("kie_route_status", what, WHOLE_CURE if WHOLE in what else cure, repr(task))
            return


def outcomes_are_total(tasks: Sequence[Task], payloads: Payloads, loaded: Loaded) -> Iterator[Breach]:
    """Every payload has an outcome that is well formed, and one that says nothing is no end."""
    hook = "kie_normalize_result"
    routes: dict[str, StatusRoute] = {}
    for payload, sort, task in _readings(tasks, payloads, loaded.name):
        original = deepcopy(payload)
        try:
            outcome, again = (outcome_of(loaded.plugins, task, payload) for _ in range(2))
            if isinstance(outcome, StatusRoute):
                what = _fault_of_route(outcome, repr(payload) + task.status_address)
                routes.setdefault(_place(outcome.read) if outcome.read else "", outcome)
            else:
                what = _fault_of_outcome(outcome, payload if sort == GIVEN else None)
            if what is None and (_content(outcome) != _content(again) or repr(payload) != repr(original)):
                what = "it is not pure: it changed the payload, or gave another outcome for the same one"
        except KieError as exc:
            what = f"it does not take {sort}: {exc}"
        if what is not None:
            yield Breach(hook, what, cure_of_outcome(what), shorten(original, 400))
            return
    for route in routes.values():
        yield from _second_reading_is_total(route, payloads)
    if not any(_answers_at_once(gateway, payloads, loaded) for gateway in loaded.plugins.gateways.values()):
        yield from _an_end_is_seen(tasks, payloads, loaded)
    for empty in junk.NOTHING:
        status = getattr(outcome_of(loaded.plugins, tasks[0], empty), "status", "processing")
        if status in {"completed", "failed"}:
            cure = "Only a word that is known to mean an end is one; anything else is processing."
            yield Breach(hook, f"it takes an answer that says nothing for {status}", cure, repr(dict(empty)))
            return


def _second_reading_is_total(route: StatusRoute, payloads: Payloads) -> Iterator[Breach]:
    """The `read` of a route to read on at takes every readable answer, and finds an outcome in one that is given."""
    if route.read is None:
        return
    read, where = route.read, f"read of the StatusRoute to {route.paths[0]}{place_in(route.read)}"
    if breaches := [*_reading_is_total(where, read, True, payloads, optional=True)]:
        yield from breaches
        return
    outcomes = [read(Answer(200, "", deepcopy(dict(each)))) for each in payloads]
    is_end = [each is not None and (each.status == "failed" or bool(each.urls) or bool(each.data)) for each in outcomes]
    if payloads and not any(is_end):
        returned = "None" if not any(outcomes) else "no result"
        what = f"it returned {returned} for each of {len(payloads)} given payloads, though a task is read on there"
        cure = f"Give the `data` of that address's answer, too; the read must find the result in it. {HREF}"
        yield Breach(where, what, cure, shorten(dict(payloads[-1]), 400))


def _an_end_is_seen(tasks: Sequence[Task], payloads: Payloads, loaded: Loaded) -> Iterator[Breach]:
    """Some given payload is an end for a task: where none is, every task would be waited for without end."""
    readings = [outcome_of(loaded.plugins, task, payload) for payload, task in product(payloads, tasks)]
    if readings and all(getattr(each, "status", "completed") in {"pending", "processing"} for each in readings):
        what = f"none of {len(payloads)} given payloads is read as completed or failed"
        cure = "Map the service's own words for both ends in kie_normalize_result, and give a payload of each."
        yield Breach("kie_normalize_result", what, cure, shorten(dict(payloads[0]), 400))
        return
    made = next((payload for payload in payloads if urls_in(payload)), None)
    if made and not any(getattr(each, "status", "completed") == "completed" for each in readings):
        what = f"none of {len(payloads)} given payloads is read as completed, though one holds an address"
        cure = "Map the service's own word for success in kie_normalize_result; one that is not known is processing."
        warnings.warn(f"{loaded.name}: {what}. {cure} Seen with {shorten(dict(made), 400)}", stacklevel=2)


def gateways_have_a_route(tasks: Sequence[Task], payloads: Payloads, loaded: Loaded) -> Iterator[Breach]:
    """The tasks of a service with answers of its own have a status route of their own, unless it answers at once."""
    models = (model for model in loaded.models if isinstance(model, Model))
    used = {*(task.gateway for task in tasks), *(model.gateway for model in models)}
    for gateway in loaded.plugins.gateways.values() if "kie_route_status" not in loaded.plugin.hooks else ():
        if gateway.name in used and gateway.read is not None and not _answers_at_once(gateway, payloads, loaded):
            what = f"it is missing, so the tasks of {gateway.name} would be read at Kie.ai's own {MARKET_STATUS[0]}"
            yield Breach("kie_route_status", what, "Add it: return StatusRoute(path, {...: task.task_id}).")


def _answers_at_once(gateway: Gateway, payloads: Payloads, loaded: Loaded) -> bool:
    """Return whether a service's answer to a request may be the result; such a task is never asked for."""
    accept = gateway.accept or (lambda _: None)
    with suppress(Exception):  # what it raises is another breach
        answers = [*(Answer(200, "", deepcopy(dict(each))) for each in payloads), *_accepted(gateway, loaded)]
        return any(isinstance(accept(answer), Outcome) for answer in answers)
    return False


def _accepted(gateway: Gateway, loaded: Loaded) -> list[Answer]:
    """Return the given answers to a request as a gateway's own `read` makes them of their bodies."""
    answers: list[Answer | None] = []
    for body in loaded.accepted:
        with suppress(Exception):  # what it raises is another breach
            answers.append(_accepted_answer(gateway, body))
    return [answer for answer in answers if isinstance(answer, Answer)]


def _accepted_answer(gateway: Gateway, body: Any) -> Answer | None:
    """Return the answer that a gateway's own `read` sees in a body, which may come with any status of a success."""
    read: Callable[[int, Any], Answer | None] = gateway.read or envelope_answer
    answers = [read(status, deepcopy(body)) for status in (200, 201, 202)]
    return next((answer for answer in answers if answer is not None and answer.code == 200), answers[0])


def tasks_are_found(loaded: Loaded, calls: Mapping[str, Calls], payloads: Payloads) -> Iterator[Breach]:
    """The answer to a request is read as a task: where it is not, what was paid for can't be found."""
    faults: list[Breach] = []
    unread = [*loaded.accepted]
    for gateway in loaded.plugins.gateways.values():
        for where, read in _readers(gateway, loaded, calls):
            reasons = [_fault_of_accepting(gateway, read, body) for body in loaded.accepted]
            unread = [body for body in unread if reasons[loaded.accepted.index(body)]]
            cure = IDS_CURE if read else f"Add it to the Gateway: accept=accepted. {IDS_CURE}"
            if reasons and all(reasons):
                faults.append(Breach(where, str(reasons[0]), cure, shorten(loaded.accepted[0], 400)))
            elif not reasons and (read or gateway.read) and not any(_names_a_task(read, each) for each in payloads):
                who = "it" if read else "it is missing, and the usual reading"
                what = f"{who} finds a task in none of the given answers"
                cure = "Give check_provider the body of a real answer to a request: accepted=[{'id': 'task-1', ...}]."
                faults.append(Breach(where, what, cure))
    yield from faults
    for body in unread if not faults and loaded.plugins.gateways else ():
        yield Breach("accepted", "no function finds a task in it", IDS_CURE, shorten(body, 400))


def _readers(gateway: Gateway, loaded: Loaded, calls: Mapping[str, Calls]) -> Iterator[tuple[str, Any]]:
    """Yield each function that reads the answers to a service's requests, with its place; None where there is none."""
    requests = [(name, request) for name, made in calls.items() for _, request in made.forms()]
    paid = [(name, each) for name, each in requests if isinstance(each, Submission)]
    own = [(name, each.read) for name, each in paid if each.gateway == gateway.name]
    yield from {_place(read): (f"tool {name}, read of its Submission", read) for name, read in own if read}.values()
    models = (model for model in loaded.models if isinstance(model, Model))
    if any(read is None for _, read in own) or any(model.gateway == gateway.name for model in models):
        yield f"gateway {gateway.name}, accept", gateway.accept


def _names_a_task(read: Any, payload: Mapping[str, Any]) -> bool:
    """Return whether a payload would be read as a task if it were the answer to a request."""
    with suppress(Exception):  # what it raises is another breach
        answer = Answer(200, "", deepcopy(dict(payload)))
        return bool(task_ids_in(payload)) or (read is not None and read(answer) is not None)
    return False


def _fault_of_accepting(gateway: Gateway, read: Any, body: Any) -> str | None:
    """Return why the server would find no task in an answer to a request, or None."""
    if task_ids_in(body):
        return None
    try:
        answer = _accepted_answer(gateway, body)
        if answer is None or answer.code != 200:
            return f"a given answer to a request is read as {'none' if answer is None else f'code {answer.code}'}"
        if read is None:
            return "it is missing, and a given answer to a request has no task's id where Kie.ai puts it"
        value = read(answer)
    except Exception as exc:  # noqa: BLE001  whatever it is, the answer would be lost with it
        return f"it raised {described(exc)}{place_of(exc)}"
    return judge_made(value) or ("it finds no task's id in a given answer to a request" if value is None else None)


def own_readings_are_total(tool: BoundTool, calls: Calls, payloads: Payloads) -> Iterator[Breach]:
    """A request's own `read` takes every readable answer."""
    readers = {_place(request.read): request for _, request in calls.forms() if request.read is not None}
    for request in readers.values():
        where = f"tool {tool.name}, read of its {type(request).__name__}"
        yield from _reading_is_total(where, request.read, isinstance(request, Query), payloads)


def gateways_are_total(loaded: Loaded, payloads: Payloads) -> Iterator[Breach]:
    """Every gateway has an address, can be given its key and sends it, and takes every body that is JSON."""
    for gateway in loaded.plugins.gateways.values():
        where = f"gateway {gateway.name}"
        if not str(gateway.base_url).startswith(("http://", "https://")):
            yield Breach(where, f"base_url is {gateway.base_url!r}", "Give an address that begins with https://.")
        yield from _key_is_sent(gateway, where, loaded)
        if gateway.read is not None:
            yield from _envelope_is_total(f"{where}, read", gateway.read, [*payloads, *loaded.accepted])
        if gateway.accept is not None:
            given = [*payloads, *(each.data for each in _accepted(gateway, loaded))]
            yield from _reading_is_total(f"{where}, accept", gateway.accept, False, given)
        if gateway.balance is not None:
            yield from _balance_is_total(f"{where}, balance", gateway.balance.read, payloads)


def tasks_of(loaded: Loaded, calls: Mapping[str, Calls]) -> list[Task]:
    """Return tasks as core would ask a provider about them: one of each api_type, and those that its tools make."""
    provider = loaded.plugin.provider
    api_types, kind = provider.api_types or (loaded.name,), loaded.plugin.kind
    tasks = [Task(TASK_ID, api_type, loaded.name, kind=kind) for api_type in api_types]
    own: dict[tuple[str, str | None, str, str], Task] = {}
    for name, tool in loaded.all_tools.items():
        for request in (request for _, request in calls[name].forms() if isinstance(request, Submission)):
            path, gateway = request.paths[0], request.gateway
            address = "" if gateway == KIE else f"{path}/requests/{TASK_ID}/status"
            task = Task(TASK_ID, request.api_type, loaded.name, kind=tool.kind, tool=tool.name, model=request.model)
            task = replace(task, path=path, gateway=gateway, status_address=address)
            own.setdefault((task.api_type, task.model, path, gateway), task)
    return [*tasks, *own.values()]


def _readings(tasks: Sequence[Task], payloads: Payloads, seed: str) -> Iterator[tuple[Mapping[str, Any], str, Task]]:
    """Yield payloads, each with its sort and with the task that it is read for."""
    for payload, task in product(payloads, tasks):
        yield dict(payload), GIVEN, task
    sorts = {(task.api_type, task.gateway): task for task in tasks}
    for payload, task in product(junk.flagged(payloads), sorts.values()):
        yield payload, "a possible answer", task
    for payload, task in zip(chain(junk.changed(payloads), junk.payloads(payloads, seed)), cycle(tasks)):
        yield payload, "an odd answer", task


def _reading_is_total(
    where: str, read: Any, is_query: bool, payloads: Sequence[Any], *, optional: bool = False
) -> Iterator[Breach]:
    def fault(answer: Answer) -> str | None:
        try:
            value = read(answer)
        except Refused as exc:
            may = answer.code != 200 and not is_query
            return None if may else f"it refuses with {exc!r}, which only a create that was not accepted may"
        if isinstance(value, Outcome):
            is_real = answer.code == 200 and answer.data in payloads and not optional
            return _fault_of_outcome(value, answer.data if is_real else None)
        if is_query:
            return None if optional and value is None else f"it returned {type(value).__name__}, not an Outcome"
        return judge_made(value)

    contents = product(CODES, _anything(where, payloads))
    answers = (Answer(code, message, data) for (code, data), message in zip(contents, cycle(MESSAGES)))
    for answer, what in _first_fault(answers, fault):
        cure = cure_of_outcome(what, "Look before taking: the data may be anything, whatever the code.")
        cure = IDS_CURE if "the task's id" in what else cure
        yield Breach(where, what, cure, shorten(answer, 400))


def _key_is_sent(gateway: Gateway, where: str, loaded: Loaded) -> Iterator[Breach]:
    """The key of a gateway that needs one is a setting, which a user is told to make, and stands in a header."""
    if not any(map(carries_key, header_templates(gateway).values())):
        if gateway.authorization or gateway.key:
            cure = "Write {key} where the key stands: authorization='Bearer {key}' or headers={'X-API-Key': '{key}'}."
            yield Breach(where, "no header of its requests sends the key", f"{cure} Without a key: authorization=''.")
        return
    if not loaded.plugin.provider.settings:
        cure = "Declare one: Provider(..., settings={'key': 'The key of ...'}); hooks get it in `settings`."
        yield Breach(where, "it needs a key, and the provider declares no setting that could hold it", cure)
    if not gateway.key_help.strip():
        cure = f"Say which setting: key_help='Set {provider_variable(loaded.name, 'key')} to a key from https://...'."
        yield Breach(where, "it needs a key, and key_help does not tell the user what to set", cure)


def _balance_is_total(where: str, read: Callable[[Answer], object], payloads: Payloads) -> Iterator[Breach]:
    def fault(answer: Answer) -> str | None:
        value = read(answer)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if value is None or is_number else f"it returned {shorten(value)}, not a finite number or None"

    answers = (Answer(200, "", data) for data in _anything(where, payloads))
    for answer, what in _first_fault(answers, fault):
        cure = "Look before taking, for example with kie_ai_mcp.readings.number_in; None where there is no number."
        yield Breach(where, what, cure, shorten(answer, 400))


def _envelope_is_total(where: str, read: Any, payloads: Sequence[Any]) -> Iterator[Breach]:
    def fault(response: tuple[int, Any]) -> str | None:
        status, body = response
        answer = read(status, body)
        if what := judge(answer, Answer):
            return f"it returned what can't be used: {what}"
        return f"it takes HTTP {status} for a success" if status >= 400 and answer.code == 200 else None

    for (status, body), what in _first_fault(product(HTTP_CODES, _anything(where, payloads)), fault):
        cure = "Look before taking: any body may come with any status."
        yield Breach(where, what, cure, f"HTTP {status}, {shorten(body, 400)}")


def _first_fault(cases: Iterable[T], fault: Callable[[T], str | None]) -> Iterator[tuple[T, str]]:
    """Yield the first case that a provider's function fails at, if there is one, and the fault."""
    for case in cases:
        try:
            what = fault(deepcopy(case))
        except Exception as exc:  # noqa: BLE001  whatever it is, the answer would be lost with it
            what = f"it raised {described(exc)}{place_of(exc)}"
        if what is not None:
            yield case, what
            return


def _content(value: Outcome | StatusRoute) -> Outcome | StatusRoute:
    """Return an outcome or a route as it is compared: two functions made in the same place are never equal."""
    return replace(value, read=None) if isinstance(value, StatusRoute) else value


def _fault_of_route(route: StatusRoute, known: str) -> str | None:
    """Return what is wrong with a route; a whole address may come from the service, in a text that is `known`."""
    if wrong := judge(route, StatusRoute):
        return wrong
    if whole := next((path for path in route.paths if "://" in path and path not in known), None):
        return f"path is {shorten(whole)}, {WHOLE}, which is not read once base_url is set to another"
    content = json.dumps([route.paths, dict(route.params)], default=str)
    return None if TASK_ID in content else "its route does not name the task"


def _fault_of_outcome(outcome: Outcome, real: Any) -> str | None:
    """Return what is wrong with an outcome, which may be that of a real answer."""
    if real is not None and outcome.status == "completed" and not outcome.urls and outcome.data is None:
        places = ((place[key], key) for place, key in junk.places(real) if isinstance(place, dict))
        seen = next(((value, key) for value, key in places if urls_in(value, names=(key,))), None)
        more = f" (names=({seen[1]!r},) reads {shorten(seen[0])})" if seen else ""
        return f"it says completed and finds no result; somebody paid for one{more}"
    if outcome.status == "failed" and not outcome.error:
        return "it says failed and gives no reason"
    return judge(outcome, Outcome)


def cure_of_outcome(what: str, otherwise: str = TOLERANT) -> str:
    """Return what mends a fault of an outcome; `otherwise` where it is in none of its fields."""
    return next((cure for words, cure in CURES.items() if words in what), otherwise)


def _anything(seed: str, given: Sequence[Any]) -> list[Any]:
    known = [each for each in given if isinstance(each, Mapping)]
    return [*given, *junk.flagged(known), *junk.leaves(), *junk.changed(known), *junk.payloads(known, seed)]


def _place(fn: Callable[..., Any]) -> str:
    inner = getattr(fn, "func", fn)
    return f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', repr(inner))}"
