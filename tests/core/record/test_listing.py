"""Lists of tasks: all that one says is read in one turn, and what it takes does not grow with the history."""

from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record.record import Listing, Record
from kie_ai_mcp._record.slots import Budget
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._record.users import User
from tests.databases import on_sqlite, outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]


async def paid(record: Record, task_id: str, credits: float) -> None:
    """Record a request and its finished task, with what that cost."""
    new = NewSubmission(
        "x", "x", "x", "image", "kie", None, {"prompt": task_id}, task_id, user=record.user, estimated_credits=1.0
    )
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    await record.submissions.accepted(ticket.submission_id, Task(task_id, "x", "x", path="p"))
    await record.tasks.record_outcome(task_id, Outcome("completed", credits=credits))


async def unsettled(record: Record) -> int:
    new = NewSubmission("x", "x", "x", "image", "kie", None, {}, "lost", user=record.user)
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    await record.submissions.settled(ticket.submission_id, Ending("unknown", message="x"))
    return ticket.submission_id


def said(listing: Listing) -> tuple[Any, ...]:
    """Return what a list says: ids, requests, the day's credits and each user's."""
    ids = [record.task_id for record in listing.records]
    return ids, [entry.id for entry in listing.unsettled], listing.spent_today, listing.spent_by_user


async def test_list_says_of_each_user_what_that_one_may_see(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob, root = (record.of_user(User(name, is_admin=name == "root"), {}) for name in ("ada", "bob", "root"))
    await paid(ada, "a", 4.0)
    await paid(bob, "b", 0.5)
    number = await unsettled(bob)

    assert said(await ada.listing(Filters())) == (["a"], [], 4.0, None)
    assert said(await bob.listing(Filters())) == (["b"], [number], 0.5, None)
    assert said(await root.listing(Filters())) == (["b", "a"], [number], 0.0, {"ada": 4.0, "bob": 0.5})
    assert said(await record.listing(Filters(status="failed"))) == ([], [number], 4.5, None)
    await paid(root, "r", 8.0)
    assert said(await root.listing(Filters(limit=1)))[2:] == (8.0, {"ada": 4.0, "bob": 0.5, "root": 8.0})


async def test_list_by_words_takes_one_turn_of_the_database(make_record: MakeRecord) -> None:
    record = make_record()
    await paid(record, "fox", 4.0)
    before = sum(record.database.lane.took.counts)
    listing = await record.listing(Filters(words="fox"))
    assert sum(record.database.lane.took.counts) == before + 1
    assert (said(listing)[0], listing.from_id is not None) == (["fox"], True)


@on_sqlite
async def test_lists_limits_and_the_end_read_no_whole_table(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(budget=Budget(credits_per_day=100.0, submissions_per_hour=50))
    await paid(record, "a", 4.0)
    made, execute = list[tuple[str, Any]](), record.database.connection.execute_sql

    def noted(sql: str, values: Any = None) -> Any:
        made.append((sql, values or ()))
        return execute(sql, values)

    monkeypatch.setattr(record.database.connection, "execute_sql", noted)
    await record.listing(Filters(status="completed"))
    await record.spent_by_user()
    await record.check_limits("x", "kie", 4.0, None)
    record.close()

    queries = [(sql, values) for sql, values in made if sql.startswith("SELECT")]
    with outside(record) as database:
        plans = [database.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall() for sql, values in queries]
    steps = [str(step[3]) for plan in plans for step in plan]
    assert [step for step in steps if step.startswith("SCAN") and step != "SCAN place"] == []
    sums = [step for step in steps if "tasks_by_request (submission_id=?)" in step]
    assert len(sums) == len([sql for sql, _ in queries if "SUM(" in sql]) == 3
