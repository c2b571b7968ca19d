"""Tools of Ideogram 3, with the limits of its six models."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    CallbackUrl,
    ImageUrl,
    InvalidArgument,
    Media,
    NegativePrompt,
    OnePicture,
    OutputFormat,
    Submission,
    reject_arguments,
)
from kie_ai_mcp import Prompt as AnyPrompt
from kie_ai_mcp_ideogram.prices import credits_of

TEXT_TO_IMAGE = "ideogram/v3-text-to-image"
CHARACTER = "ideogram/character"
EDIT = "ideogram/v3-edit"
CHARACTER_EDIT = "ideogram/character-edit"
REMIX = "ideogram/v3-remix"
CHARACTER_REMIX = "ideogram/character-remix"

V3_STYLES = ("AUTO", "GENERAL", "REALISTIC", "DESIGN")
CHARACTER_STYLES = ("AUTO", "REALISTIC", "FICTION")


@dataclass(frozen=True)
class Model:
    """The limits of one model; None or empty where it has no such field.

    `strength_step` is also the lowest strength.
    """

    api_type: str
    styles: tuple[str, ...] = ()
    negative_chars: int | None = None
    strength_step: float | None = None


MODELS = {
    TEXT_TO_IMAGE: Model("ideogram-image", V3_STYLES, 5_000),
    CHARACTER: Model("ideogram-character", CHARACTER_STYLES, 5_000),
    EDIT: Model("ideogram-edit"),
    CHARACTER_EDIT: Model("ideogram-character-edit", CHARACTER_STYLES),
    REMIX: Model("ideogram-remix", V3_STYLES, 5_000, strength_step=0.01),
    CHARACTER_REMIX: Model("ideogram-character-remix", CHARACTER_STYLES, 500, strength_step=0.1),
}

# The service writes the longer side first, also for upright pictures.
SIZES = {
    "1:1": "square_hd",
    "3:4": "portrait_4_3",
    "9:16": "portrait_16_9",
    "4:3": "landscape_4_3",
    "16:9": "landscape_16_9",
}

Prompt = Annotated[AnyPrompt, Field(max_length=5_000)]
Picture = Annotated[ImageUrl, Media("image", most_mb=10)]
Pictures = Annotated[OnePicture, Media("image", most_mb=10)]
Shape = Literal["1:1", "3:4", "9:16", "4:3", "16:9"]
Style = Literal["AUTO", "GENERAL", "REALISTIC", "DESIGN", "FICTION"]
Speed = Literal["TURBO", "BALANCED", "QUALITY"]


def generate_ideogram_image(
    prompt: Prompt,
    negative_prompt: NegativePrompt | None = None,
    image_urls: Pictures | None = None,
    aspectRatio: Shape | None = None,
    style: Style | None = None,
    model: Literal["ideogram/v3-text-to-image", "ideogram/character"] | None = None,
    output_format: OutputFormat | None = None,
    rendering_speed: Speed | None = None,
    seed: int | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture with Ideogram 3. Only ideogram/character takes image_urls (one) and FICTION.

    output_format can't be chosen.
    """
    chosen = model or TEXT_TO_IMAGE
    reject_arguments(
        "Ideogram chooses it itself", "leave it out, or use generate_nano_banana", output_format=output_format
    )
    if image_urls and chosen != CHARACTER:
        raise InvalidArgument(
            "image_urls",
            image_urls,
            f"{chosen} takes none; model={CHARACTER!r} draws its character, remix_ideogram_image it anew",
        )
    if chosen == CHARACTER and len(image_urls or ()) != 1:
        raise InvalidArgument("image_urls", image_urls, f"{CHARACTER} takes exactly one picture of the character")
    return _submission(
        chosen,
        {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "reference_image_urls": image_urls,
            "image_size": SIZES[aspectRatio] if aspectRatio else None,
            "style": style,
            "rendering_speed": rendering_speed,
            "seed": seed,
        },
        callBackUrl,
    )


def edit_ideogram_image(
    prompt: Prompt,
    image_url: Picture,
    mask_url: Picture,
    character_url: Picture | None = None,
    style: Literal["AUTO", "REALISTIC", "FICTION"] | None = None,
    rendering_speed: Speed | None = None,
    seed: int | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Repaint the masked part of a picture with Ideogram 3; the mask has the picture's pixel size.

    character_url: a picture of the character to paint; only then style.
    """
    return _submission(
        CHARACTER_EDIT if character_url else EDIT,
        {
            "prompt": prompt,
            "image_url": image_url,
            "mask_url": mask_url,
            "reference_image_urls": [character_url] if character_url else None,
            "style": style,
            "rendering_speed": rendering_speed,
            "seed": seed,
        },
        callBackUrl,
    )


def remix_ideogram_image(
    prompt: Prompt,
    image_url: Picture,
    character_url: Picture | None = None,
    strength: Annotated[float, Field(ge=0.01, le=1)] | None = None,
    negative_prompt: str | None = None,
    aspectRatio: Shape | None = None,
    style: Style | None = None,
    rendering_speed: Speed | None = None,
    seed: int | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture anew with Ideogram 3."""
    return _submission(
        CHARACTER_REMIX if character_url else REMIX,
        {
            "prompt": prompt,
            "image_url": image_url,
            "reference_image_urls": [character_url] if character_url else None,
            "strength": strength,
            "negative_prompt": negative_prompt,
            "image_size": SIZES[aspectRatio] if aspectRatio else None,
            "style": style,
            "rendering_speed": rendering_speed,
            "seed": seed,
        },
        callBackUrl,
    )


def _submission(model: str, fields: Mapping[str, Any], callback_url: str | None) -> Submission:
    limits = MODELS[model]
    _check_style(model, limits, fields.get("style"))
    _check_negative_prompt(model, limits, fields.get("negative_prompt"))
    _check_strength(model, limits, fields.get("strength"))
    return Submission.market(
        model,
        fields,
        api_type=limits.api_type,
        callback_url=callback_url,
        estimated_credits=credits_of(model, fields.get("rendering_speed")),
    )


def _check_style(model: str, limits: Model, style: str | None) -> None:
    if not limits.styles:
        reject_arguments(f"{model} has no styles", "leave it out, or give character_url", style=style)
    if style and style not in limits.styles:
        raise InvalidArgument("style", style, f"{model} has {', '.join(limits.styles)}")


def _check_negative_prompt(model: str, limits: Model, negative_prompt: str | None) -> None:
    if negative_prompt and limits.negative_chars and len(negative_prompt) > limits.negative_chars:
        raise InvalidArgument(
            "negative_prompt", negative_prompt, f"{model} takes at most {limits.negative_chars} characters"
        )


def _check_strength(model: str, limits: Model, strength: float | None) -> None:
    step = limits.strength_step
    if strength is None or step is None:
        return
    if strength < step or not isclose(strength, round(strength / step) * step):
        raise InvalidArgument("strength", strength, f"{model} takes {step} to 1 in steps of {step}")
