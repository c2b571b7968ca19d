"""Links to saved results, which answers name where a user is on another machine than the server and its disk."""

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, urlsplit

from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._settings.databases import place_in
from kie_ai_mcp._settings.load import config_file
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import ConfigError

FILES_PATH = "/files"  # where `serve --http` hands out saved results; below the address that links begin with


@dataclass(frozen=True)
class Links:
    """The links of one server: each is the permission to open one result, for whoever has it.

    They begin with `base_url`, and `mask` hides where things lie on the server's disk. The `key` is that of every
    server with the same secrets, so that each opens the links of all.
    """

    base_url: str
    key: bytes
    mask: Mask
    former: bytes = b""  # the key of links that were made while the database's password was a part of it

    @classmethod
    def of(cls, settings: Settings, base_url: str, database: Path) -> Self:
        """Return the links of a server with these settings."""
        folders = {path: name for path, name in _folders(settings, database) if path != path.parent}
        hidden = {str(form): f"[{name}]" for path, name in folders.items() for form in (path, path.resolve())}
        address = settings.database_address
        mask = settings.mask.hiding(hidden, place_in(address) if address else "")
        return cls(base_url, key_of(settings), mask, former_key_of(settings))

    def mac(self, user: str, task_id: str, number: int) -> str:
        """Return what proves that this server made the link to a user's result."""
        return _proof(self.key, user, task_id, number)

    def proofs(self, user: str, task_id: str, number: int) -> tuple[str, ...]:
        """Return everything that proves it, of earlier links as well."""
        keys = filter(None, (self.key, self.former))
        return tuple(_proof(key, user, task_id, number) for key in keys)

    def path(self, user: str, task_id: str, number: int, name: str) -> str:
        """Return the end of the link to a result: the proof, the task's written id, the number, the file's name."""
        words = (quote(text, safe="", errors="replace") for text in (task_id, str(number), name))
        return "/".join(["", self.mac(user, task_id, number), *words])

    def shown(self, report: Report) -> Report:
        """Return a report with links to the saved results in place of their paths."""
        start, user, task_id = f"{self.base_url}{FILES_PATH}", report.user, report.task_id or ""
        files = enumerate(report.files, start=1)
        links = (file and f"{start}{self.path(user, task_id, number, Path(file).name)}" for number, file in files)
        return replace(report, files=tuple(links))


def _proof(key: bytes, user: str, task_id: str, number: int) -> str:
    content = json.dumps([user, task_id, number]).encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]


def key_of(settings: Settings) -> bytes:
    """Return the key of a server's links, made of its keys and its token; without any, of the database's password.

    Without that either, of the keys of users, or at last one that lasts as long as the process. So links outlive a
    move to another database and a new password of it.
    """
    secrets = [settings.key, settings.token, settings.signing_key]
    if not any(secrets):  # only then, since passwords are renewed
        secrets += settings.database_passwords
    if not any(secrets):  # only then, since links would end with each user who comes or goes
        secrets = [*sorted(settings.keys_of_users.values())]
    return _key_from(secrets) if any(secrets) else _own_key()


def former_key_of(settings: Settings) -> bytes:
    """Return the key that holds the database's password beside the others; empty where there is no such password."""
    passwords = settings.database_passwords
    return _key_from([settings.key, settings.token, settings.signing_key, *passwords]) if passwords else b""


def _key_from(secrets: list[str | None]) -> bytes:
    return hashlib.sha256(json.dumps(["links", *secrets]).encode()).digest()


@cache
def _own_key() -> bytes:
    return os.urandom(32)


def _folders(settings: Settings, database: Path) -> Iterator[tuple[Path, str]]:
    """Yield the places of the server's disk that may stand in a message, with what a user is told instead."""
    yield Path(sys.base_prefix), "Python"
    yield Path(sys.prefix), "Python"
    yield from ((Path(folder), "Python") for folder in sys.path if Path(folder).is_absolute())
    places: tuple[tuple[Callable[[], Path], str], ...] = (
        (Path.cwd, "work folder"),
        (Path.home, "home folder"),
        (lambda: config_file().parent, "configuration"),
    )
    for place, name in places:
        with suppress(OSError, RuntimeError, ConfigError):  # not every user has each
            yield place(), name
    yield database.parent, "data folder"
    yield database, "database"
    hosts = (Path(value) for name, value in parse_qsl(urlsplit(settings.database_address).query) if name == "host")
    yield from ((path, "database") for path in hosts if path.is_absolute())
    yield from ((folder, "upload_roots") for folder in settings.upload_roots)
    if settings.output_dir is not None:
        yield settings.output_dir, "output_dir"
