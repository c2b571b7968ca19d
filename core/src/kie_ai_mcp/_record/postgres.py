"""PostgreSQL database that keeps the record of servers on any number of hosts; it does all that is distributed."""

import asyncio
import hashlib
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import peewee

from kie_ai_mcp._record.database import ERRORS, IMPATIENT_S, Database, Hear, Lost, R, newer_than
from kie_ai_mcp._record.migrations import SCHEMA_VERSION, migrate_postgres
from kie_ai_mcp._record.processes import Process
from kie_ai_mcp._settings.databases import place_in
from kie_ai_mcp._settings.installation import change_words, extra, shell_words
from kie_ai_mcp.errors import StorageError

log = logging.getLogger(__name__)
# The longest that one of each may take: nobody waits longer than 10 s. No statement is given less than the last.
CONNECT_S, STATEMENT_S, WORK_S, LEAST_S = 4, 6, 8, 0.5
SLOW_S = 1.0  # an attempt to connect that failed after so long is not repeated for a moment, by the same call above all
MOMENT_S = 0.25
RETRY_S = 1.0  # the pause between two attempts of the listener
REJOIN_S = 10.0  # how long after a lost connection others, which may have lost theirs, are not taken for dead
CHANNEL = "kie_ai"
# What libpq is told where the address says nothing of it.
USUAL = {
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": WORK_S * 1000,
    "target_session_attrs": "read-write",
    "application_name": "kie-ai-mcp-server",
}
LIMITS = "statement_timeout", "idle_in_transaction_session_timeout"  # likewise of sessions
_LOOK = """SELECT current_setting('server_encoding'), extract(epoch FROM clock_timestamp())::float,
array_agg(tablename::text) FROM pg_tables WHERE schemaname = current_schema()"""
_OTHERS = """SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid())"""
# All that changes more than one row does it in turn, as on SQLite.
_BEGIN = """SELECT identity, generation, pg_advisory_xact_lock(hashtextextended('kie-ai ' || current_schema(), 0))
FROM place"""
_WRITTEN = "UPDATE place SET generation = generation + 1 WHERE pg_current_xact_id_if_assigned() IS NOT NULL"


def driver() -> Any:
    """Return psycopg, which not every installation has; raise `StorageError` where it is missing."""
    try:
        return import_module("psycopg")
    except ImportError as exc:
        cure = f"Install it with: {shell_words(change_words([extra('postgres')]))}"
        problem = f"KIE_AI_DATABASE_URL needs psycopg, which can't be used: {exc}."
        raise StorageError(problem, next_step=cure, may_pass=False) from exc


class _Adapter(peewee.Psycopg3Adapter):
    """The driver as peewee uses it, also where peewee was imported without it; the parameters go to libpq whole."""

    def __init__(self) -> None:
        super().__init__()
        status = import_module("psycopg.pq").TransactionStatus
        self.txn_idle, self.txn_inerror, self.txn_unknown = status.IDLE, status.INERROR, status.UNKNOWN

    def check_driver(self) -> None:
        """Do nothing: it was imported."""

    def connect(self, db: Any, **params: Any) -> Any:
        """Return a connection to the address that is the database's name."""
        return driver().connect(db.database, **params)


class _Peewee(peewee.PostgresqlDatabase):
    psycopg2_adapter = psycopg3_adapter = _Adapter


@dataclass
class Postgres(Database):
    """The database at an address, by one connection, and by another one where this process listens to others.

    A connection that was lost is made anew at the next use. The lock that shows that this process is alive is held by
    both, so that it takes the loss of both to seem dead.
    """

    address: str = ""
    cure: str = (
        "Check that the database runs and can be reached, KIE_AI_DATABASE_URL, and the password there, in PGPASSWORD "
        "or ~/.pgpass; then call again."
    )
    setting: str = "KIE_AI_DATABASE_URL to another database"
    no_damage: str = "answers and takes writes"
    mark: str = '"'  # its words may name the host, and `Mask.hiding` takes out what is marked
    owner: str = ""
    _hear: tuple[asyncio.AbstractEventLoop, Hear] | None = None
    _listener: "_Listener | None" = None
    _beginning: threading.Lock = field(default_factory=threading.Lock)
    _rejoined_at: float = float("-inf")
    _failed: tuple[float, StorageError] | None = None
    _options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = place_in(self.address)
        # Files that stand for it while it is away are those of this database alone.
        mark = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        self.real_path = self.path.absolute().with_name(f"postgres-{mark}")
        self.connection = None

    def open(self) -> None:
        """Connect, and bring the database up to this program's version."""
        psycopg = driver()
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise self._failed[1]
        self._failed, began = None, time.monotonic()
        try:
            with self.translated("reached"):
                self._connect(psycopg)
        except StorageError as exc:
            if time.monotonic() - began > SLOW_S:  # a call that needs it several times waits once
                self._failed = time.monotonic() + MOMENT_S, exc
            raise
        with self.translated("opened"):
            try:
                self._bring_up()
                if self.openings:
                    self._rejoined_at = time.monotonic()
                self.openings += 1
                with suppress(OSError):  # where there can be no file, what it would keep waits in memory
                    self.real_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._hold(self.connection.connection())
                self._begin_to_listen()
                with self._in_time():
                    self.on_open()
            except BaseException:
                self.connection.close()
                raise

    def guarded(self, work: Callable[[], R]) -> R:
        """Return what `work` returns on a connection that works; raise `StorageError` where there is none."""
        with self.translated("used"):
            try:
                if not (self.is_open and _works(self.connection.connection())):
                    self.close()
                    self.open()
                with self._in_time():
                    try:
                        result = work()
                    finally:  # what fails may have written before
                        if self.has_news:
                            self._tell()
            except Lost as lost:
                self.on_lost()
                self._known = None
                self.close()
                cure = "Call again: what this server paid for is kept, and recorded in the database that is there."
                raise self._error(f"{lost} while it was in use", cure) from None
            return result

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            with suppress(*self.errors):
                self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit together what changes in the context; it keeps other processes from writing meanwhile."""
        with self.connection.atomic("READ COMMITTED"):
            identity, generation, _ = self.connection.execute_sql(_BEGIN).fetchone()
            known = newer_than(self._known, (identity, generation))
            yield
            written = self.connection.execute_sql(_WRITTEN).rowcount
        self._known = known[0], known[1] + written

    def check_content(self) -> None:
        """Raise `Lost` where another database, or an older copy, has taken its place, as each transaction does."""
        newer_than(self._known, self.connection.execute_sql("SELECT identity, generation FROM place").fetchone())

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """Commit without waiting for the disk: other processes see it at once, a power failure may undo it."""
        with self._set("synchronous_commit", "off"):
            yield

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Give up soon where another process writes."""
        with self._set("lock_timeout", f"'{IMPATIENT_S}s'"):
            yield

    @contextmanager
    def at_leisure(self) -> Iterator[None]:
        """Let work in the context take any time; it is not `guarded`."""
        try:
            for name in LIMITS:
                self.connection.execute_sql(f"SET {name} = 0")
            yield
        finally:
            self.close()

    def stamp(self) -> tuple[int, ...]:
        """Return numbers that differ from those before if anything was written since, by any process."""
        (snapshot,) = self.connection.execute_sql("SELECT pg_current_snapshot()::text").fetchone()
        return self.openings, *map(int, re.findall("[0-9]+", snapshot))

    def damage(self, *, soon: bool = False) -> None:
        """Return nothing: its pages are looked after where it runs."""

    def text_in(self, column: Any, name: str) -> Any:
        """Return the expression of a text by its name in a column of JSON objects."""
        return peewee.fn.json_extract_path_text(column.cast("json"), name)

    def length_of(self, column: Any) -> Any:
        """Return the expression of the number of values in a column of JSON lists."""
        return peewee.fn.json_array_length(column.cast("json"))

    def seconds_of(self, column: Any) -> Any:
        """Return the expression of a column's moments as whole seconds since 1970."""
        return peewee.fn.floor(peewee.fn.date_part("epoch", column.cast("timestamp")))

    def snapshot(self) -> AbstractContextManager[Any]:
        """Read it in the context as it is at one moment, while others may write."""
        context: AbstractContextManager[Any] = self.connection.atomic("REPEATABLE READ")
        return context

    def skip_number(self, table: type[peewee.Model]) -> None:
        """Take note that a row was added whose number the database did not choose."""
        name, key = table._meta.table_name, "id"
        (sequence,) = self.connection.execute_sql("SELECT pg_get_serial_sequence(%s, %s)", (name, key)).fetchone()
        query = f"SELECT setval(%s, GREATEST(last_value, (SELECT max({key}) FROM {name}))) FROM {sequence}"  # noqa: S608
        self.connection.execute_sql(query, (sequence,))

    def tidy(self, tables: Iterable[str]) -> None:
        """Make reading quick again after many rows were added; whatever fails, nothing depends on it."""
        try:
            self.open()
            with self.translated("tidied"), self.at_leisure():
                self.connection.execute_sql(f"VACUUM (ANALYZE) {', '.join(tables)}")
        except StorageError as exc:
            log.warning("%s It will be slower at first: let PostgreSQL run VACUUM ANALYZE.", exc.message)

    def listen(self, hear: Hear) -> None:
        """Hear what other processes write as soon as they do; `hear` is called with the id of each task that ended."""
        self._hear = asyncio.get_running_loop(), hear
        if self.is_open:
            self._begin_to_listen()

    def _begin_to_listen(self) -> None:
        with self._beginning:  # the worker may be opening it
            if self._hear is not None and self._listener is None:
                self._listener = _Listener(self, *self._hear)

    def stop_listening(self) -> None:
        """End the connection on which this process listens."""
        if self._listener is not None:
            self._listener.end()
            self._listener = None

    @contextmanager
    def _set(self, name: str, value: str) -> Iterator[None]:
        """Let a setting of this session have another value in the context."""
        self.connection.execute_sql(f"SET {name} = {value}")
        try:
            yield
        finally:
            with suppress(peewee.PeeweeException):  # of a connection that is lost, the setting is as well
                self.connection.execute_sql(f"RESET {name}")

    def _connect(self, psycopg: Any) -> None:
        if self.connection is None:
            self.errors = (*ERRORS, psycopg.Error)
            given = psycopg.conninfo.conninfo_to_dict(self.address)
            self._options = {name: value for name, value in USUAL.items() if name not in given}
            self.connection = _Peewee(self.address, thread_safe=False, prefer_psycopg3=True, **self._options)
        self.connection.connect(reuse_if_open=True)

    def _bring_up(self) -> None:
        sql = self.connection.execute_sql
        limit = f"{round(max(min(STATEMENT_S, self.busy_s), LEAST_S) * 1000)}ms"
        for name in LIMITS:
            sql("SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s AND setting = '0'", (limit, name))
        asked = time.time()
        encoding, now, tables = sql(_LOOK).fetchone()
        answered = time.time()
        ahead_s = now - (asked + answered) / 2
        self.ahead_s = ahead_s if abs(ahead_s) > answered - asked else 0.0  # else the two may well agree
        if encoding != "UTF8":
            name = encoding.decode() if isinstance(encoding, bytes) else encoding  # of SQL_ASCII no text is made
            raise self._unusable(f"is encoded in {name}", "Make a database that is encoded in UTF8.")
        if "kie_ai_schema" not in (tables or ()) and "tasks" in (tables or ()):
            problem = (
                f"The database {self.name} belongs to another program: it has a table tasks. It was left as it is."
            )
            raise StorageError(problem, next_step=f"Set {self.setting}.", may_pass=False)
        version = sql("SELECT version FROM kie_ai_schema").fetchone()[0] if "kie_ai_schema" in (tables or ()) else 0
        self._check_version(version)
        if version != SCHEMA_VERSION:
            migrate_postgres(self.connection)
            if version:
                log.warning("the schema of %s was changed from version %s to %s", self.name, version, SCHEMA_VERSION)

    def _hold(self, connection: Any) -> None:
        """Hold the lock of this process on a connection, for as long as that lasts."""
        connection.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", (self.owner,))

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Cut the connection where the context takes too long: the database, or the way to it, may have stopped."""
        is_late = threading.Event()
        timer = threading.Timer(WORK_S, _cut, (self.connection.connection(), is_late))
        timer.daemon = True
        timer.start()
        try:
            yield
        except self.errors as exc:
            if not is_late.is_set():
                raise
            raise TimeoutError(f"it did not answer within {WORK_S} s") from exc
        finally:
            timer.cancel()

    def _tell(self) -> None:
        """Tell other processes that this one has written, and which tasks have ended."""
        with suppress(peewee.PeeweeException):  # what was written is; who hears nothing looks again later
            values = ", ".join(["(%s)"] * max(len(self.ended), 1))
            query = f"SELECT pg_notify('{CHANNEL}', %s || ' ' || id) FROM (VALUES {values}) AS ended (id)"  # noqa: S608
            self.connection.execute_sql(query, (self.owner, *(self.ended or [""])))


class _Listener(threading.Thread):
    """A connection of its own that hears what other processes write, and is made anew whenever it is lost."""

    def __init__(self, database: Postgres, loop: asyncio.AbstractEventLoop, hear: Hear) -> None:
        super().__init__(name="kie-ai-listener", daemon=True)
        self._database, self._loop, self._hear = database, loop, hear
        self._over = threading.Event()
        self._connection: Any = None
        self.start()

    def end(self) -> None:
        """End it, and its connection."""
        self._over.set()
        _cut(self._connection)
        self.join(RETRY_S)  # it may be connecting, and ends with the process

    def run(self) -> None:
        """Listen until the end."""
        database, psycopg = self._database, driver()
        while not self._over.is_set():
            with (
                suppress(psycopg.Error, OSError, ValueError),
                psycopg.connect(database.address, autocommit=True, **database._options) as self._connection,
            ):
                database._hold(self._connection)
                self._connection.execute(f"LISTEN {CHANNEL}")
                self._pass_on({""})  # something may have been said meanwhile
                self._follow(self._connection)
            self._over.wait(RETRY_S)

    def _follow(self, connection: Any) -> None:
        """Pass on what comes until the connection is lost."""
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            while not self._over.is_set():
                selector.select()
                connection.pgconn.consume_input()
                words = set[str]()
                while notice := connection.pgconn.notifies():
                    owner, _, task_id = notice.extra.decode().partition(" ")
                    if owner != self._database.owner:
                        words.add(task_id)
                if words:
                    self._pass_on(words)

    def _pass_on(self, words: set[str]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._heard, words)

    def _heard(self, words: set[str]) -> None:
        self._database.wake_waiters()
        for task_id in words - {""}:
            self._hear(task_id)


def _works(connection: Any) -> bool:
    """Return whether a connection can be used, as far as is known here: what has arrived is read."""
    with suppress(driver().Error):
        for _ in range(2):  # a last word, and the end after it
            connection.pgconn.consume_input()
        return not connection.closed
    return False


def _cut(connection: Any, is_late: threading.Event | None = None) -> None:
    """Cut a connection, whoever uses it: its next read ends, which finds `is_late` set."""
    if is_late is not None:
        is_late.set()
    with suppress(Exception):  # it is over already
        line = socket.socket(fileno=connection.fileno())
        try:
            line.shutdown(socket.SHUT_RDWR)
        finally:
            line.detach()


class Session(Process):
    """This process, which is alive as long as one of its connections to the database is."""

    def __init__(self, database: Postgres) -> None:
        super().__init__()
        self._database = database
        database.owner = self.owner

    def announce(self) -> None:
        """Do nothing: each connection holds the lock from its beginning on."""

    def retire(self) -> None:
        """Give up the lock: what this process left open may be settled by others."""
        self._database.stop_listening()
        self._database.close()

    def has_others(self) -> bool:
        """Return whether another process has the database open now, as the lock shows that each holds."""
        self._database.open()
        with self._database.translated("read"):
            return bool(self._database.connection.execute_sql(_OTHERS).fetchone()[0])

    @contextmanager
    def dead(self, owner: str, seen_at: float) -> Iterator[bool]:  # noqa: ARG002  a lock that is free says enough
        """Yield whether a process is dead; if so, no third one settles its requests in this transaction."""
        if time.monotonic() - self._database._rejoined_at < REJOIN_S:
            yield False
            return
        query = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
        yield self._database.connection.execute_sql(query, (owner,)).fetchone()[0]
