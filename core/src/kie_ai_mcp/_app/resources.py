"""Resources, read by `kie://` address: tasks, providers and results; and small pictures of results to show."""

import io
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import anyio
import anyio.to_thread

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.report import Report, bounded, report_of
from kie_ai_mcp._flow.results import as_found, refresh, relocated
from kie_ai_mcp._media.files import HEAD_BYTES, Format, format_of, format_of_url, text_of
from kie_ai_mcp._media.thumbnails import Picture, preview
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._service import transfer
from kie_ai_mcp._settings.installation import PREVIEW, install_command
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp.errors import InvalidArgument, KieError, MediaError, TaskNotFound, shorten

log = logging.getLogger(__name__)

TASKS = "kie://tasks"
PROVIDERS = "kie://providers"
FILES = "kie://files"
TASK_TEMPLATE = f"{TASKS}/{{id}}"
FILE_TEMPLATE = f"{FILES}/{{id}}/{{n}}"
JSON = "application/json"

READ_BYTES = 20_000_000  # the largest result that is handed to a client, or fetched for a preview
JSON_BYTES = 80_000  # the longest text that is handed to a client
TASKS_READ = 50
FILES_LISTED = 20
SEARCHED = 500  # how many of the newest tasks are looked through for saved results
DATA_LISTED = 500  # the most bytes that a list shows of a result that is data
PREVIEWS = 4
PREVIEW_BYTES = 300_000  # the size of all pictures of one answer together, as they are sent


@dataclass(frozen=True)
class Link:
    """An address that `Resources.read` knows."""

    uri: str
    name: str
    mime_type: str | None
    description: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Content:
    """What stands at an address: text, or bytes."""

    mime_type: str
    text: str | None = None
    blob: bytes | None = None


TEMPLATES = (
    Link(TASK_TEMPLATE, "task", JSON, "One recorded task, as it is on record."),
    Link(FILE_TEMPLATE, "result", None, "Result number n, from 1, of a completed task."),
)


@dataclass(frozen=True)
class Resources:
    """The record and its results, by address."""

    engine: Engine

    @property
    def mask(self) -> Mask:
        """The mask of every answer: secrets, and for users of other machines where things lie on this one."""
        return self.engine.links.mask if self.engine.links else self.engine.settings.mask

    def shown(self, report: Report) -> Report:
        """Return a report as its user gets it: of saved results the paths, or links where the disk is not theirs."""
        return self.engine.links.shown(report) if self.engine.links and report.files else report

    async def listed(self) -> list[Link]:
        """Return the lists and the newest saved results."""
        fixed = [
            Link(TASKS, "tasks", JSON, f"The newest {TASKS_READ} recorded tasks."),
            Link(PROVIDERS, "providers", JSON, "The installed providers and their tools."),
        ]
        records = await self.engine.record.tasks.newest(Filters(status="completed", limit=SEARCHED))
        saved = (link for record in records for link in _links(report_of(record)) if link.size is not None)
        return fixed + await anyio.to_thread.run_sync(list, islice(saved, FILES_LISTED))

    async def links(self, reports: Iterable[Report], most: int | None = None) -> tuple[Link, ...]:
        """Return the addresses of results that can be read now, of completed tasks on record; `most` at most."""
        done = [report for report in reports if report.status == "completed" and report.task_id]
        links = islice((link for report in done for link in _links(report)), most)
        is_saved = any(any(report.files) for report in done)  # perhaps on a drive that hangs
        return await anyio.to_thread.run_sync(tuple, links) if is_saved else tuple(links)

    async def read(self, uri: str) -> Content:
        """Return the content of an address; raise KieError where there is none, or it can't be fetched."""
        if uri == TASKS:
            records = await self.engine.record.tasks.newest(Filters(limit=TASKS_READ))
            reports = await as_found(self.engine, records, partial(report_of, data_bytes=DATA_LISTED))
            return _json({"tasks": [self.shown(report).structured() for report in reports]})
        if uri == PROVIDERS:
            return _json({"providers": self._providers()})
        record, number = await self.located(uri)
        assert record is not None  # noqa: S101  both lists were read above
        if not number:
            (report,) = await as_found(self.engine, [record])
            return _json(self.shown(report).structured())
        file, form = await self._opened(record, number)
        with file:
            data = await anyio.to_thread.run_sync(file.read, READ_BYTES + 1)
        _check_size(len(data), f"Result {number}")
        if form.kind == "text":
            return Content(form.mime_type, text=data.decode(errors="replace"))
        return Content(form.mime_type, blob=data)

    async def located(self, uri: str) -> tuple[TaskRecord | None, int]:
        """Return the task that an address leads to, None for a list, and the number of its result, 0 for the task.

        Raise InvalidArgument where nothing is there.
        """
        if uri in {TASKS, PROVIDERS}:
            return None, 0
        if uri.startswith(f"{TASKS}/"):
            return await self._record(uri, uri.removeprefix(f"{TASKS}/")), 0
        task_id, _, number = uri.removeprefix(f"{FILES}/").rpartition("/")
        if uri.startswith(f"{FILES}/") and task_id:
            record = await self._record(uri, task_id)
            if number not in map(str, range(1, results_of(record) + 1)):
                raise InvalidArgument("uri", uri, _numbers_of(record))
            return record, int(number)
        raise InvalidArgument("uri", uri, f"there are {TASKS}, {PROVIDERS}, {TASK_TEMPLATE} and {FILE_TEMPLATE}")

    async def show(self, task_id: str, one: int | None = None) -> tuple[Report, list[Picture], list[str]]:
        """Return a task, small pictures of its first results, or of one, and notes on what is shown and what is not."""
        record = await self.engine.record.tasks.find(task_id)
        if record is not None and record.final:
            record = await relocated(await self.engine.of_owner(record), record)
            (report,) = await as_found(self.engine, [record])
        else:
            report = await refresh(self.engine, task_id)
            record = await self.engine.record.tasks.find(task_id)
        if record is None:
            raise TaskNotFound(f"No task {task_id!r} is on record.", next_step="list_tasks shows the recorded ones.")
        results = results_of(record)
        if one is not None and one > results:
            raise InvalidArgument("number", one, _numbers_of(record))
        numbers = range(1, min(results, PREVIEWS) + 1) if one is None else (one,)
        pictures: list[Picture] = []
        notes: list[str] = []
        for number in numbers:
            try:
                file, form = await self._opened(record, number)
                if form.kind in {"audio", "text"}:
                    file.close()
                    notes.append(f"Result {number}: {_unseen(record, self.shown(report), number, form)}")
                    continue
                picture, note = await anyio.to_thread.run_sync(preview, file, form, PREVIEW_BYTES // len(numbers))
                pictures.append(picture)
            except ImportError:
                note = f"no preview, the server lacks a library for it. Install it: {install_command(PREVIEW)}"
            except KieError as exc:
                note = f"no preview. {exc}"
            except Exception as exc:  # noqa: BLE001  decoders raise anything, and the task is as good as before
                log.warning("result %d of task %s has no preview: %s: %s", number, task_id, type(exc).__name__, exc)
                note = "no preview, it could not be decoded."
            notes.append(f"Result {number}: {note}")
        if one is None and results > len(numbers):
            rest = f"Results {len(numbers) + 1} to {results} are not shown; their links are above."
            notes.append(f"{rest} Give a number to see one.")
        return report, pictures, notes

    def _providers(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "title": plugin.provider.title or name,
                "version": plugin.version,
                "state": plugin.state,
                "kinds": list(plugin.provider.kinds),
                "tools": [tool for tool in plugin.tools if self.engine.plugins.lists(tool)],
                **({"reason": plugin.reason} if plugin.reason else {}),
            }
            for name, plugin in self.engine.plugins.plugins.items()
        ]

    async def _record(self, uri: str, quoted: str) -> TaskRecord:
        record = await self.engine.record.tasks.find(unquote(quoted))
        if record is not None:
            return record
        newest = await self.engine.record.tasks.newest(Filters(limit=3))
        known = ", ".join(f"{TASKS}/{_quoted(entry.written_id)}" for entry in newest) or "none yet"
        raise InvalidArgument("uri", uri, f"no such task is on record; {TASKS} lists them, the newest: {known}")

    async def _opened(self, record: TaskRecord, number: int) -> tuple[BinaryIO, Format]:
        """Return a result as an open file, and its type: the saved file, else the bytes behind the link.

        Raise MediaError where it is gone, too large or no media, ReadFailed where its provider is not enabled.
        """
        if number > len(record.result_urls) and record.data is not None:
            content, form = text_of(record.data)
            return io.BytesIO(content), form
        path, url = _place(record, number)
        file: BinaryIO | None = None
        if path is not None:
            with suppress(OSError):
                file = await anyio.to_thread.run_sync(lambda: path.open("rb"))
        if file is None and url is not None:
            file = io.BytesIO(await self._fetched(record, url))
        if file is None:
            raise MediaError(f"{path} is gone, and there is no link to it.")
        head = file.read(HEAD_BYTES)
        media = format_of(head)
        if media is None:
            file.close()
            message = f"Result {number} is not a picture, clip or sound (it begins with {head!r})."
            raise MediaError(message, next_step="Open the link in a browser; it may have expired.")
        file.seek(0)
        return file, media

    async def _fetched(self, record: TaskRecord, url: str) -> bytes:
        data = bytearray()
        async with transfer.download(self.engine.caller(record.gateway), url) as chunks:
            async for chunk in chunks:
                data += chunk
                _check_size(len(data), shorten(url))
        return bytes(data)


def _json(value: Any) -> Content:
    return Content(JSON, text=json.dumps(bounded(value, JSON_BYTES), ensure_ascii=False, indent=1))


def _quoted(task_id: str) -> str:
    return quote(task_id, safe="", errors="replace")


def file_uri(task_id: str, number: int) -> str:
    """Return the address of a task's result."""
    return f"{FILES}/{_quoted(task_id)}/{number}"


def results_of(record: TaskRecord) -> int:
    """Return how many results a task has."""
    return max(len(record.results), len(record.files)) if record.status == "completed" else 0


def _numbers_of(record: TaskRecord) -> str:
    """Say which results a task has."""
    results = results_of(record)
    there = f"its results are numbers 1 to {results}" if results else "it has no results"
    return f"the task is {record.status}, {there}"


def _place(task: TaskRecord | Report, number: int) -> tuple[Path | None, str | None]:
    """Return the saved file and the link of a result, as far as the task has them."""
    index = number - 1
    path = Path(file) if (file := next(iter(task.files[index:]), None)) else None
    return path, task.result_urls[index] if index < len(task.result_urls) else None


def _check_size(size: int, what: str) -> None:
    if size > READ_BYTES:
        message = f"{what} is larger than {READ_BYTES // 1_000_000} MB, too large to hand over."
        raise MediaError(message, next_step="Open the link, or the saved file, instead.")


def _links(report: Report) -> Iterator[Link]:
    """Yield the addresses of a completed task's results that can be read: saved and small enough, or not expired."""
    live = report.expires_at is None or report.expires_at > datetime.now(UTC)
    results = len(report.result_urls) + (report.data is not None)
    for number in range(1, max(results, len(report.files)) + 1):
        uri = file_uri(report.task_id or "", number)
        path, url = _place(report, number)
        size = _size_of(path) if path else None
        if path and size is not None:
            if size <= READ_BYTES:
                yield Link(uri, path.name, format_of_url(path.name).mime_type, size=size)
        elif number == results and report.data is not None:
            form = text_of(report.data)[1]
            yield Link(uri, f"{report.task_id}-{number}.{form.extension}", form.mime_type)
        elif live and url is not None:
            form = format_of_url(url)
            yield Link(uri, f"{report.task_id}-{number}.{form.extension}".rstrip("."), form.mime_type)


def _unseen(record: TaskRecord, shown: Report, number: int, form: Format) -> str:
    """Say what a result is that has no picture, and where the user gets it."""
    if form.kind == "text":
        return "text, shown above." if isinstance(record.data, str) else "data, shown above."
    path, url = _place(record, number)
    place = shown.files[number - 1] if path and _size_of(path) else url
    return f"a sound ({form.extension}), which has no picture; the user can play it: {place}"


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None
