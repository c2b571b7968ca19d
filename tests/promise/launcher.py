"""Launcher of forked server processes, each with orders for one step: to die there, to pause, to lose its disk.

A process of its own, so that a server starts in milliseconds: everything is imported once. Every child is a whole
server: it runs ``kie_ai_mcp.__main__.main`` on the streams and in the environment it is given, and nothing of it is
replaced but the one function its orders name.

    python launcher.py SOCKET

Each connection to the socket asks for one server: one line of JSON (``env``, ``cwd``, ``arguments``, ``orders``)
together with the descriptors of its stdin, stdout and stderr. The answers are two lines: its process id, and, once
it has ended, its exit code (minus the number of the signal that killed it). The end of stdin ends everything.
"""

import functools
import importlib
import inspect
import json
import os
import resource
import selectors
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import certifi

NOBODY = 65534
PRELOADED = (
    "anyio._backends._asyncio",
    "filelock",
    "h11",
    "httpcore",
    "httpx",
    "kie_ai_mcp.__main__",
    "kie_ai_mcp._cli.main",
    "kie_ai_mcp._mcp.consent",
    "kie_ai_mcp._mcp.server",
    "kie_ai_mcp_nano_banana",
    "mcp.server.stdio",
    "platformdirs",
)

# The functions and constants that orders speak of, by their place in the flow.
PLACES = {
    "write ahead": "kie_ai_mcp._record.submissions:Submissions.write_ahead",
    "ask for a slot": "kie_ai_mcp._record.submissions:Submissions.ask_again",
    "create": "kie_ai_mcp._service.caller:Caller.create",
    "connect": "anyio:connect_tcp",
    "record accepted": "kie_ai_mcp._record.submissions:Submissions.accepted",
    "record settled": "kie_ai_mcp._record.submissions:Submissions.settled",
    "take an answer": "kie_ai_mcp._record.consents:Consents.answer",
    "quickest answer": "kie_ai_mcp._record.consents:LEAST_S",
    "read": "kie_ai_mcp._service.caller:Caller.read",
    "record outcome": "kie_ai_mcp._record.tasks:Tasks.record_outcome",
    "save": "kie_ai_mcp._media.saving:_save",
    "write": "anyio:AsyncFile.write",
    "rename": "pathlib:Path.replace",
    "record files": "kie_ai_mcp._record.tasks:Tasks.record_files",
    "list unsettled": "kie_ai_mcp._record.submissions:Submissions.unsettled",
    "busy timeout": "kie_ai_mcp._record.database:BUSY_TIMEOUT_S",
    "grace": "kie_ai_mcp._flow.engine:GRACE_S",
    "silence": "kie_ai_mcp._record.processes:SILENCE_S",
    "patience": "kie_ai_mcp._app.patience:USUAL_PATIENCE_S",
    "cadence": "kie_ai_mcp._flow.waiting:CADENCE_S",
    "look": "kie_ai_mcp._flow.watching:LOOK_S",
    "lease": "kie_ai_mcp._flow.watching:LEASE_S",
    "usual": "kie_ai_mcp._flow.watching:USUAL_S",
    "least": "kie_ai_mcp._flow.watching:LEAST_S",
    "saves": "kie_ai_mcp._flow.watching:SAVES_S",
}

# Orders --------------------------------------------------------------------------------------------------------------


class Orders:
    """What a child does at one step.

    Args:
        at: The step: one of `PLACES`.
        when: ``before`` the call, ``after`` it, or ``reading``: when the connection it returns is first read.
        do: ``kill`` (SIGKILL to itself), ``pause`` for `seconds`, ``limit`` (no file may grow beyond `size`), or
            ``raise`` an unexpected error that contains the key.
        nth: At which call of the function.
        within: Only calls made inside of this other one of `PLACES` count.
        seconds: How long it stands still; before a kill the whole process does.
        size: In bytes.
        mark: A file that is made when the step is reached.
        constants: Values of those of `PLACES` that are no functions.
        powerless: Whether it gives up the superuser's rights.
    """

    def __init__(
        self,
        at: str = "",
        when: str = "before",
        do: str = "kill",
        nth: int = 1,
        within: str = "",
        seconds: float = 0.0,
        size: int = 0,
        mark: str = "",
        constants: dict[str, Any] | None = None,
        powerless: bool = False,
    ) -> None:
        self.at, self.when, self.do, self.nth, self.within = at, when, do, nth, within
        self.seconds, self.size, self.mark = seconds, size, mark
        self.constants, self.powerless = constants or {}, powerless
        self.calls = 0
        self.inside = ContextVar("inside", default=not within)

    def obey(self) -> None:
        """Lay the traps in this process."""
        for name, value in self.constants.items():
            holder, attribute, _ = _found(name)
            setattr(holder, attribute, value)
        if self.at:
            holder, attribute, function = _found(self.at)
            trapped = self._asynchronous(function) if inspect.iscoroutinefunction(function) else self._plain(function)
            setattr(holder, attribute, functools.wraps(function)(trapped))
        if self.within:
            holder, attribute, function = _found(self.within)
            setattr(holder, attribute, functools.wraps(function)(self._entered(function)))
        if self.powerless and os.geteuid() == 0:
            import jsonschema  # noqa: F401, PLC0415  imported late by the server, from where only the superuser reads

            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)

    def _asynchronous(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def trapped(*args: Any, **kwargs: Any) -> Any:
            due = self._due()
            if due and self.when == "before":
                await self._spring_and_wait()
            result = await function(*args, **kwargs)
            if due and self.when == "after":
                await self._spring_and_wait()
            elif due and self.when == "reading":
                self._trap_reading(result)
            return result

        return trapped

    def _plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def trapped(*args: Any, **kwargs: Any) -> Any:
            due = self._due()
            if due and self.when == "before":
                self._spring()
            result = function(*args, **kwargs)
            if due and self.when == "after":
                self._spring()
            return result

        return trapped

    def _entered(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def entered(*args: Any, **kwargs: Any) -> Any:
            token = self.inside.set(True)
            try:
                return await function(*args, **kwargs)
            finally:
                self.inside.reset(token)

        return entered

    def _trap_reading(self, stream: Any) -> None:
        receive = stream.receive

        async def trapped(*args: Any, **kwargs: Any) -> Any:
            stream.receive = receive
            await self._spring_and_wait()
            return await receive(*args, **kwargs)

        stream.receive = trapped

    def _due(self) -> bool:
        self.calls += self.inside.get()
        return self.inside.get() and self.calls == self.nth

    def _reach(self) -> None:
        if self.mark:
            Path(self.mark).touch()

    def _spring(self) -> None:
        self._reach()
        if self.do == "kill":
            time.sleep(self.seconds)
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.do == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))
        elif self.do == "raise":
            raise LookupError(f"unexpected: {os.environ['KIE_AI_API_KEY']}")
        elif self.do == "pause":
            time.sleep(self.seconds)

    async def _spring_and_wait(self) -> None:
        self._reach()
        if self.do != "pause":
            return self._spring()
        # What has been done is done: no cancellation reaches into it.
        with anyio.CancelScope(shield=self.when == "after"):
            await anyio.sleep(self.seconds)
        return None


def _found(name: str) -> tuple[Any, str, Any]:
    """The object that one of `PLACES` is an attribute of, the attribute, and its value.

    Raises:
        RuntimeError: The place names nothing.
    """
    module, _, path = PLACES[name].partition(":")
    *outer, attribute = path.split(".")
    try:
        holder: Any = importlib.import_module(module)
        for part in outer:
            holder = getattr(holder, part)
        return holder, attribute, getattr(holder, attribute)
    except (ImportError, AttributeError) as exc:
        raise RuntimeError(f"PLACES[{name!r}] names nothing: {PLACES[name]}") from exc


# Processes -----------------------------------------------------------------------------------------------------------


def serve(path: str) -> None:
    """Fork a server for every connection, until stdin ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    for name in PLACES:  # no test may pass because its server never reached the step
        _found(name)
    # Reading the machine's certificates takes longer than all the rest of a start; nothing here is encrypted.
    read_once: Any = functools.cache(ssl.create_default_context)
    ssl.create_default_context = read_once
    read_once(cafile=certifi.where())
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(path)
        listener.listen(64)
        for source in (listener, wakes, sys.stdin):
            selector.register(source, selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    for pid in running:
                        os.kill(pid, signal.SIGKILL)
                    return None
                if key.fileobj is listener:
                    control, _ = listener.accept()
                    request, streams = _request(control)
                    pid = os.fork()
                    if pid == 0:
                        for other in (control, *running.values()):
                            other.close()
                        return _become(request, streams)
                    for stream in streams:
                        os.close(stream)
                    running[pid] = control
                    _tell(control, pid)
                else:
                    os.read(wakes, 4096)
                    for pid, code in _ended(running):
                        with running.pop(pid) as control:
                            _tell(control, code)


def _request(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, streams, _, _ = socket.recv_fds(control, 65_536, 3)
    while not data.endswith(b"\n"):
        data += control.recv(65_536)
    return json.loads(data), streams


def _tell(control: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):
        control.sendall(f"{number}\n".encode())


def _ended(running: dict[int, socket.socket]) -> list[tuple[int, int]]:
    ended = []
    for pid in running:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Turn this child into the server."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    Orders(**request["orders"]).obey()
    sys.argv = ["kie-ai-mcp-server", *request["arguments"]]
    importlib.import_module("kie_ai_mcp.__main__").main()


if __name__ == "__main__":
    serve(sys.argv[1])
