"""A keyring in a file, as PYTHON_KEYRING_BACKEND names it to the library `keyring` in tests and in their children."""

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

FILE = "TESTS_KEYRING"
"""The variable that names the file; one that holds no JSON is a locked keyring."""

BACKEND = "tests.keyrings.FileKeyring"


class FileKeyring(KeyringBackend):
    """Keeps passwords as one JSON object."""

    priority = 0.5  # of those that are used only where they are chosen
    name = "the file of the tests"

    def get_password(self, service: str, username: str) -> str | None:
        return self._read().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._write({**self._read(), f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        kept = self._read()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError("there is none")
        self._write(kept)

    def _read(self) -> dict[str, str]:
        path = Path(os.environ[FILE])
        try:
            return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}
        except ValueError:
            raise KeyringLocked("the collection is locked") from None

    def _write(self, passwords: dict[str, str]) -> None:
        Path(os.environ[FILE]).write_text(json.dumps(passwords), "utf-8")


def keyring_in(folder: Path) -> dict[str, str]:
    """The environment of a child that has a keyring in a folder."""
    root = str(Path(__file__).parents[1])
    return {
        "PYTHON_KEYRING_BACKEND": BACKEND,
        FILE: str(folder / "keyring.json"),
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", "")))),
    }


def put_key(folder: Path, key: str) -> None:
    """Store a key in the keyring of a folder, as `install` does."""
    (folder / "keyring.json").write_text(json.dumps({"kie-ai-mcp-server api_key": key}), "utf-8")


def key_in(folder: Path) -> str | None:
    """The key in the keyring of a folder."""
    path = folder / "keyring.json"
    held: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return held.get("kie-ai-mcp-server api_key")
