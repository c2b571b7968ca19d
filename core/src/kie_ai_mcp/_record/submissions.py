"""Submissions on record: each paid request is written down before it is sent, and so is its ending."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import peewee

from kie_ai_mcp._record.consents import give_back, use, yes_for
from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import in_worker
from kie_ai_mcp._record.processes import Process
from kie_ai_mcp._record.recovery import RecoveryFile
from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.slots import Budget, RateLimit, wait_for_slot
from kie_ai_mcp._record.tables import (
    MAY_COST,
    ConsentRow,
    Ending,
    KeyRow,
    SubmissionRecord,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    WholeRows,
    columns,
    loaded,
    put,
    stored,
    submission_record,
)
from kie_ai_mcp._record.tasks import TaskKey, insert_task, recorded, task_at, write_outcome
from kie_ai_mcp._settings.settings import NOT_STORED
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import Kind, Outcome, Task

# In words, since bound values would keep SQLite from the partial index.
OPEN = peewee.SQL("state IN ('sending', 'unknown')")
_WHOLE, _WITH_STATUS = WholeRows(SubmissionRow), WholeRows(SubmissionRow, TaskRow.status)
_IN_ORDER = _WHOLE.where(OPEN).order_by(SubmissionRow.id)
# The states of a request that an ending changes. A task that was made counts whatever was recorded before; no other
# ending changes a request that its user settled meanwhile; one that ended otherwise was sent, so it can't be cancelled.
BEFORE = {"accepted": ("sending", "unknown", "cancelled", "refused", "discarded"), "cancelled": ("sending",)}
BEFORE_OTHERS = ("sending", "unknown", "cancelled")
BOUGHT_NOTHING = ("refused", "cancelled")
TWINS = 50  # how many identical requests are looked at


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
    at_most: bool = False  # whether it may cost less
    notes: tuple[str, ...] = ()
    max_credits: float | None = None  # what its caller lets it cost
    user: str = ""
    once: bool = False  # an equal request leads to the task of this one, unless that failed
    earlier_hash: str = ""  # its `body_hash` as it was made before accounts were on record
    exact_hash: str = ""  # of all that makes it, which a person agrees to
    agreed: int = 0  # the number of the question that its call brings a yes to

    def repeats(self, earlier: Mapping[str, Any]) -> bool:
        """Return whether an earlier request, a row or as a dict, asked for the same.

        The hash of one that names no account may hold addresses of uploads, so its arguments are compared as well.
        """
        if earlier["account"] or not self.earlier_hash:
            return bool(earlier["body_hash"] == self.body_hash)
        is_comparable = earlier["tool"] == self.tool and NOT_STORED not in json.dumps(self.arguments)
        same = is_comparable and dict(earlier["arguments"]) == dict(self.arguments)
        return same or earlier["body_hash"] in {self.body_hash, self.earlier_hash}


@dataclass(frozen=True)
class Ticket:
    """A submission's place before sending: `granted`, or `wait_s` seconds until it is worth asking again.

    `twin` is an identical request: one whose task is still running, beside a key one without a delivered answer.
    """

    submission_id: int
    granted: bool
    wait_s: float = 0.0
    ahead: int = 0
    twin: SubmissionRecord | None = None


@dataclass(frozen=True)
class NeedsConsent:
    """A request that is not written down, since a person has to agree to it first."""


@dataclass
class Submissions:
    """The paid requests in a database, as far as they are seen; all processes share the limits, those of `Record`."""

    scope: Scope
    recovery: RecoveryFile
    process: Process
    limit: RateLimit
    budget: Budget
    limits: Mapping[str, RateLimit]

    @property
    def database(self) -> Database:
        """The database that they are in."""
        return self.scope.database

    @in_worker
    def write_ahead(self, new: NewSubmission, lost_s: float = 0.0) -> Ticket | SubmissionRecord | NeedsConsent:
        """Record a request that is about to be sent, take a slot if one is free, and return its ticket.

        Return an earlier request instead that has its idempotency key; without one, an identical request that is
        unsettled, or was made within `lost_s` and its answer has not reached its caller. An unknown one stands in the
        way of a new key, too: it may have been charged. So does one that the call's own yes was used for. Raise
        `LimitReached` where it would pass a limit of `budget`. A yes to the request is used up by what is returned.
        """
        self.database.check_sound()
        self.process.announce()
        self.take_in()
        now = self.database.now()
        with self.database.transaction():
            open_rows, account = self._open_rows(), self.scope.accounts_at(new.gateway)[0]
            earlier, besides = _alike(self.scope, new, open_rows, now - lost_s)
            if earlier is not None:
                _bind(self.database, new.idempotency_key, {"account": account, "user": new.user}, earlier["id"])
                _use_yes(self.database, new, earlier["id"])
                return submission_record(earlier)
            booked = _booked(self.database, self.budget, new)
            if _lacks_yes(self.database, self.budget, new):
                return NeedsConsent()
            values = columns(SubmissionRow, NewSubmission, new) | {"state": "sending", "owner": self.process.owner}
            values |= {"account": account, "booked_credits": booked, "created_at": datetime.now(UTC), "asked_at": now}
            submission_id = _insert(self.database, values, new.idempotency_key)
            _use_yes(self.database, new, submission_id)
            twin = submission_record(besides[0]) if besides else None
            ticket = replace(self._take_slot(submission_id, new.gateway, open_rows, now), twin=twin)
        granted = {"granted_at": now} if ticket.granted else {}
        self.recovery.requests[submission_id] = stored(SubmissionRow, values) | {"key": new.idempotency_key} | granted
        return ticket

    @in_worker
    def lacks_yes(self, new: NewSubmission, lost_s: float = 0.0) -> bool:
        """Return whether `write_ahead` would find no yes as things stand; raise `LimitReached` as it would."""
        if not _lacks_yes(self.database, self.budget, new):
            return False
        if _alike(self.scope, new, self.catch_up(), self.database.now() - lost_s)[0] is not None:
            return False
        _booked(self.database, self.budget, new)
        return True

    @in_worker
    def ask_again(self, submission_id: int, gateway: str) -> Ticket:
        """Ask for the slot that `write_ahead` could not give yet; the oldest waiting request comes first.

        Raise `StorageError` where the request was given up meanwhile: it must not be sent any more.
        """
        self.process.announce()
        now = self.database.now()
        with self.database.transaction():
            open_rows = self._open_rows()
            mine = [row["id"] for row in open_rows if row["state"] == "sending" and row["owner"] == self.process.owner]
            if submission_id not in mine:
                message = f"Submission {submission_id} was given up while it waited, so it was not sent: "
                message += "another server took this one for dead."
                raise StorageError(message, next_step="Call again.", can_retry=True)
            before = [row for row in open_rows if row["id"] < submission_id]
            self._change(submission_id, granted_at=None, answered_at=None)
            rows = SubmissionRow
            waiting = (rows.state == "sending") & (rows.owner == self.process.owner) & rows.granted_at.is_null()
            # One asks for all of its process.
            self.database.execute(rows.update(asked_at=now).where(OPEN, waiting))
            return self._take_slot(submission_id, gateway, before, now)

    @in_worker
    def delivered(self, submission_id: int) -> None:
        """Record that the answer to a request has reached its caller."""
        # Not synced to disk, which would cost each call some milliseconds: if it is lost, nothing is paid for twice.
        with self.database.unsynced():
            self._change(submission_id, SubmissionRow.delivered_at.is_null(), delivered_at=self.database.now())

    @in_worker
    def waiting(self, submission_id: int) -> None:
        """Record that the service was too busy: nothing is on its way until the request has a slot again."""
        self._change(submission_id, OPEN, state="sending", granted_at=None, answered_at=None)

    @in_worker
    def accepted(
        self, submission_id: int, task: Task, outcome: Outcome | None = None, price: float | None = None
    ) -> TaskRecord:
        """Record the task that the service made, at an estimated price, and return it.

        Where the service has used an id again, that is the earlier task as it was, with the number of its own request.
        """
        with self.database.transaction():
            ending = Ending("accepted", task, outcome, price=price)
            record = self._end(submission_id, self.recovery.known(submission_id), ending)
        assert record is not None  # noqa: S101  the ending has a task
        return record

    @in_worker
    def settled(self, submission_id: int, ending: Ending) -> None:
        """Record an ending without a task."""
        with self.database.transaction():
            self._end(submission_id, self.recovery.known(submission_id), ending)

    def take_in(self) -> None:
        """Record what the recovery file keeps. Call it in the worker, outside of a transaction."""
        if not self.database.is_damaged:
            self.recovery.take_in(self._end)

    def begin(self) -> None:
        """Catch up with a database that was just opened; opened anew, it learns what is under way, and what is not."""
        under_way = _known_again(self.database, self.recovery)
        self.catch_up()
        _cancel_besides(self.database, self.process.owner, under_way)

    def catch_up(self) -> list[dict[str, Any]]:
        """Record what was kept, settle what dead processes left, and return the rows that are open; in the worker."""
        self.take_in()
        with self.database.transaction():
            return self._open_rows()

    def leave(self) -> None:
        """Settle what this process leaves open as it ends; in the worker."""
        if self._row(OPEN, SubmissionRow.state == "sending", SubmissionRow.owner == self.process.owner):
            _settle_ended(self.database, self.process.owner)

    @in_worker
    def unknown(self, submission_id: int) -> SubmissionRecord:
        """Return a submission that is unknown; raise `StorageError` for any other."""
        self.catch_up()  # settles it if its process has died
        return submission_record(_unknown(self.scope, submission_id))

    @in_worker
    def resolve(self, submission_id: int, task: Task | None) -> SubmissionRecord:
        """Link an unknown submission to its task, or discard it; raise `StorageError` where it is not unknown."""
        with self.database.transaction():
            row = _unknown(self.scope, submission_id)
            if task is None:
                self._change(submission_id, state="discarded")
            elif owner := self._row(SubmissionRow.task_id == task.task_id, *_at(self.scope, row)):
                step = "Look for another id in the service's log, or discard this submission."
                raise StorageError(f"Task {task.task_id} belongs to submission {owner['id']} already.", next_step=step)
            else:
                self._change(submission_id, state="accepted", task_id=task.task_id, delivered_at=self.database.now())
                # What is looked up at the service says less of a task than the request that made it.
                origin = {name: row[name] for name in ("api_type", "kind", "tool", "user")}
                rows, query = TaskRow, TaskRow.update({**origin, "submission_id": submission_id})
                ours = rows.task_id == task.task_id, rows.provider == row["provider"], rows.submission_id.is_null()
                self.database.execute(query.where(*ours, *_at(self.scope, row, rows)))
            return submission_record(self._row(SubmissionRow.id == submission_id) or row)

    @in_worker
    def find(self, submission_id: int) -> SubmissionRecord | None:
        """Return one submission as it stands now, or None."""
        with self.database.transaction():
            self._open_rows()  # settles it if its process has died
        return self._record(SubmissionRow.id == submission_id)

    @in_worker
    def of_task(self, key: TaskKey) -> SubmissionRecord | None:
        """Return the request that made a task; None where it was not made here."""
        task = task_at(self.scope, key)
        if task is None:
            return self._record(SubmissionRow.task_id == key)
        if task.submission_id is not None:
            return self._record(SubmissionRow.id == task.submission_id)
        return self._record(SubmissionRow.task_id == task.task_id, *_at(self.scope, vars(task)))

    def read_unsettled(self) -> Sequence[SubmissionRecord]:
        """Return the submissions whose ending is not on record, or unknown, oldest first; in the worker."""
        self.take_in()
        self.database.check_content()
        rows = self.database.rows(_IN_ORDER)
        if _others(rows, self.process.owner):  # else none can be settled: this read says it all, and waits for nobody
            rows = self.catch_up()
        return [submission_record(row) for row in rows if self.scope.sees(row)]

    unsettled = in_worker(read_unsettled)

    @in_worker
    def history(self, after_id: int, limit: int) -> Sequence[SubmissionRecord]:
        """Return submissions oldest first, at most `limit`, above `after_id`; for export."""
        query = _WHOLE.where(self.scope.seen(SubmissionRow), SubmissionRow.id > after_id)
        query = query.order_by(SubmissionRow.id).limit(limit)
        return [submission_record(row) for row in self.database.rows(query)]

    def _end(self, number: int, known: Mapping[str, Any], ending: Ending) -> TaskRecord | None:
        """Write an ending to a submission, of which so much is `known`, and to its task; return that task."""
        number, task = _number_of(self.database, number, known), None
        values: dict[str, Any] = {"state": ending.state, "code": ending.code, "message": ending.message}
        if ending.task is not None:
            request = self._row(SubmissionRow.id == number)
            task = insert_task(self.scope.whole, ending.task, request)
            if ending.outcome is not None:
                # The id is ours for what finished at once, but the service may have used it.
                if request and task.submission_id != number:
                    other = replace(ending.task, task_id=f"{ending.task.task_id}-{self.process.owner}")
                    task = insert_task(self.scope.whole, other, request)
                write_outcome(self.database, task.row_id, ending.outcome)
                task = recorded(self.scope.whole, task.row_id)
            values |= ending.sent | {"task_id": task.task_id, "path": ending.task.path}
        # A slot is held for one window after the answer; what was never sent holds none.
        now = self.database.now()
        values |= {"granted_at": None} if ending.state == "cancelled" else {"answered_at": now}
        self._change(number, SubmissionRow.state.in_(BEFORE.get(ending.state, BEFORE_OTHERS)), **values)
        give_back(self.database, _nothing_bought(SubmissionRow.id == number))
        return task

    def _open_rows(self) -> list[dict[str, Any]]:
        """Return the unsettled submissions, oldest first, after settling those of dead processes."""
        rows = self.database.rows(_IN_ORDER)
        seen: dict[str, float] = {}
        for row in _others(rows, self.process.owner):
            seen[row["owner"]] = max(seen.get(row["owner"], 0.0), row["asked_at"], row["granted_at"] or 0.0)
        dead = [owner for owner, seen_at in seen.items() if self.settle_if_dead(owner, seen_at)]
        return self._open_rows() if dead else rows

    def settle_if_dead(self, owner: str, seen_at: float) -> bool:
        """Settle what a process left that is dead; return whether it is. Call it in a transaction."""
        with self.process.dead(owner, seen_at) as dead:
            if dead:
                _settle_ended(self.database, owner)
        return bool(dead)

    def _take_slot(self, submission_id: int, gateway: str, before: Iterable[Mapping[str, Any]], now: float) -> Ticket:
        limit = self.limits.get(gateway, self.limit)
        wait_s, ahead = wait_for_slot(self.scope, limit, before, gateway, now)
        if wait_s == 0:
            self._change(submission_id, granted_at=now)
            self.recovery.requests.get(submission_id, {})["granted_at"] = now
        return Ticket(submission_id, wait_s == 0, wait_s, ahead)

    def _record(self, *conditions: Any) -> SubmissionRecord | None:
        row = self._row(*conditions, self.scope.seen(SubmissionRow))
        return None if row is None else submission_record(row)

    def _row(self, *conditions: Any) -> dict[str, Any] | None:
        return self.database.first(_WHOLE.where(*conditions))

    def _change(self, submission_id: int, *conditions: Any, **values: Any) -> None:
        self.database.execute(SubmissionRow.update(values).where(SubmissionRow.id == submission_id, *conditions))


def _others(rows: Iterable[dict[str, Any]], owner: str) -> list[dict[str, Any]]:
    """Return the requests among open ones that are on their way from other processes than this one."""
    return [row for row in rows if row["state"] == "sending" and row["owner"] != owner]


def _unknown(scope: Scope, submission_id: int) -> dict[str, Any]:
    row = scope.database.first(_WHOLE.where(SubmissionRow.id == submission_id, scope.seen(SubmissionRow)))
    if row is None or row["state"] != "unknown":
        state = "not on record" if row is None else row["state"]
        message = f"Submission {submission_id} is {state}; only an unknown one can be resolved."
        raise StorageError(message, next_step="list_tasks names the unresolved ones.")
    return row


def _at(scope: Scope, row: Mapping[str, Any], rows: Any = SubmissionRow) -> tuple[Any, ...]:
    """Return the conditions of being of a row's account at its gateway; an unknown account may be any."""
    account = row["account"] or scope.accounts_at(row["gateway"])[0]
    return rows.gateway == row["gateway"], rows.account.in_((account, ""))


def _settle_ended(database: Database, owner: str) -> None:
    """Settle what a process left that has ended: what it sent is unknown, what had no slot was never sent."""
    rows = SubmissionRow
    theirs = OPEN & (rows.state == "sending") & (rows.owner == owner)
    query = rows.update(state="cancelled", message="its process ended before it was sent")
    database.execute(query.where(theirs, rows.granted_at.is_null()))
    give_back(database, _nothing_bought(rows.owner == owner))
    message = "its process ended before the answer was recorded"
    answered_at = database.now()
    database.execute(rows.update(state="unknown", answered_at=answered_at, message=message).where(theirs))


def _known_again(database: Database, recovery: RecoveryFile) -> list[int]:
    """Let a database that took another one's place know what is under way; return the numbers that it has there."""
    recovery.has_moved = recovery.has_moved or bool(recovery.requests)
    if not recovery.requests:
        return []
    with database.transaction():
        return [_number_of(database, *request) for request in recovery.requests.copy().items()]  # others end


def _cancel_besides(database: Database, owner: str, under_way: Iterable[int]) -> None:
    """Cancel what a process wrote down and did not send: its connection was lost before it knew that it had."""
    rows = SubmissionRow
    doubtful = OPEN & (rows.state == "sending") & (rows.owner == owner) & rows.id.not_in([*under_way])
    if database.openings > 1 and database.first(rows.select(rows.id).where(doubtful)):
        with database.transaction():
            values = {"state": "cancelled", "granted_at": None, "message": "it was not known to be on record"}
            database.execute(rows.update(values).where(doubtful))
            give_back(database, _nothing_bought(rows.owner == owner))


def _alike(
    scope: Scope, new: NewSubmission, open_rows: Iterable[Mapping[str, Any]], lost_since: float
) -> tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]:
    """Return the earlier request that stands for a new one, or None; and others like it that are running."""
    accounts, twins = scope.accounts_at(new.gateway), _accepted_twins(scope, new)
    ours = (row for row in open_rows if row["account"] in accounts and row["user"] == new.user)
    same = [row for row in ours if row["gateway"] == new.gateway and new.repeats(row)]
    besides: list[Mapping[str, Any]] = [row for row in twins if row["status"] in ("pending", "processing")]
    lost = [row for row in twins if row["delivered_at"] is None and row["asked_at"] > lost_since]
    if new.once:
        same += (row for row in twins if row["status"] != "failed")
    elif new.idempotency_key is None:
        same += lost
    else:  # deliberate; only one whose answer nobody has seen is worth a word
        same, besides = [row for row in same if row["state"] == "unknown"], [*same, *lost]
    return _bought(scope, new) or _keyed(scope, new) or next(iter(same), None), besides


def _booked(database: Database, budget: Budget, new: NewSubmission) -> float | None:
    """Return the credits to book for a request; raise `LimitReached` where it would pass a limit."""
    price, most = new.estimated_credits, new.max_credits
    return budget.book(database, new.tool, new.gateway, price, most, at_most=new.at_most)


def _lacks_yes(database: Database, budget: Budget, new: NewSubmission) -> bool:
    """Return whether a person has to agree to a request, and none has."""
    asks = budget.asks(new.estimated_credits, new.gateway)
    return asks and yes_for(database, new.exact_hash, new.user, new.estimated_credits, new.agreed) is None


def _use_yes(database: Database, new: NewSubmission, submission_id: int) -> None:
    """Use up what a person has agreed to for a request, or for the earlier one that stands for it."""
    if new.exact_hash:
        yes = yes_for(database, new.exact_hash, new.user, new.estimated_credits, new.agreed)
        use(database, submission_id, new.user, new.agreed, yes)


def _bought(scope: Scope, new: NewSubmission) -> dict[str, Any] | None:
    """Return the request that the yes of the new one's call was used for before; None for one that made nothing."""
    if not new.agreed:
        return None
    used = ConsentRow.select(ConsentRow.submission_id).where(ConsentRow.id == new.agreed)
    bought = SubmissionRow.select().where(SubmissionRow.id.in_(used), SubmissionRow.state.in_(MAY_COST))
    return scope.database.first(bought.where(SubmissionRow.user == new.user))


def _nothing_bought(which: Any) -> Any:
    """Return the query of those requests that provably bought nothing."""
    return SubmissionRow.select(SubmissionRow.id).where(which, SubmissionRow.state.in_(BOUGHT_NOTHING))


def _accepted_twins(scope: Scope, new: NewSubmission) -> list[dict[str, Any]]:
    """Return the newest identical requests that made tasks, each with the status of its task."""
    rows, tasks = SubmissionRow, TaskRow
    own = rows.account.in_(scope.accounts_at(new.gateway)) & (rows.user == new.user)
    query = _WITH_STATUS.where(rows.body_hash == new.body_hash, rows.state == "accepted", own)
    same = (tasks.task_id == rows.task_id) & (tasks.gateway == rows.gateway) & (tasks.account == rows.account)
    query = query.join(tasks, peewee.JOIN.LEFT_OUTER, on=same)
    return scope.database.rows(query.order_by(rows.id.desc()).limit(TWINS))


def _keyed(scope: Scope, new: NewSubmission) -> dict[str, Any] | None:
    """Return the submission that an idempotency key is bound to; a key whose request made nothing is free again."""
    if new.idempotency_key is None:
        return None
    rows, keys, accounts = SubmissionRow, KeyRow, scope.accounts_at(new.gateway)
    ours = (keys.key == new.idempotency_key) & (keys.user == new.user) & keys.account.in_(accounts)
    query = rows.select().where(rows.id.in_(keys.select(keys.submission_id).where(ours)))
    query = query.where(rows.gateway == new.gateway, rows.state.in_(MAY_COST))
    return scope.database.first(query.order_by(rows.account.desc()))


def _number_of(database: Database, number: int, known: Mapping[str, Any]) -> int:
    """Return a request's number in this file, which may be another or an older one: then it is added first."""
    if not known:
        return number
    rows, values = SubmissionRow, loaded(SubmissionRow, known)
    same = rows.select(rows.id).where(rows.created_at == values["created_at"], rows.owner == values["owner"])
    if row := database.first(same):
        return int(row["id"])
    if database.first(rows.select(rows.id).where(rows.id == number)) is not None:
        return _insert(database, values, known.get("key"))
    _insert(database, values | {"id": number}, known.get("key"))
    database.skip_number(rows)
    return number


def _insert(database: Database, values: Mapping[str, Any], key: str | None) -> int:
    """Add the row of a request, and return its number."""
    submission_id = int(database.execute(SubmissionRow.insert(values)))
    _bind(database, key, values, submission_id)
    return submission_id


def _bind(database: Database, key: str | None, owner: Mapping[str, Any], submission_id: int) -> None:
    """Bind an idempotency key, if there is one, of an owner's account and user to a submission."""
    if key is not None:
        bound = {"key": key, "account": owner["account"], "user": owner["user"], "submission_id": submission_id}
        database.execute(put(KeyRow, bound))
