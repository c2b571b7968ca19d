"""Submission of one paid request: validate, write ahead, wait for a slot, send once, record, answer."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel

from kie_ai_mcp._flow.consent import consent_needed
from kie_ai_mcp._flow.engine import Engine, IsHeard, Say
from kie_ai_mcp._flow.identity import exact_hash_of, hash_of, identity_of
from kie_ai_mcp._flow.ownership import check_named
from kie_ai_mcp._flow.pricing import before_limits, has_models, made_of, with_formats, with_price
from kie_ai_mcp._flow.report import Report, report_of, report_of_reuse
from kie_ai_mcp._flow.results import refresh, with_files
from kie_ai_mcp._flow.sending import Order, record_error, send
from kie_ai_mcp._media.uploading import LocalFile, brief, replaced
from kie_ai_mcp._models.wording import MOST
from kie_ai_mcp._providers.tools import BoundTool, CallOptions
from kie_ai_mcp._record.slots import Budget
from kie_ai_mcp._record.submissions import NeedsConsent, NewSubmission, Ticket
from kie_ai_mcp._record.tables import NEVER_SENT, SubmissionRecord, prefix_of
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.errors import (
    ConfigError,
    InvalidArgument,
    KieError,
    PluginError,
    RateLimited,
    Refused,
    StorageError,
    meaning_of,
)
from kie_ai_mcp.specs import KIE, Submission, field_of

CALLBACK_PATH = "/callbacks/kie"  # where `serve --http` takes what the service posts; below `public_url`
RETRY_S = 2.0  # seconds until another attempt where a busy service names no time
LEAST_RETRY_S = 0.02  # the shortest pause before another attempt, twice as long at each: a service may ask for none
LEAST_SEND_S = 1.0  # how long a call waits for the service's answer at least
STILL_SENDING = "It goes on. Call again with the same arguments in some seconds for its task; it is not sent twice."
TELL_S = 5.0  # seconds between two progress messages to a client that waits for its turn
JOIN_S = 0.2  # seconds between two looks at an identical request that is on its way
LOST_S = 1800.0  # how long a task is given out again whose answer was lost: twice the longest patience of a client
ANOTHER = "nothing new was bought; give an idempotency_key to get another."


async def submit(
    engine: Engine,
    tool: BoundTool,
    arguments: Mapping[str, Any],
    say: Say,
    patience_s: float = 45.0,
    is_heard: IsHeard | None = None,
    agreed: int = 0,
) -> Report:
    """Run one generation tool; the call waits `patience_s` at most: for uploads, its turn and the service's answer.

    Without `is_heard` the caller has more to do until it answers, and then calls `deliver`. `agreed` is the question
    that it brings a yes to.
    Raise KieError where nothing was made, or where that is not known; the error says which, and what to do.
    """
    with _counted(engine):
        await engine.check_ready()
    deadline, lost_s = anyio.current_time() + patience_s, max(LOST_S, 2 * patience_s)
    # Refusals by the provider and a missing key come before any file is uploaded.
    saves = engine.settings.output_dir is not None
    options, checked, submission = await engine.asking.prepare(tool, arguments, saves=saves)
    await check_named(engine, tool, checked)
    with _counted(engine):
        engine.caller(submission.gateway).check_key()
    submission, files = await _priced(engine, tool, options, checked, submission)
    new = replace(await _new(engine, tool, options, checked, submission, files), agreed=agreed)
    if files:
        with before_limits(engine, tool, submission):
            lacks_yes = await engine.record.submissions.lacks_yes(new, lost_s)
        if lacks_yes:
            raise await consent_needed(engine, new, submission, checked)
        submission = await _uploaded(engine, tool, checked, submission, files, deadline)
        new = replace(new, earlier_hash=hash_of(tool, submission.gateway, submission))
    submission = _with_callback(engine, submission) if tool.paid else submission
    submission = _within(submission, engine.record.budget, options.max_credits)
    again = False
    with engine.call():
        while not isinstance(ticket := await _written_ahead(engine, tool, submission, new, lost_s), Ticket):
            if isinstance(ticket, NeedsConsent):
                raise await consent_needed(engine, new, submission, checked, uploaded=bool(files))
            if again := ticket.state == "unknown" and not tool.paid:
                ticket = Ticket(ticket.id, granted=True)  # to ask again settles it, and is not paid again
                break
            joined = await _join(engine, ticket, new, say, deadline)
            if joined is not None:
                return await deliver(engine, joined, is_heard)
        order = Order(tool, submission, ticket.submission_id, again)
        report = await _sent(engine, order, ticket, say, deadline)
        report = await _saved(engine, report)
        await deliver(engine, report, is_heard)
    return _explained(engine, report, order.submission, new, ticket.twin)


@contextmanager
def _counted(engine: Engine) -> Iterator[None]:
    """Count a request that is refused before it is on record, since this server takes none as it is."""
    try:
        yield
    except (ConfigError, StorageError, Refused):
        engine.record.made["refused"] += 1
        raise


async def _written_ahead(
    engine: Engine, tool: BoundTool, submission: Submission, new: NewSubmission, lost_s: float
) -> Ticket | SubmissionRecord | NeedsConsent:
    with _counted(engine), before_limits(engine, tool, submission):
        return await engine.record.submissions.write_ahead(new, lost_s)


async def _new(
    engine: Engine,
    tool: BoundTool,
    options: CallOptions,
    checked: Mapping[str, Any],
    submission: Submission,
    files: Mapping[str, LocalFile],
) -> NewSubmission:
    """Return a request as it is written down; `files` are the local ones among its arguments, none of them sent yet."""
    identity = await identity_of(engine, tool, checked, submission, files)
    exact, media = "", tool.arguments.media
    if engine.record.budget.confirm_credits is not None:
        content = replaced(checked, media, lambda text: files[text].sha256 if text in files else text)
        exact = exact_hash_of(identity, submission.model, content, options)
    stored, notes = engine.redacted(replaced(checked, media, brief) if files else checked, tool, submission.notes)
    return NewSubmission(
        tool=tool.name,
        provider=tool.provider,
        api_type=submission.api_type,
        kind=submission.kind or tool.kind,
        gateway=submission.gateway,
        model=submission.model,
        arguments=stored,
        body_hash=identity,
        earlier_hash=hash_of(tool, submission.gateway, submission),
        idempotency_key=options.idempotency_key and engine.settings.mask.text(options.idempotency_key),
        subfolder=options.subfolder and engine.checked("subfolder", options.subfolder),
        estimated_credits=submission.estimated_credits,
        at_most=MOST in submission.notes,
        notes=notes,
        max_credits=options.max_credits,
        once=tool.once,
        exact_hash=exact,
        user=engine.record.user,
    )


async def _saved(engine: Engine, report: Report) -> Report:
    """Return a report with the files of what was finished at once; those of others are saved when they are read."""
    if report.status == "completed" and report.task_id is not None and not report.files:
        with suppress(StorageError):  # it is on record all the same, and saved at the next start
            record = await engine.record.tasks.find(report.task_id)
            return await with_files(engine, record) if record else report
    return report


async def _priced(
    engine: Engine, tool: BoundTool, options: CallOptions, checked: Mapping[str, Any], plain: Submission
) -> tuple[Submission, dict[str, LocalFile]]:
    """Return a request with its price, and the local files that it names, measured; none has been sent."""
    known, media = has_models(engine, tool), tool.arguments.media
    has_media = bool(checked.keys() & {*map(field_of, media)})
    if plain.checked and not has_media:
        return plain, {}
    if known:
        await engine.catalogue.load()
    submission, files = with_price(engine, tool, plain, checked) if known else plain, dict[str, LocalFile]()
    if has_media:
        files = await engine.uploads.files(checked, media)
        plain, named = await made_of(engine, tool, checked, plain, files)
        submission = with_price(engine, tool, plain, checked, named) if known else plain
    submission = await with_formats(engine, tool, checked, submission) if known else submission
    if has_media:
        price, book = submission.estimated_credits, engine.record.budget.credits_to_book
        with before_limits(engine, tool, submission):
            book(tool.name, submission.gateway, price, options.max_credits, at_most=MOST in submission.notes)
    return submission, files


async def _uploaded(
    engine: Engine,
    tool: BoundTool,
    checked: Mapping[str, Any],
    submission: Submission,
    files: Mapping[str, LocalFile],
    deadline: float,
) -> Submission:
    """Return the request with addresses at the service in place of its local files, which are sent there."""
    media, gateway = tool.arguments.media, engine.caller(submission.gateway).gateway
    with anyio.CancelScope(deadline=deadline):
        sendable = await engine.uploads.addresses(checked, media, files, gateway)
        made = await engine.asking.submission(tool, sendable)
        if made.model != submission.model:
            message = f"{tool.name} asks for {made.model} of addresses and for {submission.model} of their files."
            raise PluginError(message, next_step="Nothing was bought. Name the model, if the tool takes one.")
        return replace(made, estimated_credits=submission.estimated_credits, notes=submission.notes)
    message = "The upload of local files took longer than this call may last; nothing was sent."
    step = "Call upload_file for each, and give the addresses."
    raise Refused(message, next_step=step, can_retry=True, reason="UploadTooSlow")


def _explained(
    engine: Engine, report: Report, submission: Submission, new: NewSubmission, twin: SubmissionRecord | None
) -> Report:
    """Return a report with the request's price, and with the identical request that it was bought besides."""
    estimate, assumed = submission.estimated_credits, engine.record.budget.assumed_credits
    unit = engine.record.units[submission.gateway]
    report = replace(report, estimated_credits=estimate, unit=unit, request_notes=submission.notes)
    if estimate is None:
        is_booked = assumed is not None and submission.gateway == KIE
        booked = f": {plain(assumed or 0)} credits are booked until the service names the charge" if is_booked else ""
        report = report.noted(f"Price unknown{booked}.")
    if twin is None:
        return report
    since = f"was made {_age_s(twin)} s ago" if new.idempotency_key else f"is running since {_age_s(twin)} s"
    prefix = prefix_of(twin.gateway, twin.task_id or "", engine.callers)
    name = f"task {prefix}{twin.task_id}" if twin.task_id else f"submission {twin.id}"  # it may be on its way
    return report.noted(f"An identical request {since} as {name}; this one was bought besides it.")


async def deliver(engine: Engine, report: Report, is_heard: IsHeard | None) -> Report:
    """Record that a request's caller gets this answer, where it is still there; return the answer."""
    if report.request is not None and is_heard is not None and await is_heard():
        with suppress(StorageError):
            await engine.record.submissions.delivered(report.request)
    return report


async def _sent(engine: Engine, order: Order, ticket: Ticket, say: Say, deadline: float) -> Report:
    """Send in turn, and again while the service is too busy and the caller patient."""
    attempt: asyncio.Task[Report | KieError] | None = None
    least_s, is_over = LEAST_RETRY_S, False
    try:
        while True:
            if not ticket.granted:
                await _wait_for_turn(engine, ticket, order.submission.gateway, say, deadline)
            # The last moment at which a cancelled call costs nothing.
            await anyio.lowlevel.checkpoint()
            engine.check_open()
            attempt = engine.start(send(engine, order))
            await asyncio.wait([attempt], timeout=max(deadline - anyio.current_time(), LEAST_SEND_S))
            if not attempt.done():
                engine.start(_give_up_after(engine, attempt, order.submission_id))
                return Report(
                    status="sending", submission_id=order.submission_id, charged="unknown", next_step=STILL_SENDING
                )
            ending = attempt.result()
            if isinstance(ending, Report):
                return ending
            if not isinstance(ending, RateLimited):
                raise ending
            pause = max(RETRY_S if ending.retry_after_s is None else ending.retry_after_s, least_s)
            if not ending.can_retry or anyio.current_time() + pause > deadline:
                is_over = True
                raise await record_error(engine, order, ending)
            await say(f"The service is busy; trying again in {pause:.0f} s", None)
            await anyio.sleep(pause)
            ticket = replace(ticket, granted=False)
            least_s *= 2
    except BaseException:  # refused, cancelled, or a client that can't be reached
        if attempt is not None and not attempt.done():
            engine.start(_give_up_after(engine, attempt, order.submission_id))
        elif not is_over and (attempt is None or isinstance(attempt.result(), RateLimited)):
            await engine.record.end(order.submission_id, NEVER_SENT)
        raise


async def _give_up_after(engine: Engine, attempt: "asyncio.Task[Report | KieError]", submission_id: int) -> None:
    """Await an attempt whose caller is gone: where the service was too busy, there is no other one."""
    with anyio.CancelScope(shield=True):
        await asyncio.wait([attempt])  # unlike awaiting it, this never cancels it
        if isinstance(attempt.result(), RateLimited):
            await engine.record.end(submission_id, NEVER_SENT)


def _with_callback(engine: Engine, submission: Submission) -> Submission:
    """Ask Kie.ai to post the finished task here, where this server has a public address and no other was given."""
    public = engine.settings.public_url
    if public is None or submission.gateway != KIE or submission.body.get("callBackUrl"):
        return submission
    other = submission.otherwise and _with_callback(engine, submission.otherwise)
    return replace(submission, body={**submission.body, "callBackUrl": public + CALLBACK_PATH}, otherwise=other)


def _within(submission: Submission, budget: Budget, most_of_call: float | None) -> Submission:
    """Return a request without its other form where credits are limited and that would cost more than is booked."""
    if (other := submission.otherwise) is None or (most_of_call is None and not budget.limits_credits):
        return submission
    price, most = submission.estimated_credits, other.estimated_credits
    fits = most == price or (price is not None and most is not None and most < price)
    return submission if fits else replace(submission, otherwise=None)


async def _join(
    engine: Engine, earlier: SubmissionRecord, new: NewSubmission, say: Say, deadline: float
) -> Report | None:
    """Return the report of an earlier identical request; None where it was never sent and may be made now."""
    if new.idempotency_key is not None and not new.repeats(vars(earlier)):
        allowed = f"it belongs to another request, submission {earlier.id} of {earlier.tool}; use a new key"
        raise InvalidArgument("idempotency_key", new.idempotency_key, allowed)
    note = f"The same request was made {_age_s(earlier)} s ago and its answer never reached its caller; {ANOTHER}"
    if new.agreed:
        note = f"This yes counts for the request that was made {_age_s(earlier)} s ago; nothing more was bought."
    elif new.once:
        note = f"The service makes this once, and was asked for it {_age_s(earlier)} s ago; nothing new was paid."
    elif new.idempotency_key is not None:
        note = f"This idempotency_key names an earlier request; nothing new was paid. It is {_age_s(earlier)} s old."
    elif earlier.state == "sending":
        note = f"The same request was on its way; {ANOTHER}"
    while earlier.state == "sending":
        if anyio.current_time() > deadline:
            message = f"The same request is still on its way as submission {earlier.id}; it was not sent twice."
            step = "Call list_tasks in some seconds: it will show the task."
            raise Refused(message, next_step=step, reason="OnItsWay")
        await say(f"The same request is on its way as submission {earlier.id}; waiting for its answer", None)
        await anyio.sleep(JOIN_S)
        earlier = await engine.record.submissions.find(earlier.id) or earlier
    if earlier.state == "accepted" and earlier.task_id is not None:
        record = None if new.once else await engine.record.tasks.find(earlier.exact_id)
        # A task that was pruned here is still known to the service.
        report = report_of(record) if record else await refresh(engine, earlier.exact_id)
        if record and record.submission_id not in {None, earlier.id}:
            report = report_of_reuse(record, earlier.id, engine.logs_of(new.gateway))
        return report.noted(note, charged="no", request=earlier.id)
    if earlier.state == "unknown":
        step = engine.how_to_settle(new.gateway, earlier.id)
        lost = f"The same request was sent as submission {earlier.id} and its answer was lost"
        problem = f"{lost}: it may have been charged. It was not sent again."
        raise Refused(problem, next_step=step, reason="Unsettled")
    if earlier.state == "refused":
        meaning = meaning_of(earlier.code or 400)
        message = earlier.message or "The same request was refused."
        raise Refused(message, code=earlier.code, next_step=meaning.next_step, can_retry=meaning.can_retry)
    return None


async def _wait_for_turn(engine: Engine, ticket: Ticket, gateway: str, say: Say, deadline: float) -> None:
    """Wait for a slot of the rate limit that all processes on this database share, oldest first.

    Of a process only its oldest waiting request asks: every asking is a write that all processes wait for. Any other
    asks once, at its end.
    """
    number, submissions = ticket.submission_id, engine.record.submissions
    waiting = engine.turns[gateway, engine.record.accounts.get(gateway, "")]  # each account has slots of its own
    began = tell_at = anyio.current_time()
    waiting[number] = anyio.Event()
    try:
        while True:
            engine.check_open()
            is_last = (now := anyio.current_time()) >= deadline
            if now >= tell_at and not is_last:
                tell_at = now + TELL_S
                await say(f"Waiting for a free slot, {now - began:.0f} s", None)
            rest = min(tell_at, deadline) - now
            if is_last or number == min(waiting):
                ticket = await submissions.ask_again(number, gateway)
                if ticket.granted:
                    return
                if is_last:
                    break
                await anyio.sleep(min(ticket.wait_s, rest))
            else:
                waiting[number] = anyio.Event()
                with anyio.move_on_after(rest):
                    await waiting[number].wait()
    finally:
        del waiting[number]
        if waiting:
            waiting[min(waiting)].set()
    limit, ahead = submissions.limits.get(gateway, submissions.limit), ticket.ahead
    queue = f" ({ahead} earlier {'request waits' if ahead == 1 else 'requests wait'} for one, too)" if ahead else ""
    slots = f"{limit.creates} per {limit.window_s:g} s"
    message = f"No slot of the limit of {slots} came free in time{queue}; this one was not sent."
    raise RateLimited(message, next_step="Call again in some seconds.")


def _age_s(request: SubmissionRecord) -> int:
    return max(0, round((datetime.now(UTC) - request.created_at).total_seconds()))
