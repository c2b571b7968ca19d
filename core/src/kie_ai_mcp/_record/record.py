"""The record as a whole: the tasks and the paid requests of a database, opened, closed and tidied together."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
import peewee

from kie_ai_mcp._record.consents import Consents
from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.kept import Keeping
from kie_ai_mcp._record.lane import in_worker
from kie_ai_mcp._record.polls import Polls
from kie_ai_mcp._record.processes import LockFile, Process
from kie_ai_mcp._record.recovery import RecoveryFile
from kie_ai_mcp._record.scope import Scope, Units
from kie_ai_mcp._record.slots import Budget, RateLimit
from kie_ai_mcp._record.sqlite import SqliteFile
from kie_ai_mcp._record.stats import Stats
from kie_ai_mcp._record.submissions import Submissions
from kie_ai_mcp._record.tables import (
    FINAL,
    MAY_COST,
    ConsentRow,
    Ending,
    KeyRow,
    LeaseRow,
    ReadRow,
    SubmissionRecord,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    put,
)
from kie_ai_mcp._record.tasks import Filters, Tasks
from kie_ai_mcp._record.uploads import Uploads
from kie_ai_mcp._record.users import User, Users
from kie_ai_mcp._settings.hosts import is_local_address
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import LimitReached, StorageError

PRUNED_AT_ONCE = 5_000
LEAST_AGE = timedelta(days=1)  # of what is deleted: what was spent in the last day counts against limits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """Place where an ending was written down: the database, else a recovery file, else this process's memory."""

    task: TaskRecord | None = None  # that of an accepted request
    error: StorageError | None = None  # why the database did not take it
    kept_in: Path | None = None
    lost: StorageError | None = None  # why no file did


@dataclass(frozen=True)
class Listing:
    """What a list of tasks says: the tasks, the requests that are not settled, and the day's credits.

    A search by words has looked down to the row `from_id`; `spent_by_user` is None where not everybody's is shown.
    """

    records: Sequence[TaskRecord]
    unsettled: Sequence[SubmissionRecord]
    from_id: int | None
    spent_today: float
    spent_by_user: Mapping[str, float] | None


@dataclass
class Record:
    """The task database of this process: what the server writes down and reads."""

    path: Path
    limit: RateLimit  # the account's
    budget: Budget = field(default_factory=Budget)
    limits: Mapping[str, RateLimit] = field(default_factory=dict)  # of gateways that have their own, by name
    accounts: Mapping[str, str] = field(default_factory=dict)  # of every gateway: what stands for its address and key
    address: str = ""  # of a PostgreSQL database, which takes the place of the file
    units: Units = field(default_factory=Units)  # of prices, by gateway
    user: str = ""  # whose it is; "" where there are no users
    made: Counter[str] = field(default_factory=Counter)  # the requests of this process by how they ended
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # Kie.ai credits, likewise
    _holds: bool = field(default=False, init=False)

    @classmethod
    def of(
        cls,
        settings: Settings,
        limits: Mapping[str, RateLimit] | None = None,
        accounts: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Self:
        """Return the record that settings name, with their limits; its first use opens it."""
        named = Units(units or {})
        budget = Budget(
            settings.max_credits_per_day,
            settings.max_submissions_per_hour,
            settings.max_credits_per_request,
            settings.assumed_credits,
            settings.confirm_credits,
            units=named,
            is_local=is_local_address(settings.base_url),
        )
        limit = RateLimit(settings.rate_limit, settings.rate_window_s)
        return cls(settings.database, limit, budget, limits or {}, accounts or {}, settings.database_address, named)

    def __post_init__(self) -> None:
        self.database: Database
        self.process: Process
        if self.address:
            postgres = import_module("kie_ai_mcp._record.postgres")  # few need it, and it takes its time at each start
            self.database = postgres.Postgres(self.path, address=self.address)
            self.process = postgres.Session(self.database)
        else:
            self.database = SqliteFile(self.path)
            self.process = LockFile(self.database)
        self.recovery = RecoveryFile(self.database)
        self.users = Users(self.database)
        self._use(Scope(self.database, self.accounts, units=self.units))
        self.database.on_open = self.submissions.begin
        self.database.on_lost = self.recovery.rescue

    def of_user(self, user: User, accounts: Mapping[str, str]) -> Self:
        """Return the record as a user sees it, whose accounts these are: all of it where that is an administrator."""
        record = copy(self)
        record.user, record.accounts = user.name, accounts
        record._use(Scope(self.database, accounts, user.name, user.is_admin, self.units))
        record.limit_to(user, self.budget)
        return record

    def limit_to(self, user: User, budget: Budget) -> None:
        """Let this record of a user have the user's limits, beside a budget of the server."""
        self.budget = budget.of_user(
            user.name, user.credits_per_day, user.submissions_per_hour, user.credits_per_request, sees_all=user.is_admin
        )
        self.submissions.budget = self.budget

    def _use(self, scope: Scope) -> None:
        self.sees_all = scope.sees_all
        self.tasks = Tasks(scope)
        self.polls = Polls(scope)
        self.uploads = Uploads(scope)
        self.kept = Keeping(scope)
        self.consents = Consents(scope)
        self.stats = Stats(scope, self.budget)
        self.submissions = Submissions(scope, self.recovery, self.process, self.limit, self.budget, self.limits)

    @in_worker
    def check(self) -> None:
        """Raise `StorageError` where the database can't be used; after a failure it has to take a small write."""
        self.database.check_sound()
        if self.database.has_failed:
            with self.database.impatient():
                self.database.check_writable()

    def open(self) -> None:
        """Open the file, which the first use does as well; raise `StorageError` where it can't be used."""
        self.database.open()

    async def aclose(self) -> None:
        """Close the file once no other work is under way: closing it below a running statement would crash."""
        async with self.database.lane.turn(is_poll=True):  # after the polls that wait, which would open it again
            await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Close the file and give up this process's mark of being alive. Call it only where no worker uses the file."""
        with suppress(StorageError):
            if self.recovery.in_memory:  # the last chance: no file took them
                self.database.guarded(self.submissions.take_in)
            if self.database.is_open:
                self.database.guarded(self.submissions.leave)
                if self._holds:
                    leases = LeaseRow.delete().where(LeaseRow.owner == self.process.owner)
                    self.database.guarded(partial(self.database.execute, leases))
        self.database.close()
        self.process.retire()

    async def end(self, submission_id: int, ending: Ending) -> Ended:
        """Write down how a request ended, even where the caller is cancelled meanwhile; whatever fails, it is kept."""
        ended = Ended()
        with anyio.CancelScope(shield=True):
            try:
                if ending.task is None:
                    await self.submissions.settled(submission_id, ending)
                else:
                    made = ending.task, ending.outcome, ending.price
                    ended = Ended(await self.submissions.accepted(submission_id, *made))
                self.recovery.remember(submission_id, ending)
            except Exception as exc:
                error = exc if isinstance(exc, StorageError) else _failed_inside(exc)
                if error is not exc:
                    log.exception("the end of submission %s failed inside", submission_id)
                try:
                    ended = Ended(error=error, kept_in=await self.recovery.keep(submission_id, ending))
                except StorageError as lost:
                    ended = Ended(error=error, lost=lost)
                _log_unrecorded(submission_id, ending, ended)
            known = self.recovery.requests.pop(submission_id, {})
        self.made[ending.state] += 1
        if ending.state in MAY_COST:
            booked = ending.sent.get("booked_credits", known.get("booked_credits"))
            self.spent[ending.state] += booked or 0.0
        return ended

    @in_worker
    def hold(self, name: str, lease_s: float) -> bool:
        """Return whether this process does some work now; it passes on `lease_s` after the last call, or its end."""
        with self.database.unsynced(), self.database.transaction():
            # Not before: what was written while this one waited for the database is not of the future.
            now = self.database.now()
            row = self.database.first(LeaseRow.select().where(LeaseRow.name == name))
            others = row is not None and row["owner"] != self.process.owner and now < row["until"] <= now + lease_s
            if row is not None and others and not self.submissions.settle_if_dead(row["owner"], row["until"] - lease_s):
                return False
            self.process.announce()
            lease = {"name": name, "owner": self.process.owner, "until": now + lease_s}
            self.database.execute(put(LeaseRow, lease))
        self._holds = True
        return True

    @in_worker
    def listing(self, filters: Filters) -> Listing:
        """Return the tasks that a list shows, and what it says besides, in one turn of the database."""
        unsettled = self.submissions.read_unsettled()  # first: it takes in what an earlier call could not record
        if filters.words:
            filters = replace(filters, from_id=self.tasks.read_search_from(filters.before_id))
        records = self.tasks.read_newest(filters)
        if self.user and self.sees_all:
            by_user = replace(self.budget, user=None).spent_by_user(self.database)
            return Listing(records, unsettled, filters.from_id, by_user.get(self.user, 0.0), by_user)
        return Listing(records, unsettled, filters.from_id, self.budget.spent_today(self.database), None)

    @in_worker
    def spent_today(self) -> float:
        """Return the Kie.ai credits of the last 24 hours, as the day's limit counts them."""
        return self.budget.spent_today(self.database)

    @in_worker
    def spent_by_user(self) -> dict[str, float]:
        """Return the same of every user who has spent any, by name; what has no user under an empty one."""
        return replace(self.budget, user=None).spent_by_user(self.database)

    @in_worker
    def check_limits(self, tool: str, gateway: str, *prices: float | None, at_most: bool = False) -> None:
        """Raise LimitReached where a request of this price would not be sent now; a second one is its caller's most."""
        self.budget.book(self.database, tool, gateway, *prices, at_most=at_most)

    @in_worker
    def find_limit(self) -> LimitReached | None:
        """Return the limit of a day or an hour that is reached, so that no request would be sent now."""
        try:
            self.budget.check(self.database, 0.0)
        except LimitReached as exc:
            return exc
        return None

    @in_worker
    def room(self) -> float | None:
        """Return the credits that a request may still cost now, by every limit; None where credits are not limited."""
        return self.budget.room(self.database)

    @in_worker
    def sent_in_hour(self) -> int:
        """Return the number of paid requests of the last hour, as the hour's limit counts them."""
        return self.budget.sent_in_hour(self.database)

    @in_worker
    def damage(self) -> StorageError | None:
        """Return the error of what the database's own check finds wrong with it; None for a sound one."""
        return self.database.damage()

    async def prune(self, before: datetime, *, dry_run: bool = False, saved: bool = False) -> int:
        """Delete final tasks older than `before` and a day, with their submissions; return how many there are.

        Settled requests and questions that are as old go as well. With `saved`, those stay of which a result is not
        saved. It takes many turns: paid requests wait for none but the next.
        """
        before = min(before, datetime.now(UTC) - LEAST_AGE)
        old = (TaskRow.created_at < before) & TaskRow.status.in_(FINAL)
        if saved:
            old &= (TaskRow.status == "failed") | ~self.tasks.lacks_files()
        if dry_run:
            return int(await self._count(old))
        deleted = 0
        while some := await self._prune_some(old):
            deleted += some
        await self._prune_requests(before)
        return deleted

    @in_worker
    def _count(self, which: Any) -> int:
        return int(TaskRow.select().where(which).count(self.database.connection))

    @in_worker
    def _prune_requests(self, before: datetime) -> None:
        with self.database.transaction():
            settled = SubmissionRow.state.in_(("refused", "cancelled", "discarded"))
            self.database.execute(SubmissionRow.delete().where(settled, SubmissionRow.created_at < before))
            self.database.execute(ConsentRow.delete().where(ConsentRow.asked_at < before.timestamp()))
            requests = SubmissionRow.select(SubmissionRow.id)
            self.database.execute(KeyRow.delete().where(KeyRow.submission_id.not_in(requests)))

    @in_worker
    def _prune_some(self, old: Any) -> int:
        """Delete some tasks at once: other processes, which may be about to send, write in between."""
        with self.database.transaction():
            query = TaskRow.select(TaskRow.row_id, TaskRow.task_id).where(old).limit(PRUNED_AT_ONCE)
            rows = self.database.rows(query)
            some = TaskRow.row_id.in_([row["row_id"] for row in rows])
            theirs = SubmissionRow.task_id.in_([row["task_id"] for row in rows])
            same = [
                getattr(TaskRow, name) == getattr(SubmissionRow, name) for name in ("task_id", "gateway", "account")
            ]
            made = peewee.fn.EXISTS(TaskRow.select(TaskRow.row_id).where(some, *same))
            self.database.execute(SubmissionRow.delete().where(theirs, made))
            self.database.execute(ReadRow.delete().where(ReadRow.task.in_([row["row_id"] for row in rows])))
            self.database.execute(TaskRow.delete().where(some))
        return len(rows)


def _failed_inside(exc: Exception) -> StorageError:
    return StorageError(f"The record failed inside ({type(exc).__name__}).")


def _log_unrecorded(submission_id: int, ending: Ending, ended: Ended) -> None:
    """Log an ending that the database did not take, with the place where it waits."""
    what = f"submission {submission_id} is {ending.state}" + (f" (task {ending.task.task_id})" if ending.task else "")
    kept = f"It is kept in {ended.kept_in}, and recorded by itself once the database takes it"
    if ended.lost is not None:
        kept = f"It is kept by this process alone, which records it by itself: do not kill it. {ended.lost.message}"
    log.error("%s, which is not recorded yet: %s %s", what, ended.error.message if ended.error else "", kept)
