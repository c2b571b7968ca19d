"""The seed's tools as a contract: each has its name and every parameter, and no argument is bought at a default.

What today's service still takes is sent; what it doesn't is refused by the parameter's name, with what to use instead.
"""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import Settings

TOOLS = Plugins(Settings.model_validate({})).tools
A, B, CLIP = "https://example.com/a.png", "https://example.com/b.png", "https://example.com/a.mp4"

# Every parameter that the seed documents; a star marks what it requires.
PARAMETERS = {
    "generate_gpt4o_image": "prompt* image_urls size output_format callBackUrl",
    "generate_flux_image": "prompt* image_urls aspectRatio model output_format callBackUrl",
    "edit_flux_image": "prompt* image_urls* aspectRatio model output_format callBackUrl",
    "generate_midjourney_image": "prompt* image_urls aspectRatio output_format callBackUrl",
    "generate_dalle3_image": "prompt* image_urls size quality style output_format callBackUrl",
    "generate_ideogram_image": "prompt* negative_prompt image_urls aspectRatio style model output_format callBackUrl",
    "generate_stable_diffusion3_image": "prompt* negative_prompt image_urls aspectRatio guidance_scale steps scheduler"
    " output_format callBackUrl",
    "generate_playground_image": "prompt* negative_prompt image_urls aspectRatio guidance_scale steps model"
    " output_format callBackUrl",
    "generate_veo3_video": "prompt* imageUrls model watermark aspectRatio seeds callBackUrl enableFallback",
    "generate_runway_aleph_video": "prompt* imageUrls duration aspectRatio callBackUrl",
    "generate_luma_video": "prompt* imageUrls duration callBackUrl",
    "generate_sora2_video": "prompt* negative_prompt imageUrls duration aspectRatio resolution frameRate style"
    " cameraMotion seed guidance_scale remove_watermark callBackUrl",
    "generate_runway_gen3_video": "prompt* imageUrls duration aspectRatio model resolution frameRate callBackUrl",
    "generate_kling_video": "prompt* imageUrls duration aspectRatio mode resolution frameRate callBackUrl",
    "generate_pika_video": "prompt* imageUrls duration aspectRatio mode resolution frameRate callBackUrl",
    "generate_haiper_video": "prompt* imageUrls duration aspectRatio look resolution frameRate callBackUrl",
    "get_veo3_1080p_video": "task_id* index",
}

# What the seed took and today's service doesn't, the refused argument first; and words of the advice.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("generate_gpt4o_image", {"size": "16:9"}, "'1:1', '3:2', '2:3' or 'auto'"),
    ("generate_flux_image", {"image_urls": [A, B]}, "edit_nano_banana"),
    ("generate_flux_image", {"aspectRatio": "3:2"}, "'4:3'"),
    ("edit_flux_image", {"image_urls": [A, B]}, "edit_nano_banana"),
    ("generate_ideogram_image", {"image_urls": [A, B]}, "edit_nano_banana"),
    ("generate_ideogram_image", {"aspectRatio": "3:2"}, "'4:3'"),
    ("generate_veo3_video", {"seeds": 12_345}, "extend_veo3_video"),
    ("generate_veo3_video", {"aspectRatio": "1:1"}, "'16:9'"),
    ("generate_runway_aleph_video", {"duration": 10, "videoUrl": CLIP}, "the clip decides"),
    ("generate_runway_aleph_video", {"imageUrls": [A, B], "videoUrl": CLIP}, "at most 1"),
    ("generate_sora2_video", {"imageUrls": [A, B]}, "generate_veo3_video"),
    ("generate_sora2_video", {"duration": 8}, "10 or 15"),
    ("generate_sora2_video", {"aspectRatio": "1:1"}, "'16:9' or '9:16'"),
    ("generate_sora2_video", {"resolution": "8k"}, "1080p"),
    ("generate_sora2_video", {"frameRate": 24}, "leave it out"),
    ("generate_runway_gen3_video", {"imageUrls": [A, B]}, "generate_veo3_video"),
    ("generate_runway_gen3_video", {"duration": 8}, "5 or 10"),
    ("generate_runway_gen3_video", {"model": "gen3a"}, "leave it out"),
    ("generate_runway_gen3_video", {"resolution": "4k"}, "'1080p'"),
    ("generate_runway_gen3_video", {"frameRate": 24}, "leave it out"),
    ("generate_kling_video", {"resolution": "8k"}, "'4k'"),
    ("generate_kling_video", {"frameRate": 60}, "leave it out"),
]


# What the seed took and the service chooses itself.
CONVERTED = ("generate_gpt4o_image", "generate_midjourney_image", "generate_ideogram_image")


def required(tool: BoundTool) -> dict[str, Any]:
    values = {"prompt": "a fox", "task_id": "task-1", "image_urls": [A]}
    return {name: values[name] for name in tool.arguments.names if name not in tool.arguments.defaults}


@pytest.mark.parametrize("name", PARAMETERS)
def test_seed_tool_has_every_parameter_and_requires_the_same(name: str) -> None:
    arguments = TOOLS[name].arguments
    documented = PARAMETERS[name].split()
    assert [entry for entry in documented if entry.rstrip("*") not in arguments.names] == []
    wanted = {entry.rstrip("*") for entry in documented if entry.endswith("*")}
    assert set(arguments.names) - set(arguments.defaults) == wanted


@pytest.mark.parametrize(("name", "given", "advice"), REFUSED)
def test_what_the_service_no_longer_takes_is_refused_with_advice(name: str, given: dict[str, Any], advice: str) -> None:
    tool = TOOLS[name]
    with pytest.raises(InvalidArgument) as refusal:
        tool.fn(**tool.arguments.check({**required(tool), **given}))
    assert refusal.value.field == next(iter(given))
    assert advice in str(refusal.value)


@pytest.mark.parametrize("name", CONVERTED)
@pytest.mark.parametrize("wanted", [None, "png", "jpeg"])
def test_format_that_the_service_chooses_itself_is_made_when_saved(name: str, wanted: str | None) -> None:
    tool = TOOLS[name]
    request = tool.fn(**tool.arguments.check({**required(tool), "output_format": wanted}))
    assert isinstance(request, Submission)
    assert request.convert_to == wanted
    assert {entry.convert_to for entry in (request, request.otherwise) if entry is not None} == {wanted}
    assert "output_format" not in repr(request.body)
