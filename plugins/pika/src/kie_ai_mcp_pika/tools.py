"""The one tool: Pika as a market task, under model ids that the configuration can replace."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import AspectRatio, CallbackUrl, FrameRate, ImageUrls, Prompt, Submission, VideoResolution

API_TYPE = "pika-video"
FROM_TEXT = "pika/text-to-video"
FROM_IMAGES = "pika/image-to-video"
"""Our guesses in the service's own pattern: Kie.ai never published an id."""


def pika_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tool, bound to the configured ``model`` id and ``path``."""

    def generate_pika_video(
        prompt: Prompt,
        imageUrls: ImageUrls | None = None,
        duration: Annotated[int, Field(ge=1, le=30)] | None = None,
        aspectRatio: AspectRatio | None = None,
        mode: Literal["creative", "realistic", "animation"] | None = None,
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
                "mode": mode,
                "resolution": resolution,
                "frame_rate": frameRate,
            },
            api_type=API_TYPE,
            callback_url=callBackUrl,
        )
        return replace(task, path=settings.get("path") or task.path)

    return [generate_pika_video]
