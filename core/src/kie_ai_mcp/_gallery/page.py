"""The gallery: the history as one HTML page that needs no network and can be opened as a file."""

import base64
import hashlib
import os
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from string import Template
from urllib.parse import quote

import anyio
import anyio.to_thread

from kie_ai_mcp._gallery.cards import Address, Card, Markup, TaskCards, amount, joined, request_card, tag, when
from kie_ai_mcp._media.files import format_of_file, replacing
from kie_ai_mcp._media.thumbnails import thumbnails
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp.errors import MediaError

IDENTITY = attrgetter("gateway", "account", "task_id")
Entry = TaskRecord | SubmissionRecord  # a submission only where it has no task
LIMIT = 1000  # default number of entries on a page, which then opens quickly and has some megabytes at most
READ_AT_ONCE = 500
FILE_NAME = "gallery.html"
NOTHING = "Nothing here yet. Ask your assistant for a picture, then write this page again."
MARK = b'content="kie-ai-mcp-server gallery"'  # near the start of every gallery; a file without it is never replaced


async def page(record: Record, *, limit: int = LIMIT, address: Address = Path.as_uri) -> str:
    """Return the gallery of the newest `limit` tasks and settled requests, and of every unsettled request.

    `address` returns the address of a saved file from the page. The default is a ``file:`` address, which a browser
    follows only from a page that is a file itself.
    """
    records, requests, older = await _history(record, limit)
    return await anyio.to_thread.run_sync(_page, records, requests, older, address)


async def write(record: Record, path: Path, *, limit: int = LIMIT) -> Path:
    """Write the gallery to a file and return its absolute path. Files below its folder are linked relatively.

    Raise MediaError where the file can't be written, or one that is not a gallery is in its place.
    """
    path = _absolute(path)
    text = await page(record, limit=limit, address=partial(_from_folder, path.parent))
    await anyio.to_thread.run_sync(_write, path, text)
    return path


async def _history(record: Record, limit: int) -> tuple[list[Entry], dict[int, SubmissionRecord], bool]:
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
    settled: list[Entry] = sorted([*tasks, *others], key=age, reverse=True)
    entries = sorted([*settled[:limit], *unsettled.values()], key=age, reverse=True)
    return entries, by_task, len(settled) > limit


def _page(records: list[Entry], requests: Mapping[int, SubmissionRecord], older: bool, address: Address) -> str:
    now = datetime.now(UTC)
    paths = (Path(name) for record in records if isinstance(record, TaskRecord) for name in record.files)
    formats = {path: form for path in paths if path.is_absolute() and (form := format_of_file(path))}
    of_tasks = TaskCards(address, now, formats, thumbnails(formats))
    cards = [
        of_tasks.card(record, requests.get(record.row_id)) if isinstance(record, TaskRecord) else request_card(record)
        for record in records
    ]
    statuses = Counter(state for card in cards for state in card.states)
    style, script = _resource("page.css"), _resource("page.js")
    return Template(_resource("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        script=script,
        summary=_summary(cards),
        written=joined("as of ", when(now), "; older entries are left out" if older else None),
        notice=_notice(statuses["unknown"]),
        kinds=_options(Counter(card.kind for card in cards)),
        providers=_options(Counter(card.provider for card in cards)),
        statuses=_options(statuses),
        cards=joined(*(card.html for card in cards)),
        empty=Markup() if cards else tag("p", NOTHING, class_="empty"),
    )


def _summary(cards: list[Card]) -> Markup:
    """Return the number of entries and their cost, in the words that the page's script uses, too."""
    estimated = sum(card.estimate or 0.0 for card in cards)
    more = f" and about {amount(estimated)} more by estimate" if estimated else ""
    credits = amount(sum(card.credits or 0.0 for card in cards))
    return joined(f"{len(cards):,} {'entry' if len(cards) == 1 else 'entries'} · {credits} credits{more}")


def _notice(unknown: int) -> Markup:
    if not unknown:
        return Markup()
    lost = "1 request lost its answer: it" if unknown == 1 else f"{unknown:,} requests lost their answers: they"
    return tag("p", f"{lost} may have been charged. ", tag("a", "Show", href="#status=unknown"), class_="notice")


def _options(counts: Counter[str]) -> Markup:
    return joined(*(tag("option", f"{value} ({count:,})", value=value) for value, count in sorted(counts.items())))


def _policy(style: str, script: str) -> str:
    """Return the content security policy: own script and style, files, embedded pictures, and nothing else."""
    own = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}"
    return f"{own}; img-src 'self' file: data:; media-src 'self' file:; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return files("kie_ai_mcp._gallery").joinpath(name).read_text(encoding="utf-8")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  symbolic links stay as they are


def _from_folder(folder: Path, path: Path) -> str:
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
