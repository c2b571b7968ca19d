"""The tool of Seedance: one clip, by the cheapest model that takes the whole call."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import AudioUrl, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl
from kie_ai_mcp_seedance.models import FRAMES, MODEL_CHOOSES, MODELS, NAMES, REFERENCES

VIDEO = "seedance"

# The widest of the models' limits. asset:// is the service's own form of address.
ASSET = ("asset",)
PICTURES = Media(
    "image",
    most_mb=30,
    formats=("jpg", "png", "webp", "bmp", "tiff", "gif"),
    least_px=300,
    most_px=6_000,
    least_ratio=0.4,
    most_ratio=2.5,
    schemes=ASSET,
)
CLIPS = Media(
    "video",
    most_mb=200,
    formats=("mp4", "mov"),
    least_s=2,
    most_s=30,
    total_s=30,
    least_px=300,
    most_px=6_000,
    least_pixels=409_600,
    most_pixels=927_408,
    least_ratio=0.4,
    most_ratio=2.5,
    least_fps=24,
    most_fps=60,
    schemes=ASSET,
)
SOUNDS = Media("audio", most_mb=15, formats=("wav", "mp3"), least_s=2, most_s=30, total_s=30, schemes=ASSET)

Picture = Annotated[ImageUrl, PICTURES]
Name = Annotated[
    Literal["1.5-pro", "2-mini", "2-fast", "2", "2.5"],
    BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value),
]


def generate_seedance_video(
    prompt: Prompt,
    first_frame_url: Picture | None = None,
    last_frame_url: Picture | None = None,
    reference_image_urls: Annotated[list[ImageUrl], PICTURES] | None = None,
    reference_video_urls: Annotated[list[VideoUrl], CLIPS] | None = None,
    reference_audio_urls: Annotated[list[AudioUrl], SOUNDS] | None = None,
    duration: Annotated[int, Field(ge=-1, le=30)] | None = None,
    resolution: Literal["480p", "720p", "1080p", "4k"] | None = None,
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "21:9", "adaptive"] | None = None,
    sound: bool | None = None,
    model: Name | None = None,
) -> Submission:
    """Make a video with ByteDance Seedance from words, a first (and last) frame, or reference pictures, clips and
    sounds (addresses or local paths); choose it for low prices, references or up to 30 s.

    Without model: the cheapest that fits. duration: 4-30 s, or -1: the model chooses.
    """
    asked = {
        "prompt": prompt,
        "first_frame_url": first_frame_url,
        "last_frame_url": last_frame_url,
        "reference_image_urls": reference_image_urls,
        "reference_video_urls": reference_video_urls,
        "reference_audio_urls": reference_audio_urls,
        "duration": duration,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        "sound": sound,
    }
    asked = {argument: value for argument, value in asked.items() if value is not None and value != []}
    faults = {name: tuple(_faults(name, asked)) for name in MODELS}
    name: str = model or min(faults, key=lambda name: (len(faults[name]), _reshapes(name, asked)))
    if faults[name]:
        able = any(not others for others in faults.values())
        instead = {"tool": "generate_seedance_video", "arguments": asked} if able else None
        raise InvalidArgument.joined(faults[name], instead=instead)
    return Submission.market(
        MODELS[name].id, _input(name, asked), api_type=VIDEO, notes=tuple(_notes(name, asked, chosen=not model))
    )


def _faults(name: str, asked: Mapping[str, Any]) -> Iterator[InvalidArgument]:
    """Yield what a model does not take, each with what to give instead."""
    model = MODELS[name]

    def fault(argument: str, cure: str) -> InvalidArgument:
        return InvalidArgument(argument, asked[argument], f"Seedance {name} {cure}")

    if len(asked["prompt"]) < model.least_chars:
        yield fault("prompt", f"takes at least {model.least_chars} characters")
    if asked.get("resolution", "480p") not in model.resolutions:
        yield fault("resolution", f"makes {' or '.join(model.resolutions)}; use one of these")
    seconds = asked.get("duration", 5)
    if not 4 <= seconds <= model.longest_s and not (model.adapts and seconds == MODEL_CHOOSES):
        yield fault("duration", f"makes 4 to {model.longest_s} seconds{', or -1' * model.adapts}; use one of these")
    if not model.adapts and asked.get("aspect_ratio") == "adaptive":
        yield fault("aspect_ratio", "must be told the shape; use another, such as 16:9")
    frames = [argument for argument in FRAMES if argument in asked]
    references = [argument for argument in REFERENCES if argument in asked]
    most = dict(zip(REFERENCES, model.references, strict=True))
    if frames and not model.strict:
        most["reference_image_urls"] -= len(frames)
    for argument in references:
        if not any(model.references):
            yield fault(argument, "takes none; leave them out")
        elif (count := len(asked[argument])) > most[argument]:
            yield fault(argument, f"takes at most {most[argument]}{' beside the frames' * bool(frames)}, not {count}")
    if not model.assets and (assets := [frame for frame in frames if asked[frame].lower().startswith("asset:")]):
        yield fault(assets[0], "takes no asset:// address; give another")
    if model.strict and frames and references and any(model.references):
        yield fault(references[0], "takes references or frames, not both; leave first_frame_url and last_frame_url out")
    elif model.strict and frames == ["last_frame_url"]:
        yield fault("last_frame_url", "takes one only beside first_frame_url; give that, too")


def _input(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is sent: the caller's arguments, and the shape of a frame where no other was asked for."""
    model, frames = MODELS[name], [asked[argument] for argument in FRAMES if argument in asked]
    sent = {"generate_audio" if argument == "sound" else argument: value for argument, value in asked.items()}
    if model.frames and frames:
        sent = {argument: value for argument, value in sent.items() if argument not in FRAMES} | {model.frames: frames}
    if model.adapts and frames:
        sent.setdefault("aspect_ratio", "adaptive")
    return {**model.always, **sent}


def _reshapes(name: str, asked: Mapping[str, Any]) -> bool:
    """Return whether a model gives a frame another shape although none was asked for."""
    return "aspect_ratio" not in asked and not MODELS[name].adapts and any(frame in asked for frame in FRAMES)


def _notes(name: str, asked: Mapping[str, Any], *, chosen: bool) -> Iterator[str]:
    """Yield what was decided for the caller."""
    if chosen:
        keeping = " and keeps the shape of the frame" if any(_reshapes(other, asked) for other in MODELS) else ""
        yield f"Seedance {name} was chosen: the cheapest model that takes the whole call{keeping}."
    if not MODELS[name].adapts and "aspect_ratio" not in asked:
        yield f"Seedance {name} makes {MODELS[name].always['aspect_ratio']} where aspect_ratio is left out."
    if not MODELS[name].adapts and "sound" not in asked:
        yield f"Seedance {name} makes a silent clip where sound is left out."
