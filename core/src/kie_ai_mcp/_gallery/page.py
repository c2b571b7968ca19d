"""The gallery: the history as one HTML page that needs no network and can be opened as a file."""

import base64
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread

from kie_ai_mcp._gallery.entries import Entry, request_entry, task_entry
from kie_ai_mcp._media.files import Format, format_of_file, replacing
from kie_ai_mcp._media.thumbnails import thumbnails
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._settings.amounts import USD
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp.errors import MediaError

IDENTITY = attrgetter("gateway", "account", "task_id")
Address = Callable[[TaskRecord, int, Path], str]
Row = TaskRecord | SubmissionRecord  # a submission only where it has no task
LIMIT = 1000  # default number of entries on a page, which then opens quickly and has some megabytes at most
READ_AT_ONCE = 500
FILE_NAME = "gallery.html"
NOTHING = "Nothing here yet. Ask your assistant for a picture, then write this page again."
MARK = b'content="kie-ai-mcp-server gallery"'  # near the start of every gallery; a file without it is never replaced
SCRIPTS = ("elements.js", "cards.js", "filters.js", "viewer.js", "actions.js", "host.js", "page.js")


def as_uri(_record: TaskRecord, _number: int, path: Path) -> str:
    """Return the ``file:`` address of a saved file, which a browser follows only from a page that is a file itself."""
    return path.as_uri()


async def page(
    record: Record, *, limit: int = LIMIT, address: Address = as_uri, live: str = "", mask: Mask | None = None
) -> str:
    """Return the gallery of the newest `limit` tasks and settled requests, and of every unsettled request.

    `address` returns the address of a task's saved result from the page. `live` is where the page gets its entries
    anew, as `entries` returns them; without it, it stays as it is. A `mask` hides what it hides of them.
    """
    stage = await entries(record, limit=limit, address=address, mask=mask)
    return html({"mode": "page", **stage, "live": live, "nothing": NOTHING})


async def entries(
    record: Record, *, limit: int = LIMIT, address: Address = as_uri, mask: Mask | None = None
) -> dict[str, Any]:
    """Return what the page of these entries shows, as JSON."""
    records, requests, older = await _history(record, limit)
    now = datetime.now(UTC)

    def drawn() -> Any:
        shown = _entries(records, requests, address, now)
        return mask.json(shown) if mask else shown

    return {"entries": await anyio.to_thread.run_sync(drawn), "older": older, "written": now.isoformat()}


async def write(record: Record, path: Path, *, limit: int = LIMIT) -> Path:
    """Write the gallery to a file and return its absolute path. Files below its folder are linked relatively.

    Raise MediaError where the file can't be written, or one that is not a gallery is in its place.
    """
    path = _absolute(path)
    text = await page(record, limit=limit, address=partial(_from_folder, path.parent))
    await anyio.to_thread.run_sync(_write, path, text)
    return path


def html(stage: Mapping[str, Any]) -> str:
    """Return the page that shows `stage`; one for a host, which has rules of its own for it, has no policy."""
    stage = {**stage, "usd": USD, "version": version("kie-ai-mcp-core")}
    data = json.dumps(stage, ensure_ascii=False).encode("utf-8", "replace").decode().replace("<", "\\u003c")
    style, script = _resource("page.css"), "".join(map(_resource, SCRIPTS))
    policy = "" if stage["mode"] == "app" else _policy(style, script, bool(stage["live"]))
    return Template(_resource("page.html")).substitute(policy=policy, style=style, script=script, data=data)


async def _history(record: Record, limit: int) -> tuple[list[Row], dict[int, SubmissionRecord], bool]:
    """Return the newest records, the requests of their tasks by row, and whether there are older records."""
    unsettled = {request.id: request for request in await record.submissions.unsettled()}
    tasks = await record.tasks.newest(Filters(limit=limit + 1))
    rows = {IDENTITY(task): task for task in tasks}
    first = 1
    if len(tasks) > limit:
        first = min((task.submission_id for task in tasks if task.submission_id), default=1)

    by_task: dict[int, SubmissionRecord] = {}
    others: deque[SubmissionRecord] = deque(maxlen=limit)
    last = first - 1
    while requests := await record.submissions.history(last, READ_AT_ONCE):
        last = requests[-1].id
        for request in requests:
            if task := rows.get(IDENTITY(request)):
                if task.submission_id in {None, request.id}:
                    by_task[task.row_id] = request
            elif request.state != "accepted" and request.id not in unsettled:
                others.append(request)
    for row_id in {task.row_id for task in tasks} - by_task.keys() if first > 1 else ():
        if request_before := await record.submissions.of_task(row_id):  # the task was adopted long after its request
            by_task[row_id] = request_before

    age = attrgetter("created_at")
    settled: list[Row] = sorted([*tasks, *others], key=age, reverse=True)
    entries = sorted([*settled[:limit], *unsettled.values()], key=age, reverse=True)
    return entries, by_task, len(settled) > limit


def _entries(
    records: list[Row], requests: Mapping[int, SubmissionRecord], address: Address, now: datetime
) -> list[Entry]:
    paths = (Path(name) for record in records if isinstance(record, TaskRecord) for name in record.files)
    formats = {path: form for path in paths if path.is_absolute() and (form := format_of_file(path))}
    small = thumbnails(formats)

    def results(record: TaskRecord) -> list[dict[str, Any]]:
        found = enumerate(zip_longest(record.result_urls, record.files, record.labels, fillvalue=""), start=1)
        return [_result(number, *result, partial(address, record, number), formats, small) for number, result in found]

    return [
        task_entry(record, requests.get(record.row_id), results(record), now)
        if isinstance(record, TaskRecord)
        else request_entry(record)
        for record in records
    ]


def _result(
    number: int,
    url: str,
    file: str,
    label: str,
    address: Callable[[Path], str],
    formats: Mapping[Path, Format],
    small: Mapping[Path, str],
) -> dict[str, Any]:
    """Return one result: its link, and where its saved file is still there how the page shows that."""
    result: dict[str, Any] = {"number": number, "url": url, "label": label}
    if form := formats.get(path := Path(file)):
        result |= {"name": path.name, "kind": form.kind, "address": address(path), "thumbnail": small.get(path)}
    return {name: value for name, value in result.items() if value}


def _policy(style: str, script: str, is_live: bool) -> str:
    """Return the content security policy: own script and style, files, embedded pictures, and nothing else."""
    own = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}"
    own += "; connect-src 'self'" if is_live else ""
    rules = f"{own}; img-src 'self' file: data:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    return f'<meta http-equiv="Content-Security-Policy" content="{rules}">'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _resource(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  symbolic links stay as they are


def _from_folder(folder: Path, _record: TaskRecord, _number: int, path: Path) -> str:
    """Return the address of a file from a page in `folder`: relative below it, so that both can be moved together."""
    if path.is_relative_to(folder):
        return f"./{quote(path.relative_to(folder).as_posix())}"
    return path.as_uri()


def _write(path: Path, text: str) -> None:
    cure = "Choose another file with --output."
    try:
        if path.exists() and not _is_gallery(path):
            raise MediaError(f"{path} is there already and is not a gallery, so it was not replaced.", next_step=cure)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as exc:
        problem = f"The gallery can't be written to {path}: {exc.strerror or exc}."
        raise MediaError(problem, next_step=cure) from exc


def _is_gallery(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK in file.read(512)
