"""Types of files that decide a price: said of tools, models, estimates and answers before the dear one is paid for."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

pytestmark = pytest.mark.anyio

FACE, SOUND = "https://media.example.com/face.png", "https://media.example.com/voice.{}"
OTHERS, RIVAL = "MP3, AAC, M4A or OGG (infinitalk/from-audio)", "; WAV is taken by generate_kling_avatar_video for 8"
DECIDES = f"27 credits/s of WAV (omnihuman-1-5), 3 credits/s of {OTHERS}{RIVAL} credits/s"
MAKES = f"It makes WAV, which decides the price of generate_talking_video: {DECIDES}."
LITE = "google/gemini-3-8-flash-lite-tts"


@pytest.fixture
async def app(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[App]:
    """A running application of the providers that make sounds and make them seen."""
    values = {"api_key": "key-of-the-tests", "base_url": sandbox.base_url, "db_path": tmp_path / "tasks.db"}
    enabled = {"enabled_providers": ("speech", "talking", "kling", "market"), "upload_roots": (tmp_path,)}
    opened = App.open(Settings.model_validate({**values, **enabled}))
    async with opened.engine.running():
        yield opened


async def notes_of(app: App, tool: str, **arguments: Any) -> list[str]:
    answer = await app.call("estimate_cost", {"name": tool, "arguments": arguments})
    data = answer.data or {}
    assert data["valid"], answer
    return [note for note in data.get("notes", ()) if "decides" in note]


async def test_tool_says_before_a_call_which_files_cost_more_and_what_takes_them_for_less(app: App) -> None:
    described = await app.call("describe_model", {"model": "generate_talking_video"})
    assert f"the type of audio_url decides: {DECIDES}" in described.text
    found = (await app.call("find_models", {"words": "talking photo"})).text
    first, second, *_ = found.splitlines()
    assert re.fullmatch(r"generate_talking_video: .*\(usually 3 credits/s, 27 credits/s of WAV\)", first)
    assert re.fullmatch(r"generate_kling_avatar_video: .*\(usually 8 credits/s\)", second)


@pytest.mark.parametrize(
    ("end", "arguments", "notes"),
    [
        ("wav", {}, [f"The type of audio_url decides the price: {DECIDES}."]),
        ("wav", {"resolution": "720p"}, ["12 credits/s of MP3"]),
        ("wav", {"resolution": "1080p"}, []),
        ("wav", {"model": "omnihuman"}, []),
        ("mp3", {}, []),
    ],
)
async def test_estimate_names_a_cheaper_file_where_this_call_could_have_it(
    app: App, end: str, arguments: dict[str, Any], notes: list[str]
) -> None:
    told = await notes_of(app, "generate_talking_video", image_url=FACE, audio_url=SOUND.format(end), **arguments)
    assert len(told) == len(notes)
    assert all(words in note for words, note in zip(notes, told, strict=True))


@pytest.mark.parametrize("limits", [{"max_credits": 50}, {"max_credits_per_request": 50}, {"max_credits_per_day": 50}])
async def test_refusal_over_a_limit_names_the_model_and_why_it_is_dear(
    tmp_path: Path, sandbox: Sandbox, limits: dict[str, Any]
) -> None:
    (tmp_path / "voice.wav").write_bytes(b"RIFF\xc0\0\0\0WAVE" + bytes(188))
    values = {"api_key": "key-of-the-tests", "base_url": sandbox.base_url, "db_path": tmp_path / "tasks.db"}
    more = {} if "max_credits" in limits else limits
    enabled = {"enabled_providers": ("speech", "talking", "kling"), "upload_roots": (tmp_path,)}
    opened = App.open(Settings.model_validate({**values, **enabled, **more}))
    async with opened.engine.running():
        for sound in (SOUND.format("wav"), str(tmp_path / "voice.wav")):
            call = {"image_url": FACE, "audio_url": sound, **(limits if not more else {})}
            refused = (await opened.call("generate_talking_video", call)).text
            chosen = "omnihuman was chosen: the cheapest model that takes the whole call."
            said = f"Model: omnihuman-1-5. {chosen} The type of audio_url decides the price: {DECIDES}."
            assert re.search(r"costs at most 1620\b.* is 50\. Nothing was sent\. ", refused), refused
            assert said in refused, refused
        spoken = {"text": "Good morning.", "max_credits": 0}
        cheap = (await opened.call("generate_speech", spoken)).text
        assert "Model: google/gemini" in cheap
        assert "It makes WAV" not in cheap, "it says nothing of this price"
        estimate = {"name": "generate_talking_video", "arguments": call}
        assert "costs at most 1620" in (await opened.call("estimate_cost", estimate)).text.partition("refused:")[2]


async def test_type_of_a_local_file_counts_and_not_its_name(app: App, tmp_path: Path) -> None:
    (tmp_path / "voice.mp3").write_bytes(b"RIFF\xc0\0\0\0WAVE" + bytes(188))
    call = {"image_url": FACE, "audio_url": str(tmp_path / "voice.mp3")}
    assert len(await notes_of(app, "generate_talking_video", **call)) == 1


async def test_what_is_spoken_is_bought_with_the_price_of_its_next_step_in_view(app: App) -> None:
    spoken = {"text": "Good morning."}
    assert await notes_of(app, "generate_speech", **spoken) == [MAKES]
    assert await notes_of(app, "generate_speech", **spoken, model="elevenlabs") == []
    for name in ("generate_speech", LITE):
        assert MAKES in (await app.call("describe_model", {"model": name})).text
    bought = await app.call("generate_speech", spoken)
    assert MAKES in (bought.data or {})["notes"]
    again = await app.call("get_task_status", {"task_id": (bought.data or {})["task_id"]})
    assert MAKES in again.text
