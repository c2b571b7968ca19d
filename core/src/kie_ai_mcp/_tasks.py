"""The record: every submission before it is sent, every task the service made of one.

`Store` is asynchronous outside and synchronous inside: each public method runs in a worker thread, one at a
time, so a slow disk never stops the server. Every change is committed, and on disk, when the method returns.
"""

import json
import os
import sqlite3
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import peewee

from kie_ai_mcp._migrations import SCHEMA_VERSION, migrate
from kie_ai_mcp._tables import (
    FINAL,
    UNSETTLED,
    KeyRow,
    SubmissionRecord,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    UploadRow,
    submission_record,
    task_record,
)
from kie_ai_mcp.errors import LimitReached, StorageError
from kie_ai_mcp.specs import DAY_S, Kind, Outcome, Task

if TYPE_CHECKING:
    from filelock import BaseFileLock

BUSY_TIMEOUT_S = 10
"""How long one statement waits for another process to finish writing."""

CONNECT_S = 0.02
"""Seconds between two tries to connect while another process makes the file."""

OPEN = peewee.SQL("state IN ('sending', 'unknown')")

STALE_TICKET_S = 5.0
"""A waiting request whose process has not asked for a slot for so long no longer holds its place."""


@dataclass(frozen=True)
class NewSubmission:
    """What is written down before a paid request is sent."""

    tool: str
    provider: str
    api_type: str
    kind: Kind
    gateway: str
    model: str | None
    arguments: Mapping[str, Any]
    body_hash: str
    idempotency_key: str | None = None
    subfolder: str | None = None
    estimated_credits: float | None = None


@dataclass(frozen=True)
class Ticket:
    """A submission's place before sending: `granted`, or `wait_s` seconds until it is worth asking again."""

    submission_id: int
    granted: bool
    wait_s: float = 0.0
    ahead: int = 0


@dataclass(frozen=True)
class Filters:
    """Which tasks `Store.tasks` returns; None means any."""

    status: str | None = None
    provider: str | None = None
    kind: str | None = None
    since: datetime | None = None
    before_id: int | None = None
    limit: int = 20


@dataclass(frozen=True)
class RateLimit:
    """At most `creates` paid requests in any `window_s` seconds."""

    creates: int
    window_s: float


@dataclass(frozen=True)
class Budget:
    """What the user lets be spent; None is no limit."""

    credits_per_day: float | None = None
    submissions_per_hour: int | None = None


P = ParamSpec("P")
R = TypeVar("R")

# Joined by the submission's number, of which there is one: two may name the same task.
_WITH_ESTIMATE = TaskRow.select(TaskRow, SubmissionRow.estimated_credits).join(
    SubmissionRow, peewee.JOIN.LEFT_OUTER, on=SubmissionRow.id == TaskRow.submission_id
)


def _in_worker(
    work: Callable[Concatenate["Store", P], R],
) -> Callable[Concatenate["Store", P], Awaitable[R]]:
    """Make a synchronous method awaitable: it runs in a worker thread, after the one before it."""

    @wraps(work)
    async def awaitable(self: "Store", /, *args: P.args, **kwargs: P.kwargs) -> R:
        call = partial(self._guarded, partial(work, self, *args, **kwargs))
        return await anyio.to_thread.run_sync(call, limiter=self._lane)

    return awaitable


@dataclass
class Store:
    """The task database of this process.

    Args:
        path: The SQLite file; made with its folder if absent.
        limit: The account's rate limit, which all processes on this file share.
        limits: Rate limits of single gateways, by name, where they have their own.
        budget: The user's own limits, which they share as well.
    """

    path: Path
    limit: RateLimit
    budget: Budget = Budget()
    limits: Mapping[str, RateLimit] = field(default_factory=dict)
    _owner: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __post_init__(self) -> None:
        self._db = peewee.SqliteDatabase(
            str(self.path),
            pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1},
            timeout=BUSY_TIMEOUT_S,
            thread_safe=False,  # one connection, used by one worker thread at a time (see _lane)
            check_same_thread=False,
        )
        # Where the file itself lies: a process that opens it through a link must find the same files beside it.
        self._real_path = Path(os.path.realpath(self.path))
        self._lane_limiter: anyio.CapacityLimiter | None = None
        self._unwritten: list[dict[str, Any]] = []
        self._alive: BaseFileLock | None = None

    @property
    def _lane(self) -> anyio.CapacityLimiter:
        if self._lane_limiter is None:
            self._lane_limiter = anyio.CapacityLimiter(1)
        return self._lane_limiter

    def open(self) -> None:
        """Open the file, bring it up to this program's version, and settle what dead processes left behind.

        Raises:
            StorageError: The file can't be opened or written, or is newer than this program.
        """
        with self._translated("opened"), self._closed_on_failure():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connect()
            if int(self._db.pragma("user_version")) != SCHEMA_VERSION:
                migrate(self._db, self.path)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(13, "it is read-only")
            self._take_back()
            with self._db.atomic("IMMEDIATE"):
                self._open_rows()

    async def aclose(self) -> None:
        """Close the file once no other work is under way: closing it below a running statement would crash."""
        await anyio.to_thread.run_sync(self.close, limiter=self._lane)

    def close(self) -> None:
        """Close the file and give up this process's mark of being alive. Only where no worker uses it."""
        if self._unwritten:  # the last chance: what no file took is in memory alone
            with suppress(StorageError), self._translated("used"):
                self._take_back()
        self._db.close()
        if self._alive is not None:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)
            self._alive = None

    # -- before sending ------------------------------------------------------------------------------------------

    @_in_worker
    def write_ahead(self, new: NewSubmission) -> Ticket | SubmissionRecord:
        """Record a request that is about to be sent, and take a slot if one is free.

        Returns:
            Its ticket; or, where an identical request is still unsettled or the idempotency key was used before,
            that earlier one, and nothing is recorded.

        Raises:
            LimitReached: It would pass a limit of `budget`.
        """
        self._announce()
        self._take_back()
        now = time.time()
        with self._db.atomic("IMMEDIATE"):
            open_rows = self._open_rows()
            earlier = self._keyed(new.idempotency_key) or self._twin(open_rows, new)
            if earlier is not None:
                return submission_record(earlier)
            self._check_budget(new)
            wait = self._wait_for_slot(open_rows, new.gateway, now)
            submission_id = SubmissionRow.insert(
                state="sending",
                tool=new.tool,
                provider=new.provider,
                api_type=new.api_type,
                kind=new.kind,
                gateway=new.gateway,
                model=new.model,
                arguments=dict(new.arguments),
                body_hash=new.body_hash,
                subfolder=new.subfolder,
                estimated_credits=new.estimated_credits,
                owner=self._owner,
                created_at=datetime.now(UTC),
                asked_at=now,
                granted_at=None if wait else now,
            ).execute(self._db)
            self._bind(new.idempotency_key, submission_id)
        return Ticket(
            submission_id, granted=wait is None, wait_s=wait[0] if wait else 0.0, ahead=wait[1] if wait else 0
        )

    @_in_worker
    def ask_again(self, submission_id: int, gateway: str) -> Ticket:
        """Ask for the slot that `write_ahead` could not give yet; the oldest waiting request comes first."""
        now = time.time()
        with self._db.atomic("IMMEDIATE"):
            before = [row for row in self._open_rows() if row["id"] < submission_id]
            self._change(submission_id, granted_at=None, answered_at=None)
            rows = SubmissionRow
            waiting = (rows.state == "sending") & (rows.owner == self._owner) & rows.granted_at.is_null()
            rows.update(asked_at=now).where(OPEN, waiting).execute(self._db)  # one asks for all of its process
            wait = self._wait_for_slot(before, gateway, now)
            if wait is None:
                self._change(submission_id, granted_at=now)
                return Ticket(submission_id, granted=True)
        return Ticket(submission_id, granted=False, wait_s=wait[0], ahead=wait[1])

    def _open_rows(self) -> list[dict[str, Any]]:
        """Return the unsettled submissions, oldest first, after settling those of dead processes."""
        rows = list(
            SubmissionRow.select()
            .where(OPEN)  # in words: bound values would keep SQLite from the partial index
            .order_by(SubmissionRow.id)
            .dicts()
            .execute(self._db)
        )
        owners = {row["owner"] for row in rows if row["state"] == "sending"} - {self._owner}
        dead = [owner for owner in owners if self._settle_if_dead(owner)]
        return self._open_rows() if dead else rows

    def _keyed(self, key: str | None) -> dict[str, Any] | None:
        """Return the submission that an idempotency key is bound to; a key whose request made nothing is free again."""
        if key is None:
            return None
        rows = SubmissionRow
        bound = KeyRow.select(KeyRow.submission_id).where(KeyRow.key == key)
        return self._one(rows.select().where(rows.id.in_(bound), rows.state.in_(("sending", "unknown", "accepted"))))

    def _twin(self, open_rows: Iterable[dict[str, Any]], new: NewSubmission) -> dict[str, Any] | None:
        """Return an unsettled request with the same body, and bind the key to it."""
        twin = next((row for row in open_rows if row["body_hash"] == new.body_hash), None)
        if twin is not None:
            self._bind(new.idempotency_key, twin["id"])
        return twin

    def _bind(self, key: str | None, submission_id: int) -> None:
        if key is not None:
            KeyRow.insert(key=key, submission_id=submission_id).on_conflict_replace().execute(self._db)

    def _check_budget(self, new: NewSubmission) -> None:
        """Refuse what would pass the user's limits; an unknown price counts as nothing until the service names it."""
        per_hour, per_day = self.budget.submissions_per_hour, self.budget.credits_per_day
        if per_hour is not None:
            made = self._made_since(timedelta(hours=1)).count(self._db)
            if made >= per_hour:
                raise LimitReached(
                    f"{made} paid requests were made in the last hour; the limit is {per_hour}. Nothing was sent.",
                    next_step="Wait, or raise KIE_AI_MAX_SUBMISSIONS_PER_HOUR.",
                )
        if per_day is not None:
            spent = self._spent_since(timedelta(days=1))
            estimate = new.estimated_credits or 0.0
            if spent + estimate > per_day or spent >= per_day:
                raise LimitReached(
                    f"{spent:g} credits were spent in the last 24 hours and this request costs about {estimate:g}; "
                    f"the limit is {per_day:g}. Nothing was sent.",
                    next_step="Wait, or raise KIE_AI_MAX_CREDITS_PER_DAY.",
                )

    def _made_since(self, span: timedelta) -> Any:
        rows = SubmissionRow
        made = rows.state.in_(("sending", "unknown", "accepted"))
        return rows.select().where(rows.created_at > datetime.now(UTC) - span, made)

    def _spent_since(self, span: timedelta) -> float:
        # Never below nothing: a service's word must not raise the limit that its user set.
        cost = peewee.fn.MAX(0, peewee.fn.COALESCE(TaskRow.credits, SubmissionRow.estimated_credits, 0))
        query = self._made_since(span).select(peewee.fn.SUM(cost))
        joined = query.join(TaskRow, peewee.JOIN.LEFT_OUTER, on=TaskRow.task_id == SubmissionRow.task_id)
        return float(joined.scalar(self._db) or 0.0)

    @_in_worker
    def spent_today(self) -> float:
        """Return the credits of the last 24 hours: what the service said, else what was estimated."""
        return self._spent_since(timedelta(days=1))

    def _wait_for_slot(self, before: Iterable[Mapping[str, Any]], gateway: str, now: float) -> tuple[float, int] | None:
        """Return None where a slot is free, else seconds until asking is worth it and how many wait before."""
        rows = SubmissionRow
        limit = self.limits.get(gateway, self.limit)
        # The service counts a request somewhere between our sending and its answer. A slot is therefore held
        # from the grant until one window after the answer; then no window of theirs can see more than the limit.
        # Two queries: with an "or" SQLite would read every request that was ever granted.
        granted = rows.select(rows.answered_at).where(rows.gateway == gateway, rows.granted_at.is_null(False))
        # An answer of the future is one from before the clock was set back; it must not hold a slot until then.
        within = rows.answered_at.between(now - limit.window_s, now + limit.window_s)
        recent = granted.where(within).order_by(rows.answered_at)
        held = [
            row[0]
            for query in (granted.where(rows.answered_at.is_null()), recent)
            for row in query.tuples().execute(self._db)
        ]
        ahead = sum(
            row["gateway"] == gateway
            and row["state"] == "sending"
            and row["granted_at"] is None
            and row["asked_at"] > now - STALE_TICKET_S
            for row in before
        )
        free = limit.creates - len(held)
        if ahead < free:
            return None
        ends = [answered + limit.window_s - now for answered in held if answered is not None]
        due = ends[ahead - free] if 0 <= ahead - free < len(ends) else 1.0
        return min(max(due, 0.02), 1.0), ahead

    @_in_worker
    def record_never_sent(self, submission_id: int) -> None:
        """A request ended before it was sent: it costs nothing and blocks nobody. One that ended stays as it is."""
        rows = SubmissionRow
        query = rows.update(state="cancelled", granted_at=None, message="ended before it was sent")
        query.where(rows.id == submission_id, rows.state == "sending").execute(self._db)

    @_in_worker
    def record_waiting(self, submission_id: int) -> None:
        """The service was too busy to take a request: nothing is on its way until it has a slot again."""
        self._change(submission_id, granted_at=None, answered_at=None)

    # -- after sending -------------------------------------------------------------------------------------------

    @_in_worker
    def record_accepted(self, submission_id: int, task: Task, outcome: Outcome | None = None) -> TaskRecord:
        """The service made a task: record it and link its submission, in one transaction.

        An id that is on record already keeps its row; the record then names the submission it first came from.
        """
        now = datetime.now(UTC)
        with self._db.atomic("IMMEDIATE"):
            self._change(
                submission_id, state="accepted", task_id=task.task_id, path=task.path, answered_at=now.timestamp()
            )
            self._insert_task(task, now, submission_id)
            if outcome is not None:
                self._write_outcome(task.task_id, outcome)
            return self._record(task.task_id)

    @_in_worker
    def record_settled(
        self, submission_id: int, state: Literal["refused", "unknown"], code: int | None, message: str
    ) -> None:
        """The service said no, or nothing readable."""
        self._change(submission_id, state=state, code=code, message=message, answered_at=time.time())

    @_in_worker
    def resolve(self, submission_id: int, task: Task | None) -> SubmissionRecord:
        """Settle an unknown submission: link the task that was found for it, or discard it.

        Raises:
            StorageError: There is no such submission, or it is settled already.
        """
        with self._db.atomic("IMMEDIATE"):
            row = self._one(SubmissionRow.select().where(SubmissionRow.id == submission_id))
            if row is None or row["state"] != "unknown":
                state = "not on record" if row is None else row["state"]
                raise StorageError(
                    f"Submission {submission_id} is {state}; only an unknown one can be resolved.",
                    next_step="list_tasks names the unresolved ones.",
                )
            taken = task and self._one(SubmissionRow.select().where(SubmissionRow.task_id == task.task_id))
            if taken:
                raise StorageError(
                    f"Task {taken['task_id']} belongs to submission {taken['id']} already.",
                    next_step="Look for another id in the service's log, or discard this submission.",
                )
            if task is None:
                self._change(submission_id, state="discarded")
            else:
                self._change(submission_id, state="accepted", task_id=task.task_id)
        settled = self._one(SubmissionRow.select().where(SubmissionRow.id == submission_id))
        assert settled is not None  # noqa: S101  it was there in this thread a moment ago
        return submission_record(settled)

    @_in_worker
    def submission(self, submission_id: int) -> SubmissionRecord | None:
        """Return one submission as it stands now, or None."""
        with self._db.atomic("IMMEDIATE"):
            self._open_rows()
        row = self._one(SubmissionRow.select().where(SubmissionRow.id == submission_id))
        return None if row is None else submission_record(row)

    @_in_worker
    def unsettled(self) -> list[SubmissionRecord]:
        """Return the submissions whose fate is not known, oldest first."""
        self._take_back()
        with self._db.atomic("IMMEDIATE"):
            return [submission_record(row) for row in self._open_rows()]

    # -- tasks ---------------------------------------------------------------------------------------------------

    @_in_worker
    def find(self, task_id: str) -> TaskRecord | None:
        """Return one task, or None."""
        row = self._one(_WITH_ESTIMATE.where(TaskRow.task_id == task_id))
        return None if row is None else task_record(row)

    @_in_worker
    def adopt(self, task: Task) -> TaskRecord:
        """Record a task that was made elsewhere; one that is known already stays as it is."""
        with self._db.atomic("IMMEDIATE"):
            self._insert_task(task, datetime.now(UTC), None)
        return self._record(task.task_id)

    @_in_worker
    def record_outcome(self, task_id: str, outcome: Outcome) -> TaskRecord:
        """Write what the service says of a task. A task that is final stays what it is."""
        with self._db.atomic("IMMEDIATE"):
            self._write_outcome(task_id, outcome)
        return self._record(task_id)

    @_in_worker
    def record_files(self, task_id: str, files: Iterable[str]) -> TaskRecord:
        """Write where a task's results were saved."""
        query = TaskRow.update(files=list(files), updated_at=datetime.now(UTC)).where(TaskRow.task_id == task_id)
        query.execute(self._db)
        return self._record(task_id)

    @_in_worker
    def tasks(self, filters: Filters) -> list[TaskRecord]:
        """Return tasks newest first, at most `limit`, below `before_id`."""
        query = _WITH_ESTIMATE.order_by(TaskRow.id.desc()).limit(filters.limit)
        wanted = {
            TaskRow.status: filters.status,
            TaskRow.provider: filters.provider,
            TaskRow.kind: filters.kind,
        }
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == value)
        if filters.since is not None:
            query = query.where(TaskRow.created_at >= filters.since)
        if filters.before_id is not None:
            query = query.where(TaskRow.id < filters.before_id)
        return [task_record(row) for row in query.dicts().execute(self._db)]

    @_in_worker
    def usual_s(self, tool: str) -> tuple[float, float] | None:
        """Return how many seconds a tool's tasks usually take: the 10th and the 90th percentile of the newest 50.

        None where fewer than three have been finished.
        """
        rows = TaskRow
        query = rows.select(rows.created_at, rows.finished_at).order_by(rows.id.desc()).limit(50)
        query = query.where(rows.tool == tool, rows.status == "completed", rows.finished_at.is_null(False))
        took = [
            max(0.0, (row["finished_at"] - row["created_at"]).total_seconds())
            for row in query.dicts().execute(self._db)
        ]
        if len(took) < 3:
            return None
        tenths = statistics.quantiles(took, n=10, method="inclusive")
        return tenths[0], tenths[-1]

    @_in_worker
    def submission_of(self, task_id: str) -> SubmissionRecord | None:
        """Return the request a task was made by; None where it was made elsewhere."""
        row = self._one(SubmissionRow.select().where(SubmissionRow.task_id == task_id))
        return None if row is None else submission_record(row)

    @_in_worker
    def unsaved(self) -> list[TaskRecord]:
        """Return completed tasks with results that are not saved, the one that expires first at the start."""
        rows, length = TaskRow, peewee.fn.json_array_length
        # The seed's rows have one address, in a column of its own.
        results = peewee.fn.MAX(length(rows.result_urls), rows.result_url.is_null(False))
        query = rows.select().where(rows.status == "completed", length(rows.files) < results)
        records = [task_record(row) for row in query.dicts().execute(self._db)]
        return sorted(records, key=lambda record: record.expires_at or record.updated_at)

    @_in_worker
    def upload_of(self, sha256: str) -> tuple[str, datetime] | None:
        """Return where these bytes lie at the service and until when, if they do."""
        found = self._one(
            UploadRow.select().where(UploadRow.sha256 == sha256, UploadRow.expires_at > datetime.now(UTC))
        )
        return (found["url"], found["expires_at"]) if found else None

    @_in_worker
    def record_upload(self, sha256: str, url: str, expires_at: datetime) -> None:
        """Write where bytes lie at the service."""
        UploadRow.insert(sha256=sha256, url=url, expires_at=expires_at).on_conflict_replace().execute(self._db)

    # -- housekeeping --------------------------------------------------------------------------------------------

    @_in_worker
    def prune(self, before: datetime, *, dry_run: bool) -> int:
        """Delete final tasks older than `before`, with their submissions; return how many there are."""
        old = (TaskRow.created_at < before) & TaskRow.status.in_(FINAL)
        if dry_run:
            return int(TaskRow.select().where(old).count(self._db))
        with self._db.atomic("IMMEDIATE"):
            ids = TaskRow.select(TaskRow.task_id).where(old)
            SubmissionRow.delete().where(SubmissionRow.task_id.in_(ids)).execute(self._db)
            KeyRow.delete().where(KeyRow.submission_id.not_in(SubmissionRow.select(SubmissionRow.id))).execute(self._db)
            settled = SubmissionRow.state.in_(("refused", "cancelled", "discarded"))
            SubmissionRow.delete().where(settled, SubmissionRow.created_at < before).execute(self._db)
            return int(TaskRow.delete().where(old).execute(self._db))

    @_in_worker
    def history(self, after_id: int, limit: int) -> list[TaskRecord]:
        """Return tasks oldest first, at most `limit`, above the row `after_id`; for export."""
        query = TaskRow.select().where(TaskRow.id > after_id).order_by(TaskRow.id).limit(limit)
        return [task_record(row) for row in query.dicts().execute(self._db)]

    @_in_worker
    def submissions(self, after_id: int, limit: int) -> list[SubmissionRecord]:
        """Return submissions oldest first, at most `limit`, above `after_id`; for export."""
        query = SubmissionRow.select().where(SubmissionRow.id > after_id).order_by(SubmissionRow.id).limit(limit)
        return [submission_record(row) for row in query.dicts().execute(self._db)]

    @_in_worker
    def damage(self) -> list[str]:
        """Return what SQLite's own check finds wrong with the file; nothing for a sound one."""
        found = self._db.pragma("integrity_check")
        return [] if found == "ok" else [str(found)]

    async def keep_aside(self, entry: Mapping[str, Any]) -> Path:
        """Write what could not be recorded to a file beside the database; the next use of the record takes it in.

        Args:
            entry: ``{"submission_id", "task"}`` for an accepted request, ``{"submission_id", "state", "code",
                "message"}`` for another end.

        Raises:
            StorageError: The side file can't be written either; the entry is kept in memory.
        """
        try:
            with self._translated("helped out with a side file"):
                await anyio.to_thread.run_sync(self._append_aside, entry)
        except StorageError:
            self._unwritten.append(dict(entry))
            raise
        return self._aside

    # -- inside --------------------------------------------------------------------------------------------------

    def _insert_task(self, task: Task, now: datetime, submission_id: int | None) -> None:
        """Add a task; one that is known stays as it is."""
        TaskRow.insert(
            task_id=task.task_id,
            api_type=task.api_type,
            status="pending",
            created_at=task.created_at or now,
            updated_at=now,
            provider=task.provider,
            tool=task.tool,
            kind=task.kind,
            gateway=task.gateway,
            model=task.model,
            path=task.path,
            status_address=task.status_address,
            submission_id=submission_id,
            result_urls=[],
            files=[],
            keeps_s=DAY_S,
        ).on_conflict_ignore().execute(self._db)

    def _write_outcome(self, task_id: str, outcome: Outcome) -> None:
        now = datetime.now(UTC)
        values: dict[str, Any] = {"status": outcome.status, "updated_at": now, "keeps_s": outcome.keeps_s}
        for name in ("progress", "credits", "model"):
            if getattr(outcome, name) is not None:
                values[name] = getattr(outcome, name)
        if outcome.urls:
            values |= {"result_url": outcome.urls[0], "result_urls": list(outcome.urls)}
        if outcome.status == "failed":
            values |= {"error_message": outcome.error, "error_code": outcome.error_code}
        fixed = [status for status in FINAL if status != outcome.status]
        ours = (TaskRow.task_id == task_id) & TaskRow.status.not_in(fixed)
        TaskRow.update(values).where(ours).execute(self._db)
        if outcome.status in FINAL:
            # Read again, a task has not finished again: links expire from the first time.
            ended = TaskRow.update(finished_at=outcome.finished_at or now)
            ended.where(ours, TaskRow.finished_at.is_null()).execute(self._db)

    def _record(self, task_id: str) -> TaskRecord:
        row = self._one(_WITH_ESTIMATE.where(TaskRow.task_id == task_id))
        if row is None:
            raise StorageError(f"Task {task_id} is no longer on record.", next_step="Ask get_task_status for it again.")
        return task_record(row)

    def _one(self, query: Any) -> dict[str, Any] | None:
        return next(iter(query.limit(1).dicts().execute(self._db)), None)

    def _change(self, submission_id: int, **values: Any) -> None:
        SubmissionRow.update(values).where(SubmissionRow.id == submission_id).execute(self._db)

    def _announce(self) -> None:
        """Hold a lock for as long as this process lives, so that others can tell when it is dead."""
        if self._alive is None:
            alive = self._lock_of(self._owner)
            alive.acquire(timeout=0)
            self._alive = alive

    def _lock_of(self, owner: str) -> "BaseFileLock":
        return self._file_lock(f"{self._real_path}.{owner}.lock")

    def _file_lock(self, path: str) -> "BaseFileLock":
        from filelock import FileLock  # noqa: PLC0415  needed once something is sent, not at start

        return FileLock(path, timeout=BUSY_TIMEOUT_S, thread_local=False)

    def _settle_if_dead(self, owner: str) -> bool:
        """Settle what a dead process left: sent is unknown, without a slot never sent. Return whether it died."""
        lock = self._lock_of(owner)
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            return False
        rows = SubmissionRow
        theirs = (rows.state == "sending") & (rows.owner == owner)
        rows.update(state="cancelled", message="its process ended before it was sent").where(
            theirs, rows.granted_at.is_null()
        ).execute(self._db)
        rows.update(
            state="unknown", answered_at=time.time(), message="its process ended before the answer was recorded"
        ).where(theirs).execute(self._db)
        lock.release()
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        return True

    def _connect(self) -> None:
        """Connect; wait where another process is just making the file, which SQLite itself does not wait for."""
        until = time.monotonic() + BUSY_TIMEOUT_S
        while self._db.is_closed():
            try:
                self._db.connect()
            except peewee.OperationalError as exc:
                if "locked" not in str(exc) or time.monotonic() > until:
                    raise
                time.sleep(CONNECT_S)

    @property
    def _aside(self) -> Path:
        return self._real_path.with_name(f"{self._real_path.name}.unrecorded.jsonl")

    def _append_aside(self, entry: Mapping[str, Any]) -> None:
        with self._file_lock(f"{self._aside}.lock"), self._aside.open("a", encoding="utf-8") as file:
            # Begun on a line of its own, whatever a crash left of the one before.
            file.write("\n" + json.dumps(entry, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _take_back(self) -> None:
        """Record what `keep_aside` wrote, by this process or another, and remove it."""
        if self._unwritten:
            with self._db.atomic("IMMEDIATE"):
                for entry in self._unwritten:
                    self._take_back_one(json.dumps(entry, default=str))
            self._unwritten.clear()
        if not self._aside.exists():
            return
        with self._file_lock(f"{self._aside}.lock"):
            if not self._aside.exists():
                return
            lines = self._aside.read_text(encoding="utf-8").splitlines()
            with self._db.atomic("IMMEDIATE"):
                unreadable = [line for line in lines if line and not self._take_back_one(line)]
            if unreadable:  # a crash in the middle of a line; kept for a person to read
                with self._aside.with_suffix(".unreadable").open("a", encoding="utf-8") as file:
                    file.write("\n".join(unreadable) + "\n")
            self._aside.unlink()

    def _take_back_one(self, line: str) -> bool:
        """Record one entry; return False for one that can't be read."""
        now = datetime.now(UTC)
        try:
            entry = json.loads(line)
            values: dict[str, Any]
            if "task" in entry:
                created_at = datetime.fromisoformat(entry["task"]["created_at"])
                task = Task(**{**entry["task"], "created_at": created_at})
                values = {"state": "accepted", "task_id": task.task_id, "path": task.path}
            else:
                task = None
                values = {"state": entry["state"], "code": entry["code"], "message": entry["message"]}
            submission_id = int(entry["submission_id"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        if task is not None:
            self._insert_task(task, now, submission_id)
        rows = SubmissionRow
        query = rows.update(answered_at=now.timestamp(), **values)
        query.where(rows.id == submission_id, rows.state.in_(UNSETTLED)).execute(self._db)
        return True

    def _guarded(self, work: Callable[[], R]) -> R:
        with self._translated("used"):
            if self._db.is_closed():
                self.open()
            return work()

    @contextmanager
    def _closed_on_failure(self) -> Any:
        """A file that was refused once must not be used by the next call."""
        try:
            yield
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _translated(self, doing: str) -> Any:
        """The one door where errors of the file system and of SQLite become ours."""
        try:
            yield
        except StorageError:
            raise
        except (
            OSError,
            peewee.PeeweeException,
            sqlite3.Error,
            OverflowError,
            UnicodeError,
        ) as exc:  # the last while rows are fetched
            # SQLite rolls back by itself when a disk fails; that peewee then can't is not the reason.
            cause: BaseException = exc
            while "cannot rollback" in str(cause) and cause.__context__ is not None:
                cause = cause.__context__
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
            raise StorageError(
                f"The task database {self.path} can't be {doing}: {reason}.",
                next_step="Check the file, its folder's permissions and the free space, or set KIE_AI_DB_PATH.",
            ) from exc
