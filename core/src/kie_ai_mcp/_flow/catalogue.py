"""Live catalogue of a service: its list of models, their schemas, prices and success rates, kept in the record.

One process of all that share the database reads at a time, as seldom as the service asks; the others wait for what it
reads. Nothing that a bundled model allows depends on it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import anyio

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._models.checking import why_unusable
from kie_ai_mcp._providers.asking import free_read
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp._record.kept import Key
from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp._service.envelope import error_of
from kie_ai_mcp.errors import KieError, RateLimited, ReadFailed, StorageError, shorten
from kie_ai_mcp.models import LiveCatalogue, LiveModel, LiveRead

Sort = Literal["list", "schema", "price", "health"]
WORDS = {"list": "list of models", "schema": "schema", "price": "price", "health": "success rate"}

WAIT_S = 20.0  # the longest that a call waits for its turn and the answer; clients wait 45 s for two of them
LEASE_S = 25.0  # the longest that others wait for a process that has stopped without a word
READ_S = 10.0  # the longest that one read takes
POLL_S = 0.1  # seconds between two looks at whether another process still reads
FAILED_S = 60.0  # how long a failed read is not repeated
HEALTH_S = 600.0  # how long a success rate is fresh
BUSY_S = 2.0  # the pause after "too many requests"; each further one is twice as long
LONGEST_PAUSE_S = 60.0
MOST_CHARS = 200_000  # of one kept value


@dataclass(frozen=True)
class Kept:
    """What a service says; where it could not be asked again, the `stale` copy, and in `error` why, and its age.

    The value is None where the service has none, or could never be asked.
    """

    value: Any = None
    read_at: datetime | None = None
    stale: bool = False
    error: str = ""


async def live(engine: Engine, gateway: str, sort: Sort, model_id: str = "") -> Kept:
    """Return what a service says of its models, or of one; where a copy of it is fresh, nothing is asked.

    A list is a tuple of `LiveModel`, a schema is closed, a price is text, health a share from 0 to 1. What goes wrong
    raises no KieError: it is the `error`.
    """
    catalogue, caller = (await engine.catalogue.load()).live.get(gateway), engine.callers.get(gateway)
    if catalogue is None or caller is None:
        return Kept(error=f"No enabled provider can read the live catalogue of {gateway}.")
    reading = _Reading(engine, caller, catalogue, sort, model_id)
    try:
        row, problem = await engine.record.kept.find(reading.key), ""
        if not reading.is_fresh(row):
            problem = await reading.attempt()
            row = await engine.record.kept.find(reading.key)
    except KieError as exc:  # no key, or no database
        return Kept(error=str(exc))
    return reading.kept(row, problem)


@dataclass(frozen=True)
class _Reading:
    """One read of a live catalogue, for the account whose key is set."""

    engine: Engine
    caller: Caller
    catalogue: LiveCatalogue
    sort: Sort
    model_id: str

    @property
    def key(self) -> Key:
        """The name of its value on record."""
        gateway = self.caller.gateway.name
        return Key(self.sort, gateway, self.engine.record.accounts.get(gateway, ""), self.model_id)

    def _now(self) -> float:
        return self.engine.record.database.now()

    @property
    def subject(self) -> str:
        """The words for what is read."""
        of = f" of {self.model_id}" if self.model_id else ""
        return f"{self.caller.gateway.title}'s {WORDS[self.sort]}{of}"

    def is_fresh(self, row: Mapping[str, Any] | None) -> bool:
        """Return whether a row holds what need not be asked again."""
        keeps_s = min(self.catalogue.keeps_s, HEALTH_S) if self.sort == "health" else self.catalogue.keeps_s
        return row is not None and row["value"] is not None and 0 <= self._now() - row["read_at"] < keeps_s

    def kept(self, row: Mapping[str, Any] | None, problem: str) -> Kept:
        """Return the value in a row, with the problem of reading it anew."""
        if row is None or row["value"] is None:
            return Kept(error=problem)
        value, read_at = json.loads(row["value"]), datetime.fromtimestamp(row["read_at"], UTC)
        if self.sort == "list" and value is not None:
            value = tuple(LiveModel(each["id"], each["title"], tuple(each["tasks"]), each["price"]) for each in value)
        if problem:
            age_h = (datetime.now(UTC) - read_at).total_seconds() / 3600
            problem = f"{problem} A copy that is {age_h:.1f} h old is used."
        elif value is None:
            problem = f"{self.subject} is not published."
        return Kept(value, read_at, not self.is_fresh(row), problem)

    async def attempt(self) -> str:
        """Read once it is this one's turn, and keep the value; return why that failed, or nothing.

        What another process has read meanwhile, or failed to read, is not read again.
        """
        self.caller.check_key()
        kept, calls, busy_s = self.engine.record.kept, self.key._replace(sort="calls", name=""), BUSY_S
        pause_s = 1 / max(self.catalogue.per_s, 1 / LONGEST_PAUSE_S)
        problem = f"{self.subject} could not be read within {WAIT_S:g} s, since other reads go before it."
        with anyio.move_on_after(WAIT_S):
            async with _alone(self.engine, f"live {calls.gateway} {calls.account}"):
                row = await kept.find(self.key)
                if self.is_fresh(row):
                    return ""
                if row is not None and 0 < row["until"] - self._now() <= FAILED_S:
                    return str(row["error"])
                while True:
                    if wait_s := await kept.turn(calls, pause_s, LONGEST_PAUSE_S):
                        await anyio.sleep(wait_s)
                        continue
                    try:
                        value = await self._ask()
                    except RateLimited as exc:
                        problem = f"{self.subject} could not be read. {exc}"
                        rest_s = min(max(busy_s, self.caller.quiet_s), LONGEST_PAUSE_S)
                        await kept.put(calls, {"until": self._now() + rest_s})
                        busy_s *= 2
                        continue
                    except KieError as exc:
                        problem = f"{self.subject} could not be read. {exc}"
                        await kept.put(self.key, {"error": problem, "until": self._now() + FAILED_S})
                    else:
                        problem, read_at = "", self._now()
                        await kept.put(self.key, {"value": value, "read_at": read_at, "error": "", "until": 0.0})
                    # The service counts when a call arrives, which is somewhere between its start and its answer.
                    await kept.put(calls, {"until": self._now() + pause_s})
                    return problem
        return problem

    async def _ask(self) -> str:
        """Return what the service says now, as JSON; raise KieError where it says nothing that can be used."""
        read: LiveRead = getattr(self.catalogue, self.sort)
        gateway, answer = self.caller.gateway, None
        provider = self.engine.catalogue.owner_of_live(gateway.name)
        path = await free_read(provider, lambda: str(read.path(self.model_id)))
        with anyio.move_on_after(READ_S):
            answer = await self.caller.read((path,), {})
        if answer is None:
            raise ReadFailed(f"{path} did not answer within {READ_S:g} s.")
        if answer.code != 200:
            raise error_of(answer, gateway)
        text = await free_read(provider, lambda: _text_of(self.sort, read.read(answer)))
        if len(text) > MOST_CHARS:
            raise ReadFailed(f"It is larger than {MOST_CHARS // 1000} kB, the most that is kept.")
        return text


@asynccontextmanager
async def _alone(engine: Engine, name: str) -> AsyncIterator[None]:
    """Keep every other call, of this process and of others, from reading in the context; wait for them before it."""
    async with engine.reading:
        while not await engine.record.hold(name, LEASE_S):  # noqa: ASYNC110  another process sets no event
            await anyio.sleep(POLL_S)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True), suppress(StorageError):
                await engine.record.hold(name, 0.0)


def _text_of(sort: Sort, value: Any) -> str:
    """Return a value of a live catalogue as JSON; raise ReadFailed for what it must not return."""
    match sort, value:
        case _, None:
            pass
        case "list", tuple():
            if wrong := next(filter(None, (judge(model, LiveModel) for model in value)), None):
                raise ReadFailed(f"Its provider reads a model that can't be used: {wrong}.")
            value = [asdict(model) for model in value]
        case "schema", Mapping():
            if reason := why_unusable(dict(value)):
                raise ReadFailed(f"It can't be used: {reason}.")
            value = _closed(value)
        case "price", str():
            pass
        case "health", int() | float() if 0 <= value <= 1 and value is not True:
            pass
        case _:
            raise ReadFailed(f"Its provider reads {shorten(value)}, which can't be used.")
    return json.dumps(value, allow_nan=False)


def _closed(schema: Any, *, is_branch: bool = False) -> Any:
    """Return a schema in which no object takes a field that it does not name, whatever the schema says."""
    if not isinstance(schema, Mapping):  # true allows everything, false nothing
        return {} if schema else {"not": {}}
    closed = {word: _closed(value) if word == "items" else value for word, value in schema.items()}
    branches = closed.keys() & {"allOf", "anyOf", "oneOf"}
    for word in branches:
        closed[word] = [_closed(branch, is_branch=True) for branch in closed[word]]
    inner = any("properties" in branch for word in branches for branch in closed[word])
    if "properties" in closed:
        closed["properties"] = {name: _closed(value) for name, value in closed["properties"].items()}
    if not is_branch and ("properties" in closed or inner):
        closed["unevaluatedProperties" if inner else "additionalProperties"] = False
    return closed
