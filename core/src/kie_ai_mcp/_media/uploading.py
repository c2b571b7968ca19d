"""Uploads: local files, base64 text, web addresses and earlier results become addresses that the service can open.

A local file is sent only from a folder that the user allows, or from the one where results are saved.
"""

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import tempfile
import unicodedata
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

import anyio
import anyio.to_thread

from kie_ai_mcp._media.files import (
    DOCUMENTS,
    HEAD_BYTES,
    Format,
    format_of,
    format_of_file,
    format_of_url,
    is_cut,
    path_in,
)
from kie_ai_mcp._media.measuring import NOTHING, Measures, faults_of, formats_of, measured, measured_at
from kie_ai_mcp._media.thumbnails import convert
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._record.tasks import beginning_fault, begun_with
from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import Caller, account_of
from kie_ai_mcp._settings.folders import cure_of_access, is_below
from kie_ai_mcp._settings.settings import Settings, at_home
from kie_ai_mcp._settings.sources import to_allow
from kie_ai_mcp.errors import ConfigError, InvalidArgument, MediaError, shorten
from kie_ai_mcp.specs import Gateway, Media, is_web_address, texts_at

RESULT = re.compile(r"kie://(?:files|tasks)/([^/]+)(?:/([0-9]{1,3}))?|([^/\\]{1,500})")
TAKEN = ("png", "jpg", "webp", "gif")  # pictures that are sent as they are where the service names no types
PLAYED = ("image", "video", "audio")  # the kinds of what is shown or played; others are data
UPLOADS_PATH = "/uploads"  # where `serve --http` takes the bytes of a file
KEPT_FOR = timedelta(hours=20)  # how long an upload is used again; the service keeps it for a day, or for three


class NotAllowed(ValueError):
    """A file lies where the user has not allowed it; `next_step` says how they do."""

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.next_step = next_step


@dataclass(frozen=True)
class LocalFile:
    """A file that may be sent, as it was when it was checked; at the service it has an address, until `expires_at`."""

    path: Path
    format: Format
    size: int
    sha256: str
    mark: tuple[int, ...]
    url: str = ""
    expires_at: datetime = datetime.max
    measures: Measures = NOTHING

    @property
    def seconds(self) -> float | None:
        """How long a clip or a sound lasts; None where it can't be measured."""
        return self.measures.seconds


@dataclass(frozen=True)
class Uploads:
    """The uploads of one server; the same bytes are sent once while the service keeps them.

    With a `base_url` its users are on other machines, and send their files to the address for uploads below it.

    Its methods raise InvalidArgument for a file that may not be used, and MediaError where the service takes none.
    """

    settings: Settings
    caller: Caller
    record: Record
    base_url: str | None = None

    async def addresses(
        self, arguments: Mapping[str, Any], media: Mapping[str, Media], files: Mapping[str, LocalFile], gateway: Gateway
    ) -> dict[str, Any]:
        """Return the arguments with their local `files` sent, each replaced by an address that a service can open."""
        addresses = {text: await self._address(file, gateway) for text, file in files.items()}
        return replaced(arguments, media, lambda text: addresses.get(text, text))

    async def _address(self, file: LocalFile, gateway: Gateway) -> str:
        if not file.url and file.size <= gateway.inline_mb << 20:
            data = await anyio.Path(file.path).read_bytes()
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise MediaError(f"{file.path} changed while it was read; nothing was sent.", next_step="Call again.")
            return f"data:{file.format.mime_type};base64,{base64.b64encode(data).decode()}"
        if not file.url and not self.caller.gateway.key:
            problem = f"{gateway.title} takes no such file itself, and without a Kie.ai key none can be uploaded."
            raise ConfigError(problem, next_step="Give an http:// or https:// address, or set KIE_AI_API_KEY.")
        return (await self.send(file)).url

    async def files(self, arguments: Mapping[str, Any], media: Mapping[str, Media]) -> dict[str, LocalFile]:
        """Return the local files among media arguments, each by the path that names it.

        Raise one InvalidArgument that names every file that may not be sent, or that a service would not take.
        """
        files, faults = dict[str, LocalFile](), list[InvalidArgument]()
        measured: dict[str, dict[str, tuple[str, Measures]]] = {path: {} for path in media}
        for path, marker in media.items():
            for place, holder, key in texts_at(path, arguments):
                if not (text := holder[key]) or is_web_address(text, marker.schemes):
                    continue
                try:
                    file = await self.file(place, text, marker)
                except InvalidArgument as fault:
                    faults.append(fault)
                    continue
                measured[path][place] = text, file.measures
                if text not in files or file.format.extension == "jpg":  # it may be a conversion, which all take
                    files[text] = file
        if faults := [*faults, *faults_of(measured, media)]:
            raise InvalidArgument.joined(faults)
        return files

    async def file(self, field: str, text: str, media: Media | None = None, path: Path | None = None) -> LocalFile:
        """Return the file at `path`, or what `text` names: data, a result, a path; raise InvalidArgument of `field`."""
        is_data = path is None and (field == "base64_data" or _is_data(text))
        result = path if path or is_data else await self._result(field, text, media)
        if isinstance(result, LocalFile):
            return result

        def read() -> LocalFile:
            if is_data and len(text) > 3 * self.settings.max_upload_mb * 1_000_000:
                raise ValueError(self._too_large)
            if is_data:
                said = text.lstrip()[5:].partition(",")[0].lower()
                names = (f"upload.{end}" for end, (_, mime_type) in DOCUMENTS.items() if said.startswith(mime_type))
                return self._temporary(next(names, "upload"), lambda target: target.write_bytes(_decoded(text)), media)
            return self._read(result or self._allowed(text), media)

        try:
            return await anyio.to_thread.run_sync(read)
        except OSError as exc:
            reason = cure_of_access(path or at_home(path_in(text)), f"it can't be read: {exc.strerror}.")
            raise InvalidArgument(field, text, reason) from None
        except ValueError as exc:
            step = exc.next_step if isinstance(exc, NotAllowed) else ""
            raise InvalidArgument(field, text, str(exc), next_step=step) from None

    async def send(self, file: LocalFile) -> LocalFile:
        """Upload a file that has no address yet, unless the same bytes were uploaded before."""
        if file.url:
            return file
        account = account_of(self.caller.gateway, self.settings.upload_url)
        earlier = await self.record.uploads.find(file.sha256, account)
        if earlier is not None:
            return replace(file, url=earlier[0], expires_at=earlier[1])
        name = f"{file.sha256[:32]}.{file.format.extension}"
        url = await transfer.upload(self.caller, file.path, file.mark, name, file.format.mime_type, file.sha256)
        expires_at = datetime.now(UTC) + KEPT_FOR
        await self.record.uploads.add(file.sha256, url, expires_at, account)
        return replace(file, url=url, expires_at=expires_at)

    async def send_data(self, text: str) -> LocalFile:
        """Upload base64 text, plain or as a ``data:`` address."""
        return await self.send(await self.file("base64_data", text))

    async def send_from(self, url: str) -> LocalFile:
        """Fetch a public address and upload the file, for a service that can't open the address itself."""
        if not is_web_address(url):
            raise InvalidArgument("url", url, "give an http:// or https:// address; a local file is a path")
        size = 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"
            async with transfer.download(self.caller, url) as chunks, await anyio.open_file(path, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.settings.max_upload_mb * 1_000_000:  # checked here, before the disk is full
                        raise InvalidArgument("url", url, self._too_large)
                    await file.write(chunk)
            return await self.send(await self.file("url", url, path=path))

    @property
    def _too_large(self) -> str:
        return f"it is larger than {self.settings.max_upload_mb} MB (KIE_AI_MAX_UPLOAD_MB)"

    async def _result(self, field: str, text: str, media: Media | None) -> LocalFile | Path | None:
        """Return the earlier result that a text names, at its link or as its file; None for no task."""
        match = RESULT.fullmatch(text.strip())
        record = await self.record.tasks.find(unquote(match[1] or match[3])) if match else None
        if match is None or record is None:
            if match and (whole := await self._whole(match)):
                raise beginning_fault(field, text, whole)
            if match and match[1]:
                raise InvalidArgument(field, text, "no such task is on record; list_tasks shows them")
            return None
        if not record.final:
            step = f"Wait for it first: call wait_for_tasks with task_ids {json.dumps([record.written_id])}."
            reason = f"the task is still {record.status} and has no result yet"
            raise InvalidArgument(field, text, reason, next_step=step)
        results = [*zip_longest(record.result_urls, record.files, fillvalue="")] if record.status == "completed" else []
        only = partial(_only_one, field, text, record, results, media)
        number = int(match[2]) if match[2] else await anyio.to_thread.run_sync(only)
        if not 0 < number <= len(results):
            there = f"its results are kie://files/{quote(record.written_id, safe='')}/1 to {len(results)}"
            raise InvalidArgument(
                field, text, f"the task is {record.status}, {there if results else 'it has no result'}"
            )
        url, saved = results[number - 1]
        if saved and (record.expired or not url):
            return Path(saved)
        if record.expired:
            raise InvalidArgument(field, text, "its link has ended and it is not saved; make it again, or give another")
        form = _format_of(url, saved)
        if form.extension and media is not None and form.kind not in media.kinds:
            kinds = " or ".join(media.kinds)
            raise InvalidArgument(field, text, f"it is a result of the kind {form.kind}, not {kinds}")
        measures = await anyio.to_thread.run_sync(measured_at, Path(saved or "-"), form, media)
        if measures.extension and _is_converted(form, media):
            return Path(saved)
        name = hashlib.sha256(f"{record.written_id}/{number}".encode(errors="replace")).hexdigest()
        return LocalFile(Path(saved), form, 0, name, (), url, record.expires_at or datetime.max, measures)

    async def _whole(self, match: re.Match[str]) -> list[str]:
        """Return what names the result of a task where a text has only the beginning of its id."""
        group = 1 if match[1] else 3
        before, after = match.string[: match.start(group)], match.string[match.end(group) :]
        ids = await begun_with(self.record.tasks, unquote(match[group]))
        return [f"{before}{quote(task_id, safe='') if match[1] else task_id}{after}" for task_id in ids]

    def _allowed(self, text: str) -> Path:
        """Return the file's own path, links resolved; raise ValueError where the user does not allow it."""
        if self.base_url is not None:
            name = quote(text.replace("\\", "/").rpartition("/")[2])
            data = f"--data-binary {shlex.quote(f'@{text}')} '{self.base_url}{UPLOADS_PATH}?name={name}'"
            ways = "give an https:// or data: address, or upload the file and give the url of the answer"
            curl = f'curl -H "Authorization: Bearer $TOKEN" {data}'
            raise ValueError(f"the server is on another machine than your files; {ways}: {curl}")
        path = at_home(path_in(text))
        roots = (*self.settings.upload_roots, *filter(None, [self.settings.output_dir]))
        if not self.settings.upload_roots and not any(map(path.is_relative_to, roots)):
            reason = "local files are not allowed yet; give an http:// or https:// address"
            raise NotAllowed(reason, to_allow(path.parent))
        try:
            real = _alike(path, roots).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise ValueError("there is no such file; give an absolute path or a web address") from None
        if not path.is_absolute():
            raise ValueError("give an absolute path, since the server runs in a folder of its own")
        if not any(is_below(real, root) for root in roots):
            allowed = ", ".join(map(str, roots))
            reason = f"it lies outside the allowed folders ({allowed}; KIE_AI_UPLOAD_ROOTS)"
            raise NotAllowed(reason, to_allow(real.parent))
        return real

    def _temporary(self, name: str, make: Callable[[Path], object], media: Media | None) -> LocalFile:
        """Return the file that is made in a folder of its own, which is there as long as the value is."""
        folder = tempfile.mkdtemp()
        try:
            make(target := Path(folder, name))
            file = self._read(target, media)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(file, shutil.rmtree, folder, ignore_errors=True)
        return file

    def _read(self, path: Path, media: Media | None) -> LocalFile:
        """Return a file with the hash of its bytes; raise ValueError where its type or size is not allowed."""
        # The path was resolved; if a link has taken the file's place since, it is not followed.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is not a plain file")
            if status.st_size > self.settings.max_upload_mb * 1_000_000:
                raise ValueError(self._too_large)
            head = file.read(HEAD_BYTES)
            kinds, takes = media.kinds if media else (), ", ".join(formats_of(media))
            form = format_of(head, path.name if "file" in kinds else "")
            if form is None or (media is not None and form.kind not in kinds):
                kind = " or ".join(kinds).replace("file", "document") or "picture, clip or sound"
                more = f"; give one of {takes}" if takes else ""
                raise ValueError(f"its bytes are no {kind} ({shorten(head[:16])}){more}")
            if _is_converted(form, media):
                clear = "PNG" if media and media.alpha and "png" in formats_of(media) else ""
                return self._temporary(f"{path.stem}.jpg", lambda target: convert(file, form, target, clear), media)
            if is_cut(file, form):
                raise ValueError("it ends before its end; give the whole file")
            measures = measured(file, form, media)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return LocalFile(path, form, status.st_size, digest, transfer.file_mark(status), measures=measures)


def _format_of(url: str, saved: str) -> Format:
    return format_of_file(Path(saved or "-")) or format_of_url(url)


def _only_one(
    field: str, text: str, record: TaskRecord, results: Sequence[tuple[str, str]], media: Media | None
) -> int:
    """Return the number of the one result that fits an argument; raise InvalidArgument where several do."""
    wanted = media.kinds if media else PLAYED
    # The kind of an address without an ending is not known, and may fit; of a file that is gone there is nothing.
    kinds = [form.kind if form.extension else "" for form in (_format_of(*result) for result in results)]
    fits = [kind in wanted if kind else bool(url) for kind, (url, _) in zip(kinds, results, strict=True)]
    numbers = [number for number, is_fit in enumerate(fits, start=1) if is_fit]
    if len(numbers) == 1 or len(results) < 2:
        return numbers[0] if numbers else len(results)
    if not numbers:
        there = " or ".join(dict.fromkeys(kind or "unknown" for kind in kinds))
        raise InvalidArgument(field, text, f"its results are of the kind {there}, not {' or '.join(wanted)}")
    each = " or ".join(f"kie://files/{quote(record.written_id, safe='')}/{number}" for number in numbers)
    raise InvalidArgument(field, text, f"the task has {len(numbers)} results that fit; choose one: {each}")


def replaced(arguments: Mapping[str, Any], media: Mapping[str, Media], by: Callable[[str], str]) -> dict[str, Any]:
    """Return the arguments with another text in place of each that a media path names."""
    same = deepcopy(dict(arguments))
    for path in media:
        for _, holder, key in texts_at(path, same):
            holder[key] = by(holder[key])
    return same


def _is_converted(form: Format, media: Media | None) -> bool:
    """Return whether a picture is sent as JPEG, since the service takes none of its type."""
    takes = formats_of(media) or TAKEN
    return form.kind == "image" and form.extension not in takes and "jpg" in takes


def brief(text: str) -> str:
    """Return a media argument as it may be recorded: of data only the beginning."""
    return f"{text.lstrip()[:40]}… ({len(text)} characters)" if _is_data(text) else text


def _is_data(text: str) -> bool:
    return text.lstrip()[:5].lower() == "data:"


def _decoded(text: str) -> bytes:
    """Return the bytes of base64 text, also wrapped, unpadded or for URLs, or of a ``data:`` address."""
    head, _, body = text.strip().partition(",") if _is_data(text) else (";base64", "", text)
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    body = "".join(unquote(body).split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError:
        raise ValueError("it is not base64") from None


def _alike(path: Path, roots: Iterable[Path]) -> Path:
    """Return the one path below a root that differs from `path` in spaces, joiners or composition alone, or `path`."""
    alike = next(filter(path.is_relative_to, roots), None)
    if alike is None or os.path.lexists(path):
        return path
    for part in path.relative_to(alike).parts:
        names = os.listdir(alike)  # noqa: PTH208  a path of each would be made
        names = [part] if part in names else [name for name in names if _plain(name) == _plain(part)]
        if len(names) != 1:
            return path
        alike /= names[0]
    return alike


def _plain(name: str) -> str:
    """Return a name with plain spaces, and without what joins, varies or directs the characters beside it."""
    folded = unicodedata.normalize("NFKC", name)
    return "".join(char for char in folded if unicodedata.category(char) != "Cf" and not "\ufe00" <= char <= "\ufe0f")
