"""What tasks that are waited for cost: the server's processor and memory, and the calls of people beside them.

    uv run python benchmarks/waiting.py [--tasks 10 100 1000] [--seconds 10] [--kind image]

The sandbox runs as a child and holds every task; the real server serves over HTTP as another one. For each number of
tasks the same is measured while nobody waits, which is the baseline of the same run, and while `wait_for_tasks` waits
for all of them: for up to twenty in a call each, for the others in calls of a hundred. Then the twenty are finished one
by one at random moments, and what counts is the time from each to its answer. At the end all others are finished at
once: what counts is the time from the last of them to each answer.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shared.servers import OURS, environment, free_port, over_http

SANDBOX = [*OURS, "sandbox", "--hold", "--credits", "1e9", "--rate-limit", "1000000", "--port"]
SERVER = [*OURS, "serve", "--http", "--port"]
TOOLS = {"image": "generate_nano_banana", "video": "generate_veo3_video"}
AT_ONCE = 100  # the most tasks of one call
SINGLE = 20  # calls that wait for one task, at most half of all tasks
MOST_BETWEEN_S = 1.0  # between the ends of two of these
MAKERS = 8
LIMIT_S = 600


@dataclass
class Figures:
    """What was measured in one state of the server."""

    processor: float  # share of one core
    lists_ms: float  # median of `list_tasks`
    made_per_s: float


@dataclass
class Bench:
    """The server as a client and as a process."""

    client: httpx.Client
    server: psutil.Process
    tool: str
    pool: ThreadPoolExecutor

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; return its answer as data."""
        body = {"name": tool, "arguments": arguments}
        data: dict[str, Any] = self.client.post("/tools/call", json=body).raise_for_status().json()["structuredContent"]
        return data

    def make(self, count: int, name: str) -> list[str]:
        """Make tasks, some at once; return their ids."""
        with ThreadPoolExecutor(MAKERS) as makers:
            return [*makers.map(lambda n: self.call(self.tool, prompt=f"{name} {n}")["task_id"], range(count))]

    def busy_s(self) -> float:
        """Return the seconds of the processor that the server has used."""
        times = self.server.cpu_times()
        return float(times.user + times.system)

    def kib(self) -> int:
        """Return the KiB of memory that the server holds."""
        return int(self.server.memory_info().rss) // 1024

    def figures(self, seconds: float, name: str) -> Figures:
        """Measure the processor alone first, then the calls of people."""
        before, began = self.busy_s(), time.perf_counter()
        time.sleep(seconds)
        processor = (self.busy_s() - before) / (time.perf_counter() - began)
        lists = []
        for _ in range(41):
            started = time.perf_counter()
            self.call("list_tasks")
            lists.append((time.perf_counter() - started) * 1000)
            time.sleep(0.02)
        began = time.perf_counter()
        self.make(100, name)
        return Figures(processor, statistics.median(lists), 100 / (time.perf_counter() - began))


def measure(bench: Bench, finish: Callable[[str], object], count: int, seconds: float) -> None:
    """Measure for so many tasks, and print it."""
    ids = bench.make(count, f"task of {count},")
    idle = bench.figures(seconds, f"idle beside {count},")
    before = bench.kib()

    def wait(some: list[str]) -> float:
        tasks = bench.call("wait_for_tasks", task_ids=some, timeout_s=LIMIT_S)["tasks"]
        assert {task["status"] for task in tasks} == {"completed"}
        return time.perf_counter()

    singles, others = ids[: min(SINGLE, count // 2)], ids[min(SINGLE, count // 2) :]
    alone = [bench.pool.submit(wait, [task_id]) for task_id in singles]
    groups = [others[first : first + AT_ONCE] for first in range(0, len(others), AT_ONCE)]
    answers: list[Future[float]] = [bench.pool.submit(wait, group) for group in groups]
    time.sleep(seconds / 2 + count / 50)  # each has been read once
    kib = (bench.kib() - before) / count
    busy = bench.figures(seconds, f"busy beside {count},")
    ends = []
    for task_id in singles:
        time.sleep(random.uniform(0, MOST_BETWEEN_S))
        finish(task_id)
        ends.append(time.perf_counter())
    single_lags = [answer.result() - end for answer, end in zip(alone, ends, strict=True)]
    for task_id in others:
        finish(task_id)
    finished = time.perf_counter()
    lags = [answer.result() - finished for answer in answers]
    print(
        f"{count:>5} waiting: {busy.processor:5.1%} of a core (idle {idle.processor:.1%})   list_tasks p50 "
        f"{busy.lists_ms:6.1f} ms ({busy.lists_ms / idle.lists_ms:.2f})   generate {busy.made_per_s:5.1f} /s "
        f"({busy.made_per_s / idle.made_per_s:.2f})   {kib:5.1f} KiB a task   finished to answered: single ones "
        f"{statistics.median(single_lags):.2f} s, at most {max(single_lags):.2f} s; all at once "
        f"{statistics.median(lags):.2f} s, at most {max(lags):.2f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kind", choices=TOOLS, default="image")
    options = parser.parse_args()
    print(f"{options.kind}s; in brackets the ratio to the same while nobody waits")
    for count in options.tasks:
        ports = free_port(), free_port()
        service, url = (f"http://127.0.0.1:{port}" for port in ports)
        with (
            tempfile.TemporaryDirectory() as name,
            over_http([*SANDBOX, str(ports[0])], ports[0], environment(Path(name))),
            over_http([*SERVER, str(ports[1])], ports[1], environment(Path(name), f"{service}/api/v1")) as pid,
            httpx.Client(base_url=url, timeout=LIMIT_S, trust_env=False) as client,
            httpx.Client(base_url=service, trust_env=False) as control,
            ThreadPoolExecutor(max(options.tasks) + SINGLE) as pool,
        ):

            def finish(task_id: str, control: httpx.Client = control) -> object:
                return control.post("/_sandbox/finish", json={"task_id": task_id}).raise_for_status()

            measure(Bench(client, psutil.Process(pid), TOOLS[options.kind], pool), finish, count, options.seconds)


if __name__ == "__main__":
    main()
