"""Table of the Kling models: one form for words alone, one for pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MODES = {"standard": "2.1-standard", "fast": "2.5-turbo", "turbo": "2.5-turbo"}
"""The modes of the early service, each with the model of today that it means."""

DEFAULTS = ("2.5-turbo", "3.0")
"""Without a mode or a model, the first of these that takes the arguments is used."""


@dataclass(frozen=True)
class Shots:
    """The limits of a clip of several shots.

    Args:
        switch: The field that turns several shots on.
        most: The largest number of shots.
        longest_s: The longest shot, in seconds.
        prompt_chars: The longest prompt of one shot.
        pictures: The largest number of pictures besides.
        sounds: Whether such a clip always has sound.
    """

    switch: str
    most: int
    longest_s: int
    prompt_chars: int
    pictures: int
    sounds: bool


@dataclass(frozen=True)
class Form:
    """The input of one model id of the service.

    Args:
        id: The service's model id.
        prompt_chars: The longest prompt.
        fields: The optional arguments that it takes, each with the service's name for it.
        always: Fields that the service requires, at the service's own defaults.
        durations_s: The lengths it makes, in seconds.
        duration_type: Whether the service wants the length as text or as a number.
        picture_fields: One field for each picture it takes.
        picture_list: The largest number of pictures in ``image_urls``, where that takes the place of such fields.
        negative_chars: The longest negative prompt.
        resolutions: Our words for its sizes, each with the service's word.
        silent: Whether it never makes sound, so that ``sound=False`` needs no field.
        one_line: Whether the service refuses a prompt with line breaks.
        shots: The limits of several shots; None where it makes one only.
    """

    id: str
    prompt_chars: int
    fields: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    durations_s: tuple[int, ...] = (5, 10)
    duration_type: type[str] | type[int] = str
    picture_fields: tuple[str, ...] = ()
    picture_list: int = 0
    negative_chars: int = 0
    resolutions: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    one_line: bool = False
    shots: Shots | None = None

    @property
    def pictures(self) -> int:
        """The largest number of pictures."""
        return len(self.picture_fields) or self.picture_list

    def takes(self, argument: str) -> bool:
        """Return whether the form has a field for an optional argument."""
        return self.shots is not None if argument == "shots" else argument in self.fields


@dataclass(frozen=True)
class Model:
    """A Kling model as a user names it: its form for words alone, and its form for pictures."""

    text: Form | None
    pictures: Form


THREE_TO_FIFTEEN_S = tuple(range(3, 16))
NEGATIVE = {"negative_prompt": "negative_prompt"}
SHAPE = {"aspectRatio": "aspect_ratio"}
SIZE = {"resolution": "resolution"}
HD = {"720p": "720p", "1080p": "1080p"}
FRAME, FRAMES = ("image_url",), ("image_url", "tail_image_url")

LENGTH = {"duration": "5"}
"""Required since October 2026."""

# The docs name no limit for the prompt of 3.0; 20 000 characters is the limit of every prompt here.
VIDEO_3 = Form(
    "kling-3.0/video",
    20_000,
    {**SHAPE, "sound": "sound", "resolution": "mode"},
    {"sound": False, "duration": "5", "aspect_ratio": "16:9", "mode": "pro", "multi_shots": False, "multi_prompt": []},
    THREE_TO_FIFTEEN_S,
    picture_list=2,
    resolutions={"720p": "std", "1080p": "pro", "4k": "4K"},
    shots=Shots("multi_shots", most=5, longest_s=12, prompt_chars=500, pictures=1, sounds=True),
)
TURBO_3 = {"duration": "5", "resolution": "720p"}
OMNI = {"sound": "audio", **SIZE}
OMNI_SHOTS = Shots("customize_multi_shots", most=6, longest_s=15, prompt_chars=512, pictures=2, sounds=False)

MODELS = {
    "2.1-standard": Model(
        None,
        Form("kling/v2-1-standard", 5_000, NEGATIVE, LENGTH, picture_fields=FRAME, negative_chars=500, silent=True),
    ),
    "2.1-pro": Model(
        None, Form("kling/v2-1-pro", 5_000, NEGATIVE, LENGTH, picture_fields=FRAMES, negative_chars=500, silent=True)
    ),
    "2.1-master": Model(
        Form("kling/v2-1-master-text-to-video", 5_000, {**NEGATIVE, **SHAPE}, LENGTH, negative_chars=500, silent=True),
        Form(
            "kling/v2-1-master-image-to-video",
            5_000,
            NEGATIVE,
            LENGTH,
            picture_fields=FRAME,
            negative_chars=500,
            silent=True,
        ),
    ),
    "2.5-turbo": Model(
        Form(
            "kling/v2-5-turbo-text-to-video-pro",
            2_500,
            {**NEGATIVE, **SHAPE},
            LENGTH,
            negative_chars=2_500,
            silent=True,
        ),
        Form(
            "kling/v2-5-turbo-image-to-video-pro",
            2_500,
            NEGATIVE,
            LENGTH,
            picture_fields=FRAMES,
            negative_chars=500,
            silent=True,
        ),
    ),
    "2.6": Model(
        Form(
            "kling-2.6/text-to-video",
            1_000,
            {**SHAPE, "sound": "sound"},
            {"sound": False, "aspect_ratio": "1:1", "duration": "5"},
        ),
        Form("kling-2.6/image-to-video", 1_000, {"sound": "sound"}, {"sound": False, "duration": "5"}, picture_list=1),
    ),
    "3.0": Model(VIDEO_3, VIDEO_3),
    # The docs name neither a limit for image_urls nor a meaning for a second picture; the model has a first frame only.
    "3.0-turbo": Model(
        Form(
            "kling/v3-turbo-text-to-video",
            2_500,
            {**SHAPE, **SIZE},
            {**TURBO_3, "aspect_ratio": "16:9"},
            THREE_TO_FIFTEEN_S,
            resolutions=HD,
        ),
        Form("kling/v3-turbo-image-to-video", 2_500, SIZE, TURBO_3, THREE_TO_FIFTEEN_S, picture_list=1, resolutions=HD),
    ),
    "3.0-omni": Model(
        Form(
            "kling-3.0-omni/text-to-video",
            3_072,
            {**OMNI, **SHAPE},
            {"customize_multi_shots": False},  # the service's own default asks for several shots
            THREE_TO_FIFTEEN_S,
            int,
            resolutions={**HD, "4k": "4k"},
            shots=OMNI_SHOTS,
        ),
        Form(
            "kling-3.0-omni/image-to-video",
            3_072,
            OMNI,
            {"customize_multi_shots": False},
            THREE_TO_FIFTEEN_S,
            int,
            picture_list=2,
            resolutions={**HD, "4k": "4k"},
            one_line=True,
            shots=OMNI_SHOTS,
        ),
    ),
}


def models_that(accept: Callable[[Form], bool], *, pictures: bool) -> str:
    """Return the names of the models whose form for pictures, or for words alone, meets a condition."""
    forms = ((name, model.pictures if pictures else model.text) for name, model in MODELS.items())
    return ", ".join(name for name, form in forms if form and accept(form))
