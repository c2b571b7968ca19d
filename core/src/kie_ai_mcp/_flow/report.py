"""The report of a task or a refused request: one shape for every answer, complete as data and as words."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, Self

from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._settings.amounts import in_words
from kie_ai_mcp._settings.secrets import DEEPEST, is_deeper
from kie_ai_mcp._settings.settings import NOT_STORED
from kie_ai_mcp.errors import (
    CONTROLS,
    LOGS_PAGE,
    NO_REASON,
    InvalidArgument,
    KieError,
    ReadFailed,
    TaskNotFound,
    Unknown,
    meaning_of_failure,
    service_says,
)
from kie_ai_mcp.specs import CREDITS, KIE

BREAKS = re.compile(rf"[\t\n\u2028\u2029{CONTROLS}]+")  # what ends a line, or is no text
ERRORS = {"refused", "unknown", "unread", "not found", "not done"}  # the states of calls that tell of no task
DATA_BYTES = 12_000  # the most that an answer shows of a result that is data
TEXT: dict[str, Any] = {"type": "string"}
LIST: dict[str, Any] = {"type": "array"}
NUMBER: dict[str, Any] = {"type": "number"}
SHORT = 40  # characters of a value that is shown whole
LEFT_OUT = "left_out"  # in `instead`: what was asked for and is not in that call, or otherwise
COSTS = "costs"  # in `instead`: the price of that call, in words
CORRECT = "Correct the arguments and call again."
PROMPT_CHARS = 120  # the most that an answer repeats of a prompt


def object_schema(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object of which nothing is required."""
    return {"type": "object", "properties": properties}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One task, or one request that made none, as the client gets it.

    The order of the fields is the order of the answer. Those with metadata stand in the output schema, which is short
    because a model reads it once per tool. A report is `stuck` where its status can't be read until the user acts;
    `request` is the number of the paid request that it answers, and `request_notes` are those that stay with that;
    `user` is whose task it is, which it `shows_user` to an administrator. `files` has an entry for each result, "" for
    one that is not saved; the answer leaves those out.
    """

    task_id: str | None = field(default=None, metadata=TEXT)
    tool: str | None = field(default=None, metadata=TEXT)
    model: str | None = field(default=None, metadata=TEXT)
    prompt: str | None = field(default=None, metadata=TEXT)
    api_type: str | None = field(default=None, metadata=TEXT)
    provider: str | None = field(default=None, metadata=TEXT)
    status: str = field(metadata=TEXT)
    result_urls: Sequence[str] = field(default=(), metadata=LIST)
    data: Any = None
    files: Sequence[str] = field(default=(), metadata=LIST)
    credits: float | None = field(default=None, metadata=NUMBER)
    estimated_credits: float | None = field(default=None, metadata=NUMBER)
    unit: str = CREDITS
    progress: float | None = None
    charged: Literal["yes", "no", "unknown"] | None = field(default=None, metadata=TEXT)
    created_at: datetime | None = field(default=None, metadata=TEXT)
    expires_at: datetime | None = field(default=None, metadata=TEXT)
    error: str | None = field(default=None, metadata=TEXT)
    read_error: str | None = field(default=None, metadata=TEXT)
    submission_id: int | None = None
    service_record: Any = None
    notes: Sequence[str] = field(default=(), metadata=LIST)
    instead: Mapping[str, Any] | None = field(default=None, metadata={"type": "object"})
    next_step: str = field(metadata=TEXT)
    stuck: bool = False
    request: int | None = None
    request_notes: Sequence[str] = ()
    user: str = ""
    shows_user: bool = False

    def noted(self, *notes: str, **changes: Any) -> Self:
        """Return this report with more notes, and with other changes."""
        return replace(self, notes=(*self.notes, *notes), **changes)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes of this answer, then those of the request."""
        return (*self.notes, *self.request_notes)

    @property
    def is_saved(self) -> bool:
        """Whether there is a file of every result."""
        results = len(self.result_urls) + (self.data is not None)
        return len(list(filter(None, self.files))) >= results > 0

    def rendered(self) -> tuple[str, dict[str, Any], bool]:
        """Return the answer in words, as data, and whether it is an error."""
        return self.text(), self.structured(), self.status in ERRORS

    def structured(self) -> dict[str, Any]:
        """Return the answer as data, with the unit of a price that is not in Kie.ai's credits.

        Unknown values are left out, empty lists are kept, except of notes.
        """
        values = ((name, _plain(self.all_notes if name == "notes" else getattr(self, name))) for name in _ANSWERED)
        said = {
            name: value for name, value in values if value is not None and (value or name not in {"notes", "next_step"})
        }
        if self.unit == CREDITS or not said.keys() & {"credits", "estimated_credits"}:
            del said["unit"]
        return said | {"user": self.user} if self.shows_user and self.user else said

    def text(self) -> str:
        """Return the answer in words, one fact a line."""
        maker = f" ({self.api_type}, provider {self.provider})" if self.provider else ""
        share = f" ({self.progress:.0%})" if self.progress and not self.is_final else ""
        whose = "by the task itself: " if self.charged == "no" else ""
        price = f", {whose}{in_words(self.credits, self.unit)}" if self.credits else ""
        estimate = self.estimated_credits
        facts = (
            ("Status", f"{self.status}{share}"),
            ("Task", f"{self.task_id}{maker}" if self.task_id else None),
            ("Tool", self.tool or None),
            ("Model", self.model or None),
            ("Prompt", self.prompt or None),
            ("Submission", self.submission_id),
            ("User", (self.shows_user and self.user) or None),
            *(("Result", url) for url in self.result_urls),
            *(("Text", line) for line in (self.data.splitlines() if isinstance(self.data, str) else ())),
            ("Data", None if self.data is None or isinstance(self.data, str) else _json(self.data)),
            *(("Saved", file) for file in self.files if file),
            (
                "Links expired" if self.expires_at and self.expires_at < datetime.now(UTC) else "Links expire",
                _when(self.expires_at),
            ),
            ("Charged", f"{self.charged}{price}" if self.charged else None),
            ("Estimated cost", None if estimate is None else in_words(estimate, self.unit)),
            ("Created", _when(self.created_at)),
            ("Error", self.error or None),
            ("This is the last known state; reading the status failed", self.read_error or None),
            ("The service's own record", self.service_record and _json(self.service_record)),
            *(("Note", note) for note in self.all_notes),
            ("Instead", self.instead and _json(self.instead)),
            ("Next", self.next_step or None),
        )
        # One fact is one line, whatever it holds: no value may pass for another fact.
        return "\n".join(f"{name}: {BREAKS.sub(' ', str(value))}" for name, value in facts if value is not None)

    @property
    def is_final(self) -> bool:
        """Whether the task is over."""
        return self.status in {"completed", "failed"}

    @property
    def is_error(self) -> bool:
        """Whether the call did not do what it was made for, and says nothing of a task's state."""
        return self.status in ERRORS


_UNSAID = {"stuck", "request", "request_notes", "user", "shows_user"}
_ANSWERED = tuple(entry.name for entry in fields(Report) if entry.name not in _UNSAID)
# Copied by name; a request's number is shown only where the user may have to settle it.
_IN_RECORD = ({entry.name for entry in fields(TaskRecord)} & {*_ANSWERED, "user"}) - {"submission_id"}

OUTPUT_SCHEMA = {
    **object_schema(**{entry.name: dict(entry.metadata) for entry in fields(Report) if entry.metadata}),
    "required": ["status"],
}
TASKS_SCHEMA = object_schema(tasks=LIST, unresolved=LIST, next_cursor=TEXT, next_step=TEXT)


def report_of(
    record: TaskRecord, data_bytes: int = DATA_BYTES, *, in_list: bool = False, shows_user: bool = False
) -> Report:
    """Return a task on record as an answer, with `data_bytes` of a result that is data; a list has one next step."""
    written_id = f"{record.prefix}{record.task_id}"
    values = {name: getattr(record, name) for name in _IN_RECORD}
    values |= {"task_id": written_id, "request": record.submission_id}
    values["next_step"] = "" if in_list else _next_step(record, written_id)
    values["prompt"] = brief(record.prompt) or None
    if record.result_urls:
        values["expires_at"] = record.expires_at
    if record.error or record.error_code or record.status == "failed":
        values["error"] = _failure(record)
    given_back = "no" if record.credits == 0 else "unknown"
    values["charged"] = given_back if record.status == "failed" else "yes"
    labels = enumerate(record.labels, start=1)
    values["notes"] = tuple(f"Result {number}: {label}." for number, label in labels if label)
    values["request_notes"] = record.notes or ()
    if record.data is not None and (shown := bounded(record.data, data_bytes)) != record.data:
        values["data"], whole = shown, f"kie://files/{written_id}/{len(record.results)}"
        values["notes"] += (f"Only a part of result {len(record.results)} is shown; {whole} holds all of it.",)
    if record.status == "completed" and (failure := values.pop("error", None)):
        values["notes"] += (f"The service has called the task failed as well. {failure}",)
    if record.status == "failed" or record.credits is not None:
        values["estimated_credits"] = None
    return Report(**values, shows_user=shows_user)


def report_of_reuse(earlier: TaskRecord, request: int, logs_page: str) -> Report:
    """Return an accepted request as an answer where the service named it after an earlier task of another request."""
    since = f"on record since {earlier.created_at:%Y-%m-%d} from submission {earlier.submission_id or 'of elsewhere'}"
    error = f"The service accepted submission {request}, but answered with the id of an earlier task, {since}."
    step = f"The result of task {earlier.written_id}, {since}, is not this request's. Look at {logs_page} for its own."
    report = Report(status="unknown", task_id=earlier.written_id, charged="unknown", error=error, next_step=step)
    return replace(report, submission_id=request, request=request)


def report_of_error(error: KieError, otherwise: str = "refused") -> Report:
    """Return a failed call as an answer: a request that came to no task, a read, or what is `otherwise` "not done"."""
    # A read that fails says nothing of money, for what it asked for may have been paid long ago; one that costs does.
    read = "not found" if isinstance(error, TaskNotFound) else "unread" if isinstance(error, ReadFailed) else None
    read = read or (None if otherwise == "refused" else otherwise)
    if isinstance(error, InvalidArgument):
        cure = cure_of(error)
        next_step = cure if read else f"Nothing was recorded or sent. {cure}"
    else:
        next_step = error.next_step or ("Call again later." if error.can_retry else "Do not repeat the call unchanged.")
    return Report(
        status="unknown" if isinstance(error, Unknown) else read or "refused",
        next_step=next_step,
        charged=None if read and error.charged == "no" else error.charged,
        error=error.message,
        instead=error.instead if isinstance(error, InvalidArgument) else None,
    )


def cure_of(error: InvalidArgument) -> str:
    """Return what is to be done about a refused call; of one in its place also what it leaves out and costs."""
    if not error.instead:
        return error.next_step or CORRECT
    words = words_of(error.instead)
    if LEFT_OUT in error.instead:
        return f"'instead' {words}: make that call if that will do, else correct the arguments."
    return f"Make the call of 'instead'{words and f': it {words}'}."


def words_of(instead: Mapping[str, Any]) -> str:
    """Return what a call in place of a refused one leaves out, has otherwise and costs: ``costs 4 credits``."""
    left, used = instead.get(LEFT_OUT, {}), instead["arguments"]
    used = {**used, **used.get("input", {})}
    # The end of a list or of a free text is left out as well.
    changed = [name for name in left if name in used and not isinstance(left[name], list)]
    changed = [name for name in changed if len(str(used[name])) <= SHORT]
    gone = ", ".join(name for name in left if name not in changed)
    other = ", ".join(f"{name} {used[name]!r} in place of {left[name]!r}" for name in changed)
    costs = f"costs {instead[COSTS]}" if COSTS in instead else ""
    words = [*filter(None, [gone and f"leaves out {gone}", other and f"has {other}", costs])]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _failure(record: TaskRecord) -> str:
    """Return the service's reason and code; where it gave no reason, what the code means."""
    reason = record.error or NO_REASON
    if reason != NOT_STORED and not re.fullmatch(r"[\w ]{1,20} gave no reason", reason):
        return service_says(reason, record.error_code)
    if not record.error_code:
        return reason
    meaning = meaning_of_failure(record.error_code, reason)[0] if reason != NOT_STORED else ""
    return f"{reason} (code {record.error_code}{': ' if meaning else ''}{meaning})"


def _next_step(record: TaskRecord, written_id: str) -> str:
    if record.status == "failed":
        return f"The task is over. {meaning_of_failure(record.error_code, record.error or '')[1]}"
    if record.status != "completed":
        return f"Call {wait_call([written_id])}; it goes on by itself meanwhile."
    if not record.results:
        page = LOGS_PAGE if record.gateway == KIE else f"the request log of {record.gateway}"
        return f"The service says it is done but names no result; look at {page}."
    if not record.unsaved:
        return "The results are saved; show them to the user."
    if record.expired:
        return "The links have probably expired; get_task_status says what it was and what making it again costs."
    if not record.result_urls:
        return "Show the result to the user."
    if any(record.files):
        return f"Show the results to the user. Call save_result to try results {list(record.unsaved)} again."
    return "Show the links to the user; save them before they expire."


def brief(prompt: str) -> str:
    """Return the beginning of a prompt, as one line."""
    words = " ".join(prompt[: 10 * PROMPT_CHARS].split())
    return words if len(words) <= PROMPT_CHARS else f"{words[: PROMPT_CHARS - 1]}…"


def wait_call(task_ids: Sequence[str]) -> str:
    """Return the call that waits for tasks, in words."""
    return f"wait_for_tasks with task_ids {_json(list(task_ids))}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def bounded(value: Any, most: int, deepest: int = DEEPEST) -> Any:
    """Return a JSON value in about `most` bytes: long texts are cut, ends of lists and what lies deep are left out."""
    size, is_nested = _size(value), isinstance(value, dict | list | tuple)
    if size <= most and not (is_nested and size > 2 * deepest and is_deeper(value, deepest)):
        return value
    if isinstance(value, str):
        return f"{value[: most * len(value) // size]}…"
    if not is_nested:  # a number or a word of JSON, which has no part
        return value if size <= SHORT else None
    if most <= 2 or deepest == 0:  # brackets alone
        return {} if isinstance(value, dict) else []
    if isinstance(value, dict):
        large = sum(_size(entry) > most // (2 * len(value)) for entry in value.values()) or 1
        part = most // (2 * large)
        return {name[:100]: bounded(entry, part, deepest - 1) for name, entry in islice(value.items(), 50)}
    kept: list[Any] = []
    for entry in value:
        kept.append(bounded(entry, most // 4, deepest - 1))
        if _size(kept) > most:
            return kept[:-1]
    return kept


def _size(value: Any) -> int:
    try:
        return len(json.dumps(value))
    except RecursionError:  # how deep it may be depends on who asks
        return sys.maxsize


def _plain(value: Any) -> Any:
    """Return a value of a report as JSON knows it."""
    if isinstance(value, datetime):
        return _when(value)
    return list(filter(None, value)) if isinstance(value, tuple) else value


def _when(moment: datetime | None) -> str | None:
    # Quicker than by `strftime`: a list says a hundred of them.
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z" if moment else None
