"""Stable Diffusion 3, a family that Kie.ai never documented: one tool, sent as a market task under a guessed id."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp import (
    AspectRatio,
    CallbackUrl,
    ImageUrls,
    NegativePrompt,
    OutputFormat,
    Prompt,
    Provider,
    Submission,
    apply_overrides,
    hookimpl,
)

API_TYPE = "stable-diffusion3-image"
# A guess in the service's own pattern: Kie.ai never published an id.
MODEL = "stability-ai/stable-diffusion-3"


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
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
            MODEL,
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
        return apply_overrides(task, settings)

    return [generate_stable_diffusion3_image]


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Stable Diffusion 3",
        homepage="https://stability.ai/",
        kinds=("image",),
        availability="undocumented",
        checked="2026-10-02",
        note="Kie.ai never listed it; the model id sent is a guess, replaceable by [providers.stable-diffusion] model.",
        nearest="generate_flux_image",
        api_types=(API_TYPE,),
        models=("stability-ai/",),
        settings={
            "model": "The model id to send instead of the guessed one.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
