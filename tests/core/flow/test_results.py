"""Results of finished tasks: each saved by itself, the broken ones named, the expired ones explained."""

import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.resources import Resources
from kie_ai_mcp._flow import watching
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._flow.results import poll, refresh, save
from kie_ai_mcp._flow.watching import catch_up, watch
from kie_ai_mcp._record.lane import Lane
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import MediaError
from tests.helpers import eventually

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
GONE = "/gone.png"


@pytest.fixture
async def engine(service: HTTPServer, tmp_path: Path, key: str) -> AsyncIterator[Engine]:
    """A running engine of one provider, with a folder for results."""
    values = {"api_key": key, "base_url": service.url_for("").rstrip("/"), "db_path": tmp_path / "tasks.db"}
    values |= {"enabled_providers": ("nano-banana", "runway"), "output_dir": tmp_path / "out", "timeout": 1000}
    app = App.open(Settings.model_validate(values))
    async with app.engine.running():
        yield app.engine


@pytest.fixture
def files(service: HTTPServer) -> list[str]:
    """The addresses of a broken result and of three whole ones."""
    service.expect_request(GONE).respond_with_data("gone", 404)
    service.expect_request("/whole.png").respond_with_data(PNG)
    return [service.url_for(GONE), *(service.url_for(f"/whole.png?n={number}") for number in (2, 3, 4))]


async def completed(engine: Engine, *urls: str, task_id: str = "t-1", days_ago: float = 0.0) -> None:
    """Put a completed task of one's own on record."""
    new = NewSubmission(
        tool="generate_nano_banana",
        provider="nano-banana",
        api_type="nano-banana",
        kind="image",
        gateway="kie",
        model="nano-banana-pro",
        arguments={"prompt": f"A fox, {task_id}"},
        body_hash=task_id,
        estimated_credits=18.0,
    )
    ticket = await engine.record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    task = Task(task_id, "nano-banana", "nano-banana", tool=new.tool, model=new.model)
    outcome = Outcome("completed", urls, finished_at=datetime.now(UTC) - timedelta(days=days_ago))
    await engine.record.end(ticket.submission_id, Ending("accepted", task=task, outcome=outcome))


def answers(service: HTTPServer, urls: list[str]) -> None:
    """Let the service report the results."""
    data = {"state": "success", "resultJson": {"resultUrls": urls}}
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": data})


async def test_result_that_is_data_completes_a_task_and_is_saved(engine: Engine, service: HTTPServer) -> None:
    await completed(engine, task_id="t-9")
    lyrics = {"lyricsData": [{"title": "Rain", "text": "[Verse]\nDrops"}]}
    data = {"state": "success", "resultJson": json.dumps({"resultObject": lyrics}), "creditsConsumed": 0.4}
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": data})

    report = await refresh(engine, "t-9")

    assert (report.status, report.data, report.credits) == ("completed", "Rain\n\n[Verse]\nDrops", 0.4)
    assert report.next_step == "The results are saved; show them to the user."
    (file,) = report.files
    assert (Path(file).suffix, written_in(file)) == (".txt", "Rain\n\n[Verse]\nDrops\n")
    assert "Text: Rain\nText: \nText: [Verse]\nText: Drops\n" in report.text()
    reads = len(service.log)
    assert (await refresh(engine, "t-9")).files == report.files
    assert len(service.log) == reads
    remove(file)
    assert saved(await save(engine, "t-9")) == [True]


async def test_large_data_is_shown_in_part_and_kept_whole(engine: Engine) -> None:
    notes = [{"pitch": pitch} for pitch in range(10_000)]
    await completed(engine, task_id="t-9")
    await engine.record.tasks.record_outcome("t-9", Outcome("completed", data={"notes": notes}))

    report = await save(engine, "t-9")

    assert len(json.dumps(report.structured())) < 14_000
    assert report.data["notes"] == notes[: len(report.data["notes"])]
    assert "Note: Only a part of result 1 is shown; kie://files/t-9/1 holds all of it." in report.text()
    assert json.loads(written_in(report.files[0])) == {"notes": notes}
    content = await Resources(engine).read("kie://files/t-9/1")
    assert (content.mime_type, json.loads(content.text or "")) == ("application/json", {"notes": notes})


async def test_status_that_says_nothing_new_writes_nothing(engine: Engine, service: HTTPServer) -> None:
    await engine.record.tasks.adopt(Task("t-1", "nano-banana", "nano-banana", path="jobs/createTask"))
    data: dict[str, object] = {"state": "generating", "progress": 40}
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": data})
    assert (await refresh(engine, "t-1")).status == "processing"
    before = await engine.record.tasks.stamp()

    for _ in range(3):
        assert (await refresh(engine, "t-1")).status == "processing"
    assert await engine.record.tasks.stamp() == before

    data["progress"] = 60
    service.clear()
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": data})
    assert (await refresh(engine, "t-1")).progress == 0.6
    assert await engine.record.tasks.stamp() != before


@pytest.mark.parametrize("is_poll", [False, True])
async def test_news_that_a_person_reads_are_written_before_polls(
    is_poll: bool, engine: Engine, service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.record.tasks.adopt(Task("t-1", "nano-banana", "nano-banana", path="jobs/createTask"))
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": {"state": "generating"}})
    turns, run = list[bool](), Lane.run

    async def spy(lane: Lane, begin: Any, *, is_poll: bool = False) -> Any:
        turns.append(is_poll)
        return await run(lane, begin, is_poll=is_poll)

    monkeypatch.setattr(Lane, "run", spy)
    await (poll(engine, "t-1", 0.0) if is_poll else refresh(engine, "t-1"))
    assert len(turns) >= 2
    assert set(turns) == {is_poll}


async def test_background_waits_behind_the_calls_of_people(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.0)
    lane = engine.record.database.lane
    async with anyio.create_task_group() as group:
        async with lane.turn():
            group.start_soon(watch, engine)
            group.start_soon(catch_up, engine)
            await eventually(lambda: len(lane._polls) == 2)
            assert not lane._calls
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "data",
    [
        {"state": "success", "resultJson": {"resultUrls": ["https://files.invalid/1.png"]}, "creditsConsumed": 4},
        {"state": "fail", "failMsg": "no", "failCode": 422, "creditsConsumed": 0},
    ],
)
async def test_ending_that_is_read_again_writes_nothing(
    data: dict[str, object], engine: Engine, service: HTTPServer
) -> None:
    engine.settings = engine.settings.model_copy(update={"output_dir": None})
    await engine.record.tasks.adopt(Task("t-1", "nano-banana", "nano-banana", path="jobs/createTask"))
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": data})
    first = await refresh(engine, "t-1")
    before = await engine.record.tasks.stamp()

    assert first.is_final
    assert await refresh(engine, "t-1") == first
    assert await engine.record.tasks.stamp() == before


def saved(report: Report) -> list[bool]:
    return [bool(file) and Path(file).is_file() for file in report.files]


def written_in(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def remove(file: str) -> None:
    Path(file).unlink()


async def test_broken_result_is_named_and_the_others_are_saved_and_recorded(
    engine: Engine, service: HTTPServer, files: list[str]
) -> None:
    answers(service, files)
    await completed(engine, *files)

    report = await refresh(engine, "t-1")

    assert saved(report) == [False, True, True, True]
    assert len(report.structured()["files"]) == 3
    (note,) = report.notes
    assert note.startswith(f"Result 1 of 4: '{files[0]}' answered HTTP 404")
    assert "save_result" in report.next_step
    record = await engine.record.tasks.find("t-1")
    assert record is not None
    assert (record.files, record.unsaved) == (tuple(report.files), (1,))


@pytest.mark.parametrize("shape", ["list", "text"])
async def test_status_that_is_a_list_or_text_of_one_record_is_read(
    shape: str, engine: Engine, service: HTTPServer, files: list[str]
) -> None:
    record = {"state": "success", "resultJson": {"resultUrls": files[1:]}}
    data = [record] if shape == "list" else json.dumps(record)
    service.expect_request("/jobs/recordInfo").respond_with_json({"code": 200, "data": data})
    await completed(engine)

    assert saved(await refresh(engine, "t-1")) == [True] * 3


async def test_broken_result_is_saved_once_its_link_works(
    engine: Engine, service: HTTPServer, files: list[str]
) -> None:
    answers(service, files)
    await completed(engine, *files)
    await refresh(engine, "t-1")
    service.clear_all_handlers()
    service.expect_request(GONE).respond_with_data(PNG)

    report = await save(engine, "t-1")

    assert saved(report) == [True] * 4
    assert report.notes == ()


async def test_rescue_goes_on_after_a_broken_result_and_tries_expired_ones_last(
    engine: Engine, files: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    await completed(engine, files[0], files[1], task_id="half", days_ago=0.5)
    await completed(engine, files[2], task_id="expired", days_ago=3)
    await completed(engine, files[2], task_id="long-gone", days_ago=40)
    await completed(engine, files[3], task_id="fresh")

    with caplog.at_level(logging.WARNING):
        await catch_up(engine)

    records = {
        task_id: await engine.record.tasks.find(task_id) for task_id in ("half", "expired", "long-gone", "fresh")
    }
    assert [record and record.unsaved for record in records.values()] == [(1,), (), (1,), ()]
    assert "task half is not saved whole: Result 1 of 2" in caplog.text
    assert [record.task_id for record in await engine.record.tasks.unsaved()] == ["long-gone", "half"]


async def test_rescue_of_many_results_goes_on_in_the_background(
    engine: Engine, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SAVES_AT_ONCE", "SAVES_LOOKED_AT"):
        monkeypatch.setattr(watching, name, 2)
    for name in ("LOOK_S", "SAVES_S"):
        monkeypatch.setattr(watching, name, 0.01)
    names = [f"{number}" for number in range(7)]
    for name in names:
        await completed(engine, files[1], task_id=name, days_ago=0.5)

    await catch_up(engine)
    assert len(await engine.record.tasks.unsaved()) == len(names) - 2
    async with anyio.create_task_group() as group:
        group.start_soon(watch, engine)
        with anyio.fail_after(10):
            while await engine.record.tasks.unsaved():  # noqa: ASYNC110  the database sets no event
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def test_expired_result_says_what_it_was_and_what_making_it_again_costs(
    engine: Engine, service: HTTPServer, files: list[str]
) -> None:
    answers(service, files[:1])
    await completed(engine, files[0], days_ago=2)

    report = await refresh(engine, "t-1")

    assert "Links expired: " in report.text()
    assert "the result is gone." in report.next_step
    assert "generate_nano_banana with the model nano-banana-pro from the prompt 'A fox, t-1'" in report.next_step
    assert "make it again (about 18 credits ($0.09))" in report.next_step
    assert "get_task_status" not in report.text()
    with pytest.raises(MediaError, match="the result is gone"):
        await save(engine, "t-1")


async def test_expired_clip_of_runway_is_read_and_said_to_be_gone(engine: Engine, service: HTTPServer) -> None:
    clip = service.url_for(GONE)
    service.expect_request(GONE).respond_with_data("gone", 404)
    data = {"taskId": "r-1", "state": "success", "videoInfo": {"videoUrl": clip}, "expireFlag": 1}
    service.expect_request("/runway/record-detail").respond_with_json({"code": 200, "data": data})
    await engine.record.tasks.adopt(Task("r-1", "runway", "runway", kind="video"))

    report = await refresh(engine, "r-1")

    assert (report.status, report.read_error) == ("completed", None)
    assert "the result is gone. It was made elsewhere" in report.next_step
    assert "its price is unknown" in report.next_step


async def test_file_that_was_moved_away_is_saved_again_on_request(engine: Engine, files: list[str]) -> None:
    await completed(engine, files[1], files[2])
    first = await save(engine, "t-1")
    remove(first.files[0])

    assert saved(await save(engine, "t-1")) == [True, True]
