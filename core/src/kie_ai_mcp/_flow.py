"""The two stories, told top to bottom: `submit` sends one paid request, `refresh` reads what became of a task."""

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from kie_ai_mcp._answers import Report, report_of
from kie_ai_mcp._config import Settings
from kie_ai_mcp._gateway import Gateway, error_of, error_text
from kie_ai_mcp._media import save_results
from kie_ai_mcp._plugins import Plugins
from kie_ai_mcp._tables import SubmissionRecord, TaskRecord
from kie_ai_mcp._tasks import NewSubmission, Store
from kie_ai_mcp._tools import BoundTool
from kie_ai_mcp.errors import (
    LOGS_PAGE,
    InvalidArgument,
    KieError,
    MediaError,
    RateLimited,
    ReadFailed,
    Refused,
    ServiceError,
    StorageError,
    TaskNotFound,
    Unknown,
)
from kie_ai_mcp.readings import text_in
from kie_ai_mcp.specs import Answer, Outcome, Query, StatusRoute, Submission, Task

log = logging.getLogger(__name__)

Say = Callable[[str, float | None], Awaitable[None]]
"""Tells the client how a call gets on: words for people, and a share between 0 and 1 where there is one."""

PATIENCE_S = 45.0
"""How long a call waits for its turn under the rate limit when nothing is known of the client."""

PROMPTS = ("prompt", "negative_prompt", "shots")
NOT_STORED = "[not stored]"

KEY_CHARS = 200
"""The longest idempotency key."""

JOIN_S = 0.2
"""Seconds between two looks at an identical request that is on its way."""

ACCOUNT_CODES = (401, 402, 429, 430, 433, 455)
"""Codes that speak of the key, the account or the whole service, never of one task; no provider reads them."""

GRACE_S = 5.0
"""How long a request that is on its way may still take when the server is asked to end."""


@dataclass(eq=False)
class _Sending:
    """A paid request on its way: it goes on when the caller is cancelled, and is recorded whatever happens."""

    done: anyio.Event = field(default_factory=anyio.Event)
    report: Report | None = None
    error: KieError | None = None
    retry_after_s: float | None = None


@dataclass
class Flow:
    """What a generation needs: settings, providers, one service, one record. Sends only while `running`."""

    settings: Settings
    plugins: Plugins
    gateway: Gateway
    store: Store
    _group: TaskGroup | None = None
    _on_their_way: set[_Sending] = field(default_factory=set)
    _closing: bool = False

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
                await self.gateway.close()
            self.store.close()

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

    # -- a paid request ------------------------------------------------------------------------------------------

    async def submit(
        self, tool: BoundTool, arguments: Mapping[str, Any], say: Say, patience_s: float = PATIENCE_S
    ) -> Report:
        """Run one generation tool: validate, write ahead, wait for a slot, send once, record, answer.

        Raises:
            KieError: Nothing was made, or it is not known; the error says which, and what to do.
        """
        key, given = _idempotency_key(arguments)
        checked = tool.arguments.check(given)
        submission = tool.fn(**checked)
        if not isinstance(submission, Submission):
            raise InvalidArgument("tool", tool.name, f"it returned {type(submission).__name__}, not a Submission")
        self.settings.key  # noqa: B018  without a key nothing is written down either
        if self._closing:
            raise Refused("The server is ending; nothing was sent.", next_step="Call again once it runs.")

        new = NewSubmission(
            tool=tool.name,
            provider=tool.provider,
            api_type=submission.api_type,
            kind=tool.kind,
            gateway=submission.gateway,
            model=submission.model,
            arguments=self._redacted(checked),
            body_hash=_hash(tool, submission),
            idempotency_key=key,
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
                return sending.report
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
            reply = await self.gateway.create(submission.paths, submission.body)
            accepted = self._judge(tool, submission, reply.answer)
            task_id, outcome = (accepted, None) if isinstance(accepted, str) else ("", accepted)
            if outcome is not None and not task_id:
                task_id = f"submission-{submission_id}"
            task = Task(
                task_id=task_id,
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

    def _judge(self, tool: BoundTool, submission: Submission, answer: Answer) -> str | Outcome:
        """Return the task id (or a final outcome) of an answer that accepts; raise what any other one means."""
        if submission.read is not None and answer.code not in ACCOUNT_CODES:
            try:
                read = submission.read(answer)
            except Exception as exc:
                log.exception("provider %s failed to read an answer", tool.provider)
                raise Unknown(
                    f"The provider {tool.provider} failed to read the service's answer ({type(exc).__name__}).",
                    next_step=f"It may have been accepted and charged: look for it at {LOGS_PAGE}.",
                ) from exc
            if read is not None:
                return read
        if answer.code != 200:
            raise self._with_advice(tool, error_of(answer))
        data = answer.data if isinstance(answer.data, Mapping) else {}
        task_id = text_in(data.get("taskId")) or text_in(data.get("task_id"))
        if task_id is None:
            raise Unknown(
                "The service accepted the request but named no task id.",
                code=200,
                next_step=f"It may have been accepted and charged: look for it at {LOGS_PAGE}.",
            )
        return task_id

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

    def _redacted(self, arguments: Mapping[str, Any]) -> Any:
        """Return arguments as they may be stored and shown: without the key, and without prompts where so set."""
        if not self.settings.store_prompts:
            arguments = {name: NOT_STORED if name in PROMPTS else value for name, value in arguments.items()}
        return json.loads(self.settings.mask(json.dumps(arguments, ensure_ascii=False)))

    # -- a free read ---------------------------------------------------------------------------------------------

    async def query(self, tool: BoundTool, arguments: Mapping[str, Any]) -> Report:
        """Run one reading tool, and save what it finds."""
        query = tool.fn(**tool.arguments.check(arguments))
        if not isinstance(query, Query):
            raise InvalidArgument("tool", tool.name, f"it returned {type(query).__name__}, not a Query")
        answer = await self.gateway.read(query.paths, query.params)
        if answer.code in ACCOUNT_CODES:
            raise error_of(answer)
        outcome = query.read(answer)
        if outcome.status == "failed":
            raise ReadFailed(outcome.error or error_text(answer), code=answer.code, can_retry=False)
        task = Task(query.task_id or tool.name, tool.name, tool.provider, kind=tool.kind, tool=tool.name)
        now = datetime.now(UTC)
        record = await self.store.find(task.task_id) or TaskRecord(task, "completed", now, now, finished_at=now)
        found = replace(
            record,
            status=outcome.status,
            result_urls=outcome.urls,
            files=(),
            finished_at=outcome.finished_at or record.finished_at,
            keeps_s=outcome.keeps_s,
        )
        if outcome.urls and self.settings.output_dir is not None:
            files = await save_results(
                self.gateway, found, self.settings.output_dir, self._redacted(arguments), query.label
            )
            found = replace(found, files=files)
        report = report_of(found)
        if outcome.status != "completed":
            report = replace(report, next_step=f"Not ready yet. Call {tool.name} again in 30 seconds.")
        return report

    async def refresh(self, task_id: str, *, with_record: bool = False) -> Report:
        """Read a task's status once, write it down, save finished results, and tell.

        A read that fails changes nothing: the answer is then the last known state plus `read_error`.

        Raises:
            TaskNotFound: Neither this database nor any status route knows the id.
        """
        record = await self.store.find(task_id)
        if record is None:
            record, payload = await self._look_up(task_id)
        else:
            record = replace(record, task=self._with_provider(record.task))
            try:
                payload = await self._payload(record.task)
            except KieError as exc:
                return report_of(await self._saved(record), read_error=exc.message)
        try:
            outcome = self.plugins.normalize(record.task, payload)
        except ReadFailed as exc:
            return report_of(record, read_error=exc.message)
        record = await self.store.record_outcome(task_id, outcome)
        shown = dict(payload) if with_record else None
        try:
            record = await self._saved(record)
        except MediaError as exc:
            return replace(
                report_of(record, service_record=shown),
                next_step=f"{exc} Call get_task_status again to save once more.",
            )
        return report_of(record, service_record=shown)

    async def last_known(self, task_id: str) -> Report | None:
        """Return a task as it is on record, without asking the service; None for an id never seen."""
        record = await self.store.find(task_id)
        return None if record is None else report_of(record)

    async def _payload(self, task: Task) -> Mapping[str, Any]:
        """Return what the service says of a task.

        Raises:
            ReadFailed: The read failed, or the service says that it does not know the task.
        """
        route = self.plugins.route(task)
        answer = await self.gateway.read(route.paths, route.params)
        if answer.code != 200:
            raise ReadFailed(error_text(answer), code=answer.code)
        if not isinstance(answer.data, Mapping) or not answer.data:
            raise ReadFailed(f"{route.paths[0]} has no record of the task.", code=answer.code)
        return answer.data

    async def _saved(self, record: TaskRecord) -> TaskRecord:
        """Save the results of a completed task, where a folder is set and they are not saved yet."""
        folder = self.settings.output_dir
        if folder is None or record.status != "completed" or len(record.files) >= len(record.result_urls):
            return record
        arguments = await self.store.arguments_of(record.task.task_id)
        files = await save_results(self.gateway, record, folder, arguments)
        return await self.store.record_files(record.task.task_id, files)

    async def _look_up(self, task_id: str) -> tuple[TaskRecord, Mapping[str, Any]]:
        """Find a task that was made elsewhere: ask each distinct status route once, the market's first."""
        unread: list[str] = []
        for task in self._probes(task_id):
            try:
                payload = await self._payload(task)
            except ReadFailed as exc:
                if exc.code is None or exc.code in {429, 455} or exc.code >= 500:
                    unread.append(exc.message)
                continue
            return await self.store.adopt(self._owned(task, payload)), payload
        if unread:
            raise ReadFailed(
                f"The task {task_id} is not on record here, and the service could not be asked everywhere: {unread[0]}",
                next_step="Ask again later.",
            )
        raise TaskNotFound(
            f"No task {task_id!r} is on record here, and no status route of the enabled providers knows it.",
            next_step="Check the id; list_tasks shows the recorded ones. A disabled provider's tasks need it enabled.",
        )

    def _with_provider(self, task: Task) -> Task:
        """Name the owner of a task that the seed's server recorded, which kept no provider."""
        owner = None if task.provider else self.plugins.owner_of_api_type(task.api_type)
        return task if owner is None else replace(task, provider=owner.name)

    def _probes(self, task_id: str) -> list[Task]:
        market = Task(task_id, "market", "")
        probes: dict[tuple[str, ...], Task] = {self.plugins.route(market).paths: market}
        for task in self.plugins.probes(task_id):
            try:
                route: StatusRoute = self.plugins.route(task)
            except ReadFailed:
                continue
            probes.setdefault(route.paths, task)
        return list(probes.values())

    def _owned(self, task: Task, payload: Mapping[str, Any]) -> Task:
        """Give a task found at the shared route to the provider its model belongs to."""
        model = text_in(payload.get("model"))
        owner = None if task.provider else self.plugins.owner_of_model(model)
        if owner is None:
            return replace(task, model=model, provider=task.provider or "kie")
        kind = (owner.provider.kinds or ("image",))[0]
        api_type = (owner.provider.api_types or (owner.name,))[0]
        return replace(task, model=model, provider=owner.name, kind=kind, api_type=api_type)

    # -- settling ------------------------------------------------------------------------------------------------

    async def resolve(self, submission_id: int, task_id: str | None) -> Report:
        """Settle an unknown submission: adopt the task that the account's log shows for it, or discard it.

        Raises:
            StorageError: It is not an unknown submission.
            TaskNotFound: The service does not know the task id.
        """
        if task_id is None:
            settled = await self.store.resolve(submission_id, None)
            return Report(
                status="discarded",
                next_step=f"{settled.tool} may be called again with the same arguments.",
                submission_id=submission_id,
                charged="unknown",
            )
        report = await self.refresh(task_id)
        record = await self.store.find(task_id)
        await self.store.resolve(submission_id, record.task if record else None)
        return replace(report, submission_id=submission_id)

    async def credits(self) -> float:
        """Return what the account has left.

        Raises:
            ServiceError: The service gave no number.
        """
        answer = await self.gateway.read(("chat/credit",), {})
        if answer.code == 401:
            raise error_of(answer)
        if answer.code != 200 or not isinstance(answer.data, (int, float)) or isinstance(answer.data, bool):
            raise ReadFailed(f"The credits could not be read. {error_text(answer)}", code=answer.code)
        return float(answer.data)


def _hash(tool: BoundTool, submission: Submission) -> str:
    same = [tool.name, submission.gateway, submission.paths[0], submission.body]
    return hashlib.sha256(json.dumps(same, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _idempotency_key(arguments: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the server's own argument and the provider's."""
    given = dict(arguments)
    key = given.pop("idempotency_key", None)
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= KEY_CHARS):
        raise InvalidArgument("idempotency_key", key, f"text of 1 to {KEY_CHARS} characters")
    return key, given


def _unsettled(twin: SubmissionRecord) -> KieError:
    return Refused(
        f"The same request was sent as submission {twin.id} and its answer was lost: it may have been charged. "
        "It was not sent again.",
        next_step=f"Look at {LOGS_PAGE}. If the task is there, call resolve_submission(submission_id={twin.id}, "
        f"action='adopt', task_id=...); if not, resolve_submission(submission_id={twin.id}, action='discard').",
    )
