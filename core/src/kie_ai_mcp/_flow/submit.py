"""The story of one paid request, told top to bottom by `submit`; what becomes of its task is told in _reading."""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from kie_ai_mcp._flow.report import Report, report_of
from kie_ai_mcp._flow.status import NOT_STORED, Reading
from kie_ai_mcp._providers.installed import KIE
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.rows import SubmissionRecord
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._service.caller import Departure
from kie_ai_mcp._service.envelope import error_of
from kie_ai_mcp.errors import (
    InvalidArgument,
    KieError,
    RateLimited,
    Refused,
    ServiceError,
    StorageError,
    Unknown,
    meaning_of,
)
from kie_ai_mcp.readings import text_in
from kie_ai_mcp.specs import Accepted, Answer, Outcome, Submission, Task

log = logging.getLogger(__name__)

Say = Callable[[str, float | None], Awaitable[None]]
"""Tells the client how a call gets on: words for people, and a share between 0 and 1 where there is one."""

PATIENCE_S = 45.0
"""How long a call waits for its turn under the rate limit when nothing is known of the client."""

CALLBACK = "callBackUrl"
"""What the service calls the address that it posts a finished task to."""

CALLBACK_PATH = "/callbacks/kie"
"""Where `serve --http` takes what the service posts; below `public_url`."""

RETRY_S = 2.0
"""Seconds until another try where a busy service names no time."""

LEAST_RETRY_S = 0.02
"""The shortest pause before another try, twice as long at each: a service may ask for none, again and again."""

TELL_S = 5.0
"""Seconds between two words to a client that waits for its turn."""

JOIN_S = 0.2
"""Seconds between two looks at an identical request that is on its way."""

NOT_SENT_S = 1.0
GRACE_S = 5.0
"""How long a request that is on its way may still take when the server is asked to end."""


@dataclass(eq=False)
class _Sending:
    """A paid request on its way: it goes on when the caller is cancelled, and is recorded whatever happens."""

    done: anyio.Event = field(default_factory=anyio.Event)
    report: Report | None = None
    error: KieError | None = None
    retry_after_s: float | None = None
    abandoned: bool = False


@dataclass
class Flow(Reading):
    """What a generation needs. Reads at any time, sends only while `running`.

    Args:
        listeners: What is set when the service tells of a task, by the task's id; kept by those who wait.
    """

    listeners: dict[str, set[anyio.Event]] = field(default_factory=dict)
    _group: TaskGroup | None = None
    _on_their_way: set[_Sending] = field(default_factory=set)
    _calls: set[anyio.Event] = field(default_factory=set)
    _closing: bool = False
    _waiting: dict[str, dict[int, anyio.Event]] = field(default_factory=lambda: defaultdict(dict))
    _caught_up: bool = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Be able to send, until the end of the context; requests on their way are then waited for and recorded."""
        try:
            async with anyio.create_task_group() as self._group:
                try:
                    yield self
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.drain()
        finally:
            with anyio.move_on_after(GRACE_S, shield=True):
                for caller in self.callers.values():
                    await caller.close()
                await self.store.aclose()

    async def drain(self) -> None:
        """Take no new requests, and let those on their way end: by themselves, or after a grace as unknown."""
        self._closing = True
        with anyio.move_on_after(GRACE_S):
            await self._all_sent()
        # Calls that have not sent yet see that it is closing, and say on record that they never will.
        with anyio.move_on_after(NOT_SENT_S):
            for over in tuple(self._calls):
                await over.wait()
        if self._group is not None:
            self._group.cancel_scope.cancel()
        await self._all_sent()

    async def _all_sent(self) -> None:
        for sending in tuple(self._on_their_way):
            await sending.done.wait()

    def catch_up_once(self) -> None:
        """Start `catch_up` beside the calls, at the first one: before it nothing touches database or network."""
        if not self._caught_up and self._group is not None and not self._closing:
            self._caught_up = True
            self._group.start_soon(self._catch_up_quietly)

    async def _catch_up_quietly(self) -> None:
        try:
            await self.catch_up()
        except KieError as exc:
            log.warning("results of earlier tasks could not be saved: %s", exc)
        except Exception:  # the calls beside it must not end with it
            log.exception("catching up with earlier tasks failed inside")

    # -- a paid request ------------------------------------------------------------------------------------------

    async def submit(
        self, tool: BoundTool, arguments: Mapping[str, Any], say: Say, patience_s: float = PATIENCE_S
    ) -> Report:
        """Run one generation tool: validate, write ahead, wait for a slot, send once, record, answer.

        Raises:
            KieError: Nothing was made, or it is not known; the error says which, and what to do.
        """
        options, checked = tool.check(arguments, saves=self.settings.output_dir is not None)
        self._check_open()
        # Refusals by the provider and a missing key come before any file is uploaded.
        submission = await self.asking.request(tool, checked, Submission)
        self.caller(submission.gateway).check_key()
        sendable = await self.uploads.addresses(checked, tool.arguments.media)
        if sendable != checked:
            submission = await self.asking.request(tool, sendable, Submission)

        new = NewSubmission(
            tool=tool.name,
            provider=tool.provider,
            api_type=submission.api_type,
            kind=tool.kind,
            gateway=submission.gateway,
            model=submission.model,
            arguments=self._redacted(checked),
            body_hash=_hash(tool, submission),
            idempotency_key=options.idempotency_key and self.settings.mask(options.idempotency_key),
            subfolder=options.subfolder,
            estimated_credits=submission.estimated_credits,
        )
        # After the hash: the same request is the same whether or not the service is to tell of it.
        submission = self._with_callback(submission)
        over = anyio.Event()
        self._calls.add(over)
        try:
            return await self._sent_once(tool, submission, new, say, anyio.current_time() + patience_s)
        finally:
            self._calls.discard(over)
            over.set()

    async def _sent_once(
        self, tool: BoundTool, submission: Submission, new: NewSubmission, say: Say, deadline: float
    ) -> Report:
        """Write ahead, wait for a slot, send, and answer; join an identical request that is on its way."""
        while isinstance(ticket := await self.store.write_ahead(new), SubmissionRecord):
            report = await self._join(ticket, new, say, deadline)
            if report is not None:
                return report

        sending: _Sending | None = None
        least_s = LEAST_RETRY_S
        try:
            while True:
                if not ticket.granted:
                    await self._wait_for_turn(ticket, submission.gateway, say, deadline)
                # The last moment at which a cancelled call costs nothing.
                await anyio.lowlevel.checkpoint()
                self._check_open()
                sending = self._start(tool, submission, ticket.submission_id)
                await sending.done.wait()
                if sending.report is not None:
                    report = await self._with_results(sending.report)
                    return replace(report, estimated_credits=_known(submission.estimated_credits))
                assert sending.error is not None  # noqa: S101  either a report or an error
                pause = max(sending.retry_after_s or 0.0, least_s)
                if sending.retry_after_s is None or anyio.current_time() + pause > deadline:
                    if isinstance(sending.error, RateLimited):
                        raise await self._record_error(ticket.submission_id, sending.error)
                    raise sending.error
                await say(f"The service is busy; trying again in {pause:.0f} s", None)
                await anyio.sleep(pause)
                ticket = replace(ticket, granted=False)
                least_s *= 2
        except BaseException:  # refused, cancelled, or a client that can't be told
            if sending is not None and not sending.done.is_set():
                sending.abandoned = True  # it goes on, and records its end itself
            elif sending is None or isinstance(sending.error, RateLimited):
                await self._never_sent(ticket.submission_id)
            raise

    async def _with_results(self, report: Report) -> Report:
        """Save what was finished at once; everything else is saved when its status is read."""
        if report.status != "completed" or report.task_id is None or report.files:
            return report
        try:
            record = await self.store.find(report.task_id)
        except StorageError:
            return report  # it is on record all the same, and saved at the next start
        return report if record is None else await self._with_files(record)

    def _start(self, tool: BoundTool, submission: Submission, submission_id: int) -> _Sending:
        """Send apart from the caller, who may be cancelled while money is being spent."""
        assert self._group is not None  # noqa: S101  a running flow has one
        sending = _Sending()
        self._on_their_way.add(sending)
        self._group.start_soon(self._send, tool, submission, submission_id, sending)
        return sending

    def _with_callback(self, submission: Submission) -> Submission:
        """Ask Kie.ai to post the finished task here, where this server has a public address and nobody else asked."""
        public = self.settings.public_url
        if public is None or submission.gateway != KIE or submission.body.get(CALLBACK):
            return submission
        return replace(submission, body={**submission.body, CALLBACK: public + CALLBACK_PATH})

    async def _join(self, earlier: SubmissionRecord, new: NewSubmission, say: Say, deadline: float) -> Report | None:
        """Return what became of an earlier identical request; None where it was never sent and may be made now."""
        if earlier.body_hash != new.body_hash:
            raise InvalidArgument(
                "idempotency_key",
                new.idempotency_key,
                f"it belongs to another request, submission {earlier.id} of {earlier.tool}; use a new key",
            )
        while earlier.state == "sending":
            if anyio.current_time() > deadline:
                raise Refused(
                    f"The same request is still on its way as submission {earlier.id}; it was not sent twice.",
                    next_step="Call list_tasks in some seconds: it will show the task.",
                )
            await say(f"The same request is on its way as submission {earlier.id}; waiting for its answer", None)
            await anyio.sleep(JOIN_S)
            earlier = await self.store.submission(earlier.id) or earlier
        if earlier.state == "accepted" and earlier.task_id is not None:
            record = await self.store.find(earlier.task_id)
            # A task that was pruned here is still known to the service.
            return report_of(record) if record else await self.refresh(earlier.task_id)
        if earlier.state == "unknown":
            raise _unsettled(earlier, self.logs_of(new.gateway))
        if earlier.state == "refused":
            meaning = meaning_of(earlier.code or 400)
            message = earlier.message or "The same request was refused."
            raise Refused(message, code=earlier.code, next_step=meaning.next_step, can_retry=meaning.can_retry)
        return None

    async def _wait_for_turn(self, ticket: Ticket, gateway: str, say: Say, deadline: float) -> None:
        """Wait for a slot of the rate limit that all processes on this database share, oldest first.

        Of a process only its oldest waiting request asks: every asking is a write that all processes wait for. One
        that was told to come back later is older than those behind it, and asks again before them.
        """
        waiting, number, ahead = self._waiting[gateway], ticket.submission_id, ticket.ahead
        began = anyio.current_time()
        tell_at = began
        waiting[number] = anyio.Event()
        try:
            while (now := anyio.current_time()) < deadline:
                self._check_open()
                if now >= tell_at:
                    tell_at = now + TELL_S
                    await say(f"Waiting for a free slot, {now - began:.0f} s", None)
                rest = min(tell_at, deadline) - now
                if number == min(waiting):
                    ticket = await self.store.ask_again(number, gateway)
                    if ticket.granted:
                        return
                    ahead = ticket.ahead
                    await anyio.sleep(min(ticket.wait_s, rest))
                else:
                    waiting[number] = anyio.Event()
                    with anyio.move_on_after(rest):
                        await waiting[number].wait()
        finally:
            del waiting[number]
            if waiting:
                waiting[min(waiting)].set()
        raise RateLimited(
            f"No slot of the limit of {self.settings.rate_limit} per {self.settings.rate_window_s:g} s came free in "
            f"time ({ahead} earlier requests wait for one, too); this one was not sent.",
            next_step="Call again in some seconds.",
        )

    def _check_open(self) -> None:
        if self._closing:
            raise Refused("The server is ending; nothing was sent.", next_step="Call again once it runs.")

    async def _never_sent(self, submission_id: int) -> None:
        """Record that a request never left; one that has ended already stays as it is."""
        entry = {"submission_id": submission_id, "state": "cancelled", "code": None, "message": "it was never sent"}
        with anyio.CancelScope(shield=True):
            try:
                await self.store.record_never_sent(submission_id)
            except StorageError:
                with suppress(StorageError):
                    await self.store.keep_aside(entry)

    async def _send(self, tool: BoundTool, submission: Submission, submission_id: int, sending: _Sending) -> None:
        """Send, judge, record; whatever happens, the record says how it ended."""
        departure = Departure()
        try:
            reply = await self.caller(submission.gateway).create(submission.paths, submission.body, departure)
            with anyio.CancelScope(shield=True):  # it was answered: what the answer says must be read
                made = await self._judge(tool, submission, reply.answer)
            # What finished at once has no id of the service's; ours stands for it.
            outcome = made if isinstance(made, Outcome) else None
            accepted = Accepted(f"submission-{submission_id}") if isinstance(made, Outcome) else made
            task = Task(
                task_id=accepted.task_id,
                status_address=accepted.status_address,
                api_type=submission.api_type,
                provider=tool.provider,
                kind=tool.kind,
                tool=tool.name,
                model=submission.model,
                path=reply.path,
                gateway=submission.gateway,
            )
            sending.report = await self._record_accepted(submission_id, task, outcome)
        except RateLimited as error:
            sending.error = error
            # The caller decides whether its patience allows another try. Until then nothing is on its way.
            if error.can_retry:
                sending.retry_after_s = error.retry_after_s if error.retry_after_s is not None else RETRY_S
            with suppress(StorageError):
                await self.store.record_waiting(submission_id)
            if sending.abandoned:
                await self._never_sent(submission_id)
        except KieError as error:
            sending.error = await self._record_error(submission_id, error)
        except anyio.get_cancelled_exc_class():
            sending.error = await self._record_error(submission_id, self._stopped(submission, departure))
            raise
        except Exception as exc:
            log.exception("submission %s failed inside", submission_id)
            stopped = self._stopped(submission, departure)
            stopped.message = f"The server failed inside ({type(exc).__name__}). {stopped.message}"
            sending.error = await self._record_error(submission_id, stopped)
        finally:
            self._on_their_way.discard(sending)
            sending.done.set()

    def _stopped(self, submission: Submission, departure: Departure) -> ServiceError:
        """Return what a request is that did not come to its end: unknown, unless it provably never left."""
        if not departure.sent:
            return Refused("It was stopped before anything was sent.", next_step="Call again.", can_retry=True)
        return Unknown(
            "It was stopped while the request was on its way.",
            next_step=f"It may have been accepted and charged: look for it at {self.logs_of(submission.gateway)}.",
        )

    async def _judge(self, tool: BoundTool, submission: Submission, answer: Answer) -> Accepted | Outcome:
        """Return what an answer that accepts has made; raise what any other one means."""
        gateway = self.caller(submission.gateway).gateway
        read = submission.read or gateway.accept
        if read is not None:
            made = await self.asking.made(tool.provider, read, answer, logs_page=gateway.logs_page)
            if made is not None:
                return made
        if answer.code != 200:
            error = error_of(answer, gateway)
            # What is said of a family's end at Kie.ai is true of Kie.ai alone.
            raise self._with_advice(tool, error) if gateway.name == KIE else error
        data = answer.data if isinstance(answer.data, Mapping) else {}
        task_id = text_in(data.get("taskId")) or text_in(data.get("task_id"))
        if task_id is None:
            raise Unknown(
                "The service accepted the request but named no task id.",
                code=200,
                next_step=f"It may have been accepted and charged: look for it at {gateway.logs_page}.",
            )
        return Accepted(task_id)

    def _with_advice(self, tool: BoundTool, error: ServiceError) -> ServiceError:
        """Say what else to use where a family the service no longer offers, or never did, is refused."""
        provider = self.plugins.provider_of(tool.provider)
        if provider.availability == "current" or not isinstance(error, Refused) or error.code not in {404, 405, 422}:
            return error
        error.message += f" {provider.title} is {provider.availability} at Kie.ai. {provider.note}".rstrip()
        error.next_step = (
            f"Nothing was charged. Use {provider.nearest} instead." if provider.nearest else error.next_step
        )
        return error

    async def _record_accepted(self, submission_id: int, task: Task, outcome: Outcome | None) -> Report:
        with anyio.CancelScope(shield=True):
            try:
                record = await self.store.record_accepted(submission_id, task, outcome)
            except StorageError as exc:
                log.error("task %s was accepted but not recorded: %s", task.task_id, exc)
                return await self._unrecorded(submission_id, task, exc)
        report = report_of(record)
        if record.submission_id != submission_id:
            again = f"The service answered with the id of a task that is on record since {record.created_at:%Y-%m-%d}."
            report = replace(report, next_step=f"{again} {report.next_step}")
        return report

    async def _unrecorded(self, submission_id: int, task: Task, reason: StorageError) -> Report:
        """Answer with an accepted task that the database did not take, and keep it where the next start finds it."""
        entry = {
            "submission_id": submission_id,
            "task": {**asdict(task), "created_at": datetime.now(UTC).isoformat()},
        }
        try:
            kept = f"It is kept in {await self.store.keep_aside(entry)} and will be recorded from there."
        except StorageError as exc:
            kept = f"It could not be kept beside the database either: {exc.message}"
        return Report(
            status="pending",
            task_id=task.task_id,
            api_type=task.api_type,
            provider=task.provider,
            charged="yes",
            submission_id=submission_id,
            error=f"The task was accepted, but is not recorded: {reason.message} {kept}",
            next_step=f"Keep this id. get_task_status('{task.task_id}') finds it at the service even without a record.",
        )

    async def _record_error(self, submission_id: int, error: KieError) -> KieError:
        """Record how a request ended without a task, even as the server ends; the error says so if that fails."""
        state: Any = "unknown" if isinstance(error, Unknown) else "refused"
        code = error.code if isinstance(error, ServiceError) else None
        if state == "unknown":
            error.next_step += f" Then call resolve_submission with submission_id {submission_id}."
        # The service may repeat the prompt in its reason.
        message = self.settings.mask(error.message) if self.settings.store_prompts else NOT_STORED
        with anyio.CancelScope(shield=True):
            try:
                await self.store.record_settled(submission_id, state, code, message)
            except StorageError as exc:
                error.message += f" This could not be recorded: {exc.message}"
                entry = {"submission_id": submission_id, "state": state, "code": code, "message": message}
                with suppress(StorageError):
                    await self.store.keep_aside(entry)
        return error


def _known(credits: float | None) -> float | Literal["unknown"]:
    return "unknown" if credits is None else credits


def _hash(tool: BoundTool, submission: Submission) -> str:
    same = [tool.name, submission.gateway, submission.paths[0], submission.body]
    return hashlib.sha256(json.dumps(same, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _unsettled(twin: SubmissionRecord, logs_page: str) -> KieError:
    return Refused(
        f"The same request was sent as submission {twin.id} and its answer was lost: it may have been charged. "
        "It was not sent again.",
        next_step=f"Look at {logs_page}. If the task is there, call resolve_submission(submission_id={twin.id}, "
        f"action='adopt', task_id=...); if not, resolve_submission(submission_id={twin.id}, action='discard').",
    )
