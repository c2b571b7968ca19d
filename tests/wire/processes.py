"""Server processes driven by hand: lines of JSON-RPC over pipes, plain calls over HTTP."""

import json
import os
import queue
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.helpers import LIMIT_S

Message = dict[str, Any]

PREFIX = "io.modelcontextprotocol/"
STATELESS = "2026-07-28"
CLIENT = {"name": "by hand", "version": "1"}


class Child:
    """A process whose stdin and stdout are JSON-RPC lines; everything that passes is kept.

    Args:
        process: It, with text pipes.
        log: Where its stderr goes.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.log = log
        self.sent: list[str] = []
        self.received: list[str] = []
        self.meta: Message = {}
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def line(self) -> str:
        """The next line of its stdout, or "" at the end."""
        line = self._lines.get(timeout=LIMIT_S)
        if line is not None:
            self.received.append(line)
        return line or ""

    def write(self, line: str) -> None:
        """Write a line that is no part of the conversation."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def write_bytes(self, data: bytes) -> None:
        """Write what may be no text at all."""
        assert self.process.stdin is not None
        with os.fdopen(self.process.stdin.fileno(), "wb", closefd=False) as pipe:
            pipe.write(data)

    def send(self, line: str) -> None:
        """Write a message."""
        self.sent.append(line)
        self.write(line)

    def ask(self, method: str, **params: Any) -> int:
        """Send a request and return its id."""
        number = len(self.sent) + 1
        if self.meta:
            params["_meta"] = {**self.meta, **params.get("_meta", {})}
        self.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return number

    def answer(self, number: int) -> Message:
        """Read until the answer to a request, result or error."""
        while line := self.line():
            message: Message = json.loads(line)
            if message.get("id") == number and "method" not in message:
                return message
        raise AssertionError(f"stdout ended before the answer; stderr:\n{self.errors}")

    def call(self, tool: str, **arguments: Any) -> Message:
        """Call a tool and return its result."""
        answer = self.answer(self.ask("tools/call", name=tool, arguments=arguments))
        assert "result" in answer, answer
        result: Message = answer["result"]
        return result

    def greet(self, revision: str) -> Message:
        """Open the conversation as a client of that revision does; return what the server says of itself."""
        if revision == STATELESS:
            # No handshake: every request says by itself who asks, what it speaks and what it can do.
            self.meta = {
                f"{PREFIX}protocolVersion": revision,
                f"{PREFIX}clientInfo": CLIENT,
                f"{PREFIX}clientCapabilities": {},
            }
            answer = self.answer(self.ask("server/discover"))
        else:
            answer = self.answer(self.ask("initialize", protocolVersion=revision, capabilities={}, clientInfo=CLIENT))
            self.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        result: Message = answer["result"]
        return result

    def close_input(self) -> None:
        """End its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self, within_s: float = LIMIT_S) -> int:
        """Wait for its end, read what is left of its stdout, and return its exit code."""
        code = self.process.wait(timeout=within_s)
        while self.line():
            pass
        return code

    @property
    def errors(self) -> str:
        """Its stderr so far."""
        return self.log.read_text(encoding="utf-8")

    def close(self) -> None:
        """Leave nothing of it behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=LIMIT_S)
        self._reader.join(timeout=LIMIT_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


@dataclass
class Site:
    """The server over HTTP, as a child process.

    Args:
        child: It.
        url: ``http://127.0.0.1:PORT``.
        client: Talks to it.
    """

    child: Child
    url: str
    client: httpx.Client

    def tool(self, tool: str, /, **arguments: Any) -> Message:
        """Call a tool the plain way, and return its result."""
        answer = self.client.post("/tools/call", json={"name": tool, "arguments": arguments})
        assert answer.status_code == 200, answer.text
        result: Message = answer.json()
        return result
