"""Logging to stderr, with secrets masked in messages and tracebacks, and control characters made visible."""

import logging
import re
import sys

from kie_ai_mcp._settings.load import find_warnings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import CONTROLS

log = logging.getLogger(__name__)


def visible(text: str) -> str:
    """Return text with its control characters as JSON writes them, so that no service can command a terminal."""
    return re.sub(f"[{CONTROLS}]", lambda match: f"\\u{ord(match[0]):04x}", text)


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
