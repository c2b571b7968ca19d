"""Folders as systems treat them: names that Windows keeps for devices, spellings of one name, what macOS protects."""

import hashlib
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

_DEVICE = r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?"


def is_unusable_on_windows(name: str) -> bool:
    """Return whether Windows takes the name of a file or folder for a device, or drops its end."""
    return re.fullmatch(_DEVICE, name) is not None or name != name.rstrip(" .")


def folder_name(name: str) -> str:
    """Return the name of a folder for a user's name: the same, where it is one on every system and like no other."""
    plain = re.sub("[^a-z0-9_-]", "-", name.lower())[:40].strip("-") or "user"
    is_made = re.fullmatch(".*-[0-9a-f]{8}", name) is not None  # as below, of another name
    if plain == name and not is_made and not is_unusable_on_windows(name):
        return name
    return f"{plain}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def is_below(path: Path, folder: Path) -> bool:
    """Return whether a path, links resolved, lies below a folder, however the folder's name is spelled.

    File systems differ in the spellings that they take for one name, in case and in accents.
    """
    with suppress(OSError):
        # The identity of a folder is sure on POSIX alone; on Windows comparing paths ignores case.
        by_identity = sys.platform != "win32" and any(parent.samefile(folder) for parent in path.parents)
        return by_identity or path.is_relative_to(folder.resolve())
    return False


def why_unwritable(folder: Path) -> str:
    """Return why a folder, which may not exist yet, can't be written; an empty text where it can."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        return f"{existing} is a file, not a folder"
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"{folder} can't be written"


def cure_of_access(folder: Path, usual: str) -> str:
    """Return the next step where a folder can't be used: the usual one, and how macOS lets a program in."""
    if sys.platform == "darwin":
        protected = (Path("/Volumes"), *(Path.home() / name for name in ("Desktop", "Documents", "Downloads")))
        if any(folder.is_relative_to(place) for place in protected):
            place = "System Settings > Privacy & Security > Files and Folders"
            return f"{usual} macOS protects this folder: allow it to the program that starts the server in {place}."
    return usual
