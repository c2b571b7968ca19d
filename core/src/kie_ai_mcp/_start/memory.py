"""Memory of a server's answers: a file in the user's cache folder, for one interpreter, import path and environment.

It holds as long as every file that the answers were made of is as it was.
"""

import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

try:
    from _blake2 import blake2b  # what `hashlib` gives, which takes as long to import as everything here
except ImportError:
    from hashlib import blake2b

HOME = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
FORMAT_VERSION = 1  # of the file
SUFFIX, PART = ".json", ".part"  # of memories, and of those that are being written
MAX_MEMORIES = 20  # memories that are kept: of other settings, of other installations
SAFE_OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no link is followed, no pipe waited for
METADATA_SUFFIXES = (".dist-info", ".egg-info", ".pth", ".egg-link")  # what an installer leaves in a folder


def _name() -> str:
    """Return the name of the memory of this interpreter, with this import path and environment."""
    decisive = ((key, value) for key, value in os.environ.items() if key.startswith("KIE_AI_") or key in HOME)
    environment = sorted((key, value) for key, value in decisive if value)  # an empty one is as good as none
    here = os.getcwd() if any(value.startswith(".") for key, value in environment if key.startswith("KIE_AI_")) else ""
    known = [FORMAT_VERSION, sys.executable, sys.version, sys.path, here, environment]
    return blake2b(json.dumps(known).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def folder() -> str:
    """Return the folder of the memories, in the user's cache; a relative path where this user has none."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "kie-ai-mcp-server", "starts")


def _state(path: str) -> list[Any] | None:
    """Return what tells a file, or a folder of distributions, from what it was; None where there is none.

    The time of the last change comes first. A distribution that is installed anew may keep its name, but not its times.
    """
    try:
        state = os.stat(path)
        if not stat.S_ISDIR(state.st_mode):
            return [state.st_mtime_ns, state.st_size]
        with os.scandir(path) as entries:
            own = (entry for entry in entries if entry.name.endswith(METADATA_SUFFIXES))
            known = sorted((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in own)
    except OSError:
        return None
    times = [time for _, time in known]
    for name, _ in known:
        try:
            times.append(os.stat(os.path.join(path, name, "entry_points.txt")).st_mtime_ns)
        except OSError:  # it offers none, or is a file
            times.append(0)
    return [max(times, default=0), *(name for name, _ in known), *times]


class Memory:
    """The answers of one installation with one set of settings, by question, as JSON; an empty one knows none."""

    def __init__(
        self, path: str = "", answers: Mapping[str, str] | None = None, files: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self.answers = dict(answers or {})
        self.files = files  # what the answers were made of: the states of the files, once these are known

    @classmethod
    def own(cls) -> "Memory":
        """Return this process's memory; to be called before its environment changes."""
        place = folder()
        with suppress(OSError):  # there may be no current folder
            return cls.of(os.path.join(place, f"{_name()}{SUFFIX}")) if os.path.isabs(place) else cls()
        return cls()

    @classmethod
    def of(cls, path: str) -> "Memory":
        """Return the memory in a file; an empty one where that is absent, another's, damaged or no longer holds."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | SAFE_OPEN)) as file:
                mine = _is_own(os.fstat(file.fileno()))
                held = json.loads(file.read())
            answers = held["answers"]
            texts = all(isinstance(text, str) for pair in answers.items() for text in pair)
            if mine and texts and all(_state(name) == state for name, state in held["files"].items()):
                return cls(path, answers, held["files"])
        return cls(path)

    def look_at(self, files: Iterable[str], since: float) -> None:
        """Note what the answers are made of, soon after the server began to read it at a time.

        What has changed `since` may be read or not, so that nothing is ever saved then.
        """
        states = {name: _state(name) for name in files}
        is_sure = all(state is None or state[0] <= since * 1e9 for state in states.values())
        self.files = states if is_sure else {}

    def save(self) -> None:
        """Write the answers down, if it is known what they are made of."""
        if not self.path or not self.files:
            return
        text = json.dumps({"files": self.files, "answers": dict(self.answers)})  # of a copy: it may grow meanwhile
        place, part = os.path.dirname(self.path), f"{self.path}.{os.getpid()}{PART}"
        with suppress(OSError):  # there is no such folder, and none can be made: the next start is a usual one
            os.makedirs(place, mode=0o700, exist_ok=True)
            if not _is_own(os.lstat(place)):
                return
            with open(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | SAFE_OPEN, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(text)
            os.replace(part, self.path)
            own = [entry.path for entry in os.scandir(place) if entry.name.endswith((SUFFIX, PART))]
            for path in sorted(own, key=lambda path: (_state(path) or [0])[0])[:-MAX_MEMORIES]:
                os.remove(path)

    def forget(self) -> None:
        """Delete what was written down."""
        with suppress(OSError):
            os.remove(self.path)


def _is_own(state: os.stat_result) -> bool:
    """Return whether a file or folder is this user's, and no link to another one."""
    mine = not hasattr(os, "geteuid") or state.st_uid == os.geteuid()
    return mine and not stat.S_ISLNK(state.st_mode)
