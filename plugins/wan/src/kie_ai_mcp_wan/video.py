"""The video tool of Wan: one clip, by the cheapest model that takes the whole call."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import AudioUrl, ImageUrl, Media, Prompt, Submission, VideoUrl
from kie_ai_mcp_wan.models import FAMILY, NAMES, video_forms

VIDEO = "wan-video"

# The widest of the models' limits.
Picture = Annotated[ImageUrl, Media("image", most_mb=20)]
Pictures = Annotated[list[ImageUrl], Field(max_length=10), Media("image", most_mb=20)]
Clips = Annotated[list[VideoUrl], Field(max_length=5), Media("video", most_mb=100)]
Sound = Annotated[AudioUrl, Media("audio", most_mb=15)]
Name = Annotated[
    Literal["2.2", "2.5", "2.6", "2.6-flash", "2.7", "3.0", "3.0-prime"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_wan_video(
    prompt: Prompt,
    first_frame_url: Picture | None = None,
    last_frame_url: Picture | None = None,
    reference_image_urls: Pictures | None = None,
    reference_video_urls: Clips | None = None,
    audio_url: Sound | None = None,
    duration: Annotated[int, Field(ge=-1, le=30)] | None = None,
    resolution: Literal["480p", "720p", "1080p"] | None = None,
    aspect_ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "adaptive"] | None = None,
    sound: bool | None = None,
    model: Name | None = None,
) -> Submission:
    """Make a video with Alibaba Wan from words, a first and/or last frame, or references (addresses or local paths);
    choose it for a clip that follows speech or music (audio_url), or up to 30 s.

    Without model: the cheapest that fits; without resolution: 720p. duration: 2-30 s, -1: 3.0.
    """
    asked = {
        "prompt": prompt,
        "first_frame_url": first_frame_url,
        "last_frame_url": last_frame_url,
        "reference_image_urls": reference_image_urls,
        "reference_video_urls": reference_video_urls,
        "audio_url": audio_url,
        "duration": duration,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        "sound": sound,
    }
    forms = (*video_forms(of_references=bool(reference_image_urls or reference_video_urls)),)
    return FAMILY.choose(forms, asked, model).submission(VIDEO)
