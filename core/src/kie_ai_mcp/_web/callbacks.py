"""Callbacks of the service: news of ended tasks, proved by a signature and believed in nothing else."""

import base64
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.results import refresh
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._service.envelope import task_ids_in
from kie_ai_mcp._settings.logging import Outage
from kie_ai_mcp._web.access import refusal
from kie_ai_mcp.errors import KieError, StorageError
from kie_ai_mcp.readings import object_in
from kie_ai_mcp.specs import KIE

log = logging.getLogger(__name__)
OLDEST_S = 300  # A signature of an earlier or later time than this many seconds is a replay, or a clock that is wrong
HINT_EVERY_S = 2.0  # an unsigned callback makes one task be read at most so often
HINTS = (100, 10.0)  # at most so many unsigned callbacks are looked at in so many seconds


@dataclass
class Callbacks:
    """Takes what the service posts; it proves no more than that a task is worth reading now."""

    engine: Engine
    _hinted: dict[str, float] = field(default_factory=dict)
    _looked: list[float] = field(default_factory=list)
    _outage: Outage = field(default_factory=lambda: Outage(log, "callbacks are refused", "callbacks are taken"))

    async def take(self, request: Request) -> Response:
        """Check a callback, then wake those who wait for the task, or read it where nobody does."""
        ids = task_ids_in(object_in((await request.body()).decode(errors="replace")))
        if not ids:
            return refusal(HTTPStatus.BAD_REQUEST, "It names no task.")
        settings = self.engine.settings
        if (key := settings.signing_key) is not None:
            if signed := [task_id for task_id in ids if _is_signed(task_id, request.headers, key)]:
                return await self._taken(signed[0])
            if not settings.keys_of_users:  # whose accounts have keys of their own, which nobody has told the server
                hint = "KIE_AI_WEBHOOK_KEY must be the account's own key"
                log.warning("a callback without a valid signature was refused; %s", hint)
                return refusal(HTTPStatus.UNAUTHORIZED, "Its signature is missing, wrong or too old.")
        if not self._may_look():
            return refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many unsigned callbacks.", {"Retry-After": "10"})
        return await self._taken(ids[0], hint=True)

    async def _taken(self, task_id: str, *, hint: bool = False) -> Response:
        try:
            record = await self.engine.record.tasks.find(f"{KIE}:{task_id}")
        except StorageError as exc:  # whoever reads the task once the database is back learns its end all the same
            self._outage.begin(exc)
            message = "The server's database can't be used now. Polls find the end of the task."
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": "5"})
        self._outage.end()
        # The same answer whatever is on record: who posts learns nothing.
        answer = JSONResponse({"code": 200, "msg": "success"})
        if record is None or record.final or (hint and not self._is_hint(record)):
            return answer
        answer.background = BackgroundTask(self._read, record.written_id)
        return answer

    async def _read(self, task_id: str) -> None:
        if self.engine.wake(task_id):
            return
        try:
            await refresh(self.engine, task_id)
        except KieError as exc:
            log.warning("task %s was announced but could not be read: %s", task_id, exc)

    def _may_look(self) -> bool:
        most, within_s = HINTS
        now = time.monotonic()
        self._looked = [moment for moment in self._looked if moment >= now - within_s]
        if len(self._looked) >= most:
            return False
        self._looked.append(now)
        return True

    def _is_hint(self, record: TaskRecord) -> bool:
        """Return whether an unsigned callback may make a task be read: not one of an account whose key is known."""
        engine, now = self.engine, time.monotonic()
        if engine.settings.signing_key is not None and record.account in engine.record.tasks.scope.accounts_at(KIE):
            return False
        self._hinted = {name: moment for name, moment in self._hinted.items() if moment > now - HINT_EVERY_S}
        return self._hinted.setdefault(record.task_id, now) == now


def signature(key: str, task_id: str, timestamp: str) -> str:
    """Return what the service's header must hold: Base64 of HMAC-SHA256 over ``taskId.timestamp``."""
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(errors="replace"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _is_signed(task_id: str, headers: Headers, key: str) -> bool:
    timestamp = headers.get("x-webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdecimal() and abs(time.time() - int(timestamp[:12])) <= OLDEST_S):
        return False
    claimed = headers.get("x-webhook-signature", "")
    return hmac.compare_digest(claimed.encode(), signature(key, task_id, timestamp).encode())
