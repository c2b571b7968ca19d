"""Tool of GPT-4o images, with the addresses that serve it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    CallbackUrl,
    Family,
    Form,
    ImageUrl,
    ImageUrls,
    InvalidArgument,
    Media,
    OutputFormat,
    Prompt,
    Submission,
    is_on,
    otherwise_first,
)

GPT4O_IMAGE = "gpt4o-image"

CREATE_PATHS = ("gpt4o-image/generate",)
STATUS_PATHS = ("gpt4o-image/record-info",)
VARIANTS = 1, 2, 4  # checked by the tool: without older_fields, another number is refused for more than its size
MASKED_CHARS = 5_000  # of the prompt of edit_ideogram_image

# Fields documented until 2025 and absent from the official page since; it is unknown whether they still work.
OLDER_FIELDS = "older_fields"
SETTINGS = {
    OLDER_FIELDS: "true sends maskUrl and nVariants, which Kie.ai's page no longer lists",
    "unified": "true begins with jobs/createTask (4o-image-api), false with the family's own address",
}
ALLOW_THEM = (
    f"Kie.ai no longer lists it; set {OLDER_FIELDS} = true below [providers.{GPT4O_IMAGE}] in the configuration"
)

FAMILY = Family("kie_ai_mcp_gpt4o_image", "")
FORMS = (
    Form(
        "4o-image-api",
        "GPT-4o",
        {"image_urls": "files_url"},
        always={"size": "1:1"},
        implied={"nVariants": (1,)},
        reasons={"maskUrl": ALLOW_THEM, "nVariants": f"{ALLOW_THEM}, or call once per picture"},
    ),
)


def gpt4o_image_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the family's tool; the setting ``older_fields`` decides whether it sends fields of 2025."""
    older_fields = is_on(settings, OLDER_FIELDS)

    def generate_gpt4o_image(
        prompt: Prompt,
        image_urls: Annotated[ImageUrls, Field(max_length=5)] | None = None,
        size: Literal["1:1", "3:2", "2:3", "auto"] | None = None,
        output_format: Annotated[OutputFormat, Field(description="when saved")] | None = None,
        maskUrl: Annotated[ImageUrl, Media("image", most_mb=25)] | None = None,
        nVariants: Annotated[int, Field(json_schema_extra={"enum": [*VARIANTS]})] | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Make a picture from words, or change up to 5 (addresses or local paths), with GPT-4o; choose it for text.

        Refused without the setting older_fields: maskUrl, nVariants.
        """
        asked: dict[str, Any] = {
            "prompt": prompt,
            "image_urls": image_urls,
            "size": size,
            "output_format": output_format,
        }
        older: dict[str, Any] = {"maskUrl": maskUrl, "nVariants": nVariants}
        faults, instead, one = [], None, image_urls if image_urls and len(image_urls) == 1 else None
        if older_fields and maskUrl is not None and one is None:
            faults = [InvalidArgument("maskUrl", maskUrl, "a mask goes with exactly one picture in image_urls")]
        elif maskUrl is not None and one is not None:
            call = {"prompt": prompt, "image_url": one[0], "mask_url": maskUrl, "callBackUrl": callBackUrl}
            arguments = {name: value for name, value in call.items() if value}
            instead = {"tool": "edit_ideogram_image", "arguments": arguments} if len(prompt) <= MASKED_CHARS else None
        if older_fields and nVariants not in {None, *VARIANTS}:
            faults.append(InvalidArgument("nVariants", nVariants, "use one of 1, 2 or 4"))
        asked = asked if older_fields else {**asked, **older}
        choice = FAMILY.choose(FORMS, asked, instead=instead, faults=faults)
        pictures = choice.own(CREATE_PATHS, GPT4O_IMAGE, callBackUrl)
        if not older_fields:
            return pictures
        # The other form makes one picture, and takes no mask.
        other = pictures.otherwise if maskUrl is None and nVariants in {None, 1} else None
        credits = None if choice.price.credits is None else choice.price.credits * (nVariants or 1)
        return replace(pictures, body={**pictures.body, **older}, otherwise=other, estimated_credits=credits)

    return otherwise_first(generate_gpt4o_image) if is_on(settings, "unified") else [generate_gpt4o_image]
