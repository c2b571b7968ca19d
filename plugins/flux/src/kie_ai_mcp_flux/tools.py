"""Tools of Flux Kontext, with the addresses that serve them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, InvalidArgument, OnePicture, OutputFormat, Prompt, Submission
from kie_ai_mcp_flux.prices import CREDITS, credits_of

GENERATE = "flux-kontext-generate"
EDIT = "flux-kontext-edit"

GENERATE_PATHS = ("flux/kontext/generate",)
EDIT_PATHS = ("flux/kontext/generate", "flux/kontext/edit")
STATUS_PATHS = ("flux/kontext/record-info",)

Shape = Literal["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
ModelId = Literal["flux-kontext-pro", "flux-kontext-max"]

# Always sent: the price depends on it, and a default of the service could change.
DEFAULT_MODEL = "flux-kontext-pro"

# The service's common form names no model: either may be made.
MOST = max(CREDITS.values())
EITHER = f"Kie.ai chooses between Pro and Max at this address; it costs at most {MOST:g} credits."

# The service accepts no higher tolerance together with a picture.
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
        {
            "prompt": prompt,
            "inputImage": _picture(image_urls),
            "aspectRatio": aspectRatio,
            "model": model,
            "outputFormat": output_format,
            "safetyTolerance": _tolerance(safetyTolerance, image_urls),
            "promptUpsampling": promptUpsampling,
            "enableTranslation": enableTranslation,
            "callBackUrl": callBackUrl,
        },
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
        {
            "prompt": prompt,
            "inputImage": _picture(image_urls),
            "aspectRatio": aspectRatio,
            "model": model,
            "outputFormat": output_format,
            "safetyTolerance": _tolerance(safetyTolerance, image_urls),
            "promptUpsampling": promptUpsampling,
            "enableTranslation": enableTranslation,
            "callBackUrl": callBackUrl,
        },
    )


def _submission(api_type: str, paths: Sequence[str], asked: Mapping[str, Any]) -> Submission:
    model = asked["model"] or DEFAULT_MODEL
    body = {**asked, "model": model}
    picture = Submission(paths, body, api_type, model=model, estimated_credits=credits_of(model))
    if asked["model"]:  # the other form names neither of the two
        return picture
    return picture.or_market("flux1-kontext", less=("model",), estimated_credits=MOST, notes=(EITHER,))


def _picture(image_urls: list[str] | None) -> str | None:
    if image_urls and len(image_urls) > 1:
        raise InvalidArgument(
            "image_urls",
            image_urls,
            f"Flux Kontext takes one picture, {len(image_urls)} were given; join them, or use edit_nano_banana",
        )
    return image_urls[0] if image_urls else None


def _tolerance(safety_tolerance: int | None, image_urls: list[str] | None) -> int | None:
    if image_urls and safety_tolerance is not None and safety_tolerance > MAX_TOLERANCE_WITH_PICTURE:
        raise InvalidArgument(
            "safetyTolerance",
            safety_tolerance,
            f"with a picture it goes from 0 to {MAX_TOLERANCE_WITH_PICTURE}; up to 6 without image_urls",
        )
    return safety_tolerance
