"""Logging to stderr, with secrets masked in messages and tracebacks, and control characters made visible."""

import logging
import re
import sys

from kie_ai_mcp._settings.load import find_warnings
from kie_ai_mcp._settings.settings import Settings

log = logging.getLogger(__name__)

# What a terminal obeys, and what changes the direction of text; tabs and line ends stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return text with its control characters as JSON writes them, so that no service can command a terminal."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def log_to_stderr(settings: Settings) -> None:
    """Send every log line of this process to stderr at the level that the settings name; begin with their warnings."""

    class MaskedFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return visible(settings.mask.text(super().format(record)))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    for text in find_warnings().values():
        log.warning(text)
