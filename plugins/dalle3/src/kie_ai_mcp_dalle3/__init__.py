"""DALL-E 3, a family that Kie.ai never documented: one tool, sent as a market task under a guessed model id."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from kie_ai_mcp import (
    AspectRatio,
    CallbackUrl,
    ImageUrls,
    OutputFormat,
    Prompt,
    Provider,
    Submission,
    apply_overrides,
    hookimpl,
)

API_TYPE = "dalle3-image"
# A guess in the service's own pattern: Kie.ai never published an id.
MODEL = "openai/dall-e-3"


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    def generate_dalle3_image(
        prompt: Prompt,
        image_urls: ImageUrls | None = None,
        size: AspectRatio | None = None,
        quality: Literal["standard", "hd"] | None = None,
        style: Literal["vivid", "natural"] | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Undocumented at Kie.ai; prefer generate_gpt4o_image."""
        task = Submission.market(
            MODEL,
            {
                "prompt": prompt,
                "image_urls": image_urls,
                "size": size,
                "quality": quality,
                "style": style,
                "output_format": output_format,
            },
            api_type=API_TYPE,
            callback_url=callBackUrl,
        )
        return apply_overrides(task, settings)

    return [generate_dalle3_image]


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="DALL-E 3",
        homepage="https://openai.com/index/dall-e-3/",
        kinds=("image",),
        availability="undocumented",
        checked="2026-10-02",
        note="Kie.ai never listed it; the model id sent is a guess, replaceable by [providers.dalle3] model.",
        nearest="generate_gpt4o_image",
        api_types=(API_TYPE,),
        models=("openai/dall-e",),
        settings={
            "model": "The model id to send instead of the guessed one.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
