"""Text files that people keep: read as a whole, and replaced in one step unless that would lose something."""

import codecs
import os
import shutil
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from glob import escape
from pathlib import Path

import click

from kie_ai_mcp._cli.console import file_errors
from kie_ai_mcp._media.files import remove_leftovers, replacing
from kie_ai_mcp._settings.load import refuse_endless

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class TextFile:
    """A text file as it was read: its path, its text without a byte order mark, and its encoding.

    The text is empty where there is no file. `cure` ends the errors that say why nothing was written.
    """

    path: Path
    text: str
    encoding: str = "utf-8"
    cure: str = field(default="", compare=False)

    @classmethod
    def read(cls, path: Path, cure: str = "") -> "TextFile":
        """Return the file at a path; raise what click raises where it can't be read."""
        with file_errors(path, "read", "Check its permissions."):
            refuse_endless(path)
            data = path.read_bytes() if path.exists() else b""
        encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
        try:
            return cls(path, data.decode(encoding), encoding, cure)
        except UnicodeDecodeError:
            reason = f"{path} is not UTF-8 text, so it was not changed. Save it as UTF-8."
            raise click.ClickException(reason) from None

    def check(self) -> Path:
        """Return the file that the path leads to; raise what click raises where it is not to be replaced."""
        target = self.check_target()
        if TextFile.read(self.path) != self:
            raise self._refused("was changed meanwhile, so nothing was written. Run this again.")
        return target

    def check_target(self) -> Path:
        """Return the file that the path leads to; raise what click raises where nothing may be written there."""
        target = Path(os.path.realpath(self.path))  # a link stays one
        reason = ""
        with self.errors():
            if target.is_symlink():
                reason = "is a link that leads in a circle, so nothing was written. Remove it."
            elif target.exists() and not target.is_file():
                reason = "is no file, so nothing was written."
            elif target.exists() and not target.stat().st_mode & stat.S_IWUSR:
                reason = "is read-only, so nothing was written. Make it writable."
        if reason:
            raise self._refused(reason)
        return target

    def _refused(self, reason: str) -> click.ClickException:
        return click.ClickException(f"{self.path} {reason} {self.cure}".strip())

    def replace(self, text: str, *, private: bool, copied: bool = False) -> Path | None:
        """Replace the text in one step; return the path of a copy of the old file, where one was asked for.

        With `private`, only its owner may read the new file and the copy; else both have the old one's permissions.
        """
        target = self.check()
        backup = None
        with self.errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            is_there = target.exists()
            if copied and is_there:
                stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # the user's own time
                backup = target.with_name(f"{target.name}.{stamp}.bak")
                with target.open("rb") as old, replacing(backup, mode=0o600) as copy:
                    shutil.copyfileobj(old, copy)
                    copy.flush()
                    if not private:
                        shutil.copystat(target, copy.name)
            remove_leftovers(target.parent, target.name)
            with replacing(target, mode=0o600 if private or is_there else 0o666, fsync=True) as file:
                file.write(text.encode(self.encoding))
                if is_there and not private:
                    shutil.copymode(target, file.name)
        return backup

    def make_private(self) -> None:
        """Let only the owner read the file and its copies."""
        target = Path(os.path.realpath(self.path))
        with file_errors(self.path, "made private", self._permissions()):
            for place in (target, *target.parent.glob(f"{escape(target.name)}.*.bak")):
                if stat.S_IMODE(place.stat().st_mode) & 0o077:
                    place.chmod(0o600)

    def _permissions(self) -> str:
        return f"Check its folder's permissions. {self.cure}".strip()

    def errors(self) -> AbstractContextManager[None]:
        """Turn errors of writing into ones that name the file and the cure; a lock's timeout is the caller's."""
        return file_errors(self.path, "written", self._permissions())
