"""Tools of Veo 3: a clip, its extension, and its 1080p and 4k versions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from kie_ai_mcp import CallbackUrl, ImageUrls, InvalidArgument, Prompt, Query, Submission, TaskId, reject_arguments
from kie_ai_mcp_veo3.prices import credits_of, highest
from kie_ai_mcp_veo3.results import hd_outcome, read_4k

GENERATE = "veo3"
HD = "veo3-1080p"
FOUR_K = "veo3-4k"
EXTEND = "veo3-extend"

GENERATE_PATHS = ("veo/generate",)
EXTEND_PATHS = ("veo/extend",)
HD_PATHS = ("veo/get-1080p-video",)
FOUR_K_PATHS = ("veo/get-4k-video",)
STATUS_PATHS = ("veo/record-info",)

# The service's common form of an extension names no tier: the clip's own sets the price.
TIERS = "The tier of the clip sets the price, at most {:g} credits."

GenerationType = Literal["TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"]
Index = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=10_000, le=99_999)]


@dataclass(frozen=True)
class Mode:
    """The limits of one generation type."""

    pictures: tuple[int, int]
    models: tuple[str, ...] = ("veo3", "veo3_fast", "veo3_lite")
    durations_s: tuple[int, ...] = (4, 6, 8)


MODES: dict[GenerationType, Mode] = {
    "TEXT_2_VIDEO": Mode((0, 0)),
    "FIRST_AND_LAST_FRAMES_2_VIDEO": Mode((1, 2)),
    "REFERENCE_2_VIDEO": Mode((1, 3), models=("veo3_fast", "veo3_lite"), durations_s=(8,)),
}
# The generation types that none, one, two and three pictures mean where the caller names no type.
IMPLIED: tuple[GenerationType, ...] = (
    "TEXT_2_VIDEO",
    "FIRST_AND_LAST_FRAMES_2_VIDEO",
    "FIRST_AND_LAST_FRAMES_2_VIDEO",
    "REFERENCE_2_VIDEO",
)


def generate_veo3_video(
    prompt: Prompt,
    imageUrls: Annotated[ImageUrls, Field(max_length=3)] | None = None,
    model: Literal["veo3", "veo3_fast", "veo3_lite"] = "veo3_fast",
    watermark: str | None = None,
    aspectRatio: Literal["16:9", "9:16", "Auto"] | None = None,
    seeds: Seed | None = None,
    callBackUrl: CallbackUrl | None = None,
    enableFallback: bool | None = None,
    generationType: GenerationType | None = None,
    resolution: Literal["720p", "1080p", "4k"] | None = None,
    duration: Literal[4, 6, 8] | None = None,
) -> Submission:
    """Make a clip with Google Veo 3.1.

    imageUrls: first frame, first and last, or 3 references (REFERENCE_2_VIDEO: 8 s, not veo3). No seeds.
    """
    reject_arguments("a new clip takes no seed today", "leave it out; only extend_veo3_video takes one", seeds=seeds)
    pictures = len(imageUrls or ())
    mode = generationType or IMPLIED[min(pictures, 3)]
    limits = MODES[mode]
    fewest, most = limits.pictures
    if not fewest <= pictures <= most:
        allowed = f"{fewest} to {most} pictures" if most else "no pictures; leave them or generationType out"
        raise InvalidArgument("imageUrls", imageUrls, f"{mode} takes {allowed}")
    if model not in limits.models:
        raise InvalidArgument("model", model, f"{mode} works with {' or '.join(limits.models)}")
    if duration is not None and duration not in limits.durations_s:
        raise InvalidArgument("duration", duration, f"{mode} makes {limits.durations_s[0]} seconds only")
    clip = Submission(
        GENERATE_PATHS,
        {
            "prompt": prompt,
            "imageUrls": imageUrls,
            "model": model,
            # Pictures can be frames or references, so their meaning is always sent.
            "generationType": mode if pictures else generationType,
            "aspect_ratio": aspectRatio,
            "resolution": resolution,
            "duration": duration,
            "watermark": watermark,
            "enableFallback": enableFallback,
            "callBackUrl": callBackUrl,
        },
        GENERATE,
        model=model,
        estimated_credits=credits_of(GENERATE, model, resolution),
    )
    return clip.or_market("veo-3-1")


def extend_veo3_video(
    task_id: TaskId,
    prompt: Prompt,
    model: Literal["fast", "quality", "lite"] | None = None,
    seeds: Seed | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Extend a Veo clip, before any 1080p; model is fast if left out."""
    tier = model or "fast"
    extension = Submission(
        EXTEND_PATHS,
        {"taskId": task_id, "prompt": prompt, "model": tier, "seeds": seeds, "callBackUrl": callBackUrl},
        EXTEND,
        model=tier,
        estimated_credits=credits_of(EXTEND, tier),
    )
    if model is not None:  # the other form takes no tier
        return extension
    most = highest(EXTEND)
    return extension.or_market("veo/extend", less=("model",), estimated_credits=most, notes=(TIERS.format(most),))


def get_veo3_1080p_video(task_id: TaskId, index: Index | None = None) -> Query:
    """Get a finished Veo clip in 1080p (paid, 1-3 minutes)."""
    return Query(
        HD_PATHS,
        {"taskId": task_id, "index": index},
        hd_outcome,
        task_id=task_id,
        label=f"1080p-{index}" if index else "1080p",
        estimated_credits=credits_of(HD),
    )


def get_veo3_4k_video(
    task_id: TaskId, index: Index | None = None, callBackUrl: CallbackUrl | None = None
) -> Submission:
    """Make the 4k version of a finished Veo clip (paid, 5-10 minutes)."""
    larger = Submission(
        FOUR_K_PATHS,
        {"taskId": task_id, "index": index, "callBackUrl": callBackUrl},
        FOUR_K,
        read=read_4k,
        estimated_credits=credits_of(FOUR_K),
    )
    return larger.or_market("veo/get-4k-video")
