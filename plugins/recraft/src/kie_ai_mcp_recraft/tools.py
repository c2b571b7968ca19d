"""The tool of Recraft: cutting the subject of a picture out."""

from typing import Annotated

from kie_ai_mcp import CallbackUrl, ImageUrl, Media, Submission

BACKGROUND = "recraft-background"

Picture = Annotated[
    ImageUrl,
    Media("image", most_mb=5, formats=("png", "jpg", "webp"), least_px=256, most_px=4096, most_pixels=16_000_000),
]


def remove_background(image_url: Picture, callBackUrl: CallbackUrl | None = None) -> Submission:
    """Remove the background of a picture (address or local path): its subject on a transparent ground, as PNG."""
    return Submission.market(
        "recraft/remove-background", {"image": image_url}, api_type=BACKGROUND, callback_url=callBackUrl
    )
