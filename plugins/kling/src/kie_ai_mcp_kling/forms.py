"""Forms of the Kling models, each for what a tool asks of it."""

from collections.abc import Mapping
from dataclasses import replace

from kie_ai_mcp import Family, Form

FAMILY = Family("kie_ai_mcp_kling", "Kling")

FRAME = {"imageUrls": ("image_url",)}
FRAMES = {"imageUrls": ("image_url", "tail_image_url")}
SILENT = {"sound": (False,)}
AUDIO = {"sound": "audio"}

VIDEO_3 = Form(
    "kling-3.0/video",
    "3.0",
    fields={"elements": "kling_elements", "resolution": "mode"},
    words={"resolution": {"720p": "std", "1080p": "pro", "4k": "4K"}},
    always={"aspect_ratio": "16:9", "multi_prompt": []},
)
# Where nothing is said the service takes several shots for words alone, and does not say whether a picture gets sound.
OMNI = (
    Form(
        "kling-3.0-omni/image-to-video",
        "3.0-omni",
        fields=AUDIO,
        always={"customize_multi_shots": False, "audio": False},
    ),
    Form("kling-3.0-omni/text-to-video", "3.0-omni", fields=AUDIO, always={"customize_multi_shots": False}),
)
ONE_LINE = OMNI[0].id  # refuses a prompt with line breaks

# For pictures first: of two forms with as many faults the first is spoken of.
VIDEO = (
    Form("kling/v2-1-standard", "2.1-standard", fields=FRAME, implied=SILENT),
    Form("kling/v2-1-pro", "2.1-pro", fields=FRAMES, implied=SILENT),
    Form("kling/v2-1-master-image-to-video", "2.1-master", fields=FRAME, implied=SILENT),
    Form("kling/v2-1-master-text-to-video", "2.1-master", implied=SILENT),
    Form("kling/v2-5-turbo-image-to-video-pro", "2.5-turbo", fields=FRAMES, implied=SILENT),
    Form("kling/v2-5-turbo-text-to-video-pro", "2.5-turbo", implied=SILENT),
    Form("kling-2.6/image-to-video", "2.6", always={"sound": False}),
    Form("kling-2.6/text-to-video", "2.6", always={"sound": False}),
    VIDEO_3,
    # Its schema has no limit, but it has no use for a second picture.
    Form("kling/v3-turbo-image-to-video", "3.0-turbo", fields={"imageUrls": ("image_urls",)}),
    Form("kling/v3-turbo-text-to-video", "3.0-turbo"),
    *OMNI,
)


def _of_shots(form: Form) -> Form:
    """Return the form of the same model for several shots, where it makes such."""
    fields = {**form.fields, "shots": "multi_prompt"}
    if form is VIDEO_3:
        # It makes several shots with sound, whatever it is told.
        always = {"aspect_ratio": "16:9", "multi_shots": True, "sound": True}
        return replace(form, fields=fields, words={**form.words, "sound": {True: True}}, always=always)
    return replace(form, fields=fields, always={**form.always, "customize_multi_shots": True}) if form in OMNI else form


OF_SHOTS = ("3.0", "3.0-omni")
SHOTS = tuple(map(_of_shots, VIDEO))
MODES: Mapping[str, tuple[str, ...]] = {
    "standard": ("2.1-standard", "2.5-turbo", "3.0"),
    "fast": ("2.5-turbo", "3.0-turbo"),
    "turbo": ("2.5-turbo", "3.0-turbo"),
}
"""The modes of the early service, each with the models of today that are meant."""


def standard(form: Form) -> Form:
    """Return the form of Kling 3.0 for 720p, which the service calls standard, and every other form as it is."""
    return replace(form, always={**form.always, "mode": "std"}) if form.name == "3.0" else form


CLIP = {**AUDIO, "videoUrl": "video_urls"}
KEPT = {"aspectRatio": "a clip alone keeps its shape", "duration": "a clip alone keeps its length"}
REFERENCE, TRANSFORMATION = "kling-3.0-omni/reference-to-video", "kling-3.0-omni/transformation"

# Keys: whether the clip is changed, whether there is a clip, whether there are pictures.
OMNI_USES: Mapping[tuple[bool, bool, bool], Form] = {
    (False, False, False): OMNI[1],
    **dict.fromkeys(
        [(False, False, True), (False, True, True)], Form(REFERENCE, "3.0-omni", fields=CLIP, always={"audio": False})
    ),
    (False, True, False): Form(
        REFERENCE,
        "3.0-omni",
        fields={**CLIP, "aspectRatio": "", "duration": "", "elements": ""},
        always={"audio": False, "aspect_ratio": "auto"},
        reasons={**KEPT, "elements": "a clip alone takes none"},
    ),
    (True, True, False): Form(
        TRANSFORMATION, "3.0-omni", fields={**CLIP, "aspectRatio": "", "duration": ""}, reasons=KEPT
    ),
}
CHANGE = Form(TRANSFORMATION, "3.0-omni", fields=CLIP)

MOVED = {
    "imageUrl": "input_urls",
    "videoUrl": "video_urls",
    "resolution": "mode",
    "orientation": "character_orientation",
    "background": "background_source",
}
SOURCES = {"background": {"video": "input_video", "image": "input_image"}}
MOTION = (
    Form("kling-2.6/motion-control", "2.6", fields=MOVED),
    Form("kling-3.0/motion-control", "3.0", fields=MOVED, words=SOURCES, always={"mode": "720p"}),
)
AVATAR = (Form("kling/ai-avatar-standard", "standard"), Form("kling/ai-avatar-pro", "pro"))

NAMES = {form.id: form.name for form in (*VIDEO, *MOTION, *AVATAR)}
"""The names that the tools have for the service's ids."""
