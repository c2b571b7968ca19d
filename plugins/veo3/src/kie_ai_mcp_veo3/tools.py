"""Tools of Veo 3: a clip, its extension, and its 1080p and 4k versions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import CallbackUrl, Choice, Family, Form, ImageUrls, Prompt, Query, Submission, TaskId
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
TIER = "(tier of the source)"
TIERS = "The tier of the clip sets the price, at most {:g} credits."

GenerationType = Literal["TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"]
Index = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=10_000, le=99_999)]

# The market's one id of the three models, and of their extensions: the usual one is meant.
OF_MARKET = BeforeValidator(lambda value: "veo3_fast" if value == "veo-3-1" else value)
OF_EXTENSION = BeforeValidator(lambda value: "fast" if value == "veo/extend" else value)

FAMILY = Family("kie_ai_mcp_veo3", "")

NO_SEED = {"seeds": "a new clip takes no seed, only extend_veo3_video does"}
CLIP = Form("veo-3-1", "Veo 3.1", reasons=NO_SEED)
# The model's rule speaks of the generation type, which the number of pictures may stand for.
OF_REFERENCES = Form(
    "veo-3-1",
    "REFERENCE_2_VIDEO",
    words={"model": {"veo3_fast": "veo3_fast", "veo3_lite": "veo3_lite"}, "duration": {8: 8}},
    reasons=NO_SEED,
)
HD_FORMS = (Form("veo/get-1080p-video", fields={"task_id": "taskId"}),)
# The generation types that one, two and three pictures mean where the caller names no type.
IMPLIED: tuple[GenerationType, ...] = (
    "FIRST_AND_LAST_FRAMES_2_VIDEO",
    "FIRST_AND_LAST_FRAMES_2_VIDEO",
    "REFERENCE_2_VIDEO",
)


def generate_veo3_video(
    prompt: Prompt,
    imageUrls: Annotated[ImageUrls, Field(max_length=3)] | None = None,
    model: Annotated[Literal["veo3", "veo3_fast", "veo3_lite"], OF_MARKET] = "veo3_fast",
    watermark: str | None = None,
    aspectRatio: Literal["16:9", "9:16", "Auto"] | None = None,
    seeds: Annotated[Seed, Field(description="refused")] | None = None,
    callBackUrl: CallbackUrl | None = None,
    enableFallback: bool | None = None,
    generationType: GenerationType | None = None,
    resolution: Literal["720p", "1080p", "4k"] | None = None,
    duration: Literal[4, 6, 8] | None = None,
    enableTranslation: bool | None = None,
) -> Submission:
    """Make a clip with sound from words or 1 to 3 pictures (addresses or local paths) with Google Veo 3.1; choose it
    for realism, speech and 4k.

    imageUrls: first frame, first and last, or 3 references (REFERENCE_2_VIDEO: 8 s, not veo3).
    """
    # Pictures can be frames or references, so their meaning is always sent.
    meaning = generationType or (IMPLIED[min(len(imageUrls), 3) - 1] if imageUrls else None)
    asked = {
        "prompt": prompt,
        "imageUrls": imageUrls,
        "model": model,
        "generationType": meaning,
        "aspectRatio": aspectRatio,
        "resolution": resolution,
        "duration": duration,
        "watermark": watermark,
        "seeds": seeds,
        "enableFallback": enableFallback,
        "enableTranslation": enableTranslation,
    }
    names = {"aspect_ratio": "aspect_ratio"}
    choice = FAMILY.choose((OF_REFERENCES if meaning == "REFERENCE_2_VIDEO" else CLIP,), asked)
    return choice.own(GENERATE_PATHS, GENERATE, callBackUrl, model=model, names=names)


def credits_of_tiers() -> dict[str, float]:
    """Return what an extension costs, by the tier of its clip."""
    price = FAMILY.models["veo/extend"].price
    tests = [(line.when, line.credits) for line in price.lines] if price else []
    return {str(when[TIER]): credits for when, credits in tests if isinstance(when, Mapping)}


def extend_veo3_video(
    task_id: TaskId,
    prompt: Prompt,
    model: Annotated[Literal["fast", "quality", "lite"], OF_EXTENSION] | None = None,
    seeds: Seed | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a Veo clip longer by words, before any 1080p; model is fast if left out."""
    tier = model or "fast"
    credits = credits_of_tiers()
    extension = Submission(
        EXTEND_PATHS,
        {"taskId": task_id, "prompt": prompt, "model": tier, "seeds": seeds, "callBackUrl": callBackUrl},
        EXTEND,
        model=tier,
        estimated_credits=credits.get(tier),
    )
    if model is not None:  # the other form takes no tier
        return extension
    most = max(credits.values())
    return extension.or_market("veo/extend", less=("model",), estimated_credits=most, notes=(TIERS.format(most),))


def in_hd(task_id: TaskId, index: Index | None) -> Choice:
    """Return the 1080p version of a clip as the service's common form asks for it."""
    return FAMILY.choose(HD_FORMS, {"task_id": task_id, "index": index})


def get_veo3_1080p_video(task_id: TaskId, index: Index | None = None) -> Query:
    """Get a finished Veo clip in 1080p (paid, 1-3 minutes)."""
    return Query(
        HD_PATHS,
        {"taskId": task_id, "index": index},
        hd_outcome,
        task_id=task_id,
        label=f"1080p-{index}" if index else "1080p",
        estimated_credits=in_hd(task_id, index).price.credits,
    )


def get_veo3_4k_video(
    task_id: TaskId, index: Index | None = None, callBackUrl: CallbackUrl | None = None
) -> Submission:
    """Make the 4k version of a finished Veo clip (paid, 5-10 minutes)."""
    choice = FAMILY.choose((Form("veo/get-4k-video"),), {"task_id": task_id, "index": index})
    return replace(choice.own(FOUR_K_PATHS, FOUR_K, callBackUrl), read=read_4k)
