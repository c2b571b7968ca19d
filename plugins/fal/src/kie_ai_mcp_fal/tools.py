"""Tools of other families that fal can serve, with the same arguments as at Kie.ai.

What a model has no field for is appended to the prompt where words can say it, else refused with advice, because a
default would be paid for unnoticed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import Field

from kie_ai_mcp import (
    AspectRatio,
    CallbackUrl,
    ImageUrls,
    InvalidArgument,
    NegativePrompt,
    OutputFormat,
    Prompt,
    Submission,
    VideoUrl,
    reject_arguments,
)
from kie_ai_mcp_fal.queue import GATEWAY

# The model id of each form of a family; `[providers.fal] <form>_model` replaces it.
MODELS: Mapping[str, str] = {
    "pika_text": "fal-ai/pika/v2.2/text-to-video",
    "pika_image": "fal-ai/pika/v2.2/image-to-video",
    "haiper_text": "fal-ai/haiper-video/v2",
    "haiper_image": "fal-ai/haiper-video/v2/image-to-video",
    "playground_text": "fal-ai/playground-v25",
    "playground_image": "fal-ai/playground-v25/image-to-image",
    "stable_diffusion_text": "fal-ai/stable-diffusion-v3-medium",
    "stable_diffusion_image": "fal-ai/stable-diffusion-v3-medium/image-to-image",
    "luma_text": "fal-ai/luma-dream-machine/ray-2",
    "luma_image": "fal-ai/luma-dream-machine/ray-2/image-to-video",
    "luma_video": "luma/agent/ray/v3.2/video-to-video",
    "sora2_text": "fal-ai/sora-2/text-to-video",
    "sora2_image": "fal-ai/sora-2/image-to-video",
    "sora2_pro_text": "fal-ai/sora-2/text-to-video/pro",
    "sora2_pro_image": "fal-ai/sora-2/image-to-video/pro",
}

# fal has names for some shapes; the other sizes are about one megapixel in the exact shape.
SIZES: Mapping[str, str | dict[str, int] | None] = {
    "auto": None,
    "1:1": "square_hd",
    "3:4": "portrait_4_3",
    "4:3": "landscape_4_3",
    "9:16": "portrait_16_9",
    "16:9": "landscape_16_9",
    "2:3": {"width": 768, "height": 1152},
    "3:2": {"width": 1152, "height": 768},
    "4:5": {"width": 896, "height": 1120},
    "5:4": {"width": 1120, "height": 896},
    "21:9": {"width": 1344, "height": 576},
}

NO_SETTING = "fal's model has no such setting"
NO_FIELD = "fal's model has no"
# The words by which a model understands what it has no setting for.
SAID = {
    "negative_prompt": "Avoid: {}.",
    "style": "Style: {}.",
    "look": "Look: {}.",
    "mode": "Mode: {}.",
    "cameraMotion": "Camera: {}.",
}

OneImage = Annotated[ImageUrls, Field(max_length=1)]
Frames = Annotated[ImageUrls, Field(max_length=2)]
Scale = Annotated[float, Field(allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1, le=50)]
PikaShape = Literal["16:9", "9:16", "1:1", "4:5", "5:4", "3:2", "2:3"]
Resolution = Literal["720p", "1080p"]


def fal_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    """Return the functions, each with the name of the tool that it replaces, bound to the configured model ids."""

    def generate_pika_video(
        prompt: Prompt,
        imageUrls: OneImage | None = None,
        duration: Literal[5, 10] | None = None,
        aspectRatio: PikaShape | None = None,
        mode: str | None = None,
        resolution: Resolution | None = None,
        frameRate: int | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Pika 2.2 clip at fal, from words or a first picture (then no aspectRatio). Refused: frameRate."""
        words, notes = _said(prompt, mode=mode)
        reject_arguments(NO_SETTING, frameRate=frameRate)
        if imageUrls:
            reject_arguments("the clip takes its shape from the picture", aspectRatio=aspectRatio)
        body = {
            "prompt": words,
            "image_url": _first(imageUrls),
            "duration": duration,
            "aspect_ratio": aspectRatio,
            "resolution": resolution,
        }
        return replace(request("pika", imageUrls, body, "pika-video", callBackUrl), notes=notes)

    def generate_haiper_video(
        prompt: Prompt,
        imageUrls: OneImage | None = None,
        duration: Literal[4, 6] | None = None,
        aspectRatio: str | None = None,
        look: str | None = None,
        resolution: str | None = None,
        frameRate: int | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Haiper 2 clip at fal, which calls it deprecated. Refused: aspectRatio, resolution, frameRate."""
        words, notes = _said(prompt, look=look)
        reject_arguments(NO_SETTING, aspectRatio=aspectRatio, resolution=resolution, frameRate=frameRate)
        body = {
            "prompt": words,
            "image_url": _first(imageUrls),
            "duration": None if duration is None else str(duration),
        }
        return replace(request("haiper", imageUrls, body, "haiper-video", callBackUrl), notes=notes)

    def generate_playground_image(
        prompt: Prompt,
        negative_prompt: NegativePrompt | None = None,
        image_urls: OneImage | None = None,
        aspectRatio: AspectRatio | None = None,
        guidance_scale: Scale | None = None,
        steps: Steps | None = None,
        model: Literal["v2.5"] | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Playground v2.5 picture at fal, from words or a picture."""
        del model  # fal offers one value only
        body = _picture(prompt, negative_prompt, image_urls, aspectRatio, guidance_scale, steps)
        made = request("playground", image_urls, body, "playground-image", callBackUrl)
        return replace(made, convert_to=output_format)

    def generate_stable_diffusion3_image(
        prompt: Prompt,
        negative_prompt: NegativePrompt | None = None,
        image_urls: OneImage | None = None,
        aspectRatio: AspectRatio | None = None,
        guidance_scale: Scale | None = None,
        steps: Steps | None = None,
        scheduler: str | None = None,
        output_format: OutputFormat | None = None,
        callBackUrl: CallbackUrl | None = None,
    ) -> Submission:
        """Stable Diffusion 3 picture at fal, from words or a picture. Refused: scheduler."""
        reject_arguments(NO_SETTING, scheduler=scheduler)
        body = _picture(prompt, negative_prompt, image_urls, aspectRatio, guidance_scale, steps)
        made = request("stable_diffusion", image_urls, body, "stable-diffusion3-image", callBackUrl)
        return replace(made, convert_to=output_format)

    def generate_luma_video(
        prompt: Prompt,
        imageUrls: Frames | None = None,
        duration: Literal[5, 9] | None = None,
        callBackUrl: CallbackUrl | None = None,
        videoUrl: VideoUrl | None = None,
        watermark: str | None = None,
    ) -> Submission:
        """Luma clip at fal: from words, first and last picture, or by changing videoUrl. Refused: watermark."""
        reject_arguments(NO_SETTING, watermark=watermark)
        if videoUrl is None:
            body = {
                "prompt": prompt,
                "image_url": _first(imageUrls),
                "end_image_url": imageUrls[1] if imageUrls and len(imageUrls) > 1 else None,
                "duration": None if duration is None else f"{duration}s",
            }
            return request("luma", imageUrls, body, "luma-video", callBackUrl)
        reject_arguments("a changed clip keeps its length", "leave it out beside videoUrl", duration=duration)
        if imageUrls and len(imageUrls) > 1:
            raise InvalidArgument("imageUrls", imageUrls, "beside videoUrl at most one picture, the first frame")
        change = {"prompt": prompt, "video_url": videoUrl, "start_image_url": _first(imageUrls)}
        return send("luma_video", change, "luma-video", callBackUrl)

    def generate_sora2_video(
        prompt: Prompt,
        negative_prompt: str | None = None,
        imageUrls: OneImage | None = None,
        duration: Literal[4, 8, 12, 16, 20] | None = None,
        aspectRatio: Literal["16:9", "9:16"] | None = None,
        resolution: Literal["720p", "1080p", "auto"] | None = None,
        frameRate: int | None = None,
        style: str | None = None,
        cameraMotion: str | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        remove_watermark: bool = True,
        callBackUrl: CallbackUrl | None = None,
        model: Literal["sora-2", "sora-2-pro"] | None = None,
    ) -> Submission:
        """Sora 2 clip at fal, from words or a first picture; 1080p is sora-2-pro.

        Refused: frameRate, seed, guidance_scale.
        """
        words, notes = _said(prompt, negative_prompt=negative_prompt, style=style, cameraMotion=cameraMotion)
        watermark = None if remove_watermark else False
        absent = {"frameRate": frameRate, "seed": seed, "guidance_scale": guidance_scale, "remove_watermark": watermark}
        reject_arguments(NO_SETTING, **absent)
        if model == "sora-2" and resolution == "1080p":
            raise InvalidArgument("resolution", resolution, "sora-2 makes 720p; use model='sora-2-pro' for 1080p")
        body = {
            "prompt": words,
            "image_url": _first(imageUrls),
            "duration": duration,
            "aspect_ratio": aspectRatio,
            "resolution": None if resolution == "auto" else resolution,
        }
        family = "sora2_pro" if model == "sora-2-pro" or resolution == "1080p" else "sora2"
        return replace(request(family, imageUrls, body, "sora2-video", callBackUrl), notes=notes)

    def request(
        family: str, pictures: list[str] | None, body: Mapping[str, Any], api_type: str, callback_url: str | None
    ) -> Submission:
        return send(f"{family}_image" if pictures else f"{family}_text", body, api_type, callback_url)

    def send(form: str, body: Mapping[str, Any], api_type: str, callback_url: str | None) -> Submission:
        model = str(settings.get(f"{form}_model") or MODELS[form]).strip("/ ")
        path = f"{model}?{urlencode({'fal_webhook': callback_url})}" if callback_url else model
        return Submission(path, body, api_type, model=model, gateway=GATEWAY)

    return [
        generate_pika_video,
        generate_haiper_video,
        generate_playground_image,
        generate_stable_diffusion3_image,
        generate_luma_video,
        generate_sora2_video,
    ]


def _first(urls: list[str] | None) -> str | None:
    return urls[0] if urls else None


def _said(prompt: str, **arguments: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the prompt with what fal's model has no setting for, and notes that say so."""
    said = {name: SAID[name].format(value) for name, value in arguments.items() if value}
    notes = (f"{NO_FIELD} {name}: {words!r} was appended to the prompt." for name, words in said.items())
    return "\n".join([prompt, *said.values()]), tuple(notes)


def _picture(
    prompt: str,
    negative_prompt: str | None,
    image_urls: list[str] | None,
    aspect_ratio: str | None,
    guidance_scale: float | None,
    steps: int | None,
) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "image_url": _first(image_urls),
        "image_size": SIZES[aspect_ratio] if aspect_ratio else None,
        "guidance_scale": guidance_scale,
        "num_inference_steps": steps,
    }
