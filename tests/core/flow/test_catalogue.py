"""Live catalogue: read seldom, by one process for all, kept for as long as it says, and never needed."""

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp import LiveModel
from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow import catalogue
from kie_ai_mcp._flow.catalogue import Kept, Sort, live
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._models.catalogue import Catalogue
from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._settings.settings import Settings

if TYPE_CHECKING:
    from tests.core.conftest import Publish

pytestmark = pytest.mark.anyio

PER_S = 20
PLUGIN = f"""
    from kie_ai_mcp import LiveCatalogue, LiveModel, LiveRead, hookimpl

    def models(answer):
        return tuple(LiveModel(entry["model"], price=entry["price"]) for entry in answer.data)

    def same(answer):
        return answer.data

    def read(sort):
        return LiveRead(lambda model: f"models/{{model}}/{{sort}}", same)

    @hookimpl
    def kie_register_models(settings):
        reads = LiveRead(lambda model: "models", models), read("schema"), read("price"), read("health")
        return [LiveCatalogue("kie", *reads, per_s={PER_S})]
"""
CHILD = """
import anyio, sys
from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.catalogue import live
from kie_ai_mcp._settings.settings import Settings

async def main():
    app = App.open(Settings.model_validate_json(sys.argv[1]))
    async with app.engine.running():
        print("ready", flush=True)
        sys.stdin.readline()
        for model in sys.argv[2:]:
            kept = await live(app.engine, "kie", "price", model)
            print(kept.value, kept.error, flush=True)

anyio.run(main)
"""

OpenEngine = Callable[..., Any]


@pytest.fixture
def values(service: HTTPServer, tmp_path: Path, key: str, publish: "Publish") -> dict[str, Any]:
    """Settings of a server whose only provider reads the live catalogue of the test's service."""
    publish("acme", PLUGIN)
    base_url = service.url_for("").rstrip("/")
    return {"api_key": key, "base_url": base_url, "db_path": str(tmp_path / "tasks.db"), "enabled_providers": ["acme"]}


@pytest.fixture
async def open_engine(values: dict[str, Any]) -> AsyncIterator[OpenEngine]:
    """Runs engines on one database, each like a process of its own."""
    async with AsyncExitStack() as stack:

        async def start(**changes: Any) -> Engine:
            engine = App.open(Settings.model_validate({**values, **changes})).engine
            return await stack.enter_async_context(engine.running())

        yield start


@pytest.fixture
def children(values: dict[str, Any], site: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts processes that read the prices of models once they are told to."""
    started: list[subprocess.Popen[str]] = []

    def start(*models: str) -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(values), *models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def enveloped(data: Any, code: int = 200, message: str = "success") -> Response:
    return Response(json.dumps({"code": code, "msg": message, "data": data}), content_type="application/json")


def age(path: Path, seconds: float) -> None:
    """Let all that is kept be older."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE kept SET read_at = read_at - ?, until = until - ?", (seconds, seconds))


async def test_list_is_read_once_and_kept_for_every_process(open_engine: OpenEngine, service: HTTPServer) -> None:
    service.expect_ordered_request("/models").respond_with_response(enveloped([{"model": "a/b", "price": "2 credits"}]))
    first, second = await open_engine(), await open_engine()
    for engine in (first, first, second):
        kept = await live(engine, "kie", "list", "")
        assert kept.value == (LiveModel("a/b", price="2 credits"),)
        assert (kept.stale, kept.error) == (False, "")
        assert kept.read_at is not None
        assert abs(kept.read_at.timestamp() - time.time()) < 60
    assert len(service.log) == 1


@pytest.mark.parametrize(("sort", "seconds", "reads"), [("health", 601, 2), ("health", 500, 1), ("price", 601, 1)])
async def test_success_rate_is_kept_for_ten_minutes_and_all_else_for_a_day(
    open_engine: OpenEngine, service: HTTPServer, tmp_path: Path, sort: Sort, seconds: float, reads: int
) -> None:
    service.expect_request(f"/models/a/{sort}").respond_with_response(enveloped(0.5 if sort == "health" else "2"))
    engine = await open_engine()
    await live(engine, "kie", sort, "a")
    age(tmp_path / "tasks.db", seconds)
    assert (await live(engine, "kie", sort, "a")).value in (0.5, "2")
    assert len(service.log) == reads


async def test_calls_of_four_processes_are_spaced(
    children: Callable[..., "subprocess.Popen[str]"], service: HTTPServer
) -> None:
    arrivals: list[float] = []

    def answer(_: Request) -> Response:
        arrivals.append(time.monotonic())
        return enveloped("2 credits")

    service.expect_request("/models").respond_with_response(enveloped([]))
    for number in range(4):
        for each in range(3):
            service.expect_request(f"/models/{number}.{each}/price").respond_with_handler(answer)
    processes = [children(*(f"{number}.{each}" for each in range(3))) for number in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate()[0].splitlines() == ["2 credits "] * 3
    assert len(arrivals) == 12
    assert min(later - first for first, later in itertools.pairwise(arrivals)) >= 1 / PER_S


async def test_processes_that_want_the_same_schema_make_one_call(open_engine: OpenEngine, service: HTTPServer) -> None:
    schema = {"type": "object", "properties": {"prompt": {"type": "string"}}}
    service.expect_request("/models/a/b/schema").respond_with_response(enveloped(schema))
    answers: list[Kept] = []

    async def ask(engine: Engine) -> None:
        answers.append(await live(engine, "kie", "schema", "a/b"))

    engines = [await open_engine() for _ in range(3)]
    async with anyio.create_task_group() as group:
        for engine in [*engines, *engines]:
            group.start_soon(ask, engine)
    assert {json.dumps(answer.value) for answer in answers} == {json.dumps({**schema, "additionalProperties": False})}
    assert len(answers) == 6
    assert len(service.log) == 1


async def test_providers_are_asked_once_for_models_that_two_calls_want_at_once(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked, values = await open_engine(), list[str](), Catalogue._values

    def counted(self: Catalogue, plugin: Plugin) -> Any:
        asked.append(plugin.name)
        return values(self, plugin)

    monkeypatch.setattr(Catalogue, "_values", counted)
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(engine.catalogue.load)
    assert asked
    assert len(asked) == len(set(asked))


async def test_process_that_dies_while_it_reads_holds_nobody_up(
    open_engine: OpenEngine, children: Callable[..., "subprocess.Popen[str]"], service: HTTPServer
) -> None:
    process = children("a")

    def answer(_: Request) -> Response:
        if process.poll() is None:
            process.kill()
            process.wait()
        return enveloped("2 credits")

    service.expect_request("/models/a/price").respond_with_handler(answer)
    process.communicate("\n")
    begun = time.monotonic()
    assert (await live(await open_engine(), "kie", "price", "a")).value == "2 credits"
    assert time.monotonic() - begun < catalogue.LEASE_S / 2
    assert len(service.log) == 2


async def test_without_network_a_copy_is_used_with_its_age_and_the_reason(
    open_engine: OpenEngine, values: dict[str, Any], tmp_path: Path
) -> None:
    with HTTPServer(port=0) as server:
        server.expect_request("/models/a/price").respond_with_response(enveloped("2 credits"))
        engine = await open_engine(base_url=server.url_for("").rstrip("/"))
        assert (await live(engine, "kie", "price", "a")).value == "2 credits"
    age(tmp_path / "tasks.db", 27 * 3600)
    kept = await live(engine, "kie", "price", "a")
    assert (kept.value, kept.stale) == ("2 credits", True)
    assert kept.error.startswith("Kie.ai's price of a could not be read. models/a/price could not be read (")
    assert kept.error.endswith("A copy that is 27.0 h old is used.")
    never = await live(engine, "kie", "price", "b")
    assert (never.value, never.read_at, never.stale) == (None, None, False)
    assert "Kie.ai's price of b could not be read." in never.error
    assert "copy" not in never.error


async def test_failed_read_is_not_repeated_by_others_for_a_while(
    open_engine: OpenEngine, service: HTTPServer, tmp_path: Path
) -> None:
    service.expect_request("/models/a/schema").respond_with_response(enveloped(None, 404, "not supported"))
    for engine in [await open_engine(), await open_engine()]:
        kept = await live(engine, "kie", "schema", "a")
        assert (kept.value, 'The service says: "not supported".' in kept.error) == (None, True)
    assert len(service.log) == 1
    age(tmp_path / "tasks.db", catalogue.FAILED_S)
    await live(engine, "kie", "schema", "a")
    assert len(service.log) == 2


async def test_too_many_requests_make_everybody_wait_longer_each_time(
    open_engine: OpenEngine, service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "BUSY_S", 0.2)
    arrivals: list[float] = []

    def answer(_: Request) -> Response:
        arrivals.append(time.monotonic())
        return enveloped(None, 429, "Your call frequency is too high.") if len(arrivals) < 3 else enveloped("2 credits")

    service.expect_request("/models/a/price").respond_with_handler(answer)
    service.expect_request("/models/b/price").respond_with_handler(answer)
    async with anyio.create_task_group() as group:
        group.start_soon(live, await open_engine(), "kie", "price", "a")
        group.start_soon(live, other := await open_engine(), "kie", "price", "b")
    assert (await live(other, "kie", "price", "a")).value == "2 credits"
    assert len(arrivals) == 4
    assert arrivals[1] - arrivals[0] >= 0.2
    assert arrivals[2] - arrivals[1] >= 0.4


async def test_service_that_stays_too_busy_is_waited_for_no_longer_than_the_limit(
    open_engine: OpenEngine, service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WAIT_S", 0.3)
    service.expect_request("/models/a/price").respond_with_response(enveloped(None, 429, "Too fast."))
    kept = await live(await open_engine(), "kie", "price", "a")
    assert (kept.value, 'The service says: "Too fast."' in kept.error) == (None, True)


@pytest.mark.parametrize(
    ("sort", "data", "reason"),
    [
        ("price", 7, "Its provider reads 7, which can't be used."),
        ("health", 70.0, "Its provider reads 70.0, which can't be used."),
        ("health", True, "Its provider reads True, which can't be used."),
        ("schema", ["a"], 'Its provider reads ["a"], which can\'t be used.'),
        ("schema", {"type": "object"}, "It can't be used: it names no fields (properties)."),
        ("schema", {"properties": {"a": {"type": "str"}}}, "It can't be used: a: its type is 'str', not"),
        ("schema", {"properties": {"a": {"pattern": "("}}}, "It can't be used: a: '(' is not a 'regex'."),
        ("schema", {"properties": {"a": {"$ref": "#/$defs/b"}}}, "It can't be used: it refers to others ($ref)."),
        ("schema", {"properties": {"a": {"maximum": 10**400}}}, "It can't be used: it is no plain JSON with numbers"),
        ("list", [{"model": "", "price": None}], "a model that can't be used: price is None"),
        ("list", 7, "The provider acme failed: TypeError"),
        ("price", "x" * 250_000, "It is larger than 200 kB, the most that is kept."),
    ],
)
async def test_value_that_can_not_be_used_is_a_failed_read(
    open_engine: OpenEngine, service: HTTPServer, sort: Sort, data: Any, reason: str
) -> None:
    path = "/models" if sort == "list" else f"/models/a/{sort}"
    service.expect_request(path).respond_with_response(enveloped(data))
    kept = await live(await open_engine(), "kie", sort, "" if sort == "list" else "a")
    assert (kept.value, kept.stale) == (None, False)
    assert reason in kept.error


async def test_schema_that_the_service_does_not_publish_is_not_asked_for_again(
    open_engine: OpenEngine, service: HTTPServer
) -> None:
    service.expect_request("/models/a/schema").respond_with_response(enveloped(None))
    engine = await open_engine()
    for _ in range(2):
        kept = await live(engine, "kie", "schema", "a")
        assert (kept.value, kept.stale, kept.error) == (None, False, "Kie.ai's schema of a is not published.")
    assert len(service.log) == 1


async def test_schema_is_read_as_closed_in_every_object(open_engine: OpenEngine, service: HTTPServer) -> None:
    item = {"type": "object", "properties": {"url": {"type": "string"}}, "additionalProperties": True}
    branches = [{"properties": {"a": {"type": "object", "properties": {}}}}, {"properties": {"b": {}}}]
    fields = {"shots": {"type": "array", "items": item}, "either": {"oneOf": branches}, "open": {"type": "object"}}
    fields |= {"any": True, "none": {"type": "array", "items": False}}
    service.expect_request("/models/a/schema").respond_with_response(enveloped({"properties": fields}))
    schema = (await live(await open_engine(), "kie", "schema", "a")).value
    assert schema["additionalProperties"] is False
    assert schema["properties"]["shots"]["items"]["additionalProperties"] is False
    either = schema["properties"]["either"]
    assert either["unevaluatedProperties"] is False
    assert "additionalProperties" not in either["oneOf"][1]
    assert either["oneOf"][0]["properties"]["a"]["additionalProperties"] is False
    assert schema["properties"]["open"] == {"type": "object"}
    assert (schema["properties"]["any"], schema["properties"]["none"]["items"]) == ({}, {"not": {}})


async def test_without_a_key_nothing_is_asked_and_the_error_says_so(
    open_engine: OpenEngine, service: HTTPServer
) -> None:
    kept = await live(await open_engine(api_key=None), "kie", "list", "")
    assert (kept.value, kept.stale) == (None, False)
    assert "No Kie.ai key is set, so nothing was sent." in kept.error
    assert "KIE_AI_API_KEY" in kept.error
    assert service.log == []


async def test_service_without_a_live_catalogue_is_named(open_engine: OpenEngine) -> None:
    kept = await live(await open_engine(), "fal", "list", "")
    assert kept == Kept(error="No enabled provider can read the live catalogue of fal.")


async def test_database_that_can_not_be_used_is_an_error_and_nothing_is_asked(
    open_engine: OpenEngine, service: HTTPServer, tmp_path: Path
) -> None:
    engine = await open_engine()
    await engine.record.tasks.find("a")
    (tmp_path / "tasks.db").unlink()
    kept = await live(engine, "kie", "list", "")
    assert (kept.value, "tasks.db" in kept.error) == (None, True)
    assert service.log == []
