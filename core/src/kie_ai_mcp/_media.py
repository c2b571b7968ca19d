"""Saving results: through a .part file, named by the bytes, with a sidecar that says where they came from."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from kie_ai_mcp._gateway import Gateway
from kie_ai_mcp._tables import TaskRecord
from kie_ai_mcp.errors import MediaError, shorten

HEAD_BYTES = 16

# What a file begins with: (offset, bytes, extension). A result of any other sort is not saved.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wav"),
    (0, b"GIF8", "gif"),
    (4, b"ftypqt", "mov"),
    (4, b"ftypavif", "avif"),
    (4, b"ftypM4A", "m4a"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (0, b"\xff\xf3", "mp3"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
)


async def save_results(
    gateway: Gateway, record: TaskRecord, folder: Path, arguments: Mapping[str, Any], label: str = ""
) -> tuple[str, ...]:
    """Save every result of a task and return the files' paths, in the results' order.

    A file that is there already is left alone: its name holds the task's id and its place among the results, and
    it only ever appeared complete.

    Raises:
        MediaError: A result can't be fetched or written. Those saved before it stay.
    """
    files = []
    for number, url in enumerate(record.result_urls, start=1):
        stem = _stem(record, number, label)
        try:
            await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
            existing = await anyio.to_thread.run_sync(_existing, folder, stem)
            path = existing or await _save(gateway, url, folder, stem)
            if existing is None:
                await anyio.to_thread.run_sync(_write_sidecar, path, _origin(record, arguments, url))
        except OSError as exc:
            raise MediaError(
                f"{shorten(url)} could not be saved in {folder}: {exc.strerror or exc}.",
                next_step="Check KIE_AI_OUTPUT_DIR, its permissions and the free space.",
            ) from exc
        files.append(str(path))
    return tuple(files)


async def _save(gateway: Gateway, url: str, folder: Path, stem: str) -> Path:
    part = folder / f"{stem}.{os.getpid()}.part"
    try:
        async with gateway.download(url) as chunks, await anyio.open_file(part, "wb") as file:
            head = b""
            async for chunk in chunks:
                head = (head + chunk)[:HEAD_BYTES] if len(head) < HEAD_BYTES else head
                await file.write(chunk)
            extension = _extension(head)
            if extension is None:
                raise MediaError(
                    f"{shorten(url)} is not a picture, clip or sound (it begins with {head!r}), so it was not saved.",
                    next_step="Open the link in a browser; it may have expired.",
                )
            await file.flush()
            await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno())
        final = folder / f"{stem}.{extension}"
        await anyio.Path(part).rename(final)
        return final
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _existing(folder: Path, stem: str) -> Path | None:
    for extension in dict.fromkeys(entry[2] for entry in _SIGNATURES):
        path = folder / f"{stem}.{extension}"
        if path.is_file():
            return path
    return None


def _stem(record: TaskRecord, number: int, label: str) -> str:
    # Ids come from outside: nothing but letters, digits, dash and underscore reaches the file system.
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", record.task.task_id)[:80]
    provider = re.sub(r"[^A-Za-z0-9_-]", "_", record.task.provider or "kie")
    parts = [record.created_at.strftime("%Y-%m-%d"), provider, safe, label, str(number)]
    return "-".join(part for part in parts if part)


def _extension(head: bytes) -> str | None:
    return next((name for at, magic, name in _SIGNATURES if head[at : at + len(magic)] == magic), None)


def _origin(record: TaskRecord, arguments: Mapping[str, Any], url: str) -> dict[str, Any]:
    return {
        "task_id": record.task.task_id,
        "provider": record.task.provider,
        "tool": record.task.tool,
        "api_type": record.task.api_type,
        "model": record.task.model,
        "arguments": dict(arguments),
        "credits": record.credits,
        "source_url": url,
        "created_at": record.created_at.isoformat(),
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_sidecar(path: Path, origin: Mapping[str, Any]) -> None:
    sidecar = path.with_name(f"{path.name}.json")
    part = sidecar.with_name(f"{sidecar.name}.{os.getpid()}.part")
    part.write_text(json.dumps(origin, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    part.rename(sidecar)
