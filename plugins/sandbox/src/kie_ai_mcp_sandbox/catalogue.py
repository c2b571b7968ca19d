"""Models that the sandbox sells without being told of them by an installed provider.

The prices are the published ones of October 2026; where none is known the number is marked as ours. A family
that the service never documented has no model here, so its ids are refused as the service refuses them.
"""

from collections.abc import Mapping
from typing import Any, Literal

from kie_ai_mcp import Model, Price
from kie_ai_mcp.specs import Kind
from kie_ai_mcp_sandbox.prices import listed

TASKS = ("text-to-image", "text-to-video", "image-to-image", "image-to-video", "reference-to-video", "edit")
VIDEO_WORDS = ("video", "avatar", "motion", "lip", "t2v", "i2v")


def plain(
    model_id: str,
    kind: Kind,
    required: tuple[str, ...],
    price: Price | None,
    count: str = "",
    availability: Literal["current", "retired"] = "current",
) -> Model:
    """Return a model of which little is known.

    Args:
        model_id: Its id.
        kind: What it makes.
        required: Fields of ``input`` that must be there.
        price: What it costs; None where nobody knows.
        count: The field that says how many results are wanted.
        availability: ``retired`` where it is sold, but not on the list.
    """
    fields = {name: _field(name) for name in (*required, *([count] if count else []))}
    task = next((task for task in TASKS if task in model_id), f"text-to-{kind}")
    schema = {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}
    return Model(model_id, title_of(model_id), kind, task, schema, price=price, availability=availability)


def title_of(model_id: str) -> str:
    """Return a name for people, made of an id."""
    return model_id.replace("/", " ").replace("-", " ").title()


def kind_by_words(model_id: str) -> Kind:
    """Return what a model makes by the words of its id."""
    return "video" if any(word in model_id.lower() for word in VIDEO_WORDS) else "image"


def _field(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}} if name.endswith("urls") else {}


def _ten_seconds(five: float) -> Price:
    return listed(five, ({"duration": 10}, five * 2))


def _sound(five: float) -> Price:
    loud = ({"duration": 10, "sound": True}, five * 4), ({"sound": True}, five * 2)
    return listed(five, *loud, ({"duration": 10}, five * 2))


def _per_second(usual: float, *steps: tuple[Mapping[str, Any], float]) -> Price:
    return listed(usual, *steps, times=("duration", 5))


def _ideogram(turbo: float, balanced: float, quality: float) -> Price:
    speeds = ({"rendering_speed": "TURBO"}, turbo), ({"rendering_speed": "QUALITY"}, quality)
    return listed(balanced, *speeds, times=("num_images", 1))


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
_SORA = listed(30, ({"n_frames": 15}, 45))
_SORA_PRO = listed(75, ({"n_frames": 15}, 110), ({"n_frames": 25}, 180))

_TEXT = ("prompt",)
_FRAME = ("prompt", "image_url")
_SHAPE = ("prompt", "aspect_ratio")
_MOTION = ("input_urls", "video_urls")
_AVATAR = ("image_url", "audio_url", "prompt")

_TABLE: Mapping[str, tuple[Any, ...]] = {
    "google/nano-banana": ("image", _TEXT, listed(4)),
    "google/nano-banana-edit": ("image", ("prompt", "image_urls"), listed(4)),
    "nano-banana-2": ("image", _TEXT, listed(8, ({"resolution": "2K"}, 12), ({"resolution": "4K"}, 18))),
    "nano-banana-2-lite": ("image", _SHAPE, listed(4)),
    "nano-banana-pro": ("image", _TEXT, listed(18, ({"resolution": "4K"}, 24))),
    "ideogram/v3-text-to-image": ("image", _TEXT, _IDEOGRAM_V3, "num_images"),
    "ideogram/v3-edit": ("image", ("prompt", "image_url", "mask_url"), _IDEOGRAM_V3),
    "ideogram/v3-remix": ("image", _FRAME, _IDEOGRAM_V3, "num_images"),
    # Gone from the documentation since August 2026, still on the price list in September.
    "ideogram/v3-reframe": ("image", ("image_url", "image_size"), _IDEOGRAM_V3, "num_images", "retired"),
    "ideogram/character": ("image", ("prompt", "reference_image_urls"), _IDEOGRAM_CHARACTER, "num_images"),
    "ideogram/character-edit": (
        "image",
        ("prompt", "image_url", "mask_url", "reference_image_urls"),
        _IDEOGRAM_CHARACTER,
        "num_images",
    ),
    "ideogram/character-remix": (
        "image",
        ("prompt", "image_url", "reference_image_urls"),
        _IDEOGRAM_CHARACTER,
        "num_images",
    ),
    "kling/v2-1-master-text-to-video": ("video", _TEXT, _ten_seconds(160)),
    "kling/v2-1-master-image-to-video": ("video", _FRAME, _ten_seconds(160)),
    "kling/v2-1-pro": ("video", _FRAME, _ten_seconds(50)),
    "kling/v2-1-standard": ("video", _FRAME, _ten_seconds(25)),
    "kling/v2-5-turbo-text-to-video-pro": ("video", _TEXT, _ten_seconds(42)),
    "kling/v2-5-turbo-image-to-video-pro": ("video", _FRAME, _ten_seconds(42)),
    "kling-2.6/text-to-video": ("video", (*_SHAPE, "sound", "duration"), _sound(55)),
    "kling-2.6/image-to-video": ("video", ("prompt", "image_urls", "sound", "duration"), _sound(55)),
    "kling-2.6/motion-control": (
        "video",
        (*_MOTION, "character_orientation", "mode"),
        _per_second(11, ({"mode": "1080p"}, 18)),
    ),
    "kling-3.0/video": (
        "video",
        (*_SHAPE, "sound", "duration", "mode", "multi_shots"),
        _per_second(
            18, ({"mode": "4K"}, 67), ({"mode": "std", "sound": True}, 20), ({"mode": "std"}, 14), ({"sound": True}, 27)
        ),
    ),
    "kling-3.0/motion-control": ("video", _MOTION, _per_second(20, ({"mode": "pro"}, 27), ({"mode": "1080p"}, 27))),
    "kling-3.0-omni/text-to-video": ("video", _TEXT, _OMNI),
    "kling-3.0-omni/image-to-video": ("video", ("prompt", "image_urls"), _OMNI),
    "kling-3.0-omni/reference-to-video": ("video", _TEXT, _OMNI),
    "kling-3.0-omni/transformation": (
        "video",
        ("prompt", "video_urls"),
        _per_second(20, ({"resolution": "1080p"}, 27), ({"resolution": "4k"}, 67)),
    ),
    "kling/v3-turbo-text-to-video": ("video", (*_SHAPE, "duration", "resolution"), _V3_TURBO),
    "kling/v3-turbo-image-to-video": ("video", ("prompt", "image_urls", "duration", "resolution"), _V3_TURBO),
    "kling/ai-avatar-standard": ("video", _AVATAR, _per_second(8)),
    "kling/ai-avatar-pro": ("video", _AVATAR, _per_second(16)),
    "sora-2-text-to-video": ("video", _TEXT, _SORA, "", "retired"),
    "sora-2-image-to-video": ("video", ("prompt", "image_urls"), _SORA, "", "retired"),
    "sora-2-pro-text-to-video": ("video", _TEXT, _SORA_PRO, "", "retired"),
    "sora-2-pro-image-to-video": ("video", ("prompt", "image_urls"), _SORA_PRO, "", "retired"),
    "sora-2-pro-storyboard": ("video", ("shots",), _SORA_PRO, "", "retired"),
    "sora-2-characters": ("video", ("character_file_url",), listed(10), "", "retired"),
    "sora-2-characters-pro": ("video", ("origin_task_id", "timestamps", "character_prompt"), listed(10), "", "retired"),
    "sora-watermark-remover": ("video", ("video_url",), listed(10), "", "retired"),
}

MODELS: Mapping[str, Model] = {model_id: plain(model_id, *row) for model_id, row in _TABLE.items()}
