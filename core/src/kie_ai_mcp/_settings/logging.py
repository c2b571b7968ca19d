"""Logging to stderr, without the key: not in a message, not in a traceback."""

import logging
import sys

from kie_ai_mcp._settings.settings import Settings


class _Masked(logging.Formatter):
    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._settings = settings

    def format(self, record: logging.LogRecord) -> str:
        return self._settings.mask(super().format(record))


def log_to_stderr(settings: Settings) -> None:
    """Send every log line of this process to stderr at the level the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Masked(settings))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
