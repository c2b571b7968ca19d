"""Saved results by their links: the link is the permission, so no token is asked for."""

import hmac
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._media.files import Format, format_of_file
from kie_ai_mcp._media.saving import place_now
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._settings.folders import folder_name
from kie_ai_mcp._web.access import refusal
from kie_ai_mcp.errors import InvalidArgument, StorageError

FILE = "/{mac}/{task_id:path}/{number:int}/{name}"  # as `Links.path` writes it
SHOWN = {"image", "video", "audio"}  # what a browser shows and never runs; no picture here is an SVG
ALONE = {"Content-Security-Policy": "sandbox; default-src 'none'"}
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True)
class Files:
    """The saved results of a record, of every user of it."""

    record: Record
    links: Links
    folder: Path | None  # of all results; those of a user lie in a folder of their own inside

    async def send(self, request: Request) -> Response:
        """Answer with the file, or a part of it; whatever is wrong with a link, the answer is the same."""
        task_id, number = request.path_params["task_id"], request.path_params["number"]
        try:
            task = await self.record.tasks.find(task_id)
        except StorageError as exc:
            message = self.links.mask.text(str(exc))
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": "5"})
        except InvalidArgument:  # several services have such a task
            task = None
        proofs = self.links.proofs(task.user if task else "", task_id, number)
        shown = request.path_params["mac"].encode()
        if task is None or not any(hmac.compare_digest(proof.encode(), shown) for proof in proofs):
            return _missing()
        folder = self.folder and (self.folder / folder_name(task.user) if task.user else self.folder)
        path, form = await anyio.to_thread.run_sync(_saved, task, number, folder)
        if path is None:
            return _missing()
        mime_type = form.mime_type if form else "application/octet-stream"
        is_shown = form is not None and form.kind in SHOWN
        place = "inline" if form else "attachment"
        headers = HEADERS if is_shown else HEADERS | ALONE
        return FileResponse(path, 200, headers, mime_type, filename=path.name, content_disposition_type=place)


def _saved(task: TaskRecord, number: int, folder: Path | None) -> tuple[Path | None, Format | None]:
    """Return the file of a task's result, None where there is none, and its type by its bytes."""
    name = next(iter(task.files[number - 1 : number]), "") if number else ""
    path = place_now(name, folder) if name else None
    return (path, format_of_file(path)) if path else (None, None)


def _missing() -> Response:
    return refusal(HTTPStatus.NOT_FOUND, "There is no such file; ask for the task once more, or reload the gallery.")
