"""Figures of the record, added up by either database as the day's limit counts credits."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._record.users import User
from tests.databases import outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]


async def ask(record: Record, prompt: str, **changes: Any) -> int:
    """Write a request down and return its number."""
    values: dict[str, Any] = {
        "tool": "generate_x", "provider": "x", "api_type": "x", "kind": "image", "gateway": "kie", "model": "m",
        "arguments": {"prompt": prompt}, "body_hash": prompt, "estimated_credits": 10.0, **changes,
    }  # fmt: skip
    ticket = await record.submissions.write_ahead(NewSubmission(**values))
    assert isinstance(ticket, Ticket)
    return ticket.submission_id


async def make(record: Record, prompt: str, outcome: Outcome | None = None, **changes: Any) -> None:
    """Record a request that made a task, and how the task ended."""
    number = await ask(record, prompt, **changes)
    values = {name: changes[name] for name in ("gateway", "model") if name in changes}
    task = Task(f"t-{prompt}", "x", "x", tool="generate_x", **{"model": "m", **values})
    ended = await record.end(number, Ending("accepted", task))
    assert ended.task is not None
    if outcome is not None:
        await record.tasks.record_outcome(ended.task.row_id, outcome)


def done(credits: float | None = None) -> Outcome:
    return Outcome("completed", ("https://files.invalid/1.png",), credits=credits)


async def test_credits_are_counted_as_the_days_limit_counts_them(make_record: MakeRecord) -> None:
    record = make_record()
    await make(record, "charged", done(4.0))
    await make(record, "not charged yet", done())
    await make(record, "running", Outcome("processing", credits=25.0))
    await make(record, "elsewhere", done(99.0), gateway="fal")
    lost = await ask(record, "lost")
    await record.end(lost, Ending("unknown"))
    await record.end(await ask(record, "refused"), Ending("refused"))
    await record.tasks.adopt(Task("made elsewhere", "x", "x"))
    (all_of_it,) = record.stats.by(())
    assert all_of_it.counts == {"completed": 3, "pending": 1, "processing": 1, "unknown": 1}
    assert (all_of_it.credits, all_of_it.charged) == (4 + 10 + 25 + 10, 4 + 25)
    assert all_of_it.credits == await record.spent_today()
    await record.submissions.resolve(lost, None)
    (all_of_it,) = record.stats.by(())
    assert (all_of_it.counts["discarded"], all_of_it.credits) == (1, await record.spent_today())


async def test_groups_are_told_apart_and_searched_by_words(make_record: MakeRecord) -> None:
    record = make_record()
    for number in range(3):
        await make(record, f"A harbour {number}", done(2.0), subfolder="port", model="a")
    await make(record, "A Fox, 100% red", Outcome("failed", error="no"), model="b", subfolder="wood", user="eve")
    await ask(record, "A fox on its way", model="b")
    found = record.stats.by(("subfolder", "model"))
    assert [(each.names, each.counts) for each in found] == [
        (("", "b"), {"sending": 1}),
        (("port", "a"), {"completed": 3}),
        (("wood", "b"), {"failed": 1}),
    ]
    assert [each.credits for each in found] == [10.0, 6.0, 10.0]
    assert [each.counts for each in record.stats.by((), words="harbour GENERATE_X")] == [{"completed": 3}]
    assert [each.counts for each in record.stats.by((), words="100% fox")] == [{"failed": 1}]
    assert record.stats.by((), words="nobody") == []
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert [each.names for each in record.stats.by(("day", "user", "tool", "provider", "kind"))] == [
        (today, "", "generate_x", "x", "image"),
        (today, "eve", "generate_x", "x", "image"),
    ]
    assert record.stats.by((), datetime.now(UTC) + timedelta(days=1)) == []


@pytest.mark.parametrize(("seconds", "median"), [([5], 5), ([9, 1, 4], 4), ([1, 2, 10, 40], 6)])
async def test_median_is_that_of_completed_tasks(make_record: MakeRecord, seconds: list[int], median: float) -> None:
    record = make_record()
    for number, took in enumerate(seconds):
        await make(record, f"{number}", done())
        with outside(record) as database:
            moments = "2026-01-01 10:00:00", f"2026-01-01 10:00:{took:02}.000000"
            database.execute(
                f"UPDATE tasks SET created_at = ?, finished_at = ?, updated_at = ? WHERE task_id = 't-{number}'",
                (moments[0], moments[1], "2026-01-02 10:00:00"),
            )
    await make(record, "failed", Outcome("failed", error="no"))
    (found,) = record.stats.by(("model",))
    assert found.median_s == pytest.approx(median)


async def test_load_is_that_of_all_users_and_not_of_what_is_long_lost(make_record: MakeRecord) -> None:
    record = make_record()
    now = datetime.now(UTC).replace(microsecond=0)
    assert await record.tasks.load(now - timedelta(days=1)) == (0, None)
    for name, age in ("young", 1), ("older", 5), ("lost", 90 * 24):
        await record.tasks.adopt(Task(name, "x", "x", created_at=now - timedelta(hours=age)))
    await make(record, "done", done())
    assert await record.tasks.load(now - timedelta(days=14)) == (2, now - timedelta(hours=5))


async def test_figures_are_those_of_the_rows_that_a_user_sees(make_record: MakeRecord) -> None:
    record = make_record()
    await make(record, "mine", done(3.0), user="ada")
    await make(record, "yours", done(4.0), user="eve")
    (whole,) = record.stats.by(())
    (adas,) = record.of_user(User("ada"), {}).stats.by(("user",))
    (admins,) = record.of_user(User("root", is_admin=True), {}).stats.by(())
    assert (whole.credits, adas.credits, admins.credits) == (7.0, 3.0, 7.0)
    assert adas.names == ("ada",)
