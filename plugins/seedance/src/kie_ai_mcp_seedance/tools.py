"""The tool of Seedance: one clip, by the cheapest model that takes the whole call."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import AudioUrl, Choice, Family, Form, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl

VIDEO = "seedance"

FAMILY = Family("kie_ai_mcp_seedance", "Seedance")
SOUND = {"sound": "generate_audio"}
# It has one list for the frames, in which a last one alone would be the first.
OLD = Form(
    "bytedance/seedance-1.5-pro",
    "1.5-pro",
    fields={**SOUND, "first_frame_url": "input_urls", "last_frame_url": "input_urls"},
    always={"aspect_ratio": "16:9", "duration": 5},
)
OLD_WITHOUT_FIRST = replace(
    OLD,
    fields={**OLD.fields, "last_frame_url": ""},
    reasons={"last_frame_url": "Seedance 1.5-pro takes one only beside first_frame_url"},
)
NEW = (
    Form("bytedance/seedance-2-mini", "2-mini", fields=SOUND),
    Form("bytedance/seedance-2-fast", "2-fast", fields=SOUND),
    Form("bytedance/seedance-2", "2", fields=SOUND),
    Form("bytedance/seedance-2-5", "2.5", fields=SOUND),
)
NAMES = {form.id: form.name for form in (OLD, *NEW)}
"""The names by the service's ids, which answers and lists of models show."""

LEFT_OUT = {"aspect_ratio": "makes 16:9", "sound": "makes a silent clip"}  # unlike the others

# The widest of the models' limits. asset:// is the service's own form of address.
ASSET = ("asset",)
PICTURES = Media(
    "image",
    most_mb=30,
    formats=("jpg", "png", "webp", "bmp", "tiff", "gif"),
    least_px=300,
    most_px=6_000,
    least_ratio=0.4,
    most_ratio=2.5,
    schemes=ASSET,
)
CLIPS = Media(
    "video",
    most_mb=200,
    formats=("mp4", "mov"),
    least_s=2,
    most_s=30,
    total_s=30,
    least_px=300,
    most_px=6_000,
    least_pixels=409_600,
    most_pixels=927_408,
    least_ratio=0.4,
    most_ratio=2.5,
    least_fps=24,
    most_fps=60,
    schemes=ASSET,
)
SOUNDS = Media("audio", most_mb=15, formats=("wav", "mp3"), least_s=2, most_s=30, total_s=30, schemes=ASSET)

Picture = Annotated[ImageUrl, PICTURES]
Name = Annotated[
    Literal["1.5-pro", "2-mini", "2-fast", "2", "2.5"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_seedance_video(
    prompt: Annotated[Prompt, Field(min_length=3)],
    first_frame_url: Picture | None = None,
    last_frame_url: Picture | None = None,
    reference_image_urls: Annotated[list[ImageUrl], PICTURES] | None = None,
    reference_video_urls: Annotated[list[VideoUrl], CLIPS] | None = None,
    reference_audio_urls: Annotated[list[AudioUrl], SOUNDS] | None = None,
    duration: Annotated[int, Field(ge=-1, le=30)] | None = None,
    resolution: Literal["480p", "720p", "1080p", "4k"] | None = None,
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "21:9", "adaptive"] | None = None,
    sound: bool | None = None,
    model: Name | None = None,
) -> Submission:
    """Make a video with ByteDance Seedance from words, a first (and last) frame, or reference pictures, clips and
    sounds (addresses or local paths); choose it for references or up to 30 s.

    Without model: the cheapest that fits. duration: 4-30 s, or -1: the model chooses.
    """
    asked = {
        "prompt": prompt,
        "first_frame_url": first_frame_url,
        "last_frame_url": last_frame_url,
        "reference_image_urls": reference_image_urls,
        "reference_video_urls": reference_video_urls,
        "reference_audio_urls": reference_audio_urls,
        "duration": duration,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        "sound": sound,
    }
    old, notes = OLD if first_frame_url else OLD_WITHOUT_FIRST, list[str]()
    if (first_frame_url or last_frame_url) and not aspect_ratio and model != OLD.name:
        asked["aspect_ratio"] = "adaptive"
        notes = ["A frame keeps its shape where aspect_ratio is left out."]
    # The old model has a shape of its own, so others are preferred where a frame's is to be kept.
    choice = FAMILY.choose((old, *NEW), asked, model, preferred=NEW if notes else ())
    if choice.form.name == OLD.name:
        unset = (argument for argument in LEFT_OUT if asked[argument] is None)
        notes += [f"Seedance 1.5-pro {LEFT_OUT[argument]} where {argument} is left out." for argument in unset]
    elif notes and not model:
        notes += _cheaper(old, asked, choice)
    return choice.submission(VIDEO, notes=notes)


def _cheaper(old: Form, asked: Mapping[str, Any], choice: Choice) -> Iterator[str]:
    """Yield what the same call costs by the old model, where that is less: in a shape that is named."""
    with suppress(InvalidArgument):
        other = FAMILY.choose((old,), {**asked, "aspect_ratio": None})
        if choice.price.credits and other.price.credits and other.price.credits < choice.price.credits:
            price = f"{other.price.credits:g} credits instead of {choice.price.credits:g}"
            silent = ", silent without sound" if asked["sound"] is None else ""
            yield f"With aspect_ratio, such as 16:9, Seedance {old.name} makes it for {price}{silent}."
