"""Tools of Nano Banana, with the limits of each model."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, ImageUrls, InvalidArgument, Media, OutputFormat, Prompt, Submission
from kie_ai_mcp_nano_banana.prices import credits_of

GENERATE = "nano-banana"
EDIT = "nano-banana-edit"

Shape = Literal[
    "1:1", "9:16", "16:9", "3:4", "4:3", "3:2", "2:3", "5:4", "4:5", "21:9", "auto", "1:4", "4:1", "1:8", "8:1"
]
Resolution = Literal["1K", "2K", "4K"]
LONG_SHAPES = ("1:4", "4:1", "1:8", "8:1")


@dataclass(frozen=True)
class Model:
    """The limits of one model; None or empty where it has no such field."""

    prompt_chars: int
    images_field: str | None
    images: int
    long_shapes: bool = False
    resolution: bool = False
    jpeg: str | None = None
    default_shape: str | None = None


# The official limit of the edit model is ten pictures; this tool has promised five from the start.
MODELS = {
    "google/nano-banana": Model(5_000, None, 0, jpeg="jpeg"),
    "google/nano-banana-edit": Model(5_000, "image_urls", 5, jpeg="jpeg"),
    "nano-banana-2-1": Model(20_000, "image_input", 14, long_shapes=True, resolution=True, jpeg="jpg"),
    "nano-banana-2": Model(20_000, "image_input", 14, long_shapes=True, resolution=True, jpeg="jpg"),
    "nano-banana-2-lite": Model(20_000, "image_urls", 10, long_shapes=True, default_shape="auto"),
    "nano-banana-pro": Model(10_000, "image_input", 8, resolution=True, jpeg="jpg"),
}
# The model of a call that names none, and, where that one does not take the whole call, the one that takes whatever
# any other does, and costs no more.
DEFAULTS = {GENERATE: "google/nano-banana", EDIT: "google/nano-banana-edit"}
WIDEST = "nano-banana-2-1"
CHOSEN = f"The model {WIDEST} was chosen: of those that take the whole call it costs the least."


def generate_nano_banana(
    prompt: Prompt,
    image_size: Shape | None = None,
    output_format: OutputFormat | None = None,
    model: Literal["google/nano-banana", "nano-banana-2-1", "nano-banana-2", "nano-banana-2-lite", "nano-banana-pro"]
    | None = None,
    resolution: Resolution | None = None,
    image_urls: Annotated[ImageUrls, Field(max_length=14), Media("image", most_mb=30)] | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture from words with Google Nano Banana.

    Without model: the cheapest that takes the call. resolution: only -2-1, -2, -pro; image_urls: also -2-lite.
    """
    return _submission(
        GENERATE,
        model,
        prompt=prompt,
        image_urls=image_urls,
        image_size=image_size,
        resolution=resolution,
        output_format=output_format,
        callback_url=callBackUrl,
    )


def edit_nano_banana(
    prompt: Prompt,
    image_urls: Annotated[ImageUrls, Field(max_length=14), Media("image", most_mb=30)],
    image_size: Shape | None = None,
    output_format: OutputFormat | None = None,
    model: Literal[
        "google/nano-banana-edit", "nano-banana-2-1", "nano-banana-2", "nano-banana-2-lite", "nano-banana-pro"
    ]
    | None = None,
    resolution: Resolution | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Change pictures by words with Google Nano Banana.

    Without model: the cheapest that takes the call; -2-1 and -2 take 14 pictures. resolution: only these and -pro.
    """
    return _submission(
        EDIT,
        model,
        prompt=prompt,
        image_urls=image_urls,
        image_size=image_size,
        resolution=resolution,
        output_format=output_format,
        callback_url=callBackUrl,
    )


def _submission(
    api_type: str,
    model: str | None,
    *,
    prompt: str,
    image_urls: list[str] | None,
    image_size: str | None,
    resolution: str | None,
    output_format: str | None,
    callback_url: str | None,
) -> Submission:
    asked = (prompt, image_urls, image_size, resolution, output_format)
    notes: tuple[str, ...] = ()
    if model is None:
        model, notes = (WIDEST, (CHOSEN,)) if _refusal(DEFAULTS[api_type], *asked) else (DEFAULTS[api_type], ())
    if refusal := _refusal(model, *asked):
        raise refusal
    limits = MODELS[model]
    return Submission.market(
        model,
        {
            "prompt": prompt,
            limits.images_field or "image_urls": image_urls,
            "aspect_ratio": image_size or limits.default_shape,
            "resolution": resolution,
            "output_format": limits.jpeg if output_format == "jpeg" else output_format,
        },
        api_type=api_type,
        callback_url=callback_url,
        estimated_credits=credits_of(model, resolution),
        notes=notes,
    )


def _refusal(
    model: str,
    prompt: str,
    image_urls: list[str] | None,
    image_size: str | None,
    resolution: str | None,
    output_format: str | None,
) -> InvalidArgument | None:
    """Return the error of the first argument that a model does not take, if there is one."""
    limits, count = MODELS[model], len(image_urls or ())
    cure = "" if model == WIDEST else "; leave model out for one that does"
    if len(prompt) > limits.prompt_chars:
        return InvalidArgument("prompt", prompt, f"{model} takes at most {limits.prompt_chars} characters{cure}")
    if count and limits.images_field is None:
        return InvalidArgument(
            "image_urls", image_urls, f"{model} takes none; leave model out, or use edit_nano_banana"
        )
    if count > limits.images:
        return InvalidArgument(
            "image_urls", image_urls, f"{model} takes at most {limits.images}, {count} were given{cure}"
        )
    if image_size in LONG_SHAPES and not limits.long_shapes:
        return InvalidArgument("image_size", image_size, f"{model} has no such shape{cure}")
    if resolution and not limits.resolution:
        return InvalidArgument("resolution", resolution, f"{model} has one size{cure}")
    if output_format and limits.jpeg is None:
        return InvalidArgument("output_format", output_format, f"{model} chooses it itself{cure}")
    return None
