"""Requests and refusals of the Flux Kontext tools."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from kie_ai_mcp import InvalidArgument, Submission, Task
from kie_ai_mcp_flux import kie_describe_provider, kie_register_tools, kie_route_status
from kie_ai_mcp_flux.tools import ModelId, Shape, edit_flux_image, generate_flux_image
from kie_ai_mcp_nano_banana.tools import edit_nano_banana
from tests.helpers import PICTURE
from tests.service.facts import official, schema_of

OTHER = "https://example.com/b.png"
OPERATION = "POST /api/v1/flux/kontext/generate"

Tool = Callable[..., Submission]
FULL: dict[str, Any] = {
    "image_urls": [PICTURE],
    "aspectRatio": "21:9",
    "model": "flux-kontext-max",
    "output_format": "png",
    "safetyTolerance": 2,
    "promptUpsampling": True,
    "enableTranslation": False,
    "watermark": "me",
    "callBackUrl": "https://me.example/x",
}


def test_generating_from_words_sends_no_picture() -> None:
    submission = generate_flux_image("a fox")

    assert submission.paths == ("flux/kontext/generate",)
    assert submission.body == {"prompt": "a fox", "model": "flux-kontext-pro"}
    assert submission.api_type == "flux-kontext-generate"
    assert submission.model == "flux-kontext-pro"


def test_editing_sends_the_picture_to_the_same_address_and_then_to_the_older_one() -> None:
    submission = edit_flux_image("at night", [PICTURE])

    assert submission.paths == ("flux/kontext/generate", "flux/kontext/edit")
    assert submission.body == {"prompt": "at night", "inputImage": PICTURE, "model": "flux-kontext-pro"}
    assert submission.api_type == "flux-kontext-edit"


@pytest.mark.parametrize("tool", [generate_flux_image, edit_flux_image])
def test_every_word_becomes_the_service_s_own(tool: Tool) -> None:
    submission = tool(prompt="a fox", **FULL)

    assert submission.model == "flux-kontext-max"
    assert submission.body == {
        "prompt": "a fox",
        "inputImage": PICTURE,
        "aspectRatio": "21:9",
        "model": "flux-kontext-max",
        "outputFormat": "png",
        "safetyTolerance": 2,
        "promptUpsampling": True,
        "enableTranslation": False,
        "watermark": "me",
        "callBackUrl": "https://me.example/x",
    }


@pytest.mark.parametrize("tolerance", [0, 6])
def test_zero_and_the_widest_tolerance_are_sent_without_a_picture(tolerance: int) -> None:
    assert generate_flux_image("a fox", safetyTolerance=tolerance).body["safetyTolerance"] == tolerance


@pytest.mark.parametrize("tool", [generate_flux_image, edit_flux_image])
def test_second_picture_is_refused_with_the_tool_that_takes_several(tool: Tool) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        tool(prompt="a fox", image_urls=[PICTURE, OTHER])

    assert refusal.value.field == "image_urls"
    assert "takes one, 2 were given" in refusal.value.message
    assert refusal.value.instead is not None
    assert refusal.value.instead["tool"] == "edit_nano_banana"
    made = edit_nano_banana(**refusal.value.instead["arguments"])
    assert made.body["input"] == {"prompt": "a fox", "image_urls": [PICTURE, OTHER]}


@pytest.mark.parametrize("tool", [generate_flux_image, edit_flux_image])
@pytest.mark.parametrize("tolerance", [3, 6])
def test_tolerance_above_two_is_refused_with_a_picture(tool: Tool, tolerance: int) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        tool(prompt="a fox", image_urls=[PICTURE], safetyTolerance=tolerance)

    assert refusal.value.field == "safetyTolerance"
    assert "without image_urls" in refusal.value.message


@pytest.mark.parametrize("tool", [generate_flux_image, edit_flux_image])
def test_picture_costs_what_its_model_costs_and_at_most_the_dearer_one_elsewhere(tool: Tool) -> None:
    prices = {
        model: tool(prompt="a", image_urls=[PICTURE], model=model).estimated_credits for model in get_args(ModelId)
    }
    assert prices == {"flux-kontext-pro": 5, "flux-kontext-max": 10}
    plain = tool(prompt="a", image_urls=[PICTURE])
    assert plain.estimated_credits == 5
    assert plain.otherwise is not None
    assert plain.otherwise.estimated_credits == 10


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        FULL,
        *({"aspectRatio": shape} for shape in get_args(Shape)),
        *({"model": model} for model in get_args(ModelId)),
        *({"output_format": output_format} for output_format in ("png", "jpeg")),
        *({"safetyTolerance": tolerance} for tolerance in (0, 1, 2)),
    ],
)
def test_every_request_is_one_the_official_schema_accepts(arguments: dict[str, Any]) -> None:
    official(OPERATION).validate(generate_flux_image("a fox", **arguments).body)
    official(OPERATION).validate(edit_flux_image("a fox", **{"image_urls": [PICTURE], **arguments}).body)


def test_the_shapes_and_models_offered_are_the_official_ones() -> None:
    assert set(get_args(Shape)) == set(schema_of(OPERATION)["properties"]["aspectRatio"]["enum"])
    assert set(get_args(ModelId)) == set(schema_of(OPERATION)["properties"]["model"]["enum"])


def test_status_of_both_sorts_of_task_is_read_at_the_family_s_own_address() -> None:
    provider = kie_describe_provider()

    assert provider.api_types == ("flux-kontext-generate", "flux-kontext-edit")
    for api_type in provider.api_types:
        route = kie_route_status(Task("t-1", api_type, "flux"))
        assert route is not None
        assert route.paths == ("flux/kontext/record-info",)
        assert route.params == {"taskId": "t-1"}


def test_both_tools_are_offered() -> None:
    assert [tool.__name__ for tool in kie_register_tools({})] == ["generate_flux_image", "edit_flux_image"]
