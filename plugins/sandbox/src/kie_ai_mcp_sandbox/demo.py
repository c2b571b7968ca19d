"""Demonstration of the server: a client of the SDK, the real server over stdio, the sandbox as the service."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from kie_ai_mcp.errors import ConfigError

READY = "sandbox listening on "

# The requests, each sent if its tool is offered: tool, arguments.
SCENES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("generate_nano_banana", {"prompt": "A lighthouse above a sea of clouds, first light", "image_size": "16:9"}),
    ("generate_veo3_video", {"prompt": "The lighthouse lamp turns, gulls pass by", "aspectRatio": "16:9"}),
)


async def run_demo(output: Path) -> int:
    """Make one picture and one video, as far as their providers are enabled; return the exit code.

    Raises:
        ConfigError: The sandbox did not start, or no provider offers what is to be made.
    """
    console = Console()
    console.print("[bold]kie-ai-mcp-server demo[/]: a local stand-in for the service, no key, no network, no cost.\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base_url = stack.enter_context(_sandbox())
        config = folder / "config.toml"
        config.touch()
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "kie_ai_mcp"],
            env={
                "KIE_AI_API_KEY": "demo",
                "KIE_AI_BASE_URL": base_url,
                "KIE_AI_DB_PATH": str(folder / "tasks.db"),
                "KIE_AI_OUTPUT_DIR": str(output),
                "KIE_AI_CONFIG": str(config),  # an empty file, so that the user's settings don't apply
            },
        )
        rows = []
        async with Client(server) as client:
            offered = {tool.name for tool in (await client.list_tools()).tools}
            scenes = [(tool, arguments) for tool, arguments in SCENES if tool in offered]
            with _bars(console) as bars:
                for tool, arguments in scenes:
                    rows.append(await _make(client, bars, tool, arguments))
            credits = await client.call_tool("get_credits", {})
    if not scenes:
        problem = "The demonstration needs the provider nano-banana or veo3, and neither is installed and works."
        cure = (
            "Install kie-ai-mcp-nano-banana; where it is there, kie-ai-mcp-server providers says what is wrong with it."
        )
        raise ConfigError(problem, next_step=cure)
    _print(console, rows, credits.structured_content or {})
    return 0 if all(row["status"] == "completed" and row["files"] for row in rows) else 1


async def _make(client: Client, bars: Progress, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    bar = bars.add_task(f"{tool}: asking", total=100)
    started = time.monotonic()
    answer = await client.call_tool(tool, arguments)
    made = answer.structured_content or {}
    if answer.is_error or "task_id" not in made:
        _finish(bars, bar, tool, f"refused: {made.get('error', answer.content)}")
        return {
            "tool": tool,
            "seconds": time.monotonic() - started,
            "task_id": "",
            "status": "refused",
            "credits": 0,
            "files": [],
        }

    async def show(progress: float, total: float | None, message: str | None) -> None:
        bars.update(bar, completed=progress, total=total or 100, description=f"{tool}: {message}")

    waited = await client.call_tool("wait_for_tasks", {"task_ids": [made["task_id"]]}, progress_callback=show)
    (task,) = (waited.structured_content or {})["tasks"]
    _finish(bars, bar, tool, task["status"])
    estimate = made.get("estimated_credits", 0)
    return {"tool": tool, "seconds": time.monotonic() - started, "estimated_credits": estimate, **task}


def _finish(bars: Progress, bar: TaskID, tool: str, status: str) -> None:
    bars.update(bar, completed=100, description=f"{tool}: {status}")


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )


def _print(console: Console, rows: list[dict[str, Any]], credits: dict[str, Any]) -> None:
    table = Table(title="What happened", title_justify="left")
    for column in ("tool", "task", "status", "seconds", "credits"):
        table.add_column(column, overflow="fold")  # a shortened id would be useless
    for row in rows:
        cost = f"{row['credits']:g}" if "credits" in row else f"about {row['estimated_credits']:g}"
        table.add_row(row["tool"], row["task_id"], row["status"], f"{row['seconds']:.1f}", cost)
    console.print()
    console.print(table)
    for file in (Path(file) for row in rows for file in row["files"]):
        # The console would break a long path into two lines.
        console.file.write(f"saved: {file} ({file.stat().st_size:,} bytes)\n")
    console.print(f"Credits left in the sandbox: {credits.get('credits', 0):g}")
    console.print("Beside each file lies a .json that says how it was made. With a key of your own: see README.md.")


@contextmanager
def _sandbox() -> Iterator[str]:
    """Run the sandbox as a child that ends when this process does; yield its address."""
    command = [sys.executable, "-m", "kie_ai_mcp", "sandbox", "--port", "0", "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None  # noqa: S101  asked for above
        assert process.stdout is not None  # noqa: S101
        try:
            line = process.stdout.readline().strip()
            if not line.startswith(READY):
                raise ConfigError(
                    "The sandbox did not start.",
                    next_step="Its reason is above; see also: kie-ai-mcp-server sandbox --port 0",
                )
            yield line.removeprefix(READY)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
