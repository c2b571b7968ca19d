"""Relay for ``serve --reload``: it restarts the server when the source of an editable provider changes.

The process that the client started stays: it passes lines on, and the server is its child. The child is replaced only
between requests. Requests that arrive meanwhile wait for the new child, which gets the client's own `initialize`
message; so the client's session goes on, and its next call runs the changed source. A request that takes longer than
`PATIENCE_S` is answered with an error; the child records what it has paid for before it ends.
"""

import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import click
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from watchfiles import Change, DefaultFilter, awatch

from kie_ai_mcp.errors import ConfigError, one_line
from kie_ai_mcp.hookspecs import PROJECT

COMMAND = (sys.executable, "-m", "kie_ai_mcp", "serve")
PATIENCE_S = 10.0  # how long open requests may still take when the source has changed; longer than a paid request takes
END_S = 9.0  # how long a child may take to end; it records the requests under way
LINE_LIMIT = 64 * 1024 * 1024
INITIALIZE = "kie-ai-mcp-server reload"  # with it begin the ids of messages that are repeated to a new child
LISTEN = "subscriptions/listen"  # answered when the server ends
CHANGING = ("tools", "prompts")  # lists that may change with the source, prompts since they name tools
SERVER_ERROR = -32000
AGAIN = "its log says why. It starts at the next change."

Message = dict[str, Any]


def editable_sources() -> list[Path]:
    """Return the folder, or the file, of every provider that is installed editable, without importing any."""
    sources: set[Path] = set()
    for entry in entry_points(group=PROJECT):
        try:
            origin = json.loads((entry.dist and entry.dist.read_text("direct_url.json")) or "{}")
            spec = find_spec(entry.module.partition(".")[0])
        except (ValueError, ImportError):
            continue
        if origin.get("dir_info", {}).get("editable") and spec:
            sources.update(map(Path, spec.submodule_search_locations or filter(None, [spec.origin])))
    return sorted(source for source in sources if source.exists())


@dataclass
class Relay:
    """Relay of lines between the client and the current child; `outdated` is set when the source has changed.

    Raise ConfigError where there is no source to follow.
    """

    environment: Mapping[str, str]  # of the child
    options: tuple[str, ...] = ()  # likewise
    outdated: anyio.Event = field(default_factory=anyio.Event)
    _child: Process | None = None
    _settled: anyio.Event = field(default_factory=anyio.Event)  # requests wait for it while the child is replaced
    _idle: anyio.Event = field(default_factory=anyio.Event)
    _closed: bool = False
    _retired: bool = False
    _served: bool = False
    _initialize: Message | None = None
    _initialized: bytes | None = None
    _subscribed: dict[str, Message] = field(default_factory=dict)  # the requests for them, by address
    _open: dict[str | int, str] = field(default_factory=dict)
    _wire: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self._sources = editable_sources()
        if not self._sources:
            reason = "serve --reload found no provider that is installed editable, so there is nothing to follow."
            cure = "Install yours with pip install --editable FOLDER, or with --with-editable FOLDER of uv."
            raise ConfigError(reason, next_step=cure)

    async def run(self) -> int:
        """Pass lines until the client closes its end; return the exit code of the last child."""
        async with anyio.create_task_group() as group:
            if packages := {path for path in self._sources if path.is_dir()}:
                group.start_soon(self._follow, packages, True)
            # A single module is watched through its folder: editors replace the file.
            if folders := {path.parent for path in self._sources if path.is_file()}:
                group.start_soon(self._follow, folders, False)
            group.start_soon(self._from_client)
            while True:
                code = await self._one_child()
                if self._closed or not self._served:
                    break
                if self._retired:
                    await self._refuse_open("The server started anew, since a provider changed. Call again.")
                else:
                    self._settled.set()  # without a child, requests are refused until the source changes
                    await self._refuse_open(f"The server ended by itself with code {code}; {AGAIN}")
                await self.outdated.wait()
                if self._closed:
                    break
                self._hold_requests()
            group.cancel_scope.cancel()
        return code

    async def end(self, received: signal.Signals | None = None) -> None:
        """End the child by closing its input, or by a signal, and wait while it records the requests under way."""
        child = self._child
        if child is None or child.stdin is None:
            return
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            if received is not None and sys.platform != "win32":  # there the console has told the child
                child.send_signal(received)
            await child.stdin.aclose()
        with anyio.move_on_after(END_S):
            await child.wait()
            return
        child.kill()

    async def _follow(self, folders: set[Path], recursive: bool) -> None:
        usual = DefaultFilter()

        def counts(change: Change, path: str) -> bool:
            return usual(change, path) and (recursive or Path(path) in self._sources)

        async for changes in awatch(*folders, watch_filter=counts, recursive=recursive, debounce=200):
            names = sorted({Path(path).name for _, path in changes})
            click.echo(f"kie-ai-mcp-server: {one_line(', '.join(names))} changed; starting anew", err=True)
            self.outdated.set()

    async def _one_child(self) -> int:
        self.outdated, self._retired = anyio.Event(), False
        command = (*COMMAND, *self.options)
        async with await anyio.open_process(command, stderr=None, env=self.environment) as child:
            assert child.stdout is not None  # noqa: S101  a pipe is anyio's default
            self._child = child
            async with anyio.create_task_group() as group:
                group.start_soon(self._retire_when_outdated)
                if self._initialize is None:
                    self._settled.set()
                else:
                    await self._write_child(_line({**self._initialize, "id": INITIALIZE}))
                lines = BufferedByteReceiveStream(child.stdout)
                with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                    while True:
                        await self._from_child(await lines.receive_until(b"\n", LINE_LIMIT))
                code = await child.wait()
                group.cancel_scope.cancel()
        self._child = None
        return code

    async def _retire_when_outdated(self) -> None:
        await self.outdated.wait()
        self._hold_requests()
        with anyio.move_on_after(PATIENCE_S):
            while self._awaited:
                self._idle = anyio.Event()
                await self._idle.wait()
        self._retired = True
        await self.end()

    def _hold_requests(self) -> None:
        if self._settled.is_set():  # else requests wait for this event already
            self._settled = anyio.Event()

    async def _from_client(self) -> None:
        while line := await anyio.to_thread.run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
            line = line.rstrip(b"\r\n")
            if not line.strip():
                continue
            message = _message(line)
            method, number = message.get("method"), message.get("id")
            if method == "initialize":
                self._initialize = message
            elif method == "notifications/initialized":
                self._initialized = line
            elif method in {"resources/subscribe", "resources/unsubscribe"} and isinstance(message.get("params"), dict):
                address = str(message["params"].get("uri"))
                self._subscribed.pop(address, None)
                self._subscribed |= {address: message} if method == "resources/subscribe" else {}
            elif method == "notifications/cancelled" and isinstance(message.get("params"), dict):
                self._answered(message["params"].get("requestId"))
            if isinstance(method, str) and isinstance(number, str | int):
                await self._settled.wait()
                self._open[number] = method
                if self._child is None:
                    await self._refuse_open(f"The server has ended; {AGAIN}")
                    continue
            await self._write_child(line)
        self._closed = True
        self.outdated.set()  # a child that just starts is ended at once, and none is waited for
        await self.end()

    async def _from_child(self, line: bytes) -> None:
        message = _message(line)
        number = message.get("id")
        if "method" in message or not isinstance(number, str | int):
            await self._write_client(line)
        elif number == INITIALIZE:
            if self._initialized is not None:
                await self._write_child(self._initialized)
                for address, request in self._subscribed.items():
                    await self._write_child(_line({**request, "id": f"{INITIALIZE} {address}"}))
                for part in CHANGING:
                    changed = {"jsonrpc": "2.0", "method": f"notifications/{part}/list_changed"}
                    await self._write_client(_line(changed))
            if not self.outdated.is_set():
                self._settled.set()
        elif not str(number).startswith(INITIALIZE):
            self._served = True
            method = self._answered(number)
            if isinstance(message.get("result"), dict) and _announce_changes(method, message["result"]):
                line = _line(message)
            await self._write_client(line)

    @property
    def _awaited(self) -> bool:
        """Whether a request is open that its server answers before it ends."""
        return any(method != LISTEN for method in self._open.values())

    def _answered(self, number: Any) -> str | None:
        method = self._open.pop(number, None) if isinstance(number, str | int) else None
        if not self._awaited:
            self._idle.set()
        return method

    async def _refuse_open(self, reason: str) -> None:
        for number in list(self._open):
            self._answered(number)
            error = {"code": SERVER_ERROR, "message": reason}
            await self._write_client(_line({"jsonrpc": "2.0", "id": number, "error": error}))

    async def _write_child(self, line: bytes) -> None:
        # Requests that the child did not read are refused when it has ended.
        if self._child is not None and self._child.stdin is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                await self._child.stdin.send(line + b"\n")

    async def _write_client(self, line: bytes) -> None:
        async with self._wire:
            await anyio.to_thread.run_sync(_write_stdout, line + b"\n")


def _announce_changes(method: str | None, result: Message) -> bool:
    """Let an answer say that lists may change, as they do with --reload; return whether it was edited."""
    capabilities = result.get("capabilities") or {}
    parts = [part for name in CHANGING if isinstance(part := capabilities.get(name), dict)]
    if method in {"initialize", "server/discover"} and parts:
        for part in parts:
            part["listChanged"] = True
    elif method == "tools/list" and "ttlMs" in result:
        result["ttlMs"] = 0
    else:
        return False
    return True


def _write_stdout(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _message(line: bytes) -> Message:
    """Return a line as a message; an empty message for a line of another form, which is passed on unchanged."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _line(message: Message) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
