"""Tools of Nano Banana, and the form of each of its models."""

from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, Family, Form, ImageUrls, Media, OutputFormat, Prompt, Submission

GENERATE = "nano-banana"
EDIT = "nano-banana-edit"

Pictures = Annotated[ImageUrls, Field(max_length=14), Media("image", most_mb=30)]
Shape = Literal[
    "1:1", "9:16", "16:9", "3:4", "4:3", "3:2", "2:3", "5:4", "4:5", "21:9", "auto", "1:4", "4:1", "1:8", "8:1"
]
Resolution = Literal["1K", "2K", "4K"]

FAMILY = Family("kie_ai_mcp_nano_banana", "Nano Banana")

SHAPE = {"image_size": "aspect_ratio"}
WIDE = {**SHAPE, "image_urls": "image_input"}
JPG = {"output_format": {"png": "png", "jpeg": "jpg"}}
COMMON = (
    Form("nano-banana-2-1", fields=WIDE, words=JPG),
    Form("nano-banana-2-lite", fields=SHAPE),
    Form("nano-banana-2", fields=WIDE, words=JPG),
    Form("nano-banana-pro", fields=WIDE, words=JPG),
)
EDITS = (Form("google/nano-banana-edit", fields=SHAPE), *COMMON)
# Pictures beside the words of a new one are a matter of the edit model.
PICTURES = (
    Form("google/nano-banana", fields=SHAPE),
    Form("google/nano-banana-edit", "google/nano-banana", fields=SHAPE),
    *COMMON,
)


def generate_nano_banana(
    prompt: Prompt,
    image_size: Shape | None = None,
    output_format: OutputFormat | None = None,
    model: Literal["google/nano-banana", "nano-banana-2-1", "nano-banana-2", "nano-banana-2-lite", "nano-banana-pro"]
    | None = None,
    resolution: Resolution | None = None,
    image_urls: Pictures | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture from words with Google Nano Banana; choose it for everyday pictures, cheap and true to the prompt.

    Without model: the cheapest that takes the call. resolution: not google/nano-banana and -2-lite.
    """
    asked = {
        "prompt": prompt,
        "image_size": image_size,
        "output_format": output_format,
        "resolution": resolution,
        "image_urls": image_urls,
    }
    return FAMILY.choose(PICTURES, asked, model).submission(GENERATE, callBackUrl)


def edit_nano_banana(
    prompt: Prompt,
    image_urls: Pictures,
    image_size: Shape | None = None,
    output_format: OutputFormat | None = None,
    model: Literal[
        "google/nano-banana-edit", "nano-banana-2-1", "nano-banana-2", "nano-banana-2-lite", "nano-banana-pro"
    ]
    | None = None,
    resolution: Resolution | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Change or combine up to 14 pictures (addresses or local paths) by words with Google Nano Banana.

    Without model: the cheapest that takes the call. resolution: not google/nano-banana-edit and -2-lite.
    """
    asked = {
        "prompt": prompt,
        "image_urls": image_urls,
        "image_size": image_size,
        "output_format": output_format,
        "resolution": resolution,
    }
    return FAMILY.choose(EDITS, asked, model).submission(EDIT, callBackUrl)
