"""Uploads: local files, base64 text and web addresses become addresses that the service can open.

A local file is sent only from a folder that the user allows.
"""

import base64
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from kie_ai_mcp._media.files import HEAD_BYTES, Format, format_of
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import Caller, account_of
from kie_ai_mcp._settings.settings import Settings, at_home
from kie_ai_mcp.errors import InvalidArgument, shorten
from kie_ai_mcp.specs import Media, is_web_address

KEPT_FOR = timedelta(hours=20)  # how long an upload is used again; the service keeps it for a day, or for three


@dataclass(frozen=True)
class LocalFile:
    """A file that may be sent, with the hash of its bytes and its identity at the time of the check."""

    path: Path
    format: Format
    size: int
    sha256: str
    mark: tuple[int, ...]


@dataclass(frozen=True)
class Upload:
    """A file at the service."""

    url: str
    format: Format
    size: int
    expires_at: datetime


@dataclass(frozen=True)
class Uploads:
    """The uploads of one server; the same bytes are sent once while the service keeps them.

    Its methods raise InvalidArgument for a file that may not be used, and MediaError where the service takes none.
    """

    settings: Settings
    caller: Caller
    record: Record

    async def addresses(
        self, arguments: Mapping[str, Any], media: Mapping[str, Media], files: Mapping[str, LocalFile] | None = None
    ) -> dict[str, Any]:
        """Return the arguments with every local path replaced by the address it was uploaded to.

        All paths are checked before the first file is sent, unless `files` are those that were checked already.
        """
        checked = await self.files(arguments, media) if files is None else files
        addresses = {text: (await self.send(file)).url for text, file in checked.items()}
        return replaced(arguments, media, lambda text: addresses.get(text, text))

    async def files(self, arguments: Mapping[str, Any], media: Mapping[str, Media]) -> dict[str, LocalFile]:
        """Return the local files among media arguments, each by the path that names it."""
        files: dict[str, LocalFile] = {}
        for name, marker in media.items():
            value = arguments.get(name)
            for number, text in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(text, str) and not is_web_address(text):
                    field = f"{name}[{number}]" if isinstance(value, list) else name
                    files[text] = await self.file(field, text, marker)
        return files

    async def file(self, field: str, text: str, media: Media | None = None, path: Path | None = None) -> LocalFile:
        """Return the file at `path`, else the one that the user names by `text`; raise InvalidArgument of `field`."""
        try:
            return await anyio.to_thread.run_sync(lambda: self._read(path or self._allowed(text), media))
        except OSError as exc:
            raise InvalidArgument(field, text, f"it can't be read: {exc.strerror}") from None
        except ValueError as exc:
            raise InvalidArgument(field, text, str(exc)) from None

    async def send(self, file: LocalFile) -> Upload:
        """Upload a file, or return the address of an earlier upload of the same bytes."""
        account = account_of(self.caller.gateway, self.settings.upload_url)
        earlier = await self.record.tasks.upload_of(file.sha256, account)
        if earlier is not None:
            return Upload(earlier[0], file.format, file.size, earlier[1])
        name = f"{file.sha256[:32]}.{file.format.extension}"
        url = await transfer.upload(self.caller, file.path, file.mark, name, file.format.mime_type, file.sha256)
        expires_at = datetime.now(UTC) + KEPT_FOR
        await self.record.tasks.record_upload(file.sha256, url, expires_at, account)
        return Upload(url, file.format, file.size, expires_at)

    async def send_data(self, text: str) -> Upload:
        """Upload base64 text, plain or as a ``data:`` address."""
        if len(text) > self.settings.max_upload_mb * 1_000_000 * 4 // 3 + 4:
            raise InvalidArgument("base64_data", text, self._too_large)
        try:
            data = base64.b64decode(text.rpartition("base64,")[2], validate=True)
        except ValueError:
            raise InvalidArgument("base64_data", text, "it is not base64") from None
        if format_of(data[:HEAD_BYTES]) is None:
            raise InvalidArgument("base64_data", text, "its bytes are no picture, clip or sound")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"
            await anyio.Path(path).write_bytes(data)
            return await self.send(await self.file("base64_data", text, path=path))

    async def send_from(self, url: str) -> Upload:
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

    def _allowed(self, text: str) -> Path:
        """Return the file's own path, links resolved; raise ValueError where the user does not allow it."""
        path = at_home(Path(text))
        roots = self.settings.upload_roots
        if not roots:
            # A relative folder would be refused as a setting.
            cure = f"={path.parent}" if path.is_absolute() else " to its absolute path"
            raise ValueError(f"local files are not allowed yet; to allow a folder set KIE_AI_UPLOAD_ROOTS{cure}")
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise ValueError("there is no such file; give an absolute path or a web address") from None
        if not path.is_absolute():
            raise ValueError("give an absolute path, since the server runs in a folder of its own")
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            allowed = ", ".join(map(str, roots))
            raise ValueError(f"it lies outside the allowed folders ({allowed}; KIE_AI_UPLOAD_ROOTS)")
        return real

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
            # The service does not say which MB it means, so the larger one counts.
            if media is not None and media.most_mb is not None and status.st_size > media.most_mb << 20:
                raise ValueError(f"it is larger than {media.most_mb} MB, the most that the service takes there")
            head = file.read(HEAD_BYTES)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
        form = format_of(head)
        if form is None or (media is not None and form.kind != media.kind):
            kind = media.kind if media else "picture, clip or sound"
            raise ValueError(f"its bytes are no {kind} ({shorten(head)})")
        return LocalFile(path, form, status.st_size, digest.hexdigest(), transfer.file_mark(status))


def replaced(arguments: Mapping[str, Any], media: Mapping[str, Media], by: Callable[[str], str]) -> dict[str, Any]:
    """Return the arguments with another text in place of each that a media argument holds."""

    def changed(value: Any) -> Any:
        return [*map(changed, value)] if isinstance(value, list) else by(value) if isinstance(value, str) else value

    return {name: changed(value) if name in media else value for name, value in arguments.items()}
