"""The picture tool of Wan: pictures from words, and changes to pictures."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import ImageUrls, Media, Prompt, Submission
from kie_ai_mcp_wan.models import FAMILY, IMAGES, NAMES, SERIES

IMAGE = "wan-image"

MOST_APART = 4
"""The most pictures that are made apart from each other; the service makes more only as a connected series."""

Name = Annotated[
    Literal["2.7", "2.7-pro"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_wan_image(
    prompt: Annotated[Prompt, Field(max_length=5_000)],
    image_urls: Annotated[ImageUrls, Field(max_length=9), Media("image")] | None = None,
    n: Annotated[int, Field(ge=1, le=12)] = 1,
    aspect_ratio: Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "8:1", "1:8"] | None = None,
    resolution: Literal["1K", "2K", "4K"] | None = None,
    model: Name = "2.7",
) -> Submission:
    """Make n pictures with Alibaba Wan from words, or change pictures (addresses or local paths).

    n above 4: one series. 2.7-pro: 4K from words alone, n to 4.
    """
    series = n > MOST_APART
    asked = {
        "prompt": prompt,
        "image_urls": image_urls,
        "n": n,
        SERIES: series or None,
        "aspect_ratio": aspect_ratio,
        "resolution": resolution,
    }
    notes = [f"More than {MOST_APART} pictures are made as one connected series."] if series else []
    return FAMILY.choose(IMAGES, asked, model).submission(IMAGE, notes=notes)
