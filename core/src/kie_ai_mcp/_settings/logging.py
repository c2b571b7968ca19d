"""Logging to stderr, with secrets masked in messages and tracebacks, and control characters made visible."""

import io
import json
import logging
import re
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from kie_ai_mcp._settings.load import find_warnings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import CONTROLS

log = logging.getLogger(__name__)
WORDY = "peewee", "mcp", "sse_starlette", "httpcore"  # libraries that write requests down whole, prompts and all


def visible(text: str) -> str:
    """Return text with its control characters as JSON writes them, so that no service can command a terminal."""
    return re.sub(f"[{CONTROLS}]", lambda match: f"\\u{ord(match[0]):04x}", text)


@dataclass
class Outage:
    """What can't be done for a while, and is tried again and again: a line as it begins, and one as it ends."""

    log: logging.Logger
    cant: str  # such as "users can't be looked up"
    can: str
    is_on: bool = False

    def begin(self, reason: object) -> None:
        """Log the reason, unless it has begun before."""
        self.log.log(logging.DEBUG if self.is_on else logging.WARNING, "%s: %s", self.cant, reason)
        self.is_on = True

    def end(self) -> None:
        """Log that it is over, if it had begun."""
        if self.is_on:
            self.log.warning("%s again", self.can)
        self.is_on = False


class _Handler(logging.StreamHandler[TextIO]):
    """The handler of this program, which takes the place of an earlier one."""


def log_to_stderr(settings: Settings, usual: str = "warning") -> None:
    """Send every log line of this process to stderr at the level that the settings name.

    Where they name none, lines of this program have the `usual` level, and those of libraries are warnings and errors.
    """

    class MaskedFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return visible(settings.mask.text(super().format(record)))

    class JsonFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            values = {"time": moment.replace("+00:00", "Z"), "level": record.levelname.lower(), "logger": record.name}
            values |= {"message": record.getMessage()} | getattr(record, "fields", {})
            if record.exc_info:
                values["traceback"] = self.formatException(record.exc_info)
            # Masked before it is written: a key with quotes in it reads otherwise in JSON.
            return visible(json.dumps(settings.mask.json(values, encodable=True), ensure_ascii=False))

    stream = sys.stderr.stream if isinstance(sys.stderr, _Lines) else sys.stderr
    handler = _Handler(stream)
    handler.setFormatter(MaskedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
        _log_everything(stream)
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(earlier)
    logging.basicConfig(level=(settings.log_level or "warning").upper(), handlers=[handler])
    logging.getLogger("kie_ai_mcp").setLevel((settings.log_level or usual).upper())
    for name in WORDY if settings.log_level == "debug" and not settings.log_prompts else ():
        logging.getLogger(name).setLevel(logging.INFO)


def log_warnings() -> None:
    """Log what was left out of the settings."""
    for text in find_warnings().values():
        log.warning(text)


class _Lines(io.TextIOBase):
    """A stream in place of stderr whose lines become lines of the log, whoever writes them."""

    encoding, errors = "utf-8", "backslashreplace"

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            record = logging.LogRecord("stderr", logging.INFO, "", 0, "%s", (line,), None)
            logging.getLogger().handle(record)  # at every level: it was to be seen
        return len(text)

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


def _log_everything(stream: TextIO) -> None:
    """Log what else would be written to stderr: uncaught exceptions, warnings, and whatever is printed there."""

    def uncaught(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
        log.critical("The program failed.", exc_info=(kind, exc, trace))

    def in_thread(args: Any) -> None:
        uncaught(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)

    sys.excepthook, threading.excepthook = uncaught, in_thread
    logging.captureWarnings(capture=True)
    sys.stderr = _Lines(stream)
