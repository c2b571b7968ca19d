"""Start-up and memory: our server against hello-worlds on the SDKs, all spawned over stdio in the same run.

    uv run python benchmarks/startup.py [--rounds 9] [--plugins 100]

Prints medians, and ratios to the hello-worlds in Python and, where Node can be had, on the official TypeScript SDK. Our
first start remembers nothing; a later one answers from what was said before, and loads when the client pauses or, on
demand, when something else is asked. ``--plugins N`` also installs N generated plugins in a throw-away environment
folder on the path and prints what each adds to a first start.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shared.servers import OURS, OVER_STDIO, environment, hello_on_node, hello_world

PLUGIN = """
from kie_ai_mcp import Prompt, Submission, hookimpl


def generate_extra_{n}(prompt: Prompt, size: int = 1) -> Submission:
    \"\"\"Make picture {n}.\"\"\"
    return Submission.market("extra-{n}", {{"prompt": prompt, "size": size}}, api_type="extra-{n}")


@hookimpl
def kie_register_tools():
    return [generate_extra_{n}]
"""

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def once(command: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """Return milliseconds to `initialize` and to `tools/list` answered, and memory in MB after that."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(*messages: object) -> None:
            assert process.stdin is not None
            process.stdin.write("".join(json.dumps(message) + "\n" for message in messages).encode())
            process.stdin.flush()

        send(INITIALIZE)
        process.stdout.readline()
        initialized = time.perf_counter() - started
        send(INITIALIZED, LIST)
        process.stdout.readline()
        listed = time.perf_counter() - started
        memory = psutil.Process(process.pid).memory_info().rss / 1e6
        process.stdin.close()
        process.wait(timeout=10)
    return initialized * 1000, listed * 1000, memory


def install_plugins(folder: Path, count: int) -> None:
    """Write `count` plugins with their metadata, as an installer would leave them."""
    for n in range(count):
        (folder / f"kie_ai_mcp_extra_{n}.py").write_text(PLUGIN.format(n=n), encoding="utf-8")
        info = folder / f"kie_ai_mcp_extra_{n}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: kie-ai-mcp-extra-{n}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[kie_ai_mcp]\nextra-{n} = kie_ai_mcp_extra_{n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plugins", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        extra = folder / "extra"
        extra.mkdir()
        install_plugins(extra, options.plugins)
        env = environment(folder)
        # A checkout's sources would be compiled anew at each start, which no installed server is.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        # A file in the place of the home: nothing is remembered.
        (folder / "none").touch()
        first = env | dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(folder / "none"))
        cases: dict[str, tuple[list[str], dict[str, str]]] = {
            "hello-world": (hello_world(folder, OVER_STDIO), env),
            "first start": (OURS, first),
            "later start": (OURS, env),
            "on demand": (OURS, env | {"KIE_AI_LOAD": "demand"}),
        }
        if node := hello_on_node(folder):
            cases["Node's hello"] = (node, env)
        if options.plugins:
            cases[f"with {options.plugins} more"] = (OURS, first | {"PYTHONPATH": str(extra)})
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in cases}
        for _ in range(options.rounds + 1):  # the first round warms caches, compiles bytecode and fills the memory
            for name, (command, variables) in cases.items():
                runs[name].append(once(command, variables))
    medians = {
        name: [statistics.median(column) for column in zip(*rows[1:], strict=True)] for name, rows in runs.items()
    }
    print(f"median of {options.rounds} rounds, Python {sys.version.split()[0]}; ratios to the hello-worlds")
    for name, (initialized, listed, memory) in medians.items():
        ratios = [
            f"{listed / medians[base][1]:.2f} x {base}" for base in ("hello-world", "Node's hello") if base in medians
        ]
        print(
            f"{name:>16}: initialize {initialized:6.0f} ms   tools/list {listed:6.0f} ms ({', '.join(ratios)})   "
            f"memory {memory:5.1f} MB"
        )
    if options.plugins:
        added = (medians[f"with {options.plugins} more"][1] - medians["first start"][1]) / options.plugins
        print(f"each further plugin adds {added:.2f} ms")


if __name__ == "__main__":
    main()
