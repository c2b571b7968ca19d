"""Early answers over stdio: remembered from the last start, checked against the server once it is loaded.

To import the protocol's SDK takes most of a second, and hosts wait for it. So what a client asks first, and what
depends on nothing but the installation and its settings, is answered from a file, a `Memory`:

- `begin` takes stdin and stdout, and one thread reads every line from then on. Questions whose answer is remembered are
  answered by it; the first line that asks anything else, and every one after it, waits for the server, in order.
- `Start.wait` returns when the server is needed or, unless KIE_AI_LOAD is "demand", when the client pauses. Input that
  ends before that ends the process, and nothing has been imported.
- The server gets all lines, also those that were answered, through `Start.readline`, and each of its answers passes
  `Start.is_to_send`. One that was given already is held back and compared: where it is another now, the memory is
  corrected, a warning logged and the client told that the list of tools has changed. What is new is remembered.
- A memory holds for one interpreter, import path, environment and home, and as long as every file that the answers were
  made of is as it was (`Memory.of`): one that was installed, edited or configured leads to a usual start.
- With the argument `FILL_COMMAND` the program asks itself, so that even the first start in a host has a memory.

Until the server is loaded this module imports nothing but a few of the standard library's: each costs milliseconds.
"""

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, BinaryIO

from kie_ai_mcp._start.limits import LOAD, MESSAGE_BYTES
from kie_ai_mcp._start.memory import Memory
from kie_ai_mcp._start.questions import MODERN, is_modern, is_number, question_in

QUESTION_BYTES = 64 * 1024  # a longer line is no question that is remembered
PAUSE_S = 0.05  # a client that asks nothing for so long can wait for the server
WAITING_BYTES = 1024 * 1024  # once lines of so much memory wait for the server, no other one is read
FILL_COMMAND = "remember"  # the one argument of a process that is to fill the memory, and to do nothing else
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Endings of the variables whose values are never shown; the settings, which know more, are not imported yet.
SECRETS = ("key", "keys", "token", "secret", "password", "database_url")
SHORTEST_SECRET = 6  # to mask a shorter one would damage other words


class Start:
    """One process's start: reads all of its input, and answers what is remembered until the server does."""

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO, memory: Memory) -> None:
        self.stdin, self.stdout, self.memory = stdin, stdout, memory
        self.began_at = time.time()
        # Questions by the request's number: those that were answered from memory, those that the server is to answer.
        self.answered_early: dict[str | int, str] = {}
        self.awaited: dict[str | int, str] = {}
        self._corrected: list[str] = []  # the questions of answers that were given and are others now
        self._has_unsaved = False  # something is remembered that is not written down
        self._early: deque[bytes] = deque()  # lines that were answered
        self._lines: deque[bytes] = deque()  # lines that wait for the server
        self._waiting_bytes = 0  # the memory that they take
        self._secrets = _secrets()  # before they are taken out of the environment
        self._condition = threading.Condition()
        self._is_passing = not memory.answers  # nothing is answered any more
        self._is_over = False
        self._early_bytes = 0  # the memory of lines that were answered
        self._agreed: str | None = None  # the revision that client and server have agreed upon, or MODERN
        self._quiet_since = time.monotonic()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    # Before the server is loaded

    def wait(self) -> bool:
        """Wait until the server is to be loaded; return False where the input has ended without a need for it."""
        on_demand = os.environ.get(LOAD, "").strip().lower() == "demand"
        with self._condition:
            while not self._is_passing and not self._is_over:
                left = self._quiet_since + PAUSE_S - time.monotonic()
                if left <= 0 and not on_demand:
                    return True
                self._condition.wait(None if on_demand else left)
            return self._is_passing

    def fail(self, error: BaseException) -> None:
        """Answer every request that waits for a server which could not be loaded, with the error's first cause."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.fail_with(f"{type(error).__name__}: {error}")

    def fail_with(self, reason: str) -> None:
        """Answer every request that waits for a server which could not be loaded."""
        for secret in self._secrets:
            reason = reason.replace(secret, "[key]")
        with self._condition:
            self._is_passing = True
            lines, self._early, self._lines, self._waiting_bytes = [*self._lines], deque(), deque(), 0
        for line in lines:
            with suppress(ValueError, AttributeError, OSError):
                message = json.loads(line)
                if is_number(message.get("id")) and "method" in message:
                    error = {
                        "code": -32603,
                        "message": f"The server could not be started, and nothing was sent: {reason}",
                    }
                    self._write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}))

    def _read(self) -> None:
        try:
            self._read_lines()
        except (OSError, ValueError):  # a connection that broke, or a file that cannot be read
            pass
        finally:
            with self._condition:
                self._is_over = True
                self._condition.notify_all()

    def _read_lines(self) -> None:
        while line := self.stdin.readline(MESSAGE_BYTES + 1):
            end = line
            while len(line) > MESSAGE_BYTES and end and not end.endswith(b"\n"):
                end = self.stdin.readline(MESSAGE_BYTES)  # the rest of a line that is refused
            with self._condition:
                question = question_in(line, self._agreed) if len(line) <= QUESTION_BYTES else None
                if question is not None and is_modern(question[1]):
                    self._agreed = MODERN
                is_room = self._early_bytes < WAITING_BYTES  # they are kept until the server has them
                if not self._is_passing and is_room and self._answer(question):
                    self._early.append(line)
                    self._early_bytes += sys.getsizeof(line)
                    self._quiet_since = time.monotonic()
                    self._condition.notify_all()
                    continue
                self._is_passing = True
                if question is not None and question[1]:
                    self.awaited[question[0]] = question[1]
                self._lines.append(line)
                self._waiting_bytes += sys.getsizeof(line)
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._waiting_bytes < WAITING_BYTES)

    def _answer(self, question: tuple[Any, str] | None) -> bool:
        """Answer a question from memory, where it is remembered; an empty one needs no answer."""
        if question is None:
            return False
        number, key = question
        if not key:
            return True
        result = self.memory.answers.get(key)
        if result is None or number in self.answered_early:
            return False
        text = f'{{"jsonrpc":"2.0","id":{json.dumps(number)},"result":{result}}}'
        try:
            text.encode()
            agreed = json.loads(text)["result"].get("protocolVersion")
        except (ValueError, AttributeError, RecursionError):  # the file was damaged
            return False
        self._write(text)
        self.answered_early[number] = key
        if key.startswith("initialize "):
            self._agreed = agreed
        return True

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the client has gone; the end of the input follows
            self.stdout.write(text.encode() + b"\n")
            self.stdout.flush()

    # While it serves

    def readline(self) -> bytes:
        """Return the next line for the server, at first those that were answered; empty at the end of the input.

        Of a line that is longer than `MESSAGE_BYTES` only the beginning is given.
        """
        with self._condition:
            self._is_passing = True
            if self._early:
                return self._early.popleft()
            self._condition.wait_for(lambda: self._lines or self._is_over)
            line = self._lines.popleft() if self._lines else b""
            self._waiting_bytes -= sys.getsizeof(line) if line else 0
            self._condition.notify_all()
            return line

    def is_to_send(self, number: Any, result: Any) -> bool:
        """Return whether an answer of the server is to be sent: not one that was given. Remember it, if it is new."""
        if not is_number(number):
            return True
        early, question = self.answered_early.pop(number, None), self.awaited.pop(number, None)
        key = early or question
        if key is None:
            return True
        if isinstance(result, dict) and "ttlMs" in result:
            result = {**result, "ttlMs": 0}  # an early answer may be corrected soon
        text = None if result is None else json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        if text != self.memory.answers.get(key):
            self.memory.answers.pop(key, None)
            if text is not None:
                self.memory.answers[key] = text
            self._has_unsaved = True
            self._corrected += [early] if early else []
        if key.startswith("initialize ") and isinstance(result, dict):
            self._agreed = result.get("protocolVersion")
        return early is None

    def take_corrected(self) -> list[str]:
        """Return the questions whose given answers have been corrected since the last call of this."""
        corrected, self._corrected = self._corrected, []
        return corrected

    def take_unsaved(self) -> bool:
        """Return whether there is something to write down since the last call of this."""
        has_news, self._has_unsaved = self._has_unsaved, False
        return has_news


def begin(*, remembers: bool = True) -> Start:
    """Take stdin and stdout from everything else in this process, and start to answer, if it `remembers`."""
    # Before the first answer, after which a signal may come at once. The server sets its own.
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    _open_standard_ones()
    out = os.fdopen(_take_descriptor(1, 2), "wb", closefd=False)
    stdin = os.fdopen(_take_descriptor(0, None), "rb", closefd=False)  # a thread may still read from it at the end
    sys.stdout = sys.stderr
    return Start(stdin, out, Memory.own() if remembers else Memory())


def _take_descriptor(number: int, other: int | None) -> int:
    """Return a new descriptor for what a standard one stood for, which then stands for another, else for no file."""
    kept = os.dup(number)
    instead = os.open(os.devnull, os.O_RDONLY) if other is None else other
    os.dup2(instead, number)
    if other is None:
        os.close(instead)
    return kept


def _open_standard_ones() -> None:
    """Open descriptors that a host has closed, so that what is meant for one of them never reaches another file."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _end(number: int, _frame: object) -> None:
    os._exit(0 if number == signal.SIGTERM else 128 + number)  # nothing has been sent, so there is nothing to end


def _secrets() -> list[str]:
    """Return the secrets in the environment, without what people write around them, the longest first."""
    given = (
        value for name, value in os.environ.items() if name.startswith("KIE_AI_") and name.lower().endswith(SECRETS)
    )
    whole = [value.split()[-1].strip("\"'") for value in given if value.strip()]
    found = {*whole, *(part.rpartition("=")[2] for value in whole for part in value.split(","))}
    found |= {value.partition("://")[2].rpartition("@")[0].partition(":")[2] for value in whole}
    return sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)
