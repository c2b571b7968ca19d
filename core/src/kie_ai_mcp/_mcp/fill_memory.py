"""First answers, given before a client asks: the memory of this installation's starts is filled with them.

Nothing else is done: the database is not opened, and no service is asked.
"""

import json
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from threading import Semaphore
from typing import Any

import anyio

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.server import serve_client
from kie_ai_mcp._settings.load import Faults, load_settings, take_secrets
from kie_ai_mcp._settings.logging import log_to_stderr, log_warnings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._start.memory import Memory
from kie_ai_mcp._start.questions import META
from kie_ai_mcp._start.remembered import Start
from kie_ai_mcp.errors import ConfigError

STATELESS = "2026-07-28"
REVISIONS = ("2025-06-18", "2025-11-25", STATELESS)  # of the protocol, those that hosts serve_client
LISTS = ("tools/list", "prompts/list", "resources/templates/list")
CLIENT = {"name": "kie-ai-mcp-server", "version": "1"}


class Asking(BytesIO):
    """A client's two pipes: the questions of one revision, each given when the last is answered, and the answers."""

    def __init__(self, revision: str) -> None:
        super().__init__()
        self._questions = _questions(revision)
        self._answered = Semaphore()
        self.errors: list[Any] = []

    def readline(self, _size: int | None = -1) -> bytes:
        """Return the next question once the last one is answered."""
        self._answered.acquire()
        question = next(self._questions, None)
        if question is None:
            return b""
        if "id" not in question:
            self._answered.release()
        return json.dumps({"jsonrpc": "2.0", **question}).encode() + b"\n"

    def write(self, data: Any) -> int:
        """Take what the server writes, whole lines."""
        for line in bytes(data).splitlines():
            answer = json.loads(line)
            if "id" in answer:
                self.errors += [answer["error"]] if "error" in answer else []
                self._answered.release()
        return len(data)


def fill() -> None:
    """Let the server say what hosts ask first, and remember it; end the process with 1 where it answers an error."""
    memory, began_at = Memory.own(), time.time()
    take_secrets()
    faults: list[ConfigError] = []
    settings = load_settings(faults=faults)
    log_to_stderr(settings)
    log_warnings()
    if errors := anyio.run(_answers, settings, faults, memory, began_at):
        sys.exit(f"The server answers what hosts ask first with an error: {errors[0]}")


async def _answers(settings: Settings, faults: Faults, memory: Memory, began_at: float) -> list[Any]:
    app, errors = App.open(settings, faults), []
    for revision in REVISIONS:
        client = Asking(revision)
        start = Start(client, client, memory)
        start.began_at = began_at
        await serve_client(app, start)
        errors += client.errors
    return errors


def _questions(revision: str) -> Iterator[dict[str, Any]]:
    """Yield what a host of that revision asks first."""
    meta = {f"{META}protocolVersion": revision, f"{META}clientInfo": CLIENT, f"{META}clientCapabilities": {}}
    params = {"params": {"_meta": meta}} if revision == STATELESS else {}
    if params:
        yield {"id": 0, "method": "server/discover", **params}
    else:
        about = {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT}
        yield {"id": 0, "method": "initialize", "params": about}
        yield {"method": "notifications/initialized"}
    for number, method in enumerate(LISTS, 1):
        yield {"id": number, "method": method, **params}
