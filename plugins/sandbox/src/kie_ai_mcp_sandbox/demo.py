"""Demonstration of the server: a client of the SDK, the real server over stdio, the sandbox as the service."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from kie_ai_mcp.errors import KEYS_PAGE, ConfigError

READY = "sandbox listening on "
CLOCK = re.compile(r", \d+ s\b")  # the server's own, in its messages; the one beside them goes on between two of them
SHORT = 8  # characters of a task's id, as in other lists
Show = Callable[[str], None]  # shows what a tool does now

# The requests, each sent if its tool is offered: tool, arguments.
SCENES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("generate_nano_banana", {"prompt": "A lighthouse above a sea of clouds, first light", "image_size": "16:9"}),
    ("generate_veo3_video", {"prompt": "The lighthouse lamp turns, gulls pass by", "aspectRatio": "16:9"}),
)


async def run_demo(output: Path, command: str) -> int:
    """Make one picture and one video, as far as their providers are enabled; return the exit code.

    It ends with what to do next, where `command` is how this program is started here.

    Raises:
        ConfigError: The sandbox did not start, or no provider offers what is to be made.
    """
    console = Console()
    console.print("A local stand-in makes a picture and a clip: no key, no network, no cost.\n")
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
            for tool, arguments in scenes:
                with _progress(console, tool) as show:
                    rows.append(await _make(client, show, tool, arguments))
            credits = await client.call_tool("get_credits", {})
    if not scenes:
        problem = "The demonstration needs the provider nano-banana or veo3, and neither is installed and works."
        cure = (
            "Install kie-ai-mcp-nano-banana; where it is there, kie-ai-mcp-server providers says what is wrong with it."
        )
        raise ConfigError(problem, next_step=cure)
    _print(console, rows, credits.structured_content or {})
    _print_next(console, command)
    return 0 if all(row["status"] == "completed" and row["files"] for row in rows) else 1


async def _make(client: Client, show: Show, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    answer = await client.call_tool(tool, arguments)
    made = answer.structured_content or {}
    if answer.is_error or "task_id" not in made:
        show(f"refused: {made.get('error', answer.content)}")
        taken_s = time.monotonic() - started
        return {"tool": tool, "seconds": taken_s, "task_id": "", "status": "refused", "credits": 0, "files": []}

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        del progress, total  # the message has them in words
        show(CLOCK.sub("", message or ""))

    waited = await client.call_tool("wait_for_tasks", {"task_ids": [made["task_id"]]}, progress_callback=tell)
    (task,) = (waited.structured_content or {})["tasks"]
    estimate = made.get("estimated_credits", 0)
    return {"tool": tool, "seconds": time.monotonic() - started, "estimated_credits": estimate, **task}


class _Seconds(ProgressColumn):
    """The one clock of a line: seconds since its beginning."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.elapsed or 0:.0f} s")


@contextmanager
def _progress(console: Console, tool: str) -> Iterator[Show]:
    """Show what a tool does: in one line that is updated at a terminal, as a line a change elsewhere."""
    if not console.is_terminal:
        yield lambda message: console.print(f"{tool}: {message}", markup=False, highlight=False, soft_wrap=True)
        return
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), _Seconds()
    with Progress(*columns, console=console, transient=True) as lines:
        line = lines.add_task(f"{tool}: asking", total=None)
        yield lambda message: lines.update(line, description=f"{tool}: {message}")


def _print(console: Console, rows: list[dict[str, Any]], credits: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("task", "status", "seconds", "credits"):
        table.add_column(column, no_wrap=True, justify="right" if column in {"seconds", "credits"} else "left")
    table.add_column("tool", overflow="ellipsis", no_wrap=True)
    for row in rows:
        cost = f"{row['credits']:g}" if "credits" in row else f"~{row['estimated_credits']:g}"
        table.add_row(row["task_id"][:SHORT], row["status"], f"{row['seconds']:.1f}", cost, row["tool"])
    console.print(table)
    console.print()
    for file in (Path(file) for row in rows for file in row["files"]):
        # The console would break a long path into two lines.
        console.file.write(f"saved: {file} ({file.stat().st_size:,} bytes)\n")
    console.print("Beside each file lies a .json that says how it was made.")
    console.print(f"Credits left in the sandbox: {credits.get('credits', 0):g}")


def _print_next(console: Console, command: str) -> None:
    """Say how to go on with the real service."""
    console.print(
        f"\nNext: get a key at {KEYS_PAGE}, and set up your client with it:\n", highlight=False, soft_wrap=True
    )
    # A command that the console breaks into two lines could not be pasted.
    console.file.write(f"  {command} install claude-desktop\n\n")
    console.file.write(f"Other clients: {command} install --help\n")


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
