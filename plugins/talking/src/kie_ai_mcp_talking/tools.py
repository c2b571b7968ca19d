"""Tools that make people speak: a pictured person from a sound, and the lips of a clip after another sound."""

from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from kie_ai_mcp import AudioUrl, Family, Form, ImageUrl, InvalidArgument, Media, Prompt, Submission, VideoUrl

TALKING = "talking"
LIP_SYNC = "lip-sync"

SPEAKS = "The person speaks to the camera."
FAMILY = Family("kie_ai_mcp_talking", "")
INFINITALK = Form("infinitalk/from-audio", "infinitalk", always={"prompt": SPEAKS})
OF_OTHER_SOUNDS = replace(INFINITALK, words={"audio_url": {"MP3, AAC, M4A or OGG": ""}})  # WAV fails at the service
OMNIHUMAN = Form(
    "omnihuman-1-5", "omnihuman", {"resolution": "output_resolution"}, {"resolution": {"720p": "720", "1080p": "1080"}}
)
OF_MARKET = {form.id: form.name for form in (INFINITALK, OMNIHUMAN)}
Name = Annotated[
    Literal["infinitalk", "omnihuman"],
    BeforeValidator(lambda value: OF_MARKET.get(value, value) if isinstance(value, str) else value),
]

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
    model: Name | None = None,
) -> Submission:
    """Make the person in a photo talk or sing a sound file (addresses or local paths).

    infinitalk: a ninth of the price; no WAV (make it MP3, or take generate_kling_avatar_video), no 1080p. omnihuman:
    best; at most 60 s, prompt of 300 characters, no 480p.
    """
    is_wav = urlsplit(audio_url).path.lower().endswith(".wav")
    asked = {"image_url": image_url, "audio_url": audio_url, "prompt": prompt, "resolution": resolution}
    choice = FAMILY.choose((OF_OTHER_SOUNDS if is_wav else INFINITALK, OMNIHUMAN), asked, model)
    is_added = choice.form == INFINITALK and prompt is None
    notes = [f"The service wants a prompt; {SPEAKS!r} was sent."] if is_added else []
    return choice.submission(TALKING, notes=notes)


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
