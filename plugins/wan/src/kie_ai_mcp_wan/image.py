"""The picture tool of Wan: pictures from words, and changes to pictures."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import ImageUrls, InvalidArgument, Media, Prompt, Submission

IMAGE = "wan-image"

MODELS = {"2.7": "wan/2-7-image", "2.7-pro": "wan/2-7-image-pro"}
NAMES = {model_id: name for name, model_id in MODELS.items()}
"""The names by the service's ids, which answers and lists of models show."""

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
    if resolution == "4K" and model == "2.7-pro" and (series or image_urls):
        asked = {"prompt": prompt, "image_urls": image_urls, "n": n, "aspect_ratio": aspect_ratio, "resolution": "4K"}
        raise InvalidArgument(
            "resolution",
            resolution,
            f"Wan 2.7-pro makes it from words alone, at most {MOST_APART} at once; use 1K or 2K, or leave model out",
            instead={"tool": "generate_wan_image", "arguments": {k: v for k, v in asked.items() if v is not None}},
        )
    return Submission.market(
        MODELS[model],
        {
            "prompt": prompt,
            "input_urls": image_urls,
            "n": n,
            "enable_sequential": series or None,
            "aspect_ratio": aspect_ratio,
            "resolution": resolution,
        },
        api_type=IMAGE,
        notes=(f"More than {MOST_APART} pictures are made as one connected series.",) if series else (),
    )
