"""Tools of GPT Image: pictures from words, and changes to pictures, by the cheapest model that takes the whole call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import Choice, Family, Form, ImageUrls, Media, Prompt, Submission

GENERATE = "gpt-image"
EDIT = "gpt-image-edit"

FAMILY = Family("kie_ai_mcp_gpt_image", "GPT Image")


def _forms(work: str) -> Iterator[Form]:
    """Yield the form of each model for one sort of work, which ends its id."""
    fields = {"image_urls": "input_urls"}
    for name, quality in (("1.5", "medium"), ("1.5-high", "high")):
        yield Form(f"gpt-image/1.5-{work}", name, fields, always={"aspect_ratio": "1:1", "quality": quality})
    for name in ("2", "2-5-flare", "2-5-sunburst"):
        yield Form(f"gpt-image-{name}-{work}", name.replace("2-5", "2.5"), fields)


NEW = (*_forms("text-to-image"),)
EDITS = (*_forms("image-to-image"),)
NAMES = {form.id: form.name for form in reversed((*NEW, *EDITS))}
"""The names by the service's ids, which answers and lists of models show."""

Pictures = Annotated[ImageUrls, Field(max_length=16), Media("image")]
Shape = Literal[
    "1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "2:1", "1:2", "3:1", "1:3", "21:9", "9:21", "auto"
]
Resolution = Literal["1K", "2K", "4K"]
Background = Literal["transparent", "opaque", "auto"]
Name = Annotated[
    Literal["1.5", "2", "2.5-flare", "2.5-sunburst", "1.5-high"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_gpt_image(
    prompt: Prompt,
    aspect_ratio: Shape | None = None,
    resolution: Resolution | None = None,
    background: Background | None = None,
    model: Name | None = None,
) -> Submission:
    """Make a picture from words with OpenAI GPT Image; choose it for text in pictures or a transparent background.

    Without model: the cheapest that fits.
    """
    asked = {"prompt": prompt, "aspect_ratio": aspect_ratio, "resolution": resolution, "background": background}
    return _chosen(NEW, asked, model, is_free=aspect_ratio == "auto").submission(GENERATE)


def edit_gpt_image(
    prompt: Prompt,
    image_urls: Pictures,
    aspect_ratio: Shape | None = None,
    resolution: Resolution | None = None,
    background: Background | None = None,
    model: Name | None = None,
) -> Submission:
    """Change or combine up to 16 pictures (addresses or local paths) by words with GPT Image.

    Without model: the cheapest that fits.
    """
    asked = {
        "prompt": prompt,
        "image_urls": image_urls,
        "aspect_ratio": aspect_ratio,
        "resolution": resolution,
        "background": background,
    }
    return _chosen(EDITS, asked, model, is_free=aspect_ratio in {None, "auto"}).submission(EDIT)


def _chosen(forms: Sequence[Form], asked: Mapping[str, Any], named: str | None, *, is_free: bool) -> Choice:
    """Return the model of a call; one that `is_free` to choose the shape where that is wanted."""
    # 1.5 makes a square where no shape is asked for; the others choose it, and a changed picture keeps its own.
    choosing = [form for form in forms if not form.always]
    choice = FAMILY.choose(forms, asked, named, preferred=choosing if is_free else ())
    if not is_free or (named and choice.form in choosing):
        return choice
    square = "GPT Image 1.5 is cheaper, but makes a square picture where it is given no shape."
    if choice.form not in choosing:
        square = f"GPT Image {choice.form.name} makes a square picture where aspect_ratio is left out."
    return replace(choice, notes=(*choice.notes, square))
