"""The user's limits on credits and requests: what counts, from when on, and for how long."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import Budget
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import NEVER_SENT, Ending
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._record.users import User
from kie_ai_mcp._service.caller import account_of, kie
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import LimitReached
from tests.databases import outside

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]

A = "https://x.example/a.png"
DAY_OF_100 = Budget(credits_per_day=100.0)
REFUSED = Ending("refused", code=422, message="no")
LOST = Ending("unknown", message="x")


def task(task_id: str, **values: Any) -> Task:
    return Task(task_id, "x", "x", tool="generate_x", path="jobs/createTask", **values)


async def write(
    record: Record, word: str, estimate: float | None = None, gateway: str = "kie", *, at_most: bool = False
) -> int:
    """Write a request ahead, whose body holds `word`; return its number."""
    new = NewSubmission(
        "generate_x",
        "x",
        "x",
        "image",
        gateway,
        "x-1",
        {},
        f"hash of {word}",
        estimated_credits=estimate,
        at_most=at_most,
    )
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    return ticket.submission_id


# What counts ---------------------------------------------------------------------------------------------------------


async def test_requests_of_an_hour_are_limited_over_all_processes(make_record: MakeRecord) -> None:
    records = [make_record(budget=Budget(submissions_per_hour=2)) for _ in range(2)]
    await write(records[0], "a")
    await records[1].submissions.settled(await write(records[1], "b"), REFUSED)
    await write(records[1], "c")

    for record in records:
        with pytest.raises(LimitReached) as error:
            await write(record, "d")
        assert "2 paid requests were made in the last hour; the limit is 2. Nothing was sent." in error.value.message
        assert "KIE_AI_MAX_SUBMISSIONS_PER_HOUR" in error.value.next_step


async def test_estimate_counts_from_the_claim_on_until_the_service_names_the_charge(make_record: MakeRecord) -> None:
    record = make_record(budget=DAY_OF_100)
    first = await write(record, "a", 80.0)
    with pytest.raises(LimitReached, match=r"80 credits were spent .* costs about 30; the limit is 100"):
        await write(make_record(budget=DAY_OF_100), "b", 30.0)

    await record.submissions.accepted(first, task("t-1"), Outcome("completed", (A,), credits=60.0))
    assert await record.spent_today() == 60.0
    await write(record, "b", 30.0)
    await write(record, "the rest", 10.0)
    with pytest.raises(LimitReached, match="100 credits were spent in the last 24 hours; the limit is 100"):
        await write(record, "free", 0.0)


@pytest.mark.parametrize(
    ("budget", "price", "way"),
    [
        (DAY_OF_100, 60.0, "Wait, or raise KIE_AI_MAX_CREDITS_PER_DAY"),
        (DAY_OF_100, 250.0, "Make a cheaper request, or raise KIE_AI_MAX_CREDITS_PER_DAY"),
        (Budget(credits_per_day=0.0), 1.0, "Raise KIE_AI_MAX_CREDITS_PER_DAY"),
        (Budget(submissions_per_hour=0), 1.0, "Raise KIE_AI_MAX_SUBMISSIONS_PER_HOUR"),
    ],
)
async def test_waiting_is_named_only_where_it_helps(
    budget: Budget, price: float, way: str, make_record: MakeRecord
) -> None:
    await write(make_record(), "before", 50.0)
    with pytest.raises(LimitReached) as error:
        await write(make_record(budget=budget), "a", price)
    assert error.value.next_step.startswith(way)


async def test_sum_of_credits_has_no_noise_of_floats(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(credits_per_day=1000.0))
    for number in range(3):
        await write(record, f"request {number}", 0.1)
    assert (await record.spent_today(), (await record.listing(Filters())).spent_today) == (0.3, 0.3)
    with pytest.raises(LimitReached, match=r"^0.3 credits were spent .* costs about 1234567.25; the limit is 1000\."):
        await write(record, "dear", 1234567.25)


@pytest.mark.parametrize(
    ("ending", "counts"),
    [(None, 30.0), (LOST, 30.0), (Ending("accepted", task("t-1")), 30.0), (REFUSED, 0.0), (NEVER_SENT, 0.0)],
)
async def test_request_counts_unless_nothing_came_of_it(
    ending: Ending | None, counts: float, make_record: MakeRecord
) -> None:
    record = make_record(budget=DAY_OF_100)
    number = await write(record, "a", 30.0)
    if ending is not None:
        await record.end(number, ending)
    assert await record.spent_today() == counts


async def test_discarding_gives_back_neither_credits_nor_requests(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(credits_per_day=70.0, submissions_per_hour=3))
    for _ in range(2):  # the same request: discarded, it may be made again
        number = await write(record, "a", 30.0)
        await record.submissions.settled(number, LOST)
        await record.submissions.resolve(number, None)

    assert await record.spent_today() == 60.0
    with pytest.raises(LimitReached, match="60 credits were spent"):
        await write(record, "a", 30.0)
    await write(record, "b", 1.0)
    with pytest.raises(LimitReached, match="3 paid requests"):
        await write(record, "c", 1.0)


@pytest.mark.parametrize(
    ("outcomes", "counts"),
    [
        ([Outcome("pending", credits=0.0)], 30.0),
        ([Outcome("processing", credits=20.0)], 30.0),
        ([Outcome("processing", credits=70.0)], 70.0),
        ([Outcome("processing", credits=70.0), Outcome("completed", (A,), credits=65.0)], 65.0),
        ([Outcome("processing", credits=0.0), Outcome("completed", (A,))], 30.0),
        ([Outcome("processing", credits=0.0), Outcome("failed", error="no")], 30.0),
        ([Outcome("processing", credits=30.0), Outcome("failed", error="no", credits=0.0)], 0.0),
        ([Outcome("failed", error="no", credits=0.0), Outcome("completed", (A,), credits=40.0)], 40.0),
        ([Outcome("completed", (A,), credits=-500.0)], 30.0),
    ],
)
async def test_larger_of_booking_and_charge_counts_until_the_task_has_ended(
    outcomes: list[Outcome], counts: float, make_record: MakeRecord
) -> None:
    record = make_record(budget=DAY_OF_100)
    await record.submissions.accepted(await write(record, "a", 30.0), task("t-1"))
    for outcome in outcomes:
        await record.tasks.record_outcome("t-1", outcome)
    assert await record.spent_today() == counts


async def test_task_of_another_request_says_nothing_of_the_charge(make_record: MakeRecord) -> None:
    record = make_record(budget=DAY_OF_100)
    for word in ("a", "b"):  # the service answers both with the same id
        await record.submissions.accepted(await write(record, word, 30.0), task("t-1"))
    await record.tasks.record_outcome("t-1", Outcome("failed", error="no", credits=0.0))
    assert await record.spent_today() == 30.0


async def test_task_that_was_adopted_for_a_lost_request_lowers_no_booking(make_record: MakeRecord) -> None:
    record = make_record(budget=DAY_OF_100)
    for word, price in (("dear", 30.0), ("cheap", 4.0)):
        await record.submissions.settled(await write(record, word, price), LOST)
    cheap = await record.tasks.adopt(task("t-1"))  # whose request it was, only the user says
    await record.submissions.resolve(1, cheap.task)
    await record.submissions.resolve(2, None)
    await record.tasks.record_outcome("t-1", Outcome("completed", (A,), credits=4.0))
    assert await record.spent_today() == 34.0
    await record.tasks.record_outcome("t-1", Outcome("completed", (A,), credits=40.0))
    assert await record.spent_today() == 44.0


async def test_what_was_made_long_ago_counts_no_more(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(credits_per_day=1.0, submissions_per_hour=1))
    await write(record, "a", 1.0)
    with outside(record) as database:
        database.execute("UPDATE submissions SET created_at = ?", (str(datetime.now(UTC) - timedelta(hours=25)),))

    await write(record, "b", 1.0)


async def test_what_was_spent_in_the_last_day_is_not_pruned(make_record: MakeRecord) -> None:
    record = make_record(budget=DAY_OF_100)
    await record.submissions.accepted(await write(record, "a", 30.0), task("t-1"), Outcome("completed", (A,)))
    await record.submissions.settled(number := await write(record, "b", 20.0), LOST)
    await record.submissions.resolve(number, None)
    for dry_run in (True, False):
        assert await record.prune(datetime.now(UTC) + timedelta(hours=1), dry_run=dry_run) == 0
    assert await record.spent_today() == 50.0


async def test_limit_of_nothing_lets_nothing_pass(make_record: MakeRecord) -> None:
    for budget in (Budget(credits_per_day=0.0), Budget(submissions_per_hour=0)):
        for estimate in (None, 0.0, 1.0):
            with pytest.raises(LimitReached):
                await write(make_record(budget=budget), "a", estimate)


async def test_sum_of_prices_with_decimals_reaches_the_limit_exactly(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(credits_per_day=0.8))
    for number in range(8):
        await write(record, str(number), 0.1)
    with pytest.raises(LimitReached):
        await write(record, "one more", 0.1)


async def test_processes_that_ask_at_once_share_what_is_left(make_record: MakeRecord) -> None:
    records = [make_record(budget=DAY_OF_100) for _ in range(3)]
    refused = []

    async def ask(number: int) -> None:
        try:
            await write(records[number % 3], str(number), 30.0)
        except LimitReached:
            refused.append(number)

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(ask, number)
    assert (len(refused), await records[0].spent_today()) == (9, 90.0)


# Where it was spent ---------------------------------------------------------------------------------------------------


SERVICE, SANDBOX = "https://api.kie.ai/api/v1", "http://127.0.0.1:8787/api/v1"


@pytest.fixture
def at(tmp_path: Path, address: str) -> Iterator[MakeRecord]:
    """Opens the test's database for a process that pays at an address with a key: ``at(SANDBOX, "any")``."""
    with ExitStack() as stack:

        def make(base_url: str, key: str, **limits: float) -> Record:
            values = {"base_url": base_url, "api_key": key, "db_path": tmp_path / "tasks.db", **limits}
            settings = Settings.model_validate(values)
            record = replace(Record.of(settings, accounts={"kie": account_of(kie(settings))}), address=address)
            stack.callback(record.close)
            return record

        yield make


async def test_what_the_sandbox_sold_takes_nothing_of_the_limits_of_the_service(at: MakeRecord) -> None:
    limits = {"max_credits_per_day": 100.0, "max_submissions_per_hour": 2}
    sandbox, service = at(SANDBOX, "any", **limits), at(SERVICE, "k", **limits)
    ada = service.of_user(User("ada", credits_per_day=50.0), service.accounts)
    for word in ("a", "b"):
        await write(sandbox, word, 40.0)
    assert [await record.spent_today() for record in (sandbox, service, ada)] == [80.0, 0.0, 0.0]
    await write(service, "c", 30.0)
    again = at("http://[::1]:9999/api/v1", "other", **limits)
    assert [await record.spent_today() for record in (sandbox, again, service)] == [80.0, 80.0, 30.0]
    assert [await record.sent_in_hour() for record in (sandbox, again, service)] == [2, 2, 1]
    assert await service.spent_by_user() == {"": 30.0}
    with pytest.raises(LimitReached, match=r"30 credits were spent .* costs about 80; the limit is 100"):
        await write(service, "d", 80.0)
    with pytest.raises(LimitReached, match="2 paid requests"):
        await write(sandbox, "d", 1.0)


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        (SERVICE, "another"),
        ("https://API.kie.ai:443/api/v1/", "k"),
        ("https://me:new@relay.example/kie/v1", "k"),
        ("http://192.168.0.7:8787/api/v1", "k"),
    ],
)
async def test_another_key_or_address_of_the_service_empties_no_limit(at: MakeRecord, base_url: str, key: str) -> None:
    await write(at(SERVICE, "k"), "a", 80.0)
    other = at(base_url, key, max_credits_per_day=100.0, max_submissions_per_hour=2)
    with pytest.raises(LimitReached, match="80 credits were spent"):
        await write(other, "b", 30.0)
    assert await other.sent_in_hour() == 1


async def test_requests_that_name_no_account_or_another_service_count_wherever_one_pays(
    make_record: MakeRecord, at: MakeRecord
) -> None:
    await write(make_record(), "from before", 80.0)
    await write(at(SANDBOX, "any"), "of fal", gateway="fal")
    for address in (SERVICE, SANDBOX):
        record = at(address, "k")
        assert (await record.spent_today(), await record.sent_in_hour()) == (80.0, 2)


# Unknown prices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "limit"),
    [(DAY_OF_100, "KIE_AI_MAX_CREDITS_PER_DAY"), (Budget(credits_per_request=50.0), "KIE_AI_MAX_CREDITS_PER_REQUEST")],
)
async def test_unknown_price_is_refused_where_credits_are_limited(
    budget: Budget, limit: str, make_record: MakeRecord
) -> None:
    record = make_record(budget=budget)
    with pytest.raises(LimitReached) as error:
        await write(record, "a")
    assert (
        error.value.message
        == f"The price of this generate_x is unknown, and {limit} limits the credits. Nothing was sent."
    )
    assert "set KIE_AI_ASSUMED_CREDITS, for example to " in error.value.next_step
    assert await record.submissions.history(0, 10) == []


async def test_unknown_price_is_no_matter_where_no_credits_are_limited(make_record: MakeRecord) -> None:
    record = make_record(budget=Budget(submissions_per_hour=5))
    await write(record, "a")
    assert await record.spent_today() == 0.0


async def test_assumed_credits_are_booked_until_the_service_names_the_charge(make_record: MakeRecord) -> None:
    record = make_record(budget=replace(DAY_OF_100, assumed_credits=40.0))
    first = await write(record, "a")
    await write(record, "b")
    with pytest.raises(LimitReached, match=r"80 credits were spent .* costs about 40"):
        await write(record, "c")
    (entry, _) = await record.submissions.history(0, 10)
    assert entry.estimated_credits is None, "what the user assumes is no estimate"

    await record.submissions.accepted(first, task("t-1"), Outcome("completed", (A,), credits=12.0))
    assert await record.spent_today() == 52.0
    await write(record, "c")


async def test_requests_of_unknown_price_made_without_a_limit_count_as_assumed(make_record: MakeRecord) -> None:
    await write(make_record(), "a")
    assert await make_record(budget=replace(DAY_OF_100, assumed_credits=40.0)).spent_today() == 40.0


@pytest.mark.parametrize(
    ("estimate", "reason"), [(50.5, "costs about 50.5 credits"), (None, "is assumed to cost 60 credits")]
)
async def test_request_above_the_limit_of_one_is_refused(
    estimate: float | None, reason: str, make_record: MakeRecord
) -> None:
    record = make_record(budget=Budget(credits_per_request=50.0, assumed_credits=60.0))
    await write(record, "cheap", 50.0)
    with pytest.raises(LimitReached) as error:
        await write(record, "dear", estimate)
    assert error.value.message == f"This generate_x {reason}; the limit of one request is 50. Nothing was sent."
    assert "KIE_AI_MAX_CREDITS_PER_REQUEST" in error.value.next_step


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (DAY_OF_100, "this request costs at most 140; the limit is 100"),
        (Budget(credits_per_request=50.0), "This generate_x costs at most 140 credits; the limit of one request is 50"),
        (Budget(user="ann", beside=Budget(credits_per_request=50.0)), "This generate_x costs at most 140 credits"),
        (Budget(user="ann", sees_all=True, beside=DAY_OF_100), "this request costs at most 140"),
    ],
)
async def test_price_that_may_be_less_is_refused_as_the_most(
    budget: Budget, words: str, make_record: MakeRecord
) -> None:
    record = make_record(budget=budget)
    with pytest.raises(LimitReached, match=words):
        await write(record, "large", 140.0, at_most=True)
    with pytest.raises(LimitReached, match=words):
        await record.check_limits("generate_x", "kie", 140.0, None, at_most=True)


@pytest.mark.parametrize("estimate", [None, 0.5, 5_000.0])
async def test_prices_of_another_service_are_neither_added_nor_limited(
    estimate: float | None, make_record: MakeRecord
) -> None:
    record = make_record(budget=Budget(credits_per_day=100.0, credits_per_request=10.0))
    number = await write(record, "a", estimate, "fal")
    await record.submissions.accepted(number, task("t-1", gateway="fal"), Outcome("completed", (A,), credits=7.0))
    await write(record, "b", estimate, "fal")
    assert await record.spent_today() == 0.0
