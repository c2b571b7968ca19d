"""Tools of GPT Image: pictures from words, and changes to pictures, by the cheapest model that takes the whole call."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import ImageUrls, InvalidArgument, Media, Prompt, Submission
from kie_ai_mcp_gpt_image.models import MODELS, NAMES

GENERATE = "gpt-image"
EDIT = "gpt-image-edit"

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
    return _submission(GENERATE, model, Call(prompt, [], aspect_ratio, resolution, background))


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
    return _submission(EDIT, model, Call(prompt, image_urls, aspect_ratio, resolution, background))


@dataclass(frozen=True)
class Call:
    """What a caller asks for, whatever the model."""

    prompt: str
    image_urls: list[str]
    aspect_ratio: str | None
    resolution: str | None
    background: str | None

    @property
    def tool(self) -> str:
        """The tool that was called."""
        return "edit_gpt_image" if self.image_urls else "generate_gpt_image"

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that were given, but for the model's name."""
        return {argument: value for argument, value in vars(self).items() if value}

    def faults(self, name: str) -> Iterator[InvalidArgument]:
        """Yield what a model does not take, each with what to give instead."""
        model = MODELS[name]

        def fault(argument: str, cure: str) -> InvalidArgument:
            return InvalidArgument(argument, self.given[argument], f"GPT Image {name} {cure}")

        sizes = [*model.shapes]
        size = self.resolution or sizes[0]
        shape = self.aspect_ratio or model.always.get("aspect_ratio", "auto")
        fitting = [other for other in sizes if shape in model.shapes[other]]
        if size not in sizes:
            yield fault("resolution", "has one size; leave it out")
        elif fitting and size not in fitting:
            yield fault("resolution", f"makes aspect_ratio {shape} at {' or '.join(fitting)}; use that")
        if not fitting:
            shapes = model.shapes.get(size, model.shapes[sizes[0]])
            yield fault("aspect_ratio", f"makes {', '.join(shapes)}; use one of these")
        if self.background and size not in model.backgrounds:
            where = f"at {' or '.join(model.backgrounds)} alone" if model.backgrounds else "never"
            yield fault("background", f"lets it be chosen {where}; leave it out")

    def is_squared_by(self, name: str) -> bool:
        """Return whether a model makes changed pictures square although no shape was asked for."""
        return bool(self.image_urls) and not self.aspect_ratio and "aspect_ratio" in MODELS[name].always

    def notes(self, name: str, *, chosen: bool) -> Iterator[str]:
        """Yield what was decided for the caller."""
        if self.is_squared_by(name):
            yield f"GPT Image {name} makes a square picture where aspect_ratio is left out."
        elif chosen:
            besides = ", and need not make it square" if any(map(self.is_squared_by, MODELS)) else ""
            yield f"GPT Image {name} was chosen: the cheapest model that takes the whole call{besides}."


def _submission(api_type: str, named: str | None, call: Call) -> Submission:
    faults = {name: tuple(call.faults(name)) for name in MODELS}
    name = named or min(faults, key=lambda name: (len(faults[name]), call.is_squared_by(name)))
    if faults[name]:
        able = not all(faults.values())
        instead = {"tool": call.tool, "arguments": call.given} if able else None
        raise InvalidArgument.joined(faults[name], instead=instead)
    model = MODELS[name]
    chosen = {"aspect_ratio": call.aspect_ratio, "resolution": call.resolution, "background": call.background}
    return Submission.market(
        model.edits if call.image_urls else model.words,
        {
            "prompt": call.prompt,
            "input_urls": call.image_urls or None,
            **model.always,
            **{field: value for field, value in chosen.items() if value},
        },
        api_type=api_type,
        notes=tuple(call.notes(name, chosen=not named)),
    )
