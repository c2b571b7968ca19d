"""The two tools of Flux Kontext, and the addresses that serve them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, ImageUrls, InvalidArgument, OutputFormat, Prompt, Submission
from kie_ai_mcp_flux.prices import credits_of

GENERATE = "flux-kontext-generate"
EDIT = "flux-kontext-edit"

GENERATE_PATHS = ("flux/kontext/generate",)
EDIT_PATHS = ("flux/kontext/generate", "flux/kontext/edit")
STATUS_PATHS = ("flux/kontext/record-info",)

# Said in the schema but checked here, so that a second picture is answered with advice.
OnePicture = Annotated[ImageUrls, Field(json_schema_extra={"maxItems": 1})]
Shape = Literal["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
ModelId = Literal["flux-kontext-pro", "flux-kontext-max"]

# Always sent: the price hangs on it, and a default of the service could change.
DEFAULT_MODEL = "flux-kontext-pro"

# With a picture to start from, the service's filter can't be opened further than this.
MAX_TOLERANCE_WITH_PICTURE = 2


def generate_flux_image(
    prompt: Prompt,
    image_urls: OnePicture | None = None,
    aspectRatio: Shape | None = None,
    model: ModelId | None = None,
    output_format: OutputFormat | None = None,
    safetyTolerance: Annotated[int, Field(ge=0, le=6)] | None = None,
    promptUpsampling: bool | None = None,
    enableTranslation: bool | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture with Flux Kontext, also from one picture (safetyTolerance then 0-2)."""
    return _submission(
        GENERATE,
        GENERATE_PATHS,
        prompt,
        image_urls,
        aspectRatio,
        model,
        output_format,
        safetyTolerance,
        promptUpsampling,
        enableTranslation,
        callBackUrl,
    )


def edit_flux_image(
    prompt: Prompt,
    image_urls: OnePicture,
    aspectRatio: Shape | None = None,
    model: ModelId | None = None,
    output_format: OutputFormat | None = None,
    safetyTolerance: Annotated[int, Field(ge=0, le=MAX_TOLERANCE_WITH_PICTURE)] | None = None,
    promptUpsampling: bool | None = None,
    enableTranslation: bool | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Change one picture with Flux Kontext; without aspectRatio its shape stays."""
    return _submission(
        EDIT,
        EDIT_PATHS,
        prompt,
        image_urls,
        aspectRatio,
        model,
        output_format,
        safetyTolerance,
        promptUpsampling,
        enableTranslation,
        callBackUrl,
    )


def _submission(
    api_type: str,
    paths: Sequence[str],
    prompt: str,
    image_urls: list[str] | None,
    aspect_ratio: str | None,
    model: str | None,
    output_format: str | None,
    safety_tolerance: int | None,
    prompt_upsampling: bool | None,
    enable_translation: bool | None,
    callback_url: str | None,
) -> Submission:
    if image_urls and len(image_urls) > 1:
        raise InvalidArgument(
            "image_urls",
            image_urls,
            f"Flux Kontext takes one picture, {len(image_urls)} were given; join them, or use edit_nano_banana",
        )
    if image_urls and safety_tolerance is not None and safety_tolerance > MAX_TOLERANCE_WITH_PICTURE:
        raise InvalidArgument(
            "safetyTolerance",
            safety_tolerance,
            f"with a picture it goes from 0 to {MAX_TOLERANCE_WITH_PICTURE}; up to 6 without image_urls",
        )
    model = model or DEFAULT_MODEL
    body = {
        "prompt": prompt,
        "inputImage": image_urls[0] if image_urls else None,
        "aspectRatio": aspect_ratio,
        "model": model,
        "outputFormat": output_format,
        "safetyTolerance": safety_tolerance,
        "promptUpsampling": prompt_upsampling,
        "enableTranslation": enable_translation,
        "callBackUrl": callback_url,
    }
    return Submission(paths, body, api_type, model=model, estimated_credits=credits_of(model))
