"""Consents on record: what a yes covers, how long, that it is used once, and which answers count."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp._record.consents import CLOSED, Question
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import Budget, RateLimit
from kie_ai_mcp._record.submissions import NeedsConsent, NewSubmission, Ticket
from kie_ai_mcp._record.tables import NEVER_SENT, Ending, SubmissionRecord
from kie_ai_mcp.errors import LimitReached
from kie_ai_mcp.specs import Task
from tests.databases import outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]

ABOVE_5 = Budget(confirm_credits=5.0)
ROUNDS = 8
ROOT, MODULE = Path(__file__).parents[3], "tests.core.record.test_consents"


def request(word: str, price: float | None = 8.0, **values: Any) -> NewSubmission:
    """Return a request whose identity is `word`."""
    return NewSubmission(
        "generate_x", "x", "x", "image", "kie", "x-1", {}, word, estimated_credits=price, exact_hash=word, **values
    )


def question(word: str, price: float | None = 8.0) -> Question:
    return Question(word, "kie", "", "generate_x", "x-1", {"prompt": "a fox"}, price)


async def agree(record: Record, word: str, price: float | None = 8.0) -> int:
    """Have a person agree to a request; return the number of the question."""
    asked = await record.consents.ask(question(word, price))
    await record.consents.answer(asked.id, "command line", is_yes=True)
    return asked.id


def change(record: Record, values: str) -> None:
    with outside(record) as database:
        database.execute(f"UPDATE consents SET {values}")


# What a yes covers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("price", "is_written"), [(5.0, True), (5.01, False), (None, False), (0.0, True)])
async def test_request_above_the_limit_or_of_unknown_price_is_not_written_without_a_yes(
    price: float | None, is_written: bool, make_record: MakeRecord
) -> None:
    record = make_record(budget=replace(ABOVE_5, assumed_credits=1.0))
    assert await record.submissions.lacks_yes(request("a", price)) is not is_written

    assert isinstance(await record.submissions.write_ahead(request("a", price)), Ticket) is is_written
    assert len(await record.submissions.history(0, 10)) == is_written


@pytest.mark.parametrize(("price", "lacks"), [(0.01, True), (8.0, True), (None, True), (0.0, False)])
async def test_every_price_in_another_unit_needs_a_yes(
    price: float | None, lacks: bool, make_record: MakeRecord
) -> None:
    record = make_record(budget=ABOVE_5)
    assert await record.submissions.lacks_yes(replace(request("a", price), gateway="fal")) is lacks


async def test_nobody_is_asked_where_no_limit_is_set(make_record: MakeRecord) -> None:
    record = make_record()
    assert not await record.submissions.lacks_yes(request("a", None))
    assert isinstance(await record.submissions.write_ahead(request("a", None)), Ticket)


async def test_yes_is_used_up_by_the_request_that_is_written(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    number = await agree(record, "a")
    assert not await record.submissions.lacks_yes(request("a"))

    ticket = await record.submissions.write_ahead(request("a", idempotency_key="1"))

    assert isinstance(ticket, Ticket)
    used = await record.consents.find(number)
    assert used is not None
    assert (used.answer, used.answered_by, used.submission_id) == ("yes", "command line", ticket.submission_id)
    assert await record.submissions.write_ahead(request("a", idempotency_key="2")) == NeedsConsent()


async def test_request_that_joins_an_earlier_one_needs_no_yes(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    await agree(record, "a")
    await record.submissions.write_ahead(request("a"))

    assert not await record.submissions.lacks_yes(request("a"))
    assert isinstance(await record.submissions.write_ahead(request("a")), SubmissionRecord)


@pytest.mark.parametrize(
    ("asked", "agreed", "is_covered"),
    [
        (8.0, 8.0, True),
        (8.01, 8.0, False),
        (7.0, 8.0, True),
        (8.0, None, False),
        (None, 8.0, False),
        (None, None, True),
    ],
)
async def test_yes_covers_no_higher_price_and_an_unknown_one_only_if_asked_so(
    asked: float | None, agreed: float | None, is_covered: bool, make_record: MakeRecord
) -> None:
    record = make_record(budget=ABOVE_5)
    await agree(record, "a", agreed)
    assert isinstance(await record.submissions.write_ahead(request("a", asked)), Ticket) is is_covered


@pytest.mark.parametrize(("age_s", "counts"), [(590, True), (610, False), (-10, False)])
async def test_yes_counts_for_ten_minutes_and_never_from_the_future(
    age_s: float, counts: bool, make_record: MakeRecord
) -> None:
    record = make_record(budget=ABOVE_5)
    await agree(record, "a")
    change(record, f"answered_at = {time.time() - age_s}")
    assert isinstance(await record.submissions.write_ahead(request("a")), Ticket) is counts


async def test_yes_is_for_one_request_and_a_no_is_none(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    await agree(record, "b")
    asked = await record.consents.ask(question("a"))
    await record.consents.answer(asked.id, "host", is_yes=False)
    assert await record.submissions.write_ahead(request("a")) == NeedsConsent()


async def test_limits_of_credits_refuse_before_a_person_is_asked(make_record: MakeRecord) -> None:
    record = make_record(budget=replace(ABOVE_5, credits_per_request=6.0))
    with pytest.raises(LimitReached, match="the limit of one request is 6"):
        await record.submissions.lacks_yes(request("a"))
    with pytest.raises(LimitReached, match="the limit of one request is 6"):
        await record.submissions.write_ahead(request("a"))


def spend(path: str, address: str, key: str) -> None:
    """Try in a process of its own to use the yes to each request that a line of stdin names; say whether it did."""

    def say(word: object) -> None:
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()

    async def work() -> None:
        record = Record(Path(path), RateLimit(1000, 1.0), ABOVE_5, address=address)
        record.open()
        say("ready")
        for line in sys.stdin:
            made = await record.submissions.write_ahead(request(line.strip(), idempotency_key=f"{key} {line.strip()}"))
            say(isinstance(made, Ticket))
        record.close()

    anyio.run(work)


async def test_of_two_processes_with_one_yes_exactly_one_may_send(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {MODULE} import spend; spend(*sys.argv[1:])"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        start = partial(subprocess.Popen, **pipes)
        commands = ([sys.executable, "-c", program, str(record.path), record.address, key] for key in "ab")
        processes: list[Any] = [stack.enter_context(start(command)) for command in commands]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        for number in range(ROUNDS):
            await agree(record, f"request {number}")
            for process in processes:
                process.stdin.write(f"request {number}\n")
            for process in processes:
                process.stdin.flush()
            assert sorted(process.stdout.readline() for process in processes) == ["False\n", "True\n"]
        for process in processes:
            process.stdin.close()
    assert len(await record.submissions.history(0, 100)) == ROUNDS


# Questions and answers -----------------------------------------------------------------------------------------------


async def test_same_question_is_asked_once_more_under_its_number(make_record: MakeRecord) -> None:
    record = make_record()
    first = await record.consents.ask(question("a"))
    assert (await record.consents.ask(question("a"))).id == first.id
    assert (await record.consents.ask(question("a", 9.0))).id != first.id, "another price is another question"
    await record.consents.answer(first.id, "host", is_yes=False)
    assert (await record.consents.ask(question("a"))).id != first.id


async def shown(record: Record, word: str = "a", secret: str = "right") -> int:
    """Have a form show the question of a request; return its number."""
    number = (await record.consents.ask(question(word))).id
    await record.consents.show(number, secret)
    return number


async def test_form_of_a_call_made_anew_takes_the_place_of_the_earlier_one(make_record: MakeRecord) -> None:
    record = make_record()
    number, *others = [await shown(record, secret=secret) for secret in "vwxyz"]
    change(record, "asked_at = asked_at - 1")

    assert {*others} == {number}
    assert [each.id for each in await record.consents.open()] == [number]
    with pytest.raises(LimitReached, match="is open"):
        await answered(record, number, "y")
    await record.consents.hide(number, "y")
    assert await answered(record, number, "z") == "yes"


async def answered(record: Record, number: int, secret: str, *, is_yes: bool = True) -> Any:
    found = await record.consents.answer(number, "host", is_yes=is_yes, secret=secret)
    return found.answer


async def test_answer_of_a_form_counts_only_with_its_secret(make_record: MakeRecord) -> None:
    record = make_record()
    number = await shown(record)
    change(record, "asked_at = asked_at - 1")
    for wrong in (number, number + 1):
        with pytest.raises(LimitReached, match="Nothing was sent"):
            await answered(record, wrong, "wrong")
    assert [each.id for each in await record.consents.open()] == [number]

    assert await answered(record, number, "right") == "yes"
    assert await record.consents.open() == []


@pytest.mark.parametrize("is_yes", [True, False])
async def test_answer_faster_than_a_person_counts_for_nothing(is_yes: bool, make_record: MakeRecord) -> None:
    record = make_record()
    number = await shown(record)

    assert await answered(record, number, "right", is_yes=is_yes) is None
    change(record, "asked_at = asked_at - 1")
    with pytest.raises(LimitReached, match="is open"):
        await answered(record, number, "right")

    await record.consents.answer(number, "command line", is_yes=True)
    assert await record.submissions.lacks_yes(request("a")) is False


async def test_form_that_was_open_for_more_than_ten_minutes_is_too_old(make_record: MakeRecord) -> None:
    record = make_record()
    number = await shown(record)
    change(record, "asked_at = asked_at - 601")
    with pytest.raises(LimitReached, match="too old"):
        await answered(record, number, "right")

    at_command_line = await record.consents.answer(number, "command line", is_yes=True)
    assert at_command_line.answer == "yes", "it has a day"
    change(record, "asked_at = asked_at - 90000, answer = NULL")
    with pytest.raises(LimitReached, match="too old"):
        await record.consents.answer(number, "command line", is_yes=True)
    assert await record.consents.open() == []


@pytest.mark.parametrize(("secret", "counts"), [(None, True), ("right", False)])
async def test_yes_that_ran_out_is_given_anew_by_a_person_and_not_by_its_form(
    secret: str | None, counts: bool, make_record: MakeRecord
) -> None:
    record = make_record(budget=ABOVE_5)
    number = await shown(record)
    change(record, f"asked_at = asked_at - 1, answer = 'yes', answered_at = {time.time() - 700}")
    assert await record.submissions.lacks_yes(request("a"))

    await record.consents.answer(number, "host" if secret else "command line", is_yes=True, secret=secret)

    assert await record.submissions.lacks_yes(request("a")) is not counts


async def test_answer_is_changed_at_the_command_line_until_it_is_used(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    number = await agree(record, "a")
    taken_back = await record.consents.answer(number, "command line", is_yes=False)
    assert taken_back.answer == "no"
    assert await record.submissions.write_ahead(request("a")) == NeedsConsent()

    again = await record.consents.answer(number, "command line", is_yes=True)
    assert again.answer == "yes"
    assert isinstance(await record.submissions.write_ahead(request("a")), Ticket)
    used = await record.consents.answer(number, "command line", is_yes=False)
    assert (used.answer, used.submission_id) == ("yes", 1)


async def test_no_of_a_form_is_changed_by_no_form(make_record: MakeRecord) -> None:
    record = make_record()
    number = await shown(record)
    change(record, "asked_at = asked_at - 1")
    assert [await answered(record, number, "right", is_yes=is_yes) for is_yes in (True, False, True)] == [
        *("yes", "no", "no")
    ]


# A yes and its call --------------------------------------------------------------------------------------------------


async def yes_of_form(record: Record, word: str = "a") -> int:
    number = await shown(record, word)
    change(record, f"asked_at = asked_at - 1 WHERE id = {number}")
    assert await answered(record, number, "right") == "yes"
    return number


async def submission_of(record: Record, number: int) -> int | None:
    found = await record.consents.find(number)
    assert found is not None
    return found.submission_id


async def test_yes_of_a_form_is_for_the_call_that_brings_it_alone(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    number, other = await yes_of_form(record), await yes_of_form(record, "b")
    for agreed in (0, other, number + 7):
        assert await record.submissions.write_ahead(request("a", agreed=agreed)) == NeedsConsent()
    assert isinstance(await record.submissions.write_ahead(request("a", agreed=number)), Ticket)


@pytest.mark.parametrize("by", ["host", "command line"])
@pytest.mark.parametrize("rises", [False, True])
async def test_yes_of_a_call_that_joins_a_request_is_used_up(by: str, rises: bool, make_record: MakeRecord) -> None:
    record = make_record(budget=Budget())
    first = await record.submissions.write_ahead(request("a", idempotency_key="k"))
    record.submissions.budget = ABOVE_5
    number = await (yes_of_form(record) if by == "host" else agree(record, "a"))
    change(record, f"price = {1 if rises else 8}")

    joined = await record.submissions.write_ahead(request("a", idempotency_key="k", agreed=number))

    assert isinstance(first, Ticket)
    assert isinstance(joined, SubmissionRecord)
    assert joined.id == first.submission_id == await submission_of(record, number)
    assert await record.submissions.write_ahead(request("a", idempotency_key="l", agreed=0)) == NeedsConsent()


async def test_yes_of_a_call_that_is_asked_anew_is_closed(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    number = await yes_of_form(record)
    anew = await record.consents.ask(question("a", 9.0), number)

    assert anew.id != number
    assert await submission_of(record, number) == CLOSED
    assert await record.submissions.write_ahead(request("a", agreed=number)) == NeedsConsent()
    assert (await record.consents.answer(number, "command line", is_yes=True)).submission_id == CLOSED
    assert await record.submissions.lacks_yes(request("a"))


@pytest.mark.parametrize(
    ("ending", "is_back"),
    [(Ending("refused", code=422), True), (NEVER_SENT, True), (Ending("unknown"), False)],
    ids=["refused", "never sent", "unknown"],
)
@pytest.mark.parametrize("by", ["host", "command line"])
async def test_yes_is_given_back_by_a_request_that_provably_bought_nothing(
    by: str, ending: Ending, is_back: bool, make_record: MakeRecord
) -> None:
    record = make_record(budget=ABOVE_5)
    number = await (yes_of_form(record) if by == "host" else agree(record, "a"))
    new = request("a", agreed=number if by == "host" else 0)
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    await record.end(ticket.submission_id, ending)

    assert await submission_of(record, number) == (None if is_back else ticket.submission_id)
    assert isinstance(await record.submissions.write_ahead(new), Ticket) is is_back


async def test_yes_of_a_request_that_made_a_task_stays_used_whatever_ends_later(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5)
    number = await agree(record, "a")
    ticket = await record.submissions.write_ahead(request("a"))
    assert isinstance(ticket, Ticket)
    await record.end(ticket.submission_id, Ending("accepted", Task("t-1", "x", "x", "image", "generate_x")))
    await record.end(ticket.submission_id, Ending("refused"))
    assert await submission_of(record, number) == ticket.submission_id


async def test_yes_that_waits_for_a_slot_is_given_back_by_the_end_of_its_process(make_record: MakeRecord) -> None:
    record = make_record(budget=ABOVE_5, creates=1, window_s=100.0)
    numbers = [await agree(record, word) for word in "ab"]
    for word in "ab":
        await record.submissions.write_ahead(request(word))
    record.close()

    after = make_record(budget=ABOVE_5)
    assert [await submission_of(after, number) for number in numbers] == [1, None]


async def test_old_questions_are_pruned_and_young_ones_kept(make_record: MakeRecord) -> None:
    record = make_record()
    await record.consents.ask(question("a"))
    change(record, "asked_at = asked_at - 200000")
    young = await record.consents.ask(question("b"))

    await record.prune(datetime.now(UTC) + timedelta(days=1), dry_run=False)

    assert [each.id for each in await record.consents.history(0, 10)] == [young.id]
