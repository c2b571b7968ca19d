"""Tools of Runway: change a clip (Aleph), make one, continue one."""

from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, ImageUrl, InvalidArgument, Prompt, Submission, TaskId, VideoUrl, reject_arguments
from kie_ai_mcp_runway.prices import credits_of

ALEPH = "runway-aleph-video"
GEN3 = "runway-gen3-video"
EXTEND = "runway-extend"

# Today's address first, then the earlier one.
ALEPH_PATHS = ("aleph/generate", "runway/aleph/generate")
GEN3_PATHS = ("runway/generate",)
EXTEND_PATHS = ("runway/extend",)
ALEPH_STATUS_PATHS = ("aleph/record-info",)
CLIP_STATUS_PATHS = ("runway/record-detail",)

# As `OnePicture` of the contract, but an empty list is accepted and means no picture.
OnePictureOrNone = Annotated[list[ImageUrl], Field(json_schema_extra={"maxItems": 1})]
Quality = Literal["720p", "1080p"]
# The longest clip of each quality, in seconds.
LONGEST_S: dict[Quality, int] = {"720p": 10, "1080p": 5}


def generate_runway_aleph_video(
    prompt: Prompt,
    videoUrl: VideoUrl | None = None,
    referenceImage: ImageUrl | None = None,
    imageUrls: OnePictureOrNone | None = None,
    duration: Annotated[int, Field(ge=1, le=120)] | None = None,
    aspectRatio: Literal["16:9", "9:16", "4:3", "3:4", "1:1", "21:9"] | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Change the clip at videoUrl (needed) by words with Runway Aleph.

    Picture: referenceImage or imageUrls. No duration.
    """
    if videoUrl is None:
        raise InvalidArgument(
            "videoUrl", videoUrl, "Aleph changes a clip, give its address; generate_runway_gen3_video makes a new one"
        )
    reject_arguments("Aleph has no such setting, the clip decides", duration=duration)
    if imageUrls and referenceImage:
        raise InvalidArgument("imageUrls", imageUrls, "Aleph takes one picture, and referenceImage is it already")
    if imageUrls and len(imageUrls) > 1:
        raise InvalidArgument("imageUrls", imageUrls, "Aleph takes one picture; give it as referenceImage")
    changed = Submission(
        ALEPH_PATHS,
        {
            "prompt": prompt,
            "videoUrl": videoUrl,
            "referenceImage": imageUrls[0] if imageUrls else referenceImage,
            "aspectRatio": aspectRatio,
            "callBackUrl": callBackUrl,
        },
        ALEPH,
        estimated_credits=credits_of(ALEPH),
    )
    return changed.or_market("runway/gen4-aleph")


def generate_runway_gen3_video(
    prompt: Annotated[Prompt, Field(max_length=1800)],
    imageUrls: OnePictureOrNone | None = None,
    duration: Literal[5, 10] = 5,
    aspectRatio: Literal["16:9", "4:3", "1:1", "3:4", "9:16"] | None = None,
    model: str | None = None,
    resolution: Quality = "720p",
    frameRate: int | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a clip; 10 s: 720p. No model, frameRate; no aspectRatio with images."""
    reject_arguments("the service has one Runway model", model=model)
    reject_arguments("Runway has no such setting", frameRate=frameRate)
    if imageUrls and len(imageUrls) > 1:
        raise InvalidArgument("imageUrls", imageUrls, "Runway takes one picture; generate_veo3_video takes up to three")
    if imageUrls:
        reject_arguments("with a picture the clip has its shape", aspectRatio=aspectRatio)
    if duration > LONGEST_S[resolution]:
        raise InvalidArgument(
            "duration", duration, f"{resolution} goes to {LONGEST_S[resolution]} seconds; use resolution='720p'"
        )
    clip = Submission(
        GEN3_PATHS,
        {
            "prompt": prompt,
            "imageUrl": imageUrls[0] if imageUrls else None,
            "duration": duration,
            "quality": resolution,
            # The service requires a shape where no picture gives one.
            "aspectRatio": None if imageUrls else aspectRatio or "16:9",
            "callBackUrl": callBackUrl,
        },
        GEN3,
        estimated_credits=credits_of(GEN3, duration, resolution),
    )
    return clip.or_market("runway")


def extend_runway_video(
    task_id: TaskId, prompt: Prompt, resolution: Quality = "720p", callBackUrl: CallbackUrl | None = None
) -> Submission:
    """Continue a clip of generate_runway_gen3_video by words."""
    longer = {"taskId": task_id, "prompt": prompt, "quality": resolution, "callBackUrl": callBackUrl}
    return Submission(EXTEND_PATHS, longer, EXTEND).or_market("runway/extend-ai-video")
