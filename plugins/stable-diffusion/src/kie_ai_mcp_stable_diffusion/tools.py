"""The one tool: Stable Diffusion 3 as a market task, under a model id that the configuration can replace."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp import AspectRatio, CallbackUrl, ImageUrls, NegativePrompt, OutputFormat, Prompt, Submission

API_TYPE = "stable-diffusion3-image"
MODEL = "stability-ai/stable-diffusion-3"
"""Our guess in the service's own pattern: Kie.ai never published an id."""


def stable_diffusion_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tool, bound to the configured ``model`` id and ``path``."""

    def generate_stable_diffusion3_image(
        prompt: Prompt,
        negative_prompt: NegativePrompt | None = None,
        image_urls: ImageUrls | None = None,
        aspectRatio: AspectRatio | None = None,
        guidance_scale: Annotated[float, Field(allow_inf_nan=False)] | None = None,
        steps: Annotated[int, Field(ge=1)] | None = None,
        scheduler: str | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Undocumented at Kie.ai; prefer generate_flux_image."""
        task = Submission.market(
            settings.get("model") or MODEL,
            {
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "image_urls": image_urls,
                "aspect_ratio": aspectRatio,
                "guidance_scale": guidance_scale,
                "steps": steps,
                "scheduler": scheduler,
                "output_format": output_format,
            },
            api_type=API_TYPE,
            callback_url=callBackUrl,
        )
        return replace(task, path=settings.get("path") or task.path)

    return [generate_stable_diffusion3_image]
