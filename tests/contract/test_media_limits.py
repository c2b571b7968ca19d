"""Limits of input files: checked against the service's own before a file is sent."""

from pathlib import Path

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._settings.settings import Settings

CAPS_MB = {
    "cover_music": {"audio_url": None},
    "edit_nano_banana": {"image_urls": 30},
    "edit_ideogram_image": {"image_url": 10, "mask_url": 10, "character_url": 10},
    "generate_ideogram_image": {"image_urls": 10},
    # The largest of the models, each of which has its own.
    "generate_kling_video": {"imageUrls": 50},
    "generate_kling_avatar_video": {"imageUrl": 10, "audioUrl": 100},
    "generate_kling_motion_video": {"imageUrl": 10, "videoUrl": 100},
    "generate_kling_omni_video": {"imageUrls": 50, "videoUrl": 200},
    "generate_music": {"image_urls": 10, "video_url": 100},
    "generate_nano_banana": {"image_urls": 30},
    "generate_talking_video": {"image_url": 10, "audio_url": 10},
    "generate_veo3_video": {"imageUrls": None},
    "isolate_voice": {"audio_url": 10},
    "lip_sync_video": {"video_url": 500, "audio_url": 10},
    "separate_music": {"audio_url": 20},
    "remix_ideogram_image": {"image_url": 10, "character_url": 10},
}


@pytest.mark.parametrize("name", CAPS_MB)
def test_input_has_the_cap_of_its_service(name: str, tmp_path: Path) -> None:
    app = App.open(Settings.model_validate({"db_path": tmp_path / "tasks.db"}))
    app.engine.record.close()
    media = app.engine.plugins.tools[name].arguments.media
    assert {argument: marker.most_mb for argument, marker in media.items()} == CAPS_MB[name]
