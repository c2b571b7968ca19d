"""Key in the system's keyring, read and written through the library `keyring`.

The library takes 70 ms to import, so it is asked only where the settings file has ``api_key = "keyring"``, or where a
key is to be stored. What it answers is kept for this process: one that serves reads its key once, at its start.
"""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeVar

from kie_ai_mcp._settings.installation import extra, install_command
from kie_ai_mcp._settings.keys import key_of
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
SHOWN_CHARS = 6  # of a key, no more stand in a row in what is shown
_PLAIN = r"(?:\b[A-Za-z]{1,24}\b|-?\b\d{1,6}\b|[^\w-])+"  # words and codes: no key, also one that is not known yet
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


def store_key(text: str) -> None:
    """Put a key into the system's keyring; raise ConfigError where it is none, or is not there afterwards."""
    global _answer
    _answer, key = None, key_of(text)
    _asked(lambda: _backend().set_password(APP, USER, key), key)
    if _asked(lambda: _backend().get_password(APP, USER), key) != key:
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
    cure = f"Store the key once more: {STORE}"
    try:
        if not _asked(_name):
            raise _failure("there is none here")
        held: object = _asked(lambda: _backend().get_password(APP, USER))
    except ConfigError as exc:
        cure = exc.next_step if exc.next_step != UNLOCK else f"Unlock the keyring, or store the key once more: {STORE}"
        raise ConfigError(f"{NAMED}. {exc.message}", next_step=cure) from None
    reason = "The system's keyring holds no key."
    if held is not None and not isinstance(held, str):
        reason = f"The system's keyring answers with {type(held).__name__}, which is no text."
    elif held and held.strip():
        with suppress(ConfigError):
            return key_of(held)
        reason = "What the system's keyring holds is no key."
    raise ConfigError(f"{NAMED}. {reason}", next_step=cure)


def _name() -> str:
    backend = _backend()
    module = type(backend).__module__
    return "" if module.startswith(NONE_USABLE) else str(backend.name)


def _backend() -> Any:
    """Return the keyring that this system or its user has chosen; one that is not encrypted only if it was chosen."""
    core = import_module("keyring.core")
    core.init_backend(limit=core.recommended)
    return core.get_keyring()


def _asked(question: Callable[[], Value], key: str = "") -> Value:
    """Return what a keyring answers within the time limit, with all its errors as ConfigError, none with the key."""
    answers: list[Value] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as exc:  # noqa: BLE001  every backend raises errors of its own, also SystemExit
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
    # What led to it is left out, since it may hold the key as well.
    raise _failure(_words_of(errors[0], key)) from None


def _words_of(error: BaseException, key: str) -> str:
    """Return what a backend's error says; its name alone where that is nothing, or may hold the key or a part of it."""
    text = " ".join(str(error).split())
    parts = {key[at : at + SHOWN_CHARS] for at in range(max(1, len(key) - SHOWN_CHARS + 1))} - {""}
    is_plain = re.fullmatch(_PLAIN, text) and not any(part in text for part in parts)
    if is_plain and isinstance(error, Exception):
        return text[:200]
    return f"it ended with {type(error).__name__}"


def _failure(reason: str, cure: str = UNLOCK) -> ConfigError:
    return ConfigError(f"The system's keyring can't be used: {reason}.", next_step=cure)
