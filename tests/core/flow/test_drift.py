"""Drift notices: what has changed at the service is told in words for its user, once over all processes."""

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from kie_ai_mcp import Model, Outcome, Rule, Submission, Task
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import say_nothing
from kie_ai_mcp._flow import watching
from kie_ai_mcp._flow.drift import look, words_of_schema
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.results import refresh
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.specs import DAY_S
from tests.helpers import PICTURE, eventually

if TYPE_CHECKING:
    from tests.core.conftest import Publish

pytestmark = pytest.mark.anyio

PLUGIN = """
    from kie_ai_mcp import LiveCatalogue, LiveModel, LiveRead, Model, Price, PriceLine, hookimpl

    def models(answer):
        return tuple(LiveModel(name, tasks=(task,), price=price) for name, task, price in answer.data)

    def read(sort):
        return LiveRead(lambda model: f"models/{model}/{sort}", lambda answer: answer.data)

    def model(name, tool="", **line):
        price = Price((PriceLine(4, **line),), checked="2026-10-07")
        return Model(name, name, "image", "text-to-image", {"properties": {}}, price=price, tool=tool)

    @hookimpl
    def kie_register_models(settings):
        yield model("a/one", "generate_one")
        yield model("a/two", per="(megapixels)")
        yield model("a/three", at_most=True)
        yield LiveCatalogue("kie", LiveRead(lambda model: "models", models), *map(read, ("schema", "price", "health")),
                            per_s=100)
"""
ONE, TWO, THREE = (
    [name, "Text to Image", price] for name, price in (("a/one", "4 credits"), ("a/two", ""), ("a/three", ""))
)

OpenApp = Callable[[], Awaitable[App]]


@pytest.fixture
async def open_app(service: HTTPServer, tmp_path: Path, key: str, publish: "Publish") -> AsyncIterator[OpenApp]:
    """Runs applications on one database, each like a process of its own, whose provider knows two models."""
    publish("acme", PLUGIN)
    values = {"api_key": key, "base_url": service.url_for("").rstrip("/"), "db_path": tmp_path / "tasks.db"}
    values |= {"enabled_providers": ("acme", "luma"), "max_provider_kb": 100}
    async with AsyncExitStack() as stack:

        async def start() -> App:
            app = App.open(Settings.model_validate(values))
            await stack.enter_async_context(app.engine.running())
            return app

        yield start


@pytest.fixture
async def app(open_app: OpenApp) -> App:
    return await open_app()


def enveloped(data: Any, code: int = 200) -> Response:
    return Response(json.dumps({"code": code, "msg": "said", "data": data}), content_type="application/json")


def lists(service: HTTPServer, *models: list[str]) -> None:
    """Let the service list these models from now on."""
    service.clear_all_handlers()
    service.expect_request("/models").respond_with_response(enveloped([*models, THREE]))


def a_day_passes(path: Path) -> None:
    with closing(sqlite3.connect(path / "tasks.db")) as database, database:
        database.execute("UPDATE kept SET until = until - ? WHERE sort = 'look'", (DAY_S,))
        database.execute("UPDATE kept SET read_at = read_at - ? WHERE sort = 'list'", (DAY_S,))


async def made(
    engine: Engine, outcome: Outcome, name: str, model: str = "a/one", expected: float | None = 4.0, **arguments: Any
) -> None:
    """Put a paid task on record."""
    arguments = {"prompt": name, **arguments}
    new = NewSubmission(
        "generate_one", "acme", "one", "image", "kie", model, arguments, name, estimated_credits=expected
    )
    ticket = await engine.record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    task = Task(name, "one", "acme", tool="generate_one", model=model)
    await engine.record.end(ticket.submission_id, Ending("accepted", task))
    await engine.record.tasks.record_outcome(name, outcome)


async def told(app: App) -> list[str]:
    """Return the notices that a call's answer brings."""
    answer = await app.call("list_tasks", {})
    assert answer.data is not None
    notes = list(answer.data.get("notes", ()))
    *_, last = answer.text.splitlines()
    assert all(f"Note: {note}" in answer.text for note in notes)
    assert not last.startswith("Note: ")
    return notes


async def test_new_and_gone_models_are_told_once_over_all_processes(
    app: App, open_app: OpenApp, service: HTTPServer, tmp_path: Path
) -> None:
    lists(service, TWO, ["b/new", "Text to Video", ""], ["b/chat", "Chat", ""])
    await look(app.engine, {"paid"})
    new, gone = await told(app)
    assert new.startswith("Kie.ai has new models: b/new. run_model takes them by name;")
    assert gone.startswith("Kie.ai does not list a/one (run_model): calls of them may be refused")
    a_day_passes(tmp_path)
    other = await open_app()
    lists(service, TWO, ["b/new", "Text to Video", ""], ["b/newer", "Text to Video", ""])
    await look(other.engine, {"paid"})
    (newer,) = await told(other)
    assert newer.startswith("Kie.ai has new models: b/newer. ")
    assert await told(other) == await told(app) == []


async def test_notice_of_a_process_that_ended_is_told_by_the_next(
    app: App, open_app: OpenApp, service: HTTPServer
) -> None:
    lists(service, ONE)
    await look(app.engine, {"paid"})
    other = await open_app()
    await watching.catch_up(other.engine)
    (gone,) = await told(other)
    assert "a/two (run_model)" in gone
    assert await told(app) == []


async def test_service_is_looked_at_once_a_day_over_all_processes(
    app: App, open_app: OpenApp, service: HTTPServer, tmp_path: Path
) -> None:
    lists(service, ONE, TWO)
    await look(app.engine, {"failed", "unseen"})
    assert service.log == []
    await look(app.engine, {"paid"})
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
        database.execute("DELETE FROM kept WHERE sort = 'list'")
    await look((await open_app()).engine, {"paid"})
    assert len(service.log) == 1
    a_day_passes(tmp_path)
    await look(app.engine, {"paid"})
    assert len(service.log) == 2
    assert await told(app) == []


async def test_changed_price_text_is_told_of_models_that_were_bought(
    app: App, service: HTTPServer, tmp_path: Path
) -> None:
    await made(app.engine, Outcome("completed", (PICTURE,), credits=4.0), "t")
    lists(service, ONE, [*TWO[:2], "1 credit"])
    await look(app.engine, {"paid"})
    assert await told(app) == []
    lists(service, [*ONE[:2], "5 credits"], [*TWO[:2], "2 credits"])
    a_day_passes(tmp_path)
    await look(app.engine, {"paid"})
    (note,) = await told(app)
    assert note.startswith(
        "Kie.ai changed what it says of the price of a/one: '5 credits'. Estimates of it may be wrong."
    )
    a_day_passes(tmp_path)
    await look(app.engine, {"paid"})
    assert await told(app) == []


async def test_charges_that_are_not_what_was_estimated_are_told(app: App, service: HTTPServer) -> None:
    lists(service, ONE, TWO)
    charges: dict[tuple[str, str], list[float]] = {
        ("a/one", "dearer"): [5, 5, 5],
        ("a/one", "cheaper"): [3, 3, 3],
        ("a/none", "without a table"): [9, 9, 9],
        ("a/two", "dearer than at most"): [6, 6, 6],
        ("a/two", "by what comes out"): [2, 2, 2],
        ("a/three", "at most"): [2, 2, 2],
        ("a/one", "too few"): [7, 7],
        ("a/one", "only once"): [4, 8, 4, 4],
        ("a/one", "nearly"): [4.1, 4.1, 4.1],
    }
    for (model, setting), credits in charges.items():
        for number, charge in enumerate(credits):
            outcome = Outcome("completed", (PICTURE,), credits=charge)
            await made(app.engine, outcome, f"{setting} {number}", model, mode=setting, seed=number)
    await look(app.engine, {"paid"})
    notes = sorted(note.partition(", by its last 3 tasks.")[0] for note in await told(app))
    old, costs = "The price table of 2026-10-07 is old", "credits where 4 were estimated"
    assert notes == [
        f"{old}: a/one costs 3 {costs}",
        f"{old}: a/one costs 5 {costs}",
        f"{old}: a/two costs 6 {costs}",
        f"The price table of this version is old: a/none costs 9 {costs}",
    ]


@pytest.mark.parametrize(
    ("health", "says"),
    [
        (0.6, "a/one failed 40 % of the last hour; it is probably not your prompt."),
        (0.97, "97 % of all requests of a/one succeeded in the last hour: change yours."),
        (None, None),
    ],
)
async def test_success_rate_is_told_after_two_failures_of_one_model(
    app: App, service: HTTPServer, health: float | None, says: str | None
) -> None:
    service.expect_request("/models/a/one/health").respond_with_response(enveloped(health))
    await made(app.engine, Outcome("failed", error="no"), "t1")
    await made(app.engine, Outcome("failed", error="no"), "t2", "a/two")
    await look(app.engine, {"failed"})
    assert service.log == []
    await made(app.engine, Outcome("failed", error="no"), "t3")
    await look(app.engine, {"failed"})
    notes = await told(app)
    assert len(notes) == (says is not None)
    assert "".join(notes).startswith(says or "")
    await look(app.engine, {"failed"})
    assert await told(app) == []


async def test_unknown_state_is_counted_and_told_with_an_example(app: App, service: HTTPServer) -> None:
    service.expect_request("/jobs/recordInfo").respond_with_response(enveloped({"state": "Resting"}))
    for name in ("t1", "t2"):
        await made(app.engine, Outcome("pending"), name)
        assert (await refresh(app.engine, name)).status == "processing"
    news = app.engine.take_news()
    assert news == {"unseen"}
    await look(app.engine, news)
    (note,) = await told(app)
    assert note.startswith("Kie.ai reports a state that is unknown here, 'Resting' (tasks: 2, such as t1).")
    await made(app.engine, Outcome("pending"), "t3")
    await refresh(app.engine, "t3")
    await look(app.engine, app.engine.take_news())
    assert await told(app) == []
    (note,) = await app.engine.record.kept.notices(since=0)
    assert "'Resting' (tasks: 3, such as t1)" in note


async def test_unknown_codes_are_counted_and_told_with_an_example(app: App, service: HTTPServer) -> None:
    lists(service, ONE, TWO)
    for name, code in (("t1", 477), ("t2", 477), ("t3", 501), ("t4", "SOME_WORD")):
        await made(app.engine, Outcome("failed", error="no", error_code=code), name)
    await look(app.engine, {"paid"})
    (note,) = await told(app)
    assert note.startswith("Kie.ai answers with an unknown code, 477 (times: 2, the last for t2).")


async def test_older_address_that_answers_is_told(app: App, service: HTTPServer) -> None:
    lists(service, ONE, TWO)
    service.expect_request("/new").respond_with_data("", 404)
    service.expect_request("/old").respond_with_response(enveloped({}))
    await app.engine.callers["kie"].read(("new", "old"), {})
    await app.engine.callers["kie"].read(("old", "new"), {})
    await look(app.engine, {"paid"})
    (note,) = await told(app)
    assert note.startswith("Kie.ai does not serve new; old answers in its place, so calls work.")


async def test_older_address_that_takes_a_paid_request_is_remembered(app: App, service: HTTPServer) -> None:
    service.expect_request("/new").respond_with_data("", 404)
    service.expect_request("/old").respond_with_response(enveloped({"taskId": "t"}))
    await app.engine.callers["kie"].create(("new", "old"), {})
    assert app.engine.callers["kie"].older == {"new": "old"}


async def test_other_form_that_takes_a_paid_request_is_remembered(app: App, service: HTTPServer) -> None:
    def generate_fox(prompt: str) -> Submission:
        """Make a fox."""
        return Submission("own", {"prompt": prompt}, "fox", otherwise=Submission("common", {"fox": prompt}, "fox"))

    service.expect_request("/own").respond_with_data("", 404)
    service.expect_request("/common").respond_with_response(enveloped({"taskId": "t"}))
    tool = BoundTool.bind(generate_fox, provider="luma", kind="image")
    assert (await submit(app.engine, tool, {"prompt": "a fox"}, say_nothing)).task_id == "t"
    assert app.engine.callers["kie"].older == {"own": "common"}


async def test_service_that_can_not_be_asked_is_not_noticed(app: App, service: HTTPServer) -> None:
    service.expect_request("/models").respond_with_response(enveloped(None, 500))
    await look(app.engine, {"paid"})
    assert await told(app) == []


async def test_paid_call_leads_to_a_look_in_the_background_and_any_other_to_none(
    app: App, service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.01)
    lists(service, ONE)
    service.expect_request("/modify/generate").respond_with_response(enveloped({"taskId": "t"}))
    service.expect_request("/modify/record-info").respond_with_response(enveloped({"successFlag": 0}))
    app.watch()
    for _ in range(20):
        assert await told(app) == []
    assert service.log == []
    answer = await app.call("generate_luma_video", {"prompt": "a fox", "videoUrl": "https://example.com/a.mp4"})
    assert not answer.is_error
    assert "does not list" not in answer.text
    await eventually(lambda: app.engine.life.has_notices)
    assert service.log[0][0].path == "/modify/generate"
    (note,) = await told(app)
    assert note.startswith("Kie.ai does not list a/two")
    assert await told(app) == []


@pytest.mark.parametrize(
    ("theirs", "needs", "words"),
    [
        ({"a": {"enum": ["x", "y"]}, "b": {}}, ["a"], ""),
        ({"a": {"enum": ["x", "y"]}, "b": {}, "c": {}}, ["a", "b"], "needs b, also takes c"),
        ({"a": {"enum": ["x"]}}, [], "no longer takes a y, b"),
        ({"a": {"type": "string"}, "b": {}}, ["r"], ""),
    ],
)
def test_schema_of_the_service_is_compared_in_words(theirs: dict[str, Any], needs: list[str], words: str) -> None:
    ours = {"properties": {"a": {"enum": ["x", "y"]}, "b": {}}, "required": ["a"]}
    model = Model("m", "M", "image", "text-to-image", ours, rules=(Rule("needs", ("r",), when={"a": "x"}),))
    assert words_of_schema(model, {"properties": theirs, "required": needs}) == words
