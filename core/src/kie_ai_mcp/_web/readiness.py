"""Readiness of the HTTP server: whether it takes paid requests now, for whoever sends requests to one of several."""

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp.errors import ConfigError, KieError, Refused, StorageError

FULL = re.compile("disk is full|No space left")
LOOK_S = 1.5  # how long a look may take; a database or a folder on the network may hang


@dataclass
class Readiness:
    """Answers probes; all that come meanwhile share one look, which none of them can end."""

    engine: Engine
    _look: "asyncio.Task[list[str]] | None" = None

    async def answer(self, _: Request) -> Response:
        """Answer 200 where paid requests are taken, else 503 with the reasons, in words that hold nothing secret."""
        reasons = self._ending() or await self._found()
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, HTTPStatus.SERVICE_UNAVAILABLE.value)
        return JSONResponse({"status": "ready"})

    def _ending(self) -> list[str]:
        try:
            self.engine.check_open()
        except Refused:
            return ["The server is ending."]
        return []

    async def _found(self) -> list[str]:
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._reasons())
        await asyncio.wait([self._look], timeout=LOOK_S)
        if not self._look.done():
            return [f"The task database or the output folder did not answer within {LOOK_S:g} s."]
        return self._ending() or self._look.result()

    async def _reasons(self) -> list[str]:
        """Return what keeps paid requests from being made; no address, path or value, since anybody may ask."""
        engine, reasons = self.engine, list[str]()
        for error in await engine.problems():
            where = f": {'.'.join(error.where)}" if isinstance(error, ConfigError) and error.where else ""
            if error in engine.faults:
                reasons.append(engine.settings.mask.text(f"A setting can't be used{where}."))
            elif not isinstance(error, StorageError):
                reasons.append("The output folder can't be written.")
        can = "used"
        try:
            await engine.record.tasks.stamp()  # what PostgreSQL is asked, while the check only connects
            can = "written"
            await engine.record.check()
        except StorageError as exc:
            full = ": its disk is full" if FULL.search(exc.message) else ""
            reasons.append(f"The task database can't be {can}{full}.")
        if not reasons and not has_keys(engine):
            reasons.append("No key of a service is set.")
        return reasons


def has_keys(engine: Engine) -> bool:
    """Return whether there is a key of any service, or of any user, to send paid requests with."""
    return bool(engine.settings.keys_of_users) or any(map(_has_key, engine.callers.values()))


def _has_key(caller: Caller) -> bool:
    try:
        caller.check_key()
    except KieError:
        return False
    return True
