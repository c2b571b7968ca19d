"""What one paid call costs beyond the bare HTTP request: checking, write-ahead with fsync, recording.

    uv run python benchmarks/call.py [--rounds 300]

Both sides talk to the same local service in the same run, alternating: a bare httpx POST on a fresh connection, and
`submit` as the server runs it. Prints medians, p95 and what ours adds.
"""

import argparse
import statistics
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import anyio
import httpx

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._settings.settings import Settings

TASK = count(1)


class Service(BaseHTTPRequestHandler):
    """Accepts every task at once."""

    def do_POST(self) -> None:
        """Answer like a create call."""
        self.rfile.read(int(self.headers["content-length"]))
        answer = f'{{"code":200,"msg":"success","data":{{"taskId":"t{next(TASK)}"}}}}'.encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


async def measure(base_url: str, folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each bare request and of each call of ours."""
    settings = Settings.model_validate(
        {"api_key": "bench", "base_url": base_url, "db_path": folder / "tasks.db", "rate_limit": 1_000_000}
    )
    app = App.open(settings)
    tool = app.engine.plugins.tools["generate_nano_banana"]
    bare, ours = [], []

    async def say(_message: str, _share: float | None) -> None:
        return None

    limits = httpx.Limits(max_keepalive_connections=0)
    async with app.engine.running(), httpx.AsyncClient(limits=limits) as client:
        for n in range(rounds + 20):
            body = {"model": "google/nano-banana", "input": {"prompt": f"bare {n}"}}
            started = time.perf_counter()
            (await client.post(f"{base_url}/jobs/createTask", json=body)).json()
            bare.append((time.perf_counter() - started) * 1000)
            started = time.perf_counter()
            await submit(app.engine, tool, {"prompt": f"ours {n}"}, say)
            ours.append((time.perf_counter() - started) * 1000)
    return bare[20:], ours[20:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        base_url = f"http://127.0.0.1:{server.server_port}/api/v1"
        bare, ours = anyio.run(measure, base_url, Path(folder), options.rounds)
    server.shutdown()
    for name, times in (("bare request", bare), ("our call", ours)):
        p95 = statistics.quantiles(times, n=20)[18]
        print(f"{name:>13}: p50 {statistics.median(times):6.2f} ms   p95 {p95:6.2f} ms")
    added = statistics.median(ours) - statistics.median(bare)
    print(f"ours adds {added:.2f} ms at the median ({statistics.median(ours) / statistics.median(bare):.2f} x)")


if __name__ == "__main__":
    main()
