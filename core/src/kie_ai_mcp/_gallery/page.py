"""The gallery: the history as one HTML page that needs no network and works from a file."""

import base64
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

import anyio
import anyio.to_thread

from kie_ai_mcp._gallery.cards import Cards, Entry, Markup, joined, spent, tag, thumbnails, when
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.rows import SubmissionRecord, TaskRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp.errors import MediaError

LIMIT = 1000
"""How many entries a page holds if nothing else is said: they open quickly and weigh some megabytes at most."""

READ_AT_ONCE = 500
FILE_NAME = "gallery.html"
MARK = b'content="kie-ai-mcp-server gallery"'
"""What a page of ours has near its start; a file without it is never replaced."""

CHARGED = {"refused": "not charged", "cancelled": "never sent", "unknown": "may have been charged", "sending": ""}


async def page(record: Record, *, limit: int = LIMIT, address: Callable[[Path], str] = Path.as_uri) -> str:
    """Return the gallery over the newest `limit` entries of the history, and every request that is unsettled.

    Args:
        record: The record.
        limit: How many tasks and requests at most.
        address: How the page addresses a saved file; as a ``file:`` address if left out, which only a page that
            is a file itself may follow.
    """
    entries, unsettled, more = await _history(record, limit)
    return await anyio.to_thread.run_sync(_page, entries, unsettled, more, address)


async def write(record: Record, path: Path, *, limit: int = LIMIT) -> Path:
    """Write the gallery to a file and return its absolute path. Files below its folder are linked relatively.

    Raises:
        MediaError: It can't be written, or something that is not a gallery is in its place.
    """
    path = _absolute(path)
    text = await page(record, limit=limit, address=partial(_from_folder, path.parent))
    await anyio.to_thread.run_sync(_write, path, text)
    return path


# The history ---------------------------------------------------------------------------------------------------------


async def _history(record: Record, limit: int) -> tuple[list[Entry], int, bool]:
    """Return entries newest first, how many of them are of unknown fate, and whether there are older ones."""
    unsettled = {request.id: request for request in await record.submissions.unsettled()}
    tasks = await record.tasks.list(Filters(limit=limit + 1))
    shown = {record.task.task_id for record in tasks}
    first = min((record.submission_id for record in tasks if record.submission_id), default=1)
    first = first if len(tasks) > limit else 1

    made: dict[str, SubmissionRecord] = {}
    others: deque[SubmissionRecord] = deque(maxlen=limit)
    last = first - 1
    while requests := await record.submissions.history(last, READ_AT_ONCE):
        last = requests[-1].id
        for request in requests:
            if request.task_id in shown:
                made[request.task_id] = request
            elif request.state != "accepted" and request.id not in unsettled:
                others.append(request)
    for task_id in shown - made.keys() if first > 1 else ():  # adopted later than it was asked for
        if late := await record.submissions.of_task(task_id):
            made[task_id] = late

    entries = [_of_task(record, made.get(record.task.task_id)) for record in tasks]
    entries += [_of_request(request) for request in others]
    newest = sorted(entries, key=lambda entry: entry.created_at, reverse=True)[:limit]
    always = [_of_request(request) for request in unsettled.values()]
    unknown = sum(request.state == "unknown" for request in unsettled.values())
    merged = sorted([*newest, *always], key=lambda entry: entry.created_at, reverse=True)
    return merged, unknown, len(entries) > limit


def _of_task(record: TaskRecord, request: SubmissionRecord | None) -> Entry:
    estimate = request.estimated_credits if request else None
    return Entry(
        status=record.status,
        created_at=record.created_at,
        provider=record.task.provider or record.task.api_type,
        tool=record.task.tool,
        name=record.task.task_id,
        kind=record.task.kind,
        model=record.task.model,
        arguments=request.arguments if request else None,
        urls=record.result_urls,
        files=tuple(map(Path, record.files)),
        error=f"{record.error} (code {record.error_code})" if record.error and record.error_code else record.error,
        progress=record.progress,
        credits=record.credits,
        estimate=estimate if record.credits is None and record.status != "failed" else None,
        charged="cost unknown" if record.final else "",
        finished_at=record.finished_at,
        expires_at=record.expires_at,
    )


def _of_request(request: SubmissionRecord) -> Entry:
    return Entry(
        status=request.state,
        created_at=request.created_at,
        provider=request.provider or request.api_type,
        tool=request.tool,
        name=f"submission {request.id}",
        kind=request.kind,
        model=request.model,
        arguments=request.arguments,
        error=f"{request.message} (code {request.code})" if request.message and request.code else request.message,
        charged=CHARGED.get(request.state, "cost unknown"),
    )


# The page ------------------------------------------------------------------------------------------------------------


def _page(entries: list[Entry], unknown: int, more: bool, address: Callable[[Path], str]) -> str:
    now = datetime.now(UTC)
    cards = Cards(address, now, thumbnails(entries))
    made = [cards.card(entry) for entry in entries]
    style, script = _resource("page.css"), _resource("page.js")
    return Template(_resource("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        script=script,
        summary=_summary(entries),
        written=joined("as of ", when(now), "; older entries are left out" if more else None),
        notice=_notice(unknown),
        kinds=_options(entry.kind for entry in entries if entry.kind),
        providers=_options(entry.provider for entry in entries),
        statuses=_options(state for states, _ in made for state in states),
        cards=joined(*(card for _, card in made)),
        empty=Markup() if entries else _empty(),
    )


def _summary(entries: list[Entry]) -> Markup:
    return joined(f"{len(entries):,} {'entry' if len(entries) == 1 else 'entries'} · {spent(entries)}")


def _notice(unknown: int) -> Markup:
    if not unknown:
        return Markup()
    lost = "1 request lost its answer: it" if unknown == 1 else f"{unknown:,} requests lost their answers: they"
    return tag(
        "p",
        f"{lost} may have been charged. ",
        tag("a", "Show", href="#status=unknown"),
        class_="notice",
    )


def _empty() -> Markup:
    return tag("p", "Nothing here yet. Ask your assistant for a picture, then write this page again.", class_="empty")


def _options(values: Iterable[str]) -> Markup:
    counted = sorted(Counter(values).items())
    return joined(*(tag("option", f"{value} ({count:,})", value=value) for value, count in counted))


def _policy(style: str, script: str) -> str:
    """Return what the page may do: run its own script, look its own way, show files, and nothing else."""
    rules = (
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
        "img-src 'self' file: data:",
        "media-src 'self' file:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return files("kie_ai_mcp._gallery").joinpath(name).read_text(encoding="utf-8")


# The file ------------------------------------------------------------------------------------------------------------


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  symbolic links stay as they are


def _from_folder(folder: Path, path: Path) -> str:
    """Address a file from a page in `folder`: relatively below it, so that both may move together."""
    if path.is_relative_to(folder):
        return f"./{quote(path.relative_to(folder).as_posix())}"
    return path.as_uri()


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and MARK not in _head(path):
            raise MediaError(
                f"{path} is there already and is not a gallery, so it was not replaced.",
                next_step="Choose another file with --output.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as exc:
        raise MediaError(
            f"The gallery can't be written to {path}: {exc.strerror or exc}.",
            next_step="Choose another file with --output.",
        ) from exc
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
