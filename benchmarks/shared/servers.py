"""Servers that benchmarks measure: ours, alone with its files, and hello-worlds on the SDKs, as children."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.node import PACKAGES, Missing, install

OURS = [sys.executable, "-m", "kie_ai_mcp"]
START_S = 30
STOP_S = 30

TOOL = """
async def list_tools(ctx, params):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    return types.ListToolsResult(tools=[types.Tool(name="hello", description="Say hello.", input_schema=schema)])

async def call_tool(ctx, params):
    return types.CallToolResult(content=[types.TextContent(type="text", text="hello")])

server = Server("hello", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
"""

OVER_STDIO = f"""
import anyio, mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
{TOOL}
async def main():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

anyio.run(main)
"""

OVER_HTTP = f"""
import sys, mcp_types as types, uvicorn
from mcp.server.lowlevel import Server
{TOOL}
uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
"""

ON_NODE = """
const { createRequire } = require("node:module");
const load = createRequire(process.argv[2] + "/of-the-benchmark.cjs");
const { Server } = load("@modelcontextprotocol/sdk/server/index.js");
const { StdioServerTransport } = load("@modelcontextprotocol/sdk/server/stdio.js");
const { ListToolsRequestSchema } = load("@modelcontextprotocol/sdk/types.js");
const server = new Server({ name: "hello", version: "1" }, { capabilities: { tools: {} } });
const hello = { name: "hello", description: "Say hello.", inputSchema: { type: "object" } };
server.setRequestHandler(ListToolsRequestSchema, async () => ({ tools: [hello] }));
server.connect(new StdioServerTransport());
"""


def environment(folder: Path, service: str | None = None, **settings: str) -> dict[str, str]:
    """Return an environment in which our server uses no settings and no files but those of a folder.

    It calls the `service` at an address, without a limit of requests that matters here.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("KIE_AI_")}
    own |= dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(folder))
    own |= {"KIE_AI_CONFIG": os.devnull, "KIE_AI_DB_PATH": str(folder / "tasks.db")}
    if service is not None:
        called = {"API_KEY": "key-of-the-benchmark", "BASE_URL": service, "RATE_LIMIT": "1000000"}
        own |= {f"KIE_AI_{name}": value for name, value in called.items()}
    return own | settings


def hello_world(folder: Path, source: str, *arguments: str) -> list[str]:
    """Return the command of a hello-world on the Python SDK, written into a folder."""
    script = folder / "hello.py"
    script.write_text(source, encoding="utf-8")
    return [sys.executable, str(script), *arguments]


def hello_on_node(folder: Path) -> list[str] | None:
    """Return the command of a hello-world on the TypeScript SDK; None, with the reason printed, without Node."""
    name = "@modelcontextprotocol/sdk"
    try:
        node = install({name: PACKAGES[name]})
    except Missing as exc:
        print(f"without Node: {exc}")
        return None
    script = folder / "hello.cjs"
    script.write_text(ON_NODE, encoding="utf-8")
    return [node.program, str(script), str(node.modules)]


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def over_http(command: Sequence[str], port: int, env: dict[str, str]) -> Iterator[int]:
    """Run a server as a child; yield its process id once it takes connections."""
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > until or process.poll() is not None:
                        raise SystemExit(f"{' '.join(command)} did not start") from None
                    time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            process.wait(STOP_S)
