"""Tasks on record: where each came from, how it stands and where its results are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

import peewee

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import batched, in_worker
from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.tables import (
    FINAL,
    PROMPTS,
    ReadRow,
    SubmissionRow,
    TaskRecord,
    TaskRow,
    WholeRows,
    columns,
    prefix_of,
    service_of,
    task_record,
)
from kie_ai_mcp.errors import InvalidArgument, KieError, StorageError, TaskNotFound
from kie_ai_mcp.specs import KIE, Outcome, Task

# Joined by the submission's number, of which there is one: two may name the same task.
_OF_REQUEST = SubmissionRow.estimated_credits, SubmissionRow.arguments, SubmissionRow.notes
_WITH_REQUEST = WholeRows(TaskRow, *_OF_REQUEST).join(
    SubmissionRow, peewee.JOIN.LEFT_OUTER, on=SubmissionRow.id == TaskRow.submission_id
)
_KNOWN = TaskRow.status, TaskRow.result_urls, TaskRow.labels  # what results are not to be lost of

SHORTEST_START = 4  # the fewest characters that stand for a task's id
SEARCHED = 20_000  # how many tasks one search by words looks at: paid requests wait for it meanwhile
TIMED = 5_000  # among how many of the newest tasks those of one tool are looked for, to know how long they take
VALUES = 500  # of one query; SQLite before 3.32 takes 999
LONGEST_ID = 500  # characters; longer texts are no ids
# Errors of one row's values; all others are of the file.
OF_ONE_ROW = (
    OverflowError | ValueError | peewee.IntegrityError | peewee.DataError | peewee.InterfaceError
    | peewee.ProgrammingError
)  # fmt: skip
TaskKey = int | str
"""A task on record: the number of its row, or an id, as `TaskRecord.written_id` or the service writes it."""


def beginning_fault(field: str, text: str, whole: Sequence[str]) -> InvalidArgument:
    """Return the refusal of a text that is only the beginning of what is to be given, of several if there are more."""
    reason = f"it is only the beginning of a task's id; give the whole one: {whole[0]}"
    if len(whole) > 1:
        reason = f"it begins the ids of several tasks: {', '.join(whole)}; give a whole one"
    return InvalidArgument(field, text, reason)


@dataclass(frozen=True)
class Filters:
    """Selection of the tasks that `Tasks.newest` returns; None means any."""

    status: str | None = None
    provider: str | None = None
    kind: str | None = None
    since: datetime | None = None
    before_id: int | None = None
    limit: int = 20
    words: str = ""  # each of which tool, model or prompt must hold
    from_id: int | None = None
    readable: bool = False  # whether it must be one that this process can ask a service for


@dataclass
class Tasks:
    """The tasks in a database, as far as they are seen."""

    scope: Scope

    @property
    def database(self) -> Database:
        """The database that they are in."""
        return self.scope.database

    @in_worker
    def find(self, key: TaskKey) -> TaskRecord | None:
        """Return one task, or None; raise `InvalidArgument` for an id that several services use, none of them Kie.ai.

        Of several accounts with that id, the task of this process's own comes first.
        """
        return task_at(self.scope, key)

    @in_worker
    def adopt(self, task: Task) -> TaskRecord:
        """Record a task that was not made here; one on record stays as it is. Raise `TaskNotFound` for another's."""
        with self.database.transaction():
            record = task_at(self.scope, insert_task(self.scope.whole, task).row_id)
        if record is None:
            raise TaskNotFound(f"No task {task.task_id} of yours is on record here.")
        return record

    @batched
    def record_outcome(self, calls: Sequence[tuple[TaskKey, Outcome]]) -> list[TaskRecord | Exception]:
        """Write what the service says of a task, as `write_outcome` does."""
        database, records = self.database, list[TaskRecord | Exception]()
        with database.transaction():
            for key, outcome in calls:
                try:
                    with database.translated("used"), database.connection.savepoint():
                        row_id = _row_id(self.scope, key)
                        write_outcome(database, row_id, outcome)
                        records.append(record := recorded(self.scope, row_id))
                    if record.final:
                        database.ended.append(record.written_id)
                except KieError as exc:
                    # An error of the file, not of this row, fails the whole batch.
                    if not isinstance(exc.__cause__, OF_ONE_ROW | None):
                        raise exc.__cause__ from None
                    records.append(exc)
        return records

    @in_worker
    def record_files(self, key: TaskKey, files: Iterable[str]) -> TaskRecord:
        """Write where a task's results were saved."""
        row_id = _row_id(self.scope, key)
        query = TaskRow.update(files=tuple(files), updated_at=datetime.now(UTC))
        self.database.execute(query.where(TaskRow.row_id == row_id))
        return recorded(self.scope, row_id)

    def read_newest(self, filters: Filters) -> Sequence[TaskRecord]:
        """Return tasks newest first, at most `limit`, below `before_id` and from `from_id` on; in the worker."""
        query = _WITH_REQUEST.where(self.scope.seen(TaskRow)).order_by(TaskRow.row_id.desc()).limit(filters.limit)
        values: dict[str, Any] = {"created_at__gte": filters.since, "row_id__lt": filters.before_id}
        values["row_id__gte"] = filters.from_id
        values |= {name: getattr(filters, name) for name in ("status", "provider", "kind")}
        query = query.where(self._readable()) if filters.readable else query
        for condition in holding(self.database, filters.words):
            query = query.where(condition)
        return self._records(query.filter(**{name: value for name, value in values.items() if value is not None}))

    newest = in_worker(read_newest)

    @in_worker
    def not_seen(self, texts: Iterable[str]) -> set[str]:
        """Return those of these texts that are ids of tasks that are not seen."""
        ids = {text: text.rpartition(":")[2] for text in texts if 0 < len(text) <= LONGEST_ID}
        wanted, rows = sorted(set(ids.values())), TaskRow
        query = rows.select(rows.task_id).where(~self.scope.seen(rows))
        parts = (wanted[start : start + VALUES] for start in range(0, len(wanted), VALUES))
        others = {row["task_id"] for part in parts for row in self.database.rows(query.where(rows.task_id.in_(part)))}
        return {text for text, task_id in ids.items() if task_id in others}

    def read_search_from(self, before_id: int | None) -> int:
        """Return the row down to which one search by words looks, from `before_id` or the newest on; in the worker."""
        newest = self.database.rows(TaskRow.select(peewee.fn.MAX(TaskRow.row_id).alias("id")))[0]["id"] or 0
        return (newest + 1 if before_id is None else before_id) - SEARCHED

    search_from = in_worker(read_search_from)

    @in_worker
    def beginning_with(self, start: str, most: int = 5, status: str | None = None) -> list[str]:
        """Return the ids of tasks that begin so, of one status if given, as answers write them, `most` at most."""
        gateway, _, after = start.rpartition(":")
        rows = TaskRow
        begins = self.scope.seen(rows) & (rows.task_id >= after) & (rows.task_id < f"{after}\U0010ffff")
        query = rows.select(rows.task_id, rows.gateway).where(begins, *[rows.gateway == gateway] * bool(gateway))
        query = query.where(rows.status == status) if status else query
        accounts = self.scope.accounts
        named = (row.values() for row in self.database.rows(query.distinct().limit(most)))
        return [f"{prefix_of(gateway, task_id, accounts)}{task_id}" for task_id, gateway in named]

    @in_worker
    def running(
        self, since: datetime, before: datetime, excluded: Iterable[int] = (), limit: int = 200, user: str | None = None
    ) -> Sequence[TaskRecord]:
        """Return running tasks that this process can read, made after `since`, last changed before `before`.

        `excluded` are rows that are left out; `user` is whose they must be, or None.
        """
        rows = TaskRow
        late = rows.status.in_(("pending", "processing")) & (rows.created_at > since) & (rows.updated_at < before)
        late = late if user is None else late & (rows.user == user)
        query = rows.select(rows.row_id).where(late, self.scope.seen(rows), self._readable())
        return self._first(query.order_by(rows.updated_at.desc()), limit, excluded)

    @in_worker
    def several(self, row_ids: Iterable[int]) -> Sequence[TaskRecord]:
        """Return tasks by the numbers of their rows; without their requests."""
        return self._by_row(sorted(row_ids))

    @in_worker
    def outline(self, limit: int, names: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
        """Return of the newest tasks the row, the columns of these names, and the length of what names their files."""
        rows, saved = TaskRow, peewee.fn.LENGTH(TaskRow.files)
        query = rows.select(rows.row_id, *(getattr(rows, name) for name in names), saved)
        query = query.where(self.scope.seen(rows)).order_by(rows.row_id.desc()).limit(limit)
        return tuple(tuple(row.values()) for row in self.database.rows(query))

    @in_worker
    def stamp(self) -> tuple[int, ...]:
        """Return numbers that differ from those before if anything was written since, by any process."""
        return self.database.stamp()

    @in_worker
    def history(self, after_id: int, limit: int) -> Sequence[TaskRecord]:
        """Return tasks oldest first, at most `limit`, above the row `after_id`; for export."""
        query = _WITH_REQUEST.where(self.scope.seen(TaskRow), TaskRow.row_id > after_id)
        return self._records(query.order_by(TaskRow.row_id).limit(limit))

    @in_worker
    def usual_s(self, tool: str, model: str | None = None) -> tuple[float, float] | None:
        """Return the 10th and 90th percentile of the seconds that a tool's newest 50 tasks took; None below three.

        Of a `model`, those of its tasks alone. They are looked for among the newest of all.
        """
        rows, others = TaskRow, TaskRow.alias()
        newest = rows.row_id > others.select(peewee.fn.MAX(others.row_id) - TIMED)
        query = rows.select(rows.created_at, rows.finished_at, rows.updated_at).order_by(rows.row_id.desc()).limit(50)
        query = query.where(newest, rows.tool == tool, rows.status == "completed", rows.finished_at.is_null(False))
        query = query if model is None else query.where(rows.model == model)
        # The end is told by the clock of the service, and was written down by ours.
        ends = ((row["created_at"], min(row["finished_at"], row["updated_at"])) for row in self.database.rows(query))
        spans = (end - begin for begin, end in ends)
        durations = sorted(max(0.0, span.total_seconds()) for span in spans)
        return (_tenth(durations, 1), _tenth(durations, 9)) if len(durations) >= 3 else None

    @in_worker
    def load(self, since: datetime) -> tuple[int, datetime | None]:
        """Return how many tasks made since then are running, whoever made them, and when the oldest of them was."""
        rows = TaskRow
        query = rows.select(peewee.fn.COUNT(rows.row_id).alias("count"), peewee.fn.MIN(rows.created_at).alias("oldest"))
        running = (rows.status.in_(("pending", "processing"))) & (rows.created_at > since)
        (row,) = self.database.rows(query.where(running))
        return row["count"], row["oldest"]

    @in_worker
    def unsaved(
        self,
        limit: int | None = None,
        late: datetime | None = None,
        excluded: Iterable[int] = (),
        user: str | None = None,
    ) -> Sequence[TaskRecord]:
        """Return completed tasks with results that are not saved, the one that expires first at the start.

        With a `limit`, expired ones stand last, and those that expired before `late`, rows of `excluded` and, where a
        `user` is given, those of others are left out.
        """
        rows, missing = TaskRow, self.lacks_files() & self.scope.seen(TaskRow) & (TaskRow.status == "completed")
        if limit is None:
            every = self._records(rows.select().where(missing))
            return sorted(every, key=lambda record: record.expires_at or record.updated_at)
        missing = missing if user is None else missing & (rows.user == user)
        has_urls = (self.database.length_of(rows.result_urls) > 0) | rows.result_url.is_null(False)
        seconds = self.database.seconds_of
        end = peewee.Case(None, [(has_urls, seconds(rows.finished_at) + rows.keeps_s)])  # as `TaskRecord.expires_at`
        is_over = peewee.Case(None, [(end < self.database.now(), 1)], 0)
        first = is_over, peewee.fn.COALESCE(end, seconds(rows.updated_at))
        query = rows.select(rows.row_id).where(missing, end.is_null() | (end >= late.timestamp() if late else True))
        return self._first(query.order_by(*first, rows.row_id), limit, excluded)

    def lacks_files(self) -> Any:
        """Return the condition that a result is not saved."""
        rows, length = TaskRow, self.database.length_of
        # The seed's rows have one address, in a column of its own.
        count, one = length(rows.result_urls), peewee.Case(None, [(rows.result_url.is_null(False), 1)], 0)
        results = peewee.Case(None, [(count > 0, count)], one) + peewee.Case(None, [(rows.data.is_null(False), 1)], 0)
        is_empty = peewee.fn.LENGTH(peewee.fn.REPLACE(rows.files, '""', "")) < peewee.fn.LENGTH(rows.files)
        return (length(rows.files) < results) | is_empty

    @in_worker
    def failing(self, since: datetime) -> list[tuple[str, str]]:
        """Return gateway and model of the models of which at least two tasks have failed since then."""
        rows = TaskRow
        query = rows.select(rows.gateway, rows.model).group_by(rows.gateway, rows.model)
        query = query.where(rows.status == "failed", rows.finished_at > since, rows.model.is_null(False))
        often = query.having(peewee.fn.COUNT(rows.row_id) >= 2).order_by(rows.gateway, rows.model)
        return [(row["gateway"], row["model"]) for row in self.database.rows(often)]

    @in_worker
    def charged(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return what the newest tasks of Kie.ai cost, beside what was expected: rows of both tables, newest first."""
        rows, requests = TaskRow, SubmissionRow
        query = rows.select(rows.model, rows.credits, requests.tool, requests.estimated_credits, requests.arguments)
        query = query.join(requests, on=requests.id == rows.submission_id).order_by(rows.row_id.desc()).limit(limit)
        known = (rows.status == "completed") & (rows.gateway == KIE) & (rows.credits > 0)
        return self.database.rows(query.where(known, self.scope.seen(rows), self._readable()))

    @in_worker
    def codes(self) -> list[tuple[str, int, str]]:
        """Return every code of Kie.ai on record, how often it came, and the newest task or request with it."""
        codes: list[tuple[str, int, str]] = []
        for rows, code, number in (
            (TaskRow, TaskRow.error_code, TaskRow.task_id),
            (SubmissionRow, SubmissionRow.code, SubmissionRow.id),
        ):
            query = rows.select(
                code.alias("code"), peewee.fn.COUNT(code).alias("count"), peewee.fn.MAX(number).alias("last")
            )
            query = query.where(rows.gateway == KIE, code.is_null(False)).group_by(code).order_by(code)
            codes += [(str(row["code"]), row["count"], str(row["last"])) for row in self.database.rows(query)]
        return codes

    def _readable(self) -> Any:
        services = map(service_of, self.scope.accounts.values())
        at_these = (TaskRow.account.startswith(f"{service}-") for service in services)
        return reduce(or_, at_these, TaskRow.account == "")

    def _first(self, query: Any, limit: int, excluded: Iterable[int]) -> list[TaskRecord]:
        """Return the first tasks of a query of rows, without those excluded: only what is returned is read whole."""
        others = set(excluded)
        numbers = (row["row_id"] for row in self.database.rows(query.limit(limit + len(others))))
        order = list(islice((number for number in numbers if number not in others), limit))
        found = {record.row_id: record for record in self._by_row(order)}
        return [found[number] for number in order if number in found]

    def _by_row(self, numbers: Sequence[int]) -> list[TaskRecord]:
        query = TaskRow.select().where(self.scope.seen(TaskRow)).order_by(TaskRow.row_id)
        parts = (numbers[start : start + VALUES] for start in range(0, len(numbers), VALUES))
        return [each for part in parts for each in self._records(query.where(TaskRow.row_id.in_(part)))]

    def _records(self, query: Any) -> list[TaskRecord]:
        return [_record(self.scope, row) for row in self.database.rows(query)]


def insert_task(scope: Scope, task: Task, request: Mapping[str, Any] | None = None) -> TaskRecord:
    """Record the task of a request's row, or one that was not made here, and return it as it is on record then.

    One on record stays as it is. It is linked to the request where it was found at the service meanwhile; where it is
    older, the service has used the id again, and the record does not name this request.
    """
    database, rows, now, accounts = scope.database, TaskRow, datetime.now(UTC), scope.accounts_at(task.gateway)
    origin: dict[str, Any] = {"user": scope.user}
    if request is not None:
        accounts = request["account"] or accounts[0], ""
        origin = {"submission_id": request["id"], "user": request["user"]}
    values = columns(rows, Task, task) | origin | {"account": accounts[0]}
    known = (rows.task_id == task.task_id) & (rows.gateway == task.gateway) & rows.account.in_(accounts)
    row = database.first(rows.select(rows.row_id).where(known).order_by(rows.account.desc()))
    if row is None:
        values |= {"created_at": task.created_at or now, "updated_at": now}
        return recorded(scope, database.execute(rows.insert(values)))
    if request is not None:
        found = rows.submission_id.is_null() & (rows.created_at >= request["created_at"])
        del values["created_at"]
        database.execute(rows.update(values).where(rows.row_id == row["row_id"], found))
    return recorded(scope, row["row_id"])


def write_outcome(database: Database, row_id: int, outcome: Outcome) -> None:
    """Write an outcome: each field that says something to the column of its name.

    A final status stays, but results win over a failure, and the reason of the failure is kept with them.
    """
    now = datetime.now(UTC)
    for row in database.rows(TaskRow.select(*_KNOWN).where(TaskRow.row_id == row_id)):
        outcome = _beside_known(outcome, **row)
    values, reason = _columns_of(outcome)
    values |= {"updated_at": now} | ({"result_url": outcome.urls[0]} if outcome.urls else {})
    ours = TaskRow.row_id == row_id
    if outcome.status == "completed" and (outcome.urls or outcome.data is not None):
        # Results that come after a failure are kept from their own end on.
        failed = ours & (TaskRow.status == "failed")
        database.execute(TaskRow.update(status="completed", finished_at=None).where(failed))
    elif outcome.status == "failed":
        # So is the reason of a failure that is reported of results.
        late = ours & (TaskRow.status == "completed") & TaskRow.error.is_null()
        database.execute(TaskRow.update(reason).where(late))
    ours &= TaskRow.status.not_in([status for status in FINAL if status != outcome.status])
    database.execute(TaskRow.update(values).where(ours))
    if outcome.status in FINAL:
        # Read again, a task has not finished again: links expire from the first time.
        query = TaskRow.update(finished_at=outcome.finished_at or now)
        database.execute(query.where(ours, TaskRow.finished_at.is_null()))
        database.execute(ReadRow.delete().where(ReadRow.task == row_id))  # nobody polls it any more


def has_news(outcome: Outcome, record: TaskRecord) -> bool:
    """Return whether an outcome says anything of a task that is not on record."""
    outcome = _beside_known(outcome, **{column.name: getattr(record, column.name) for column in _KNOWN})
    return any(getattr(record, name) != value for name, value in _columns_of(outcome)[0].items())


def _beside_known(outcome: Outcome, status: str, result_urls: Sequence[str], labels: Sequence[str]) -> Outcome:
    """Return an outcome with the results on record of a completed task, where it names fewer: none is lost."""
    if status != "completed" or not 0 < len(outcome.urls) < len(result_urls):
        return outcome
    more = [url for url in outcome.urls if url not in result_urls]
    return replace(outcome, urls=(*result_urls, *more), labels=(*labels, *("" for _ in more if labels)))


def _columns_of(outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an outcome says, by the names of columns, and the reason of a failure by itself."""
    values = columns(TaskRow, Outcome, outcome)
    del values["finished_at"]
    reason = {name: values.pop(name) for name in ("error", "error_code")}
    reason["error_code"] = None if outcome.error_code is None else str(reason["error_code"])
    if outcome.credits is not None and (outcome.credits < 0 or (outcome.credits == 0 and outcome.status not in FINAL)):
        del values["credits"]  # no price, or none yet: the service says 0 of tasks that it charges for at their end
    values = {name: value for name, value in values.items() if value is not None}
    values |= {"result_urls": outcome.urls} if outcome.urls else {}
    return values | (reason if outcome.status == "failed" else {}), reason


def recorded(scope: Scope, key: TaskKey) -> TaskRecord:
    """Return a task that was written a moment ago; raise `StorageError` where another process deleted it meanwhile."""
    record = task_at(scope, key)
    if record is None:
        name = f"Task {key}" if isinstance(key, str) else "The task"
        raise StorageError(f"{name} is no longer on record.", next_step="Ask get_task_status for it again.")
    return record


def task_at(scope: Scope, key: TaskKey) -> TaskRecord | None:
    """Return one task, or None; raise `InvalidArgument` as `Tasks.find`."""
    database, tasks = scope.database, _WITH_REQUEST.where(scope.seen(TaskRow))
    if isinstance(key, int):
        rows = database.rows(tasks.where(TaskRow.row_id == key))
    else:
        gateway, _, task_id = key.partition(":")
        named = tasks.where(TaskRow.task_id == task_id, TaskRow.gateway == gateway)
        rows = (database.rows(named) if task_id else None) or database.rows(tasks.where(TaskRow.task_id == key))
        # Answers write Kie.ai's ids alone, so that an id alone is Kie.ai's where there is such a one.
        rows = [row for row in rows if row["gateway"] == KIE] or rows
        if not rows and key != key.strip():  # as a person may give it
            return task_at(scope, key.strip())
        if len(gateways := sorted({row["gateway"] for row in rows})) > 1:
            forms = " or ".join(f"{gateway}:{key}" for gateway in gateways)
            raise InvalidArgument("task_id", key, f"several services have a task of this id; give {forms}")
    own = [row for row in rows if row["account"] == scope.accounts.get(row["gateway"], "")]
    row = max(own or rows, key=lambda row: (row["account"] == "", row["row_id"]), default=None)
    return None if row is None else _record(scope, row)


def _record(scope: Scope, row: Mapping[str, Any]) -> TaskRecord:
    return task_record(row, scope.accounts, scope.units[row["gateway"]])


def holding(database: Database, words: str, rows: Any = TaskRow) -> list[Any]:
    """Return the conditions of holding each word in tool, model or prompt, for tasks or requests joined with them."""
    conditions = []
    for word in words.split():
        # The database ignores the case of ASCII alone.
        forms = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
        conditions.append(reduce(or_, map(_searched(database, rows).contains, sorted(forms))))
    return conditions


def _searched(database: Database, rows: Any) -> Any:
    """Return the expression of what a search by words looks through."""
    searched: Any = rows.tool
    for part in (rows.model, *(database.text_in(SubmissionRow.arguments, name) for name in PROMPTS)):
        searched = searched.concat(" ").concat(peewee.fn.COALESCE(part, ""))
    return searched


def _row_id(scope: Scope, key: TaskKey) -> int:
    return key if isinstance(key, int) else recorded(scope, key).row_id


def _tenth(ordered: Sequence[float], tenth: int) -> float:
    """Return the value below which so many tenths of the ordered values lie, interpolated between two of them."""
    place, rest = divmod(tenth * (len(ordered) - 1), 10)
    return (ordered[place] * (10 - rest) + ordered[place + 1] * rest) / 10


async def begun_with(tasks: Tasks, start: str, least: int = SHORTEST_START) -> list[str]:
    """Return the ids of tasks of which a text is only the beginning; none where it is too short.

    It is for what reads and saves; nothing may be bought, settled or adopted by the beginning of an id.
    """
    if len(start) < least or await tasks.find(start) is not None:
        return []
    return await tasks.beginning_with(start)
