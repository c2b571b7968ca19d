"""Retention: old finished tasks are deleted from the record while a server serves, by one process at a time."""

import logging
from datetime import UTC, datetime, timedelta

import anyio

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._record.lane import IN_BACKGROUND
from kie_ai_mcp.errors import KieError

log = logging.getLogger(__name__)

FIRST_S, AGAIN_S = 20.0, 86_400.0  # seconds until the first time, when a host has its first answers, and between two


async def forget(engine: Engine, age: timedelta) -> None:
    """Delete finished tasks of that age until cancelled, each day; where results are to be saved, only saved ones."""
    IN_BACKGROUND.set(True)
    pause_s = FIRST_S
    while True:
        await anyio.sleep(pause_s)
        pause_s = AGAIN_S
        try:
            if await engine.record.hold("prune", AGAIN_S):
                saved = engine.settings.output_dir is not None
                if count := await engine.record.prune(datetime.now(UTC) - age, saved=saved):
                    log.info("finished tasks older than %s days that were deleted: %s", age.days, count)
        except KieError as exc:
            log.warning("old tasks could not be deleted: %s", exc)
