"""Tools of Sora 2, in the form that the service last documented."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from kie_ai_mcp import (
    CallbackUrl,
    Family,
    Form,
    ImageUrl,
    InvalidArgument,
    Media,
    OnePicture,
    Prompt,
    Submission,
    apply_overrides,
)

VIDEO = "sora2-video"
STORYBOARD = "sora2-storyboard"
STORYBOARD_SECONDS = (10, 15, 25)
STORYBOARD_SHOTS = 10
VEO3_PICTURES = 3

FAMILY = Family("kie_ai_mcp_sora2", "Model")

WORDS = {"aspectRatio": {"16:9": "landscape", "9:16": "portrait"}}
SIZES = {**WORDS, "resolution": {"720p": "standard", "1080p": "high"}}
FIELDS = {"duration": "n_frames", "imageUrls": "image_urls", "resolution": "size"}
ALWAYS = {"remove_watermark": True}
ANYWAY = {"resolution": ("720p", "auto")}  # the plain tier has one size and no field for it
SAID = {"negative_prompt": "Avoid: {}.", "style": "Style: {}.", "cameraMotion": "Camera: {}."}
FORMS = (
    Form("sora-2-text-to-video", "sora-2", FIELDS, WORDS, ALWAYS, ANYWAY, SAID),
    Form("sora-2-image-to-video", "sora-2", FIELDS, WORDS, ALWAYS, ANYWAY, SAID),
    Form("sora-2-pro-text-to-video", "sora-2-pro", FIELDS, SIZES, ALWAYS, appended=SAID),
    Form("sora-2-pro-image-to-video", "sora-2-pro", FIELDS, SIZES, ALWAYS, appended=SAID),
)
BOARD = Form("sora-2-pro-storyboard", fields={"imageUrl": "image_urls"}, words=WORDS)


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
REFUSED = Field(description="refused")


def sora2_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tools, bound to the configured model ids and ``path``."""

    def generate_sora2_video(
        prompt: Annotated[Prompt, Field(max_length=10_000)],
        negative_prompt: str | None = None,
        imageUrls: Pictures | None = None,
        duration: Literal[10, 15] | None = None,
        aspectRatio: Orientation | None = None,
        resolution: Literal["720p", "1080p"] | None = None,
        frameRate: Annotated[int, REFUSED] | None = None,
        style: str | None = None,
        cameraMotion: str | None = None,
        seed: Annotated[int, REFUSED] | None = None,
        guidance_scale: Annotated[float, REFUSED] | None = None,
        remove_watermark: bool | None = None,
        callBackUrl: CallbackUrl | None = None,
        model: Literal["sora-2", "sora-2-pro"] | None = None,
    ) -> Submission:
        """Retired at Kie.ai, use generate_veo3_video: a Sora 2 video from words or a first picture."""
        asked = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "imageUrls": imageUrls,
            "duration": duration,
            "aspectRatio": aspectRatio,
            "resolution": resolution,
            "frameRate": frameRate,
            "style": style,
            "cameraMotion": cameraMotion,
            "seed": seed,
            "guidance_scale": guidance_scale,
            "remove_watermark": remove_watermark,
        }
        pictures, faults, instead = imageUrls or [], [], None
        if len(pictures) > 1:
            faults = [InvalidArgument("imageUrls", pictures, "Sora 2 takes one picture, the first frame")]
            call = {name: asked[name] for name in ("prompt", "imageUrls", "aspectRatio") if asked[name]}
            instead = {"tool": "generate_veo3_video", "arguments": call} if len(pictures) <= VEO3_PICTURES else None
        asked["imageUrls"] = pictures[:1]
        choice = FAMILY.choose(FORMS, asked, model, instead=instead, faults=faults)
        task = choice.submission(VIDEO, callBackUrl)
        return apply_overrides(task, settings)

    def generate_sora2_storyboard(
        shots: Annotated[list[Shot], Field(min_length=1, max_length=STORYBOARD_SHOTS)],
        imageUrl: Annotated[ImageUrl, Media("image", most_mb=10)] | None = None,
        aspectRatio: Orientation | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Retired at Kie.ai, use generate_kling_video: a Sora 2 video of 1-10 shots, at most 25 s together."""
        scenes, faults = _scenes(shots)
        seconds, too_long = _storyboard_seconds(scenes)
        asked = {
            "shots": [{"Scene": scene.scene, "duration": scene.duration} for scene in scenes],
            "n_frames": seconds,
            "imageUrl": imageUrl,
            "aspectRatio": aspectRatio,
        }
        task = FAMILY.choose((BOARD,), asked, faults=[*faults, *too_long]).submission(STORYBOARD, callBackUrl)
        return apply_overrides(task, settings, model="storyboard_model")

    return [generate_sora2_video, generate_sora2_storyboard]


def _scenes(shots: list[Any]) -> tuple[list[Scene], list[InvalidArgument]]:
    scenes, faults = [], []
    for index, shot in enumerate(shots):
        try:
            scenes.append(Scene.model_validate(shot))
        except ValidationError:
            allowed = "give a scene in words and a duration of 0.1 to 15 seconds"
            faults.append(InvalidArgument(f"shots[{index}]", shot, allowed))
    return scenes, faults


def _storyboard_seconds(scenes: list[Scene]) -> tuple[int, list[InvalidArgument]]:
    """Return the shortest length that holds all shots, and a fault where none does."""
    # Tenths of seconds don't add up exactly: 4.9 + 3.2 + 1.9 is a little more than 10.
    total = round(sum(scene.duration for scene in scenes), 6)
    for length in STORYBOARD_SECONDS:
        if total <= length:
            return length, []
    allowed = f"together they may last {STORYBOARD_SECONDS[-1]} seconds"
    return STORYBOARD_SECONDS[-1], [InvalidArgument("shots", f"{total:g} seconds", allowed)]
