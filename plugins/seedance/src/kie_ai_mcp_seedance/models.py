"""Table of the Seedance models, the cheapest first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FRAMES = ("first_frame_url", "last_frame_url")
REFERENCES = ("reference_image_urls", "reference_video_urls", "reference_audio_urls")

MODEL_CHOOSES = -1
"""The duration that leaves the length to the model."""


@dataclass(frozen=True)
class Model:
    """One Seedance model.

    Args:
        id: The service's id.
        resolutions: The resolutions that it makes.
        longest_s: The longest clip, in seconds; the shortest has 4.
        references: The most references of each sort, in the order of `REFERENCES`. Frames count among the pictures.
        least_chars: The shortest prompt.
        strict: Whether a last frame needs a first one, and frames exclude references.
        assets: Whether it takes the service's own ``asset://`` addresses.
        frames: The service's one field for frames, where it has no field for each.
        always: Fields that the service requires. Without a shape among them it can take that of a picture, and without
            a length among them it can choose that.
    """

    id: str
    resolutions: tuple[str, ...]
    longest_s: int
    references: tuple[int, int, int]
    least_chars: int = 3
    strict: bool = False
    assets: bool = True
    frames: str = ""
    always: Mapping[str, Any] = field(default_factory=dict)

    @property
    def adapts(self) -> bool:
        """Whether shape and length can be left to it."""
        return not self.always


MODELS = {
    "1.5-pro": Model(
        "bytedance/seedance-1.5-pro",
        ("480p", "720p", "1080p"),
        12,
        (0, 0, 0),
        strict=True,
        assets=False,
        frames="input_urls",
        always={"aspect_ratio": "16:9", "duration": 5},
    ),
    "2-mini": Model("bytedance/seedance-2-mini", ("480p", "720p"), 15, (9, 3, 3)),
    "2-fast": Model("bytedance/seedance-2-fast", ("480p", "720p"), 15, (9, 3, 3)),
    "2": Model("bytedance/seedance-2", ("480p", "720p", "1080p", "4k"), 15, (9, 3, 3)),
    "2.5": Model(
        "bytedance/seedance-2-5", ("480p", "720p", "1080p"), 30, (30, 10, 10), least_chars=1, strict=True
    ),
}  # fmt: skip

NAMES = {model.id: name for name, model in MODELS.items()}
"""The names by the service's ids, which answers and lists of models show."""
