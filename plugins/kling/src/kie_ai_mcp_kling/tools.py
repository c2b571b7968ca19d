"""Tools of Kling: clips from words, pictures, references and characters, by the cheapest model that takes the call."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from kie_ai_mcp import AudioUrl, CallbackUrl, ImageUrl, ImageUrls, InvalidArgument, Media, Prompt, Submission, VideoUrl
from kie_ai_mcp_kling import forms
from kie_ai_mcp_kling.forms import FAMILY, MODES, NAMES, ONE_LINE

VIDEO = "kling-video"
OMNI = "kling-omni"
MOTION = "kling-motion"
AVATAR = "kling-avatar"

SHORTEST_S, LONGEST_S = 3, 15
Seconds = Annotated[int, Field(ge=SHORTEST_S, le=LONGEST_S)]
Shape = Literal["16:9", "9:16", "1:1"]
Resolution = Literal["720p", "1080p", "4k"]
OWN_IDS = BeforeValidator(lambda value: NAMES.get(value, value) if isinstance(value, str) else value)


def _objects(**properties: dict[str, Any]) -> WithJsonSchema:
    # Plain objects with a short schema of their own; the form says what each needs.
    return WithJsonSchema({"type": "object", "properties": properties})


TEXT = {"type": "string"}
Shot = Annotated[dict[str, Any], _objects(prompt=TEXT, duration={"type": "integer"})]
Element = Annotated[
    dict[str, Any], _objects(name=TEXT, description=TEXT, element_input_urls={"type": "array", "items": TEXT})
]
Elements = Annotated[
    list[Element],
    Media(("image", "video"), at="[].element_input_urls[]"),
    Media("audio", at="[].element_input_audio_urls[]"),
]


def generate_kling_video(
    prompt: Prompt,
    imageUrls: Annotated[ImageUrls, Field(max_length=2), Media("image", most_mb=50)] | None = None,
    duration: Seconds | None = None,
    aspectRatio: Shape | None = None,
    mode: Literal["standard", "fast", "turbo"] | None = None,
    resolution: Resolution | None = None,
    frameRate: Annotated[int, Field(description="refused")] | None = None,
    callBackUrl: CallbackUrl | None = None,
    model: Annotated[
        Literal["2.1-standard", "2.1-pro", "2.1-master", "2.5-turbo", "2.6", "3.0", "3.0-turbo", "3.0-omni"], OWN_IDS
    ]
    | None = None,
    sound: bool | None = None,
    negative_prompt: str | None = None,
    cfg_scale: Annotated[float, Field(ge=0, le=1)] | None = None,
    shots: list[Shot] | None = None,
    elements: Elements | None = None,
) -> Submission:
    """Make a video with Kling from words or a first (and last) picture (address or local path); choose it for low
    prices, sound, shots or 4k.

    Without model: the cheapest that fits. With shots, prompt is ignored. elements: @name in prompts.
    negative_prompt, cfg_scale: 2.1, 2.5 only.
    """
    seconds, faults = _length(shots, duration) if shots and model in {None, *forms.OF_SHOTS} else (duration, [])
    asked = {
        "prompt": prompt,
        "imageUrls": imageUrls,
        "duration": seconds,
        "aspectRatio": aspectRatio,
        "resolution": resolution,
        "frameRate": frameRate,
        "sound": sound,
        "negative_prompt": negative_prompt,
        "cfg_scale": cfg_scale,
        "shots": shots,
        "elements": elements,
    }
    able, meant = forms.SHOTS if shots else forms.VIDEO, MODES.get(mode or "", forms.OF_SHOTS if shots else ())
    if mode == "standard":
        able = tuple(map(forms.standard, able))
    preferred = [form for form in able if form.name in meant]
    choice = FAMILY.choose(able, asked, model, preferred=preferred, faults=faults)
    notes = ["With shots the service makes their prompts and ignores prompt."] if shots else []
    if mode and choice.form.name not in meant:
        why = "another was named" if model else "they do not take the whole call"
        notes.append(f"mode {mode} was left out: it means model {' or '.join(meant)}, and {why}.")
    if mode == "standard" and resolution in {"1080p", "4k"}:
        notes.append(f"mode standard, which means 720p, was left out: resolution {resolution} says otherwise.")
    if choice.model.id == ONE_LINE:
        choice = replace(choice, input={**choice.input, "prompt": " ".join(prompt.splitlines())})
    return choice.submission(VIDEO, callBackUrl, notes=notes)


def _length(shots: list[Any], duration: int | None) -> tuple[int | None, list[InvalidArgument]]:
    """Return the seconds of a clip of shots, where each shot has a length, and what is wrong with them."""
    lengths = [shot.get("duration") for shot in shots]
    if not all(type(length) is int for length in lengths):
        return duration, []  # the form says what a shot needs
    total, faults = sum(lengths), []
    if not SHORTEST_S <= total <= LONGEST_S:
        allowed = f"they last {total} seconds together; make it {SHORTEST_S} to {LONGEST_S}"
        faults.append(InvalidArgument("shots", shots, allowed))
    if duration not in {None, total}:
        faults.append(InvalidArgument("duration", duration, f"the shots last {total} seconds together; leave it out"))
    return (None if faults else total), faults


def generate_kling_omni_video(
    prompt: Prompt,
    imageUrls: Annotated[list[ImageUrl], Media("image", most_mb=50)] | None = None,
    videoUrl: Annotated[VideoUrl, Media("video", most_mb=200)] | None = None,
    transform: bool | None = None,
    duration: Seconds | None = None,
    aspectRatio: Shape | None = None,
    resolution: Resolution | None = None,
    sound: bool | None = None,
    elements: Elements | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a video with Kling Omni after 1-7 pictures, a clip or both (addresses or local paths), or change the clip
    (transform); choose it to keep persons or things alike.

    A clip alone keeps length and shape. elements: @name in prompt.
    """
    asked = {
        "prompt": prompt,
        "imageUrls": imageUrls,
        "videoUrl": videoUrl,
        "duration": duration,
        "aspectRatio": aspectRatio,
        "resolution": resolution,
        "sound": sound,
        "elements": elements,
    }
    use = (bool(transform), bool(videoUrl), bool(imageUrls))
    notes = [] if any(use) else ["Without pictures and clip the video is made from words alone."]
    return FAMILY.choose([forms.OMNI_USES.get(use, forms.CHANGE)], asked).submission(OMNI, callBackUrl, notes=notes)


def generate_kling_motion_video(
    imageUrl: Annotated[ImageUrl, Media("image", most_mb=10)],
    videoUrl: Annotated[VideoUrl, Media("video", most_mb=100)],
    prompt: Prompt | None = None,
    model: Annotated[Literal["2.6", "3.0"], OWN_IDS] | None = None,
    resolution: Literal["720p", "1080p"] | None = None,
    orientation: Literal["video", "image"] | None = None,
    background: Literal["video", "image"] | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a pictured character move like one in a clip of 3-30 s (addresses or local paths), with Kling."""
    asked = {
        "prompt": prompt,
        "imageUrl": imageUrl,
        "videoUrl": videoUrl,
        "resolution": resolution,
        "orientation": orientation,
        "background": background,
    }
    return FAMILY.choose(forms.MOTION, asked, model).submission(MOTION, callBackUrl)


def generate_kling_avatar_video(
    prompt: Prompt,
    imageUrl: Annotated[ImageUrl, Media("image", most_mb=10)],
    audioUrl: Annotated[AudioUrl, Media("audio", most_mb=100)],
    model: Annotated[Literal["standard", "pro"], OWN_IDS] | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a pictured person speak or sing a sound of at most 5 minutes (addresses or local paths), with Kling.

    standard: 720p, pro: 1080p.
    """
    asked = {"prompt": prompt, "imageUrl": imageUrl, "audioUrl": audioUrl}
    return FAMILY.choose(forms.AVATAR, asked, model).submission(AVATAR, callBackUrl)
