"""Table of the GPT Image models, the cheapest first."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Model:
    """One GPT Image model.

    Args:
        words: The service's id for pictures from words.
        edits: The service's id for changes to pictures.
        shapes: The shapes that it makes, by resolution; the first resolution is its own choice. Empty text stands for
            the one of a model that has no choice.
        backgrounds: The resolutions at which the background can be chosen.
        always: Fields that the service requires. A shape among them is used where none is asked for, while the other
            models then choose it themselves, as ``auto``: a changed picture keeps its own.
    """

    words: str
    edits: str
    shapes: Mapping[str, tuple[str, ...]]
    backgrounds: tuple[str, ...] = ()
    always: Mapping[str, str] = field(default_factory=dict)


def _quality(quality: str) -> Model:
    """Return GPT Image 1.5 at one of its two qualities, which have prices of their own."""
    always = {"aspect_ratio": "1:1", "quality": quality}
    return Model(
        "gpt-image/1.5-text-to-image", "gpt-image/1.5-image-to-image", {"": ("1:1", "3:2", "2:3")}, always=always
    )


COMMON = ("3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9")
FREE = ("auto", "1:1", *COMMON)


def _newest(name: str) -> Model:
    sizes = ("1K", "2K", "4K")
    return Model(
        f"gpt-image-2-5-{name}-text-to-image", f"gpt-image-2-5-{name}-image-to-image", dict.fromkeys(sizes, FREE), sizes
    )


MODELS = {
    "1.5": _quality("medium"),
    "2": Model(
        "gpt-image-2-text-to-image",
        "gpt-image-2-image-to-image",
        {
            "1K": (*FREE, "5:4", "4:5", "2:1", "1:2", "3:1", "1:3", "9:21"),
            "2K": ("1:1", *COMMON, "2:1", "1:2"),
            "4K": (*COMMON, "5:4", "4:5", "2:1", "1:2"),
        },
        ("1K",),
    ),
    "2.5-flare": _newest("flare"),
    "2.5-sunburst": _newest("sunburst"),
    "1.5-high": _quality("high"),
}

NAMES = {model_id: name for name, model in reversed(MODELS.items()) for model_id in (model.words, model.edits)}
"""The names by the service's ids, which answers and lists of models show."""
