"""Saved results: each result as a file named after its task, with a JSON sidecar that says where it came from."""

import filecmp
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from kie_ai_mcp._media.files import (
    EXTENSIONS,
    HEAD_BYTES,
    format_of,
    is_cut,
    is_there,
    path_in,
    remove_leftovers,
    replacing,
    text_of,
)
from kie_ai_mcp._media.thumbnails import as_asked
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp._settings.folders import cure_of_access, is_below
from kie_ai_mcp._settings.settings import NOT_STORED, Settings, at_home
from kie_ai_mcp._settings.sources import to_allow
from kie_ai_mcp.errors import InvalidArgument, MediaError, shorten
from kie_ai_mcp.specs import FORMAT, KIE

NAME_CHARS = 100  # at most so much of provider, service and id stands in the name of a file
SLUG_BYTES = 40
AGAIN = "Call save_result to fetch it again, or open the link."


@dataclass(frozen=True)
class Saved:
    """The files of a task's results in order, "" for one that is not saved; `gone` where no attempt can succeed."""

    files: tuple[str, ...]
    notes: tuple[str, ...]
    gone: bool


async def save_results(
    caller: Caller, record: TaskRecord, folder: Path, arguments: Mapping[str, Any], label: str = ""
) -> Saved:
    """Save each result of a task by itself: one that can't be fetched or written stops no other.

    Files on record are left alone, and so is the file of a save that was not recorded.
    """
    files = [*record.files, *[""] * len(record.results)][: len(record.results)]
    problems: dict[int, MediaError] = {}
    wanted, kept = arguments.get(FORMAT), list[str]()
    slug = _slug(arguments.get("prompt")) if caller.settings.store_prompts else ""
    for number, url in enumerate(record.results, start=1):
        if files[number - 1]:
            continue
        mark = _slug(label or next(iter(record.labels[number - 1 :]), ""))
        stem = _stem(record, number, mark, slug)
        what = shorten(url) if url else "The data"
        try:
            stem, existing = await anyio.to_thread.run_sync(_place, folder, stem, record.written_id, url)
            path = existing or (await _save(caller, url, folder, stem) if url else await _write(record, folder, stem))
            if wanted is not None:
                path = await anyio.to_thread.run_sync(as_asked, path, wanted, kept)
            files[number - 1], what = str(path), f"The sidecar of {path.name}"
            await anyio.to_thread.run_sync(_add_sidecar, path, record, arguments, url)
        except MediaError as exc:
            problems[number] = exc
        except OSError as exc:
            problem = f"{what} could not be saved in {folder}: {exc.strerror or exc}."
            cure = cure_of_access(folder, "Check KIE_AI_OUTPUT_DIR, its permissions and the free space.")
            problems[number] = MediaError(problem, next_step=cure, can_retry=True)
    gone = bool(problems) and not any(exc.can_retry for exc in problems.values())
    # Advice to read the link anew would be wrong once it has ended.
    words = {number: exc.message if gone and record.expired else exc for number, exc in problems.items()}
    notes = (*(f"Result {number} of {len(files)}: {words[number]}" for number in words), *kept)
    return Saved(tuple(files), notes, gone)


def place_now(file: str, folder: Path | None) -> Path | None:
    """Return where a saved file is now: where it was saved, or in `folder` under the same end of its path, else None.

    So results are found after the output folder was moved, or restored elsewhere.
    """
    path = Path(file)
    if path.is_absolute() and is_there(path):
        return path
    ends = range(len(path.parts) - 1, 0, -1) if folder is not None else ()
    places = (Path(folder or "").joinpath(*path.parts[-number:]) for number in ends)
    return next((place for place in places if is_there(place)), None)


def allowed_folder(settings: Settings, folder: str, *, by_path: bool = True) -> Path:
    """Return a folder that the user allows results to be saved in, links resolved; else raise InvalidArgument.

    Where users know no paths of this machine, not `by_path`, it must lie in the output folder.
    """
    roots = [*filter(None, [settings.output_dir]), *(settings.upload_roots if by_path else ())]
    try:
        path = at_home(path_in(folder))
        if settings.output_dir is not None:
            path = settings.output_dir / path
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        raise InvalidArgument("folder", folder, "it is no folder's path") from None
    if path.is_absolute() and any(real.is_relative_to(root.resolve()) or is_below(real, root) for root in roots):
        return real
    if not by_path:
        where = "name one inside of your results, such as drafts/foxes" if roots else "the server saves no files"
        raise InvalidArgument("folder", folder, where)
    allowed = f"give one below {' or '.join(map(str, roots))}" if roots else "no folder is allowed yet"
    raise InvalidArgument("folder", folder, allowed, next_step=to_allow(path))


def copied(files: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Copy saved results and their sidecars into a folder; return the files there, "" for one that is not saved."""
    for file in map(Path, filter(None, files)):
        for source in (file, _sidecar_of(file)):
            target = folder / source.name
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if source.is_file() and not (target.exists() and filecmp.cmp(source, target, shallow=False)):
                    mode = source.stat().st_mode & 0o777
                    with source.open("rb") as original, replacing(target, mode=mode, exclusive=True) as copy:
                        shutil.copyfileobj(original, copy)
            except OSError as exc:
                problem = f"{source} could not be copied to {target}: {exc.strerror or exc}."
                raise MediaError(problem, next_step=cure_of_access(folder, "Choose another folder.")) from exc
    return tuple(str(folder / Path(file).name) if file else "" for file in files)


async def _save(caller: Caller, url: str, folder: Path, stem: str) -> Path:
    async with transfer.download(caller, url) as chunks:
        head = b""
        async for chunk in chunks:
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
        form = format_of(head)
        if form is None:
            begin = f"it begins with {head[:16]!r}"
            problem = f"{shorten(url)} is not a picture, clip or sound ({begin}), so it was not saved."
            raise MediaError(problem, next_step="Open the link in a browser; it may have expired.")
        path = folder / f"{stem}.{form.extension}"
        try:
            with replacing(path, exclusive=True) as part:
                # Worker threads write and sync the bytes, so that a slow disk does not stop other calls.
                file = anyio.wrap_file(part)
                await file.write(head)
                async for chunk in chunks:
                    await file.write(chunk)
                await file.flush()
                await anyio.to_thread.run_sync(os.fsync, part.fileno())
                if await anyio.to_thread.run_sync(is_cut, part, form):
                    cut = path.with_stem(f"{stem}-cut")
                    with replacing(cut) as kept:
                        part.seek(0)
                        await anyio.to_thread.run_sync(shutil.copyfileobj, part, kept)
                    problem = f"{shorten(url)} ends before its end; what came is kept as {cut}."
                    raise MediaError(problem, next_step=AGAIN, can_retry=True)
        except FileExistsError:
            if existing := _existing(folder, stem):  # another call has saved it meanwhile
                return existing
            problem = f"{path} is a link or a folder, so {shorten(url)} was not saved there."
            raise MediaError(problem, next_step=f"Move it away. {AGAIN}", can_retry=True) from None
    return path


async def _write(record: TaskRecord, folder: Path, stem: str) -> Path:
    """Write the result that is data, in a worker thread."""
    content, form = text_of(record.data)
    path = folder / f"{stem}.{form.extension}"

    def write() -> None:
        try:
            with replacing(path, fsync=True, exclusive=True) as file:
                file.write(content)
        except FileExistsError:
            if _existing(folder, stem) is None:  # no other call has saved it meanwhile
                raise

    await anyio.to_thread.run_sync(write)
    return path


def _place(folder: Path, stem: str, task_id: str, url: str) -> tuple[str, Path | None]:
    """Return the stem of a result's name and the file of an earlier save, if there is one.

    The stem is longer where the file of that name is another result's: tasks of two accounts may have the same id.
    """
    existing = _existing(folder, stem)
    origin = (task_id, url.partition("?")[0])  # a link read anew may have another signature
    if existing and _origin_of(existing) not in {None, origin}:
        stem += f"-{hashlib.sha256(''.join(origin).encode(errors='replace')).hexdigest()[:8]}"
        existing = _existing(folder, stem)
    return stem, existing


def _sidecar_of(path: Path) -> Path:
    """Return where the sidecar of a saved file is: `fox-1.png.json` of `fox-1.png`, `song-2.about.json` of JSON.

    One that an earlier version wrote beside JSON, `song-2.json.json`, keeps its name.
    """
    usual = path.with_name(f"{path.name}.json")
    return usual if path.suffix != ".json" or usual.exists() else path.with_suffix(".about.json")


def _origin_of(path: Path) -> tuple[str, str] | None:
    """Return the task and the link that a file's sidecar names; None where it names none."""
    try:
        origin = json.loads(_sidecar_of(path).read_bytes())
        return str(origin["task_id"]), str(origin["source_url"]).partition("?")[0]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _existing(folder: Path, stem: str) -> Path | None:
    """Return the file of an earlier save; else None, with the folder ready for a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    names = (folder / f"{stem}.{extension}" for extension in EXTENSIONS)
    # A link could lead to any file of the user's, which would then be shown as the result.
    return next((path for path in names if not path.is_symlink() and path.is_file() and path.stat().st_size), None)


def _slug(prompt: object) -> str:
    """Return the first words of a prompt or label, in letters and digits alone, for the name of a file."""
    if not isinstance(prompt, str) or prompt == NOT_STORED:
        return ""
    text = unicodedata.normalize("NFC", prompt[: 8 * SLUG_BYTES].lower())
    words = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in text).split()
    slug = "-".join(words)
    brief = slug.encode()[:SLUG_BYTES].decode(errors="ignore")
    return slug if brief == slug else brief.rpartition("-")[0] or brief


def _stem(record: TaskRecord, number: int, label: str, slug: str) -> str:
    # Names come from the service: nothing but letters, digits, dash and underscore reaches the file system.
    name = record.provider or KIE
    for part in filter(None, (record.prefix.rstrip(":"), record.task_id)):
        begins = f"{part}-".startswith(f"{name}-")  # as the task `lantern-7` does, of the provider `lantern`
        name = part if begins else f"{name}-{part}"
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:NAME_CHARS]
    if safe != name:  # two names that look alike now must not be the same
        safe += f"-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
    parts = [record.created_at.strftime("%Y-%m-%d"), slug, safe, label, str(number)]
    return "-".join(part for part in parts if part)


def _add_sidecar(path: Path, record: TaskRecord, arguments: Mapping[str, Any], url: str) -> None:
    sidecar = _sidecar_of(path)
    if sidecar.exists():
        return
    origin = {
        "task_id": record.written_id,
        **{name: getattr(record, name) for name in ("provider", "tool", "api_type", "model")},
        "arguments": dict(arguments),
        "credits": record.credits,
        "unit": record.unit,
        "source_url": url,
        "created_at": record.created_at.isoformat(),
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with replacing(sidecar, mode=0o600) as file:
        file.write(f"{json.dumps(origin, ensure_ascii=False, indent=2)}\n".encode())
