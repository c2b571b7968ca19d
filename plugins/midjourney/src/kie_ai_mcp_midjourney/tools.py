"""Tools of Midjourney, in the form that the service last documented."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import (
    CallbackUrl,
    Choice,
    Family,
    Form,
    ImageUrls,
    OnePicture,
    OutputFormat,
    Prompt,
    Submission,
    Tool,
    apply_overrides,
)

IMAGE = "midjourney-image"
VIDEO = "midjourney-video"

Shape = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "6:5", "5:6", "5:4", "4:5", "21:9"]

NEAREST_SHAPES = {"5:4": "6:5", "4:5": "5:6", "21:9": "2:1"}
"""Shapes that the service never made, each with the nearest one that it did."""

# Fine settings of a family that hardly ever answers cost every model bytes; they are understood all the same.
HIDDEN = Field(deprecated=True)

FAMILY = Family("kie_ai_mcp_midjourney", "Midjourney")

FIELDS = {"image_urls": "fileUrls", "aspectRatio": "aspectRatio"}
IMAGES = (
    Form("mj_txt2img", "txt2img", FIELDS),
    Form("mj_img2img", "img2img", FIELDS),
    Form("mj_img2img", "txt2img", FIELDS),  # words beside pictures
    Form("mj_style_reference", "style_reference", FIELDS),
    Form("mj_omni_reference", "omni_reference", FIELDS),
)
CLIP_FIELDS = {"imageUrls": "fileUrls", "videoBatchSize": "videoBatchSize"}
CLIP = Form("mj_video", fields=CLIP_FIELDS)
HD_CLIP = Form("mj_video_hd", fields=CLIP_FIELDS)


def midjourney_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission] | Tool]:
    """Return the tools, bound to the configured ``path``."""

    def submission(choice: Choice, api_type: str, callback_url: str | None, notes: Sequence[str] = ()) -> Submission:
        body = {**choice.input, "callBackUrl": callback_url}
        model = choice.model
        task = Submission(model.path, body, api_type, model=model.id, notes=(*choice.notes, *notes))
        task = replace(task, convert_to=choice.convert_to)
        return apply_overrides(task, settings)

    def generate_midjourney_image(
        prompt: Annotated[Prompt, Field(max_length=2000)],
        image_urls: Annotated[ImageUrls, Field(max_length=4)] | None = None,
        aspectRatio: Shape | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
        taskType: Literal["txt2img", "img2img", "style_reference", "omni_reference"] | None = None,
        speed: Annotated[Literal["relaxed", "fast", "turbo"], HIDDEN] | None = None,
        version: Annotated[Literal["7", "6.1", "6", "5.2", "5.1", "niji6"], HIDDEN] | None = None,
        stylization: Annotated[int, Field(ge=0, le=1000), HIDDEN] | None = None,
        weirdness: Annotated[int, Field(ge=0, le=3000), HIDDEN] | None = None,
        variety: Annotated[int, Field(ge=0, le=100, multiple_of=5), HIDDEN] | None = None,
    ) -> Submission:
        """Retired at Kie.ai, use generate_nano_banana: four Midjourney pictures from words or pictures."""
        shape = NEAREST_SHAPES.get(aspectRatio or "", aspectRatio)
        asked = {
            "prompt": prompt,
            "image_urls": image_urls,
            "aspectRatio": shape,
            "output_format": output_format,
            "speed": speed,
            "version": version,
            "stylization": stylization,
            "weirdness": weirdness,
            "variety": variety,
        }
        notes = []
        if shape != aspectRatio:
            notes.append(f"aspectRatio {aspectRatio} was changed to {shape}, the nearest shape of Midjourney.")
        if image_urls and taskType == "txt2img":
            notes.append("taskType txt2img takes no pictures: img2img was chosen.")
        choice = FAMILY.choose(IMAGES[1:] if image_urls else IMAGES, asked, taskType, "taskType")
        return submission(choice, IMAGE, callBackUrl, notes)

    def generate_midjourney_video(
        prompt: Annotated[Prompt, Field(max_length=2000)],
        imageUrls: OnePicture,
        motion: Annotated[Literal["low", "high"], HIDDEN] | None = None,
        hd: bool | None = None,
        videoBatchSize: Annotated[Literal[1, 2, 4], HIDDEN] | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Retired at Kie.ai, use generate_kling_video: Midjourney videos from one picture."""
        asked = {"prompt": prompt, "imageUrls": imageUrls, "motion": motion, "videoBatchSize": videoBatchSize}
        return submission(FAMILY.choose((HD_CLIP if hd else CLIP,), asked), VIDEO, callBackUrl)

    return [generate_midjourney_image, Tool(generate_midjourney_video, kind="video")]
