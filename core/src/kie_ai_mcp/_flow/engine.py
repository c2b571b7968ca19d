"""The engine of every operation: settings, providers, services, the record, and the work that is under way."""

import asyncio
import logging
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

import anyio
import anyio.to_thread

from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._media.uploading import Uploads
from kie_ai_mcp._models.catalogue import Catalogue
from kie_ai_mcp._models.formats import Formats
from kie_ai_mcp._providers.arguments import without_words
from kie_ai_mcp._providers.asking import Asking
from kie_ai_mcp._providers.loader import Plugins, load
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord
from kie_ai_mcp._record.users import User
from kie_ai_mcp._service.caller import Caller, account_of, kie
from kie_ai_mcp._settings.folders import cure_of_access
from kie_ai_mcp._settings.installation import PROVIDERS, install_command
from kie_ai_mcp._settings.load import STRICT, Faults
from kie_ai_mcp._settings.logging import Outage
from kie_ai_mcp._settings.settings import NOT_STORED, Settings
from kie_ai_mcp._settings.sources import way_to_set
from kie_ai_mcp.errors import ConfigError, InvalidArgument, KieError, ReadFailed, Refused, StorageError
from kie_ai_mcp.specs import KIE

T = TypeVar("T")
log = logging.getLogger(__name__)

Say = Callable[[str, float | None], Awaitable[None]]
"""Reports a call's progress to the client: words for people, and a share between 0 and 1 where there is one."""
IsHeard = Callable[[], Awaitable[bool]]
"""Tells whether the caller is still there to take the answer."""


class Owners(Protocol):
    """The users of a server."""

    def engine_for(self, user: User) -> "Engine":
        """Return the engine of a user as it is on record now."""

    async def engine_of(self, task: TaskRecord | SubmissionRecord) -> "Engine":
        """Return the engine of the owner of a task or request, with the key of the account that it was made in."""

    async def close(self) -> None:
        """Close the connections that users have of their own."""


@dataclass
class Life:
    """What the engines of all users share and change; there may be notices for who runs the server."""

    is_over_http: bool = False
    is_running: bool = False
    is_closing: bool = False
    has_notices: bool = False


class Waiter(Protocol):
    """A call that waits for a task."""

    def read_now(self) -> None:
        """Read the task at once: there is news of it."""


News = Literal["paid", "failed", "unseen"]  # what happened: a paid request, a failed task, an unknown status word

NEEDED = {"api_key", "base_url"}  # settings without which no call of Kie.ai makes sense
DEEPEST = 200  # how deep the arguments of a call may be nested
NOT_SENT_S = 1.0
GRACE_S = 5.0  # how long a paid request under way may still take when the server is asked to end


async def always() -> bool:
    """Return True, for a caller that is there until it cancels."""
    return True


@dataclass
class Engine:
    """Everything that an operation needs. It reads at any time and sends only while `running`.

    `resting` says by row until when the background leaves a task alone, `usual` by tool and model how many seconds
    their tasks take, and until when that counts; `rates` are how often in a second each task that is waited for is to
    be read, those first that likely end now, and `waiters`, by task id, the calls that wait for one; `turns` are, by
    gateway and account, the calls that wait for a slot, by submission number; who reads a live catalogue holds
    `reading`. `news` wait for the background, `unseen` are tasks by a status word that this version does not know, and
    there are `links` where users may be on other machines than this one. `people` are the users, each with an engine
    that shares all of this but settings, callers and the view of the record; it `adopts` tasks that were made
    elsewhere, and the background `tends_all` tasks, whosoever they are, or the user's alone.
    """

    settings: Settings
    plugins: Plugins
    callers: Mapping[str, Caller]  # by gateway name
    record: Record
    waiters: dict[str, set[Waiter]] = field(default_factory=dict)
    resting: dict[int, float] = field(default_factory=dict)
    usual: dict[tuple[str, str | None], tuple[tuple[float, float] | None, float]] = field(default_factory=dict)
    rates: tuple[dict[object, float], dict[object, float]] = field(default_factory=lambda: ({}, {}))
    turns: dict[tuple[str, str], dict[int, anyio.Event]] = field(default_factory=lambda: defaultdict(dict))
    news: set[News] = field(default_factory=set)
    unseen: dict[str, set[str]] = field(default_factory=dict)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)  # of tools, by tool and outcome, of all users
    links: Links | None = None
    reading: anyio.Lock = field(default_factory=anyio.Lock)
    faults: Faults = field(default_factory=list)  # what is wrong with the settings
    people: Owners | None = None
    adopts: bool = True
    tends_all: bool = False
    life: Life = field(default_factory=Life)
    outage: Outage = field(
        default_factory=lambda: Outage(log, "running tasks can't be looked after", "running tasks are looked after")
    )
    _requests: dict["asyncio.Task[Any]", anyio.CancelScope] = field(default_factory=dict)
    _background: dict["asyncio.Task[Any]", anyio.CancelScope] = field(default_factory=dict)
    _calls: set["asyncio.Future[None]"] = field(default_factory=set)
    _catalogue: Catalogue | None = None
    _formats: Formats | None = None

    @classmethod
    def open(cls, settings: Settings, reserved: Iterable[str], faults: Faults = STRICT) -> Self:
        """Load the providers, which may take no `reserved` tool name, and open the record.

        Raise ConfigError for wrong settings or an output folder that can't be written, StorageError for a bad database.
        With a list of `faults`, to which those of the settings are added, paid requests are refused instead.
        """
        plugins, settings = load(Plugins, settings, reserved, faults)
        gateways = [kie(settings), *plugins.gateways.values()]
        limits = {gateway.name: RateLimit(*gateway.rate_limit) for gateway in gateways if gateway.rate_limit}
        accounts = {gateway.name: account_of(gateway) for gateway in gateways}
        units = {gateway.name: gateway.unit for gateway in gateways}
        callers = {gateway.name: Caller(settings, gateway) for gateway in gateways}
        callers[KIE].fault = next((error for error in faults if NEEDED & set(error.where)), None)
        try:
            record = Record.of(settings, limits, accounts, units)
        except ConfigError as exc:  # this user has no folder for one
            faults.append(exc)
            nowhere = settings.model_copy(update={"db_path": Path(os.devnull, "db"), "database_url": None})
            record = Record.of(nowhere, limits, accounts, units)
        if faults is STRICT:
            if wrong := _fault_of(settings.output_dir):
                raise wrong
            record.open()
        return cls(settings, plugins, callers, record, faults=faults)

    async def problems(self) -> list[KieError]:
        """Return everything that keeps paid requests from being made, as it stands now."""
        found: list[KieError | None] = [*self.faults, await self._folder_fault()]
        try:
            await self.record.check()
        except StorageError as exc:
            found.append(exc)
        return [error for error in found if error is not None]

    async def _folder_fault(self) -> ConfigError | None:
        # In a worker: a network drive that hangs must not stop the server.
        folder = self.settings.output_dir
        return None if folder is None else await anyio.to_thread.run_sync(_fault_of, folder)

    @property
    def asking(self) -> Asking:
        """The calls of providers' functions."""
        return Asking(self.plugins)

    @property
    def catalogue(self) -> Catalogue:
        """The models of the enabled providers, which are loaded when the first is asked for."""
        self._catalogue = self._catalogue or Catalogue(self.plugins, self.settings)
        return self._catalogue

    @property
    def formats(self) -> Formats:
        """What the type of a file does to the prices of this project's tools; the catalogue must be loaded."""
        if self._formats is None:
            plugins = self.plugins
            ours = (tool for tool in plugins.tools.values() if plugins.plugins[tool.provider].is_first_party)
            self._formats = Formats({tool.name: tool for tool in ours if tool.paid}, self.catalogue.entries)
        return self._formats

    async def of_owner(self, record: TaskRecord | SubmissionRecord) -> "Engine":
        """Return the engine of a task's or request's owner: their key reads it, and their folder takes its results."""
        here = record.account in ("", self.record.accounts.get(record.gateway))
        is_ours = here and record.user == self.record.user
        return self if is_ours or self.people is None else await self.people.engine_of(record)

    def caller(self, gateway: str) -> Caller:
        """Return the caller of a task's service, or raise ReadFailed where no enabled provider registers it."""
        if gateway not in self.callers:
            message = f"The task was made through {gateway}, but no enabled provider registers that service."
            step = f"Enable or install it, for example with: {install_command(f'{PROVIDERS}{gateway}')}"
            raise ReadFailed(message, next_step=step, can_retry=False)
        return self.callers[gateway]

    def logs_of(self, gateway: str) -> str:
        """Return the page where people see their requests at a service."""
        caller = self.callers.get(gateway)
        return caller.gateway.logs_page if caller else f"the request log of {gateway}"

    def how_to_settle(self, gateway: str, submission_id: int) -> str:
        """Return what is to be done of a request that may have been charged: who looks for its task, and what then."""
        page, settle = self.logs_of(gateway), f"call resolve_submission(submission_id={submission_id}, action="
        if self.adopts:
            return f"Look at {page}. If the task is there, {settle}'adopt', task_id=...); if not, {settle}'discard')."
        # The account is the server's, and shows everybody's tasks.
        seen = f"Ask an administrator of this server whether {page} shows its task, and to adopt it then."
        return f"{seen} If it is not there, {settle}'discard')."

    @property
    def uploads(self) -> Uploads:
        """The uploads of local files to Kie.ai."""
        return Uploads(self.settings, self.callers[KIE], self.record, self.links.base_url if self.links else None)

    def redacted(
        self, arguments: Mapping[str, Any], tool: BoundTool, notes: Sequence[str] = ()
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return a tool's arguments, and notes of them, as they may be stored and shown: without keys.

        Where prompts are not to be stored they are left out, and so are notes, which may repeat them. Raise
        InvalidArgument for an argument that is nested more than `DEEPEST` times.
        """
        if not self.settings.store_prompts:
            arguments = without_words(arguments, tool.arguments.schema, tool.arguments.media, NOT_STORED)
            notes = ()
        try:
            clean, kept = self.settings.mask.json([dict(arguments), list(notes)], DEEPEST + 2)
        except ValueError:
            name = next(name for name, value in arguments.items() if _is_deep(value, DEEPEST))
            raise InvalidArgument(name, "[[...]]", f"it is nested more than {DEEPEST} times") from None
        return clean, tuple(kept)

    def checked(self, field: str, text: str) -> str:
        """Return an argument that is stored, or sent in an address; raise InvalidArgument where it holds a key."""
        if self.settings.mask.text(text) != text:
            raise InvalidArgument(field, "[key]", "it holds a key, which is neither stored nor sent here")
        return text

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Be able to send until the end of the context; paid requests under way are then awaited and recorded."""
        self.life.is_running = True
        self.record.database.listen(self.wake)
        for problem in await self.problems():
            log.error("%s", problem)
        try:
            yield self
        finally:
            with anyio.CancelScope(shield=True):
                await self.drain()
            with anyio.move_on_after(GRACE_S, shield=True):
                for caller in self.callers.values():
                    await caller.close()
                if self.people is not None:
                    await self.people.close()
                await self.record.aclose()

    def wake(self, task_id: str) -> bool:
        """Let everybody in this process who waits for a task read it now; return whether there is anybody."""
        waiters = self.waiters.get(task_id, ())
        for waiter in waiters:
            waiter.read_now()
        return bool(waiters)

    def check_open(self) -> None:
        """Raise Refused where the server is ending."""
        if self.life.is_closing:
            step = "Call again once it runs."
            raise Refused("The server is ending; nothing was sent.", next_step=step, reason="ServerEnding")

    async def check_ready(self) -> None:
        """Raise what keeps paid requests from being made, all of it; a bad database alone is met when it is used."""
        self.check_open()
        if self.faults or await self._folder_fault() is not None:
            problems = await self.problems()
            step = " ".join(error.next_step for error in problems)
            step += " Then restart the server." if self.faults else " Then call again."
            problem = f"{' '.join(error.message for error in problems)} Nothing was sent."
            reason = next(filter(None, (error.reason for error in problems)), "SettingUnusable")
            raise Refused(problem, next_step=step, reason=reason)

    def start(self, request: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run a paid request as a task that outlives its caller: `asyncio.wait` for it, which never cancels it."""
        self.news.add("paid")
        return _task(request, self._requests)

    def start_in_background(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run work that costs nothing beside the calls until the server ends; return False where it is ending."""
        if self.life.is_running and not self.life.is_closing:
            _task(work, self._background)
            return True
        work.close()
        return False

    def take_news(self) -> set[News]:
        """Return what has happened since the last call of this; nothing while a paid request is under way."""
        news = set[News]() if self._requests else self.news.copy()
        self.news -= news
        return news

    @contextmanager
    def call(self) -> Iterator[None]:
        """Mark a call that is on record and may not have been sent yet; `drain` lets it record that it never is."""
        over = asyncio.get_running_loop().create_future()
        self._calls.add(over)
        try:
            yield
        finally:
            self._calls.discard(over)
            over.set_result(None)

    async def drain(self) -> None:
        """Take no new requests, and let those under way end: by themselves, or after a grace as unknown."""
        self.life.is_closing = True
        for scope in self._background.values():
            scope.cancel()
        await _ended(self._requests, GRACE_S)
        # Calls that have not sent yet notice the end, and record that they never will.
        await _ended(self._calls, NOT_SENT_S)
        for scope in self._requests.values():
            scope.cancel()
        await _ended(self._requests)
        await _ended(self._background)


def _task(work: Coroutine[Any, Any, T], held: dict["asyncio.Task[Any]", anyio.CancelScope]) -> "asyncio.Task[T]":
    """Start a task outside the caller's cancel scope, held until its end; its own scope heeds shields inside."""
    scope = anyio.CancelScope()

    async def run() -> T:
        with scope:
            return await work
        raise asyncio.CancelledError

    task = asyncio.create_task(run())
    held[task] = scope
    task.add_done_callback(held.pop)
    return task


async def _ended(held: Iterable["asyncio.Future[Any]"], limit_s: float | None = None) -> None:
    """Wait until all of these have ended, also those that start meanwhile, or until time is over."""
    with anyio.move_on_after(limit_s):
        while pending := tuple(held):
            await asyncio.wait(pending)


def _is_deep(value: Any, most: int) -> bool:
    """Return whether a JSON value is nested more than `most` times."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    return inside is not None and (most <= 0 or any(_is_deep(entry, most - 1) for entry in inside))


def _fault_of(folder: Path | None) -> ConfigError | None:
    """Return what is wrong with the output folder, which is created if absent."""
    with suppress(OSError):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    if folder is None or (folder.is_dir() and os.access(folder, os.W_OK)):
        return None
    way = way_to_set("output_dir", "~/Pictures/kie")
    step = f"Mount its drive if it is on one, or name a folder of yours: {way} (KIE_AI_OUTPUT_DIR), then restart."
    problem = f"The folder {folder} can't be written."
    return ConfigError(problem, next_step=cure_of_access(folder, step), reason="FolderNotWritable")
