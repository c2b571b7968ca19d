"""The one tool: Playground as a market task, under model ids that the configuration can replace."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    AspectRatio,
    CallbackUrl,
    ImageUrls,
    InvalidArgument,
    NegativePrompt,
    OutputFormat,
    Prompt,
    Submission,
)

API_TYPE = "playground-image"
MODELS = {"v2": "playground/v2", "v2.5": "playground/v2-5", "v3": "playground/v3"}
"""Our guesses in the service's own pattern: Kie.ai never published an id."""

NEWEST = "v3"


def playground_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tool, bound to the configured ``model`` id and ``path``."""
    configured = settings.get("model")

    def generate_playground_image(
        prompt: Prompt,
        negative_prompt: NegativePrompt | None = None,
        image_urls: ImageUrls | None = None,
        aspectRatio: AspectRatio | None = None,
        guidance_scale: Annotated[float, Field(allow_inf_nan=False)] | None = None,
        steps: Annotated[int, Field(ge=1)] | None = None,
        model: Literal["v2", "v2.5", "v3"] | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Undocumented at Kie.ai; prefer generate_nano_banana."""
        if configured and model:
            raise InvalidArgument("model", model, f"the configuration sets {configured!r} for every call; leave it out")
        task = Submission.market(
            configured or MODELS[model or NEWEST],
            {
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "image_urls": image_urls,
                "aspect_ratio": aspectRatio,
                "guidance_scale": guidance_scale,
                "steps": steps,
                "output_format": output_format,
            },
            api_type=API_TYPE,
            callback_url=callBackUrl,
        )
        return replace(task, path=settings.get("path") or task.path)

    return [generate_playground_image]
