"""The one tool: DALL-E 3 in the form of a market task, under a model id that the configuration can replace."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from kie_ai_mcp import AspectRatio, CallbackUrl, ImageUrls, OutputFormat, Prompt, Submission

API_TYPE = "dalle3-image"
MODEL = "openai/dall-e-3"
"""Our guess in the service's own pattern: Kie.ai never published an id."""


def dalle3_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the tool, bound to the configured ``model`` id and ``path``."""

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
            settings.get("model") or MODEL,
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
        return replace(task, path=settings.get("path") or task.path)

    return [generate_dalle3_image]
