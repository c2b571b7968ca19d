"""Playground, a family that Kie.ai never documented: one tool, sent as a market task under guessed model ids."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

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
    reject_arguments,
)

API_TYPE = "playground-image"
# Guesses in the service's own pattern: Kie.ai never published an id.
MODELS = {"v2": "playground/v2", "v2.5": "playground/v2-5", "v3": "playground/v3"}
NEWEST = "v3"


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
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
        if configured:
            reject_arguments(f"the configuration sets {configured!r} for every call", model=model)
        task = Submission.market(
            MODELS[model or NEWEST],
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
        return apply_overrides(task, settings)

    return [generate_playground_image]


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Playground",
        homepage="https://playground.com/",
        kinds=("image",),
        availability="undocumented",
        checked="2026-10-02",
        note="Kie.ai never listed it; the model ids sent are guesses, replaceable by [providers.playground] model.",
        nearest="generate_nano_banana",
        api_types=(API_TYPE,),
        models=("playground/",),
        settings={
            "model": "The model id to send instead of the guessed one.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
