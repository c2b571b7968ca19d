"""HTTP calls: `list_tasks` of our server against a hello-world on the SDK, both served over HTTP in the same run.

    uv run python benchmarks/over_http.py [--rounds 200] [--at-once 16] [--tasks 20]

Both are children and answer the same client: without a session in the newest revision, with one in the revision before,
and, ours alone, by the plain ``POST /tools/call``. Prints the median and p95 of one call at a time and of many in
flight, calls per second, and ratios to the hello-world. (A script named ``http.py`` would take the place of Python's
own module for all of its neighbours.)
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from typing import Any

from kie_ai_mcp_sandbox.server import Sandbox

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shared.servers import OURS, OVER_HTTP, environment, free_port, hello_world, over_http

STATELESS, SESSION = "2026-07-28", "2025-11-25"
PLAIN = "POST /tools/call"
CLIENT = {"name": "bench", "version": "1"}
LIMIT_S = 30
BLOCKS = 4  # both servers take turns, so that a slow moment of the machine meets both
WARM = 20  # calls of each client that are not measured


@dataclass
class Caller:
    """A client of one server, which calls one of its tools again and again over one connection."""

    port: int
    tool: str
    way: str
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Connect, and say hello where the revision wants it."""
        self.connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.way == PLAIN:
            self.path, self.body = "/tools/call", json.dumps({"name": self.tool, "arguments": {}})
            return
        self.path, params = "/mcp", {"name": self.tool, "arguments": {}}
        if self.way == STATELESS:
            values = {"protocolVersion": STATELESS, "clientInfo": CLIENT, "clientCapabilities": {}}
            params["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in values.items()}
            self.headers |= {"Mcp-Method": "tools/call", "Mcp-Name": self.tool}
        else:
            hello = {"protocolVersion": SESSION, "capabilities": {}, "clientInfo": CLIENT}
            answer = self.post({"id": 0, "method": "initialize", "params": hello})
            self.headers |= {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
        self.headers |= {"MCP-Protocol-Version": self.way}
        if self.way == SESSION:
            self.post({"method": "notifications/initialized"})
        self.body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})

    def post(self, message: dict[str, Any]) -> Any:
        """Send one message of the protocol; return the response."""
        self.connection.request("POST", self.path, json.dumps({"jsonrpc": "2.0", **message}), self.headers)
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status < 300, answer.status
        return answer

    def call(self) -> float:
        """Call the tool; return the milliseconds until its whole answer was there."""
        started = time.perf_counter()
        self.connection.request("POST", self.path, self.body, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        taken = (time.perf_counter() - started) * 1000
        assert answer.status == 200, text
        assert b'"isError":true' not in text, text
        return taken


@dataclass
class Figures:
    """What was measured of one server, called in one way."""

    taken_ms: list[float] = field(default_factory=list)
    spent_s: float = 0.0

    def add(self, port: int, tool: str, way: str, rounds: int, at_once: int) -> None:
        """Call the tool `rounds` times in each of `at_once` connections."""
        callers = [Caller(port, tool, way) for _ in range(at_once)]
        with ThreadPoolExecutor(at_once) as pool:
            for count in (WARM, rounds):
                started = time.perf_counter()
                runs = [*pool.map(lambda caller, count=count: [caller.call() for _ in range(count)], callers)]
                spent_s = time.perf_counter() - started
        self.taken_ms += chain.from_iterable(runs)
        self.spent_s += spent_s
        for caller in callers:
            caller.connection.close()

    @property
    def p50(self) -> float:
        """The median in milliseconds."""
        return statistics.median(self.taken_ms)

    def line(self, base: "Figures") -> str:
        """Return the figures in words, with the ratio to a baseline."""
        p95, rate = statistics.quantiles(self.taken_ms, n=20)[18], len(self.taken_ms) / self.spent_s
        ratio = "" if base is self else f"   {self.p50 / base.p50:5.2f} x hello-world"
        return f"p50 {self.p50:7.2f} ms   p95 {p95:7.2f} ms   {rate:6.0f} /s{ratio}"


def make(port: int, count: int) -> None:
    """Make tasks, and wait until all of them are finished."""

    def call(tool: str, **arguments: Any) -> Any:
        with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            body = json.dumps({"name": tool, "arguments": arguments})
            connection.request("POST", "/tools/call", body, {"Content-Type": "application/json"})
            return json.load(connection.getresponse())["structuredContent"]

    ids = [call("generate_nano_banana", prompt=f"A lighthouse, number {n}")["task_id"] for n in range(count)]
    if ids:
        tasks = call("wait_for_tasks", task_ids=ids, timeout_s=100)["tasks"]
        assert {task["status"] for task in tasks} == {"completed"}, tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help=f"calls of one client in each of {BLOCKS} blocks")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=20, help="how many tasks are on record")
    options = parser.parse_args()
    hello, ours = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name, Sandbox(speed=20, credits=1e9, rate_limit=1_000_000) as sandbox:
        folder = Path(name)
        env = environment(folder, sandbox.base_url)
        with (
            over_http(hello_world(folder, OVER_HTTP, str(hello)), hello, env),
            over_http([*OURS, "serve", "--http", "--port", str(ours)], ours, env),
        ):
            make(ours, options.tasks)
            print(f"list_tasks with {options.tasks} tasks on record; Python {sys.version.split()[0]}")
            for at_once in (1, options.at_once):
                report(hello, ours, options.rounds if at_once == 1 else max(1, options.rounds // 8), at_once)


def report(hello: int, ours: int, rounds: int, at_once: int) -> None:
    """Measure both servers with so many calls in flight, and print it."""
    figures = {(port, way): Figures() for way in (STATELESS, SESSION) for port in (hello, ours)}
    figures[ours, PLAIN] = Figures()
    for _ in range(BLOCKS):
        for (port, way), each in figures.items():
            each.add(port, "hello" if port == hello else "list_tasks", way, rounds, at_once)
    print(f"{at_once} at a time")
    for (port, way), each in figures.items():
        name = f"{'hello-world' if port == hello else 'list_tasks'}, {way}"
        print(f"{name:>28}: {each.line(figures[hello, STATELESS if way == PLAIN else way])}", flush=True)


if __name__ == "__main__":
    main()
