"""Limits of input files: checked against the service's own before a file is sent."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import Media, Model
from kie_ai_mcp._app.app import App
from kie_ai_mcp._media.files import DOCUMENTS, FORMATS
from kie_ai_mcp._media.measuring import MB, SLACK, Measures, faults_of
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_market import kie_register_models

ELEMENTS = {"elements[].element_input_urls[]": None, "elements[].element_input_audio_urls[]": None}
CAPS_MB = {
    "cover_music": {"audio_url": None},
    "edit_nano_banana": {"image_urls": 30},
    "edit_gpt_image": {"image_urls": None},
    "edit_ideogram_image": {"image_url": 10, "mask_url": 10, "character_url": 10},
    "edit_seedream_image": {"image_urls": 30},
    "generate_ideogram_image": {"image_urls": 10},
    # The largest of the models, each of which has its own.
    "generate_kling_video": {"imageUrls": 50, **ELEMENTS},
    "generate_kling_avatar_video": {"imageUrl": 10, "audioUrl": 100},
    "generate_kling_motion_video": {"imageUrl": 10, "videoUrl": 100},
    "generate_kling_omni_video": {"imageUrls": 50, "videoUrl": 200, **ELEMENTS},
    "generate_music": {"image_urls": 10, "video_url": 100},
    "generate_nano_banana": {"image_urls": 30},
    "generate_talking_video": {"image_url": 10, "audio_url": 10},
    "generate_seedance_video": {
        "first_frame_url": 30,
        "last_frame_url": 30,
        "reference_image_urls": 30,
        "reference_video_urls": 200,
        "reference_audio_urls": 15,
    },
    "generate_wan_image": {"image_urls": None},
    "generate_wan_video": {
        "first_frame_url": 20,
        "last_frame_url": 20,
        "reference_image_urls": 20,
        "reference_video_urls": 100,
        "audio_url": 15,
    },
    "generate_veo3_video": {"imageUrls": None},
    "isolate_voice": {"audio_url": 10},
    "lip_sync_video": {"video_url": 500, "audio_url": 10},
    "separate_music": {"audio_url": 20},
    "remove_background": {"image_url": 5},
    "upscale_image": {"image_url": 10},
    "upscale_video": {"video_url": 50},
    "remix_ideogram_image": {"image_url": 10, "character_url": 10},
}


@pytest.mark.parametrize("name", CAPS_MB)
def test_input_has_the_cap_of_its_service(name: str, tmp_path: Path) -> None:
    app = App.open(Settings.model_validate({"db_path": tmp_path / "tasks.db"}))
    app.engine.record.close()
    media = app.engine.plugins.tools[name].arguments.media
    assert {argument: marker.most_mb for argument, marker in media.items()} == CAPS_MB[name]


# By limit: what has as much as is taken, or a step more of it, and the words of its refusal.
ONE_FILE: dict[str, tuple[Callable[[Any, float], Measures], float, str]] = {
    "most_mb": (lambda mb, step: Measures(size=round(mb * MB + step)), 1, "it is larger than"),
    "least_px": (lambda px, step: Measures(px=(px - step, px)), 1, "on each side"),
    "most_px": (lambda px, step: Measures(px=(px, px + step)), 1, "on each side"),
    "least_pixels": (lambda pixels, step: Measures(px=(1, pixels - step)), 1, "make it larger"),
    "most_pixels": (lambda pixels, step: Measures(px=(1, pixels + step)), 1, "pixels in all"),
    "least_ratio": (lambda ratio, step: Measures(px=(round(ratio * 10_000) - step, 10_000)), 11, "times its height"),
    "most_ratio": (lambda ratio, step: Measures(px=(round(ratio * 10_000) + step, 10_000)), 11, "times its height"),
    "least_s": (lambda s, step: Measures(seconds=s - step), 2 * SLACK["s"], "make it longer"),
    "most_s": (lambda s, step: Measures(seconds=s + step), 2 * SLACK["s"], "make it shorter"),
    "least_fps": (lambda fps, step: Measures(fps=fps - step), 2 * SLACK["fps"], "frames a second"),
    "most_fps": (lambda fps, step: Measures(fps=fps + step), 2 * SLACK["fps"], "frames a second"),
    "least_mbps": (lambda rate, step: Measures(size=round(rate * 125_000 - step), seconds=1), 30_000, "with more"),
    "most_mbps": (lambda rate, step: Measures(size=round(rate * 125_000 + step), seconds=1), 30_000, "with fewer"),
    "most_pages": (lambda pages, step: Measures(pages=pages + step), 1, "give fewer pages"),
    "alpha": (lambda _, step: Measures(alpha=bool(step)), 1, "it has transparency"),
    "codecs": (lambda codecs, step: Measures(codec="odd" if step else codecs[0]), 1, "encode it again"),
    "formats": (lambda ends, step: Measures(extension="odd" if step else ends[0]), 1, "convert it"),
}
SEVERAL_FILES: dict[str, tuple[Callable[[Any, float], Measures], float, str]] = {
    "total_mb": (lambda mb, step: Measures(size=round(mb * MB / 2 + step)), 1, "MB, the service takes at most"),
    "total_s": (lambda s, step: Measures(seconds=s / 2 + step), 2 * SLACK["s"], "s, the service takes at most"),
    "same_px_as": (lambda _, step: Measures(px=(500 + step, 500)), 1, "make both the same size"),  # type: ignore[arg-type]
}
NO_LIMITS = {"kind", "schemes", "at"}


def limits() -> Iterator[tuple[str, Media, str, Any]]:
    """Yield each limit of each model's files: the model and path, the marker, and the limit's name and value."""
    for model in kie_register_models():
        if isinstance(model, Model):
            for path, media in model.media.items():
                for limit in fields(media):
                    if (value := getattr(media, limit.name)) != limit.default and limit.name not in NO_LIMITS:
                        yield f"{model.id} {path}", media, limit.name, value


def test_every_limit_of_every_model_refuses_what_is_beyond_it_and_nothing_else() -> None:
    seen = set()
    for where, media, name, value in limits():
        make, step, words = (ONE_FILE | SEVERAL_FILES)[name]
        for more in (0.0, step):
            files = {"here": {f"here[{number}]": ("/fox", make(value, more)) for number in range(2)}}
            other = {media.same_px_as: {"other": ("/owl", make(value, 0.0))}}
            reasons = [str(fault) for fault in faults_of(files | other, {"here": media})]
            assert any(words in reason for reason in reasons) is bool(more), (where, name, value, reasons)
        seen.add(name)
    assert seen == {*ONE_FILE, *SEVERAL_FILES}


def test_every_type_that_a_model_takes_is_one_that_is_known_by_its_bytes() -> None:
    kinds = {end: form.kind for end, form in FORMATS.items()} | dict.fromkeys(DOCUMENTS, "file")
    for where, media, name, value in limits():
        if name == "formats":
            assert {kinds.get(end) for end in value} <= set(media.kinds), where
