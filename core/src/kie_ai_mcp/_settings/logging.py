"""Logging to stderr, with secrets masked in messages and tracebacks."""

import logging
import sys

from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp._settings.settings import Settings


class _MaskedFormatter(logging.Formatter):
    def __init__(self, mask: Mask) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask.text(super().format(record))


def log_to_stderr(settings: Settings) -> None:
    """Send every log line of this process to stderr at the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskedFormatter(settings.mask))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
