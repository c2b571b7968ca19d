"""Kling 3.0 Omni: clips after reference pictures or a reference clip, and changes to a clip."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl, reject_arguments
from kie_ai_mcp_kling.prices import credits_of

OMNI = "kling-omni"

REFERENCE = "kling-3.0-omni/reference-to-video"
TRANSFORMATION = "kling-3.0-omni/transformation"


@dataclass(frozen=True)
class Use:
    """One combination of media, with the settings that it allows.

    Args:
        id: The service's model id.
        words: The combination, for messages.
        pictures: The largest number of pictures.
        length: Whether the service wants the length as text or as a number; None where the clip gives it.
        shape: Whether the shape can be chosen.
        sound: Whether sound can be chosen; without the choice the result is silent.
        always: Fields that the service requires.
    """

    id: str
    words: str
    pictures: int
    length: type[str] | type[int] | None = int
    shape: bool = True
    sound: bool = True
    always: Mapping[str, Any] = field(default_factory=dict)


SILENT = {"audio": False}

# Keys: whether a clip is changed, whether there is a clip, whether there are pictures.
USES = {
    (False, False, True): Use(REFERENCE, "reference pictures", 7),
    (False, True, False): Use(
        REFERENCE, "a clip alone", 0, None, shape=False, sound=False, always={**SILENT, "aspect_ratio": "auto"}
    ),
    (False, True, True): Use(REFERENCE, "a clip with pictures", 4, sound=False, always=SILENT),
    (True, True, False): Use(TRANSFORMATION, "a clip alone", 0, None, shape=False),
    (True, True, True): Use(TRANSFORMATION, "a clip with pictures", 4, str),
}


def generate_kling_omni_video(
    prompt: Annotated[Prompt, Field(max_length=3072)],
    imageUrls: Annotated[list[ImageUrl], Media("image", most_mb=50)] | None = None,
    videoUrl: Annotated[VideoUrl, Media("video", most_mb=200)] | None = None,
    transform: bool | None = None,
    duration: Annotated[int, Field(ge=3, le=15)] | None = None,
    aspectRatio: Literal["16:9", "9:16", "1:1"] | None = None,
    resolution: Literal["720p", "1080p", "4k"] | None = None,
    sound: bool | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Follow 1-7 pictures and/or a clip, or transform the clip; alone it keeps length and shape."""
    use = USES.get((bool(transform), bool(videoUrl), bool(imageUrls)))
    if use is None and transform:
        raise InvalidArgument("videoUrl", videoUrl, "transform needs the clip that is to be changed")
    if use is None:
        raise InvalidArgument(
            "imageUrls", imageUrls, "give pictures, a clip or both; words alone: generate_kling_video, model='3.0-omni'"
        )
    pictures = imageUrls or []
    if len(pictures) > use.pictures:
        raise InvalidArgument("imageUrls", pictures, f"{use.words}: at most {use.pictures}, {len(pictures)} were given")
    if use.length is None:
        reject_arguments(f"{use.words} keeps its length", "leave it out, or add pictures", duration=duration)
    if not use.shape:
        reject_arguments(f"{use.words} keeps its shape", "leave it out, or add pictures", aspectRatio=aspectRatio)
    if sound and not use.sound:
        reject_arguments(f"{use.words} gives a silent clip", sound=sound)
    body = {
        "prompt": prompt,
        "image_urls": pictures or None,
        "video_urls": [videoUrl] if videoUrl else None,
        "resolution": resolution,
        "duration": use.length(duration) if duration is not None and use.length else None,
        "aspect_ratio": aspectRatio,
        "audio": sound,
        **use.always,
    }
    return Submission.market(
        use.id, body, api_type=OMNI, callback_url=callBackUrl, estimated_credits=credits_of(use.id, body)
    )
