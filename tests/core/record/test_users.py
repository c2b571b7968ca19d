"""Users on record, and the part of a record that each of them sees."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record.consents import Question
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import Budget
from kie_ai_mcp._record.submissions import NeedsConsent, NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending, SubmissionRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._record.users import User
from kie_ai_mcp.errors import InvalidArgument, LimitReached, StorageError, TaskNotFound
from tests.databases import outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]
LONG_AGO = datetime.now(UTC) - timedelta(days=400)
URL = "https://x.example/a.png"


def seen(record: Record, name: str, **rights: Any) -> Record:
    """Return the record as a user of this name sees it, whose account is the server's."""
    return record.of_user(User(name, **rights), record.accounts)


def new(record: Record, word: str, **values: Any) -> NewSubmission:
    about = {"arguments": {"prompt": word}, "body_hash": word, "user": record.user, "exact_hash": word}
    about |= {"api_type": "x", "kind": "image", "gateway": "kie", "model": "x-1"}
    return NewSubmission("generate_x", "x", **{**about, **values})


async def made(record: Record, word: str, task_id: str) -> int:
    """Record a request that made a task with this id, which has a result; return its number."""
    ticket = await record.submissions.write_ahead(new(record, word, estimated_credits=4.0))
    assert isinstance(ticket, Ticket)
    await record.submissions.accepted(ticket.submission_id, Task(task_id, "x", "x", path="p"))
    await record.tasks.record_outcome(task_id, Outcome("completed", (URL,), credits=4.0), is_poll=False)
    return ticket.submission_id


async def lost(record: Record, word: str) -> int:
    """Record a request whose outcome is unknown; return its number."""
    ticket = await record.submissions.write_ahead(new(record, word))
    assert isinstance(ticket, Ticket)
    await record.submissions.settled(ticket.submission_id, Ending("unknown", message="lost"))
    return ticket.submission_id


async def fails(work: Awaitable[object]) -> bool:
    try:
        await work
    except (StorageError, TaskNotFound, LimitReached):
        return True
    return False


# Users ---------------------------------------------------------------------------------------------------------------


async def test_token_is_kept_as_a_hash_alone_and_leads_to_its_user(make_record: MakeRecord) -> None:
    record = make_record()
    assert not await record.users.exist()
    token = await record.users.add(User("ada", credits_per_day=5.0))
    assert token is not None
    found = await record.users.of_token(token)
    assert found is not None
    assert (found.name, found.credits_per_day, await record.users.exist()) == ("ada", 5.0, True)
    for other in ("", token[:-1], token.upper(), f"{token} ", "ada"):
        assert await record.users.of_token(other) is None
    with outside(record) as connection:
        rows = connection.execute("SELECT * FROM users").fetchall()
    assert token not in str(rows)


async def test_token_ends_with_a_new_one_and_with_its_user(make_record: MakeRecord) -> None:
    record = make_record()
    first = await record.users.add(User("ada"))
    second = await record.users.rotate("ada")
    assert await record.users.of_token(str(first)) is None
    assert await record.users.of_token(second) is not None
    await record.users.remove("ada")
    assert await record.users.of_token(second) is None
    assert await record.users.exist()
    for again in (record.users.rotate("ada"), record.users.remove("ada"), record.users.change("ada", is_admin=True)):
        with pytest.raises(InvalidArgument, match="no such user"):
            await again


async def test_user_who_comes_back_has_a_new_token_and_new_limits(make_record: MakeRecord) -> None:
    record = make_record()
    first = await record.users.add(User("ada", is_admin=True))
    with pytest.raises(InvalidArgument, match="there is such a user"):
        await record.users.add(User("ada"))
    await record.users.remove("ada")
    again = await record.users.add(User("ada", credits_per_day=1.0))
    assert await record.users.of_token(str(first)) is None
    found = await record.users.of_token(str(again))
    assert found is not None
    assert (found.is_admin, found.credits_per_day, found.removed_at) == (False, 1.0, None)


async def test_user_whom_another_vouches_for_is_admitted_unless_removed(make_record: MakeRecord) -> None:
    record = make_record()
    first, again = await record.users.admit("ada@example.org"), await record.users.admit("ada@example.org")
    assert first is not None
    assert again == first
    await record.users.remove("ada@example.org")
    assert await record.users.admit("ada@example.org") is None


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\0", "a\u202eb", "x" * 101])
async def test_name_that_could_be_misread_is_refused(name: str, make_record: MakeRecord) -> None:
    record = make_record()
    for work in (record.users.add(User(name)), record.users.admit(name)):
        with pytest.raises(InvalidArgument, match="name"):
            await work
    assert not await record.users.exist()


# What each sees ------------------------------------------------------------------------------------------------------


async def test_no_query_shows_a_user_what_is_anothers(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob = seen(record, "ada"), seen(record, "bob")
    number = await made(ada, "Adas fox", "t-ada")
    row = await ada.tasks.find("t-ada")
    assert row is not None
    for key in ("t-ada", "kie:t-ada", row.row_id):
        assert await bob.tasks.find(key) is None
        assert await bob.polls.find(key) is None
        assert await bob.submissions.of_task(key) is None
    assert await bob.tasks.newest(Filters()) == await bob.tasks.newest(Filters(words="fox")) == []
    assert await bob.tasks.beginning_with("t-") == []
    assert await bob.tasks.several([row.row_id]) == []
    assert await bob.tasks.outline(10, ("status",)) == ()
    assert [*await bob.tasks.history(0, 10), *await bob.submissions.history(0, 10)] == []
    assert await bob.tasks.unsaved() == await bob.tasks.unsaved(10) == []
    assert await bob.tasks.charged() == []
    assert await bob.submissions.find(number) is None
    assert await bob.tasks.not_seen(["t-ada", "kie:t-ada", "t-bob"]) == {"t-ada", "kie:t-ada"}
    assert await ada.tasks.not_seen(["t-ada"]) == set()
    assert (await bob.spent_today(), await ada.spent_today()) == (0.0, 4.0)


async def test_running_tasks_of_another_are_not_seen(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob = seen(record, "ada"), seen(record, "bob")
    ticket = await ada.submissions.write_ahead(new(ada, "a fox"))
    assert isinstance(ticket, Ticket)
    await ada.submissions.accepted(ticket.submission_id, Task("t-ada", "x", "x", path="p"))
    late = datetime.now(UTC) + timedelta(minutes=1)
    assert [task.task_id for task in await ada.tasks.running(LONG_AGO, late)] == ["t-ada"]
    assert await bob.tasks.running(LONG_AGO, late) == []
    assert [task.user for task in await record.tasks.running(LONG_AGO, late)] == ["ada"]
    assert await record.tasks.running(LONG_AGO, late, user="") == []


async def test_no_user_changes_what_is_anothers(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob = seen(record, "ada"), seen(record, "bob")
    await made(ada, "a fox", "t-ada")
    number = await lost(ada, "a lost fox")
    for work in (
        bob.tasks.record_outcome("t-ada", Outcome("failed", error="no"), is_poll=False),
        bob.tasks.record_files("t-ada", ["/tmp/theirs.png"]),
        bob.tasks.adopt(Task("t-ada", "x", "x")),
        bob.submissions.unknown(number),
        bob.submissions.resolve(number, None),
        bob.submissions.resolve(number, Task("t-bob", "x", "x")),
    ):
        assert await fails(work)
    task = await ada.tasks.find("t-ada")
    assert task is not None
    assert (task.status, task.files, task.user) == ("completed", (), "ada")
    assert [entry.id for entry in await ada.submissions.unsettled()] == [number]
    assert await bob.submissions.unsettled() == []


async def test_administrator_sees_and_settles_everybodys(make_record: MakeRecord) -> None:
    record = make_record()
    ada, root = seen(record, "ada"), seen(record, "root", is_admin=True)
    await made(ada, "a fox", "t-ada")
    number = await lost(ada, "a lost fox")
    assert [task.user for task in await root.tasks.newest(Filters())] == ["ada"]
    assert [entry.user for entry in await root.submissions.unsettled()] == ["ada"]
    await root.submissions.resolve(number, None)
    assert await ada.submissions.unsettled() == []
    assert await root.spent_by_user() == {"ada": 4.0}


async def test_task_of_a_request_is_its_users_whoever_records_it(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob = seen(record, "ada"), seen(record, "bob")
    ticket = await ada.submissions.write_ahead(new(ada, "a fox"))
    assert isinstance(ticket, Ticket)
    # As a recovery file is taken in, by whoever uses the record next.
    await bob.submissions.accepted(ticket.submission_id, Task("t-ada", "x", "x", path="p"))
    assert await bob.tasks.find("t-ada") is None
    task = await ada.tasks.find("t-ada")
    assert task is not None
    assert task.user == "ada"


# What each may spend, and agrees to ----------------------------------------------------------------------------------


async def test_same_request_and_key_of_two_users_are_two_requests(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob = seen(record, "ada"), seen(record, "bob")
    tickets = [await each.submissions.write_ahead(new(each, "same", idempotency_key="k")) for each in (ada, bob)]
    again = await ada.submissions.write_ahead(new(ada, "same", idempotency_key="k"))
    assert all(isinstance(ticket, Ticket) for ticket in tickets)
    assert isinstance(again, SubmissionRecord)
    assert again.user == "ada"


async def test_limits_of_a_user_count_that_ones_requests(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(credits_per_day=20.0))
    ada = seen(record, "ada", credits_per_day=6.0, credits_per_request=5.0, submissions_per_hour=2)
    bob = seen(record, "bob")
    await bob.submissions.write_ahead(new(bob, "Bobs", estimated_credits=12.0))
    with pytest.raises(LimitReached, match="limit of one request is 5"):
        await ada.submissions.write_ahead(new(ada, "dear", estimated_credits=5.5))
    await ada.submissions.write_ahead(new(ada, "one", estimated_credits=4.0))
    with pytest.raises(LimitReached, match=r"4 credits were spent .* the limit is 6") as own:
        await ada.submissions.write_ahead(new(ada, "two", estimated_credits=3.0))
    assert "administrator" in str(own.value.next_step)
    with pytest.raises(LimitReached, match="does not fit into what this server may still spend") as shared:
        await bob.submissions.write_ahead(new(bob, "more", estimated_credits=5.0))
    assert "4" not in str(shared.value)
    figures = {"limit": "KIE_AI_MAX_CREDITS_PER_DAY", "used": 16.0, "asked": 5.0, "allowed": 20.0}
    assert shared.value.figures == figures
    root = seen(record, "root", is_admin=True)
    with pytest.raises(LimitReached, match=r"16 credits were spent .* the limit is 20"):
        await root.submissions.write_ahead(new(root, "more", estimated_credits=5.0))
    await ada.submissions.write_ahead(new(ada, "two", estimated_credits=1.0))
    with pytest.raises(LimitReached, match="2 paid requests"):
        await ada.submissions.write_ahead(new(ada, "three", estimated_credits=0.5))


async def test_limit_of_an_hour_that_all_share_is_named_for_administrators_and_the_log(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(submissions_per_hour=1))
    bob, root = seen(record, "bob"), seen(record, "root", is_admin=True)
    assert await bob.find_limit() is None
    await bob.submissions.write_ahead(new(bob, "one", estimated_credits=1.0))
    hidden, shown = await bob.find_limit(), await root.find_limit()
    assert hidden is not None
    assert shown is not None
    assert hidden.figures == shown.figures == {"limit": "KIE_AI_MAX_SUBMISSIONS_PER_HOUR", "used": 1, "allowed": 1}
    assert not any(sign.isdigit() for sign in str(hidden))
    assert "1 paid requests were made in the last hour; the limit is 1." in shown.message
    assert "KIE_AI_MAX_SUBMISSIONS_PER_HOUR" in shown.next_step
    assert await record.sent_in_hour() == 1


async def test_yes_of_one_user_lets_no_other_buy(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(confirm_credits=1.0))
    ada, bob = seen(record, "ada"), seen(record, "bob")
    asked = Question("same", "kie", "", "generate_x", None, {}, 4.0, user="ada")
    question = await ada.consents.ask(asked)
    assert await bob.consents.find(question.id) is None
    assert await bob.consents.open() == await bob.consents.history(0, 10) == []
    with pytest.raises(LimitReached, match="No question"):
        await bob.consents.answer(question.id, "form", is_yes=True)
    await record.consents.answer(question.id, "command line", is_yes=True)
    refused = await bob.submissions.write_ahead(new(bob, "same", estimated_credits=4.0, agreed=question.id))
    assert isinstance(refused, NeedsConsent)
    bought = await ada.submissions.write_ahead(new(ada, "same", estimated_credits=4.0))
    assert isinstance(bought, Ticket)
    other = await bob.submissions.write_ahead(new(bob, "same", estimated_credits=4.0, agreed=question.id))
    assert isinstance(other, NeedsConsent)
