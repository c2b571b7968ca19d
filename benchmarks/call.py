"""What a paid call and a status read cost beyond the bare HTTP request, and how many paid calls a second takes.

    uv run python benchmarks/call.py [--rounds 300] [--at-once 16]

All sides talk to the same local service, a child, in the same run. One at a time and alternating: a bare httpx request,
and what the server does for it: `submit` with its write-ahead, fsync and recording, on a fresh connection as paid
requests are sent; and `get_task_status` of a task that has not changed, on a kept-alive one. Then the real server over
stdio makes tasks with many calls in flight, beside a hello-world on the SDK with as many. Prints medians, p95, what
ours adds, and ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import anyio
import httpx

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._settings.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shared.servers import OURS, OVER_STDIO, environment, hello_world

TASK = count(1)
RUNNING = {"model": "google/nano-banana", "state": "generating"}
WARM = 20
SIDES = ("bare request", "paid call", "bare read", "status read")


class Service(BaseHTTPRequestHandler):
    """Accepts every task at once, and says of each that it is running."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer like a create call."""
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({"taskId": f"t{next(TASK)}"})

    def do_GET(self) -> None:
        """Answer like a status read."""
        self.answer({"taskId": self.path.rpartition("=")[2], **RUNNING})

    def answer(self, data: dict[str, Any]) -> None:
        """Answer with data, as the service wraps it."""
        answer = json.dumps({"code": 200, "msg": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def serve(port: Connection) -> None:
    """Serve on a free port, and say which."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    port.send(server.server_port)
    server.serve_forever()


def start_service() -> tuple[BaseProcess, str]:
    """Start the service in a process of its own; return that, and the service's address."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    service = context.Process(target=serve, args=(theirs,), daemon=True)
    service.start()
    return service, f"http://127.0.0.1:{ours.recv()}/api/v1"


async def measure(base_url: str, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each request and of each call of ours."""
    settings = Settings.model_validate(
        {"api_key": "bench", "base_url": base_url, "db_path": folder / "tasks.db", "rate_limit": 1_000_000}
    )
    app = App.open(settings)
    tool = app.engine.plugins.tools["generate_nano_banana"]
    taken: dict[str, list[float]] = {side: [] for side in SIDES}

    async def say(_message: str, _share: float | None) -> None:
        return None

    fresh = httpx.Limits(max_keepalive_connections=0)
    async with app.engine.running(), httpx.AsyncClient(limits=fresh) as client, httpx.AsyncClient() as kept:
        for n in range(rounds + WARM):
            body = {"model": "google/nano-banana", "input": {"prompt": f"bare {n}"}}
            times = [time.perf_counter()]
            (await client.post(f"{base_url}/jobs/createTask", json=body)).json()
            times.append(time.perf_counter())
            task = await submit(app.engine, tool, {"prompt": f"ours {n}"}, say)
            times.append(time.perf_counter())
            if n == 0:
                first = task.task_id
            (await kept.get(f"{base_url}/jobs/recordInfo", params={"taskId": first})).json()
            times.append(time.perf_counter())
            answer = await app.call("get_task_status", {"task_id": first})
            times.append(time.perf_counter())
            assert answer.data is not None
            assert (answer.data["status"], answer.data.get("read_error")) == ("processing", None), answer.text
            for side, began, ended in zip(SIDES, times, times[1:], strict=False):
                taken[side].append((ended - began) * 1000)
    return {side: times[WARM:] for side, times in taken.items()}


def per_second(
    command: list[str],
    env: dict[str, str],
    tool: str,
    rounds: int,
    at_once: int,
    begin: Callable[[], object] = lambda: None,
) -> float:
    """Return how many calls of a tool a server over stdio answers in a second, with so many in flight.

    `begin` is called before those that are counted.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines, numbers = process.stdout, count(1)

        def send(method: str, **params: Any) -> None:
            assert process.stdin is not None
            message = {"jsonrpc": "2.0", "id": next(numbers), "method": method, "params": params}
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()

        def call(calls: int) -> float:
            started = time.perf_counter()
            for n in range(calls + at_once):
                if n >= at_once:
                    answer = json.loads(lines.readline())
                    assert not answer["result"].get("isError"), answer
                if n < calls:
                    send("tools/call", name=tool, arguments={"prompt": f"at once {time.perf_counter_ns()}"})
            return calls / (time.perf_counter() - started)

        send("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "bench", "version": "1"})
        lines.readline()
        process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        call(max(WARM, at_once))
        begin()
        rate = call(rounds)
        process.stdin.close()
        process.wait(timeout=30)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=16)
    options = parser.parse_args()
    service, base_url = start_service()
    with tempfile.TemporaryDirectory() as folder:
        taken = anyio.run(measure, base_url, Path(folder), options.rounds)
        rates = at_once(base_url, Path(folder), options.rounds, options.at_once)
    service.terminate()
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, times in taken.items():
        print(f"{name:>13}: p50 {medians[name]:6.2f} ms   p95 {statistics.quantiles(times, n=20)[18]:6.2f} ms")
    for bare, name in (SIDES[:2], SIDES[2:]):
        added, ratio = medians[name] - medians[bare], medians[name] / medians[bare]
        print(f"a {name} adds {added:.2f} ms at the median ({ratio:.2f} x)")
    hello, paid = rates
    print(
        f"{options.at_once} in flight over stdio: {paid:.0f} paid calls /s, {hello:.0f} /s of the hello-world "
        f"({paid / hello:.3f} x)"
    )


def at_once(base_url: str, folder: Path, rounds: int, many: int) -> tuple[float, float]:
    """Return the calls of a second over stdio: of a hello-world on the SDK, and paid ones of ours."""
    env = environment(folder, base_url, KIE_AI_WATCH="false", KIE_AI_DB_PATH=str(folder / "at-once.db"))
    hello = per_second(hello_world(folder, OVER_STDIO), env, "hello", rounds * 4, many)
    return hello, per_second(OURS, env, "generate_nano_banana", rounds, many)


if __name__ == "__main__":
    main()
