"""The tool of Recraft: cutting the subject of a picture out."""

from typing import Annotated

from kie_ai_mcp import ImageUrl, Media, Submission

BACKGROUND = "recraft-background"

Picture = Annotated[
    ImageUrl,
    Media("image", most_mb=5, formats=("png", "jpg", "webp"), least_px=256, most_px=4096, most_pixels=16_000_000),
]


def remove_background(image_url: Picture) -> Submission:
    """Remove the background of a picture (address or local path): all but its subject becomes transparent."""
    return Submission.market("recraft/remove-background", {"image": image_url}, api_type=BACKGROUND)
