"""Saved results: each result as a file named after its task, with a JSON sidecar that says where it came from."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from kie_ai_mcp._media.files import EXTENSIONS, HEAD_BYTES, format_of, remove_leftovers, replacing
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp.errors import MediaError, shorten


async def save_results(
    caller: Caller, record: TaskRecord, folder: Path, arguments: Mapping[str, Any], label: str = ""
) -> tuple[str, ...]:
    """Save every result of a task and return the files' paths, in the results' order.

    A file of an earlier save is left alone. If a result can't be fetched or written, those saved before it stay.
    """
    files = []
    for number, url in enumerate(record.result_urls, start=1):
        stem = _stem(record, number, label)
        try:
            existing = await anyio.to_thread.run_sync(_existing, folder, stem)
            path = existing or await _save(caller, url, folder, stem)
            await anyio.to_thread.run_sync(_add_sidecar, path, record, arguments, url)
        except OSError as exc:
            problem = f"{shorten(url)} could not be saved in {folder}: {exc.strerror or exc}."
            cure = "Check KIE_AI_OUTPUT_DIR, its permissions and the free space."
            raise MediaError(problem, next_step=cure) from exc
        files.append(str(path))
    return tuple(files)


async def _save(caller: Caller, url: str, folder: Path, stem: str) -> Path:
    async with transfer.download(caller, url) as chunks:
        head = b""
        async for chunk in chunks:
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
        form = format_of(head)
        if form is None:
            begin = f"it begins with {head[:HEAD_BYTES]!r}"
            problem = f"{shorten(url)} is not a picture, clip or sound ({begin}), so it was not saved."
            raise MediaError(problem, next_step="Open the link in a browser; it may have expired.")
        path = folder / f"{stem}.{form.extension}"
        with replacing(path) as part:
            # Worker threads write and sync the bytes, so that a slow disk does not stop other calls.
            file = anyio.wrap_file(part)
            await file.write(head)
            async for chunk in chunks:
                await file.write(chunk)
            await file.flush()
            await anyio.to_thread.run_sync(os.fsync, part.fileno())
    return path


def _existing(folder: Path, stem: str) -> Path | None:
    """Return the file of an earlier save; else None, with the folder ready for a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, stem)
    return next(filter(Path.is_file, (folder / f"{stem}.{extension}" for extension in EXTENSIONS)), None)


def _stem(record: TaskRecord, number: int, label: str) -> str:
    # Ids come from the service: nothing but letters, digits, dash and underscore reaches the file system.
    task_id = record.task_id
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", task_id)[:80]
    if safe != task_id:  # two ids that look alike now must not share a name
        safe += f"-{hashlib.sha256(task_id.encode(errors='replace')).hexdigest()[:8]}"
    provider = re.sub(r"[^A-Za-z0-9_-]", "_", record.provider or "kie")
    parts = [record.created_at.strftime("%Y-%m-%d"), provider, safe, label, str(number)]
    return "-".join(part for part in parts if part)


def _add_sidecar(path: Path, record: TaskRecord, arguments: Mapping[str, Any], url: str) -> None:
    sidecar = path.with_name(f"{path.name}.json")
    if sidecar.exists():
        return
    origin = {
        **{name: getattr(record, name) for name in ("task_id", "provider", "tool", "api_type", "model")},
        "arguments": dict(arguments),
        "credits": record.credits,
        "source_url": url,
        "created_at": record.created_at.isoformat(),
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with replacing(sidecar) as file:
        file.write(f"{json.dumps(origin, ensure_ascii=False, indent=2)}\n".encode())
