"""Models of the market endpoint, and prices of everything, in credits (1 credit is 0.005 USD).

The prices are the published ones of October 2026; where none is known the number is marked as ours. A family
that the service never documented has no model here, so its ids are refused as the service refuses them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["image", "video"]


@dataclass(frozen=True)
class Price:
    """What a request costs.

    Args:
        credits: The usual price.
        steps: Other prices, each with the values that lead to it; the first that fits counts.
        times: A field that multiplies the price (seconds, pictures) and what it is when absent.
    """

    credits: float
    steps: tuple[tuple[Mapping[str, Any], float], ...] = ()
    times: tuple[str, float] | None = None

    def of(self, values: Mapping[str, Any]) -> float:
        """The price of a request with these values."""
        base = next((price for wanted, price in self.steps if _fits(wanted, values)), self.credits)
        if self.times is None:
            return base
        name, default = self.times
        return base * number(values.get(name), default)


def _fits(wanted: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(str(values.get(name)).lower() == str(value).lower() for name, value in wanted.items())


def number(value: Any, default: float) -> float:
    """A value as a number above 0, else the default: durations and counts come as numbers and as text."""
    try:
        read = float(value)
    except (TypeError, ValueError):
        return default
    return read if 0 < read < 1000 else default


@dataclass(frozen=True)
class Model:
    """One model id of the market endpoint.

    Args:
        kind: What it makes.
        required: Fields of ``input`` that must be there.
        price: What it costs.
        count: The field that says how many results are wanted.
    """

    kind: Kind
    required: tuple[str, ...]
    price: Price
    count: str = ""


def _ten_seconds(five: float) -> Price:
    return Price(five, (({"duration": 10}, five * 2),))


def _sound(five: float) -> Price:
    loud = ({"duration": 10, "sound": True}, five * 4), ({"sound": True}, five * 2)
    return Price(five, (*loud, ({"duration": 10}, five * 2)))


def _per_second(usual: float, *steps: tuple[Mapping[str, Any], float]) -> Price:
    return Price(usual, steps, times=("duration", 5))


def _ideogram(turbo: float, balanced: float, quality: float) -> Price:
    speeds = ({"rendering_speed": "TURBO"}, turbo), ({"rendering_speed": "QUALITY"}, quality)
    return Price(balanced, speeds, times=("num_images", 1))


_IDEOGRAM_V3 = _ideogram(3.5, 7, 10)
_IDEOGRAM_CHARACTER = _ideogram(12, 18, 24)
_OMNI = _per_second(
    14,
    ({"resolution": "4k"}, 67),
    ({"resolution": "1080p", "audio": True}, 23),
    ({"resolution": "1080p"}, 18),
    ({"audio": True}, 18),
)
_V3_TURBO = _per_second(18, ({"resolution": "1080p"}, 22.5))
# Sora 2 has left the price lists; these numbers are ours.
_SORA = Price(30, (({"n_frames": 15}, 45),))
_SORA_PRO = Price(75, (({"n_frames": 15}, 110), ({"n_frames": 25}, 180)))

_TEXT = ("prompt",)
_FRAME = ("prompt", "image_url")
_SHAPE = ("prompt", "aspect_ratio")
_MOTION = ("input_urls", "video_urls")
_AVATAR = ("image_url", "audio_url", "prompt")

MODELS: Mapping[str, Model] = {
    "google/nano-banana": Model("image", _TEXT, Price(4)),
    "google/nano-banana-edit": Model("image", ("prompt", "image_urls"), Price(4)),
    "nano-banana-2": Model("image", _TEXT, Price(8, (({"resolution": "2K"}, 12), ({"resolution": "4K"}, 18)))),
    "nano-banana-2-lite": Model("image", _SHAPE, Price(4)),
    "nano-banana-pro": Model("image", _TEXT, Price(18, (({"resolution": "4K"}, 24),))),
    "ideogram/v3-text-to-image": Model("image", _TEXT, _IDEOGRAM_V3, "num_images"),
    "ideogram/v3-edit": Model("image", ("prompt", "image_url", "mask_url"), _IDEOGRAM_V3),
    "ideogram/v3-remix": Model("image", _FRAME, _IDEOGRAM_V3, "num_images"),
    # Gone from the documentation since August 2026, still on the price list in September.
    "ideogram/v3-reframe": Model("image", ("image_url", "image_size"), _IDEOGRAM_V3, "num_images"),
    "ideogram/character": Model("image", ("prompt", "reference_image_urls"), _IDEOGRAM_CHARACTER, "num_images"),
    "ideogram/character-edit": Model(
        "image", ("prompt", "image_url", "mask_url", "reference_image_urls"), _IDEOGRAM_CHARACTER, "num_images"
    ),
    "ideogram/character-remix": Model(
        "image", ("prompt", "image_url", "reference_image_urls"), _IDEOGRAM_CHARACTER, "num_images"
    ),
    "kling/v2-1-master-text-to-video": Model("video", _TEXT, _ten_seconds(160)),
    "kling/v2-1-master-image-to-video": Model("video", _FRAME, _ten_seconds(160)),
    "kling/v2-1-pro": Model("video", _FRAME, _ten_seconds(50)),
    "kling/v2-1-standard": Model("video", _FRAME, _ten_seconds(25)),
    "kling/v2-5-turbo-text-to-video-pro": Model("video", _TEXT, _ten_seconds(42)),
    "kling/v2-5-turbo-image-to-video-pro": Model("video", _FRAME, _ten_seconds(42)),
    "kling-2.6/text-to-video": Model("video", (*_SHAPE, "sound", "duration"), _sound(55)),
    "kling-2.6/image-to-video": Model("video", ("prompt", "image_urls", "sound", "duration"), _sound(55)),
    "kling-2.6/motion-control": Model(
        "video", (*_MOTION, "character_orientation", "mode"), _per_second(11, ({"mode": "1080p"}, 18))
    ),
    "kling-3.0/video": Model(
        "video",
        (*_SHAPE, "sound", "duration", "mode", "multi_shots"),
        _per_second(
            18, ({"mode": "4K"}, 67), ({"mode": "std", "sound": True}, 20), ({"mode": "std"}, 14), ({"sound": True}, 27)
        ),
    ),
    "kling-3.0/motion-control": Model(
        "video", _MOTION, _per_second(20, ({"mode": "pro"}, 27), ({"mode": "1080p"}, 27))
    ),
    "kling-3.0-omni/text-to-video": Model("video", _TEXT, _OMNI),
    "kling-3.0-omni/image-to-video": Model("video", ("prompt", "image_urls"), _OMNI),
    "kling-3.0-omni/reference-to-video": Model("video", _TEXT, _OMNI),
    "kling-3.0-omni/transformation": Model(
        "video", ("prompt", "video_urls"), _per_second(20, ({"resolution": "1080p"}, 27), ({"resolution": "4k"}, 67))
    ),
    "kling/v3-turbo-text-to-video": Model("video", (*_SHAPE, "duration", "resolution"), _V3_TURBO),
    "kling/v3-turbo-image-to-video": Model("video", ("prompt", "image_urls", "duration", "resolution"), _V3_TURBO),
    "kling/ai-avatar-standard": Model("video", _AVATAR, _per_second(8)),
    "kling/ai-avatar-pro": Model("video", _AVATAR, _per_second(16)),
    "sora-2-text-to-video": Model("video", _TEXT, _SORA),
    "sora-2-image-to-video": Model("video", ("prompt", "image_urls"), _SORA),
    "sora-2-pro-text-to-video": Model("video", _TEXT, _SORA_PRO),
    "sora-2-pro-image-to-video": Model("video", ("prompt", "image_urls"), _SORA_PRO),
    "sora-2-pro-storyboard": Model("video", ("shots",), _SORA_PRO),
    "sora-2-characters": Model("video", ("character_file_url",), Price(10)),
    "sora-2-characters-pro": Model("video", ("origin_task_id", "timestamps", "character_prompt"), Price(10)),
    "sora-watermark-remover": Model("video", ("video_url",), Price(10)),
}
