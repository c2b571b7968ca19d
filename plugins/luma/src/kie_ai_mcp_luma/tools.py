"""Luma's tool. Its last documented form took a clip; the form before that, pictures and a duration."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp import CallbackUrl, ImageUrls, Prompt, Submission, VideoUrl, apply_overrides, reject_arguments

GENERATE = "luma-video"

# The last documented address first, then the earlier one.
PATHS = ("modify/generate", "luma/generate")
STATUS_PATHS = ("modify/record-info", "luma/record-info")


def luma_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tool, bound to the configured ``path``."""

    def generate_luma_video(
        prompt: Prompt,
        imageUrls: Annotated[ImageUrls, Field(max_length=4)] | None = None,
        duration: Annotated[int, Field(ge=1, le=120)] | None = None,
        callBackUrl: CallbackUrl | None = None,
        videoUrl: Annotated[VideoUrl, Field(description="without imageUrls, duration")] | None = None,
        watermark: str | None = None,
    ) -> Submission:
        """Retired at Kie.ai; use generate_veo3_video, or generate_runway_aleph_video to change a clip."""
        # With a clip the service would ignore these two; without one it takes them or refuses the whole request.
        if videoUrl is not None:
            reject_arguments(
                "Luma takes no such thing beside videoUrl",
                "leave one of them out",
                imageUrls=imageUrls,
                duration=duration,
            )
        task = Submission(
            PATHS,
            {
                "prompt": prompt,
                "videoUrl": videoUrl,
                "imageUrls": imageUrls,
                "duration": duration,
                "watermark": watermark,
                "callBackUrl": callBackUrl,
            },
            GENERATE,
        )
        return apply_overrides(task, settings)

    return [generate_luma_video]


def status_paths(created_at: str) -> tuple[str, ...]:
    """Return the status addresses of a task: next to the address that created it, then the usual ones."""
    family, slash, verb = created_at.rpartition("/")
    sibling = (f"{family}/record-info",) if slash and verb == "generate" else ()
    return tuple(dict.fromkeys((*sibling, *STATUS_PATHS)))
