"""Random histories of two processes on one database, compared with a small model."""

import json
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow import engine, submit
from kie_ai_mcp._flow.results import refresh
from kie_ai_mcp._flow.settle import resolve
from kie_ai_mcp._record.processes import LockFile
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument, KieError, Refused, TaskNotFound, Unknown
from tests.databases import Postgres, outside
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from kie_ai_mcp._flow.report import Report

"""Longer than any history takes on a busy machine; reached only where something is wrong."""
PROMPTS = ("a fox", "an owl", "a hare")
KEYS = (None, None, "key 1", "key 2")
OPEN = ("sending", "unknown")
BINDS = (*OPEN, "accepted")
STATUS = {"waiting": "pending", "generating": "processing", "success": "completed", "fail": "failed"}
FINAL = ("completed", "failed")


# The service ---------------------------------------------------------------------------------------------------------


@dataclass
class Held:
    """A request that has arrived and is not answered yet."""

    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    booked: threading.Event = field(default_factory=threading.Event)
    answer: str = ""

    def end(self, answer: str) -> None:
        """Let the service do `answer` with the request, and wait until its books say so."""
        self.answer = answer
        self.released.set()
        assert self.booked.wait(LIMIT_S)


class Service:
    """Does with each request what the machine has planned for it, and keeps the books."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.made: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.plans: dict[str, str] = {}
        self.held: dict[str, Held] = {}
        self.fault = ""

    def create(self, request: Request) -> Response:
        prompt = json.loads(request.get_data())["input"]["prompt"]
        self.asked.append(prompt)
        task_id = f"task-{len(self.asked)}"
        answer, held = self.plans.pop(prompt), self.held[prompt]
        if answer == "hold":
            held.arrived.set()
            held.released.wait(LIMIT_S)
            answer = held.answer
        if answer not in {"refuse", "lose before"}:
            self.made[task_id] = prompt
            self.states[task_id] = "waiting"
        held.booked.set()
        match answer:
            case "refuse":
                return _json({"code": 422, "msg": "no such thing", "data": None})
            case "accept":
                return _json({"code": 200, "msg": "success", "data": {"taskId": task_id}})
            case "garble":
                return Response(b"\x00{", 200)
        return _drop(request)

    def status(self, request: Request) -> Response:
        task_id = request.args["taskId"]
        if self.fault == "drop":
            return _drop(request)
        if self.fault:
            return Response(f"<html>{self.fault}</html>", int(self.fault))
        if task_id not in self.made:
            return _json({"code": 422, "msg": "recordInfo is null", "data": None})
        data = {"taskId": task_id, "state": self.states[task_id], "model": "google/nano-banana"}
        result = json.dumps({"resultUrls": [f"https://files.invalid/{task_id}.png"]})
        return _json({"code": 200, "msg": "success", "data": {**data, "resultJson": result, "failMsg": "no"}})


def _json(value: object) -> Response:
    return Response(json.dumps(value), content_type="application/json")


def _drop(request: Request) -> Response:
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return Response()


# A process -----------------------------------------------------------------------------------------------------------


class Dead(Exception):
    """What a process that was killed meets where it would go on."""


class Process:
    """A server without its protocol, which can be killed."""

    def __init__(self, portal: BlockingPortal, app: App) -> None:
        self.engine, self.record = app.engine, app.engine.record
        self.tool = app.engine.plugins.tools["generate_nano_banana"]
        self._portal = portal
        self._running = portal.wrap_async_context_manager(app.engine.running())
        self._running.__enter__()

    def submit(self, prompt: str, key: str | None) -> "tuple[Future[Report], threading.Event]":
        """Start a call; the event tells that it waits for somebody else's."""
        joined = threading.Event()

        async def say(message: str, _share: float | None) -> None:
            if "same request" in message:
                joined.set()

        async def call() -> "Report":
            report = await submit.submit(self.engine, self.tool, arguments, say, LIMIT_S)
            assert report.request is not None
            await self.record.submissions.delivered(report.request)
            return report

        arguments = {"prompt": prompt, **({"idempotency_key": key} if key else {})}
        return self._portal.start_task_soon(call), joined

    def stop(self) -> None:
        """End it as the end of its input does."""
        self._running.__exit__(None, None, None)

    def kill(self) -> None:
        """End it as the kernel does: nothing more is written, its locks are free, its files stay."""

        def die(*_: object) -> Any:
            raise Dead

        record, process = self.record, self.record.process
        patches = pytest.MonkeyPatch()  # refuses a name that is not there; never undone
        patches.setattr(record.database.lane, "use", die)
        patches.setattr(record.recovery, "append", die)
        patches.setattr(record, "close", lambda: None)
        for scope in tuple(self.engine._requests.values()):
            self._portal.call(scope.cancel)
        with suppress(BaseExceptionGroup, CancelledError, Dead):
            self._running.__exit__(None, None, None)
        if not isinstance(process, LockFile):  # its lock is that of its connections
            process.retire()
            return
        record.database.connection.close()
        if process._mark is not None:
            process._mark.release()


# The model -----------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """What is true of one request: where it stands, whose it is, which keys are bound to it."""

    id: int
    prompt: str
    keys: set[str]
    owner: int
    held: Held = field(default_factory=Held)
    state: str = "sending"
    task_id: str | None = None
    call: "Future[Report] | None" = None
    joined: "list[tuple[int, Future[Report]]]" = field(default_factory=list)


class Histories(RuleBasedStateMachine):
    """Two processes on one database; each rule does one thing and says what must come of it."""

    address: ClassVar[str]
    service: ClassVar[Service]
    postgres: ClassVar[Postgres | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.tasks: dict[str, str] = {}
        self.alive: dict[int, Process] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.place: dict[str, object] = {"db_path": Path(self._folder.name, "tasks.db")}
        if self.postgres is not None:
            self.place["database_url"] = self.postgres.empty()
        self._portals = start_blocking_portal()
        self.portal = self._portals.__enter__()

    @initialize()
    def begin(self) -> None:
        self.service.__init__()  # type: ignore[misc]
        self.start(0)
        self.start(1)

    def teardown(self) -> None:
        try:
            for number in list(self.alive):
                self.crash(number)
        finally:
            self.portal.call(self.portal.stop, True)
            self._portals.__exit__(None, None, None)
            self._folder.cleanup()

    def start(self, number: int) -> None:
        values = {
            "api_key": "key-of-the-tests",
            "base_url": self.address,
            "rate_limit": 1_000,
            "enabled_providers": ("nano-banana",),
        }
        app = App.open(Settings.model_validate({**values, **self.place}))
        self.alive[number] = Process(self.portal, app)

    def open(self, *states: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.state in states]

    # -- what happens ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.alive)
    @rule(
        data=st.data(),
        prompt=st.sampled_from(PROMPTS),
        key=st.sampled_from(KEYS),
        answer=st.sampled_from(["accept", "accept", "refuse", "lose before", "lose after", "garble", "hold", "hold"]),
    )
    def create(self, data: st.DataObject, prompt: str, key: str | None, answer: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.alive)))
        asked = len(self.service.asked)
        keyed = next((entry for entry in self.open(*BINDS) if key in entry.keys), None)
        # A new key asks for a task of its own, unless the same may have been paid for already.
        states = ("unknown",) if key else OPEN
        twin = keyed or next((entry for entry in self.open(*states) if entry.prompt == prompt), None)
        if twin is None:
            return self.send(number, prompt, key, answer)
        call, joined = self.alive[number].submit(prompt, key)
        if keyed is not None and keyed.prompt != prompt:
            with pytest.raises(InvalidArgument, match="idempotency_key"):
                call.result(LIMIT_S)
        elif twin.state == "accepted":
            assert call.result(LIMIT_S).task_id == twin.task_id
        elif twin.state == "unknown":
            twin.keys |= {key} if key else set()
            with pytest.raises(Refused, match=f"submission {twin.id} .* charged"):
                call.result(LIMIT_S)
        else:
            assert joined.wait(LIMIT_S)
            twin.keys |= {key} if key else set()
            twin.joined.append((number, call))
        assert len(self.service.asked) == asked
        return None

    def send(self, number: int, prompt: str, key: str | None, answer: str) -> None:
        entry = Entry(len(self.entries) + 1, prompt, {key} if key else set(), number)
        self.entries.append(entry)
        self.service.held[prompt] = entry.held
        self.service.plans[prompt] = answer
        entry.call, _ = self.alive[number].submit(prompt, key)
        if answer == "hold":
            assert entry.held.arrived.wait(LIMIT_S)
        else:
            self.conclude(entry, answer)

    @precondition(lambda self: self.open("sending"))
    @rule(data=st.data(), answer=st.sampled_from(["accept", "refuse", "lose before", "lose after", "garble"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        entry = data.draw(st.sampled_from(self.open("sending")))
        entry.held.end(answer)
        self.conclude(entry, answer)

    def conclude(self, entry: Entry, answer: str) -> None:
        """The service has answered: the caller and all who joined it must get the same outcome."""
        assert entry.call is not None
        if answer == "accept":
            entry.task_id = entry.call.result(LIMIT_S).task_id
            entry.state = "accepted"
            assert entry.task_id == list(self.service.made)[-1]
            self.tasks[entry.task_id] = "pending"
            assert {call.result(LIMIT_S).task_id for _, call in entry.joined} <= {entry.task_id}
            return
        entry.state = "refused" if answer == "refuse" else "unknown"
        with pytest.raises(Refused if answer == "refuse" else Unknown) as error:
            entry.call.result(LIMIT_S)
        assert error.value.charged == ("no" if answer == "refuse" else "unknown")
        self.tell_joined(entry)

    def tell_joined(self, entry: Entry) -> None:
        for _, call in entry.joined:
            with pytest.raises(Refused, match="no such thing" if entry.state == "refused" else "may have been charged"):
                call.result(LIMIT_S)

    @precondition(lambda self: self.alive)
    @rule(
        data=st.data(),
        how=st.sampled_from(["kill", "kill", "stop"]),
        made=st.sampled_from(["lose before", "lose after"]),
    )
    def end(self, data: st.DataObject, how: str, made: str) -> None:
        self.crash(data.draw(st.sampled_from(sorted(self.alive))), how, made)

    def crash(self, number: int, how: str = "kill", made: str = "lose before") -> None:
        process = self.alive.pop(number)
        mine = [entry for entry in self.open("sending") if entry.owner == number]
        getattr(process, how)()
        for entry in mine:
            entry.state = "unknown"
            entry.held.end(made)
        gone = [entry.call for entry in mine if entry.call]
        for entry in self.entries:
            gone += [call for owner, call in entry.joined if owner == number]
            entry.joined = [(owner, call) for owner, call in entry.joined if owner != number]
        if self.alive:
            for entry in mine:
                self.tell_joined(entry)
        assert not wait(gone, LIMIT_S).not_done

    @precondition(lambda self: len(self.alive) < 2)
    @rule()
    def restart(self) -> None:
        self.start(0 if 0 not in self.alive else 1)

    @precondition(lambda self: self.alive and self.service.made)
    @rule(data=st.data(), state=st.sampled_from(sorted(STATUS)))
    def poll(self, data: st.DataObject, state: str) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.service.made)))
        self.service.states[task_id] = state
        server = self.alive[data.draw(st.sampled_from(sorted(self.alive)))].engine
        report = self.portal.call(refresh, server, task_id)
        self.learn(task_id)
        assert (report.status, report.read_error) == (self.tasks[task_id], None)

    def learn(self, task_id: str) -> None:
        """A status is read: it replaces another one, but not one that is final, except a failure by results."""
        status = STATUS[self.service.states[task_id]]
        if (before := self.tasks.get(task_id)) not in FINAL or (before, status) == ("failed", "completed"):
            self.tasks[task_id] = status

    @precondition(lambda self: self.alive and self.tasks)
    @rule(data=st.data(), fault=st.sampled_from(["drop", "500", "404", "200"]))
    def poll_badly(self, data: st.DataObject, fault: str) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        server = self.alive[data.draw(st.sampled_from(sorted(self.alive)))].engine
        self.service.fault = fault
        report = self.portal.call(refresh, server, task_id)
        self.service.fault = ""
        assert report.status == self.tasks[task_id]
        assert report.read_error

    @precondition(lambda self: self.alive and self.open("unknown"))
    @rule(data=st.data(), wrong=st.booleans())
    def settle(self, data: st.DataObject, wrong: bool) -> None:
        entry = data.draw(st.sampled_from(self.open("unknown")))
        server = self.alive[data.draw(st.sampled_from(sorted(self.alive)))].engine
        linked = {other.task_id for other in self.entries}
        lost = [
            task_id for task_id, prompt in self.service.made.items() if prompt == entry.prompt and task_id not in linked
        ]
        if wrong:
            with pytest.raises(TaskNotFound):
                self.portal.call(resolve, server, entry.id, "no-such-task")
        elif lost:
            report = self.portal.call(resolve, server, entry.id, lost[0])
            entry.state, entry.task_id = "accepted", lost[0]
            self.learn(lost[0])
            assert (report.task_id, report.status) == (lost[0], self.tasks[lost[0]])
        else:
            self.portal.call(resolve, server, entry.id, None)
            entry.state = "discarded"

    @precondition(lambda self: self.alive and self.entries)
    @rule(data=st.data())
    def settle_what_is_settled(self, data: st.DataObject) -> None:
        settled = [entry for entry in self.entries if entry.state != "unknown"]
        if settled:
            server = self.alive[min(self.alive)].engine
            with pytest.raises(KieError, match="only an unknown one"):
                self.portal.call(resolve, server, data.draw(st.sampled_from(settled)).id, None)

    # -- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def record_says_what_is_true(self) -> None:
        if not self.alive:
            return
        record = self.alive[min(self.alive)].record
        unresolved = self.portal.call(record.submissions.unsettled)
        assert [entry.id for entry in unresolved] == [entry.id for entry in self.open(*OPEN)]
        with outside(record) as database:
            submissions = database.execute("SELECT id, state, task_id FROM submissions ORDER BY id").fetchall()
            tasks = dict(database.execute("SELECT task_id, status FROM tasks").fetchall())
        assert submissions == [(entry.id, entry.state, entry.task_id) for entry in self.entries]
        assert tasks == self.tasks

    @invariant()
    def everything_was_sent_once_and_nothing_by_itself(self) -> None:
        assert self.service.asked == [entry.prompt for entry in self.entries]
        paid = [entry.task_id for entry in self.entries if entry.task_id]
        assert len(paid) == len(set(paid))


@contextmanager
def listening(postgres: Postgres | None = None) -> Iterator[type[Histories]]:
    """The service on an address of this machine, and the machine that uses it, with a file or PostgreSQL."""
    service = Service()
    with HTTPServer(threaded=True) as server:
        server.expect_request(re.compile(".*/createTask"), method="POST").respond_with_handler(service.create)
        server.expect_request(re.compile(".*/recordInfo"), method="GET").respond_with_handler(service.status)

        class Machine(Histories):
            pass

        Machine.address, Machine.service, Machine.postgres = server.url_for("/api/v1"), service, postgres
        yield Machine


@pytest.mark.usefixtures("restarts_are_cheap")
@pytest.mark.parametrize(("kind", "histories"), [("sqlite", 40), ("postgres", 8)])
def test_no_history_makes_the_record_differ_from_the_truth(
    kind: str, histories: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(submit, "JOIN_S", 0.002)
    monkeypatch.setattr(engine, "GRACE_S", 0.02)
    postgres = request.getfixturevalue("postgres") if kind == "postgres" else None
    with listening(postgres) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=histories,
                stateful_step_count=30,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
