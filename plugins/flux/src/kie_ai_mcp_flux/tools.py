"""Tools of Flux Kontext, with the addresses that serve them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import CallbackUrl, Family, Form, InvalidArgument, OnePicture, OutputFormat, Prompt, Submission

GENERATE = "flux-kontext-generate"
EDIT = "flux-kontext-edit"

GENERATE_PATHS = ("flux/kontext/generate",)
EDIT_PATHS = ("flux/kontext/generate", "flux/kontext/edit")
STATUS_PATHS = ("flux/kontext/record-info",)

Shape = Literal["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
ModelId = Literal["flux-kontext-pro", "flux-kontext-max"]

# Always sent: the price depends on it, and a default of the service could change.
DEFAULT_MODEL = "flux-kontext-pro"
# The market's one id of the two models: the usual one is meant.
OF_MARKET = BeforeValidator(lambda value: DEFAULT_MODEL if value == "flux1-kontext" else value)
TIERS = {"flux-kontext-pro": "Pro", "flux-kontext-max": "Max"}

# The service's common form names no model: either may be made.
EITHER = "Kie.ai chooses between Pro and Max at this address; it costs at most {:g} credits."

FAMILY = Family("kie_ai_mcp_flux", "Flux")
FORMS = (Form("flux1-kontext", "Kontext", {"image_urls": "input_image"}),)


def generate_flux_image(
    prompt: Prompt,
    image_urls: OnePicture | None = None,
    aspectRatio: Shape | None = None,
    model: Annotated[ModelId, OF_MARKET] | None = None,
    output_format: OutputFormat | None = None,
    safetyTolerance: Annotated[int, Field(ge=0, le=6)] | None = None,
    promptUpsampling: bool | None = None,
    enableTranslation: bool | None = None,
    watermark: str | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture from words or from one picture (address or local path) with Flux Kontext, cheaply.

    safetyTolerance: 0-2 with a picture.
    """
    asked = {
        "prompt": prompt,
        "image_urls": image_urls,
        "aspectRatio": aspectRatio,
        "output_format": output_format,
        "safetyTolerance": safetyTolerance,
        "promptUpsampling": promptUpsampling,
        "enableTranslation": enableTranslation,
        "watermark": watermark,
    }
    return _submission(GENERATE, GENERATE_PATHS, asked, model, callBackUrl)


def edit_flux_image(
    prompt: Prompt,
    image_urls: OnePicture,
    aspectRatio: Shape | None = None,
    model: Annotated[ModelId, OF_MARKET] | None = None,
    output_format: OutputFormat | None = None,
    safetyTolerance: Annotated[int, Field(ge=0, le=2)] | None = None,
    promptUpsampling: bool | None = None,
    enableTranslation: bool | None = None,
    watermark: str | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Change one picture (address or local path) by words with Flux Kontext; without aspectRatio its shape stays."""
    asked = {
        "prompt": prompt,
        "image_urls": image_urls,
        "aspectRatio": aspectRatio,
        "output_format": output_format,
        "safetyTolerance": safetyTolerance,
        "promptUpsampling": promptUpsampling,
        "enableTranslation": enableTranslation,
        "watermark": watermark,
    }
    return _submission(EDIT, EDIT_PATHS, asked, model, callBackUrl)


def credits_of_models() -> dict[str, float]:
    """Return what a picture costs, by the name of its model."""
    price = FAMILY.models["flux1-kontext"].price
    lines = price.lines if price else ()
    tiers = {line.when["(tier)"]: line.credits for line in lines if isinstance(line.when, Mapping)}
    return {model: tiers[tier] for model, tier in TIERS.items() if tier in tiers}


def _submission(
    api_type: str, paths: Sequence[str], asked: Mapping[str, Any], named: str | None, callback_url: str | None
) -> Submission:
    pictures, faults, instead = asked["image_urls"] or [], [], None
    if len(pictures) > 1:
        faults = [InvalidArgument("image_urls", pictures, f"Flux Kontext takes one, {len(pictures)} were given")]
        more = {
            "image_size": asked["aspectRatio"],
            "output_format": asked["output_format"],
            "callBackUrl": callback_url,
        }
        call = {"prompt": asked["prompt"], "image_urls": pictures, **{name: more[name] for name in more if more[name]}}
        instead = {"tool": "edit_nano_banana", "arguments": call}
    choice = FAMILY.choose(FORMS, {**asked, "image_urls": pictures[:1]}, instead=instead, faults=faults)
    credits, model = credits_of_models(), named or DEFAULT_MODEL
    own = choice.own(paths, api_type, callback_url, model=model)
    own = replace(own, body={**own.body, "model": model}, estimated_credits=credits.get(model))
    if named or own.otherwise is None:  # the other form names neither of the two
        return replace(own, otherwise=None)
    most = max(credits.values())
    notes = (*own.notes, EITHER.format(most))
    return replace(own, otherwise=replace(own.otherwise, estimated_credits=most, notes=notes))
