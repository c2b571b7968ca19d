"""Pictures that tests of waiting and watching start, read, and put on record."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import beside

if TYPE_CHECKING:
    from tests.promise.conftest import Server

TOOL = "generate_nano_banana"


def started(server: "Server", prompt: str = "A fox") -> str:
    task_id: str = server.call(TOOL, prompt=prompt)["structuredContent"]["task_id"]
    return task_id


def reads(sandbox: Sandbox) -> int:
    return sum("recordInfo" in seen.path for seen in sandbox.requests)


def took(folder: Path, seconds: float, count: int = 5) -> None:
    """Put finished pictures on record that took so long."""
    columns = "task_id, api_type, status, created_at, updated_at, finished_at, provider, tool, kind, model, result_urls"
    begun = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
    begin, end = (str(moment) for moment in (begun, begun + timedelta(seconds=seconds)))
    with beside(folder) as database:
        (model,) = database.execute("SELECT model FROM tasks").fetchone()
        for number in range(count):
            database.execute(
                f"INSERT INTO tasks ({columns}) VALUES (?, 'x', 'completed', ?, ?, ?, 'nano-banana', ?, 'image', ?, "
                "'[]')",
                (f"old-{number}", begin, end, end, TOOL, model),
            )
