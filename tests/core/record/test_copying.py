"""Copies of a record from a file to PostgreSQL and back: every row, every value, or nothing at all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._record import copying
from kie_ai_mcp._record.consents import Question
from kie_ai_mcp._record.copying import TABLES, back_up, copy, copy_closed, restore
from kie_ai_mcp._record.kept import Key
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._record.users import User
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import Outcome, Task
from tests.databases import Postgres, outside

pytestmark = pytest.mark.anyio

Make = Callable[[str], Record]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes records: of a file by its name, of a database by its address."""
    with ExitStack() as stack:

        def at(place: str) -> Record:
            address = place if "://" in place else ""
            record = Record(tmp_path / (place if not address else "tasks.db"), RateLimit(1000, 1.0), address=address)
            stack.callback(record.close)
            record.open()
            return record

        yield at


def content(record: Record) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    with outside(record) as database:
        for table in TABLES:
            meta: Any = table._meta
            names = ", ".join(f'"{field.column_name}"' for field in meta.sorted_fields)
            rows = database.execute(f"SELECT {names} FROM {meta.table_name}").fetchall()
            found[meta.table_name] = sorted(map(tuple, rows), key=repr)
    return found


async def fill(record: Record, count: int = 3) -> None:
    """Put something into every table."""
    for number in range(count):
        new = NewSubmission("generate_x", "x", "x", "image", "kie", None, {"prompt": f"Füchse {number}"}, str(number))
        new = NewSubmission(**{**vars(new), "idempotency_key": f"k{number}", "estimated_credits": 1 / 3})
        ticket = await record.submissions.write_ahead(new)
        assert isinstance(ticket, Ticket)
        made = Ending("accepted", Task(f"t-{number}", "x", "x"), Outcome("completed", ("https://example.com/ä.png",)))
        await record.end(ticket.submission_id, made)
    await record.uploads.add("sha", "https://example.com/b.png", (await record.tasks.newest(Filters()))[0].created_at)
    await record.kept.put(Key("models", "kie", "a"), {"value": "[]", "read_at": 1.5})
    await record.consents.ask(Question("i", "kie", "a", "generate_x", None, {}, 2.5))
    assert await record.hold("reading", 30)
    await record.users.add(User("ada", credits_per_day=10.0))
    await record.polls.claim((await record.tasks.adopt(Task("running", "x", "x"))).row_id, 1.0)


async def test_record_is_the_same_after_a_copy_to_postgresql_and_back(make: Make, postgres: Postgres) -> None:
    file = make("a.db")
    await fill(file)
    shared, back = make(postgres.empty()), make("b.db")
    before = content(file)
    assert all(before.values())

    rows = copy(file, shared)
    assert rows == {name: len(each) for name, each in before.items()}
    assert content(shared) == before
    copy(shared, back)
    assert content(back) == before == content(file)


async def test_numbers_go_on_after_a_copy(make: Make, postgres: Postgres) -> None:
    file, shared = make("a.db"), make(postgres.empty())
    await fill(file)
    copy(file, shared)
    newest = (await file.tasks.newest(Filters()))[0].row_id
    assert (await shared.tasks.adopt(Task("next", "x", "x"))).row_id == newest + 1
    found = await shared.tasks.newest(Filters(words="füchse 2"))
    assert [task.task_id for task in found] == ["t-2"]


async def test_copy_to_a_record_that_is_not_empty_is_refused(make: Make, postgres: Postgres) -> None:
    file, shared = make("a.db"), make(postgres.empty())
    await fill(file)
    await shared.tasks.adopt(Task("own", "x", "x"))
    with pytest.raises(StorageError, match=r"is not empty: it has 1 rows in tasks\. Nothing was copied"):
        copy(file, shared)
    assert [task.task_id for task in await shared.tasks.newest(Filters())] == ["own"]


@pytest.mark.parametrize("is_restored", [True, False], ids=["restored", "copied"])
async def test_outcomes_that_wait_for_a_lost_database_are_recorded_after_its_content(
    is_restored: bool, make: Make, postgres: Postgres, tmp_path: Path
) -> None:
    address, kept = postgres.empty(), tmp_path / "kept.db"
    shared = make(address)
    await fill(shared)
    back_up(shared, kept)
    ticket = await shared.submissions.write_ahead(NewSubmission("x", "x", "x", "image", "kie", None, {}, "x"))
    assert isinstance(ticket, Ticket)
    await shared.recovery.keep(ticket.submission_id, Ending("accepted", Task("paid", "x", "x")))
    postgres.empty()

    with closing(Record(shared.path, RateLimit(1000, 1.0), address=address)) as target:
        if is_restored:
            rows, _ = restore(target, kept)
        else:
            rows = copy_closed(make("kept.db"), target)
        assert (rows["tasks"], rows["users"]) == (4, 1)
        assert (paid := await target.tasks.find("paid")) is not None
        made = await target.submissions.of_task("paid")
        assert (paid.submission_id, made and made.state) == (made and made.id, "accepted")
        assert not target.recovery.path.exists()


async def test_refused_restore_records_nothing_of_what_waits(make: Make, postgres: Postgres, tmp_path: Path) -> None:
    shared, kept = make(postgres.empty()), tmp_path / "kept.db"
    await fill(shared)
    back_up(shared, kept)
    await shared.recovery.keep(99, Ending("accepted", Task("paid", "x", "x")))
    with closing(Record(shared.path, RateLimit(1000, 1.0), address=shared.address)) as target:
        shared.close()
        with pytest.raises(StorageError, match="is not empty"):
            restore(target, kept)
    assert shared.recovery.path.exists()


async def test_copy_while_a_request_is_on_its_way_is_refused(make: Make, postgres: Postgres) -> None:
    file, other, shared = make("a.db"), make("a.db"), make(postgres.empty())
    await other.submissions.write_ahead(NewSubmission("x", "x", "x", "image", "kie", None, {}, "x"))
    with pytest.raises(StorageError, match="on their way"):
        copy(file, shared)


@pytest.mark.parametrize("direction", ["there", "back"])
async def test_row_that_arrives_as_another_one_undoes_the_copy(
    direction: str, make: Make, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make("a.db"), make(postgres.empty())
    if direction == "back":
        source, target = target, make("b.db")
    await fill(source)
    empty, original = content(target), copying._pages

    def pages(database: Any, table: Any) -> Iterator[list[tuple[Any, ...]]]:
        for page in original(database, table):
            changed = database is target.database and table.__name__ == "ConsentRow"
            yield [(*row[:-1], "x") for row in page] if changed else page

    monkeypatch.setattr(copying, "_pages", pages)
    with pytest.raises(StorageError, match="A row of consents is another one"):
        copy(source, target)
    assert content(target) == empty


async def test_zero_bytes_of_a_file_are_no_obstacle(make: Make, postgres: Postgres) -> None:
    file, shared = make("a.db"), make(postgres.empty())
    await fill(file)
    with outside(file) as database:
        database.execute("UPDATE tasks SET error_message = ?", ("a\0b",))
        database.execute("UPDATE submissions SET arguments = ?", ('{"prompt": "a\\u0000 fox \\\\u0000"}',))
    copy(file, shared)
    found = await shared.tasks.newest(Filters(words="fox"))
    assert {task.prompt for task in found} == {"a? fox \\u0000"}
    assert found[0].error == "a?b"


async def test_record_of_several_pages_is_copied(
    make: Make, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "AT_ONCE", 2)
    file, shared = make("a.db"), make(postgres.empty())
    await fill(file, 5)
    copy(file, shared)
    assert content(shared) == content(file)


async def test_copy_is_tidied_so_that_it_is_read_quickly(make: Make, postgres: Postgres) -> None:
    source, target = make("source.db"), make(postgres.make())
    await fill(source)
    copy(source, target)
    with outside(target) as database:
        query = "SELECT count(*) FROM pg_stat_user_tables WHERE last_vacuum IS NOT NULL AND last_analyze IS NOT NULL"
        assert database.execute(query).fetchone()[0] == len(TABLES)


async def test_copy_that_can_not_be_tidied_is_a_copy(
    make: Make, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = make("source.db"), make(postgres.empty())
    await fill(source)
    execute = target.database.connection.execute_sql

    def refuse(sql: str, *args: Any) -> Any:
        return execute("VACUUM none" if sql.startswith("VACUUM") else sql, *args)

    monkeypatch.setattr(target.database.connection, "execute_sql", refuse)
    copy(source, target)
    assert content(target) == content(source)
    assert "let PostgreSQL run VACUUM ANALYZE" in caplog.text
