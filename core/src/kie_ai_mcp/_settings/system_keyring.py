"""Key in the system's keyring, read and written through the library `keyring`.

The library takes 70 ms to import, so it is asked only where the settings file has ``api_key = "keyring"``, or where a
key is to be stored. What it answers is kept for this process: one that serves reads its key once, at its start.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeVar

from kie_ai_mcp._settings.installation import extra, install_command
from kie_ai_mcp._settings.settings import APP
from kie_ai_mcp.errors import ConfigError

MARK = "keyring"  # the value of api_key, in the settings file alone, that stands for the key in the system's keyring
USER = "api_key"
ORIGIN = "the system's keyring"
LIMIT_S = 20.0  # a keyring that is locked may wait for a password that nobody is there to type
EXTRA = extra("keyring")  # brings the library where this program does not need it
NAMED = 'The settings file has api_key = "keyring"'
STORE = f"{APP} install CLIENT --key -"
UNLOCK = "Unlock the keyring, then run this again."
NONE_USABLE = ("keyring.backends.fail", "keyring.backends.null")
Value = TypeVar("Value")

_answer: str | ConfigError | None = None  # of the one read of this process


def read_key() -> str:
    """Return the key in the system's keyring; raise ConfigError, with the cure, where there is none to be had."""
    global _answer  # noqa: PLW0603  kept as long as the process
    if _answer is None:
        try:
            _answer = _read()
        except ConfigError as exc:
            _answer = exc
    if isinstance(_answer, ConfigError):
        raise _answer
    return _answer


def name() -> str:
    """Return the name of this system's keyring; an empty text where none can be used."""
    with suppress(ConfigError):
        return _asked(_name)
    return ""


def store_key(key: str) -> None:
    """Put a key into the system's keyring; raise ConfigError where it is not there afterwards."""
    global _answer  # noqa: PLW0603
    _answer = None
    _asked(lambda: _backend().set_password(APP, USER, key))
    if _asked(lambda: _backend().get_password(APP, USER)) != key:
        raise ConfigError("The system's keyring did not keep the key.", next_step=UNLOCK)


def delete_key() -> bool:
    """Delete the key from the system's keyring; return whether there was one."""
    global _answer  # noqa: PLW0603
    _answer = None
    if _asked(lambda: _backend().get_password(APP, USER)) is None:
        return False
    _asked(lambda: _backend().delete_password(APP, USER))
    return True


def _read() -> str:
    """Return the key; say in every error that the settings file is why the keyring was asked."""
    try:
        key: str | None = _asked(lambda: _backend().get_password(APP, USER)) if _asked(_name) else ""
        if key == "":
            raise _failure("there is none here")
    except ConfigError as exc:
        cure = exc.next_step if exc.next_step != UNLOCK else f"Unlock the keyring, or store the key once more: {STORE}"
        raise ConfigError(f"{NAMED}. {exc.message}", next_step=cure) from exc
    if not (key or "").strip():
        raise ConfigError(f"{NAMED}. The system's keyring holds no key.", next_step=f"Store it once more: {STORE}")
    return str(key)


def _name() -> str:
    backend = _backend()
    module = type(backend).__module__
    return "" if module.startswith(NONE_USABLE) else str(backend.name)


def _backend() -> Any:
    """Return the keyring that this system or its user has chosen; one that is not encrypted only if it was chosen."""
    core = import_module("keyring.core")
    core.init_backend(limit=core.recommended)
    return core.get_keyring()


def _asked(question: Callable[[], Value]) -> Value:
    """Return what a keyring answers within the time limit, with all its errors as ConfigError."""
    answers: list[Value] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception as exc:  # noqa: BLE001  every backend raises errors of its own
            errors.append(exc)

    thread = threading.Thread(target=ask, name="keyring", daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if answers:
        return answers[0]
    if not errors:
        raise _failure(f"it did not answer within {LIMIT_S:g} s, so it may be locked")
    if isinstance(errors[0], ModuleNotFoundError) and str(errors[0].name).startswith("keyring"):
        cure = f"Install it with: {install_command(EXTRA)}"
        raise _failure("the library keyring is not installed", cure)
    raise _failure(" ".join(str(errors[0]).split())[:200] or type(errors[0]).__name__) from errors[0]


def _failure(reason: str, cure: str = UNLOCK) -> ConfigError:
    return ConfigError(f"The system's keyring can't be used: {reason}.", next_step=cure)
