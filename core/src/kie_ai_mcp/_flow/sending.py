"""One attempt to send a paid request: sent, judged and recorded, whatever happens to the caller or the server."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import anyio

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.report import Report, report_of, report_of_reuse
from kie_ai_mcp._providers.asking import where_to_look, with_whole_addresses
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.record import Ended
from kie_ai_mcp._record.tables import Ending, prefix_of
from kie_ai_mcp._service.caller import Caller, Departure, Made, Reply
from kie_ai_mcp._service.envelope import error_of
from kie_ai_mcp._settings.settings import NOT_STORED
from kie_ai_mcp.errors import KieError, RateLimited, Refused, ServiceError, StorageError, Unknown, shorten, sound
from kie_ai_mcp.specs import KIE, Accepted, Answer, Gateway, Outcome, Submission, Task

log = logging.getLogger(__name__)
IDS_CURE = "its author must return the id there, with text_in of kie_ai_mcp.readings."
SHOWN_CHARS = 200  # of an answer in which a plugin finds no task


@dataclass
class Order:
    """A paid request on record: the tool it came from, what is sent, and the number it is recorded under.

    Its `submission` becomes the `otherwise` of this where no address of it is served. Sent `again`, it may have been
    charged before, whatever the service answers now.
    """

    tool: BoundTool
    submission: Submission
    submission_id: int
    again: bool = False


async def send(engine: Engine, order: Order) -> Report | KieError:
    """Send once, judge the answer, record how it ended; return the accepted task, or the reason why there is none.

    Run it by `Engine.start`: it goes on while money is being spent, even if the caller is cancelled. After
    `RateLimited` the request is on record as waiting, because the caller decides whether its patience allows another
    attempt; every other end is recorded.
    """
    departure = Departure()
    try:
        caller = engine.caller(order.submission.gateway)
        reply = await _attempt(engine, order, caller, departure)
        while not reply.served and (other := order.submission.otherwise) is not None:
            caller.older[order.submission.paths[0]] = other.paths[0]
            order.submission = other
            reply = await _attempt(engine, order, caller, departure)
        if reply.made is None:
            raise _meaning(engine, order, reply.answer, caller.gateway)
        # What finished at once has no id of the service's; ours stands for it.
        outcome = reply.made if isinstance(reply.made, Outcome) else None
        accepted = reply.made if isinstance(reply.made, Accepted) else Accepted(f"submission-{order.submission_id}")
        task = Task(
            task_id=accepted.task_id,
            status_address=accepted.status_address,
            api_type=order.submission.api_type,
            provider=order.tool.provider,
            kind=order.submission.kind or order.tool.kind,
            tool=order.tool.name,
            model=order.submission.model,
            path=reply.path,
            gateway=order.submission.gateway,
        )
        return await _record_accepted(engine, order, task, outcome)
    except KieError as error:
        if isinstance(error, RateLimited) and not order.again:
            with anyio.CancelScope(shield=True), suppress(StorageError):  # nothing was bought: the record must say so
                await engine.record.submissions.waiting(order.submission_id)
            return error
        return await record_error(engine, order, error)
    except asyncio.CancelledError:  # the server ends
        return await record_error(engine, order, _stopped(engine, order, departure))
    except Exception as exc:
        log.exception("submission %s failed inside", order.submission_id)
        stopped = _stopped(engine, order, departure)
        stopped.message = f"The server failed inside ({type(exc).__name__}). {stopped.message}"
        return await record_error(engine, order, stopped)


async def _attempt(engine: Engine, order: Order, caller: Caller, departure: Departure) -> Reply:
    """Send the request to its addresses in turn, and return the answer of the one that is served."""
    request, logs_page, method = order.submission, caller.gateway.logs_page, "POST"
    own = request.read or caller.gateway.accept
    read = own and partial(engine.asking.made, _reader(order, caller.gateway), own, logs_page=logs_page)
    if read is not None and not order.tool.paid:
        read, method = partial(_begun, read, caller.gateway), "GET"
    is_last = request.otherwise is None
    reply = await caller.create(request.path, request.body, departure, read, method, is_last=is_last)
    if not isinstance(reply.made, Outcome):
        return reply
    return replace(reply, made=with_whole_addresses(reply.made, caller.gateway.base_url))


async def record_error(engine: Engine, order: Order, error: KieError) -> KieError:
    """Record how a request ended without a task, even as the server ends; the error says so if that fails."""
    if order.again:
        error.charged, error.can_retry = "unknown", False
        return error
    is_unknown = isinstance(error, Unknown)
    code = error.code if isinstance(error, ServiceError) else None
    if is_unknown and order.tool.paid and not engine.adopts:
        error.next_step = engine.how_to_settle(order.submission.gateway, order.submission_id)
    elif is_unknown and order.tool.paid:
        error.next_step += f" Then call resolve_submission with submission_id {order.submission_id}."
    elif is_unknown:
        error.next_step = f"Call {order.tool.name} again with the same arguments; it is not paid twice."
    # The service may repeat the prompt in its reason.
    message = engine.settings.mask.text(sound(error.message)) if engine.settings.store_prompts else NOT_STORED
    ending = Ending("unknown" if is_unknown else "refused", code=code, message=message)
    ended = await engine.record.end(order.submission_id, ending)
    if ended.error is not None:
        error.message += f" This could not be recorded: {ended.error.message}"
    return error


def _stopped(engine: Engine, order: Order, departure: Departure) -> ServiceError:
    """Return the error of a request that was stopped: unknown, unless it provably never left."""
    if not departure.sent:
        return Refused("It was stopped before anything was sent.", next_step="Call again.", can_retry=True)
    look = where_to_look(engine.logs_of(order.submission.gateway))
    return Unknown("It was stopped while the request was on its way.", next_step=look)


async def _begun(read: Callable[[Answer], Awaitable[Made]], gateway: Gateway, answer: Answer) -> Made:
    """Return what the answer to a paid read means; None for an error that refuses it, may pass or leaves it open."""
    meaning = await read(answer)
    if answer.code == 200 or not isinstance(meaning, Outcome) or meaning.status == "completed":
        return meaning
    error = error_of(answer, gateway)
    return None if meaning.status == "failed" or error.can_retry or isinstance(error, Unknown) else meaning


def _reader(order: Order, gateway: Gateway) -> str:
    """Return how messages name the function that finds the task in the answer to a request."""
    if order.submission.read:
        return f"The read of a Submission of the provider {order.tool.provider}"
    return f"The accept of the gateway {gateway.name}"


def _meaning(engine: Engine, order: Order, answer: Answer, gateway: Gateway) -> ServiceError:
    """Return the error of an answer that names no task."""
    if answer.code == 200:
        message = "The service accepted the request but named no task id."
        if gateway.name != KIE:
            who, said = _reader(order, gateway), shorten(answer.data, SHOWN_CHARS)
            why = f"{who} found none" if order.submission.read or gateway.accept else f"{who} is missing"
            message = f"{gateway.title} took the request, but no task id was found in {said}. {why}; {IDS_CURE}"
        return Unknown(message, code=200, next_step=where_to_look(gateway.logs_page))
    error = error_of(answer, gateway)
    # A family's end at Kie.ai is known of Kie.ai alone.
    return _with_advice(engine, order.tool, error) if gateway.name == KIE else error


def _with_advice(engine: Engine, tool: BoundTool, error: ServiceError) -> ServiceError:
    """Name the tool to use instead where the service refuses a family that it no longer offers, or never did."""
    provider = engine.plugins.provider_of(tool.provider)
    if provider.availability == "current" or not isinstance(error, Refused) or error.code not in {404, 405, 422}:
        return error
    error.message += f" {provider.title} is {provider.availability} at Kie.ai. {provider.note}".rstrip()
    if provider.nearest:
        error.next_step = f"Nothing was charged. Use {provider.nearest} instead."
    return error


async def _record_accepted(engine: Engine, order: Order, task: Task, outcome: Outcome | None) -> Report:
    submission_id, price = order.submission_id, order.submission.estimated_credits
    ended = await engine.record.end(submission_id, Ending("accepted", task, outcome, price=price))
    if ended.task is None:
        return _unrecorded(engine, submission_id, task, outcome, ended)
    if ended.task.submission_id != submission_id:
        return report_of_reuse(ended.task, submission_id, engine.logs_of(task.gateway))
    return report_of(ended.task)


def _unrecorded(engine: Engine, submission_id: int, task: Task, outcome: Outcome | None, ended: Ended) -> Report:
    """Return the report of an accepted task that the database did not take."""
    reason = "" if ended.error is None else ended.error.message
    kept = f"It is kept in {ended.kept_in} and will be recorded from there."
    if ended.lost is not None:
        kept = f"It could not be kept beside the database either: {ended.lost.message}"
    task_id = prefix_of(task.gateway, task.task_id, engine.callers) + task.task_id
    next_step = f"Keep this id. get_task_status('{task_id}') finds it at the service even without a record."
    if outcome is not None:  # it has no id at the service, and is read nowhere
        next_step = "Save these results now: the service can't be asked for them again."
    elif task.gateway != KIE:
        page = engine.logs_of(task.gateway)
        next_step = f"Keep this id. get_task_status knows it once it is recorded; until then look at {page}."
    return Report(
        status=outcome.status if outcome else "pending",
        task_id=task_id,
        api_type=task.api_type,
        provider=task.provider,
        result_urls=outcome.urls if outcome else (),
        data=outcome.data if outcome else None,
        credits=outcome.credits if outcome else None,
        unit=engine.record.units[task.gateway],
        charged="yes",
        submission_id=submission_id,
        error=f"The task was accepted, but is not recorded: {reason} {kept}",
        next_step=next_step,
    )
