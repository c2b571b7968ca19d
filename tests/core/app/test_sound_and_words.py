"""Results that are no pictures in answers: sounds, words and data are linked, read by address and described."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.resources import DATA_LISTED
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._settings.settings import Settings

pytestmark = pytest.mark.anyio

SOUNDS = {"mp3": b"ID3" + bytes(200), "wav": b"RIFF\xc0\0\0\0WAVE" + bytes(188), "flac": b"fLaC" + bytes(100)}
SOUNDS |= {"ogg": b"OggS" + bytes(100), "m4a": b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42\0\0\0\x10mdat" + bytes(8)}
MIME_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "m4a": "audio/mp4"}
LYRICS = "[Verse]\nDrops on tin"

NOTES = [
    {"pitch": 60 + n, "start": 1764500000000.123 + n, "end": None, "velocity": 0.7874015748031497} for n in range(9)
]


def nested(times: int) -> Any:
    """Return a JSON value that lies in so many lists."""
    return [nested(times - 1)] if times else "core"


@pytest.fixture(params=["saved", "not saved"])
async def app(request: pytest.FixtureRequest, service: HTTPServer, tmp_path: Path, key: str) -> AsyncIterator[App]:
    """A running app with a task of five tracks, one of words and one of data, with and without a folder."""
    values = {"api_key": key, "base_url": service.url_for("").rstrip("/"), "db_path": tmp_path / "tasks.db"}
    values |= {"enabled_providers": ("nano-banana",), "watch": False}
    values |= {"output_dir": tmp_path / "out"} if request.param == "saved" else {}
    app = App.open(Settings.model_validate(values))
    for extension, content in SOUNDS.items():
        service.expect_request(f"/{extension}.{extension}").respond_with_data(content)
    tracks = tuple(service.url_for(f"/{extension}.{extension}") for extension in SOUNDS)
    ends = {
        "song": Outcome("completed", tracks, labels=("Rain", *[""] * 4), data=[{"id": "a-1"}]),
        "words": Outcome("completed", data=LYRICS),
        "notes": Outcome("completed", data={"notes": [*range(5000)]}),
        "midi": Outcome("completed", data={"instruments": [{"name": "Piano", "is_drum": False, "notes": NOTES}]}),
        "deep": Outcome("completed", data=nested(300)),
    }
    async with app.engine.running():
        for task_id, outcome in ends.items():
            await app.engine.record.tasks.adopt(Task(task_id, "x", "kie", kind="audio", tool="generate_x"))
            await app.engine.record.tasks.record_outcome(task_id, outcome)
            if request.param == "saved":
                answer = await app.call("save_result", {"task_id": task_id})
                assert not answer.is_error, answer
        yield app


def linked(answer: Answer) -> list[tuple[str, str | None, str]]:
    return [(link.uri, link.mime_type, Path(link.name).suffix) for link in answer.links]


async def test_tracks_are_linked_and_read_as_what_they_are_and_told_where_they_play(app: App, tmp_path: Path) -> None:
    answer = await app.call("show_result", {"task_id": "song"})

    assert linked(answer) == [
        *((f"kie://files/song/{number}", MIME_TYPES[name], f".{name}") for number, name in enumerate(SOUNDS, 1)),
        ("kie://files/song/6", "application/json", ".json"),
    ]
    contents = [await app.resources.read(f"kie://files/song/{number}") for number in range(1, 6)]
    assert [(content.mime_type, content.blob) for content in contents] == [
        (MIME_TYPES[name], SOUNDS[name]) for name in SOUNDS
    ]
    (line,) = [line for line in answer.text.splitlines() if line.startswith("Result 1: a sound (mp3)")]
    assert line.endswith(".mp3")
    assert (str(tmp_path / "out") in line) == (app.settings.output_dir is not None)
    assert "Note: Result 1: Rain." in answer.text


@pytest.mark.parametrize(("task_id", "shown"), [("words", "text, shown above."), ("notes", "data, shown above.")])
async def test_words_and_data_are_shown_and_read_whole(app: App, task_id: str, shown: str) -> None:
    answer = await app.call("show_result", {"task_id": task_id})

    assert not answer.is_error
    assert f"Result 1: {shown}" in answer.text
    content = await app.resources.read(f"kie://files/{task_id}/1")
    expected = ("text/plain", f"{LYRICS}\n") if task_id == "words" else ("application/json", None)
    assert (content.mime_type, content.text) == (expected[0], expected[1] or content.text)
    assert linked(answer) == [(f"kie://files/{task_id}/1", expected[0], ".txt" if task_id == "words" else ".json")]
    if task_id == "notes":
        assert json.loads(content.text or "") == {"notes": [*range(5000)]}


async def test_list_shows_the_begin_of_data_and_the_tasks_after_it(app: App) -> None:
    answer = await app.call("list_tasks", {})

    assert answer.data is not None
    data = {task["task_id"]: task["data"] for task in answer.data["tasks"]}
    assert (data["words"], data["song"]) == (LYRICS, [{"id": "a-1"}])
    assert len(json.dumps(data["notes"])) <= DATA_LISTED
    assert "Text: [Verse]\nText: Drops on tin" in answer.text


async def test_data_of_any_shape_hide_no_task_of_a_list(app: App) -> None:
    answer = await app.call("list_tasks", {})

    assert answer.data is not None
    assert {task["task_id"] for task in answer.data["tasks"]} == {"song", "words", "notes", "midi", "deep"}
    read = json.loads((await app.resources.read("kie://tasks")).text or "")
    shown = {task["task_id"]: task["data"] for task in read["tasks"]}
    assert shown["midi"]["instruments"][0]["name"] == "Piano"
    assert all(len(json.dumps(value)) <= DATA_LISTED for value in shown.values())
    for task_id in ("midi", "deep"):
        assert not (await app.call("show_result", {"task_id": task_id})).is_error
        whole = json.loads((await app.resources.read(f"kie://files/{task_id}/1")).text or "")
        assert whole == (
            nested(300)
            if task_id == "deep"
            else {**whole, "instruments": [{**whole["instruments"][0], "notes": NOTES}]}
        )


async def test_file_that_may_not_be_looked_at_hides_no_other_task(app: App) -> None:
    path = f"/{'a' * 5000}.png"  # the system refuses to look at such a path
    await app.engine.record.tasks.record_files("words", [path])

    answer = await app.call("list_tasks", {})
    assert answer.data is not None
    assert {task["task_id"] for task in answer.data["tasks"]} == {"song", "words", "notes", "midi", "deep"}
    assert '"words"' in ((await app.resources.read("kie://tasks")).text or "")
