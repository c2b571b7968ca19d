"""Tools of Ideogram 3, and the form of each of its models."""

from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import (
    CallbackUrl,
    Choice,
    Family,
    Form,
    ImageUrl,
    InvalidArgument,
    Media,
    NegativePrompt,
    OnePicture,
    OutputFormat,
    Submission,
)
from kie_ai_mcp import Prompt as AnyPrompt

TEXT_TO_IMAGE = "ideogram/v3-text-to-image"
CHARACTER = "ideogram/character"
REMIX = "ideogram/v3-remix"

API_TYPES = {
    TEXT_TO_IMAGE: "ideogram-image",
    CHARACTER: "ideogram-character",
    "ideogram/v3-edit": "ideogram-edit",
    "ideogram/character-edit": "ideogram-character-edit",
    REMIX: "ideogram-remix",
    "ideogram/character-remix": "ideogram-character-remix",
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
Count = Annotated[int, Field(ge=1, le=4)]

FAMILY = Family("kie_ai_mcp_ideogram", "Ideogram")

SHAPE = {"aspectRatio": "image_size"}
REFERENCE = {**SHAPE, "character_url": "reference_image_urls"}
WORDS = {"aspectRatio": SIZES}
ONE = {"num_images": (1,)}
GENERATE = (
    Form(TEXT_TO_IMAGE, fields=SHAPE, words=WORDS, implied=ONE),
    # A picture beside the words of a new one is a matter of the remix model, unless its character is meant.
    Form(REMIX, TEXT_TO_IMAGE, {**SHAPE, "image_urls": "image_url"}, WORDS),
    Form(CHARACTER, fields={**SHAPE, "image_urls": "reference_image_urls"}, words=WORDS),
)
EDIT = Form("ideogram/v3-edit", implied={**ONE, "style": ("AUTO",)}, appended={"style": "Style: {}."})
EDIT_CHARACTER = Form("ideogram/character-edit", fields=REFERENCE)
REMIX_PICTURE = Form(REMIX, fields=SHAPE, words=WORDS)
REMIX_CHARACTER = Form("ideogram/character-remix", fields=REFERENCE, words=WORDS)


def generate_ideogram_image(
    prompt: Prompt,
    negative_prompt: NegativePrompt | None = None,
    image_urls: Pictures | None = None,
    aspectRatio: Shape | None = None,
    style: Style | None = None,
    model: Literal["ideogram/v3-text-to-image", "ideogram/character"] | None = None,
    output_format: Annotated[OutputFormat, Field(description="when saved")] | None = None,
    rendering_speed: Speed | None = None,
    seed: int | None = None,
    num_images: Count | None = None,
    expand_prompt: bool | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture from words, or anew from one (address or local path), with Ideogram 3; choose it for text in it.

    With model ideogram/character or style FICTION, image_urls shows the character to draw. num_images needs image_urls.
    """
    asked = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "image_urls": image_urls,
        "aspectRatio": aspectRatio,
        "style": style,
        "output_format": output_format,
        "rendering_speed": rendering_speed,
        "seed": seed,
        "num_images": num_images,
        "expand_prompt": expand_prompt,
    }
    pictures, faults, instead = image_urls or [], [], None
    if len(pictures) > 1:
        faults = [InvalidArgument("image_urls", pictures, f"Ideogram takes one, {len(pictures)} were given")]
        more = {"image_size": aspectRatio, "output_format": output_format, "callBackUrl": callBackUrl}
        call = {"prompt": prompt, "image_urls": pictures, **{name: more[name] for name in more if more[name]}}
        instead = {"tool": "edit_nano_banana", "arguments": call}
    # The model that draws a character costs more than twice as much.
    forms = GENERATE if model or style == "FICTION" else GENERATE[:2]
    asked["image_urls"] = pictures[:1]
    return _submission(FAMILY.choose(forms, asked, model, instead=instead, faults=faults), callBackUrl)


def edit_ideogram_image(
    prompt: Prompt,
    image_url: Picture,
    mask_url: Picture,
    character_url: Picture | None = None,
    style: Literal["AUTO", "REALISTIC", "FICTION"] | None = None,
    rendering_speed: Speed | None = None,
    seed: int | None = None,
    num_images: Count | None = None,
    expand_prompt: bool | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Repaint the masked part of a picture (addresses or local paths) with Ideogram 3; the mask is as large as it.

    character_url: the character to paint; num_images needs it.
    """
    asked = {
        "prompt": prompt,
        "image_url": image_url,
        "mask_url": mask_url,
        "character_url": character_url,
        "style": style,
        "rendering_speed": rendering_speed,
        "seed": seed,
        "num_images": num_images,
        "expand_prompt": expand_prompt,
    }
    form = EDIT_CHARACTER if character_url else EDIT
    return _submission(FAMILY.choose((form,), asked), callBackUrl)


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
    num_images: Count | None = None,
    expand_prompt: bool | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture anew from one (address or local path) and words with Ideogram 3.

    character_url: for FICTION, not for GENERAL and DESIGN.
    """
    asked = {
        "prompt": prompt,
        "image_url": image_url,
        "character_url": character_url,
        "strength": strength,
        "negative_prompt": negative_prompt,
        "aspectRatio": aspectRatio,
        "style": style,
        "rendering_speed": rendering_speed,
        "seed": seed,
        "num_images": num_images,
        "expand_prompt": expand_prompt,
    }
    form = REMIX_CHARACTER if character_url else REMIX_PICTURE
    return _submission(FAMILY.choose((form,), asked), callBackUrl)


def _submission(choice: Choice, callback_url: str | None) -> Submission:
    return choice.submission(API_TYPES[choice.model.id], callback_url)
