"""Tools of Sora 2, in the form that the service last documented."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from kie_ai_mcp import (
    CallbackUrl,
    ImageUrl,
    InvalidArgument,
    Media,
    OnePicture,
    Prompt,
    Submission,
    VideoResolution,
    apply_overrides,
    reject_arguments,
)

VIDEO = "sora2-video"
STORYBOARD = "sora2-storyboard"
STORYBOARD_MODEL = "sora-2-pro-storyboard"

ORIENTATIONS = {"16:9": "landscape", "9:16": "portrait"}
STORYBOARD_SECONDS = (10, 15, 25)
STORYBOARD_SHOTS = 10

UPLOAD = {"upload_method": "s3"}
"""Required since April 2026: the storage of the clip, s3 or oss."""

NO_SETTING = "Sora 2 has no such setting"


@dataclass(frozen=True)
class Model:
    """One tier of Sora 2: its model ids, and the service's word for each of its sizes."""

    text: str
    pictures: str
    sizes: Mapping[str, str | None]


# The plain tier has one size and no field for it.
MODELS = {
    "sora-2": Model("sora-2-text-to-video", "sora-2-image-to-video", {"720p": None, "auto": None}),
    "sora-2-pro": Model(
        "sora-2-pro-text-to-video", "sora-2-pro-image-to-video", {"720p": "standard", "1080p": "high", "auto": None}
    ),
}


class Scene(BaseModel):
    """One shot of a storyboard: its content, and its length in seconds."""

    model_config = ConfigDict(extra="forbid")

    scene: Prompt
    duration: Annotated[float, Field(ge=0.1, le=15)]


# A plain object with a schema of its own, because a tool's schema has no references.
Shot = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"scene": {"type": "string"}, "duration": {"type": "number"}},
            "required": ["scene", "duration"],
        }
    ),
]
Pictures = Annotated[OnePicture, Media("image", most_mb=10)]
Orientation = Literal["16:9", "9:16"]


def sora2_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tools, bound to the configured model ids and ``path``."""

    def generate_sora2_video(
        prompt: Annotated[Prompt, Field(max_length=10_000)],
        negative_prompt: str | None = None,
        imageUrls: Pictures | None = None,
        duration: Literal[10, 15] | None = None,
        aspectRatio: Orientation | None = None,
        resolution: VideoResolution | None = None,
        frameRate: int | None = None,
        style: str | None = None,
        cameraMotion: str | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        remove_watermark: bool = True,
        callBackUrl: CallbackUrl | None = None,
        model: Literal["sora-2", "sora-2-pro"] | None = None,
    ) -> Submission:
        """Retired at Kie.ai; use generate_veo3_video. Sora 2 clip from words or a first picture; 1080p is sora-2-pro.

        Refused: negative_prompt, style, cameraMotion (use the prompt), frameRate, seed, guidance_scale,
        resolution 4k, 8k.
        """
        in_words = {"negative_prompt": negative_prompt, "style": style, "cameraMotion": cameraMotion}
        reject_arguments(NO_SETTING, "say it in the prompt", **in_words)
        reject_arguments(NO_SETTING, frameRate=frameRate, seed=seed, guidance_scale=guidance_scale)
        tier = model or ("sora-2-pro" if resolution == "1080p" else "sora-2")
        size = _size(tier, resolution)
        ids = MODELS[tier]
        task = _task(
            ids.pictures if imageUrls else ids.text,
            {
                "prompt": prompt,
                "image_urls": _one(imageUrls),
                "aspect_ratio": ORIENTATIONS[aspectRatio] if aspectRatio else None,
                "n_frames": str(duration) if duration else None,
                "size": size,
                "remove_watermark": remove_watermark,
            },
            VIDEO,
            callBackUrl,
        )
        return apply_overrides(task, settings)

    def generate_sora2_storyboard(
        shots: list[Shot],
        imageUrl: Annotated[ImageUrl, Media("image", most_mb=10)] | None = None,
        aspectRatio: Orientation | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Retired at Kie.ai; use generate_kling_video. Clip of 1-10 shots, at most 25 s."""
        scenes = _scenes(shots)
        task = _task(
            STORYBOARD_MODEL,
            {
                "shots": [{"Scene": scene.scene, "duration": scene.duration} for scene in scenes],
                "n_frames": _storyboard_seconds(scenes),
                "image_urls": [imageUrl] if imageUrl else None,
                "aspect_ratio": ORIENTATIONS[aspectRatio] if aspectRatio else None,
            },
            STORYBOARD,
            callBackUrl,
        )
        return apply_overrides(task, settings, model="storyboard_model")

    return [generate_sora2_video, generate_sora2_storyboard]


def _task(model: str, fields: Mapping[str, Any], api_type: str, callback_url: str | None) -> Submission:
    return Submission.market(model, {**fields, **UPLOAD}, api_type=api_type, callback_url=callback_url)


def _size(tier: str, resolution: str | None) -> str | None:
    sizes = MODELS[tier].sizes
    if resolution is None:
        return None
    if resolution not in sizes:
        advice = "720p; use model='sora-2-pro' for 1080p" if tier == "sora-2" else "720p or 1080p"
        raise InvalidArgument("resolution", resolution, f"{tier} makes {advice}")
    return sizes[resolution]


def _one(image_urls: list[str] | None) -> list[str] | None:
    if image_urls and len(image_urls) > 1:
        raise InvalidArgument(
            "imageUrls", image_urls, "Sora 2 takes one picture, the first frame; generate_veo3_video takes up to three"
        )
    return image_urls or None


def _scenes(shots: list[Any]) -> list[Scene]:
    if not 1 <= len(shots) <= STORYBOARD_SHOTS:
        raise InvalidArgument("shots", shots, f"give 1 to {STORYBOARD_SHOTS} shots, {len(shots)} were given")
    return [_scene(index, shot) for index, shot in enumerate(shots)]


def _scene(index: int, shot: Any) -> Scene:
    try:
        return Scene.model_validate(shot)
    except ValidationError:
        raise InvalidArgument(
            f"shots[{index}]", shot, "give a scene in words and a duration of 0.1 to 15 seconds"
        ) from None


def _storyboard_seconds(scenes: list[Scene]) -> str:
    """Return the shortest length that holds all shots."""
    # Tenths of seconds don't add up exactly: 4.9 + 3.2 + 1.9 is a little more than 10.
    total = round(sum(scene.duration for scene in scenes), 6)
    for length in STORYBOARD_SECONDS:
        if total <= length:
            return str(length)
    raise InvalidArgument("shots", f"{total:g} seconds", f"together they may last {STORYBOARD_SECONDS[-1]} seconds")
