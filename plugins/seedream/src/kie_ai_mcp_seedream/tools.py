"""Tools of Seedream: pictures from words, and changes to pictures, by the cheapest model that takes the whole call."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import ImageUrls, InvalidArgument, Media, OutputFormat, Submission
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
) -> Submission:
    """Make a picture from words with ByteDance Seedream; choose it for low prices or 4K.

    Without model: the cheapest that fits.
    """
    return _submission(GENERATE, model, Call(prompt, [], aspect_ratio, resolution, output_format))


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
    return _submission(EDIT, model, Call(prompt, image_urls, aspect_ratio, resolution, output_format))


@dataclass(frozen=True)
class Call:
    """What a caller asks for, whatever the model."""

    prompt: str
    image_urls: list[str]
    aspect_ratio: str | None
    resolution: str | None
    output_format: str | None

    @property
    def tool(self) -> str:
        """The tool that was called."""
        return "edit_seedream_image" if self.image_urls else "generate_seedream_image"

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that were given, but for the model's name."""
        return {argument: value for argument, value in vars(self).items() if value}

    def faults(self, name: str) -> Iterator[InvalidArgument]:
        """Yield what a model does not take, each with what to give instead."""
        model, count = MODELS[name], len(self.image_urls)

        def fault(argument: str, cure: str) -> InvalidArgument:
            return InvalidArgument(argument, self.given[argument], f"Seedream {name} {cure}")

        least, most = model.prompt_chars
        if not least <= len(self.prompt) <= most:
            yield fault("prompt", f"takes {least} to {most} characters")
        if count > model.pictures:
            yield fault("image_urls", f"takes at most {model.pictures}, not {count}")
        if self.resolution and self.resolution not in model.resolutions:
            yield fault("resolution", f"makes {' or '.join(model.resolutions)}; use one of these")
        if self.output_format and not model.formats:
            yield fault("output_format", "chooses it itself; leave it out")


def _submission(api_type: str, named: str | None, call: Call) -> Submission:
    faults = {name: tuple(call.faults(name)) for name in MODELS}
    name = named or min(faults, key=lambda name: len(faults[name]))
    if faults[name]:
        able = not all(faults.values())
        instead = {"tool": call.tool, "arguments": call.given} if able else None
        raise InvalidArgument.joined(faults[name], instead=instead)
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
        notes=() if named else (f"Seedream {name} was chosen: the cheapest model that takes the whole call.",),
    )
