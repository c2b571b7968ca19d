"""Tools of Midjourney, in the form that the service last documented."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    CallbackUrl,
    ImageUrls,
    InvalidArgument,
    OnePicture,
    OutputFormat,
    Prompt,
    Submission,
    Tool,
    apply_overrides,
    reject_arguments,
)

IMAGE = "midjourney-image"
VIDEO = "midjourney-video"

CREATE = ("mj/generate", "midjourney/generate")
"""The last documented address, then an earlier one."""

Shape = Literal[
    "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "6:5", "5:6", "5:4", "4:5", "21:9", "auto"
]

NEAREST_SHAPES = {"5:4": "6:5", "4:5": "5:6", "21:9": "2:1"}
"""Shapes that the service never made, each with the nearest one that it did."""

OWN_SHAPE = "auto"
"""The word that leaves the shape to the service."""


@dataclass(frozen=True)
class Type:
    """One type of Midjourney task.

    Args:
        name: The service's word for it.
        pictures: The largest number of pictures; 0 for none, otherwise at least one is needed.
        speeds: Whether the speed can be chosen.
    """

    name: str
    pictures: int = 4
    speeds: bool = True


TYPES = {
    "txt2img": Type("mj_txt2img", pictures=0),
    "img2img": Type("mj_img2img"),
    "style_reference": Type("mj_style_reference"),
    "omni_reference": Type("mj_omni_reference", speeds=False),
}


def midjourney_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission] | Tool]:
    """Return the tools, bound to the configured ``path``."""

    def generate_midjourney_image(
        prompt: Annotated[Prompt, Field(max_length=2000)],
        image_urls: Annotated[ImageUrls, Field(max_length=4)] | None = None,
        aspectRatio: Shape | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
        taskType: Literal["txt2img", "img2img", "style_reference", "omni_reference"] | None = None,
        speed: Literal["relaxed", "fast", "turbo"] | None = None,
        version: Literal["7", "6.1", "6", "5.2", "5.1", "niji6"] | None = None,
        stylization: Annotated[int, Field(ge=0, le=1000)] | None = None,
        weirdness: Annotated[int, Field(ge=0, le=3000)] | None = None,
        variety: Annotated[int, Field(ge=0, le=100, multiple_of=5)] | None = None,
    ) -> Submission:
        """Retired at Kie.ai; use generate_nano_banana. Four pictures; English prompt.

        Default with image_urls: img2img. Refused: output_format, aspectRatio 5:4, 4:5, 21:9, omni speed.
        """
        reject_arguments("Midjourney chooses it itself", output_format=output_format)
        kind = TYPES[taskType or ("img2img" if image_urls else "txt2img")]
        task = Submission(
            CREATE,
            {
                "taskType": kind.name,
                "prompt": prompt,
                "fileUrls": _pictures(kind, image_urls),
                "aspectRatio": _shape(aspectRatio),
                "speed": _speed(kind, speed),
                "version": version,
                "stylization": stylization,
                "weirdness": weirdness,
                "variety": variety,
                "callBackUrl": callBackUrl,
            },
            IMAGE,
        )
        return apply_overrides(task, settings)

    def generate_midjourney_video(
        prompt: Annotated[Prompt, Field(max_length=2000)],
        imageUrls: OnePicture,
        motion: Literal["low", "high"] = "high",
        hd: bool = False,
        videoBatchSize: Literal[1, 2, 4] | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Retired at Kie.ai; use generate_kling_video. Clips from one picture; English prompt."""
        if len(imageUrls) > 1:
            raise InvalidArgument("imageUrls", imageUrls, f"Midjourney moves one picture, {len(imageUrls)} were given")
        task = Submission(
            CREATE,
            {
                "taskType": "mj_video_hd" if hd else "mj_video",
                "prompt": prompt,
                "fileUrls": imageUrls,
                "motion": motion,
                "videoBatchSize": videoBatchSize,
                "callBackUrl": callBackUrl,
            },
            VIDEO,
        )
        return apply_overrides(task, settings)

    return [generate_midjourney_image, Tool(generate_midjourney_video, kind="video")]


def _pictures(kind: Type, image_urls: list[str] | None) -> list[str] | None:
    count = len(image_urls or ())
    if count and not kind.pictures:
        raise InvalidArgument("image_urls", image_urls, "txt2img takes none; use taskType='img2img'")
    if kind.pictures and not count:
        raise InvalidArgument("image_urls", image_urls, f"{kind.name} needs at least one; or use taskType='txt2img'")
    if count > kind.pictures:
        raise InvalidArgument("image_urls", image_urls, f"at most {kind.pictures}, {count} were given")
    return image_urls or None


def _shape(shape: str | None) -> str | None:
    if shape in NEAREST_SHAPES:
        raise InvalidArgument("aspectRatio", shape, f"Midjourney has no such shape; {NEAREST_SHAPES[shape]} is near it")
    return None if shape == OWN_SHAPE else shape


def _speed(kind: Type, speed: str | None) -> str | None:
    if not kind.speeds:
        reject_arguments(f"{kind.name} has no choice of speed", speed=speed)
    return speed
