"""The record: every submission before it is sent and as it ended, over the tasks that came of them."""

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread
import peewee

from kie_ai_mcp._record.database import in_worker
from kie_ai_mcp._record.rows import (
    FINAL,
    UNSETTLED,
    KeyRow,
    SubmissionRecord,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    submission_record,
)
from kie_ai_mcp._record.slots import Limits
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import Kind, Outcome, Task

if TYPE_CHECKING:
    from filelock import BaseFileLock

PRUNED_AT_ONCE = 5_000

OPEN = peewee.SQL("state IN ('sending', 'unknown')")


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


@dataclass
class Store(Limits):
    """The task database of this process, whole: what the server writes down and reads."""

    _owner: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unwritten: list[dict[str, Any]] = []
        self._alive: BaseFileLock | None = None

    def open(self) -> None:
        """Open the file, take in what was kept aside, and settle what dead processes left behind.

        Raises:
            StorageError: The file can't be opened or written, or is newer than this program.
        """
        super().open()
        with self._translated("opened"), self._closed_on_failure():
            self._take_back()
            with self._db.atomic("IMMEDIATE"):
                self._open_rows()

    def close(self) -> None:
        """Close the file and give up this process's mark of being alive. Only where no worker uses it."""
        if self._unwritten:  # the last chance: what no file took is in memory alone
            with suppress(StorageError), self._translated("used"):
                self._take_back()
        super().close()
        if self._alive is not None:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)
            self._alive = None

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
        self._announce()
        self._take_back()
        now = time.time()
        with self._db.atomic("IMMEDIATE"):
            open_rows = self._open_rows()
            earlier = self._keyed(new.idempotency_key) or self._twin(open_rows, new)
            if earlier is not None:
                return submission_record(earlier)
            self._check_budget(new.estimated_credits or 0.0)
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

    @in_worker
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

    @in_worker
    def record_never_sent(self, submission_id: int) -> None:
        """A request ended before it was sent: it costs nothing and blocks nobody. One that ended stays as it is."""
        rows = SubmissionRow
        query = rows.update(state="cancelled", granted_at=None, message="ended before it was sent")
        query.where(rows.id == submission_id, rows.state == "sending").execute(self._db)

    @in_worker
    def record_waiting(self, submission_id: int) -> None:
        """The service was too busy to take a request: nothing is on its way until it has a slot again."""
        self._change(submission_id, granted_at=None, answered_at=None)

    # -- after sending -------------------------------------------------------------------------------------------

    @in_worker
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

    @in_worker
    def record_settled(
        self, submission_id: int, state: Literal["refused", "unknown"], code: int | None, message: str
    ) -> None:
        """The service said no, or nothing readable."""
        self._change(submission_id, state=state, code=code, message=message, answered_at=time.time())

    @in_worker
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
                # What is looked up at the service says less of a task than the request that made it.
                made_by = {name: row[name] for name in ("api_type", "kind", "tool")}
                known = {**made_by, "submission_id": submission_id}
                ours = (TaskRow.task_id == task.task_id) & (TaskRow.provider == row["provider"])
                TaskRow.update(known).where(ours, TaskRow.submission_id.is_null()).execute(self._db)
        settled = self._one(SubmissionRow.select().where(SubmissionRow.id == submission_id))
        assert settled is not None  # noqa: S101  it was there in this thread a moment ago
        return submission_record(settled)

    @in_worker
    def submission(self, submission_id: int) -> SubmissionRecord | None:
        """Return one submission as it stands now, or None."""
        with self._db.atomic("IMMEDIATE"):
            self._open_rows()
        row = self._one(SubmissionRow.select().where(SubmissionRow.id == submission_id))
        return None if row is None else submission_record(row)

    @in_worker
    def submission_of(self, task_id: str) -> SubmissionRecord | None:
        """Return the request a task was made by; None where it was made elsewhere."""
        row = self._one(SubmissionRow.select().where(SubmissionRow.task_id == task_id))
        return None if row is None else submission_record(row)

    @in_worker
    def unsettled(self) -> list[SubmissionRecord]:
        """Return the submissions whose fate is not known, oldest first."""
        self._take_back()
        with self._db.atomic("IMMEDIATE"):
            return [submission_record(row) for row in self._open_rows()]

    @in_worker
    def submissions(self, after_id: int, limit: int) -> list[SubmissionRecord]:
        """Return submissions oldest first, at most `limit`, above `after_id`; for export."""
        query = SubmissionRow.select().where(SubmissionRow.id > after_id).order_by(SubmissionRow.id).limit(limit)
        return [submission_record(row) for row in query.dicts().execute(self._db)]

    @in_worker
    def prune(self, before: datetime, *, dry_run: bool) -> int:
        """Delete final tasks older than `before`, with their submissions; return how many there are."""
        old = (TaskRow.created_at < before) & TaskRow.status.in_(FINAL)
        if dry_run:
            return int(TaskRow.select().where(old).count(self._db))
        gone = 0
        while some := self._prune_some(old):
            gone += some
        with self._db.atomic("IMMEDIATE"):
            settled = SubmissionRow.state.in_(("refused", "cancelled", "discarded"))
            SubmissionRow.delete().where(settled, SubmissionRow.created_at < before).execute(self._db)
            KeyRow.delete().where(KeyRow.submission_id.not_in(SubmissionRow.select(SubmissionRow.id))).execute(self._db)
        return gone

    def _prune_some(self, old: Any) -> int:
        """Delete some tasks at once: other processes, which may be about to send, write in between."""
        with self._db.atomic("IMMEDIATE"):
            query = TaskRow.select(TaskRow.task_id).where(old).limit(PRUNED_AT_ONCE)
            ids = [task_id for (task_id,) in query.tuples().execute(self._db)]
            SubmissionRow.delete().where(SubmissionRow.task_id.in_(ids)).execute(self._db)
            TaskRow.delete().where(TaskRow.task_id.in_(ids)).execute(self._db)
        return len(ids)

    def _change(self, submission_id: int, **values: Any) -> None:
        SubmissionRow.update(values).where(SubmissionRow.id == submission_id).execute(self._db)

    # -- what could not be recorded ------------------------------------------------------------------------------

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

    # -- processes -----------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Hold a lock for as long as this process lives, so that others can tell when it is dead."""
        if self._alive is None:
            alive = self._lock_of(self._owner)
            alive.acquire(timeout=0)
            self._alive = alive

    def _lock_of(self, owner: str) -> "BaseFileLock":
        return self._file_lock(f"{self._real_path}.{owner}.lock")

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
