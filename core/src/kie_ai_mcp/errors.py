"""Errors of this project: one tree, in which each error says whether anything may have been charged.

::

    KieError                    charged, can_retry, next_step
    ├── ConfigError             a setting is wrong; a command ends with exit code 2, a server refuses paid requests
    ├── PluginError             a plugin breaks the contract and is set aside
    ├── InvalidArgument         a tool argument is wrong; nothing was recorded or sent
    ├── LimitReached            a limit the user set on spending; nothing was sent
    ├── StorageError            the database can't be read or written
    ├── TaskNotFound            no database row and no status route knows the task id
    ├── MediaError              a result could not be saved, or an input not be used
    └── ServiceError            the service answered, or should have
        ├── Refused             the service said no: nothing was made, nothing was charged
        │   ├── KeyRejected     401: the key is missing, wrong or not allowed here
        │   ├── NoCredits       402: the account is empty
        │   └── RateLimited     429, 430, 433: too many calls
        ├── Unknown             sent, but no readable answer: it may have been charged
        └── ReadFailed          a status could not be read; the task goes on regardless

``charged`` is ``"no"`` or ``"unknown"``: an error never claims more than is certain. A person or a model acts on
the message: what failed, with which value, and what to do next.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Self

Charged = Literal["no", "unknown"]


class KieError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: What failed, and with which value.
        next_step: What the reader can do about it; part of ``str(error)``.
        charged: Whether anything may have been charged.
        can_retry: Whether the same call can succeed later without any change.
        reason: A word for the log, where the error's class does not tell the cause.
    """

    charged: Charged = "no"
    can_retry: bool = False

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        charged: Charged | None = None,
        can_retry: bool | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.next_step = next_step
        if charged is not None:
            self.charged = charged
        if can_retry is not None:
            self.can_retry = can_retry

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class ConfigError(KieError):
    """A setting is missing, unknown or unusable; `where` names it, and the part of it, that a server leaves out."""

    def __init__(self, message: str, *, next_step: str = "", where: tuple[str, ...] = (), reason: str = "") -> None:
        super().__init__(message, next_step=next_step, reason=reason)
        self.where = where


class PluginError(KieError):
    """A plugin breaks the contract; it is set aside and every other plugin goes on."""


class InvalidArgument(KieError):
    """A tool argument can't be used. Raised before anything is recorded or sent.

    Plugins raise it for limits that a signature can't express (a limit of one model, two
    arguments that exclude each other).

    Args:
        field: The argument's name, with an index where one item of a list is meant.
        value: The value; a long one is shortened in the message.
        allowed: The values that are accepted, or the argument or tool to use instead.
        message: The whole sentence, where the usual one does not fit.
        instead: A whole call that works, ``{"tool": name, "arguments": {...}}``.
        next_step: What else is to be done, where no other argument is the cure.
    """

    def __init__(
        self,
        field: str,
        value: Any,
        allowed: str,
        *,
        message: str = "",
        instead: Mapping[str, Any] | None = None,
        next_step: str = "",
    ) -> None:
        end = "" if allowed.endswith((".", "?")) else "."
        super().__init__(message or f"{field}: {shorten(value)} is not accepted: {allowed}{end}", next_step=next_step)
        self.field = field
        self.value = value
        self.allowed = allowed
        self.instead = instead
        self.faults: tuple[InvalidArgument, ...] = (self,)

    @classmethod
    def joined(cls, faults: Sequence["InvalidArgument"], *, instead: Mapping[str, Any] | None = None) -> Self:
        """Return one error of at least one fault: it names the first one's field, and its message all of them."""
        first = faults[0]
        message = " ".join(fault.message for fault in faults)
        step = " ".join(dict.fromkeys(filter(None, (fault.next_step for fault in faults))))
        of_first = (first.field, first.value, first.allowed)
        error = cls(*of_first, message=message, instead=instead or first.instead, next_step=step)
        error.faults = tuple(each for fault in faults for each in fault.faults)
        return error


class LimitReached(KieError):
    """The request would pass a limit that the user set on credits or requests. Nothing was sent.

    `figures` are for the log: which limit it is, what of it is used, and how much is allowed. `is_unpriced` is a
    request that passes none, but whose price is unknown.
    """

    def __init__(
        self, message: str, *, next_step: str = "", figures: Mapping[str, Any] | None = None, is_unpriced: bool = False
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.figures = figures or {}
        self.is_unpriced = is_unpriced


class StorageError(KieError):
    """The task database can't be opened, read or written; `may_pass` where nothing here has to be changed for it."""

    def __init__(
        self, message: str, *, next_step: str = "", can_retry: bool | None = None, may_pass: bool = True
    ) -> None:
        super().__init__(message, next_step=next_step, can_retry=can_retry)
        self.may_pass = may_pass


class TaskNotFound(KieError):
    """No record here, and no status route of the service knows the id."""


class MediaError(KieError):
    """A file could not be fetched, written, or accepted as an input."""


class ServiceError(KieError):
    """The service's answer is an error, or there is no answer.

    ``code`` is the number the service gave, as HTTP status or inside an HTTP 200; None where no answer came.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        next_step: str = "",
        charged: Charged | None = None,
        can_retry: bool | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message, next_step=next_step, charged=charged, can_retry=can_retry, reason=reason)
        self.code = code


class Refused(ServiceError):
    """The service said no. Nothing was made and nothing was charged."""


class KeyRejected(Refused):
    """401: the key is missing, wrong, or not allowed from this address."""


class NoCredits(Refused):
    """402: the account has not enough credits for this request."""


class RateLimited(Refused):
    """429, 430, 433: too many calls; the refused one is not queued.

    ``retry_after_s`` is what the service asked for, in seconds; None where it named no time.
    """

    can_retry = True
    retry_after_s: float | None = None


class Unknown(ServiceError):
    """The request left, no readable answer came. It may have been accepted and charged."""

    charged = "unknown"


class ReadFailed(ServiceError):
    """A free read failed. The last known state still holds.

    ``absent`` is True where the service did answer, and has no such record.
    """

    can_retry = True
    absent: bool = False


@dataclass(frozen=True)
class Meaning:
    """The meaning of one code of the service for a create request."""

    error: type[ServiceError]
    text: str
    next_step: str
    can_retry: bool = False


SAID_CHARS = 500  # the most that is passed on of a service's own words
ESCAPES = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
"""What a terminal takes for a command: colours, moves of the cursor, titles, links."""
CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
"""Signs that a terminal obeys or that turn the direction of text, for a class of them; not tabs and line ends."""

BASE_URL = "https://api.kie.ai/api/v1"
LOGS_PAGE = "https://kie.ai/logs"
KEYS_PAGE = "https://kie.ai/api-key"
NO_REASON = "the service gave no reason"
_REWORD = "Reword the prompt: it may be against the content policy, or not in English."
_AGAIN = "It is no fault of the request: make it again, or use another model."
_POLICY = re.compile(r"policy|sensitive|moderation|nsfw", re.IGNORECASE)
_CHECK_ADDRESS = f"Check KIE_AI_BASE_URL (Kie.ai's own is {BASE_URL}), then the model and the ids given."
_CHECK_KEY = f"Check KIE_AI_API_KEY against {KEYS_PAGE}, and the key's IP allow-list."

# The codes are the service's own, as HTTP status or as `code` inside an HTTP 200. One that may stand for a
# failure *after* the request was accepted (408, 500, 501) is Unknown: only the account's log can tell.
MEANINGS: dict[int, Meaning] = {
    400: Meaning(Refused, "the service calls the request invalid", f"Change the arguments it names. {_REWORD}"),
    401: Meaning(KeyRejected, "the service does not accept the key", _CHECK_KEY),
    402: Meaning(NoCredits, "the account has not enough credits", "Top up at https://kie.ai/billing; see get_credits."),
    404: Meaning(Refused, "the service does not know this address or record", _CHECK_ADDRESS),
    405: Meaning(Refused, "the service does not serve this address", _CHECK_ADDRESS),
    408: Meaning(Unknown, "the service gave up waiting for its own back end", f"Look at {LOGS_PAGE} before retrying."),
    409: Meaning(Refused, "the derived record exists already", "Ask for the existing record instead."),
    413: Meaning(Refused, "the request is too large or matches protected work", "Shorten or change the input."),
    422: Meaning(Refused, "the service rejects the arguments", "Change the arguments it names."),
    429: Meaning(RateLimited, "too many requests", "Wait some seconds, then call again.", can_retry=True),
    430: Meaning(RateLimited, "calls come too frequently", "Wait some seconds, then call again.", can_retry=True),
    433: Meaning(RateLimited, "this key's own usage limit is reached", f"Raise the key's limit at {KEYS_PAGE}."),
    451: Meaning(Refused, "the service could not fetch a media address", "Give an address that anybody can open."),
    455: Meaning(Refused, "the service is under maintenance", "Call again later.", can_retry=True),
    500: Meaning(Unknown, "the service failed inside", f"Look at {LOGS_PAGE} before retrying."),
    501: Meaning(Unknown, "the generation failed at the service", f"Look at {LOGS_PAGE} before retrying."),
    505: Meaning(Refused, "the service has switched this feature off", "Use another model or tool."),
    531: Meaning(Refused, "the generation failed and its credits were given back", "Call again.", can_retry=True),
    550: Meaning(Refused, "the service's queue is full", "Call again in some minutes.", can_retry=True),
}


def meaning_of_failure(code: object, reason: str) -> tuple[str, str]:
    """Return what the code of a failed task means, empty for an unknown one, and what to do after this `reason`."""
    number = int(str(code)) if str(code).isdecimal() else None
    meaning = MEANINGS.get(number or 0)
    text = "the service's time limit was over" if number == 524 else meaning.text if meaning else ""
    if number == 400 or _POLICY.search(f"{code} {reason}"):
        return "the content policy, a prompt that is not in English, or an input that can't be used", _REWORD
    if number == 408 or (number or 0) >= 500:
        return text, meaning.next_step if meaning and number == 505 else _AGAIN
    return text, meaning.next_step if meaning else "Change the request before starting a new one."


def meaning_of(code: int) -> Meaning:
    """Return what `code` means for a create request; an unlisted code is read by its hundred."""
    if code in MEANINGS:
        return MEANINGS[code]
    if 400 <= code < 500:
        return Meaning(Refused, "the service refuses the request", "Change the request.")
    return Meaning(Unknown, "the service answered with an unexpected code", f"Look at {LOGS_PAGE} before retrying.")


def sound(text: str) -> str:
    """Return text that every encoder takes: halves of surrogate pairs, which JSON can contain, become ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def one_line(text: str, limit: int = SAID_CHARS) -> str:
    """Return text as one line of at most `limit` characters, without escape sequences and invisible characters."""
    plain = re.sub(ESCAPES, "", text[: 10 * limit])
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in plain).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def service_says(text: str, code: object = None) -> str:
    """Return a service's own words as one sentence, which nothing in them can end before its time."""
    words, word = (one_line(each, most).replace('"', "'") for each, most in ((text, SAID_CHARS), (str(code or ""), 80)))
    return f'The service says: "{words}"{f" (code {word})" if word else ""}.'


def shorten(value: Any, limit: int = 80) -> str:
    """Return `value` as it was written, containers as JSON, cut to `limit` characters, for use inside a message."""
    is_json = isinstance(value, dict | list | tuple)
    text = json.dumps(value, ensure_ascii=False, default=repr) if is_json else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def guess(word: Any, words: Iterable[Any], alike: float = 0.6) -> str:
    """Return the one of the words that was probably meant, as " (did you mean 'x'?)"; else ""."""
    near = get_close_matches(str(word), map(str, words), n=1, cutoff=alike)
    return f" (did you mean {near[0]!r}?)" if near else ""
