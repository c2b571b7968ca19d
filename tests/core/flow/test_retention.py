"""Retention: a server deletes finished tasks of an age, and nothing that is still needed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow import retention
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._settings.settings import Settings
from tests.databases import outside
from tests.helpers import eventually

pytestmark = pytest.mark.anyio

URL = "https://files.invalid/1.png"
OLD, NEW = timedelta(days=40), timedelta(days=20)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_S", 0.0)


@pytest.fixture
def make_app(tmp_path: Path, address: str) -> Callable[..., App]:
    """Makes the application of a server that watches nothing."""

    def make(**changes: Any) -> App:
        values: dict[str, Any] = {"enabled_providers": ("nano-banana",), "watch": False, "retention_days": 30}
        values |= {"db_path": tmp_path / "tasks.db", "database_url": address or None, **changes}
        return App.open(Settings.model_validate(values))

    return make


async def fill(record: Record, tmp_path: Path) -> None:
    """Record tasks of two ages in every state, of which two are saved; and two requests without tasks."""
    for name, age in ("old", OLD), ("new", NEW):
        for status in ("completed", "failed", "processing", "saved"):
            urls = (URL,) * (status in {"completed", "saved"})
            outcome = Outcome("completed" if status == "saved" else status, urls)  # type: ignore[arg-type]
            task = Task(f"{name} {status}", "x", "x", created_at=datetime.now(UTC) - age)
            row = (await record.tasks.adopt(task)).row_id
            await record.tasks.record_outcome(row, outcome)
            if status == "saved":
                await record.tasks.record_files(row, [str(tmp_path / "1.png")])
    for state in ("unknown", "refused"):
        ticket = await record.submissions.write_ahead(
            NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": state}, state)
        )
        assert isinstance(ticket, Ticket)
        await record.end(ticket.submission_id, Ending(state))
    with outside(record) as database:
        database.execute("UPDATE submissions SET created_at = '2020-01-01 00:00:00'")


def left(record: Record) -> tuple[set[str], set[str]]:
    with outside(record) as database:
        tasks = {row[0] for row in database.execute("SELECT task_id FROM tasks").fetchall()}
        return tasks, {row[0] for row in database.execute("SELECT state FROM submissions").fetchall()}


ALL = {f"{name} {status}" for name in ("old", "new") for status in ("completed", "failed", "processing", "saved")}


@pytest.mark.parametrize(
    ("changes", "gone"),
    [({}, {"old completed", "old failed", "old saved"}), ({"output_dir": True}, {"old failed", "old saved"})],
)
async def test_old_finished_tasks_are_deleted_and_nothing_else(
    make_app: Callable[..., App], tmp_path: Path, changes: dict[str, Any], gone: set[str]
) -> None:
    picture = tmp_path / "1.png"
    picture.touch()
    app = make_app(**dict.fromkeys(changes, tmp_path / "out"))
    async with app.engine.running():
        await fill(app.engine.record, tmp_path)
        app.watch()
        await eventually(lambda: left(app.engine.record)[1] == {"unknown"})
        assert left(app.engine.record)[0] == ALL - gone
    assert picture.exists()


async def test_one_process_at_a_time_does_it(
    make_app: Callable[..., App], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_app(), make_app()
    async with first.engine.running(), second.engine.running():
        assert await first.engine.record.hold("prune", retention.AGAIN_S)
        await fill(second.engine.record, tmp_path)
        refused, hold = anyio.Event(), second.engine.record.hold

        async def ask(name: str, lease_s: float) -> bool:
            may = await hold(name, lease_s)
            if name == "prune" and not may:
                refused.set()
            return may

        monkeypatch.setattr(second.engine.record, "hold", ask)
        second.watch()
        with anyio.fail_after(5):
            await refused.wait()
        assert left(second.engine.record)[0] == ALL
        first.watch()
        await eventually(lambda: "old failed" not in left(second.engine.record)[0])


async def test_nothing_is_deleted_unless_asked(make_app: Callable[..., App], tmp_path: Path) -> None:
    app = make_app(retention_days=None)
    async with app.engine.running():
        await fill(app.engine.record, tmp_path)
        app.watch()
        for _ in range(20):
            await anyio.sleep(0.01)
        assert left(app.engine.record)[0] == ALL
