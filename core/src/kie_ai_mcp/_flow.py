"""The story of one paid request, told top to bottom by `submit`; what becomes of its task is told in _reading."""

import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from kie_ai_mcp._answers import Report, report_of
from kie_ai_mcp._gateway import error_of
from kie_ai_mcp._reading import ACCOUNT_CODES, Reading
from kie_ai_mcp._tables import SubmissionRecord
from kie_ai_mcp._tasks import NewSubmission
from kie_ai_mcp._tools import OWN_ARGUMENTS, BoundTool
from kie_ai_mcp.errors import (
    LOGS_PAGE,
    InvalidArgument,
    KieError,
    PluginError,
    RateLimited,
    Refused,
    ServiceError,
    StorageError,
    Unknown,
)
from kie_ai_mcp.readings import text_in
from kie_ai_mcp.specs import Accepted, Answer, Outcome, Submission, Task

log = logging.getLogger(__name__)

Say = Callable[[str, float | None], Awaitable[None]]
"""Tells the client how a call gets on: words for people, and a share between 0 and 1 where there is one."""

PATIENCE_S = 45.0
"""How long a call waits for its turn under the rate limit when nothing is known of the client."""

OWN_CHARS = 200
"""The longest value of an argument that is the server's own."""

SUBFOLDER = re.compile(r"(?!\.)[\w .-]+(/(?!\.)[\w .-]+)*")
"""Names below the output folder; none begins with a dot, so none leads out of it."""

JOIN_S = 0.2
"""Seconds between two looks at an identical request that is on its way."""

GRACE_S = 5.0
"""How long a request that is on its way may still take when the server is asked to end."""


@dataclass(eq=False)
class _Sending:
    """A paid request on its way: it goes on when the caller is cancelled, and is recorded whatever happens."""

    done: anyio.Event = field(default_factory=anyio.Event)
    report: Report | None = None
    error: KieError | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True)
class _OwnArguments:
    """What the server itself takes on a paid tool; see `OWN_ARGUMENTS`."""

    idempotency_key: str | None
    subfolder: str | None


@dataclass
class Flow(Reading):
    """What a generation needs. Reads at any time, sends only while `running`."""

    _group: TaskGroup | None = None
    _on_their_way: set[_Sending] = field(default_factory=set)
    _closing: bool = False
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

    # -- a paid request ------------------------------------------------------------------------------------------

    async def submit(
        self, tool: BoundTool, arguments: Mapping[str, Any], say: Say, patience_s: float = PATIENCE_S
    ) -> Report:
        """Run one generation tool: validate, write ahead, wait for a slot, send once, record, answer.

        Raises:
            KieError: Nothing was made, or it is not known; the error says which, and what to do.
        """
        own, given = self._own_arguments(arguments)
        checked = tool.arguments.check(given)
        if self._closing:
            raise Refused("The server is ending; nothing was sent.", next_step="Call again once it runs.")
        # Refusals by the provider and a missing key come before any file is uploaded.
        self.caller(_submission(tool, checked).gateway).check_key()
        submission = _submission(tool, await self.uploads.addresses(checked, tool.arguments.media))

        new = NewSubmission(
            tool=tool.name,
            provider=tool.provider,
            api_type=submission.api_type,
            kind=tool.kind,
            gateway=submission.gateway,
            model=submission.model,
            arguments=self._redacted(checked),
            body_hash=_hash(tool, submission),
            idempotency_key=own.idempotency_key,
            subfolder=own.subfolder,
            estimated_credits=submission.estimated_credits,
        )
        deadline = anyio.current_time() + patience_s
        while isinstance(ticket := await self.store.write_ahead(new), SubmissionRecord):
            report = await self._join(ticket, new, say, deadline)
            if report is not None:
                return report

        while True:
            await self._take_slot(ticket.submission_id, ticket.granted, submission.gateway, say, deadline)
            sending = _Sending()
            assert self._group is not None  # noqa: S101  a running flow has one
            self._on_their_way.add(sending)
            self._group.start_soon(self._send, tool, submission, ticket.submission_id, sending)
            await sending.done.wait()
            if sending.report is not None:
                return replace(sending.report, estimated_credits=_known(submission.estimated_credits))
            assert sending.error is not None  # noqa: S101  either a report or an error
            pause = sending.retry_after_s
            if pause is None or anyio.current_time() + pause > deadline:
                if isinstance(sending.error, RateLimited):
                    await self.store.record_settled(
                        ticket.submission_id, "refused", sending.error.code, sending.error.message
                    )
                raise sending.error
            await say(f"The service is busy; trying again in {pause:.0f} s", None)
            await self._sleep_before_sending(ticket.submission_id, pause)
            ticket = replace(ticket, granted=False)

    def _own_arguments(self, arguments: Mapping[str, Any]) -> tuple[_OwnArguments, dict[str, Any]]:
        """Return the server's own arguments and the provider's."""
        given = dict(arguments)
        own = _OwnArguments(**{name: given.pop(name, None) for name in OWN_ARGUMENTS})
        for name, value in vars(own).items():
            if value is not None and not (isinstance(value, str) and 0 < len(value) <= OWN_CHARS):
                raise InvalidArgument(name, value, f"text of 1 to {OWN_CHARS} characters")
        if own.subfolder is not None:
            if self.settings.output_dir is None:
                raise InvalidArgument(
                    "subfolder", own.subfolder, "nothing is saved, since KIE_AI_OUTPUT_DIR is not set"
                )
            if not SUBFOLDER.fullmatch(own.subfolder):
                raise InvalidArgument(
                    "subfolder", own.subfolder, "names of letters, digits, space, dot, dash and underscore, joined by /"
                )
        return own, given

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
            return report_of(record) if record else None
        if earlier.state == "unknown":
            raise _unsettled(earlier)
        if earlier.state == "refused":
            raise Refused(earlier.message or "The same request was refused.", code=earlier.code)
        return None

    async def _take_slot(self, submission_id: int, granted: bool, gateway: str, say: Say, deadline: float) -> None:
        """Wait for a turn under the rate limit that all processes on this database share, oldest first."""
        try:
            told = False
            while not granted:
                ticket = await self.store.ask_again(submission_id, gateway)
                if ticket.granted:
                    break
                if anyio.current_time() + ticket.wait_s > deadline:
                    await self.store.record_never_sent(submission_id)
                    raise RateLimited(
                        f"{ticket.ahead} earlier requests wait for the limit of {self.settings.rate_limit} "
                        f"per {self.settings.rate_window_s:g} s; this one was not sent.",
                        next_step="Call again in some seconds.",
                    )
                if not told:
                    await say(f"Waiting for a free slot; {ticket.ahead} requests are ahead", None)
                    told = True
                await anyio.sleep(ticket.wait_s)
            # The last moment at which a cancelled call costs nothing.
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            await self._never_sent(submission_id)
            raise

    async def _sleep_before_sending(self, submission_id: int, pause_s: float) -> None:
        try:
            await anyio.sleep(pause_s)
        except anyio.get_cancelled_exc_class():
            await self._never_sent(submission_id)
            raise

    async def _never_sent(self, submission_id: int) -> None:
        with anyio.CancelScope(shield=True):
            await self.store.record_never_sent(submission_id)

    async def _send(self, tool: BoundTool, submission: Submission, submission_id: int, sending: _Sending) -> None:
        """Send, judge, record. Runs apart from the caller, who may be cancelled while money is being spent."""
        try:
            reply = await self.caller(submission.gateway).create(submission.paths, submission.body)
            made = self._judge(tool, submission, reply.answer)
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
            # The caller decides whether its patience allows another try, and records the end of it.
            sending.retry_after_s = error.retry_after_s if error.retry_after_s is not None else 2.0
            if not error.can_retry:
                sending.retry_after_s = None
        except KieError as error:
            sending.error = await self._record_error(submission_id, error)
        except anyio.get_cancelled_exc_class():
            stopped = Unknown(
                "The server was stopped while the request was on its way.",
                next_step=f"It may have been accepted and charged: look for it at {LOGS_PAGE}.",
            )
            with anyio.CancelScope(shield=True):
                sending.error = await self._record_error(submission_id, stopped)
            raise
        finally:
            self._on_their_way.discard(sending)
            sending.done.set()

    def _judge(self, tool: BoundTool, submission: Submission, answer: Answer) -> Accepted | Outcome:
        """Return what an answer that accepts has made; raise what any other one means."""
        gateway = self.caller(submission.gateway).gateway
        read = submission.read or gateway.accept
        if read is not None and answer.code not in ACCOUNT_CODES:
            try:
                made = read(answer)
            except Exception as exc:
                log.exception("provider %s failed to read an answer", tool.provider)
                raise Unknown(
                    f"The provider {tool.provider} failed to read the service's answer ({type(exc).__name__}).",
                    next_step=f"It may have been accepted and charged: look for it at {gateway.logs_page}.",
                ) from exc
            if made is not None:
                return Accepted(made) if isinstance(made, str) else made
        if answer.code != 200:
            raise self._with_advice(tool, error_of(answer))
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
        """Record how a request ended without a task; the error says so where even that fails."""
        state: Any = "unknown" if isinstance(error, Unknown) else "refused"
        code = error.code if isinstance(error, ServiceError) else None
        if state == "unknown":
            error.next_step += f" Then call resolve_submission with submission_id {submission_id}."
        try:
            await self.store.record_settled(submission_id, state, code, error.message)
        except StorageError as exc:
            error.message += f" This could not be recorded: {exc.message}"
            entry = {"submission_id": submission_id, "state": state, "code": code, "message": error.message}
            with suppress(StorageError):
                await self.store.keep_aside(entry)
        return error


def _known(credits: float | None) -> float | Literal["unknown"]:
    return "unknown" if credits is None else credits


def _submission(tool: BoundTool, checked: Mapping[str, Any]) -> Submission:
    submission = tool.fn(**checked)
    if not isinstance(submission, Submission):
        raise PluginError(f"{tool.name} of {tool.provider} returned {type(submission).__name__}, not a Submission.")
    return submission


def _hash(tool: BoundTool, submission: Submission) -> str:
    same = [tool.name, submission.gateway, submission.paths[0], submission.body]
    return hashlib.sha256(json.dumps(same, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _unsettled(twin: SubmissionRecord) -> KieError:
    return Refused(
        f"The same request was sent as submission {twin.id} and its answer was lost: it may have been charged. "
        "It was not sent again.",
        next_step=f"Look at {LOGS_PAGE}. If the task is there, call resolve_submission(submission_id={twin.id}, "
        f"action='adopt', task_id=...); if not, resolve_submission(submission_id={twin.id}, action='discard').",
    )
