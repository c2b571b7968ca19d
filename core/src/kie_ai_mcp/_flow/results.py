"""Results of tasks: read when a task has ended, saved where a folder is set, and reported."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.ownership import check_named
from kie_ai_mcp._flow.report import PROMPT_CHARS, Report, bounded, report_of
from kie_ai_mcp._flow.status import asked_again, look_up, meaning_of_read, outcome_of, payload_of, with_provider
from kie_ai_mcp._media.files import is_there
from kie_ai_mcp._media.saving import allowed_folder, copied, place_now, save_results
from kie_ai_mcp._providers.asking import ACCOUNT_CODES
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord, prefix_of, service_of
from kie_ai_mcp._record.tasks import has_news
from kie_ai_mcp._service.envelope import error_of, error_text
from kie_ai_mcp._settings.amounts import in_words
from kie_ai_mcp._settings.settings import APP, NOT_STORED
from kie_ai_mcp.errors import ConfigError, KieError, MediaError, ReadFailed, StorageError, service_says, shorten
from kie_ai_mcp.specs import Outcome, Query

log = logging.getLogger(__name__)
KEPT_LONGER = timedelta(days=14)  # services keep results longer than they say, so that long they are tried
SLOW_S = 0.1  # a read that takes longer may be overtaken by another one
RECORD_BYTES = 20_000  # the most that an answer shows of the service's own record


class Poll(NamedTuple):
    """The report of a task, and whether this process read its status for it."""

    report: Report
    is_ours: bool = True


async def poll(
    engine: Engine, task_id: str, since: float, row: int | None = None, *, is_followed: bool = False
) -> Poll:
    """Read a task's status, unless a process has read it since `since`; return the report.

    The end of one that is followed, and so was not over a moment ago, was read by another call just now.
    """
    try:
        record, is_ours = await engine.record.polls.claim(row or task_id, since)
    except StorageError:
        return Poll(await refresh(engine, task_id))  # what is known may be read all the same
    if record is not None and record.final and is_followed:
        return Poll(await with_files(engine, record), is_ours=False)
    if record is None or is_ours:
        return Poll(await refresh(engine, task_id, polled=record))
    return Poll(report_of(record), is_ours=False)


async def refresh(
    engine: Engine, task_id: str, *, with_record: bool = False, polled: TaskRecord | None = None
) -> Report:
    """Read a task's status once, write down what is new, save finished results, and report.

    A read that fails changes nothing: the answer is then the last known state plus `read_error`. A task that is
    completed and saved is answered from the record: the service has nothing to add. `with_record` adds the service's
    own answer, where the service was asked. An id that is not on record raises what `look_up` raises. What is `polled`
    is the task as it is on record; it takes its turn among all polls.
    """
    try:
        record = polled or await engine.record.tasks.find(task_id)
        engine = engine if record is None else await engine.of_owner(record)
    except StorageError as exc:
        return unread(task_id, exc.message, "Call get_task_status again.")
    record = record and await relocated(engine, record)
    is_done = record is not None and record.status == "completed" and not with_record
    if record is not None and is_done and await anyio.to_thread.run_sync(_is_saved, record):
        return report_of(record)
    caller, began = None if polled is None else engine.callers.get(polled.gateway), time.monotonic()
    async with nullcontext() if caller is None else caller.polls:
        again = None
        if record is None:
            record, payload = await look_up(engine, task_id)
        else:
            record = with_provider(engine, record)
            try:
                _check_service(engine, record)
                again = await asked_again(engine, record)
                payload = {} if again else await payload_of(engine, record.task)
            except KieError as exc:
                return _unread(await with_files(engine, record), exc)
        try:
            outcome, payload = again or await outcome_of(engine, record.task, payload)
            stored = _storable(engine, outcome)
            hidden = outcome.error if stored.error != outcome.error else None
            if has_news(stored, record):
                record = await engine.record.tasks.record_outcome(record.row_id, stored, is_poll=polled is not None)
            elif time.monotonic() - began > SLOW_S:  # another read may have been quicker, and known more
                record = await engine.record.tasks.find(record.row_id) or record
            if record.status == "failed":
                engine.news.add("failed")
        except (ReadFailed, StorageError) as exc:
            return _unread(report_of(record), exc)
    report = await with_files(engine, record)
    if report.is_final:
        engine.wake(record.written_id)
    if report.error and hidden:
        report = replace(report, error=service_says(hidden, record.error_code))
    return replace(report, service_record=bounded(dict(payload), RECORD_BYTES) if with_record else None)


async def is_readable(engine: Engine, record: TaskRecord) -> bool:
    """Return whether a task's status can be asked for with these settings and providers."""
    try:
        engine = await engine.of_owner(record)
        _check_service(engine, record)
        engine.caller(record.gateway).check_key()
        await engine.asking.route(with_provider(engine, record).task)
    except KieError:
        return False
    return True


def _check_service(engine: Engine, record: TaskRecord) -> None:
    """Raise ReadFailed for a task of another address: there its id may be that of another task."""
    caller, here = engine.callers.get(record.gateway), engine.record.accounts.get(record.gateway, "")
    if caller is not None and service_of(record.account) not in {"", service_of(here)}:
        address = engine.settings.mask.text(caller.gateway.base_url)
        step = "Set the address of that time, for Kie.ai with KIE_AI_BASE_URL, to read it again."
        message = f"It was made at another address of {caller.gateway.title} than {address}, where it is not asked for."
        raise ReadFailed(message, next_step=step, can_retry=False)


def _storable(engine: Engine, outcome: Outcome) -> Outcome:
    """Return an outcome as it may be stored: without what may repeat the prompt, where prompts are not kept."""
    if engine.settings.store_prompts:
        return outcome
    error = NOT_STORED if outcome.error else outcome.error
    about: dict[str, Any] = {"data": None, "labels": ()} if outcome.urls and outcome.data is not None else {}
    return replace(outcome, error=error, **about)


def unread(task_id: str, reason: str, next_step: str) -> Report:
    """Return the report of a task of which nothing is known yet, because it could not be read."""
    return Report(status="unread", next_step=next_step, task_id=task_id, read_error=reason)


async def last_known(engine: Engine, task_id: str) -> Report | None:
    """Return a task as it is on record, without asking the service; None for an id never seen."""
    record = await engine.record.tasks.find(task_id)
    return None if record is None else (await as_found(engine, [record]))[0]


async def as_found(
    engine: Engine, records: Sequence[TaskRecord], answer: Callable[[TaskRecord], Report] = report_of
) -> list[Report]:
    """Return tasks as answers, none of which names a saved file that is gone; a note says so. No service is asked."""
    if not any(any(record.files) for record in records):
        return [*map(answer, records)]
    found = await anyio.to_thread.run_sync(_found, records, engine.settings.output_dir)
    return [answer(record).noted(*notes) if notes else answer(record) for record, notes in found]


def _found(records: Sequence[TaskRecord], folder: Path | None) -> list[tuple[TaskRecord, tuple[str, ...]]]:
    places = [tuple(file and str(place_now(file, folder) or "") for file in record.files) for record in records]
    pairs = [*zip(records, places, strict=True)]
    return [(replace(each, files=files) if files != each.files else each, _lost(each, files)) for each, files in pairs]


async def query(engine: Engine, tool: BoundTool, arguments: Mapping[str, Any]) -> Report:
    """Run a reading tool of a provider that costs nothing, save its results, report; raise KieError where it fails."""
    checked = tool.check(arguments, saves=False)[1]
    await check_named(engine, tool, checked)
    request = await engine.asking.request(tool, checked, Query)
    answer = await engine.caller(request.gateway).read(request.paths, request.params)
    if answer.code in ACCOUNT_CODES:
        raise error_of(answer, engine.caller(request.gateway).gateway)
    outcome = await meaning_of_read(engine, tool.provider, request.gateway, request.paths[0], request.read, answer)
    if outcome.status == "failed":
        reason = service_says(outcome.error) if outcome.error else error_text(answer)
        raise ReadFailed(reason, code=answer.code, can_retry=False)
    task_id = request.task_id or tool.name
    record = await engine.record.tasks.find(f"{request.gateway}:{task_id}")
    if record is None:
        prefix = prefix_of(request.gateway, task_id, engine.callers)
        times: dict[str, Any] = dict.fromkeys(("created_at", "updated_at", "finished_at"), datetime.now(UTC))
        where: dict[str, Any] = {"prefix": prefix, "gateway": request.gateway, "status": outcome.status, **times}
        where["unit"] = engine.record.units[request.gateway]
        record = TaskRecord(task_id, tool.name, tool.provider, kind=tool.kind, tool=tool.name, **where)
    kept = ("status", "progress", "keeps_s", "labels", "data")
    stands: dict[str, Any] = {name: getattr(outcome, name) for name in kept}
    finished_at = outcome.finished_at or record.finished_at
    record = replace(record, result_urls=outcome.urls, files=(), finished_at=finished_at, **stands)
    folder = engine.settings.output_dir
    notes: tuple[str, ...] = ()
    # No link leads to the file of what is not on record.
    if record.results and folder is not None and engine.links is None:
        caller = engine.caller(record.gateway)
        named = replace(record, labels=_storable(engine, outcome).labels)
        redacted, _ = engine.redacted(arguments, tool)
        saved = await save_results(caller, named, folder, redacted, request.label)
        record, notes = replace(record, files=saved.files), saved.notes
    report = report_of(record).noted(*notes)
    if outcome.status != "completed":
        report = replace(report, next_step=f"Not ready yet. Call {tool.name} again in 30 seconds.")
    return report


async def save(engine: Engine, task_id: str, folder: str | None = None) -> Report:
    """Save a finished task's results now, and report; raise KieError where that is impossible.

    In a `folder`, which must lie below the output folder or an allowed one, saved results are copied.
    """
    allowed = partial(allowed_folder, engine.settings, folder or "", by_path=engine.links is None)
    target = None if folder is None else await anyio.to_thread.run_sync(allowed)
    if target is None and engine.settings.output_dir is None:
        raise ConfigError(
            "No folder for results is set.",
            next_step=f"Let the user name one: `{APP} config set output_dir ~/Pictures/kie`, then restart.",
        )
    record = await engine.record.tasks.find(task_id)
    if record is None or record.status != "completed":
        report, record = await refresh(engine, task_id), await engine.record.tasks.find(task_id)
        if target is None or record is None or record.status != "completed":
            return report
    record = await relocated(await engine.of_owner(record), record)
    files = await anyio.to_thread.run_sync(_present, record)
    if target is not None:
        files = await anyio.to_thread.run_sync(copied, files, target)
    report = await with_files(engine, replace(record, files=files), target)
    if target is not None and any(report.files):
        await engine.record.tasks.record_files(record.row_id, report.files)
    if record.results and not any(report.files):
        raise MediaError(" ".join(report.notes), next_step=report.next_step)
    return report


async def with_files(engine: Engine, record: TaskRecord, target: Path | None = None) -> Report:
    """Return a task as an answer, after saving the results that have no file yet in the `target` or the set folder.

    What goes wrong stands in the notes; of results that are gone, the next step says what they were.
    """
    gone = False
    notes: tuple[str, ...] = ()
    try:
        engine = await engine.of_owner(record)
        folder = target or engine.settings.output_dir
        there = await anyio.to_thread.run_sync(_present, record) if any(record.files) else record.files
        lost = {file for file in record.files if file not in there}
        notes = _lost(record, there)
        request = await engine.record.submissions.of_task(record.row_id) if record.unsaved or lost else None
        if record.unsaved and folder is not None:
            caller, arguments = engine.caller(record.gateway), request.arguments if request else {}
            place = folder if target else folder / ((request and request.subfolder) or "")
            saved = await save_results(caller, record, place, arguments)
            record, notes, gone = replace(record, files=saved.files), (*notes, *saved.notes), saved.gone
            if any(saved.files):
                record = await engine.record.tasks.record_files(record.row_id, saved.files)
        # On record they stay, for they may come back; an answer names none that can't be opened.
        record = replace(record, files=tuple("" if file in lost else file for file in record.files))
        report = report_of(record).noted(*notes)
        return replace(report, next_step=_again(record, request, gone)) if record.unsaved and record.expired else report
    except KieError as exc:
        return report_of(record).noted(*notes, str(exc))


def _again(record: TaskRecord, request: SubmissionRecord | None, gone: bool) -> str:
    """Say of a task whose links have ended what it was, and what making it again costs."""
    origin = f"It was made by {record.tool}" if request else "It was made elsewhere"
    model = f" with the model {record.model}" if record.model else ""
    words = f" from the prompt {shorten(record.prompt, PROMPT_CHARS)}" if record.prompt else ""
    credits = record.estimated_credits if record.credits is None else record.credits
    price = "its price is unknown" if credits is None else f"about {in_words(credits, record.unit)}"
    ended = f"The links ended on {record.expires_at:%Y-%m-%d}: the result is gone{'' if gone else ' unless they open'}."
    return f"{ended} {origin}{model}{words}. To have it again, make it again ({price})."


async def relocated(engine: Engine, record: TaskRecord) -> TaskRecord:
    """Return a task with its files where they are now, which is written down where the output folder has moved."""
    if not any(record.files):
        return record
    files = await anyio.to_thread.run_sync(_files_now, record, engine.settings.output_dir)
    if files == record.files:
        return record
    with suppress(StorageError):
        return await engine.record.tasks.record_files(record.row_id, files)
    return replace(record, files=files)


def _files_now(record: TaskRecord, folder: Path | None) -> tuple[str, ...]:
    return tuple(file and str(place_now(file, folder) or file) for file in record.files)


def _lost(record: TaskRecord, files: tuple[str, ...]) -> tuple[str, ...]:
    """Say of each file that was saved and is not there any more what can be done."""
    gone = [number for number, file in enumerate(record.files, start=1) if file and not files[number - 1]]
    cure = "put it back, or call save_result, which fetches it again while the service has it"
    return tuple(f"The saved file of result {number} is not there any more: {cure}." for number in gone)


def _is_saved(record: TaskRecord) -> bool:
    """Tell whether every result of a completed task is a file that is still there."""
    return bool(record.results) and not record.unsaved and all(_present(record))


def _present(record: TaskRecord) -> tuple[str, ...]:
    """Return the files of a task, with "" for one that is gone."""
    return tuple(file if file and is_there(Path(file)) else "" for file in record.files)


def _unread(report: Report, exc: KieError) -> Report:
    """Return the last known state of a task that could not be read, and what to do where only the user can help."""
    stuck = isinstance(exc, ReadFailed | ConfigError) and not exc.can_retry and not report.is_final
    return replace(report, read_error=exc.message, stuck=stuck, next_step=exc.next_step if stuck else report.next_step)
