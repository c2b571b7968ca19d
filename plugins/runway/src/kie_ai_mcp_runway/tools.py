"""Tools of Runway: change a clip (Aleph), make one, continue one."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, Family, Form, ImageUrl, Prompt, Submission, TaskId, VideoUrl

ALEPH = "runway-aleph-video"
GEN3 = "runway-gen3-video"
EXTEND = "runway-extend"

# Today's address first, then the earlier one.
ALEPH_PATHS = ("aleph/generate", "runway/aleph/generate")
GEN3_PATHS = ("runway/generate",)
EXTEND_PATHS = ("runway/extend",)
ALEPH_STATUS_PATHS = ("aleph/record-info",)
CLIP_STATUS_PATHS = ("runway/record-detail",)

FAMILY = Family("kie_ai_mcp_runway", "")
ALEPH_FORMS = (
    Form("runway/gen4-aleph", "Aleph", {"imageUrls": "reference_image"}, reasons={"duration": "the clip decides"}),
)
GEN3_FORMS = (
    Form(
        "runway",
        "Runway",
        {"imageUrls": "image_url", "resolution": "quality"},
        reasons={"model": "the service has one Runway model"},
    ),
)
LONGER_FORMS = (Form("runway/extend-ai-video", "Runway", {"resolution": "quality"}),)
NAMES = {"watermark": "waterMark"}

# As `OnePicture` of the contract, but an empty list is accepted and means no picture.
OnePictureOrNone = Annotated[list[ImageUrl], Field(json_schema_extra={"maxItems": 1})]
Quality = Literal["720p", "1080p"]
SHAPES = ("16:9", "4:3", "1:1", "3:4", "9:16")
SHORT_S, LONG_S, PROMPT_CHARS = 5, 10, 1800
# What the tool of Veo takes, which makes clips of several pictures.
OF_VEO, PICTURES_OF_VEO = ("16:9", "9:16"), 3


def generate_runway_aleph_video(
    *,
    videoUrl: Annotated[VideoUrl, Field(description="required")] | None = None,
    prompt: Prompt,
    referenceImage: ImageUrl | None = None,
    imageUrls: OnePictureOrNone | None = None,
    duration: Annotated[int, Field(ge=1, le=120, description="refused")] | None = None,
    aspectRatio: Literal["16:9", "9:16", "4:3", "3:4", "1:1", "21:9"] | None = None,
    callBackUrl: CallbackUrl | None = None,
    seed: int | None = None,
    watermark: str | None = None,
) -> Submission:
    """Change the clip at videoUrl (address or local path) by words with Runway Aleph: its look, or what is in it.

    A picture to go by: referenceImage or imageUrls.
    """
    pictures = [*(imageUrls or ()), *([referenceImage] if referenceImage else ())]
    asked = {
        "prompt": prompt,
        "videoUrl": videoUrl,
        "imageUrls" if imageUrls else "referenceImage": pictures,
        "duration": duration,
        "aspectRatio": aspectRatio,
        "seed": seed,
        "watermark": watermark,
    }
    new = {
        "prompt": prompt[:PROMPT_CHARS],
        "imageUrls": pictures[:1],
        "duration": LONG_S if duration and duration > SHORT_S else None,
        "aspectRatio": aspectRatio if aspectRatio in SHAPES and not pictures else None,
        "watermark": watermark,
        "callBackUrl": callBackUrl,
    }
    instead = _call("generate_runway_gen3_video", new) if videoUrl is None else None
    choice = FAMILY.choose(ALEPH_FORMS, asked, instead=instead)
    return choice.own(ALEPH_PATHS, ALEPH, callBackUrl, names=NAMES)


def generate_runway_gen3_video(
    prompt: Annotated[Prompt, Field(max_length=PROMPT_CHARS)],
    imageUrls: OnePictureOrNone | None = None,
    duration: Literal[5, 10] = 5,
    aspectRatio: Literal["16:9", "4:3", "1:1", "3:4", "9:16"] | None = None,
    model: Annotated[str, Field(description="refused")] | None = None,
    resolution: Quality = "720p",
    frameRate: Annotated[int, Field(description="refused")] | None = None,
    callBackUrl: CallbackUrl | None = None,
    watermark: str | None = None,
) -> Submission:
    """Make a clip from words or a first picture (address or local path) with Runway; choose it for low prices.

    10 s: 720p. aspectRatio: without a picture.
    """
    asked = {
        "prompt": prompt,
        "imageUrls": imageUrls,
        "duration": duration,
        # The service requires a shape where no picture gives one.
        "aspectRatio": aspectRatio or (None if imageUrls else "16:9"),
        "model": model,
        "resolution": resolution,
        "frameRate": frameRate,
        "watermark": watermark,
    }
    several = {
        "prompt": prompt,
        "imageUrls": imageUrls,
        "aspectRatio": aspectRatio if aspectRatio in OF_VEO else None,
        "resolution": resolution,
        "watermark": watermark,
        "callBackUrl": callBackUrl,
    }
    can = imageUrls is not None and 1 < len(imageUrls) <= PICTURES_OF_VEO
    choice = FAMILY.choose(GEN3_FORMS, asked, instead=_call("generate_veo3_video", several) if can else None)
    return choice.own(GEN3_PATHS, GEN3, callBackUrl, names=NAMES)


def extend_runway_video(
    task_id: TaskId,
    prompt: Prompt,
    resolution: Quality = "720p",
    callBackUrl: CallbackUrl | None = None,
    watermark: str | None = None,
) -> Submission:
    """Make a clip of generate_runway_gen3_video longer by words."""
    asked = {"task_id": task_id, "prompt": prompt, "resolution": resolution, "watermark": watermark}
    return FAMILY.choose(LONGER_FORMS, asked).own(EXTEND_PATHS, EXTEND, callBackUrl, names=NAMES)


def _call(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"tool": tool, "arguments": {name: value for name, value in arguments.items() if value}}
