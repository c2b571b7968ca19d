"""Tools of Seedream: pictures from words, and changes to pictures, by the cheapest model that takes the whole call."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import Family, Form, ImageUrls, Media, OutputFormat, Submission
from kie_ai_mcp import Prompt as AnyPrompt

GENERATE = "seedream"
EDIT = "seedream-edit"

FAMILY = Family("kie_ai_mcp_seedream", "Seedream")

# Seedream 4 writes the longer side first.
SHAPES = {
    "1:1": "square_hd",
    "4:3": "landscape_4_3",
    "3:4": "portrait_4_3",
    "3:2": "landscape_3_2",
    "2:3": "portrait_3_2",
    "16:9": "landscape_16_9",
    "9:16": "portrait_16_9",
    "21:9": "landscape_21_9",
}
QUALITY = {"resolution": "quality"}


def _forms(words: str, words_of_4: str) -> Iterator[Form]:
    """Yield the form of each model for one sort of work; the sort ends its id."""
    fields_of_4 = {"aspect_ratio": "image_size", "resolution": "image_resolution"}
    yield Form(f"seedream/5-flash-{words}", "5-flash", {"resolution": "size"})
    yield Form(f"bytedance/seedream-v4-{words_of_4}", "4", fields_of_4, {"aspect_ratio": SHAPES})
    sizes = {"resolution": {"2K": "basic", "3K": "high", "4K": "ultra"}}
    yield Form(f"seedream/5-lite-{words}", "5-lite", QUALITY, sizes)
    yield Form(f"seedream/4.5-{words_of_4}", "4.5", QUALITY, {"resolution": {"2K": "basic", "4K": "high"}})
    yield Form(f"seedream/5-pro-{words}", "5-pro", QUALITY, {"resolution": {"1K": "basic", "2K": "high"}})


NEW = (*_forms("text-to-image", "text-to-image"),)
EDITS = (*_forms("image-to-image", "edit"),)
NAMES = {form.id: form.name for form in (*NEW, *EDITS)}
"""The names by the service's ids, which answers and lists of models show."""

Prompt = Annotated[AnyPrompt, Field(max_length=5_000)]
Pictures = Annotated[
    ImageUrls, Field(max_length=14), Media("image", most_mb=30, formats=("jpg", "png", "webp"))
]  # fmt: skip
Shape = Literal["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9"]
Resolution = Literal["1K", "1.5K", "2K", "3K", "4K"]
Name = Annotated[
    Literal["5-flash", "4", "5-lite", "4.5", "5-pro"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_seedream_image(
    prompt: Prompt,
    aspect_ratio: Shape | None = None,
    resolution: Resolution | None = None,
    output_format: OutputFormat | None = None,
    model: Name | None = None,
) -> Submission:
    """Make a picture from words with ByteDance Seedream; choose it for low prices or 4K.

    Without model: the cheapest that fits.
    """
    asked = {"prompt": prompt, "aspect_ratio": aspect_ratio, "resolution": resolution, "output_format": output_format}
    return FAMILY.choose(NEW, asked, model).submission(GENERATE)


def edit_seedream_image(
    prompt: Prompt,
    image_urls: Pictures,
    aspect_ratio: Shape | None = None,
    resolution: Resolution | None = None,
    output_format: OutputFormat | None = None,
    model: Name | None = None,
) -> Submission:
    """Change or combine up to 14 pictures (addresses or local paths) by words with Seedream, cheaply.

    Without model: the cheapest that fits. Square where aspect_ratio is left out.
    """
    asked = {
        "prompt": prompt,
        "image_urls": image_urls,
        "aspect_ratio": aspect_ratio,
        "resolution": resolution,
        "output_format": output_format,
    }
    return FAMILY.choose(EDITS, asked, model).submission(EDIT)
