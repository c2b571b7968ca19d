"""Tasks that the database does not take, and requests that are settled by hand: what is said, done and recorded."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp import Accepted, Answer, Outcome, Submission
from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.results import refresh
from kie_ai_mcp._flow.settle import resolve
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import StorageError, Unknown
from tests.helpers import PICTURE

if TYPE_CHECKING:
    from tests.core.conftest import Publish

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(service: HTTPServer, tmp_path: Path, key: str) -> AsyncIterator[Engine]:
    """A running engine of one provider."""
    values = {"api_key": key, "base_url": service.url_for("").rstrip("/"), "db_path": tmp_path / "tasks.db"}
    app = App.open(Settings.model_validate({**values, "enabled_providers": ("nano-banana",)}))
    async with app.engine.running():
        yield app.engine


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes to the database, and takes its time."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


async def silent(message: str, share: float | None) -> None:
    """Report to no client."""


def tool_of(read: Callable[[Any], Any]) -> BoundTool:
    def generate_fox(prompt: str) -> Submission:
        """Make a fox."""
        return Submission("foxes", {"prompt": prompt}, "fox", read=read)

    return BoundTool.bind(generate_fox, provider="nano-banana", kind="image")


async def test_task_that_is_finished_at_once_and_not_recorded_is_answered_with_its_results(
    engine: Engine, service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.expect_request("/foxes").respond_with_json({"code": 200, "msg": "done"})
    lock = locked(engine.record.path)

    def read(_: Answer) -> Outcome:
        monkeypatch.setattr("kie_ai_mcp._record.database.BUSY_TIMEOUT_S", 0.05)
        engine.record.database.connection.pragma("busy_timeout", 50)
        lock.__enter__()
        return Outcome("completed", (PICTURE,), credits=4.0)

    report = await submit(engine, tool_of(read), {"prompt": "a fox"}, silent)
    lock.__exit__(None, None, None)

    assert (report.status, report.result_urls, report.credits, report.charged) == ("completed", (PICTURE,), 4.0, "yes")
    assert "not recorded" in str(report.error)
    assert "Save these results now" in report.next_step
    assert "get_task_status" not in report.next_step
    assert await engine.record.submissions.unsettled() == []
    (task,) = await engine.record.tasks.newest(Filters())
    assert (task.status, task.result_urls, task.credits) == ("completed", (PICTURE,), 4.0)


HALF = "\ud83d"


@pytest.mark.parametrize(
    "made", [Accepted("t-1", f"status/{HALF}"), Outcome("failed", error=HALF), Outcome("completed", model=HALF)]
)
async def test_half_of_a_character_from_a_provider_keeps_no_task_from_being_recorded(
    made: Accepted | Outcome, engine: Engine, service: HTTPServer
) -> None:
    service.expect_request("/foxes").respond_with_json({"code": 200, "msg": "done"})

    report = await submit(engine, tool_of(lambda _: made), {"prompt": "a fox"}, silent)

    assert report.charged != "no"
    (task,) = await engine.record.tasks.newest(Filters())
    assert HALF not in f"{task.status_address}{task.error}{task.model}"
    assert not engine.record.recovery.path.exists()


SERVICE = """
from kie_ai_mcp import Answer, Gateway, Outcome, Prompt, StatusRoute, Submission, hookimpl


def generate_tide_image(prompt: Prompt) -> Submission:
    "Make a picture."
    return Submission("bake", {"prompt": prompt}, "tide", gateway="tide")


def read(status, body):
    return Answer(200 if status < 300 else status, "", body)


def output(answer):
    return None


@hookimpl
def kie_register_tools():
    return [generate_tide_image]


@hookimpl
def kie_register_gateways():
    return [Gateway("tide", "Tide", "BASE", authorization="", read=read, accept=ACCEPT)]


@hookimpl
def kie_route_status(task):
    return StatusRoute(f"job/{task.task_id}", {})


@hookimpl
def kie_normalize_result(task, payload):
    return StatusRoute(f"output/{task.task_id}", {}, read=output)
"""


@asynccontextmanager
async def tide(service: HTTPServer, publish: "Publish", tmp_path: Path, accept: str) -> AsyncIterator[Engine]:
    """A running engine of a service of its own, whose answer to a request holds its id as a number."""
    service.expect_request("/bake").respond_with_json({"job": {"ref": 417}})
    publish("tide", SERVICE.replace("BASE", service.url_for("").rstrip("/")).replace("ACCEPT", accept))
    settings = {"db_path": tmp_path / "tasks.db", "enabled_providers": ("tide",)}
    app = App.open(Settings.model_validate(settings))
    async with app.engine.running():
        yield app.engine


@pytest.mark.parametrize(
    ("accept", "reason"),
    [
        ("lambda answer: answer.data['job']['ref']", "The accept of the gateway tide misread the service's answer: "),
        ("None", 'no task id was found in {"job": {"ref": 417}}. The accept of the gateway tide is missing; its '),
        ("lambda answer: None", 'in {"job": {"ref": 417}}. The accept of the gateway tide found none; its author'),
    ],
)
async def test_request_whose_task_no_accept_finds_is_unknown_and_says_so(
    accept: str, reason: str, service: HTTPServer, publish: "Publish", tmp_path: Path
) -> None:
    async with tide(service, publish, tmp_path, accept) as engine:
        with pytest.raises(Unknown) as caught:
            await submit(engine, engine.plugins.tools["generate_tide_image"], {"prompt": "a fox"}, silent)
    assert reason in caught.value.message
    assert "text_in" in caught.value.message


async def test_reason_why_a_status_is_not_read_is_that_of_its_service(
    service: HTTPServer, publish: "Publish", tmp_path: Path
) -> None:
    async with tide(service, publish, tmp_path, "lambda answer: str(answer.data['job']['ref'])") as engine:
        await submit(engine, engine.plugins.tools["generate_tide_image"], {"prompt": "a fox"}, silent)

        service.expect_oneshot_request("/job/417").respond_with_json({}, 404)
        lost = (await refresh(engine, "tide:417")).read_error
        service.expect_request("/job/417").respond_with_json({"phase": "ready"})
        service.expect_request("/output/417").respond_with_json({"items": []})
        empty = (await refresh(engine, "tide:417")).read_error

    assert f"Check the address {service.url_for('').rstrip('/')} in the settings of Tide" in str(lost)
    assert "KIE_AI_BASE_URL" not in str(lost)
    assert "The read of the provider tide for output/417 (site/stranger_kie_ai_mcp_tide.py, line 14)" in str(empty)
    assert 'returned None for an answer of success: {"items": []}.' in str(empty)


async def test_task_is_adopted_only_for_a_request_that_is_unknown(engine: Engine, service: HTTPServer) -> None:
    service.expect_request("/foxes").respond_with_json({"code": 200, "msg": "done"})
    with pytest.raises(Unknown):
        await submit(engine, tool_of(lambda _: None), {"prompt": "a fox"}, silent)
    await resolve(engine, 1, None)

    for number in (1, 99):
        with pytest.raises(StorageError, match="only an unknown one can be resolved"):
            await resolve(engine, number, "t-1")

    assert await engine.record.tasks.newest(Filters()) == []
    assert [request.path for request, _ in service.log] == ["/foxes"]
