"""A storm: servers on one database that are killed, suspended and badly answered, while they make pictures and clips.

    uv run python benchmarks/storm.py [--seconds 300] [--servers 4] [--seed 1]

Each server is the real one over stdio, the service is the sandbox, whose ledger knows what was paid. A prompt is one
purchase: its client repeats the call until it has an answer, with the same idempotency key. At the end a last server
looks at the record, and every purchase is held against the ledger. It exits with 1 where one of these is not 0:

- lost: paid, but neither a task on record nor marked as unknown.
- twice: a purchase that was paid more than once, a 1080p version included.
- false: an answer or a record that says what the ledger denies; or more credits spent than are counted or allowed.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kie_ai_mcp_sandbox.server import Sandbox

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shared.servers import OURS, environment

LIMIT = 60_000  # credits; large enough to be reached only by what goes wrong
BEGINNING = 1_000_000.0
CALLS_AT_ONCE = 4  # for each server
TRIES = 6
ANSWER_S = 60.0  # longer than any call takes, suspended servers included
LARGER = "get_veo3_1080p_video"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "storm", "version": "1"}}
FAULTS = (
    *("drop-before", "drop-after", "cut", "garbage", "empty", "no-task-id", "html", "slow:1", "slow-body:1"),
    *("http:500", "http:503", "http:429", "429:1", "code:402", "code:422", "code:455", "code:500", "timeout"),
)


Waiting = dict[int, asyncio.Future[dict[str, Any] | None]]


@dataclass
class Call:
    """One call: what was answered, and between which moments."""

    tool: str
    began: float
    answer: dict[str, Any] | None = None  # None where the server died before it answered
    ended: float = 0.0


@dataclass
class Books:
    """What clients asked for and were told, by purchase."""

    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    events: "Counter[str]" = field(default_factory=Counter)


class Server:
    """A server process that is started anew whenever it has died."""

    def __init__(self, env: dict[str, str], folder: Path, number: int) -> None:
        self.env, self.folder, self.log = env, folder, folder / f"server-{number}.log"
        self.process: asyncio.subprocess.Process | None = None
        self._waiting: Waiting = {}
        self._number = 0
        self._starting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """Send a request; return its result, or None where the server died."""
        assert self.process is not None
        if self.process.returncode is not None:
            return None
        self._number += 1
        number, future = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._write({"id": number, "method": method, "params": params})
        return await asyncio.wait_for(future, ANSWER_S)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        """Call a tool; return its answer as data, or None where the server died meanwhile."""
        async with self._starting:
            if self.process is None or self.process.returncode is not None:
                await self._start()
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        return None if result is None else result.get("structuredContent") or {"status": "error", "error": str(result)}

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to it; return whether it runs."""
        if self.process is None or self.process.returncode is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return True

    async def stop(self) -> None:
        """Let it end as its host would."""
        if self.process is not None and self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            await asyncio.wait_for(self.process.wait(), ANSWER_S)

    async def _start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *OURS,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self.env,
                cwd=self.folder,
                limit=10_000_000,
            )
        self._waiting = {}
        self._reading = asyncio.create_task(self._read(self.process, self._waiting))
        if await self.ask("initialize", HELLO) is not None:
            self._write({"method": "notifications/initialized"})

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError, RuntimeError):  # it has died; the reader says so
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process, waiting: Waiting) -> None:
        assert process.stdout is not None
        while (line := await process.stdout.readline()).endswith(b"\n"):
            message = json.loads(line)
            if (future := waiting.pop(message.get("id"), None)) and not future.done():
                future.set_result(message.get("result") or {"error": message.get("error")})
        await process.wait()
        for future in waiting.values():
            if not future.done():
                future.set_result(None)


async def buy(server: Server, books: Books, chance: random.Random, number: str) -> None:
    """Make one purchase: call until there is an answer that says that money was spent, or may have been."""
    tool, more = chance.choice([("generate_nano_banana", {}), ("generate_veo3_video", {"model": "veo3_lite"})])
    purchase = {"prompt": f"purchase {number}", "idempotency_key": number, **more}
    answer = await ask(server, books, purchase["prompt"], tool, purchase)
    if answer is None or answer.get("task_id") is None:
        return
    for _ in range(chance.randrange(4)):
        await ask(server, books, "", "get_task_status", {"task_id": answer["task_id"]})
    if tool == "generate_veo3_video":
        await ask(server, books, f"1080p of {answer['task_id']}", LARGER, {"task_id": answer["task_id"]})


async def ask(
    server: Server, books: Books, purchase: str, tool: str, arguments: dict[str, Any]
) -> dict[str, Any] | None:
    """Call again and again until the answer is final; return it."""
    for _ in range(TRIES):
        call = Call(tool, time.time())
        books.calls[purchase].append(call)
        call.answer = await server.call(tool, **arguments)
        call.ended = time.time()
        if call.answer is not None and call.answer.get("charged") != "no":
            return call.answer
        await asyncio.sleep(0.05)
    return None


async def client(server: Server, books: Books, chance: random.Random, name: str, until: float) -> None:
    """Buy one thing after the other until the time is over."""
    number = 0
    while time.time() < until:
        number += 1
        await buy(server, books, chance, f"{name}-{number}")


async def trouble(servers: list[Server], sandbox: Sandbox, books: Books, chance: random.Random, until: float) -> None:
    """Kill, suspend and answer badly until the time is over."""
    while time.time() < until:
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        server = chance.choice(servers)
        match chance.choice(["kill", "kill", "suspend", "fault", "fault", "fault", "finish"]):
            case "kill":
                books.events["killed"] += server.signal(signal.SIGKILL)
            case "suspend" if server.signal(signal.SIGSTOP):
                books.events["suspended"] += 1
                await asyncio.sleep(chance.uniform(0.1, 3.0))
                server.signal(signal.SIGCONT)
            case "fault":
                books.events["faults"] += 1
                sandbox.play(chance.choice(FAULTS), path=chance.choice(["createTask", "veo/", None]))
            case "finish":
                sandbox.advance(5)


async def storm(sandbox: Sandbox, folder: Path, seconds: float, count: int, seed: int) -> tuple[Books, dict[str, Any]]:
    """Let it rage; return what clients saw, and what a last server says."""
    env = environment(folder, sandbox.base_url) | {
        "KIE_AI_ENABLED_PROVIDERS": "nano-banana,veo3",
        "KIE_AI_RATE_LIMIT": "60",
        "KIE_AI_RATE_WINDOW_S": "1",
        "KIE_AI_MAX_CREDITS_PER_DAY": str(LIMIT),
        "KIE_AI_TIMEOUT": "3000",
    }
    books, chance, until = Books(), random.Random(seed), time.time() + seconds
    servers = [Server(env, folder, number) for number in range(count)]
    async with asyncio.TaskGroup() as group:
        for number, server in enumerate(servers):
            for lane in range(CALLS_AT_ONCE):
                group.create_task(client(server, books, chance, f"{number}-{lane}", until))
        group.create_task(trouble(servers, sandbox, books, chance, until))
    for server in servers:
        await server.stop()
    last = Server({**env, "KIE_AI_TIMEOUT": "30000"}, folder, count)
    listed = await last.call("list_tasks") or {}
    await last.stop()
    return books, listed


def judge(books: Books, sandbox: Sandbox, database: Path, listed: dict[str, Any]) -> dict[str, list[str]]:
    """Hold every purchase against the ledger; return what is wrong, by kind."""
    wrong: dict[str, list[str]] = {"lost": [], "twice": [], "false": []}
    with contextlib.closing(sqlite3.connect(database)) as record:
        tasks = {row[0] for row in record.execute("SELECT task_id FROM tasks")}
        rows = record.execute(
            "SELECT json_extract(arguments, '$.prompt'), state, task_id, tool FROM submissions"
        ).fetchall()
    states: dict[str | None, set[str]] = defaultdict(set)
    for prompt, state, _, _ in rows:
        states[prompt].add(state)
    paid: dict[str, list[Any]] = defaultdict(list)
    for entry in sandbox.ledger:
        paid[str(entry.body.get("prompt") or entry.body.get("input", {}).get("prompt"))].append(entry)
    for prompt, entries in paid.items():
        if len(entries) > 1:
            wrong["twice"].append(f"{prompt}: {[entry.task_id for entry in entries]}")
        for entry in entries:
            if entry.task_id not in tasks and "unknown" not in states[prompt]:
                wrong["lost"].append(f"{prompt}: task {entry.task_id}, on record as {states[prompt] or 'nothing'}")
    by_id = {entry.task_id: prompt for prompt, entries in paid.items() for entry in entries}
    for prompt, calls in books.calls.items():
        for call in calls:
            wrong["false"] += false(prompt, call, paid.get(prompt, []), by_id)
    for prompt, state, task_id, tool in rows:
        if state == "accepted" and tool != LARGER and by_id.get(task_id) != prompt:
            wrong["false"].append(f"{prompt} is on record as task {task_id}, which is {by_id.get(task_id)}")
    spent, counted = BEGINNING - sandbox.credits, listed.get("credits_24h", -1.0)
    if spent > min(counted, LIMIT):
        wrong["false"].append(f"{spent:g} credits were spent, {counted:g} are counted, {LIMIT} are allowed")
    larger = sum(round(entry.credits) for entry in sandbox.tasks.values())
    enlarged = sum(tool == LARGER and state in {"accepted", "unknown"} for _, state, _, tool in rows)
    if spent > larger + 5 * enlarged:
        wrong["twice"].append(f"{spent - larger:g} credits for at most {enlarged} 1080p versions of 5 credits")
    return wrong


def false(prompt: str, call: Call, entries: list[Any], by_id: dict[str, str]) -> list[str]:
    """Return what the ledger denies in one answer."""
    answer = call.answer
    if answer is None or not prompt.startswith("purchase"):
        return []
    task_id, charged = answer.get("task_id"), answer.get("charged")
    if task_id is not None and by_id.get(task_id) != prompt:
        return [f"{prompt} was answered with task {task_id}, which is {by_id.get(task_id)}"]
    if task_id is None and charged == "no" and any(call.began <= entry.time <= call.ended for entry in entries):
        return [f"{prompt} was answered with 'not charged', but was paid: {answer.get('error')}"]
    return []


def main() -> None:
    """Let the storm rage, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Sandbox(speed=4, credits=BEGINNING, rate_limit=100_000) as sandbox:
        folder = Path(name)
        run = storm(sandbox, folder, options.seconds, options.servers, options.seed)
        books, listed = asyncio.run(run)
        wrong = judge(books, sandbox, folder / "tasks.db", listed)
        logs = "".join(path.read_text("utf-8", "replace") for path in folder.glob("server-*.log"))
        crashes = logs.count("Traceback")
        calls = [call for some in books.calls.values() for call in some]
        dead = sum(call.answer is None for call in calls)
        unknown = sum((call.answer or {}).get("charged") == "unknown" for call in calls)
        print(f"{options.seconds:g} s, {options.servers} servers: {dict(books.events)}; {crashes} tracebacks logged")
        print(f"{len(calls)} calls, {dead} of them never answered, {unknown} answered with 'unknown'")
        spent, counted = BEGINNING - sandbox.credits, listed.get("credits_24h")
        print(f"{len(sandbox.ledger)} paid; {spent:g} credits spent, {counted} counted")
        for kind, cases in wrong.items():
            print(f"{kind}: {len(cases)}", *cases[:10], sep="\n  ")
        if crashes:
            print(logs[logs.index("Traceback") :][:3_000])
    sys.exit(any(wrong.values()))


if __name__ == "__main__":
    main()
