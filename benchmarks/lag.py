"""How long a client waits after its tasks have finished: by polling, and by the service's own word.

    uv run python benchmarks/lag.py [--rounds 7] [--kind image]

The sandbox holds every task until it is told to finish it; the real server serves over HTTP as a child. In each round
one `wait_for_tasks` waits for 1, 16 or 100 tasks; at a random moment all are finished, and what counts is the time from
the last of them to the answer. With a webhook the sandbox posts a signed callback for each task besides.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from kie_ai_mcp._flow.waiting import CADENCE_S
from kie_ai_mcp_sandbox.server import Sandbox

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shared.servers import OURS, environment, free_port, over_http

TASKS = (1, 16, 100)
TOOLS = {"image": "generate_nano_banana", "video": "generate_veo3_video"}
KEY = "signing-key-of-the-benchmark"
WAIT_S = 60
LIMIT_S = 90


@contextmanager
def served(sandbox: Sandbox, folder: Path, *, webhook: bool) -> Iterator[httpx.Client]:
    """Serve over HTTP as a child; yield a client of it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = environment(
        folder, sandbox.base_url, KIE_AI_WEBHOOK_KEY=KEY, **({"KIE_AI_PUBLIC_URL": url} if webhook else {})
    )
    env["KIE_AI_DB_PATH"] = str(folder / f"tasks-{webhook}.db")
    command = [*OURS, "serve", "--http", "--port", str(port)]
    with over_http(command, port, env), httpx.Client(base_url=url, timeout=LIMIT_S, trust_env=False) as client:
        yield client


def call(client: httpx.Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool; return its answer as data."""
    answer = client.post("/tools/call", json={"name": tool, "arguments": arguments}).raise_for_status().json()
    data: dict[str, Any] = answer["structuredContent"]
    return data


def lag_s(client: httpx.Client, sandbox: Sandbox, kind: str, count: int, pool: ThreadPoolExecutor) -> float:
    """Make tasks, wait for all of them, finish them; return the seconds from then to the answer."""
    made = pool.map(lambda n: call(client, TOOLS[kind], prompt=f"task {n} of {count}"), range(count))
    ids = [task["task_id"] for task in made]
    before = len(sandbox.requests)
    waiting = pool.submit(call, client, "wait_for_tasks", task_ids=ids, timeout_s=WAIT_S)
    while len(sandbox.requests) < before + count:  # each has been read once
        time.sleep(0.01)
    time.sleep(random.uniform(0, 2 * CADENCE_S[kind]))  # whole pauses, or one part of them would count for more
    for task_id in ids:
        sandbox.finish(task_id)
    finished = time.perf_counter()
    tasks = waiting.result()["tasks"]
    lag = time.perf_counter() - finished
    assert {task["status"] for task in tasks} == {"completed"}, tasks
    return lag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kind", choices=TOOLS, default="image")
    options = parser.parse_args()
    print(f"{options.kind}s, {options.rounds} rounds: seconds from finished at the service to answered")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(16) as pool:
        for webhook in (False, True):
            with (
                Sandbox(hold=True, webhook_key=KEY, rate_limit=1_000_000, credits=1e9) as sandbox,
                served(sandbox, Path(folder), webhook=webhook) as client,
            ):
                for count in TASKS:
                    rounds = range(options.rounds)
                    lags = [lag_s(client, sandbox, options.kind, count, pool) for _ in rounds]
                    how = "by webhook" if webhook else "by polling"
                    print(f"{how}, {count:>3} waiting: median {statistics.median(lags):.2f}   max {max(lags):.2f}")


if __name__ == "__main__":
    main()
