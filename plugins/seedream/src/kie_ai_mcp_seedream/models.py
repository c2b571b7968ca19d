"""Table of the Seedream models, the cheapest first."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
"""The shapes that every model makes, each with the word of Seedream 4, which writes the longer side first."""


@dataclass(frozen=True)
class Model:
    """One Seedream model.

    Args:
        words: The service's id for pictures from words.
        edits: The service's id for changes to pictures.
        size: The service's field for the resolution.
        resolutions: The resolutions that it makes, each with the service's word; the first is its own choice.
        prompt_chars: The shortest and the longest prompt.
        pictures: The largest number of pictures to change.
        shape: The service's field for the shape.
        shapes: The service's words for the shapes, where they differ from ours.
        always: Fields that the service requires, at its own defaults.
        formats: Whether the file type can be chosen.
    """

    words: str
    edits: str
    size: str
    resolutions: Mapping[str, str]
    prompt_chars: tuple[int, int]
    pictures: int
    shape: str = "aspect_ratio"
    shapes: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, str] = field(default_factory=dict)
    formats: bool = True


SQUARE = {"aspect_ratio": "1:1"}

MODELS = {
    "5-flash": Model(
        "seedream/5-flash-text-to-image",
        "seedream/5-flash-image-to-image",
        "size",
        {"1K": "1K", "1.5K": "1.5K", "2K": "2K"},
        (3, 5_000),
        10,
        always=SQUARE,
    ),
    "4": Model(
        "bytedance/seedream-v4-text-to-image",
        "bytedance/seedream-v4-edit",
        "image_resolution",
        {"1K": "1K", "2K": "2K", "4K": "4K"},
        (1, 5_000),
        10,
        shape="image_size",
        shapes=SHAPES,
        formats=False,
    ),
    "5-lite": Model(
        "seedream/5-lite-text-to-image",
        "seedream/5-lite-image-to-image",
        "quality",
        {"2K": "basic", "3K": "high", "4K": "ultra"},
        (3, 3_000),
        14,
        always={**SQUARE, "quality": "basic"},
    ),
    "4.5": Model(
        "seedream/4.5-text-to-image",
        "seedream/4.5-edit",
        "quality",
        {"2K": "basic", "4K": "high"},
        (1, 3_000),
        14,
        always={**SQUARE, "quality": "basic"},
        formats=False,
    ),
    "5-pro": Model(
        "seedream/5-pro-text-to-image",
        "seedream/5-pro-image-to-image",
        "quality",
        {"1K": "basic", "2K": "high"},
        (3, 5_000),
        10,
        always={**SQUARE, "quality": "basic"},
    ),
}

NAMES = {model_id: name for name, model in MODELS.items() for model_id in (model.words, model.edits)}
"""The names by the service's ids, which answers and lists of models show."""
