"""Start-up and memory: our server against an SDK low-tier hello-world, both spawned over stdio in the same run.

    uv run python benchmarks/startup.py [--rounds 9] [--plugins 100]

Prints medians and the ratio to the hello-world. ``--plugins N`` also installs N generated plugins in a throw-away
environment folder on the path and prints what each adds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HELLO = """
import anyio, mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

async def list_tools(ctx, params):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    return types.ListToolsResult(tools=[types.Tool(name="hello", description="Say hello.", input_schema=schema)])

async def call_tool(ctx, params):
    return types.CallToolResult(content=[types.TextContent(type="text", text="hello")])

async def main():
    server = Server("hello", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

anyio.run(main)
"""

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


def install(folder: Path, count: int) -> None:
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
        (folder / "hello.py").write_text(HELLO, encoding="utf-8")
        extra = folder / "extra"
        extra.mkdir()
        install(extra, options.plugins)
        env = {key: value for key, value in os.environ.items() if not key.startswith("KIE_AI_")}
        # A checkout's sources would be compiled anew at each start, which no installed server is.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env |= {"KIE_AI_DB_PATH": str(folder / "tasks.db"), "KIE_AI_CONFIG": str(folder / "config.toml")}
        (folder / "config.toml").touch()
        ours = [sys.executable, "-m", "kie_ai_mcp"]
        cases: dict[str, tuple[list[str], dict[str, str]]] = {
            "hello-world": ([sys.executable, str(folder / "hello.py")], env),
            "this server": (ours, env),
        }
        if options.plugins:
            cases[f"with {options.plugins} more"] = (ours, env | {"PYTHONPATH": str(extra)})
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in cases}
        for _ in range(options.rounds + 1):  # the first round warms caches and compiles bytecode
            for name, (command, environment) in cases.items():
                runs[name].append(once(command, environment))
    base = [statistics.median(column) for column in zip(*runs["hello-world"][1:], strict=True)]
    print(f"median of {options.rounds} rounds, Python {sys.version.split()[0]}; in brackets the ratio to hello-world")
    for name, rows in runs.items():
        initialized, listed, memory = (statistics.median(column) for column in zip(*rows[1:], strict=True))
        print(
            f"{name:>16}: initialize {initialized:6.0f} ms ({initialized / base[0]:.2f})   "
            f"tools/list {listed:6.0f} ms ({listed / base[1]:.2f})   memory {memory:5.1f} MB ({memory / base[2]:.2f})"
        )
    if options.plugins:
        medians = {name: statistics.median(row[1] for row in rows[1:]) for name, rows in runs.items()}
        added = (medians[f"with {options.plugins} more"] - medians["this server"]) / options.plugins
        print(f"each further plugin adds {added:.2f} ms")


if __name__ == "__main__":
    main()
