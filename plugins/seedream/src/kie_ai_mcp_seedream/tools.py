"""Tools of Seedream: pictures from words, and changes to pictures, by the cheapest model that takes the whole call."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import CallbackUrl, ImageUrls, InvalidArgument, Media, OutputFormat, Submission
from kie_ai_mcp import Prompt as AnyPrompt
from kie_ai_mcp_seedream.models import MODELS, NAMES

GENERATE = "seedream"
EDIT = "seedream-edit"

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
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture from words with ByteDance Seedream; choose it for a low price or up to 4K.

    Without model: the cheapest that takes the call; without aspect_ratio: 1:1.
    """
    return _submission(GENERATE, model, Call(prompt, [], aspect_ratio, resolution, output_format), callBackUrl)


def edit_seedream_image(
    prompt: Prompt,
    image_urls: Pictures,
    aspect_ratio: Shape | None = None,
    resolution: Resolution | None = None,
    output_format: OutputFormat | None = None,
    model: Name | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Change or combine up to 14 pictures (addresses or local paths) by words with ByteDance Seedream, cheaply.

    Without model: the cheapest that takes the call; without aspect_ratio: 1:1.
    """
    return _submission(EDIT, model, Call(prompt, image_urls, aspect_ratio, resolution, output_format), callBackUrl)


@dataclass(frozen=True)
class Call:
    """What a caller asks for, whatever the model."""

    prompt: str
    image_urls: list[str]
    aspect_ratio: str | None
    resolution: str | None
    output_format: str | None

    def faults(self, name: str) -> Iterator[tuple[str, Any, str]]:
        """Yield what a model does not take: the argument, its value, and what to give instead."""
        model, count = MODELS[name], len(self.image_urls)
        least, most = model.prompt_chars
        if not least <= len(self.prompt) <= most:
            yield "prompt", self.prompt, f"give {name} {least} to {most} characters"
        if count > model.pictures:
            yield "image_urls", self.image_urls, f"give {name} at most {model.pictures}, not {count}"
        if self.resolution and self.resolution not in model.resolutions:
            yield "resolution", self.resolution, f"{name} makes {' or '.join(model.resolutions)}; use one of these"
        if self.output_format and not model.formats:
            yield "output_format", self.output_format, f"{name} chooses it itself; leave it out"


def _submission(api_type: str, named: str | None, call: Call, callback_url: str | None) -> Submission:
    faults = {name: tuple(call.faults(name)) for name in MODELS}
    name = named or min(faults, key=lambda name: len(faults[name]))
    if faults[name]:
        raise _refusal(faults[name], [other for other in faults if not faults[other]])
    model = MODELS[name]
    sent = {
        "prompt": call.prompt,
        "image_urls": call.image_urls or None,
        **model.always,
        "output_format": call.output_format,
    }
    if call.aspect_ratio:
        sent[model.shape] = model.shapes.get(call.aspect_ratio, call.aspect_ratio)
    if call.resolution:
        sent[model.size] = model.resolutions[call.resolution]
    return Submission.market(
        model.edits if call.image_urls else model.words,
        sent,
        api_type=api_type,
        callback_url=callback_url,
        notes=() if named else (f"Seedream {name} was chosen: the cheapest model that takes the whole call.",),
    )


def _refusal(faults: tuple[tuple[str, Any, str], ...], others: list[str]) -> InvalidArgument:
    """Return the error of a call that a model does not take, with the models that do, or all that must change."""
    field, value, cure = faults[0]
    if others:
        return InvalidArgument(field, value, f"{cure}, or leave model out: {others[0]} takes the whole call")
    return InvalidArgument(field, value, "; ".join([cure, *(f"{name}: {more}" for name, _, more in faults[1:])]))
