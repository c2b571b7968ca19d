"""Refusals by the measured seconds of a file, in the tool's own words and with a call that works."""

import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

pytestmark = pytest.mark.anyio

MODEL = "ai-music-api/upload-and-extend-audio"


@pytest.fixture
async def app(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[App]:
    """A running application of Suno that may send files of this folder."""
    values = {"api_key": "key-of-the-tests", "base_url": sandbox.base_url, "db_path": tmp_path / "tasks.db"}
    enabled = {"enabled_providers": ("suno",), "upload_url": sandbox.upload_url, "upload_roots": (tmp_path,)}
    opened = App.open(Settings.model_validate({**values, **enabled}))
    async with opened.engine.running():
        yield opened


@pytest.fixture
def song(tmp_path: Path) -> str:
    """A song of two seconds."""
    with wave.open(str(tmp_path / "song.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 16_000)
    return str(tmp_path / "song.wav")


async def test_moment_after_the_end_is_refused_with_the_length_and_a_call_that_works(
    app: App, song: str, sandbox: Sandbox
) -> None:
    asked: dict[str, Any] = {"audio_url": song, "continue_at": 60, "style": "folk"}
    said = "continue_at: 60 is not accepted: audio_url lasts 2 s, so continue_at must be less than 2; "
    said += "use 1.9, or leave out continue_at."

    refused = await app.call("extend_music", asked)
    estimate = await app.call("estimate_cost", {"name": "extend_music", "arguments": asked})

    assert refused.data is not None
    assert estimate.data is not None
    assert (refused.data["error"], estimate.data["errors"]) == (said, [said])
    assert sandbox.ledger == []
    instead = refused.data["instead"]
    assert (instead["tool"], instead["arguments"]) == ("extend_music", asked | {"continue_at": 1.9})
    assert estimate.data["instead"] == instead
    taken = await app.call(instead["tool"], instead["arguments"])
    assert not taken.is_error, taken


async def test_input_of_a_model_is_refused_in_the_model_s_own_words(app: App, song: str) -> None:
    sent = {"upload_url": song, "model": "V6", "continue_at": 60}
    refused = await app.call("run_model", {"model": MODEL, "input": sent})
    assert refused.data is not None
    assert refused.data["error"].startswith("continue_at: 60 is not accepted: upload_url lasts 2 s, so")
