"""Tool of GPT-4o images, with the addresses that serve it."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    CallbackUrl,
    ImageUrl,
    ImageUrls,
    InvalidArgument,
    Media,
    OutputFormat,
    Prompt,
    Submission,
    is_on,
    otherwise_first,
    reject_arguments,
)
from kie_ai_mcp_gpt4o_image.prices import credits_of

GPT4O_IMAGE = "gpt4o-image"

CREATE_PATHS = ("gpt4o-image/generate",)
STATUS_PATHS = ("gpt4o-image/record-info",)

# Fields documented until 2025 and absent from the official page since; it is unknown whether they still work.
OLDER_FIELDS = "older_fields"
SETTINGS = {
    OLDER_FIELDS: "true sends maskUrl and nVariants, which Kie.ai's page no longer lists",
    "unified": "true begins with jobs/createTask (4o-image-api), false with the family's own address",
}
ALLOW_THEM = f"set {OLDER_FIELDS} = true below [providers.{GPT4O_IMAGE}] in the configuration"


def gpt4o_image_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the family's tool; the setting ``older_fields`` decides whether it sends fields of 2025."""
    older_fields = is_on(settings, OLDER_FIELDS)

    def generate_gpt4o_image(
        prompt: Prompt,
        image_urls: Annotated[ImageUrls, Field(max_length=5)] | None = None,
        size: Literal["1:1", "3:2", "2:3"] = "1:1",
        output_format: OutputFormat | None = None,
        maskUrl: Annotated[ImageUrl, Media("image", most_mb=25)] | None = None,
        nVariants: Literal[1, 2, 4] | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Make or change pictures with GPT-4o.

        output_format can't be chosen; maskUrl and nVariants need the setting older_fields.
        """
        reject_arguments(
            "GPT-4o chooses it itself", "leave it out, or use generate_nano_banana", output_format=output_format
        )
        if maskUrl is not None:
            _check_mask(maskUrl, image_urls, older_fields)
        if nVariants not in {None, 1} and not older_fields:
            raise InvalidArgument(
                "nVariants", nVariants, f"Kie.ai no longer lists it; call once per picture, or {ALLOW_THEM}"
            )
        body = {
            "prompt": prompt,
            "filesUrl": image_urls,
            "size": size,
            "maskUrl": maskUrl,
            "nVariants": nVariants if older_fields else None,
            "callBackUrl": callBackUrl,
        }
        pictures = Submission(CREATE_PATHS, body, GPT4O_IMAGE, estimated_credits=credits_of(nVariants))
        # The other form makes one picture, and takes no mask.
        is_plain = maskUrl is None and nVariants in {None, 1}
        return pictures.or_market("4o-image-api", less=("nVariants",)) if is_plain else pictures

    return otherwise_first(generate_gpt4o_image) if is_on(settings, "unified") else [generate_gpt4o_image]


def _check_mask(mask_url: str, image_urls: list[str] | None, older_fields: bool) -> None:
    if not older_fields:
        raise InvalidArgument(
            "maskUrl", mask_url, f"Kie.ai no longer lists it; use edit_ideogram_image, or {ALLOW_THEM}"
        )
    if image_urls is None or len(image_urls) != 1:
        raise InvalidArgument("maskUrl", mask_url, "a mask goes with exactly one picture in image_urls")
