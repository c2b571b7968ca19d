"""The record in PostgreSQL: its tables, its limits of time, connections that are lost, what processes tell others."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest

from kie_ai_mcp._record import migrations, tasks
from kie_ai_mcp._record import postgres as module
from kie_ai_mcp._record.consents import Question
from kie_ai_mcp._record.kept import Key
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import Budget, RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending, KeptRow
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._record.users import User
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import Outcome, Task
from tests.databases import Postgres, Wire, outside, rows_of
from tests.helpers import until

pytestmark = pytest.mark.anyio

SHOW = "SHOW statement_timeout"
DONE = Outcome("completed", ("https://example.com/a.png",))


@pytest.fixture
def at(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Record]]:
    """Makes records of a database, each like a process of its own, and closes them."""
    with ExitStack() as stack:

        def make(address: str) -> Record:
            record = Record(tmp_path / "tasks.db", RateLimit(20, 10.0), address=address)
            stack.callback(record.close)
            return record

        yield make


async def ahead(record: Record, word: str = "a fox") -> int:
    """Write a request ahead that may be sent at once."""
    new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": word}, repr(word))
    ticket = await record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    assert ticket.granted
    return ticket.submission_id


def states(record: Record) -> list[str]:
    return [row["state"] for row in rows_of(record, "submissions")]


# Tables --------------------------------------------------------------------------------------------------------------


def tables_of(record: Record) -> dict[str, list[str]]:
    with outside(record) as database:
        if record.address:
            query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        else:
            query = "SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table'"
        found: dict[str, list[str]] = {}
        for table, column in database.execute(query).fetchall():
            found.setdefault(table, []).append(column)
    own = {name: sorted(columns) for name, columns in found.items() if not name.startswith(("sqlite", "kie_ai"))}
    return dict(sorted(own.items()))


def indexes_of(record: Record) -> set[str]:
    with outside(record) as database:
        if record.address:
            query = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'index'"
        names = {name for (name,) in database.execute(query).fetchall()}
    return {name for name in names if not name.startswith("sqlite") and not name.endswith(("_pkey", "_key"))}


def test_both_databases_have_the_same_tables_columns_and_indexes(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    file, shared = at(""), at(postgres.make())
    for record in (file, shared):
        record.open()
    assert tables_of(file) == tables_of(shared)
    assert indexes_of(file) == indexes_of(shared)


def test_numbers_of_rows_are_64_bits_wide(at: Callable[[str], Record], postgres: Postgres) -> None:
    record = at(postgres.make())
    record.open()
    with outside(record) as database:
        query = "SELECT count(*) FROM information_schema.columns WHERE data_type IN ('integer', 'smallint', 'real')"
        query += " AND table_schema = 'public'"
        assert database.execute(query).fetchone() == (0,)


@pytest.mark.parametrize("number", [7, 2**40])
async def test_number_that_a_row_brought_along_is_not_given_again(
    number: int, at: Callable[[str], Record], postgres: Postgres
) -> None:
    record = at(postgres.empty())
    known = {"created_at": str(datetime.now(UTC).replace(tzinfo=None)), "owner": "x", "state": "unknown", "tool": "x"}
    known |= dict.fromkeys(("provider", "api_type", "kind", "gateway", "body_hash", "account", "user"), "x")
    line = Ending("unknown", message="no answer")
    record.recovery.requests[number] = {**known, "arguments": "{}", "asked_at": 1.0, "granted_at": 1.0}
    await record.recovery.keep(number, line)
    record.recovery.requests.clear()

    assert [entry.id for entry in await record.submissions.unsettled()] == [number]
    assert await ahead(record) == number + 1


def test_processes_that_start_together_make_the_tables_once(at: Callable[[str], Record], postgres: Postgres) -> None:
    address = postgres.make()
    records = [at(address) for _ in range(6)]
    with ThreadPoolExecutor(len(records)) as pool:
        opened = [pool.submit(record.open) for record in records]
    assert [end.exception() for end in opened] == [None] * len(records)


@pytest.mark.parametrize("is_shared", [False, True])
async def test_uploads_of_before_are_kept_and_are_no_users(
    is_shared: bool, at: Callable[[str], Record], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, later = postgres.make() if is_shared else "", datetime(2099, 1, 1, tzinfo=UTC)
    with monkeypatch.context() as before:
        before.setattr(migrations, "_STEPS", migrations._STEPS[:16])
        before.setattr(migrations, "SCHEMA_VERSION", 16)
        (old := at(address)).open()
        with outside(old) as database:
            database.execute("INSERT INTO uploads VALUES ('abc', 'https://example.com/a', '2099-01-01 00:00:00', 'x')")
        old.close()
    record = at(address)
    await record.uploads.add("abd", "https://example.com/d", later, "x")
    ada = record.of_user(User("ada"), {})
    await ada.uploads.add("abc", "https://example.com/b", later, "x")
    assert await record.uploads.find("abc", "x") == ("https://example.com/a", later)
    assert await ada.uploads.find("abc", "x") == ("https://example.com/b", later)


async def test_newer_database_is_refused_with_both_versions(at: Callable[[str], Record], postgres: Postgres) -> None:
    address = postgres.make()
    at(address).open()
    newer = at(address)
    with outside(newer) as database:
        database.execute("UPDATE kie_ai_schema SET version = 99")
    with pytest.raises(StorageError, match=f"has schema version 99; this program knows {SCHEMA_VERSION}"):
        newer.open()
    with pytest.raises(StorageError):
        await newer.tasks.newest(Filters())


def test_somebody_else_s_database_is_refused_and_left_as_it_was(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    record = at(postgres.make())
    with outside(record) as database:
        database.execute("CREATE TABLE tasks (id int)")
    with pytest.raises(StorageError, match="belongs to another program"):
        record.open()
    assert tables_of(record) == {"tasks": ["id"]}


# Addresses -----------------------------------------------------------------------------------------------------------


async def test_short_form_of_the_scheme_is_taken(at: Callable[[str], Record], postgres: Postgres) -> None:
    record = at(postgres.empty().replace("postgresql://", "postgres://"))
    assert await record.tasks.newest(Filters()) == []


async def test_error_names_the_database_and_no_secret(at: Callable[[str], Record]) -> None:
    record = at("postgresql://me:secret-word@127.0.0.1:9/kie?password=other-secret")
    with pytest.raises(StorageError) as error:
        await record.tasks.newest(Filters())
    assert "The task database postgresql://127.0.0.1:9/kie can't be reached" in error.value.message
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert "PGPASSWORD" in error.value.next_step
    assert error.value.may_pass


async def test_missing_driver_is_an_error_that_says_how_to_install_it(
    at: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError) as error:
        await at("postgresql://127.0.0.1/kie").tasks.newest(Filters())
    assert "kie-ai-mcp-core[postgres]" in error.value.next_step
    assert sys.executable in error.value.next_step  # not into another environment, whose installer is first on PATH


@pytest.mark.parametrize(("more", "limit"), [("", "6s"), ("&options=-c%20statement_timeout%3D3s", "3s")])
async def test_limits_of_the_address_win_over_ours(
    more: str, limit: str, at: Callable[[str], Record], postgres: Postgres
) -> None:
    record = at(postgres.empty() + more)
    record.open()
    assert record.database.connection.execute_sql("SHOW statement_timeout").fetchone() == (limit,)


async def test_isolation_that_is_usual_there_changes_nothing(at: Callable[[str], Record], postgres: Postgres) -> None:
    address = f"{postgres.empty()}&options=-c%20default_transaction_isolation%3Dserializable"
    records = [at(address) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for record in records:
            for number in range(5):
                group.start_soon(ahead, record, f"{record.process.owner} {number}")
    assert states(records[0]) == ["sending"] * 15


# Lost connections ----------------------------------------------------------------------------------------------------


async def test_call_after_a_cut_works_as_if_nothing_had_been(at: Callable[[str], Record], wire: Wire) -> None:
    record = at(wire.address)
    await ahead(record, "before")
    wire.cut()
    await ahead(record, "after")
    assert states(record) == ["sending", "sending"]


async def test_call_while_the_database_is_away_is_refused_and_the_next_one_works(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    record = at(postgres.empty())
    paid = await ahead(record, "before")
    postgres.stop()
    try:
        begun = time.monotonic()
        with pytest.raises(StorageError, match=r"can't be (reached|used)"):
            await ahead(record, "meanwhile")
        assert time.monotonic() - begun < 5
        ended = await record.end(paid, Ending("accepted", Task("t-1", "x", "x")))
        assert ended.kept_in == record.recovery.path
    finally:
        postgres.start()
    await ahead(record, "after")
    assert states(record) == ["accepted", "sending"]
    assert not record.recovery.path.exists()


async def test_database_that_does_not_answer_is_not_waited_for(
    at: Callable[[str], Record], wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORK_S", 0.3)
    monkeypatch.setitem(module.USUAL, "connect_timeout", 2)
    record = at(wire.address)
    await ahead(record, "before")
    wire.hangs.set()
    with pytest.raises(StorageError, match=r"it did not answer within 0\.3 s"):
        await ahead(record, "meanwhile")
    with pytest.raises(StorageError, match="can't be reached"):
        await ahead(record, "meanwhile")
    wire.hangs.clear()
    await anyio.sleep(module.MOMENT_S)
    await ahead(record, "after")
    assert states(record)[::2] == ["sending", "sending"][: len(states(record)[::2])]


async def test_request_whose_write_ahead_is_in_doubt_is_not_sent_and_made_anew(
    at: Callable[[str], Record], wire: Wire
) -> None:
    record = at(wire.address)
    await ahead(record, "before")
    wire.loses_answer_to = b"COMMIT\0"
    with pytest.raises(StorageError):
        await ahead(record, "a fox")
    wire.loses_answer_to = b""
    await ahead(record, "a fox")
    assert states(record) == ["sending", "cancelled", "sending"]


async def test_ending_whose_record_is_in_doubt_is_recorded_once(at: Callable[[str], Record], wire: Wire) -> None:
    record = at(wire.address)
    number = await ahead(record)
    wire.loses_answer_to = b"COMMIT\0"
    ended = await record.end(number, Ending("accepted", Task("t-1", "x", "x")))
    wire.loses_answer_to = b""
    assert ended.kept_in is not None
    await record.submissions.unsettled()
    assert [(row["task_id"], row["submission_id"]) for row in rows_of(record, "tasks")] == [("t-1", number)]
    assert states(record) == ["accepted"]


async def test_what_an_older_copy_has_lost_is_recorded_in_it(at: Callable[[str], Record], postgres: Postgres) -> None:
    record = at(postgres.empty())
    number = await ahead(record)
    await record.end(number, Ending("accepted", Task("t-1", "x", "x")))
    with outside(record) as database:
        for statement in ("DELETE FROM tasks", "DELETE FROM submissions", "UPDATE place SET generation = 0"):
            database.execute(statement)
    with pytest.raises(StorageError, match="was overwritten with another or an older one"):
        await ahead(record, "an owl")
    assert [task.task_id for task in await record.tasks.newest(Filters())] == ["t-1"]
    assert states(record) == ["accepted"]


async def test_work_at_leisure_that_fails_leaves_no_connection_without_limits(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    record = at(postgres.empty())
    record.open()
    with pytest.raises(ValueError, match="no"), record.database.at_leisure():
        raise ValueError("no")
    limits = await record.database.lane.run(lambda: lambda: record.database.connection.execute_sql(SHOW).fetchone())
    assert limits == ("6s",)


# Living and dead processes -------------------------------------------------------------------------------------------


async def test_process_that_lost_one_of_two_connections_is_alive(
    at: Callable[[str], Record], wire: Wire, postgres: Postgres
) -> None:
    ours, theirs = at(wire.address), at(postgres.usual)
    ours.database.listen(lambda task_id: None)
    await ahead(ours)
    until(lambda: listening(theirs) == 1)
    ours.database.close()
    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["sending"]


async def test_process_that_lost_its_connection_takes_no_other_for_dead_at_first(
    at: Callable[[str], Record], wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = at(wire.address), at(wire.address)
    await ahead(ours)
    await theirs.tasks.newest(Filters())
    wire.cut()
    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["sending"]
    monkeypatch.setattr(module, "REJOIN_S", 0.0)
    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["unknown"]


def listening(record: Record) -> int:
    with outside(record) as database:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        return int(database.execute(query).fetchone()[0])


async def test_servers_whose_clocks_differ_share_one_rate_limit(
    at: Callable[[str], Record], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, right = at(postgres.empty()), at(postgres.usual), time.time
    for record in (ours, theirs):
        record.submissions.limit = RateLimit(1, 10.0)
    await ours.end(await ahead(ours), Ending("refused", code=402, message="no"))
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {}, "another")
    ticket = await theirs.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    assert not ticket.granted
    assert await theirs.hold("reading", 30)
    monkeypatch.setattr(time, "time", right)
    assert not await ours.hold("reading", 30)


async def test_servers_whose_clocks_differ_agree_on_consents_turns_and_notices(
    at: Callable[[str], Record], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, right = at(postgres.empty()), at(postgres.usual), time.time
    ours.open()
    monkeypatch.setattr(time, "time", lambda: right() - 3600)
    theirs.open()
    asked = await theirs.consents.ask(Question("x", "kie", "", "generate_x", None, {}, 8.0))
    assert await theirs.kept.turn(Key("calls", "kie", ""), 30.0, 60.0) == 0.0
    monkeypatch.setattr(time, "time", right)
    assert [question.id for question in await ours.consents.open()] == [asked.id]
    assert await ours.kept.turn(Key("calls", "kie", ""), 30.0, 60.0) > 0
    await ours.consents.show(asked.id, "secret")
    with outside(ours) as database:
        database.execute("UPDATE consents SET asked_at = asked_at - 1")
    await ours.consents.answer(asked.id, "a form", is_yes=True, secret="secret")
    monkeypatch.setattr(time, "time", lambda: right() - 3600)
    theirs.submissions.budget = Budget(confirm_credits=5.0)
    new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {}, "x", estimated_credits=8.0, exact_hash="x")
    assert isinstance(await theirs.submissions.write_ahead(replace(new, agreed=asked.id)), Ticket)


# News ----------------------------------------------------------------------------------------------------------------


async def test_end_of_a_task_is_heard_by_other_processes_also_after_a_cut(
    at: Callable[[str], Record], wire: Wire, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.5)  # long enough for the cut to be seen
    ours, theirs, heard = at(wire.address), at(postgres.usual), asyncio.Queue[str]()
    ours.database.listen(heard.put_nowait)
    for task_id in ("t-1", "t-2"):
        await theirs.tasks.adopt(Task(task_id, "x", "x"))
        await ours.tasks.find(task_id)
        until(lambda: listening(theirs) == 1)
        await theirs.tasks.record_outcome(task_id, DONE)
        with anyio.fail_after(1):
            assert await heard.get() == task_id
        wire.cut()
        until(lambda: listening(theirs) == 0)
    ours.close()
    assert heard.empty()


async def test_end_of_a_task_is_heard_where_the_database_was_open_before(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    ours, theirs, heard = at(postgres.empty()), at(postgres.usual), asyncio.Queue[str]()
    ours.open()
    ours.database.listen(heard.put_nowait)
    await theirs.tasks.adopt(Task("t-1", "x", "x"))
    until(lambda: listening(theirs) == 1)
    await theirs.tasks.record_outcome("t-1", DONE)
    with anyio.fail_after(1):
        assert await heard.get() == "t-1"
    ours.database.close()
    await ahead(theirs, "which settles those of the dead")
    await ahead(ours)
    ours.database.close()
    assert [entry.state for entry in await theirs.submissions.unsettled()] == ["sending"] * 2


async def test_end_is_told_although_waiters_are_woken_while_it_is_written(
    at: Callable[[str], Record], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, heard = at(postgres.empty()), at(postgres.usual), asyncio.Queue[str]()
    theirs.database.listen(heard.put_nowait)
    await theirs.tasks.adopt(Task("t-1", "x", "x"))
    until(lambda: listening(theirs) == 1)
    write = tasks.write_outcome

    def write_and_wake(*args: Any) -> None:
        write(*args)
        anyio.from_thread.run_sync(ours.database.wake_waiters)

    monkeypatch.setattr(tasks, "write_outcome", write_and_wake)
    await ours.tasks.record_outcome("t-1", DONE)
    with anyio.fail_after(1):
        while await heard.get() != "t-1":
            pass


async def test_what_a_call_wrote_before_it_failed_is_told(at: Callable[[str], Record], postgres: Postgres) -> None:
    ours, theirs, heard = at(postgres.empty()), at(postgres.usual), asyncio.Queue[str]()
    theirs.database.listen(heard.put_nowait)
    await theirs.tasks.newest(Filters())
    until(lambda: listening(theirs) == 1)

    def write_and_fail() -> None:
        ours.database.execute(KeptRow.insert(sort="x", gateway="kie", account="", name="", until=0.0))
        ours.database.ended.append("t-1")
        raise StorageError("no", next_step="no")

    with pytest.raises(StorageError):
        await ours.database.lane.run(lambda: write_and_fail)
    with anyio.fail_after(1):
        assert await heard.get() == "t-1"


async def test_waiters_are_woken_by_what_another_process_writes(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    ours, theirs, news = at(postgres.empty()), at(postgres.usual), anyio.Event()
    ours.database.listen(lambda task_id: None)
    await ours.tasks.newest(Filters())
    until(lambda: listening(theirs) == 1)
    await anyio.sleep(0.05)
    ours.database.waiting.add(news)
    before = await ours.tasks.stamp()
    await theirs.tasks.adopt(Task("t-1", "x", "x"))
    with anyio.fail_after(1):
        await news.wait()
    assert await ours.tasks.stamp() != before


async def test_each_task_is_taken_on_by_one_of_two_processes_that_ask_at_once(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    records, since = [at(postgres.empty()), at(postgres.usual)], time.time()
    ids = [f"t-{number}" for number in range(20)]
    for task_id in ids:
        await records[0].tasks.adopt(Task(task_id, "x", "x"))
    taken: list[str] = []

    async def claim(record: Record, task_id: str) -> None:
        if (await record.polls.claim(task_id, since)).is_ours:
            taken.append(task_id)

    async with anyio.create_task_group() as group:
        for task_id in ids:
            for record in records:
                group.start_soon(claim, record, task_id)
    assert sorted(taken) == sorted(ids)


async def test_text_that_holds_a_zero_byte_is_kept_and_searched(
    at: Callable[[str], Record], postgres: Postgres
) -> None:
    record = at(postgres.empty())
    number = await ahead(record, "a \0 fox")
    await record.end(number, Ending("accepted", Task("t-1", "x", "x")))
    (found,) = await record.tasks.newest(Filters(words="fox"))
    assert found.prompt == "a ? fox"


async def test_ending_is_kept_in_a_folder_that_was_not_there(tmp_path: Path, wire: Wire) -> None:
    path = tmp_path / "new" / "folder" / "tasks.db"
    with closing(Record(path, RateLimit(20, 10.0), address=wire.address)) as record:
        number = await ahead(record)
        wire.end()
        ended = await record.end(number, Ending("accepted", Task("t-1", "x", "x")))
        assert ended.kept_in is not None
        assert ended.kept_in.parent == path.parent
        assert "t-1" in ended.kept_in.read_text("utf-8")


def test_record_is_closed_also_where_the_database_is_away(tmp_path: Path, postgres: Postgres) -> None:
    with closing(Record(tmp_path / "tasks.db", RateLimit(20, 10.0), address=postgres.empty())) as record:
        record.open()
        postgres.empty()
