"""Requests of the tools that fal serves: fields and values as fal's model pages name them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp.testing import argument_sets
from kie_ai_mcp_fal.tools import MODELS, SIZES, fal_tools
from tests.helpers import PICTURE

OTHER, CLIP = "https://example.com/b.png", "https://example.com/a.mp4"
PROMPT = {"prompt": "a lighthouse"}

SEED = {
    "generate_pika_video": "prompt imageUrls duration aspectRatio mode resolution frameRate callBackUrl",
    "generate_haiper_video": "prompt imageUrls duration aspectRatio look resolution frameRate callBackUrl",
    "generate_playground_image": "prompt negative_prompt image_urls aspectRatio guidance_scale steps model "
    "output_format callBackUrl",
    "generate_stable_diffusion3_image": "prompt negative_prompt image_urls aspectRatio guidance_scale steps scheduler "
    "output_format callBackUrl",
    "generate_luma_video": "prompt imageUrls duration callBackUrl videoUrl watermark",
    "generate_sora2_video": "prompt negative_prompt imageUrls duration aspectRatio resolution frameRate style "
    "cameraMotion seed guidance_scale remove_watermark callBackUrl model",
}

_PICTURE = "prompt negative_prompt image_size num_inference_steps guidance_scale"
_RAY = "prompt duration"
_SORA = "prompt duration aspect_ratio resolution"
FIELDS = {
    "pika_text": "prompt duration aspect_ratio resolution",
    "pika_image": "prompt image_url duration resolution",
    "haiper_text": "prompt duration",
    "haiper_image": "prompt image_url duration",
    "playground_text": _PICTURE,
    "playground_image": f"{_PICTURE} image_url",
    "stable_diffusion_text": _PICTURE,
    "stable_diffusion_image": f"{_PICTURE} image_url",
    "luma_text": _RAY,
    "luma_image": f"{_RAY} image_url end_image_url",
    "luma_video": "prompt video_url start_image_url",
    "sora2_text": _SORA,
    "sora2_image": f"{_SORA} image_url",
    "sora2_pro_text": _SORA,
    "sora2_pro_image": f"{_SORA} image_url",
}
"""Of each model the fields that are ours to fill."""


def tools(**settings: str) -> dict[str, Callable[..., Submission]]:
    return {tool.__name__: tool for tool in fal_tools(settings)}


@pytest.mark.parametrize("name", SEED)
def test_arguments_are_the_seeds(name: str) -> None:
    assert set(inspect.signature(tools()[name]).parameters) == set(SEED[name].split())


@pytest.mark.parametrize("name", SEED)
def test_minimal_request_holds_the_prompt_alone(name: str) -> None:
    request = tools()[name](**PROMPT)
    assert request.body == PROMPT
    assert (request.gateway, request.path) == ("fal", request.model)


@pytest.mark.parametrize("name", SEED)
def test_no_request_has_a_field_that_its_model_lacks(name: str) -> None:
    forms = {model: form for form, model in MODELS.items()}
    tool = tools()[name]
    seen: set[str] = set()
    for arguments in argument_sets(tool):
        try:
            request = tool(**arguments)
        except InvalidArgument:
            continue
        form = forms[str(request.model)]
        assert set(request.body) <= set(FIELDS[form].split()), (form, arguments)
        seen.add(form)
    assert seen


FULL: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "pika_text": (
        "generate_pika_video",
        {"duration": 10, "aspectRatio": "4:5", "resolution": "1080p"},
        {"duration": 10, "aspect_ratio": "4:5", "resolution": "1080p"},
    ),
    "pika_image": (
        "generate_pika_video",
        {"imageUrls": [PICTURE], "duration": 5, "resolution": "720p"},
        {"image_url": PICTURE, "duration": 5, "resolution": "720p"},
    ),
    "haiper_text": ("generate_haiper_video", {"duration": 6}, {"duration": "6"}),
    "haiper_image": (
        "generate_haiper_video",
        {"imageUrls": [PICTURE], "duration": 4},
        {"image_url": PICTURE, "duration": "4"},
    ),
    "playground_text": (
        "generate_playground_image",
        {"negative_prompt": "fog", "aspectRatio": "16:9", "guidance_scale": 3.5, "steps": 20, "model": "v2.5"},
        {"negative_prompt": "fog", "image_size": "landscape_16_9", "guidance_scale": 3.5, "num_inference_steps": 20},
    ),
    "playground_image": ("generate_playground_image", {"image_urls": [PICTURE]}, {"image_url": PICTURE}),
    "stable_diffusion_text": (
        "generate_stable_diffusion3_image",
        {"aspectRatio": "21:9", "steps": 50},
        {"image_size": {"width": 1344, "height": 576}, "num_inference_steps": 50},
    ),
    "stable_diffusion_image": (
        "generate_stable_diffusion3_image",
        {"image_urls": [PICTURE], "aspectRatio": "auto"},
        {"image_url": PICTURE},
    ),
    "luma_text": ("generate_luma_video", {"duration": 9}, {"duration": "9s"}),
    "luma_image": (
        "generate_luma_video",
        {"imageUrls": [PICTURE, OTHER], "duration": 5},
        {"image_url": PICTURE, "end_image_url": OTHER, "duration": "5s"},
    ),
    "luma_video": (
        "generate_luma_video",
        {"videoUrl": CLIP, "imageUrls": [PICTURE]},
        {"video_url": CLIP, "start_image_url": PICTURE},
    ),
    "sora2_text": (
        "generate_sora2_video",
        {"duration": 20, "aspectRatio": "9:16", "resolution": "720p"},
        {"duration": 20, "aspect_ratio": "9:16", "resolution": "720p"},
    ),
    "sora2_image": (
        "generate_sora2_video",
        {"imageUrls": [PICTURE], "resolution": "auto", "model": "sora-2"},
        {"image_url": PICTURE},
    ),
    "sora2_pro_text": ("generate_sora2_video", {"resolution": "1080p"}, {"resolution": "1080p"}),
    "sora2_pro_image": (
        "generate_sora2_video",
        {"imageUrls": [PICTURE], "model": "sora-2-pro"},
        {"image_url": PICTURE},
    ),
}


@pytest.mark.parametrize("form", FULL)
def test_every_argument_reaches_the_model_that_has_it(form: str) -> None:
    name, arguments, fields = FULL[form]
    request = tools()[name](**PROMPT, **arguments)
    assert request.model == MODELS[form]
    assert request.body == {**PROMPT, **fields}


def test_every_model_is_reached() -> None:
    assert set(FULL) == set(MODELS) == set(FIELDS)


@pytest.mark.parametrize("form", FULL)
def test_model_id_can_be_replaced(form: str) -> None:
    name, arguments, _ = FULL[form]
    request = tools(**{f"{form}_model": "acme/better/v9"})[name](**PROMPT, **arguments)
    assert (request.path, request.model) == ("acme/better/v9", "acme/better/v9")


@pytest.mark.parametrize("name", SEED)
def test_callback_is_asked_for_in_the_address(name: str) -> None:
    request = tools()[name](**PROMPT, callBackUrl="https://example.com/done?a=1")
    assert request.path == f"{request.model}?fal_webhook=https%3A%2F%2Fexample.com%2Fdone%3Fa%3D1"
    assert request.body == PROMPT


@pytest.mark.parametrize("name", ["generate_playground_image", "generate_stable_diffusion3_image"])
def test_format_of_pictures_is_made_when_they_are_saved(name: str) -> None:
    request = tools()[name](**PROMPT, output_format="png")
    assert (request.convert_to, request.body) == ("png", PROMPT)


@pytest.mark.parametrize(
    ("name", "arguments", "field", "advice"),
    [
        ("generate_pika_video", {"frameRate": 24}, "frameRate", "leave it out"),
        ("generate_pika_video", {"imageUrls": [PICTURE], "aspectRatio": "1:1"}, "aspectRatio", "from the picture"),
        ("generate_haiper_video", {"aspectRatio": "1:1"}, "aspectRatio", "leave it out"),
        ("generate_haiper_video", {"resolution": "720p"}, "resolution", "leave it out"),
        ("generate_haiper_video", {"frameRate": 24}, "frameRate", "leave it out"),
        ("generate_stable_diffusion3_image", {"scheduler": "euler"}, "scheduler", "leave it out"),
        ("generate_luma_video", {"watermark": "me"}, "watermark", "leave it out"),
        ("generate_luma_video", {"videoUrl": CLIP, "duration": 5}, "duration", "keeps its length"),
        ("generate_luma_video", {"videoUrl": CLIP, "imageUrls": [PICTURE, OTHER]}, "imageUrls", "one picture"),
        ("generate_sora2_video", {"model": "sora-2", "resolution": "1080p"}, "resolution", "sora-2-pro"),
        ("generate_sora2_video", {"remove_watermark": False}, "remove_watermark", "leave it out"),
        ("generate_sora2_video", {"seed": 0}, "seed", "leave it out"),
        ("generate_sora2_video", {"guidance_scale": 0.0}, "guidance_scale", "leave it out"),
        ("generate_sora2_video", {"frameRate": 24}, "frameRate", "leave it out"),
    ],
)
def test_what_fal_has_no_field_for_is_refused_with_advice(
    name: str, arguments: dict[str, Any], field: str, advice: str
) -> None:
    with pytest.raises(InvalidArgument) as error:
        tools()[name](**PROMPT, **arguments)
    assert error.value.field == field
    assert advice in error.value.allowed


@pytest.mark.parametrize(
    ("name", "argument", "words"),
    [
        ("generate_pika_video", "mode", "Mode: dark."),
        ("generate_haiper_video", "look", "Look: dark."),
        ("generate_sora2_video", "style", "Style: dark."),
        ("generate_sora2_video", "cameraMotion", "Camera: dark."),
        ("generate_sora2_video", "negative_prompt", "Avoid: dark."),
    ],
)
def test_what_fal_has_no_field_for_but_understands_is_said_in_the_prompt(name: str, argument: str, words: str) -> None:
    request = tools()[name](**PROMPT, **{argument: "dark"})
    assert request.body["prompt"] == f"{PROMPT['prompt']}\n{words}"
    assert request.notes == (f"fal's model has no {argument}: {words!r} was appended to the prompt.",)


def test_all_that_fal_has_no_field_for_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument) as error:
        tools()["generate_sora2_video"](**PROMPT, frameRate=24, seed=1, remove_watermark=False)
    assert [fault.field for fault in error.value.faults] == ["frameRate", "seed", "remove_watermark"]


@pytest.mark.parametrize("shape", [shape for shape, size in SIZES.items() if isinstance(size, dict)])
def test_size_in_pixels_has_the_shape_that_was_asked_for(shape: str) -> None:
    size = SIZES[shape]
    assert isinstance(size, dict)
    width, height = map(int, shape.split(":"))
    assert size["width"] * height == size["height"] * width
    assert size["width"] % 32 == size["height"] % 32 == 0
    assert 700_000 < size["width"] * size["height"] < 1_050_000
