"""Changes on record: who hears of them, and that nothing is looked for while nobody listens."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from kie_ai_mcp import InvalidArgument, Outcome, Task
from kie_ai_mcp._app import changes
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.changes import Change, ListChanged, Listener
from kie_ai_mcp._flow import waiting
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import eventually

pytestmark = pytest.mark.anyio

FOX, OWL = "kie://tasks/fox", "kie://tasks/owl"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values = {"db_path": tmp_path / "tasks.db", "output_dir": tmp_path, "enabled_providers": ("nano-banana",)}
    return Settings.model_validate(values)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[App]:
    """A running application with two tasks, which nothing reads from the service."""
    app = App.open(settings)
    async with app.engine.running():
        for task_id in ("fox", "owl"):
            await app.engine.record.tasks.adopt(Task(task_id, "x", "nano-banana"))
        yield app


@pytest.fixture
def heard() -> list[Change]:
    return []


@pytest.fixture
def listener(heard: list[Change]) -> Listener:
    async def notify(uri: Change) -> None:
        heard.append(uri)

    return Listener(notify, lambda: heard.append("the end"))


@pytest.fixture
def other(settings: Settings) -> Iterator[Record]:
    """The record as another process has it."""
    record = Record.of(settings)
    yield record
    record.close()


async def test_each_kind_of_change_is_told_once_and_at_once(
    app: App, listener: Listener, heard: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_S", 1000.0)
    await app.changes.add(listener, FOX)
    app.changes.open(listener)
    tasks = app.engine.record.tasks
    for outcome in (
        Outcome("processing"),
        Outcome("processing", progress=0.5),
        Outcome("completed", urls=("https://example.com/a.png",)),
    ):
        await tasks.record_outcome("fox", outcome)
        await eventually(lambda: heard == [FOX])
        heard.clear()
    await tasks.record_files("fox", ["/home/me/a.png"])
    await eventually(lambda: heard == [FOX])


async def test_what_is_only_read_again_is_not_told(app: App, listener: Listener, heard: list[Change]) -> None:
    await app.engine.record.tasks.record_outcome("fox", Outcome("processing"))
    await app.changes.add(listener, FOX)
    await app.changes.add(listener, OWL)
    app.changes.open(listener)
    await app.engine.record.tasks.record_outcome("fox", Outcome("processing"))
    await app.engine.record.tasks.record_outcome("owl", Outcome("processing"))
    await eventually(lambda: heard != [])
    assert heard == [OWL]


async def test_change_of_another_process_is_found(
    app: App, listener: Listener, heard: list[Change], other: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_S", 0.05)
    await app.changes.add(listener, FOX)
    app.changes.open(listener)
    await other.tasks.record_outcome("fox", Outcome("failed", error="no foxes"))
    await eventually(lambda: heard == [FOX])


async def test_task_that_is_deleted_is_told_once(
    app: App, listener: Listener, heard: list[Change], tmp_path: Path
) -> None:
    await app.changes.add(listener, FOX)
    app.changes.open(listener)
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        database.execute("DELETE FROM tasks WHERE task_id = 'fox'")
        database.commit()
    await eventually(lambda: heard == [FOX])
    await app.changes.add(listener, OWL)
    await app.engine.record.tasks.record_outcome("owl", Outcome("processing"))
    await eventually(lambda: heard == [FOX, OWL])


async def test_change_between_two_listeners_is_told_to_the_first(
    app: App, listener: Listener, heard: list[Change]
) -> None:
    """What changed before an address was added is known to who adds it then."""
    late: list[Change] = []

    async def notify(uri: Change) -> None:
        late.append(uri)

    second = Listener(notify)
    await app.changes.add(listener, FOX)
    await app.engine.record.tasks.record_outcome("fox", Outcome("processing"))
    await app.changes.add(second, FOX)
    app.changes.open(second)
    app.changes.open(listener)
    await eventually(lambda: heard == [FOX])
    assert late == []


async def test_list_is_told_of_new_tasks_and_saved_files_alone(
    app: App, listener: Listener, heard: list[Change]
) -> None:
    await app.changes.add_list(listener)
    await app.changes.add(listener, OWL)
    app.changes.open(listener)
    tasks = app.engine.record.tasks
    await tasks.record_outcome("owl", Outcome("processing"))
    await eventually(lambda: heard == [OWL])
    await tasks.adopt(Task("hen", "x", "nano-banana"))
    await eventually(lambda: heard == [OWL, ListChanged.RESOURCES])
    await tasks.record_files("owl", ["/home/me/owl.png"])
    await eventually(lambda: len(heard) == 4)
    await tasks.record_outcome("owl", Outcome("processing", progress=0.5))
    await eventually(lambda: heard.count(OWL) == 3)
    assert heard.count(ListChanged.RESOURCES) == 2


async def test_nothing_is_looked_for_while_nobody_listens(app: App, listener: Listener) -> None:
    assert not app.changes.is_looking
    await app.changes.add(listener, FOX)
    app.changes.open(listener)
    await eventually(lambda: app.changes.is_looking)
    app.changes.close(listener)
    await eventually(lambda: not app.changes.is_looking)
    app.changes.open(listener)
    await eventually(lambda: app.changes.is_looking)


async def test_listeners_are_told_that_the_server_ends(app: App, listener: Listener, heard: list[Change]) -> None:
    app.changes.open(listener)
    await eventually(lambda: app.changes.is_looking)
    await app.engine.drain()
    assert heard == ["the end"]


@pytest.mark.parametrize("mode", ["own", "auto"])
async def test_listener_that_comes_while_the_server_ends_is_ended(
    app: App, listener: Listener, heard: list[Change], mode: Any
) -> None:
    await app.engine.drain()
    if mode == "own":
        app.changes.open(listener)
        await eventually(lambda: heard == ["the end"])
    else:
        async with Client(server_of(app), mode=mode) as client, client.listen(resources_list_changed=True) as stream:
            with anyio.fail_after(10):
                assert [change async for change in stream] == []
    assert not app.changes.is_looking


@pytest.mark.parametrize("name", ["stamp", "several", "outline"])
@pytest.mark.parametrize("error", [StorageError("The database is busy.", next_step="Wait."), ValueError("odd")])
async def test_change_is_told_after_a_failure_to_read_it(
    app: App, listener: Listener, heard: list[Change], name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LIST_S", 0.01)
    await app.changes.add(listener, FOX)
    await app.changes.add_list(listener)
    await app.engine.record.tasks.adopt(Task("hen", "x", "nano-banana"))
    await app.engine.record.tasks.record_outcome("fox", Outcome("processing"))
    failures = [error]
    before(app, name, lambda: raised(failures), monkeypatch)
    app.changes.open(listener)
    await eventually(lambda: {*heard} == {FOX, ListChanged.RESOURCES})
    assert (failures, len(heard)) == ([], 2)


async def test_what_is_added_or_removed_during_a_look_is_not_told_of_it(
    app: App, listener: Listener, heard: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Change] = []

    async def notify(uri: Change) -> None:
        late.append(uri)

    second, tasks = Listener(notify), app.engine.record.tasks
    await app.changes.add(listener, FOX)
    app.changes.open(listener)
    await eventually(lambda: app.changes.is_looking)

    async def add() -> None:
        monkeypatch.undo()
        app.changes.remove(listener, FOX)
        for uri in (FOX, OWL, "kie://tasks"):
            await app.changes.add(second, uri)
        await app.changes.add_list(second)
        app.changes.open(second)

    after(app, "several", add, monkeypatch)
    await tasks.record_outcome("fox", Outcome("processing"))
    await eventually(lambda: second in app.changes._listeners)
    await tasks.record_outcome("owl", Outcome("failed", error="no owls"))
    await eventually(lambda: "failed" in (second.seen[OWL][1] or ()))
    await eventually(lambda: {*late} == {OWL, "kie://tasks"})
    assert len(late) == 2
    assert (heard, listener.seen) == ([], {})


async def test_listener_that_fails_ends_no_other(
    app: App, listener: Listener, heard: list[Change], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(uri: Change) -> None:
        raise anyio.BrokenResourceError

    broken = Listener(fail, lambda: heard.append("the end of the broken one"))
    for each in (broken, listener):
        await app.changes.add(each, FOX)
        app.changes.open(each)
    for outcome in (Outcome("processing"), Outcome("failed", error="no foxes")):
        await app.engine.record.tasks.record_outcome("fox", outcome)
        await eventually(lambda: heard == [FOX])
        heard.clear()
    await eventually(lambda: caplog.text.count(f"A notification of {FOX} failed: BrokenResourceError") == 2)


async def test_task_that_could_not_be_read_is_read_again(
    settings: Settings, listener: Listener, heard: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [ValueError("odd")]

    async def wait_for(engine: Engine, *_: Any) -> None:
        raised(failures)
        await engine.record.tasks.record_outcome("fox", Outcome("failed", error="no foxes"))

    monkeypatch.setattr(changes, "LIST_S", 0.01)
    monkeypatch.setattr(changes, "wait_for", wait_for)
    app = App.open(settings.model_copy(update={"watch": False}))
    async with app.engine.running():
        await app.engine.record.tasks.adopt(Task("fox", "x", "nano-banana"))
        await app.changes.add(listener, FOX)
        app.changes.open(listener)
        await eventually(lambda: heard == [FOX])


def raised(failures: list[Exception]) -> None:
    """Raise the next failure, if there is one left."""
    if failures:
        raise failures.pop()


def before(app: App, name: str, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let work be done before each read of tasks by a name."""
    read = getattr(app.engine.record.tasks, name)

    async def reading(*args: Any) -> Any:
        work()
        return await read(*args)

    monkeypatch.setattr(app.engine.record.tasks, name, reading)


def after(app: App, name: str, work: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let work be done after each read of tasks by a name, before its result is used."""
    read = getattr(app.engine.record.tasks, name)

    async def reading(*args: Any) -> Any:
        result = await read(*args)
        await work()
        return result

    monkeypatch.setattr(app.engine.record.tasks, name, reading)


async def test_no_more_addresses_are_taken_than_can_be_looked_at(
    app: App, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST", 1)
    await app.changes.add(listener, FOX)
    with pytest.raises(InvalidArgument, match="at most 1 "):
        await app.changes.add(listener, OWL)


async def test_task_is_read_no_more_once_nobody_listens_to_it(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(waiting.CADENCE_S, "image", 0.02)
    with Sandbox(hold=True) as sandbox:
        values = {"base_url": sandbox.base_url, "api_key": "key-of-the-tests", "db_path": tmp_path / "tasks.db"}
        more = {"watch": False, "enabled_providers": ("nano-banana",)}
        app = App.open(Settings.model_validate({**values, **more}))

        async with app.engine.running():
            for prompt in ("A fox", "An owl"):
                await app.call("generate_nano_banana", {"prompt": prompt})
            fox, owl = (task.task_id for task in sandbox.ledger)
            sandbox.finish(owl)
            await app.call("get_task_status", {"task_id": owl})
            for task_id in (fox, owl):
                await app.changes.add(listener, f"kie://tasks/{task_id}")
            before, counts = len(sandbox.requests), list[int]()
            app.changes.open(listener)
            await eventually(lambda: len(sandbox.requests) > before + 3)
            app.changes.remove(listener, f"kie://tasks/{fox}")

            def is_calm() -> bool:
                counts.append(len(sandbox.requests))
                return len(counts) > 30 and len({*counts[-30:]}) == 1

            await eventually(is_calm)


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_client_that_leaves_leaves_nothing_behind(app: App, mode: Any) -> None:
    async with Client(server_of(app), mode=mode) as client:
        if mode == "legacy":
            await client.subscribe_resource(FOX)
            await client.list_resources()
            await eventually(lambda: app.changes.is_looking)
        else:
            async with client.listen(resource_subscriptions=[FOX]):
                await eventually(lambda: app.changes.is_looking)
    with anyio.fail_after(10):
        await eventually(lambda: not app.changes.is_looking)
