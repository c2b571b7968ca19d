"""Media in: local files become addresses that the service can open, where the user allows their folder."""

import base64
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from kie_ai_mcp._media.files import HEAD_BYTES, Format, format_of
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._service.caller import Caller, FileMark, file_mark
from kie_ai_mcp._settings.settings import Settings, at_home
from kie_ai_mcp.errors import InvalidArgument, shorten
from kie_ai_mcp.specs import Media, is_web_address

KEPT_FOR = timedelta(hours=20)
"""How long an upload is used again. The service keeps it for three days by one page, a day by another."""


@dataclass(frozen=True)
class LocalFile:
    """A file that may be sent: where it is, what it is, the hash of its bytes, and by what it is known again."""

    path: Path
    format: Format
    size: int
    sha256: str
    mark: FileMark


@dataclass(frozen=True)
class Upload:
    """A file as the service holds it."""

    url: str
    format: Format
    size: int
    expires_at: datetime


@dataclass(frozen=True)
class Uploads:
    """Uploads of one server; the same bytes are sent once while the service keeps them."""

    settings: Settings
    caller: Caller
    record: Record

    async def addresses(self, arguments: Mapping[str, Any], media: Mapping[str, Media]) -> dict[str, Any]:
        """Return the arguments with every local path replaced by the address it was uploaded to.

        All paths are checked before the first is sent.

        Raises:
            InvalidArgument: A path may not be used, or is no file of the kind that the argument wants.
            MediaError: The service did not take a file.
        """
        wanted: dict[tuple[str, int | None], LocalFile] = {}
        for name, marker in media.items():
            value = arguments.get(name)
            for index, entry in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(entry, str) and not is_web_address(entry):
                    field = name if index is None else f"{name}[{index}]"
                    wanted[name, index] = await anyio.to_thread.run_sync(self._checked, field, entry, marker)
        changed = {name: list(value) if isinstance(value, list) else value for name, value in arguments.items()}
        for (name, index), file in wanted.items():
            upload = await self.send(file)
            if index is None:
                changed[name] = upload.url
            else:
                changed[name][index] = upload.url
        return changed

    async def file(self, text: str) -> LocalFile:
        """Return a local file that may be sent, of any kind of media."""
        return await anyio.to_thread.run_sync(self._checked, "path", text, None)

    async def send(self, file: LocalFile) -> Upload:
        """Upload a file, or return where the same bytes lie already.

        Raises:
            MediaError: The service did not take it.
        """
        kept = await self.record.tasks.upload_of(file.sha256)
        if kept is not None:
            return Upload(kept[0], file.format, file.size, kept[1])
        name = f"{file.sha256[:32]}.{file.format.extension}"
        url = await self.caller.upload(file.path, file.mark, name, file.format.mime_type)
        expires_at = datetime.now(UTC) + KEPT_FOR
        await self.record.tasks.record_upload(file.sha256, url, expires_at)
        return Upload(url, file.format, file.size, expires_at)

    async def send_data(self, text: str) -> Upload:
        """Upload base64 text, plain or as a ``data:`` address.

        Raises:
            InvalidArgument: It is no base64, too large, or no picture, clip or sound.
            MediaError: The service did not take it.
        """
        limit = self.settings.max_upload_mb * 1_000_000
        if len(text) > limit * 4 // 3 + 4:
            raise InvalidArgument("base64_data", text, f"it is larger than {self.settings.max_upload_mb} MB")
        try:
            data = base64.b64decode(text.rpartition("base64,")[2], validate=True)
        except ValueError:
            raise InvalidArgument("base64_data", text, "it is not base64") from None
        found = format_of(data[:HEAD_BYTES])
        if found is None:
            raise InvalidArgument("base64_data", text, "its bytes are no picture, clip or sound")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"upload.{found.extension}"
            await anyio.Path(path).write_bytes(data)
            mark = file_mark(await anyio.Path(path).stat())
            return await self.send(LocalFile(path, found, len(data), hashlib.sha256(data).hexdigest(), mark))

    async def send_from(self, url: str) -> Upload:
        """Fetch what stands at a public address and upload it: the service then has it even where it could not look.

        Raises:
            InvalidArgument: It is no web address, too large, or no picture, clip or sound.
            MediaError: It can't be fetched, or the service did not take it.
        """
        if not is_web_address(url):
            raise InvalidArgument("url", url, "give an http:// or https:// address; a local file is a path")
        limit, size = self.settings.max_upload_mb, 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"
            async with self.caller.download(url) as chunks, await anyio.open_file(path, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit * 1_000_000:  # known before the disk is full
                        raise InvalidArgument("url", url, f"it is larger than {limit} MB (KIE_AI_MAX_UPLOAD_MB)")
                    await file.write(chunk)
            return await self.send(await anyio.to_thread.run_sync(self._read, "url", url, path, None))

    def _checked(self, field: str, text: str, media: Media | None) -> LocalFile:
        roots = self.settings.upload_roots
        try:
            given = at_home(Path(text))
        except ValueError as exc:
            raise InvalidArgument(field, text, str(exc)) from None
        if not roots:
            # A relative folder would be refused as a setting.
            cure = f"={given.parent}" if given.is_absolute() else " to its absolute path"
            raise InvalidArgument(
                field, text, f"local files are not allowed yet; to allow a folder set KIE_AI_UPLOAD_ROOTS{cure}"
            )
        try:
            path = given.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise InvalidArgument(
                field, text, "there is no such file; give an absolute path or a web address"
            ) from None
        if not given.is_absolute():
            raise InvalidArgument(field, text, "give an absolute path, since the server runs in a folder of its own")
        if not any(path.is_relative_to(root.resolve()) for root in roots):
            allowed = ", ".join(map(str, roots))
            raise InvalidArgument(field, text, f"it lies outside the allowed folders ({allowed}; KIE_AI_UPLOAD_ROOTS)")
        try:
            return self._read(field, text, path, media)
        except OSError as exc:
            raise InvalidArgument(field, text, f"it can't be read: {exc.strerror}") from None

    def _read(self, field: str, text: str, path: Path, media: Media | None) -> LocalFile:
        digest = hashlib.sha256()
        # The path was resolved; if a link has taken the file's place since, it is not followed.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidArgument(field, text, "it is not a plain file")
            limit = self.settings.max_upload_mb
            if status.st_size > limit * 1_000_000:
                raise InvalidArgument(field, text, f"it is larger than {limit} MB (KIE_AI_MAX_UPLOAD_MB)")
            # The service does not say which MB it means, so the larger one counts.
            if media is not None and media.most_mb is not None and status.st_size > media.most_mb << 20:
                raise InvalidArgument(
                    field, text, f"it is larger than {media.most_mb} MB, the most that the service takes there"
                )
            head = file.read(HEAD_BYTES)
            digest.update(head)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        found = format_of(head)
        if found is None or (media is not None and found.kind != media.kind):
            kind = media.kind if media else "picture, clip or sound"
            raise InvalidArgument(field, text, f"its bytes are no {kind} ({shorten(head)})")
        return LocalFile(path, found, status.st_size, digest.hexdigest(), file_mark(status))
