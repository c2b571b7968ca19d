"""Table of the Wan video models: one form for each combination of media, the cheapest first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FIRST, LAST = "first_frame_url", "last_frame_url"
PICTURES, CLIPS = "reference_image_urls", "reference_video_urls"
SOUND = "audio_url"

MODEL_CHOOSES = -1
"""The duration that leaves the length to the model."""

RESOLUTION = "720p"
"""The resolution where none is asked for: every model makes it."""


@dataclass(frozen=True)
class Form:
    """The input of one model id of the service.

    Args:
        model: The model as a user names it.
        id: The service's id.
        media: The media arguments that it takes, each with the service's field; "[]" marks a list.
        needs: The media arguments without which it does not work; of a tuple, one is enough.
        resolutions: Our words for its resolutions, each with the service's.
        durations_s: The lengths that it makes, in seconds; none where it sets the length itself.
        length: The service's field for the length, and how that writes seconds.
        shapes: The shapes that it makes; none where it has no choice.
        shape: The service's field for the shape.
        sound: The service's field for whether there is sound; empty where it has no choice.
        most: The most files of an argument.
        most_references: The most reference pictures and clips together.
        prompt_chars: The shortest and the longest prompt.
        always: Fields that the service requires.
    """

    model: str
    id: str
    media: Mapping[str, str]
    needs: tuple[str | tuple[str, ...], ...]
    resolutions: Mapping[str, str]
    durations_s: Sequence[int] = ()
    length: tuple[str, Callable[[int], Any]] = ("duration", int)
    shapes: tuple[str, ...] = ()
    shape: str = "aspect_ratio"
    sound: str = ""
    most: Mapping[str, int] = field(default_factory=dict)
    most_references: int = 15
    prompt_chars: tuple[int, int] = (1, 5_000)
    always: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lengths(self) -> str:
        """The lengths that it makes, in words."""
        seconds = [length for length in self.durations_s if length != MODEL_CHOOSES]
        if not seconds:
            return ""
        words = f"{seconds[0]} to {seconds[-1]}" if len(seconds) > 3 else ", ".join(map(str, seconds))
        return f"{words} seconds{', or -1' * (MODEL_CHOOSES in self.durations_s)}"


TEXT = ("duration", str)
HD = {"720p": "720p", "1080p": "1080p"}
SMALL = {"480p": "480p", "720p": "720p"}
BASIC = ("16:9", "9:16", "1:1")
COMMON = (*BASIC, "4:3", "3:4")


def _newest(model: str, model_id: str) -> tuple[Form, Form]:
    """Return the two forms of one model of Wan 3.0: its frames can't be combined with references."""
    sizes = {"480p": "480P", "720p": "720P", "1080p": "1080P"}
    references = {PICTURES: "reference_image_urls", CLIPS: "reference_video_urls", SOUND: "reference_audio_urls[]"}
    common: dict[str, Any] = {
        "resolutions": sizes,
        "durations_s": (MODEL_CHOOSES, *range(2, 31)),
        "shapes": (*COMMON, "adaptive"),
        "sound": "audio",
        "prompt_chars": (1, 20_000),
    }
    return (
        Form(model, model_id, {FIRST: "first_frame_url", LAST: "last_frame_url"}, (), **common),
        Form(model, model_id, references, ((PICTURES, CLIPS),), most={PICTURES: 10, CLIPS: 5}, **common),
    )


# The service names no price for 2.6-flash, so it is the last.
FORMS = (
    Form(
        "2.5",
        "wan/2-5-text-to-video",
        {},
        (),
        HD,
        (5, 10),
        TEXT,
        BASIC,
        prompt_chars=(1, 800),
        always={"duration": "5"},
    ),
    Form(
        "2.5",
        "wan/2-5-image-to-video",
        {FIRST: "image_url"},
        (FIRST,),
        HD,
        (5, 10),
        TEXT,
        prompt_chars=(1, 800),
        always={"duration": "5"},
    ),
    Form("2.6", "wan/2-6-text-to-video", {}, (), HD, (5, 10, 15), TEXT),
    Form(
        "2.6",
        "wan/2-6-image-to-video",
        {FIRST: "image_urls[]"},
        (FIRST,),
        HD,
        (5, 10, 15),
        TEXT,
        prompt_chars=(2, 5_000),
    ),
    Form(
        "2.6",
        "wan/2-6-video-to-video",
        {CLIPS: "video_urls"},
        (CLIPS,),
        HD,
        (5, 10),
        TEXT,
        most={CLIPS: 3},
        prompt_chars=(2, 5_000),
    ),
    Form("2.7", "wan/2-7-text-to-video", {SOUND: "audio_url"}, (), HD, range(2, 16), shapes=COMMON, shape="ratio"),
    Form(
        "2.7",
        "wan/2-7-image-to-video",
        {FIRST: "first_frame_url", LAST: "last_frame_url", SOUND: "driving_audio_url"},
        ((FIRST, LAST),),
        HD,
        range(2, 16),
    ),
    Form(
        "2.7",
        "wan/2-7-r2v",
        {PICTURES: "reference_image", CLIPS: "reference_video", FIRST: "first_frame", SOUND: "reference_voice"},
        ((PICTURES, CLIPS),),
        HD,
        range(2, 11),
        shapes=COMMON,
        most_references=5,
    ),
    *_newest("3.0", "wan/3-0-video"),
    Form("2.2", "wan/2-2-a14b-text-to-video-turbo", {}, (), SMALL, shapes=("16:9", "9:16")),
    Form("2.2", "wan/2-2-a14b-image-to-video-turbo", {FIRST: "image_url"}, (FIRST,), SMALL),
    Form(
        "2.2",
        "wan/2-2-a14b-speech-to-video-turbo",
        {FIRST: "image_url", SOUND: "audio_url"},
        (FIRST, SOUND),
        SMALL,
        range(3, 8),
        ("num_frames", lambda seconds: 16 * seconds),
    ),
    *_newest("3.0-prime", "wan/3-0-video-prime"),
    Form(
        "2.6-flash",
        "wan/2-6-flash-image-to-video",
        {FIRST: "image_urls[]"},
        (FIRST,),
        HD,
        (5, 10, 15),
        TEXT,
        sound="audio",
        prompt_chars=(2, 1_500),
        always={"audio": False},
    ),
    Form(
        "2.6-flash",
        "wan/2-6-flash-video-to-video",
        {CLIPS: "video_urls"},
        (CLIPS,),
        HD,
        (5, 10),
        TEXT,
        sound="audio",
        most={CLIPS: 3},
        prompt_chars=(2, 1_500),
        always={"audio": False},
    ),
)

NAMES = {form.id: form.model for form in FORMS}
"""The names by the service's ids, which answers and lists of models show."""
