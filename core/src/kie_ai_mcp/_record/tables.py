"""Tables of the record, and the frozen values that are read from their rows and written to them.

A value's field and the column of the same name belong together; a new one is typed in the row and in the record.
"""

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

import peewee

from kie_ai_mcp._settings.settings import NOT_STORED
from kie_ai_mcp.errors import sound
from kie_ai_mcp.specs import CREDITS, DAY_S, KIE, Kind, Outcome, Status, Task

# ``cancelled`` was never sent; ``discarded`` was unknown until its user settled it.
SubmissionState = Literal["sending", "accepted", "refused", "unknown", "cancelled", "discarded"]

MAY_COST = ("sending", "unknown", "accepted")
FINAL = ("completed", "failed")
LOCAL = "-local"  # ends an account at an address of this machine, where the sandbox is
# Arguments that hold the user's words, the most telling first.
PROMPTS = ("prompt", "text", "lyrics", "shots", "dialogue", "dialogue_turns", "description", "content", "title")
ZERO = r"(?<!\\)((?:\\\\)*)\\u0000"  # as JSON writes the zero byte


class _Moment(peewee.TextField):
    """UTC, as text that sorts by time; the seed's ``YYYY-MM-DD HH:MM:SS`` is read as well."""

    def db_value(self, value: datetime | None) -> str | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

    def python_value(self, value: str | None) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


class _Json(peewee.TextField):
    """A tuple or a dict, as JSON; empty where nothing is stored."""

    def __init__(self, kind: type[tuple[str, ...]] | type[dict[str, Any]], **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def db_value(self, value: Any) -> str:
        text = json.dumps(self.kind(value), ensure_ascii=False, separators=(",", ":"))
        return str(without_zeros(self, text))

    def python_value(self, value: str | None) -> Any:
        return self.kind((json.loads(value) if value else None) or ())


class _Data(peewee.TextField):
    """Anything, as JSON; None where nothing is stored."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else sound(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


class WholeRows(peewee.ModelSelect):
    """Select query that caches the SQL of its columns: to build it anew for each query takes longer than the rest."""

    def __init__(self, model: type[peewee.Model], *more: peewee.Field) -> None:
        columns = model, *more
        super().__init__(model, columns)
        # Shared by the queries that are made of this one.
        self._sql = cache(lambda: peewee.ModelSelect(model, columns).sql()[0].partition(" FROM ")[0])

    def __sql_selection__(self, ctx: Any, is_subquery: bool = False) -> Any:
        """Write the columns; called by peewee."""
        return ctx.literal(self._sql().removeprefix("SELECT "))


class TaskRow(peewee.Model):
    """One row of ``tasks``: the seed's columns first, then ours."""

    row_id = peewee.AutoField(column_name="id")
    task_id = peewee.TextField()
    api_type = peewee.TextField()
    status = peewee.TextField(default="pending")
    created_at = _Moment()
    updated_at = _Moment()
    result_url = peewee.TextField(null=True)
    error = peewee.TextField(column_name="error_message", null=True)
    provider = peewee.TextField()
    tool = peewee.TextField()
    kind = peewee.TextField()
    gateway = peewee.TextField()
    model = peewee.TextField(null=True)
    path = peewee.TextField()
    status_address = peewee.TextField(default="")
    submission_id = peewee.IntegerField(null=True)
    result_urls = _Json(tuple, default=())
    files = _Json(tuple, default=())
    error_code = peewee.TextField(null=True)
    progress = peewee.FloatField(null=True)
    credits = peewee.FloatField(null=True)
    finished_at = _Moment(null=True)
    keeps_s = peewee.IntegerField(default=DAY_S)
    labels = _Json(tuple, default=())
    data = _Data(null=True)
    account = peewee.TextField(default="")
    user = peewee.TextField(default="")

    class Meta:
        table_name = "tasks"


class SubmissionRow(peewee.Model):
    """One row of ``submissions``: one paid request."""

    id = peewee.AutoField()
    state = peewee.TextField()
    tool = peewee.TextField()
    provider = peewee.TextField()
    api_type = peewee.TextField()
    kind = peewee.TextField()
    gateway = peewee.TextField()
    model = peewee.TextField(null=True)
    arguments = _Json(dict)
    body_hash = peewee.TextField()
    owner = peewee.TextField()
    created_at = _Moment()
    asked_at = peewee.FloatField()
    granted_at = peewee.FloatField(null=True)
    answered_at = peewee.FloatField(null=True)
    path = peewee.TextField(null=True)
    task_id = peewee.TextField(null=True)
    code = peewee.IntegerField(null=True)
    message = peewee.TextField(null=True)
    subfolder = peewee.TextField(null=True)
    estimated_credits = peewee.FloatField(null=True)
    booked_credits = peewee.FloatField(null=True)
    delivered_at = peewee.FloatField(null=True)
    notes = _Json(tuple, default=())
    account = peewee.TextField(default="")
    user = peewee.TextField(default="")

    class Meta:
        table_name = "submissions"


class KeyRow(peewee.Model):
    """One row of ``idempotency_keys``: a key of one user of an account, and the request it is bound to."""

    key = peewee.TextField()
    account = peewee.TextField(default="")
    user = peewee.TextField(default="")
    submission_id = peewee.IntegerField()

    class Meta:
        table_name = "idempotency_keys"
        primary_key = peewee.CompositeKey("key", "account", "user")


class UploadRow(peewee.Model):
    """One row of ``uploads``: a user's bytes that the service holds for an account, for a while."""

    sha256 = peewee.TextField()
    account = peewee.TextField(default="")
    url = peewee.TextField()
    expires_at = _Moment()
    user = peewee.TextField(default="")

    class Meta:
        table_name = "uploads"
        primary_key = peewee.CompositeKey("sha256", "account", "user")


class LeaseRow(peewee.Model):
    """One row of ``leases``: work that one process at a time does, and until when it is left to that one."""

    name = peewee.TextField(primary_key=True)
    owner = peewee.TextField()
    until = peewee.FloatField()

    class Meta:
        table_name = "leases"


class ReadRow(peewee.Model):
    """One row of ``reads``: when a process last took on to ask the service for a running task, by the task's row."""

    task = peewee.IntegerField(primary_key=True)
    read_at = peewee.FloatField()

    class Meta:
        table_name = "reads"


class KeptRow(peewee.Model):
    """One row of ``kept``: what is known of a service besides its tasks, as JSON, and until when it is left alone."""

    sort = peewee.TextField()
    gateway = peewee.TextField()
    account = peewee.TextField()
    name = peewee.TextField()
    value = peewee.TextField(null=True)
    read_at = peewee.FloatField(default=0.0)
    error = peewee.TextField(default="")
    until = peewee.FloatField(default=0.0)

    class Meta:
        table_name = "kept"
        primary_key = peewee.CompositeKey("sort", "gateway", "account", "name")


class ConsentRow(peewee.Model):
    """One row of ``consents``: a question to a person whether a request may be bought, and the answer."""

    id = peewee.AutoField()
    identity = peewee.TextField()
    gateway = peewee.TextField()
    account = peewee.TextField()
    tool = peewee.TextField()
    model = peewee.TextField(null=True)
    arguments = _Json(dict)
    price = peewee.FloatField(null=True)
    asked_at = peewee.FloatField()
    secret = peewee.TextField(null=True)
    answer = peewee.TextField(null=True)
    answered_at = peewee.FloatField(null=True)
    answered_by = peewee.TextField(null=True)
    submission_id = peewee.IntegerField(null=True)
    notes = _Json(tuple, default=())
    user = peewee.TextField(default="")

    class Meta:
        table_name = "consents"


class UserRow(peewee.Model):
    """One row of ``users``: who may use a server over HTTP, and how much."""

    name = peewee.TextField(primary_key=True)
    is_admin = peewee.IntegerField(default=0)
    own_key = peewee.IntegerField(default=0)
    credits_per_day = peewee.FloatField(null=True)
    credits_per_request = peewee.FloatField(null=True)
    submissions_per_hour = peewee.IntegerField(null=True)
    token_hash = peewee.TextField(null=True)
    created_at = _Moment()
    removed_at = _Moment(null=True)

    class Meta:
        table_name = "users"


@dataclass(frozen=True, kw_only=True)
class TaskRecord(Task):
    """A task as it is on record: the public `Task`, where it came from and how it stands."""

    created_at: datetime = field()
    status: Status
    updated_at: datetime
    row_id: int = 0
    submission_id: int | None = None
    result_urls: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    error: str | None = None
    error_code: str | None = None
    progress: float | None = None
    credits: float | None = None
    estimated_credits: float | None = None
    finished_at: datetime | None = None
    keeps_s: int = DAY_S
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # of the request that made it
    data: Any = None
    account: str = ""
    user: str = ""
    prefix: str = ""
    prompt: str = ""
    unit: str = CREDITS

    @property
    def written_id(self) -> str:
        """The id as answers, files and addresses write it: ``GATEWAY:ID``, of a task of Kie.ai the id alone."""
        return f"{self.prefix}{self.task_id}"

    @property
    def task(self) -> Task:
        """The task alone, as providers are given it."""
        return Task(**{name: getattr(self, name) for name in Task.__dataclass_fields__})

    @property
    def results(self) -> tuple[str, ...]:
        """The address of every result, in the order of their numbers; "" for the one that is data."""
        return self.result_urls if self.data is None else (*self.result_urls, "")

    @property
    def expires_at(self) -> datetime | None:
        """When the service drops the results, as far as it says."""
        if not self.result_urls or self.finished_at is None:
            return None
        try:
            return self.finished_at + timedelta(seconds=self.keeps_s)
        except OverflowError:  # times come from outside
            return None

    @property
    def expired(self) -> bool:
        """Whether the service has dropped the results, as far as it says."""
        return self.expires_at is not None and self.expires_at < datetime.now(UTC)

    @property
    def unsaved(self) -> tuple[int, ...]:
        """The numbers, from 1, of a completed task's results that are not saved; `files` has "" for each, or ends."""
        files = enumerate((*self.files, *[""] * len(self.results))[: len(self.results)], start=1)
        return tuple(number for number, file in files if not file and self.status == "completed")

    @property
    def final(self) -> bool:
        """Whether the service has finished with the task, for better or worse."""
        return self.status in FINAL


@dataclass(frozen=True)
class SubmissionRecord:
    """One paid request as it is on record."""

    id: int
    state: SubmissionState
    tool: str
    provider: str
    arguments: Mapping[str, Any]
    created_at: datetime
    task_id: str | None
    code: int | None
    message: str | None
    body_hash: str = ""
    subfolder: str | None = None
    estimated_credits: float | None = None
    api_type: str = ""
    kind: Kind = "image"
    gateway: str = KIE
    model: str | None = None
    account: str = ""
    user: str = ""

    @property
    def exact_id(self) -> str:
        """The id of its task, with the gateway even where that is Kie.ai: no other service's task is found by it."""
        return f"{self.gateway}:{self.task_id}"


@dataclass(frozen=True)
class Ending:
    """End of a paid request: ``accepted`` made a task, ``unknown`` may have, ``cancelled`` was never sent."""

    state: Literal["accepted", "refused", "unknown", "cancelled"]
    task: Task | None = None
    outcome: Outcome | None = None  # how a task stands that the service finished at once
    code: int | None = None
    message: str | None = None
    price: float | None = None  # that is estimated for the form of the request that made the task

    @property
    def sent(self) -> dict[str, Any]:
        """The columns of the request that another form of it may have changed."""
        task, price = self.task, self.price
        booked = price if task is not None and task.gateway == KIE else None
        values = {"model": task and task.model, "estimated_credits": price, "booked_credits": booked}
        return {name: value for name, value in values.items() if value is not None}


NEVER_SENT = Ending("cancelled", message="ended before it was sent")


def put(table: type[peewee.Model], *rows: Mapping[str, Any]) -> Any:
    """Return the query that writes whole rows, each in place of the one with its key if there is one."""
    keys = table._meta.get_primary_keys()  # type: ignore[no-untyped-call]
    names = {key.name for key in keys}
    others = [each for each in table._meta.sorted_fields if each.name not in names]
    return table.insert_many([*rows]).on_conflict(conflict_target=keys, preserve=others)


def columns(table: type[peewee.Model], kind: type[Any], value: Any) -> dict[str, Any]:
    """Return those fields of a dataclass that a table has columns for; what a subclass adds is left out.

    Halves of surrogate pairs and zero bytes in texts, which not every database takes, become ``?``.
    """
    values = {name: getattr(value, name) for name in kind.__dataclass_fields__ if name in table._meta.fields}
    return {name: _sound(value) if isinstance(value, str) else value for name, value in values.items()}


def without_zeros(field: peewee.Field, value: Any) -> Any:
    """Return a stored value of a column with ``?`` for zero bytes, which PostgreSQL takes in no text."""
    if not isinstance(value, str):
        return value
    return (re.sub(ZERO, r"\1?", value) if isinstance(field, _Json) else value).replace("\0", "?")


def _sound(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", "?")


def stored(table: type[peewee.Model], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a row as the database stores them: numbers and text."""
    return {name: table._meta.fields[name].db_value(value) for name, value in values.items()}


def loaded(table: type[peewee.Model], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row that `stored` returned; what this version has no column for is left out."""
    fields = table._meta.fields
    return {name: fields[name].python_value(value) for name, value in values.items() if name in fields}


def task_record(row: Mapping[str, Any], gateways: Container[str], unit: str) -> TaskRecord:
    """Return a row of ``tasks`` with the unit of its price as a record; `gateways` are the known ones."""
    if not row["result_urls"] and row["result_url"]:  # the seed's rows have one address, in a column of its own
        row = {**row, "result_urls": (row["result_url"],)}
    prefix, prompt = prefix_of(row["gateway"], row["task_id"], gateways), prompt_of(row.get("arguments") or {})
    return TaskRecord(**_fields(TaskRecord, row), prefix=prefix, prompt=prompt, unit=unit)


def prompt_of(arguments: Mapping[str, Any]) -> str:
    """Return the words of the user that a request was made with; empty where it has none, or they are not stored."""
    texts = (_words(arguments.get(name)) for name in PROMPTS)
    return next((text for text in texts if text and text != NOT_STORED), "")


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(filter(None, map(_words, value)))
    return prompt_of(value) if isinstance(value, dict) else value.strip() if isinstance(value, str) else ""


def service_of(account: str) -> str:
    """Return the part of an account that stands for the service's address alone; empty where none is on record."""
    return account.partition("-")[0]


def prefix_of(gateway: str, task_id: str, gateways: Container[str]) -> str:
    """Return what is written before a task's id: nothing for Kie.ai's, unless it would read as another service's."""
    return "" if gateway == KIE and task_id.partition(":")[0] not in gateways else f"{gateway}:"


def submission_record(row: Mapping[str, Any]) -> SubmissionRecord:
    """Return a row of ``submissions`` as a record."""
    return SubmissionRecord(**_fields(SubmissionRecord, row))


def _fields(kind: type[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    # Not by `dataclasses.fields`, which makes a tuple for every row.
    return {name: row[name] for name in kind.__dataclass_fields__ if name in row}
