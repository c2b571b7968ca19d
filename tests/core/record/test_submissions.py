"""Submissions on record: written before sending, shared by processes, correct after crashes, never changed back."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._flow.report import report_of
from kie_ai_mcp._providers.defaults import kie_normalize_result
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import NEVER_SENT, Ending, SubmissionRecord, TaskRecord
from kie_ai_mcp._record.tasks import Filters, has_news
from kie_ai_mcp._record.users import User
from kie_ai_mcp.errors import InvalidArgument, StorageError
from kie_ai_mcp.specs import Status
from tests.databases import locked, on_sqlite, outside, rows_of

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., Record]

A = "https://x.example/a.png"
B = "https://x.example/b.png"


def request(word: str, gateway: str = "kie") -> NewSubmission:
    """Return a submission whose body holds `word`."""
    return NewSubmission("generate_x", "x", "x", "image", gateway, "x-1", {"prompt": word}, f"hash of {word}")


def task(task_id: str, **values: Any) -> Task:
    return Task(task_id, "x", "x", tool="generate_x", path="jobs/createTask", **values)


async def ticket(record: Record, word: str, gateway: str = "kie") -> Ticket:
    written = await record.submissions.write_ahead(request(word, gateway))
    assert isinstance(written, Ticket)
    return written


async def states(record: Record) -> dict[str, str]:
    """The state of every submission by its prompt, as another process reads it."""
    return {json.loads(row["arguments"])["prompt"]: row["state"] for row in rows_of(record, "submissions")}


@dataclass
class Clock:
    """What the record takes for the time."""

    now: float = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("kie_ai_mcp._record.database.time", SimpleNamespace(**{**vars(time), "time": clock.time}))
    return clock


# Services and accounts -----------------------------------------------------------------------------------------------


@pytest.fixture
def of_account(tmp_path: Path, address: str) -> Iterator[Callable[..., Record]]:
    """Opens the test's database for an account at Kie.ai and one at fal: ``of_account("a")``."""
    with ExitStack() as stack:

        def make(account: str, creates: int = 20) -> Record:
            accounts = {"kie": account, "fal": f"fal of {account}", "luma": f"luma of {account}"}
            record = Record(tmp_path / "tasks.db", RateLimit(creates, 10.0), accounts=accounts, address=address)
            stack.callback(record.close)
            return record

        yield make


async def made(record: Record, word: str, task_id: str, gateway: str = "kie") -> TaskRecord:
    """Record a request that a service accepts with this id."""
    written = await ticket(record, word, gateway)
    return await record.submissions.accepted(written.submission_id, task(task_id, gateway=gateway))


async def test_same_id_of_two_services_is_two_tasks(of_account: MakeRecord) -> None:
    record = of_account("a")
    ours, theirs = await made(record, "a fox", "job_1"), await made(record, "an owl", "job_1", "fal")

    await record.tasks.record_outcome(theirs.written_id, Outcome("completed", (B,)))
    await record.tasks.record_files(ours.written_id, ["/out/a.png"])

    assert (ours.written_id, theirs.written_id) == ("job_1", "fal:job_1")
    for key, urls, files, prompt in (
        ("job_1", (), ("/out/a.png",), "a fox"),
        ("kie:job_1", (), ("/out/a.png",), "a fox"),
        ("fal:job_1", (B,), (), "an owl"),
    ):
        found, request_of_it = await record.tasks.find(key), await record.submissions.of_task(key)
        assert found is not None
        assert request_of_it is not None
        assert (found.result_urls, found.files, request_of_it.arguments["prompt"]) == (urls, files, prompt)
    assert await record.tasks.find("luma:job_1") is None


async def test_id_alone_is_taken_where_one_service_knows_it_and_refused_where_several_do(
    of_account: MakeRecord,
) -> None:
    record = of_account("a")
    await made(record, "a fox", "job_1", "fal")
    only = await record.tasks.find("job_1")
    assert only is not None
    assert only.written_id == "fal:job_1"

    await made(record, "an owl", "job_1", "luma")

    with pytest.raises(InvalidArgument, match=r"give fal:job_1 or luma:job_1"):
        await record.tasks.find("job_1")


@pytest.mark.parametrize("gateways", [("kie", "fal"), ("fal", "kie")])
async def test_id_of_kie_with_a_colon_never_means_another_service_s_task(
    gateways: tuple[str, str], of_account: MakeRecord
) -> None:
    record = of_account("a")
    ids = {"kie": "fal:1", "fal": "1"}
    written = {gateway: (await made(record, gateway, ids[gateway], gateway)).written_id for gateway in gateways}

    assert written == {"kie": "kie:fal:1", "fal": "fal:1"}
    for gateway, key in written.items():
        found = await record.tasks.find(key)
        assert found is not None
        assert (found.gateway, found.task_id) == (gateway, ids[gateway])


async def test_id_of_kie_with_a_colon_is_written_and_taken_as_it_is(of_account: MakeRecord) -> None:
    record = of_account("a")
    assert (await made(record, "a fox", "job:1")).written_id == "job:1"
    for key in ("job:1", "kie:job:1"):
        assert await record.tasks.find(key) is not None


async def test_same_id_of_two_accounts_is_two_tasks_and_each_finds_its_own(of_account: MakeRecord) -> None:
    ours, theirs = of_account("a"), of_account("b")
    await made(ours, "a fox", "job_1")
    second = await made(theirs, "an owl", "job_1")
    await theirs.tasks.record_outcome(second.row_id, Outcome("completed", (B,)))

    for record, urls, account in ((ours, (), "a"), (theirs, (B,), "b")):
        found = await record.tasks.find("job_1")
        assert found is not None
        assert (found.result_urls, found.account) == (urls, account)
    assert (await of_account("c").tasks.find("job_1")) is not None


async def test_id_that_a_service_uses_again_stays_the_earlier_task(of_account: MakeRecord) -> None:
    record = of_account("a")
    first = await made(record, "a fox", "job_1")
    done = await record.tasks.record_outcome("job_1", Outcome("completed", (A,)))

    assert await made(record, "an owl", "job_1") == done
    assert done.submission_id == first.submission_id
    request_of_it = await record.submissions.of_task("job_1")
    assert request_of_it is not None
    assert request_of_it.arguments == {"prompt": "a fox"}


async def test_task_found_at_the_service_before_its_answer_was_recorded_is_linked(of_account: MakeRecord) -> None:
    record = of_account("a")
    written = await ticket(record, "a fox")
    await record.tasks.adopt(Task("job_1", "market", "kie"))

    recorded = await record.submissions.accepted(written.submission_id, task("job_1"))

    assert (recorded.submission_id, recorded.provider, recorded.tool) == (written.submission_id, "x", "generate_x")


async def test_what_finished_at_once_is_kept_where_its_id_is_taken(of_account: MakeRecord) -> None:
    record = of_account("a")
    await made(record, "a fox", "submission-2")
    written = await ticket(record, "an owl")

    recorded = await record.submissions.accepted(
        written.submission_id, task("submission-2"), Outcome("completed", (B,))
    )

    assert recorded.task_id != "submission-2"
    assert (recorded.submission_id, recorded.result_urls) == (written.submission_id, (B,))
    other = await record.tasks.find("submission-2")
    assert other is not None
    assert other.result_urls == ()


async def test_key_and_open_request_of_one_account_are_not_those_of_another(of_account: MakeRecord) -> None:
    ours, theirs = of_account("a"), of_account("b")
    keyed = replace(request("a fox"), idempotency_key="mine")
    first = await ours.submissions.write_ahead(keyed)
    assert isinstance(first, Ticket)

    second = await theirs.submissions.write_ahead(keyed)
    assert isinstance(second, Ticket)
    for record, own in ((ours, first), (theirs, second)):
        again = await record.submissions.write_ahead(keyed)
        assert isinstance(again, SubmissionRecord)
        assert again.id == own.submission_id


async def test_each_account_has_slots_of_its_own(of_account: MakeRecord) -> None:
    ours, theirs = of_account("a", creates=1), of_account("b", creates=1)
    granted = [(await ticket(record, f"{number}")).granted for number in range(2) for record in (ours, theirs)]
    assert granted == [True, True, False, False]


async def test_request_of_before_accounts_blocks_holds_its_key_and_its_slot(
    of_account: MakeRecord, tmp_path: Path, address: str
) -> None:
    earlier = Record(tmp_path / "tasks.db", RateLimit(1, 10.0), address=address)
    keyed = await earlier.submissions.write_ahead(replace(request("a fox"), idempotency_key="mine"))
    assert isinstance(keyed, Ticket)
    earlier.database.connection.close()
    record = of_account("a", creates=1)

    for new in (replace(request("another"), idempotency_key="mine"), request("a fox")):
        again = await record.submissions.write_ahead(new)
        assert isinstance(again, SubmissionRecord)
        assert again.id == keyed.submission_id
    assert not (await ticket(record, "an owl")).granted


async def test_pruning_one_service_s_task_leaves_another_s_of_that_id(of_account: MakeRecord, tmp_path: Path) -> None:
    record = of_account("a")
    await made(record, "a fox", "job_1")
    await made(record, "an owl", "job_1", "fal")
    await record.tasks.record_outcome("fal:job_1", Outcome("completed", (B,)))
    with outside(record) as database:
        database.execute("UPDATE tasks SET created_at = '2020-01-01 00:00:00.000000'")

    assert await record.prune(datetime.now(UTC), dry_run=False) == 1

    assert await states(record) == {"a fox": "accepted"}
    assert await record.tasks.find("fal:job_1") is None


async def test_spending_of_two_tasks_of_one_id_is_summed_once_each(of_account: MakeRecord) -> None:
    for account, credits in (("a", 4.0), ("b", 70.0)):
        record = of_account(account)
        made_of_it = await made(record, account, "job_1")
        await record.tasks.record_outcome(made_of_it.row_id, Outcome("completed", (A,), credits=credits))
    assert await record.spent_today() == 74.0


# Before sending ------------------------------------------------------------------------------------------------------


async def test_request_is_on_record_for_every_process_before_it_is_sent(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()

    written = await ticket(ours, "a fox")

    seen = await theirs.submissions.find(written.submission_id)
    assert seen is not None
    assert (seen.state, seen.tool, seen.provider, seen.task_id, seen.code) == ("sending", "generate_x", "x", None, None)
    assert seen.arguments == {"prompt": "a fox"}
    assert abs(datetime.now(UTC) - seen.created_at) < timedelta(seconds=10)
    assert [entry.id for entry in await theirs.submissions.unsettled()] == [written.submission_id]


@on_sqlite
async def test_every_commit_is_flushed_to_the_disk(make_record: MakeRecord) -> None:
    record = make_record()
    await ticket(record, "a fox")

    assert (record.database.connection.pragma("synchronous"), record.database.connection.pragma("journal_mode")) == (
        2,
        "wal",
    )


@pytest.mark.parametrize("state", ["sending", "unknown"])
async def test_identical_request_is_not_recorded_while_the_first_is_unsettled(
    state: str, make_record: MakeRecord
) -> None:
    ours, theirs = make_record(), make_record()
    first = await ticket(ours, "a fox")
    if state == "unknown":
        await ours.submissions.settled(first.submission_id, Ending("unknown", message="no answer"))

    for record in (ours, theirs):
        twin = await record.submissions.write_ahead(request("a fox"))
        assert isinstance(twin, SubmissionRecord)
        assert (twin.id, twin.state) == (first.submission_id, state)
    assert await states(ours) == {"a fox": state}


async def test_identical_request_is_fine_once_the_first_is_settled(make_record: MakeRecord) -> None:
    record = make_record()
    for number in range(4):
        first = await ticket(record, "a fox")
        match number:
            case 0:
                await record.submissions.accepted(first.submission_id, task("t-1"))
            case 1:
                await record.submissions.settled(first.submission_id, Ending("refused", code=422, message="no"))
            case 2:
                await record.submissions.settled(first.submission_id, NEVER_SENT)
            case 3:
                await record.submissions.settled(first.submission_id, Ending("unknown", message="no answer"))
                await record.submissions.resolve(first.submission_id, None)

    assert (await ticket(record, "a fox")).granted


async def test_only_one_of_many_identical_requests_at_once_is_recorded(make_record: MakeRecord) -> None:
    records = [make_record() for _ in range(4)]
    written: list[object] = []

    async def write(record: Record) -> None:
        written.append(await record.submissions.write_ahead(request("a fox")))

    async with anyio.create_task_group() as group:
        for record in records * 3:
            group.start_soon(write, record)

    assert len([entry for entry in written if isinstance(entry, Ticket)]) == 1
    assert len(written) == 12


@pytest.mark.parametrize("state", ["sending", "unknown", "accepted"])
async def test_idempotency_key_leads_to_the_request_that_used_it_first(state: str, make_record: MakeRecord) -> None:
    record = make_record()
    first = await record.submissions.write_ahead(replace(request("a fox"), idempotency_key="k"))
    assert isinstance(first, Ticket)
    match state:
        case "unknown":
            await record.submissions.settled(first.submission_id, Ending("unknown", message="x"))
        case "accepted":
            await record.submissions.accepted(first.submission_id, task("t-1"))

    for word in ("a fox", "another body"):
        again = await make_record().submissions.write_ahead(replace(request(word), idempotency_key="k"))
        assert isinstance(again, SubmissionRecord)
        assert (again.id, again.state, again.body_hash) == (first.submission_id, state, "hash of a fox")
    assert isinstance(await record.submissions.write_ahead(replace(request("a cat"), idempotency_key="other")), Ticket)


@pytest.mark.parametrize("state", ["refused", "cancelled", "discarded"])
async def test_idempotency_key_is_free_again_where_nothing_was_made(state: str, make_record: MakeRecord) -> None:
    record = make_record()
    keyed = replace(request("a fox"), idempotency_key="k")
    first = await record.submissions.write_ahead(keyed)
    assert isinstance(first, Ticket)
    match state:
        case "refused":
            await record.submissions.settled(first.submission_id, Ending("refused", code=422, message="no"))
        case "cancelled":
            await record.submissions.settled(first.submission_id, NEVER_SENT)
        case "discarded":
            await record.submissions.settled(first.submission_id, Ending("unknown", message="x"))
            await record.submissions.resolve(first.submission_id, None)

    assert isinstance(await record.submissions.write_ahead(keyed), Ticket)


# The rate limit ------------------------------------------------------------------------------------------------------


async def test_slots_are_shared_by_processes_that_ask_at_once(make_record: MakeRecord) -> None:
    records = [make_record(creates=20) for _ in range(2)]
    granted: list[bool] = []

    async def write(number: int) -> None:
        granted.append((await ticket(records[number % 2], str(number))).granted)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(write, number)

    assert granted.count(True) == 20


async def test_slot_is_held_from_the_grant_until_one_window_after_the_answer(
    make_record: MakeRecord, clock: Clock
) -> None:
    ours, theirs = make_record(creates=1), make_record(creates=1)
    first = await ticket(ours, "first")
    waiting = await ticket(theirs, "waiting")

    async def granted_at(seconds: float) -> bool:
        clock.now = 1_000_000 + seconds
        return (await theirs.submissions.ask_again(waiting.submission_id, "kie")).granted

    assert (first.granted, waiting.granted) == (True, False)
    assert not await granted_at(100)
    await ours.submissions.settled(first.submission_id, Ending("refused", code=422, message="no"))
    assert not await granted_at(109.9)
    assert await granted_at(110.1)


@pytest.mark.parametrize("end", ["refused", "unknown"])
async def test_answered_request_gives_its_slot_back_after_the_window(
    end: Any, make_record: MakeRecord, clock: Clock
) -> None:
    record = make_record(creates=1)
    first = await ticket(record, "first")
    await record.submissions.settled(first.submission_id, Ending(end, message="x"))

    clock.now += 10.1

    assert (await ticket(record, "second")).granted


async def test_clock_that_was_set_back_holds_no_slot_for_longer_than_two_windows(
    make_record: MakeRecord, clock: Clock
) -> None:
    record = make_record(creates=1)
    first = await ticket(record, "first")
    await record.submissions.settled(first.submission_id, Ending("refused", message="x"))

    clock.now -= 3600

    assert (await ticket(record, "second")).granted


async def test_accepted_request_gives_its_slot_back_after_the_window(make_record: MakeRecord) -> None:
    record = make_record(creates=1, window_s=0.05)
    first = await ticket(record, "first")
    await record.submissions.accepted(first.submission_id, task("t-1"))

    await anyio.sleep(0.06)

    assert (await ticket(record, "second")).granted


async def test_request_that_was_never_sent_gives_its_slot_back(make_record: MakeRecord) -> None:
    record = make_record(creates=1, window_s=0.05)
    first = await ticket(record, "first")
    await record.submissions.settled(first.submission_id, NEVER_SENT)

    await anyio.sleep(0.06)

    assert (await ticket(record, "second")).granted


async def test_oldest_waiting_request_comes_first_whoever_asks_first(make_record: MakeRecord, clock: Clock) -> None:
    ours, theirs = make_record(creates=1), make_record(creates=1)
    busy = await ticket(ours, "busy")
    older, younger = await ticket(theirs, "older"), await ticket(ours, "younger")
    await ours.submissions.settled(busy.submission_id, Ending("refused", code=422, message="no"))
    clock.now += 3
    await theirs.submissions.ask_again(older.submission_id, "kie")
    clock.now += 4
    await theirs.submissions.ask_again(older.submission_id, "kie")
    clock.now += 4

    refused = await ours.submissions.ask_again(younger.submission_id, "kie")
    assert (refused.granted, refused.ahead) == (False, 1)
    assert (await theirs.submissions.ask_again(older.submission_id, "kie")).granted
    assert not (await ours.submissions.ask_again(younger.submission_id, "kie")).granted


async def test_new_request_does_not_overtake_a_waiting_one(make_record: MakeRecord, clock: Clock) -> None:
    ours, theirs = make_record(creates=1), make_record(creates=1)
    busy = await ticket(ours, "busy")
    waiting = await ticket(theirs, "waiting")
    await ours.submissions.settled(busy.submission_id, Ending("refused", code=422, message="no"))
    clock.now += 8
    await theirs.submissions.ask_again(waiting.submission_id, "kie")
    clock.now += 3

    assert not (await ticket(ours, "new")).granted
    assert (await theirs.submissions.ask_again(waiting.submission_id, "kie")).granted


async def test_waiting_request_that_stopped_asking_loses_its_place(make_record: MakeRecord, clock: Clock) -> None:
    ours, theirs = make_record(creates=1), make_record(creates=1)
    busy = await ticket(ours, "busy")
    await ticket(theirs, "gone")
    await ours.submissions.settled(busy.submission_id, Ending("refused", code=422, message="no"))
    clock.now += 10.1

    assert (await ticket(ours, "new")).granted


async def test_each_service_has_a_limit_of_its_own(make_record: MakeRecord) -> None:
    record = make_record(creates=1)

    tickets = [await ticket(record, word, gateway) for word, gateway in (("a", "kie"), ("b", "kie"), ("c", "y"))]

    assert [entry.granted for entry in tickets] == [True, False, True]


async def test_refused_ticket_says_how_long_to_wait_and_how_many_are_ahead(
    make_record: MakeRecord, clock: Clock
) -> None:
    record = make_record(creates=1)
    busy = await ticket(record, "busy")
    await record.submissions.settled(busy.submission_id, Ending("refused", code=422, message="no"))
    clock.now += 9.5

    tickets = [await ticket(record, str(number)) for number in range(3)]

    assert [entry.ahead for entry in tickets] == [0, 1, 2]
    assert tickets[0].wait_s == pytest.approx(0.5)
    assert all(0.02 <= entry.wait_s <= 1.0 for entry in tickets)


async def test_each_waiting_request_waits_for_a_slot_of_its_own(make_record: MakeRecord, clock: Clock) -> None:
    record = make_record(creates=2)
    for word in ("first", "second"):
        busy = await ticket(record, word)
        await record.submissions.settled(busy.submission_id, Ending("refused", code=422, message="no"))
        clock.now += 0.25
    clock.now += 9.25

    tickets = [await ticket(record, str(number)) for number in range(2)]

    assert [entry.wait_s for entry in tickets] == [pytest.approx(0.25), pytest.approx(0.5)]


@pytest.mark.parametrize("seed", range(2))
async def test_no_window_of_the_service_ever_sees_more_than_the_limit(
    seed: int, make_record: MakeRecord, clock: Clock
) -> None:
    chance = random.Random(seed)
    limit, window_s = 4, 10.0
    records = [make_record(creates=limit, window_s=window_s) for _ in range(2)]
    waiting: list[tuple[Record, int]] = []
    answers: list[tuple[float, Record, int]] = []
    counted: list[float] = []

    def sent(record: Record, submission_id: int) -> None:
        # The service counts a request at some moment between the sending and the answer.
        takes_s = chance.choice([0.1, 1.0, 12.0]) * chance.random()
        answers.append((clock.now + takes_s, record, submission_id))
        counted.append(clock.now + takes_s * chance.random())

    for number in range(40):
        clock.now += chance.random() * 3
        for answer in [entry for entry in answers if entry[0] <= clock.now]:
            answers.remove(answer)
            await answer[1].submissions.settled(answer[2], Ending(chance.choice(["refused", "unknown"]), message="x"))
        for place in chance.sample(waiting, len(waiting)):
            if (await place[0].submissions.ask_again(place[1], "kie")).granted:
                waiting.remove(place)
                sent(*place)
        if len(waiting) < 3:
            record = chance.choice(records)
            new = await ticket(record, str(number))
            sent(record, new.submission_id) if new.granted else waiting.append((record, new.submission_id))

    counted.sort()
    assert len(counted) > 2 * limit
    assert [start for start in counted if len([at for at in counted if start <= at < start + window_s]) > limit] == []


# After sending -------------------------------------------------------------------------------------------------------


async def test_accepted_task_and_its_submission_are_linked(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    written = await ticket(ours, "a fox")

    recorded = await ours.submissions.accepted(written.submission_id, task("t-1", kind="video", model="x-1"))

    assert await theirs.tasks.find("t-1") == recorded
    assert (recorded.status, recorded.submission_id, recorded.result_urls) == ("pending", written.submission_id, ())
    assert replace(recorded.task, created_at=None) == task("t-1", kind="video", model="x-1")
    submission = await theirs.submissions.find(written.submission_id)
    assert submission is not None
    assert (submission.state, submission.task_id) == ("accepted", "t-1")
    assert await theirs.submissions.of_task("t-1") == submission
    assert await theirs.submissions.unsettled() == []


async def test_task_that_is_done_at_once_is_recorded_with_its_results(make_record: MakeRecord) -> None:
    record = make_record()
    written = await ticket(record, "a fox")

    recorded = await record.submissions.accepted(
        written.submission_id, task("t-1"), Outcome("completed", (A, B), credits=2)
    )

    assert (recorded.status, recorded.result_urls, recorded.credits, recorded.final) == ("completed", (A, B), 2.0, True)


async def test_task_has_the_estimate_of_the_request_that_made_it(make_record: MakeRecord) -> None:
    record = make_record()
    for word in ("first", "second"):  # the service answers both with the same id
        made = await record.submissions.write_ahead(replace(request(word), estimated_credits=len(word)))
        assert isinstance(made, Ticket)
        await record.submissions.accepted(made.submission_id, task("t-1"))
    found = await record.tasks.find("t-1")
    assert found is not None
    assert [entry.estimated_credits for entry in (found, *await record.tasks.newest(Filters()))] == [5.0, 5.0]


async def test_second_submission_that_is_given_a_known_task_leaves_the_task_as_it_is(make_record: MakeRecord) -> None:
    record = make_record()
    first, second = await ticket(record, "a"), await ticket(record, "b")
    await record.submissions.accepted(first.submission_id, task("t-1"))
    done = await record.tasks.record_outcome("t-1", Outcome("completed", (A,)))

    assert await record.submissions.accepted(second.submission_id, task("t-1")) == done
    assert await states(record) == {"a": "accepted", "b": "accepted"}


@pytest.mark.parametrize(("state", "code"), [("refused", 422), ("unknown", None), ("unknown", 500)])
async def test_end_without_a_task_is_recorded_with_code_and_reason(
    state: Any, code: int | None, make_record: MakeRecord
) -> None:
    record = make_record()
    written = await ticket(record, "a fox")

    await record.submissions.settled(written.submission_id, Ending(state, code=code, message="the reason"))

    settled = await record.submissions.find(written.submission_id)
    assert settled is not None
    assert (settled.state, settled.code, settled.message, settled.task_id) == (state, code, "the reason", None)


async def test_unknown_submission_is_settled_by_adopting_or_discarding(make_record: MakeRecord) -> None:
    record = make_record()
    for word, found in (("a", task("t-1")), ("b", None)):
        written = await ticket(record, word)
        await record.submissions.settled(written.submission_id, Ending("unknown", message="no answer"))
        await record.submissions.resolve(written.submission_id, found)

    assert await states(record) == {"a": "accepted", "b": "discarded"}
    assert await record.submissions.unsettled() == []
    made_by = await record.submissions.of_task("t-1")
    assert made_by is not None
    assert made_by.arguments == {"prompt": "a"}


async def test_adopted_task_is_what_its_request_asked_for(make_record: MakeRecord) -> None:
    record = make_record()
    written = await record.submissions.write_ahead(replace(request("a fox"), estimated_credits=8.0))
    assert isinstance(written, Ticket)
    await record.submissions.settled(written.submission_id, Ending("unknown", message="no answer"))
    found = await record.tasks.adopt(Task("t-1", "another sort of x", "x", kind="video"))

    await record.submissions.resolve(written.submission_id, found.task)

    adopted = await record.tasks.find("t-1")
    assert adopted is not None
    assert (adopted.api_type, adopted.kind, adopted.tool) == ("x", "image", "generate_x")
    assert (adopted.submission_id, adopted.estimated_credits) == (written.submission_id, 8.0)


@pytest.mark.parametrize("state", ["sending", "accepted", "refused", "discarded", "not on record"])
async def test_only_an_unknown_submission_can_be_settled(state: str, make_record: MakeRecord) -> None:
    record = make_record()
    number = (await ticket(record, "a fox")).submission_id
    match state:
        case "accepted":
            await record.submissions.accepted(number, task("t-1"))
        case "refused":
            await record.submissions.settled(number, Ending("refused", code=422, message="no"))
        case "discarded":
            await record.submissions.settled(number, Ending("unknown", message="x"))
            await record.submissions.resolve(number, None)
        case "not on record":
            number = 99

    with pytest.raises(StorageError, match=f"Submission {number} is {state}; only an unknown one can be resolved."):
        await record.submissions.resolve(number, None)


# What the service says of a task -------------------------------------------------------------------------------------


async def test_outcome_is_written_whole(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    end = datetime(2026, 4, 20, 10, tzinfo=UTC)

    await record.tasks.record_outcome("t-1", Outcome("processing", progress=0.4, credits=70.0, model="x-2"))
    done = await record.tasks.record_outcome("t-1", Outcome("completed", (A, B), finished_at=end, keeps_s=600))

    assert (done.status, done.progress, done.credits, done.model) == ("completed", 0.4, 70.0, "x-2")
    assert (done.result_urls, done.finished_at, done.keeps_s) == ((A, B), end, 600)
    with outside(record) as database:
        assert database.execute("SELECT result_url FROM tasks").fetchall() == [(A,)]


async def test_failure_keeps_its_reason_and_code(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))

    failed = await record.tasks.record_outcome("t-1", Outcome("failed", error="policy", error_code=400))

    assert (failed.status, failed.error, failed.error_code, failed.final) == ("failed", "policy", "400", True)
    assert failed.finished_at is not None


@pytest.mark.parametrize(
    ("final", "later"),
    [
        (Outcome("completed", (A,)), Outcome("processing")),
        (Outcome("completed", (A,)), Outcome("pending")),
        (Outcome("completed", (A,)), Outcome("failed", error="late")),
        (Outcome("failed", error="policy"), Outcome("processing")),
        (Outcome("failed", error="policy"), Outcome("completed")),
        (Outcome("failed", error="policy"), Outcome("pending", (B,), credits=3.0)),
    ],
)
async def test_final_status_never_changes_back(final: Outcome, later: Outcome, make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    await ours.tasks.adopt(task("t-1"))
    before = await ours.tasks.record_outcome("t-1", final)

    after = await theirs.tasks.record_outcome("t-1", later)
    assert replace(after, error=before.error) == before
    assert after.error == (before.error or later.error)


async def test_results_win_over_a_failure_that_was_reported_before(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    early, late = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    await record.tasks.record_outcome("t-1", Outcome("failed", error="no luck", error_code=501, finished_at=early))

    done = await record.tasks.record_outcome("t-1", Outcome("completed", (A,), credits=4.0, finished_at=late))
    assert (done.status, done.result_urls, done.credits) == ("completed", (A,), 4.0)
    assert done.expires_at == late + timedelta(days=1), "the results are kept from their own end on"
    report = report_of(done)
    assert (report.status, report.error, report.charged) == ("completed", None, "yes")
    failure = 'The service says: "no luck" (code 501).'
    assert report.notes == (f"The service has called the task failed as well. {failure}",)


async def test_failure_that_is_reported_of_results_is_kept_beside_them(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    done = await record.tasks.record_outcome("t-1", Outcome("completed", (A,)))
    for reason in ("late", "later still"):
        after = await record.tasks.record_outcome("t-1", Outcome("failed", error=reason))
        assert after == replace(done, error="late")


async def test_result_addresses_of_a_finished_task_may_be_renewed_but_not_lost(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))

    for urls, kept in (((A,), (A,)), ((B,), (B,)), ((), (B,))):
        assert (await record.tasks.record_outcome("t-1", Outcome("completed", urls))).result_urls == kept


async def test_result_that_is_no_longer_named_beside_another_is_kept(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    running = await record.tasks.record_outcome("t-1", Outcome("processing", (A, B)))
    assert running.result_urls == (A, B)
    preview = await record.tasks.record_outcome("t-1", Outcome("completed", (B,)))
    assert preview.result_urls == (B,), "what a running task names may be previews"

    whole = await record.tasks.record_outcome("t-1", Outcome("completed", (A, B), labels=("front", "back")))
    fewer = Outcome("completed", (B,), labels=("back",))
    assert not has_news(fewer, whole)
    kept = await record.tasks.record_outcome("t-1", fewer)
    assert (kept.result_urls, kept.labels) == ((A, B), ("front", "back"))
    renewed = await record.tasks.record_outcome("t-1", Outcome("completed", (f"{A}?signed",)))
    assert (renewed.result_urls, renewed.labels) == ((A, B, f"{A}?signed"), ("front", "back", ""))


async def test_time_of_the_end_stays_what_it_was_when_the_task_is_read_again(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    first = await record.tasks.record_outcome("t-1", Outcome("completed", (A,)))
    await anyio.sleep(0.002)

    again = await record.tasks.record_outcome("t-1", Outcome("completed", (A,)))

    assert again.finished_at == first.finished_at
    assert report_of(again).expires_at == report_of(first).expires_at


@pytest.mark.parametrize(
    "end",
    [
        "0001-01-01 00:00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31 23:59:59",
        "0999-06-01",
        1,
        253402300799000,
        1e300,
    ],
)
async def test_task_whose_end_is_at_the_edge_of_the_calendar_stays_readable(
    end: object, make_record: MakeRecord
) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    payload = {"state": "success", "resultJson": {"resultUrls": [A]}, "completeTime": end}

    await record.tasks.record_outcome("t-1", kie_normalize_result(payload))

    assert [report_of(entry).structured()["result_urls"] for entry in await record.tasks.newest(Filters())] == [[A]]


async def test_saved_files_are_recorded(make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))

    await record.tasks.record_files("t-1", ["/out/a.png", "/out/ä.png"])

    found = await record.tasks.find("t-1")
    assert found is not None
    assert found.files == ("/out/a.png", "/out/ä.png")


async def test_adopting_a_known_task_changes_nothing(make_record: MakeRecord) -> None:
    record = make_record()
    written = await ticket(record, "a fox")
    known = await record.submissions.accepted(written.submission_id, task("t-1"))

    assert await record.tasks.adopt(Task("t-1", "y", "y")) == known
    assert (await record.tasks.adopt(Task("t-2", "y", "y"))).submission_id is None


async def test_what_was_never_recorded_is_none_and_can_not_be_changed(make_record: MakeRecord) -> None:
    record = make_record()

    assert await record.tasks.find("t-1") is None
    assert await record.submissions.find(1) is None
    assert await record.submissions.of_task("t-1") is None
    for change in (record.tasks.record_outcome("t-1", Outcome("failed")), record.tasks.record_files("t-1", [])):
        with pytest.raises(StorageError, match="Task t-1 is no longer on record"):
            await change


# Listing -------------------------------------------------------------------------------------------------------------


async def test_pages_are_newest_first_and_stable_while_tasks_are_added(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    for number in range(10):
        await ours.tasks.adopt(task(f"t-{number}"))
    seen: list[str] = []
    before: int | None = None

    for number in range(5):
        page = await ours.tasks.newest(Filters(before_id=before, limit=3))
        seen += [entry.task_id for entry in page]
        before = page[-1].row_id if page else before
        await theirs.tasks.adopt(task(f"new-{number}"))

    assert seen == [f"t-{number}" for number in reversed(range(10))]
    assert len(await ours.tasks.newest(Filters(limit=50))) == 15


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(), "dcba"),
        (Filters(status="completed"), "ca"),
        (Filters(status="pending"), "db"),
        (Filters(provider="veo3"), "dc"),
        (Filters(kind="video"), "cb"),
        (Filters(status="completed", provider="veo3", kind="video"), "c"),
        (Filters(since=datetime(2026, 4, 22, tzinfo=UTC)), "dc"),
        (Filters(since=datetime(2026, 4, 22, tzinfo=UTC), limit=1), "d"),
        (Filters(status="failed"), ""),
    ],
)
async def test_tasks_are_filtered_by_each_and_by_all(filters: Filters, found: str, make_record: MakeRecord) -> None:
    record = make_record()
    rows: list[tuple[str, str, Any, Status]] = [
        ("a", "flux", "image", "completed"),
        ("b", "flux", "video", "pending"),
        ("c", "veo3", "video", "completed"),
        ("d", "veo3", "image", "pending"),
    ]
    for day, (name, provider, kind, status) in enumerate(rows, start=20):
        created = datetime(2026, 4, day, 12, tzinfo=UTC)
        await record.tasks.adopt(Task(name, "x", provider, kind=kind, created_at=created))
        await record.tasks.record_outcome(name, Outcome(status))

    assert "".join(entry.task_id for entry in await record.tasks.newest(filters)) == found


async def test_values_from_outside_are_values_and_never_commands(make_record: MakeRecord) -> None:
    record = make_record()
    name = "'; DROP TABLE tasks; --"
    await record.tasks.adopt(Task(name, name, name))

    assert [entry.task_id for entry in await record.tasks.newest(Filters(provider=name))] == [name]


# Housekeeping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 5_000])
async def test_pruning_takes_old_finished_tasks_with_their_requests_and_nothing_else(
    at_once: int, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.record.PRUNED_AT_ONCE", at_once)
    record = make_record()
    made = {"old": "completed", "old-failed": "failed", "old-running": "processing", "new": "completed"}
    for name, status in made.items():
        written = await ticket(record, name)
        when = datetime(2026, 1 if "old" in name else 6, 1, tzinfo=UTC)
        await record.submissions.accepted(written.submission_id, task(name, created_at=when), Outcome(status))  # type: ignore[arg-type]
    await record.submissions.settled((await ticket(record, "lost")).submission_id, Ending("unknown", message="x"))
    limit = datetime(2026, 3, 1, tzinfo=UTC)

    assert await record.prune(limit, dry_run=True) == 2
    assert len(await record.tasks.newest(Filters())) == 4
    assert await record.prune(limit, dry_run=False) == 2

    assert [entry.task_id for entry in await record.tasks.newest(Filters())] == ["new", "old-running"]
    assert await states(record) == {"old-running": "accepted", "new": "accepted", "lost": "unknown"}
    assert await record.prune(limit, dry_run=False) == 0


async def test_requests_are_exported_page_by_page(make_record: MakeRecord) -> None:
    record = make_record()
    for number in range(5):
        await ticket(record, str(number))

    seen: list[str] = []
    after = 0
    for _ in range(3):
        page = await record.submissions.history(after, 2)
        seen += [entry.arguments["prompt"] for entry in page]
        after = page[-1].id

    assert seen == ["0", "1", "2", "3", "4"]


async def test_check_of_a_sound_file_finds_nothing(make_record: MakeRecord) -> None:
    record = make_record()
    await ticket(record, "a fox")

    assert await record.damage() is None


async def test_upload_is_known_until_the_service_drops_it(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    later = datetime.now(UTC) + timedelta(hours=1)

    await ours.uploads.add("abc", A, later)
    assert await theirs.uploads.find("abc") == (A, later)
    assert await theirs.uploads.find("abd") is None
    await theirs.uploads.add("abc", B, datetime.now(UTC) - timedelta(seconds=1))
    assert await ours.uploads.find("abc") is None


async def test_upload_of_a_user_is_known_to_nobody_else(make_record: MakeRecord) -> None:
    record = make_record()
    ada, bob, root = (record.of_user(User(name, is_admin=name == "root"), {}) for name in ("ada", "bob", "root"))
    later = datetime.now(UTC) + timedelta(hours=1)

    await ada.uploads.add("abc", A, later)
    assert [await each.uploads.find("abc") for each in (ada, bob, root, record)] == [(A, later), None, None, None]
    assert [await each.uploads.hashes() for each in (ada, bob, root, record)] == [{A: "abc"}, {}, {}, {}]
    await bob.uploads.add("abc", B, later)
    assert [await each.uploads.find("abc") for each in (ada, bob)] == [(A, later), (B, later)]


async def test_unsaved_results_are_those_that_expire_first(make_record: MakeRecord) -> None:
    record = make_record()
    now = datetime.now(UTC)
    for name, outcome in {
        "later": Outcome("completed", (A,), finished_at=now, keeps_s=1000),
        "sooner": Outcome("completed", (A,), finished_at=now, keeps_s=10),
        "running": Outcome("processing"),
        "empty": Outcome("completed"),
        "saved": Outcome("completed", (A,)),
    }.items():
        await record.tasks.adopt(task(name))
        await record.tasks.record_outcome(name, outcome)
    await record.tasks.record_files("saved", ["/out/a.png"])

    assert [entry.task_id for entry in await record.tasks.unsaved()] == ["sooner", "later"]


async def test_few_unsaved_results_are_those_that_expire_next_and_expired_ones_last(make_record: MakeRecord) -> None:
    record, now = make_record(), datetime.now(UTC)
    for name, ago_s, keeps_s in (
        ("long gone", 2000, 10),
        ("expired", 1000, 900),
        ("later", 1000, 5000),
        ("next", 10, 60),
        ("resting", 10, 50),
    ):
        await record.tasks.adopt(task(name))
        finished_at = now - timedelta(seconds=ago_s)
        await record.tasks.record_outcome(name, Outcome("completed", (A,), finished_at=finished_at, keeps_s=keeps_s))
    await record.tasks.adopt(task("words"))
    await record.tasks.record_outcome("words", Outcome("completed", data="la"))
    resting = await record.tasks.find("resting")
    assert resting is not None

    async def some(limit: int) -> list[str]:
        late = now - timedelta(seconds=500)
        return [each.task_id for each in await record.tasks.unsaved(limit, late, [resting.row_id])]

    assert await some(9) == ["words", "next", "later", "expired"]
    assert await some(2) == ["words", "next"]


# What the database did not take --------------------------------------------------------------------------------------


def accepted(name: str) -> Ending:
    return Ending("accepted", task(name, created_at=datetime(2026, 4, 20, tzinfo=UTC)))


@pytest.mark.parametrize("when", ["at the next start", "at the next request"])
async def test_task_that_was_kept_beside_the_database_is_recorded_from_there(
    when: str, make_record: MakeRecord
) -> None:
    ours = make_record()
    written = await ticket(ours, "a fox")

    side = await ours.recovery.keep(written.submission_id, accepted("t-1"))
    assert side.parent == ours.path.parent
    assert await ours.tasks.find("t-1") is None
    theirs = make_record() if when == "at the next start" else ours
    await ticket(theirs, "another")

    found = await theirs.tasks.find("t-1")
    assert found is not None
    assert (found.status, found.submission_id, found.created_at) == (
        "pending",
        written.submission_id,
        datetime(2026, 4, 20, tzinfo=UTC),
    )
    assert (await states(theirs))["a fox"] == "accepted"
    assert not side.exists()


async def test_end_that_was_kept_beside_the_database_is_recorded_from_there(make_record: MakeRecord) -> None:
    record = make_record(creates=1, window_s=0.05)
    written = await ticket(record, "a fox")

    await record.recovery.keep(written.submission_id, Ending("refused", code=422, message="no"))

    assert await record.submissions.unsettled() == []
    settled = await record.submissions.find(written.submission_id)
    assert settled is not None
    assert (settled.state, settled.code, settled.message) == ("refused", 422, "no")


async def test_broken_line_beside_the_database_loses_neither_itself_nor_the_others(make_record: MakeRecord) -> None:
    record = make_record()
    first, second = await ticket(record, "a"), await ticket(record, "b")
    side = await record.recovery.keep(first.submission_id, accepted("t-1"))
    with side.open("a", encoding="utf-8") as file:
        file.write('{"submission_id": 2, "task": {"task_id\n')
    await record.recovery.keep(second.submission_id, accepted("t-2"))

    make_record()

    assert {entry.task_id for entry in await record.tasks.newest(Filters())} == {"t-1", "t-2"}
    assert not side.exists()
    (left,) = side.parent.glob("*.unreadable")
    assert left.read_text(encoding="utf-8") == '{"submission_id": 2, "task": {"task_id\n'


async def test_file_beside_the_database_that_can_not_be_written_is_an_error(
    open_folder: Path, make_record: MakeRecord, powerless: Callable[[], AbstractContextManager[None]]
) -> None:
    record = make_record(open_folder / "tasks.db")
    lock(open_folder)

    with powerless(), pytest.raises(StorageError, match="recovery file"):
        await record.recovery.keep(1, accepted("t-1"))


# Dead processes ------------------------------------------------------------------------------------------------------

DOOMED = """
import sys, time
from pathlib import Path
import anyio
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.submissions import NewSubmission

async def main():
    record = Record(Path(sys.argv[1]), RateLimit(1, 10.0), address=sys.argv[2])
    record.open()
    for word in ("sent", "waiting"):
        new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": word}, word)
        await record.submissions.write_ahead(new)
    print("ready", flush=True)
    time.sleep(30)

anyio.run(main)
"""


@contextmanager
def doomed(record: Record) -> Iterator["subprocess.Popen[str]"]:
    """A process with one request on its way and one that waits for a slot."""
    command = [sys.executable, "-c", DOOMED, str(record.path), record.address]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.wait(10)
        assert child.stdout is not None
        child.stdout.close()


@pytest.mark.parametrize("noticed", ["at the next start", "by a running server"])
async def test_requests_of_a_killed_process_become_unknown_or_were_never_sent(
    noticed: str, make_record: MakeRecord
) -> None:
    record = make_record(creates=1, window_s=0.05)

    with doomed(record) as child:
        assert {entry.state for entry in await record.submissions.unsettled()} == {"sending"}
        child.kill()
        child.wait(10)
        if noticed == "at the next start":
            make_record()
        else:
            await record.submissions.unsettled()

    assert await states(record) == {"sent": "unknown", "waiting": "cancelled"}
    (unknown,) = await record.submissions.unsettled()
    assert (unknown.arguments, unknown.message) == (
        {"prompt": "sent"},
        "its process ended before the answer was recorded",
    )
    await anyio.sleep(0.06)
    assert (await ticket(record, "next")).granted
    ours = [] if record.address else [f"tasks.db.{record.process.owner}.lock"]
    assert [path.name for path in record.path.parent.glob("*.lock")] == ours


async def test_requests_of_a_process_that_ended_are_settled_and_it_leaves_no_file(make_record: MakeRecord) -> None:
    ours, theirs = make_record(), make_record()
    await ticket(ours, "a fox")

    ours.close()

    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["unknown"]
    assert list(theirs.path.parent.glob("*.lock")) == []


async def test_requests_of_a_living_process_are_left_alone(make_record: MakeRecord) -> None:
    ours = make_record()
    await ticket(ours, "a fox")

    for _ in range(2):
        assert [entry.state for entry in await make_record().submissions.unsettled()] == ["sending"]


@on_sqlite
@pytest.mark.parametrize("opened_first", [True, False])
async def test_process_that_opens_the_file_through_a_link_takes_no_other_for_dead(
    opened_first: bool, tmp_path: Path, make_record: MakeRecord
) -> None:
    (tmp_path / "home").mkdir()
    link = tmp_path / "home" / "linked.db"
    link.symlink_to(tmp_path / "tasks.db")
    paths = [link, tmp_path / "tasks.db"] if opened_first else [tmp_path / "tasks.db", link]
    ours, theirs = (Record(path, RateLimit(20, 10.0)) for path in paths)
    with closing(ours), closing(theirs):
        waiting = await ticket(ours, "a fox")

        assert [entry.state for entry in await theirs.submissions.unsettled()] == ["sending"]
        await ours.recovery.keep(waiting.submission_id, Ending("refused", code=402, message="no credits"))
        assert await theirs.submissions.unsettled() == []


# What can be wrong with a file ---------------------------------------------------------------------------------------


def lock(path: Path) -> None:
    """Make it read-only."""
    path.chmod(0o555 if path.is_dir() else 0o444)


def folder(path: Path) -> None:
    path.mkdir()


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def words(path: Path) -> None:
    path.write_text("a shopping list\n" * 1000, encoding="utf-8")


def noise(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


@on_sqlite
@pytest.mark.parametrize("spoil", [folder, below_a_file, words, noise])
async def test_file_that_can_not_be_used_is_one_error_with_a_cure(
    spoil: Callable[[Path], None], tmp_path: Path, make_record: MakeRecord
) -> None:
    path = tmp_path / "data" / "tasks.db"
    path.parent.mkdir()
    spoil(path)

    with pytest.raises(StorageError) as error:
        make_record(path)

    what = "is damaged, or no database: " if spoil in (words, noise) else "can't be opened: "
    assert error.value.message.startswith(f"The task database {path} {what}")
    assert ("database restore FILE" in error.value.next_step) == (spoil in (words, noise))
    assert "set KIE_AI_DB_PATH" in error.value.next_step
    assert "\n" not in str(error.value)
    assert error.value.charged == "no"


@on_sqlite
async def test_file_that_is_damaged_inside_is_one_error_with_a_cure(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record(tmp_path / "good.db")
    for number in range(40):
        await record.tasks.adopt(task(f"t-{number}", model="x" * 1000))
    record.close()
    whole = (tmp_path / "good.db").read_bytes()
    (tmp_path / "bad.db").write_bytes(whole[:4096] + random.Random(1).randbytes(len(whole) - 4096))

    with pytest.raises(StorageError) as error:
        await make_record(tmp_path / "bad.db").tasks.newest(Filters())

    assert error.value.message.endswith("bad.db is damaged: database disk image is malformed.")
    assert "database restore FILE" in error.value.next_step


@on_sqlite
@pytest.mark.parametrize("what", ["new file in a read-only folder", "read-only file", "read-only file and folder"])
async def test_file_that_can_not_be_written_is_one_error_with_a_cure(
    what: str, open_folder: Path, make_record: MakeRecord, powerless: Callable[[], AbstractContextManager[None]]
) -> None:
    path = open_folder / "tasks.db"
    if "file" in what.removeprefix("new file"):
        make_record(path).close()
        lock(path)
    if "folder" in what:
        lock(open_folder)
    else:
        open_folder.chmod(0o777)  # noqa: ASYNC240  nothing else runs meanwhile

    with powerless(), pytest.raises(StorageError) as error:
        make_record(path)

    assert error.value.message.startswith(f"The task database {path} can't be opened: ")
    assert "set KIE_AI_DB_PATH" in error.value.next_step


@on_sqlite
async def test_full_disk_is_an_error_and_what_was_recorded_stays(make_record: MakeRecord) -> None:
    record = make_record()
    await ticket(record, "before")
    record.database.connection.pragma("max_page_count", record.database.connection.pragma("page_count"))

    with pytest.raises(StorageError) as error:
        await record.submissions.write_ahead(request("x" * 1_000_000))

    assert "full" in error.value.message
    assert "free space" in error.value.next_step
    record.database.connection.pragma("max_page_count", 1_000_000)
    await ticket(record, "after")
    assert await states(record) == {"before": "sending", "after": "sending"}


async def test_writer_waits_for_another_process_and_then_says_so(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.database.BUSY_TIMEOUT_S", 0.05)
    record = make_record()

    with locked(record):
        with pytest.raises(StorageError, match=r"can.t be used: .?(database is locked|canceling statement)"):
            await record.tasks.adopt(task("t-1"))
        assert await record.tasks.newest(Filters()) == []

    assert (await record.tasks.adopt(task("t-1"))).status == "pending"


@pytest.mark.parametrize(
    "use",
    [
        lambda record: record.tasks.find("\ud800"),
        lambda record: record.tasks.adopt(task("\ud800")),
        lambda record: record.submissions.resolve(10**30, None),
        lambda record: record.submissions.settled(1, Ending("refused", code=10**30, message="x")),
    ],
)
async def test_value_that_no_database_can_hold_is_an_error_and_the_store_goes_on(
    use: Callable[[Record], Awaitable[object]], make_record: MakeRecord
) -> None:
    record = make_record()

    with pytest.raises(StorageError):
        await use(record)

    assert (await ticket(record, "a fox")).granted


@pytest.mark.parametrize(
    "use",
    [lambda record: record.submissions.find(10**30), lambda record: record.tasks.newest(Filters(before_id=10**30))],
)
async def test_number_that_no_row_can_have_finds_none_or_is_an_error(
    use: Callable[[Record], Awaitable[object]], make_record: MakeRecord
) -> None:
    record = make_record()

    with suppress(StorageError):
        assert not await use(record)

    assert (await ticket(record, "a fox")).granted


@pytest.mark.parametrize("damage", ["created_at = 'yesterday'", "result_urls = '[\"https'", "files = 'x'"])
async def test_value_in_the_file_that_can_not_be_read_is_an_error_of_ours(damage: str, make_record: MakeRecord) -> None:
    record = make_record()
    await record.tasks.adopt(task("t-1"))
    with outside(record) as database:
        database.execute(f"UPDATE tasks SET {damage}")

    with pytest.raises(StorageError):
        await record.tasks.newest(Filters())

    assert (await ticket(record, "a fox")).granted


@on_sqlite
async def test_folder_of_the_database_is_made(tmp_path: Path, make_record: MakeRecord) -> None:
    make_record(tmp_path / "a" / "b" / "tasks.db")

    assert (tmp_path / "a" / "b" / "tasks.db").is_file()


def test_processes_that_start_at_once_all_open_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    for number in range(20):
        records = [Record(tmp_path / f"{number}.db", RateLimit(20, 10.0)) for _ in range(4)]
        with ThreadPoolExecutor(len(records)) as pool:
            opened = [pool.submit(record.open) for record in records]
        for record in records:
            record.close()
        assert [end.exception() for end in opened] == [None] * len(records)


async def test_store_opens_itself_at_its_first_use(tmp_path: Path) -> None:
    record = Record(tmp_path / "tasks.db", RateLimit(20, 10.0))

    assert await record.tasks.newest(Filters()) == []
    record.close()


async def test_many_calls_at_once_are_all_recorded(make_record: MakeRecord) -> None:
    records = [make_record(creates=100) for _ in range(3)]

    async def story(record: Record, word: str) -> None:
        written = await ticket(record, word)
        await record.submissions.accepted(written.submission_id, task(word))
        await record.tasks.record_outcome(word, Outcome("completed", (A,)))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(story, records[number % 3], f"t-{number}")

    found = await records[0].tasks.newest(Filters(limit=100))
    assert {(entry.task_id, entry.status) for entry in found} == {(f"t-{n}", "completed") for n in range(30)}
