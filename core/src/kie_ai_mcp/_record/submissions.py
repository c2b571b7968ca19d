"""Submissions on record: each paid request is written down before it is sent, and so is its ending."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import peewee

from kie_ai_mcp._record.database import Database, in_worker
from kie_ai_mcp._record.recovery import Process, RecoveryFile
from kie_ai_mcp._record.rows import (
    NEVER_SENT,
    UNSETTLED,
    Ending,
    KeyRow,
    SubmissionRecord,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    columns,
    submission_record,
)
from kie_ai_mcp._record.slots import Budget, RateLimit, Wait, check_budget, wait_for_slot
from kie_ai_mcp._record.tasks import insert_task, recorded, write_outcome
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import Kind, Outcome, Task

OPEN = peewee.SQL("state IN ('sending', 'unknown')")
"""In words, since bound values would keep SQLite from the partial index."""


@dataclass(frozen=True)
class NewSubmission:
    """A paid request that is about to be sent; fields named like a column are written down."""

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


@dataclass
class Submissions:
    """The paid requests in a database; every process on it shares the limits.

    Args:
        database: Where they are.
        recovery: Where endings are kept that the database did not take.
        process: This process, which owns what it sends.
        limit: The account's rate limit.
        budget: The user's own limits.
        limits: Rate limits of single gateways, by name, where they have their own.
    """

    database: Database
    recovery: RecoveryFile
    process: Process
    limit: RateLimit
    budget: Budget
    limits: Mapping[str, RateLimit]

    # -- before sending ------------------------------------------------------------------------------------------

    @in_worker
    def write_ahead(self, new: NewSubmission) -> Ticket | SubmissionRecord:
        """Record a request that is about to be sent, and take a slot if one is free.

        Returns:
            Its ticket; or, where an identical request is still unsettled or the idempotency key was used before,
            that earlier one, and nothing is recorded.

        Raises:
            LimitReached: It would pass a limit of `budget`.
        """
        self.process.announce()
        self.take_in()
        now = time.time()
        with self.database.transaction():
            open_rows = self._open_rows()
            earlier = self._keyed(new.idempotency_key) or self._twin(open_rows, new)
            if earlier is not None:
                return submission_record(earlier)
            check_budget(self.database, self.budget, new.estimated_credits or 0.0)
            wait = self._wait(open_rows, new.gateway, now)
            values = {
                **columns(SubmissionRow, NewSubmission, new),
                "state": "sending",
                "owner": self.process.owner,
                "created_at": datetime.now(UTC),
                "asked_at": now,
                "granted_at": now if wait is None else None,
            }
            submission_id = SubmissionRow.insert(values).execute(self.database.connection)
            self._bind(new.idempotency_key, submission_id)
        return _ticket(submission_id, wait)

    @in_worker
    def ask_again(self, submission_id: int, gateway: str) -> Ticket:
        """Ask for the slot that `write_ahead` could not give yet; the oldest waiting request comes first."""
        now = time.time()
        with self.database.transaction():
            before = [row for row in self._open_rows() if row["id"] < submission_id]
            self._change(submission_id, granted_at=None, answered_at=None)
            rows = SubmissionRow
            waiting = (rows.state == "sending") & (rows.owner == self.process.owner) & rows.granted_at.is_null()
            # One asks for all of its process.
            rows.update(asked_at=now).where(OPEN, waiting).execute(self.database.connection)
            wait = self._wait(before, gateway, now)
            if wait is None:
                self._change(submission_id, granted_at=now)
        return _ticket(submission_id, wait)

    @in_worker
    def waiting(self, submission_id: int) -> None:
        """Record that the service was too busy: nothing is on its way until the request has a slot again."""
        self._change(submission_id, granted_at=None, answered_at=None)

    # -- endings -------------------------------------------------------------------------------------------------

    @in_worker
    def accepted(self, submission_id: int, task: Task, outcome: Outcome | None = None) -> TaskRecord:
        """Record the task that the service made, and link its submission, in one transaction.

        An id that is on record already keeps its row; the record then names the submission it first came from.
        """
        with self.database.transaction():
            self._end(submission_id, Ending("accepted", task, outcome))
            return recorded(self.database, task.task_id)

    @in_worker
    def settled(
        self, submission_id: int, state: Literal["refused", "unknown"], code: int | None, message: str | None
    ) -> None:
        """Record that the service refused a request, or that its answer is unknown."""
        self._end(submission_id, Ending(state, code=code, message=message))

    @in_worker
    def never_sent(self, submission_id: int) -> None:
        """Record that a request was never sent: it costs nothing and blocks no other. One that ended stays as it is."""
        self._end(submission_id, NEVER_SENT, SubmissionRow.state == "sending")

    def take_in(self) -> None:
        """Record what the recovery file keeps. Call it in the worker, outside of a transaction."""
        self.recovery.take_in(lambda number, ending: self._end(number, ending, SubmissionRow.state.in_(UNSETTLED)))

    def settle_dead(self) -> None:
        """Settle what dead processes left open. Call it in the worker."""
        with self.database.transaction():
            self._open_rows()

    @in_worker
    def resolve(self, submission_id: int, task: Task | None) -> SubmissionRecord:
        """Settle an unknown submission: link the task that was found for it, or discard it.

        Raises:
            StorageError: There is no such submission, or it is settled already.
        """
        with self.database.transaction():
            row = self._row(SubmissionRow.id == submission_id)
            if row is None or row["state"] != "unknown":
                state = "not on record" if row is None else row["state"]
                raise StorageError(
                    f"Submission {submission_id} is {state}; only an unknown one can be resolved.",
                    next_step="list_tasks names the unresolved ones.",
                )
            owner = task and self._row(SubmissionRow.task_id == task.task_id)
            if owner:
                raise StorageError(
                    f"Task {owner['task_id']} belongs to submission {owner['id']} already.",
                    next_step="Look for another id in the service's log, or discard this submission.",
                )
            if task is None:
                self._change(submission_id, state="discarded")
            else:
                self._change(submission_id, state="accepted", task_id=task.task_id)
                # What is looked up at the service says less of a task than the request that made it.
                origin = {name: row[name] for name in ("api_type", "kind", "tool")}
                ours = (TaskRow.task_id == task.task_id) & (TaskRow.provider == row["provider"])
                query = TaskRow.update({**origin, "submission_id": submission_id})
                query.where(ours, TaskRow.submission_id.is_null()).execute(self.database.connection)
        resolved = self._row(SubmissionRow.id == submission_id)
        assert resolved is not None  # noqa: S101  it was there in this thread a moment ago
        return submission_record(resolved)

    # -- reading -------------------------------------------------------------------------------------------------

    @in_worker
    def find(self, submission_id: int) -> SubmissionRecord | None:
        """Return one submission as it stands now, or None."""
        self.settle_dead()
        row = self._row(SubmissionRow.id == submission_id)
        return None if row is None else submission_record(row)

    @in_worker
    def of_task(self, task_id: str) -> SubmissionRecord | None:
        """Return the request that made a task; None where it was not made here."""
        row = self._row(SubmissionRow.task_id == task_id)
        return None if row is None else submission_record(row)

    @in_worker
    def unsettled(self) -> Sequence[SubmissionRecord]:
        """Return the submissions whose ending is not on record, or unknown, oldest first."""
        self.take_in()
        with self.database.transaction():
            return [submission_record(row) for row in self._open_rows()]

    @in_worker
    def history(self, after_id: int, limit: int) -> Sequence[SubmissionRecord]:
        """Return submissions oldest first, at most `limit`, above `after_id`; for export."""
        query = SubmissionRow.select().where(SubmissionRow.id > after_id).order_by(SubmissionRow.id).limit(limit)
        return [submission_record(row) for row in query.dicts().execute(self.database.connection)]

    # -- inside --------------------------------------------------------------------------------------------------

    def _end(self, submission_id: int, ending: Ending, *conditions: Any) -> None:
        """Write an ending to a submission, if all conditions hold for it, and to its task."""
        now = datetime.now(UTC)
        values: dict[str, Any] = {"state": ending.state, "code": ending.code, "message": ending.message}
        if ending.task is not None:
            values = {"state": ending.state, "task_id": ending.task.task_id, "path": ending.task.path}
            insert_task(self.database, ending.task, now, submission_id)
            if ending.outcome is not None:
                write_outcome(self.database, ending.task.task_id, ending.outcome)
        # A slot is held for one window after the answer; what was never sent holds none.
        values |= {"granted_at": None} if ending.state == "cancelled" else {"answered_at": time.time()}
        query = SubmissionRow.update(values).where(SubmissionRow.id == submission_id, *conditions)
        query.execute(self.database.connection)

    def _open_rows(self) -> list[dict[str, Any]]:
        """Return the unsettled submissions, oldest first, after settling those of dead processes."""
        query = SubmissionRow.select().where(OPEN).order_by(SubmissionRow.id)
        rows = list(query.dicts().execute(self.database.connection))
        owners = {row["owner"] for row in rows if row["state"] == "sending"} - {self.process.owner}
        dead = [owner for owner in owners if self._settle_if_dead(owner)]
        return self._open_rows() if dead else rows

    def _settle_if_dead(self, owner: str) -> bool:
        """Settle what a dead process left: sent is unknown, without a slot never sent. Return whether it died."""
        with self.process.dead(owner) as dead:
            if dead:
                rows, connection = SubmissionRow, self.database.connection
                theirs = (rows.state == "sending") & (rows.owner == owner)
                never = rows.update(state="cancelled", message="its process ended before it was sent")
                never.where(theirs, rows.granted_at.is_null()).execute(connection)
                message = "its process ended before the answer was recorded"
                lost = rows.update(state="unknown", answered_at=time.time(), message=message)
                lost.where(theirs).execute(connection)
        return dead

    def _keyed(self, key: str | None) -> dict[str, Any] | None:
        """Return the submission that an idempotency key is bound to; a key whose request made nothing is free again."""
        if key is None:
            return None
        bound = KeyRow.select(KeyRow.submission_id).where(KeyRow.key == key)
        return self._row(SubmissionRow.id.in_(bound), SubmissionRow.state.in_(("sending", "unknown", "accepted")))

    def _twin(self, open_rows: Iterable[dict[str, Any]], new: NewSubmission) -> dict[str, Any] | None:
        """Return an unsettled request with the same body, and bind the key to it."""
        twin = next((row for row in open_rows if row["body_hash"] == new.body_hash), None)
        if twin is not None:
            self._bind(new.idempotency_key, twin["id"])
        return twin

    def _bind(self, key: str | None, submission_id: int) -> None:
        if key is not None:
            query = KeyRow.insert(key=key, submission_id=submission_id).on_conflict_replace()
            query.execute(self.database.connection)

    def _wait(self, before: Iterable[Mapping[str, Any]], gateway: str, now: float) -> Wait | None:
        return wait_for_slot(self.database, self.limits.get(gateway, self.limit), before, gateway, now)

    def _row(self, *conditions: Any) -> dict[str, Any] | None:
        return self.database.first(SubmissionRow.select().where(*conditions))

    def _change(self, submission_id: int, **values: Any) -> None:
        query = SubmissionRow.update(values).where(SubmissionRow.id == submission_id)
        query.execute(self.database.connection)


def _ticket(submission_id: int, wait: Wait | None) -> Ticket:
    if wait is None:
        return Ticket(submission_id, granted=True)
    return Ticket(submission_id, granted=False, wait_s=wait.wait_s, ahead=wait.ahead)
