"""The video tool of Wan: one clip, by the cheapest model that takes the whole call."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import AudioUrl, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl
from kie_ai_mcp_wan.models import CLIPS, FORMS, NAMES, PICTURES, RESOLUTION, Form

VIDEO = "wan-video"
MEDIA = ("first_frame_url", "last_frame_url", PICTURES, CLIPS, "audio_url")

# The widest of the models' limits.
Picture = Annotated[ImageUrl, Media("image", most_mb=20)]
Pictures = Annotated[list[ImageUrl], Field(max_length=10), Media("image", most_mb=20)]
Clips = Annotated[list[VideoUrl], Field(max_length=5), Media("video", most_mb=100)]
Sound = Annotated[AudioUrl, Media("audio", most_mb=15)]
Name = Annotated[
    Literal["2.2", "2.5", "2.6", "2.6-flash", "2.7", "3.0", "3.0-prime"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_wan_video(
    prompt: Prompt,
    first_frame_url: Picture | None = None,
    last_frame_url: Picture | None = None,
    reference_image_urls: Pictures | None = None,
    reference_video_urls: Clips | None = None,
    audio_url: Sound | None = None,
    duration: Annotated[int, Field(ge=-1, le=30)] | None = None,
    resolution: Literal["480p", "720p", "1080p"] | None = None,
    aspect_ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "adaptive"] | None = None,
    sound: bool | None = None,
    model: Name | None = None,
) -> Submission:
    """Make a video with Alibaba Wan from words, a first and/or last frame, or references (addresses or local paths);
    choose it for a clip that follows speech or music (audio_url), or up to 30 s.

    Without model: the cheapest that fits; without resolution: 720p. duration: 2-30 s, -1: 3.0.
    """
    asked = {
        "prompt": prompt,
        "first_frame_url": first_frame_url,
        "last_frame_url": last_frame_url,
        "reference_image_urls": reference_image_urls,
        "reference_video_urls": reference_video_urls,
        "audio_url": audio_url,
        "duration": duration,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        "sound": sound,
    }
    asked = {argument: value for argument, value in asked.items() if value is not None and value != []}
    results = [(form, (*_misfits(form, asked),), (*_faults(form, asked),)) for form in FORMS]
    form, misfits, faults = min(
        (result for result in results if model in {None, result[0].model}),
        key=lambda result: (len(result[1]), len(result[2])),
    )
    if misfits or faults:
        able = any(not others and not more for _, others, more in results)
        instead = {"tool": "generate_wan_video", "arguments": asked} if able else None
        raise InvalidArgument.joined([*misfits, *faults], instead=instead)
    note = f"Wan {form.model} was chosen: the cheapest model that takes the whole call."
    return Submission.market(form.id, _input(form, asked), api_type=VIDEO, notes=() if model else (note,))


def _misfits(form: Form, asked: Mapping[str, Any]) -> Iterator[InvalidArgument]:
    """Yield the media that a form does not take, or lacks."""
    for argument in MEDIA:
        if argument in asked and argument not in form.media:
            besides = [other for other in MEDIA if other in asked and other in form.media]
            where = f" beside {' and '.join(besides)}" if besides else ""
            yield InvalidArgument(argument, asked[argument], f"Wan {form.model} takes none{where}; leave it out")
    for need in form.needs:
        either = (need,) if isinstance(need, str) else need
        if not any(argument in asked for argument in either):
            missing = f"{either[0]}: Wan {form.model} needs {' or '.join(either)}; give one."
            yield InvalidArgument(either[0], None, "give one", message=missing)


def _faults(form: Form, asked: Mapping[str, Any]) -> Iterator[InvalidArgument]:
    """Yield what a form does not take otherwise, each with what to give instead."""

    def fault(argument: str, cure: str) -> InvalidArgument:
        return InvalidArgument(argument, asked[argument], f"Wan {form.model} {cure}")

    for argument, most in form.most.items():
        if (count := len(asked.get(argument, ()))) > most:
            yield fault(argument, f"takes at most {most}, not {count}")
    if sum(len(asked.get(argument, ())) for argument in (PICTURES, CLIPS)) > form.most_references:
        together = f"Wan {form.model} takes at most {form.most_references} pictures and clips together; leave some out"
        given = PICTURES if PICTURES in asked else CLIPS
        yield InvalidArgument(given, asked[given], together)
    least, most = form.prompt_chars
    if not least <= len(asked["prompt"]) <= most:
        yield fault("prompt", f"takes {least} to {most} characters")
    if "resolution" in asked and asked["resolution"] not in form.resolutions:
        yield fault("resolution", f"makes {' or '.join(form.resolutions)}; use one of these")
    if "duration" in asked and asked["duration"] not in form.durations_s:
        yield fault("duration", f"makes {form.lengths}; use one of these" if form.lengths else "sets it; leave it out")
    if "aspect_ratio" in asked and asked["aspect_ratio"] not in form.shapes:
        cure = f"makes {', '.join(form.shapes)}; use one of these" if form.shapes else "sets it; leave it out"
        yield fault("aspect_ratio", cure)
    if "sound" in asked and not form.sound:
        yield fault("sound", "leaves no choice; leave it out")


def _input(form: Form, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is sent, in the service's words."""
    sent = {"prompt": asked["prompt"], **form.always}
    for argument, name in form.media.items():
        if argument in asked:
            value = asked[argument]
            sent[name.removesuffix("[]")] = [value] if name.endswith("[]") else value
    sent["resolution"] = form.resolutions[asked.get("resolution", RESOLUTION)]
    if "duration" in asked:
        name, written = form.length
        sent[name] = written(asked["duration"])
    if "aspect_ratio" in asked:
        sent[form.shape] = asked["aspect_ratio"]
    if "sound" in asked:
        sent[form.sound] = asked["sound"]
    return sent
