"""Pika, a family that Kie.ai never documented: one tool, sent as a market task under guessed model ids."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    AspectRatio,
    CallbackUrl,
    FrameRate,
    ImageUrls,
    Prompt,
    Provider,
    Submission,
    VideoResolution,
    apply_overrides,
    hookimpl,
)

API_TYPE = "pika-video"
# Guesses in the service's own pattern: Kie.ai never published an id.
FROM_TEXT = "pika/text-to-video"
FROM_IMAGES = "pika/image-to-video"


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
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
            FROM_IMAGES if imageUrls else FROM_TEXT,
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
        return apply_overrides(task, settings)

    return [generate_pika_video]


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Pika",
        homepage="https://pika.art/",
        kinds=("video",),
        availability="undocumented",
        checked="2026-10-02",
        note="Kie.ai never listed it; the model ids sent are guesses, replaceable by [providers.pika] model.",
        nearest="generate_kling_video",
        api_types=(API_TYPE,),
        models=("pika/",),
        settings={
            "model": "The model id to send instead of the guessed one.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
