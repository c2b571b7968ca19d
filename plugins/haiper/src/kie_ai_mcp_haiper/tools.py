"""The one tool: Haiper as a market task, under model ids that the configuration can replace."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp import AspectRatio, CallbackUrl, FrameRate, ImageUrls, Prompt, Submission, VideoResolution

API_TYPE = "haiper-video"
FROM_TEXT = "haiper/text-to-video"
FROM_IMAGES = "haiper/image-to-video"
"""Our guesses in the service's own pattern: Kie.ai never published an id."""


def haiper_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tool, bound to the configured ``model`` id and ``path``."""

    def generate_haiper_video(
        prompt: Prompt,
        imageUrls: ImageUrls | None = None,
        duration: Annotated[int, Field(ge=1)] | None = None,
        aspectRatio: AspectRatio | None = None,
        look: str | None = None,
        resolution: VideoResolution | None = None,
        frameRate: FrameRate | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Undocumented at Kie.ai; prefer generate_kling_video."""
        task = Submission.market(
            settings.get("model") or (FROM_IMAGES if imageUrls else FROM_TEXT),
            {
                "prompt": prompt,
                "image_urls": imageUrls,
                "duration": duration,
                "aspect_ratio": aspectRatio,
                "look": look,
                "resolution": resolution,
                "frame_rate": frameRate,
            },
            api_type=API_TYPE,
            callback_url=callBackUrl,
        )
        return replace(task, path=settings.get("path") or task.path)

    return [generate_haiper_video]
