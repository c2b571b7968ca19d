"""Tools of Topaz: enlarging of pictures and clips."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from kie_ai_mcp import ImageUrl, Media, Submission, VideoUrl

IMAGE = "topaz-image"
VIDEO = "topaz-video"

# The service wants text; a model that reads "factor" may well give a number.
Factor = Annotated[Literal["1", "2", "4"], BeforeValidator(str)]


def upscale_image(
    image_url: Annotated[ImageUrl, Media("image", most_mb=10, formats=("jpg", "png", "webp"))], factor: Factor = "2"
) -> Submission:
    """Upscale a picture (address or local path): larger by factor, up to 8K, and sharper.

    Cheaper, without factor: run_model recraft/crisp-upscale.
    """
    return Submission.market("topaz/image-upscale", {"image_url": image_url, "upscale_factor": factor}, api_type=IMAGE)


def upscale_video(
    video_url: Annotated[VideoUrl, Media("video", most_mb=50, formats=("mp4", "mov", "mkv"))], factor: Factor = "2"
) -> Submission:
    """Upscale a clip (address or local path): larger by factor, and sharper."""
    return Submission.market("topaz/video-upscale", {"video_url": video_url, "upscale_factor": factor}, api_type=VIDEO)
