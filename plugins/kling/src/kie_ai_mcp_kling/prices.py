"""Credits of a clip, as the service listed it on the day below.

Motion control and avatars are priced by the second of a clip or a sound of unknown length, so they are missing.
"""

from collections.abc import Mapping
from typing import Any

CHECKED = "2026-10-02"

# With or without sound; None where sound does not change the price. CLIP: the clip follows another one.
CLIP = "clip"
Sound = bool | str | None

# Credits of a clip by its seconds.
PER_CLIP: dict[str, dict[tuple[int, Sound], float]] = {
    "kling/v2-1-standard": {(5, None): 25, (10, None): 50},
    "kling/v2-1-pro": {(5, None): 50, (10, None): 100},
    "kling/v2-1-master-text-to-video": {(5, None): 160, (10, None): 320},
    "kling/v2-1-master-image-to-video": {(5, None): 160, (10, None): 320},
    "kling/v2-5-turbo-text-to-video-pro": {(5, None): 42, (10, None): 84},
    "kling/v2-5-turbo-image-to-video-pro": {(5, None): 42, (10, None): 84},
    "kling-2.6/text-to-video": {(5, False): 55, (10, False): 110, (5, True): 110, (10, True): 220},
    "kling-2.6/image-to-video": {(5, False): 55, (10, False): 110, (5, True): 110, (10, True): 220},
}

# Credits of a second by the service's word for the size.
TURBO: dict[tuple[str, Sound], float] = {("720p", None): 18, ("1080p", None): 22.5}
OMNI: dict[tuple[str, Sound], float] = {
    ("720p", False): 14,
    ("720p", True): 18,
    ("1080p", False): 18,
    ("1080p", True): 23,
    ("4k", None): 67,
}
PER_SECOND: dict[str, dict[tuple[str, Sound], float]] = {
    "kling-3.0/video": {("std", False): 14, ("std", True): 20, ("pro", False): 18, ("pro", True): 27, ("4K", None): 67},
    "kling/v3-turbo-text-to-video": TURBO,
    "kling/v3-turbo-image-to-video": TURBO,
    "kling-3.0-omni/text-to-video": OMNI,
    "kling-3.0-omni/image-to-video": OMNI,
    "kling-3.0-omni/reference-to-video": {**OMNI, ("720p", CLIP): 20, ("1080p", CLIP): 27},
    "kling-3.0-omni/transformation": {("720p", CLIP): 20, ("1080p", CLIP): 27, ("4k", None): 67},
}

# What the service documents for a setting that is left out: for every model, for all but one, for one alone.
SIZE = "720p"
SECONDS = 5
NO_SECONDS = {"kling-3.0-omni/transformation"}
SILENT = {"kling-3.0-omni/text-to-video"}


def credits_of(model: str, sent: Mapping[str, Any]) -> float | None:
    """Return the credits of a request with this input; None where the list has no price."""
    fields = {name: value for name, value in sent.items() if value is not None}
    seconds, sound = _seconds(model, fields), _sound(model, fields)
    if seconds is None:
        return None
    if model in PER_CLIP:
        return _price(PER_CLIP[model], seconds, sound)
    rate = _price(PER_SECOND.get(model, {}), fields.get("mode") or fields.get("resolution", SIZE), sound)
    return None if rate is None else rate * seconds


def _price(prices: Mapping[tuple[Any, Sound], float], setting: int | str, sound: Sound) -> float | None:
    return prices.get((setting, sound), prices.get((setting, None)))


def _seconds(model: str, fields: Mapping[str, Any]) -> int | None:
    if "duration" in fields:
        return int(fields["duration"])
    a_clip_alone = "video_urls" in fields and "image_urls" not in fields  # keeps its length
    return None if a_clip_alone or model in NO_SECONDS else SECONDS


def _sound(model: str, fields: Mapping[str, Any]) -> Sound:
    if "video_urls" in fields:
        return CLIP
    chosen: bool | None = fields.get("sound", fields.get("audio"))
    return False if chosen is None and model in SILENT else chosen
