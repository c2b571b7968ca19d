"""Files: the results of tasks, and the three ways to upload."""

import base64
import binascii
import mimetypes
import re
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from kie_ai_mcp_sandbox.faults import Reply, envelope
from kie_ai_mcp_sandbox.incoming import origin_of
from kie_ai_mcp_sandbox.pictures import clip, picture
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.sounds import mp3, wav
from kie_ai_mcp_sandbox.tasks import Task

RESULT = re.compile(
    r"(?P<task>[^/-]+)-(?P<name>(?P<number>\d+)(?:-[\w-]+)?\.(?P<extension>png|jpg|webp|mp4|mov|mp3|wav))"
)
MAX_BYTES = 100 * 2**20
LINK_S = 20 * 60
TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
}


class Unusable(Exception):
    """An upload that is refused; the message says why."""


class InMemory(MultiPartParser):
    """Starlette's form parser, which never writes to disk and so never needs a thread."""

    spool_max_size = MAX_BYTES


def read(service: Service, name: str) -> tuple[bytes, str] | None:
    """The content and type of ``/files/NAME``; None when there is no such file (yet)."""
    if name in service.uploads:
        return service.uploads[name]
    found = RESULT.fullmatch(name)
    task = service.tasks.get(found["task"]) if found else None
    if found is None or task is None or task.state(service.now()) != "success":
        return None
    extension = found["extension"]
    match extension:
        case "mp4" | "mov":
            content = clip(name, extension)
        case "mp3":
            content = mp3(task.argument("title", "prompt", "text", default=task.model), name)
        case "wav":
            content = wav(name)
        case _:
            content = _picture(task, int(found["number"]), extension, "layer" in name)
    return content, TYPES[extension]


def _picture(task: Task, number: int, extension: str, is_layer: bool) -> bytes:
    caption = f"{task.model} - {number} of {task.count} - sandbox"
    shape = task.argument("aspect_ratio", "aspectRatio", "image_size", "size", default="1:1")
    if isinstance(sides := task.body.get("image_size"), dict):  # at fal
        shape = f"{sides.get('width')}x{sides.get('height')}"
    clear = extension == "png" and (is_layer or task.model.endswith("/remove-background"))
    words = task.argument("prompt")
    return picture(words, caption, shape, extension, task_id=task.task_id, number=number, clear=clear)


def own_name(url: str, origin: str) -> str | None:
    """The name of one of the sandbox's own files; None for any other address."""
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" != origin or not parts.path.startswith("/files/"):
        return None
    return unquote(parts.path.removeprefix("/files/"))


def link(service: Service, url: str, origin: str) -> str | None:
    """A link to one of the sandbox's own files, as it is given for 20 minutes; None for any other address."""
    name = own_name(url, origin)
    if name is None or read(service, name) is None:
        return None
    return f"{url}?expires={int(service.now()) + LINK_S}"


async def from_base64(request: Request, service: Service) -> Reply:
    """POST /api/file-base64-upload."""
    body = await _fields(request)
    data, media = _required(body, "base64Data"), ""
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        media = head.removeprefix("data:").partition(";")[0]
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("base64Data can't be decoded") from None
    return _store(request, service, body, content, media)


async def from_form(request: Request, service: Service) -> Reply:
    """POST /api/file-stream-upload."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Unusable("a multipart form is required")
    try:
        form = await InMemory(request.headers, request.stream()).parse()
    except (MultiPartException, KeyError) as error:
        raise Unusable(f"the form can't be read: {error}") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Unusable("file is required")
        content = await file.read()
    finally:
        await form.close()
    body = {"fileName": file.filename, **{name: form[name] for name in ("uploadPath", "fileName") if form.get(name)}}
    return _store(request, service, body, content, file.content_type or "")


async def from_url(request: Request, service: Service) -> Reply:
    """POST /api/file-url-upload. Nothing is fetched: only the sandbox's own files can be named."""
    body = await _fields(request)
    name = own_name(_required(body, "fileUrl"), origin_of(request))
    found = read(service, name) if name else None
    if found is None:
        raise Unusable("fileUrl: the sandbox fetches nothing, only addresses of its own files can be given")
    return _store(request, service, {"fileName": str(name).rpartition("/")[2], **body}, *found)


async def _fields(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Unusable("a JSON object is required")
    return body


def _required(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Unusable(f"{name} is required")
    return value


def _store(request: Request, service: Service, body: dict[str, Any], content: bytes, media: str) -> Reply:
    folder = _required(body, "uploadPath").strip("/")
    guessed = mimetypes.guess_extension(media) or ""
    name = str(body.get("fileName") or f"{uuid.uuid4().hex}{guessed}")
    path = f"{folder}/{name}"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise Unusable(f"uploadPath and fileName make no usable path: {path!r}")
    if len(content) > MAX_BYTES:
        raise Unusable(f"at most {MAX_BYTES} bytes are accepted, {len(content)} were sent")
    media = media or mimetypes.guess_type(name)[0] or "application/octet-stream"
    service.uploads[path] = content, media
    data = {
        "success": True,
        "fileName": name,
        "filePath": path,
        "downloadUrl": f"{origin_of(request)}/files/{quote(path)}",
        "fileSize": len(content),
        "mimeType": media,
        "uploadedAt": datetime.fromtimestamp(service.now(), UTC).isoformat().replace("+00:00", "Z"),
    }
    return upload_answer(200, "File uploaded", data)


def upload_answer(code: int, message: str, data: Any = None) -> Reply:
    """The envelope of the upload host, which has a ``success`` besides."""
    return envelope(code, message, data, extra={"success": code == 200})
