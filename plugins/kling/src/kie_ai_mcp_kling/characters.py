"""Tools that animate a pictured character: with the motion of a clip, or as the speaker of a sound file."""

from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import AudioUrl, CallbackUrl, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl

MOTION = "kling-motion"
AVATAR = "kling-avatar"

MOTION_MODELS = {"2.6": "kling-2.6/motion-control", "3.0": "kling-3.0/motion-control"}
WITH_BACKGROUND = "3.0"
AVATAR_MODELS = {"standard": "kling/ai-avatar-standard", "pro": "kling/ai-avatar-pro"}


def generate_kling_motion_video(
    imageUrl: Annotated[ImageUrl, Media("image", most_mb=10)],
    videoUrl: Annotated[VideoUrl, Media("video", most_mb=100)],
    prompt: Annotated[Prompt, Field(max_length=2500)] | None = None,
    model: Literal["2.6", "3.0"] = "2.6",
    resolution: Literal["720p", "1080p"] | None = None,
    orientation: Literal["video", "image"] | None = None,
    background: Literal["video", "image"] | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Move a pictured character like the one in a clip of 3-30 s (orientation image: 10 s). background: 3.0."""
    if background and model != WITH_BACKGROUND:
        raise InvalidArgument("background", background, f"{model} has no such choice; use model='{WITH_BACKGROUND}'")
    return Submission.market(
        MOTION_MODELS[model],
        {
            "prompt": prompt,
            "input_urls": [imageUrl],
            "video_urls": [videoUrl],
            "mode": resolution or "720p",
            "character_orientation": orientation or "video",
            "background_source": f"input_{background}" if background else None,
        },
        api_type=MOTION,
        callback_url=callBackUrl,
    )


def generate_kling_avatar_video(
    prompt: Annotated[Prompt, Field(max_length=5000)],
    imageUrl: Annotated[ImageUrl, Media("image", most_mb=10)],
    audioUrl: Annotated[AudioUrl, Media("audio", most_mb=100)],
    model: Literal["standard", "pro"] = "standard",
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a pictured person speak or sing a sound file of at most 5 minutes; standard is 720p, pro 1080p."""
    return Submission.market(
        AVATAR_MODELS[model],
        {"prompt": prompt, "image_url": imageUrl, "audio_url": audioUrl},
        api_type=AVATAR,
        callback_url=callBackUrl,
    )
