"""What each Kling model of the service takes, as a table: one form for words alone, one for pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MODES = {"standard": "2.1-standard", "fast": "2.5-turbo", "turbo": "2.5-turbo"}
"""The modes of the early service, and the model of today that each means."""

DEFAULTS = ("2.5-turbo", "3.0")
"""Where neither a mode nor a model is named: the first of these that takes the arguments."""


@dataclass(frozen=True)
class Shots:
    """How a form is told to cut between several shots.

    Args:
        switch: The field that turns it on.
        most: How many shots there may be.
        longest_s: How long one may be, in seconds.
        prompt_chars: How long the prompt of one may be.
        pictures: How many pictures may be given besides.
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
    """One model id of the service and its input.

    Args:
        id: The service's model id.
        prompt_chars: How long the prompt may be.
        fields: Our optional arguments that it takes, each with the service's name for it.
        always: Fields that the service requires, at the service's own defaults.
        durations_s: The lengths it makes, in seconds.
        duration_type: Whether the service wants the length as text or as a number.
        picture_fields: One field for each picture it takes.
        picture_list: Instead, how many pictures its ``image_urls`` holds.
        negative_chars: How long its negative prompt may be.
        resolutions: Our words for its sizes, each with the service's word.
        silent: It never makes a sound, so asking for none needs no field.
        one_line: The service's check of the prompt fails on line breaks.
        shots: How it is told several shots; None where it can't be.
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
        """How many pictures it takes."""
        return len(self.picture_fields) or self.picture_list

    def takes(self, argument: str) -> bool:
        """Tell whether it has a field for one of our optional arguments."""
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

# The docs give the prompt of 3.0 no limit; 20 000 characters is what any prompt may have here.
VIDEO_3 = Form(
    "kling-3.0/video",
    20_000,
    {**SHAPE, "sound": "sound", "resolution": "mode"},
    {
        "sound": False,
        "duration": "5",
        "aspect_ratio": "16:9",
        "mode": "pro",
        "multi_shots": False,
        "multi_prompt": [],
    },
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
    # The docs name no limit for its image_urls and no meaning for a second picture; the model has a first frame only.
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
    """Return the names of the models whose form for pictures, or for words alone, is accepted."""
    forms = ((name, model.pictures if pictures else model.text) for name, model in MODELS.items())
    return ", ".join(name for name, form in forms if form and accept(form))
