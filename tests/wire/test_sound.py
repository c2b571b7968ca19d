"""Everyday requests for sound over stdio: a song and its stems, words, a text read aloud, a photo that talks."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import PICTURE, data, text

if TYPE_CHECKING:
    from tests.conftest import Serve

pytestmark = pytest.mark.anyio


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=10_000) as sandbox:
        yield sandbox


@pytest.fixture
async def client(serve: "Serve", sandbox: Sandbox) -> AsyncIterator[Client]:
    async with serve(sandbox, KIE_AI_WAIT_S="20") as client:
        yield client


async def made(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make something and wait for it, as the setting says; return the finished task."""
    task = data(await client.call_tool(tool, arguments))
    assert (task["status"], task["charged"]) == ("completed", "yes"), task
    return task


def suffixes(task: dict[str, Any]) -> list[str]:
    return [Path(file).suffix for file in task["files"]]


async def test_song_has_every_track_with_its_title_and_its_stems_have_names(client: Client) -> None:
    song = await made(client, "generate_music", prompt="a song about rain")

    assert suffixes(song) == [".mp3", ".mp3", ".json"]
    assert [track["title"] for track in song["data"]] == ["Sandbox song", "Sandbox song (2)"]
    assert song["notes"][:2] == ["Result 1: Sandbox song.", "Result 2: Sandbox song (2)."]
    first = f"kie://files/{song['task_id']}/1"
    (content,) = (await client.read_resource(first)).contents
    assert content.mime_type == "audio/mpeg"
    without_voice = await made(client, "separate_music", audio_url=first)
    assert without_voice["notes"][:2] == ["Result 1: vocals.", "Result 2: instrumental."]
    assert "vocals" in without_voice["files"][0]
    longer = await made(client, "extend_music", audio_url=f"kie://files/{song['task_id']}/2")
    assert suffixes(longer) == [".mp3", ".mp3", ".json"]


async def test_lyrics_are_words_in_the_answer_and_in_a_file(client: Client) -> None:
    lyrics = await made(client, "generate_lyrics", prompt="rain on tin")

    assert "[Verse]" in lyrics["data"]
    assert lyrics["result_urls"] == []
    shown = text(await client.call_tool("show_result", {"task_id": lyrics["task_id"]}))
    assert "Text: [Verse]" in shown
    assert suffixes(lyrics) == [".txt"]


async def test_photo_says_a_text_by_the_model_that_was_priced(client: Client, sandbox: Sandbox) -> None:
    speech = await made(client, "generate_speech", text="Good morning.", voice="Kore")
    said = {"image_url": PICTURE, "audio_url": f"kie://files/{speech['task_id']}/1"}

    quoted = data(await client.call_tool("estimate_cost", {"name": "generate_talking_video", "arguments": said}))
    before = sandbox.credits
    talk = await made(client, "generate_talking_video", **said)

    assert suffixes(speech) == [".wav"]
    assert (quoted["model"], talk["model"]) == ("omnihuman-1-5", "omnihuman-1-5")
    assert talk["credits"] == before - sandbox.credits
    assert any("WAV is taken by generate_kling_avatar_video for 8 credits/s" in note for note in talk["notes"])
    assert suffixes(talk) == [".mp4"]
