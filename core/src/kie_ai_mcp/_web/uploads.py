"""The address for uploads: a file's bytes in, the address at which the service can open them out."""

import logging
import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from kie_ai_mcp._app.app import App, words_of
from kie_ai_mcp._media.files import DOCUMENTS
from kie_ai_mcp._media.uploading import LocalFile
from kie_ai_mcp._web.access import refusal
from kie_ai_mcp.errors import InvalidArgument, KieError
from kie_ai_mcp.specs import Media

log = logging.getLogger(__name__)
AT_ONCE = 8  # uploads; each takes room on the disk and a connection to the service
WITH_DOCUMENTS = Media(("image", "video", "audio", "file"))


@dataclass
class UploadAddress:
    """Takes files of users that are on other machines; each is checked and sent like a local file.

    A body is written to the disk as it comes, and is gone from there when the answer is sent.
    """

    app: App
    room: anyio.Semaphore  # of all users together

    async def take(self, request: Request) -> Response:
        """Answer with the file's address at the service; what the request says of its type counts for nothing."""
        if int(request.headers.get("content-length") or 0) > self._most:
            return self._too_large()
        try:
            self.room.acquire_nowait()
        except anyio.WouldBlock:
            message = f"{AT_ONCE} uploads are under way; nothing was read. Send it again in some seconds."
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": "5"})
        try:
            answer = await self._taken(request)
        finally:
            self.room.release()
        fields = {"who": self.app.engine.record.user or "-", "upload": answer.status_code}
        log.info("who=%(who)s upload=%(upload)s", fields, extra={"fields": fields})
        return answer

    async def _taken(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        ending = name.rpartition(".")[2].lower()
        document = f".{ending}" if ending in DOCUMENTS else ""
        try:
            self.app.engine.check_open()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"file{document}")
                if not await self._is_written(request, path):
                    return self._too_large()
                uploads, media = self.app.engine.uploads, WITH_DOCUMENTS if document else None
                return _sent(await uploads.send(await uploads.file("file", name or "the body", media, path)))
        except ClientDisconnect:
            return refusal(HTTPStatus.BAD_REQUEST, "The rest of the file never came.")
        except InvalidArgument as exc:
            step = "Send its bytes as the whole body, and a document with ?name= and its file name."
            return self._refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{exc} {step}")
        except KieError as exc:
            status = HTTPStatus.SERVICE_UNAVAILABLE if exc.can_retry else HTTPStatus.BAD_GATEWAY
            return refusal(status, words_of(self.app, exc))
        except OSError as exc:
            problem = f"The server's disk did not take the file: {exc.strerror}. Tell whoever runs the server."
            return refusal(HTTPStatus.INSUFFICIENT_STORAGE, problem)

    async def _is_written(self, request: Request, path: Path) -> bool:
        """Write the body to a file; return False as soon as it is too large."""
        size = 0
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > self._most:
                    return False
                await file.write(chunk)
        return True

    @property
    def _most(self) -> int:
        return self.app.settings.max_upload_mb * 1_000_000

    def _too_large(self) -> Response:
        most_mb = self.app.settings.max_upload_mb
        message = f"The file is larger than {most_mb} MB (KIE_AI_MAX_UPLOAD_MB); send a smaller one."
        return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)

    def _refused(self, status: HTTPStatus, message: str) -> Response:
        return refusal(status, self.app.clean(message))


def _sent(file: LocalFile) -> Response:
    expires_at = file.expires_at.isoformat(timespec="seconds")
    return JSONResponse({"url": file.url, "expires_at": expires_at, "type": file.format.mime_type, "size": file.size})
