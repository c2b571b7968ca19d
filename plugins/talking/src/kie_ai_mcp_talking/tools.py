"""Tools that make people speak: a pictured person from a sound, and the lips of a clip after another sound."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from kie_ai_mcp import AudioUrl, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl

TALKING = "talking"
LIP_SYNC = "lip-sync"

INFINITALK, OMNIHUMAN = "infinitalk", "omnihuman"
OMNIHUMAN_CHARS = 300
SPEAKS = "The person speaks to the camera."
RESOLUTIONS = {INFINITALK: ("480p", "720p"), OMNIHUMAN: ("720p", "1080p")}

Picture = Annotated[ImageUrl, Media("image", most_mb=10, formats=("jpg", "png", "webp"))]
Sound = Annotated[AudioUrl, Media("audio", most_mb=10, formats=("mp3", "wav", "aac", "m4a", "ogg"))]
Clip = Annotated[
    VideoUrl, Media("video", most_mb=500, formats=("mp4", "mov"), least_fps=24, most_fps=60, least_mbps=1, most_mbps=30)
]


def generate_talking_video(
    image_url: Picture,
    audio_url: Sound,
    prompt: Annotated[Prompt, Field(max_length=5000)] | None = None,
    resolution: Literal["480p", "720p", "1080p"] | None = None,
    model: Literal["infinitalk", "omnihuman"] | None = None,
) -> Submission:
    """Make the person in a photo talk or sing a sound file (addresses or local paths).

    infinitalk: cheap, no WAV, no 1080p. omnihuman: best; at most 60 s, prompt of 300 characters, no 480p. Without
    model: the cheapest that fits.
    """
    is_wav = urlsplit(audio_url).path.lower().endswith(".wav")
    faults = {INFINITALK: _of_infinitalk(audio_url, is_wav, resolution), OMNIHUMAN: _of_omnihuman(prompt, resolution)}
    name = model or (OMNIHUMAN if faults[INFINITALK] and not faults[OMNIHUMAN] else INFINITALK)
    if fault := faults[name]:
        other = next((f"; model={other!r} takes the whole call" for other in faults if not faults[other]), "")
        raise InvalidArgument(*fault[:2], f"{fault[2]}{other}")
    notes = []
    if model is None:
        notes.append(f"{name} was chosen: the cheapest model that takes the whole call.")
        if name == OMNIHUMAN and is_wav:
            notes.append("infinitalk refuses WAV; it would make the same from MP3 for a ninth.")
    if name == INFINITALK:
        if prompt is None:
            notes.append(f"The service wants a prompt; {SPEAKS!r} was sent.")
        model_id, body = "infinitalk/from-audio", {"prompt": prompt or SPEAKS, "resolution": resolution}
    else:
        size = resolution and resolution.removesuffix("p")
        model_id, body = "omnihuman-1-5", {"prompt": prompt, "output_resolution": size}
    files = {"image_url": image_url, "audio_url": audio_url}
    return Submission.market(model_id, {**files, **body}, api_type=TALKING, notes=tuple(notes))


def lip_sync_video(
    video_url: Clip,
    audio_url: Sound,
    mode: Literal["lite", "basic"] | None = None,
    separate_vocal: bool | None = None,
    open_scenedet: bool | None = None,
) -> Submission:
    """Make the person in a clip speak another sound (addresses or local paths), lips in time; to dub a video.

    separate_vocal: sound with music. open_scenedet: a clip with cuts, mode basic.
    """
    if mode == "lite" and open_scenedet:
        raise InvalidArgument("open_scenedet", open_scenedet, "lite finds no cuts; use mode='basic', or leave it out")
    return Submission.market(
        "volcengine/video-to-video-lip-sync",
        {
            "mode": mode or ("basic" if open_scenedet else "lite"),
            "video_url": video_url,
            "audio_url": audio_url,
            "separate_vocal": separate_vocal,
            "open_scenedet": open_scenedet,
        },
        api_type=LIP_SYNC,
    )


Fault = tuple[str, object, str]


def _of_infinitalk(audio_url: str, is_wav: bool, resolution: str | None) -> Fault | None:
    """Return what InfiniTalk does not take of a call: the argument, its value and the cure."""
    if is_wav:
        return "audio_url", audio_url, "infinitalk refuses WAV; give the sound as MP3"
    if resolution and resolution not in RESOLUTIONS[INFINITALK]:
        return "resolution", resolution, "infinitalk makes 480p or 720p; use one of these"
    return None


def _of_omnihuman(prompt: str | None, resolution: str | None) -> Fault | None:
    if prompt and len(prompt) > OMNIHUMAN_CHARS:
        return "prompt", prompt, f"omnihuman takes at most {OMNIHUMAN_CHARS} characters; shorten it"
    if resolution and resolution not in RESOLUTIONS[OMNIHUMAN]:
        return "resolution", resolution, "omnihuman makes 720p or 1080p; use one of these"
    return None
