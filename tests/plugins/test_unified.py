"""Families that the service also takes at its common address: the second form of each request, and when it is first."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import kie_ai_mcp_flux
import kie_ai_mcp_gpt4o_image
import kie_ai_mcp_runway
import kie_ai_mcp_veo3
from kie_ai_mcp import KieError, Query, Submission, Task, Tool
from kie_ai_mcp.readings import market_outcome
from kie_ai_mcp.specs import MARKET_CREATE
from tests.service.facts import official, price_list

FAMILIES = [kie_ai_mcp_veo3, kie_ai_mcp_runway, kie_ai_mcp_gpt4o_image, kie_ai_mcp_flux]
A, B = "https://example.com/a.png", "https://example.com/b.png"
CLIP = "https://example.com/clip.mp4"
HOOK = "https://example.com/hook"

# Family, tool, arguments, the common form's model and its input.
FORMS: list[tuple[ModuleType, str, dict[str, Any], str, dict[str, Any]]] = [
    (kie_ai_mcp_veo3, "generate_veo3_video", {"prompt": "a cat"}, "veo-3-1", {"prompt": "a cat", "model": "veo3_fast"}),
    (
        kie_ai_mcp_veo3,
        "generate_veo3_video",
        {
            "prompt": "a cat",
            "imageUrls": [A, B],
            "model": "veo3",
            "watermark": "me",
            "aspectRatio": "Auto",
            "enableFallback": False,
            "resolution": "4k",
            "duration": 4,
        },
        "veo-3-1",
        {
            "prompt": "a cat",
            "image_urls": [A, B],
            "model": "veo3",
            "watermark": "me",
            "generation_type": "FIRST_AND_LAST_FRAMES_2_VIDEO",
            "aspect_ratio": "Auto",
            "enable_fallback": False,
            "resolution": "4k",
            "duration": 4,
        },
    ),
    (
        kie_ai_mcp_veo3,
        "extend_veo3_video",
        {"task_id": "t-1", "prompt": "it runs", "seeds": 12_345},
        "veo/extend",
        {"task_id": "t-1", "prompt": "it runs", "seeds": 12_345},
    ),
    (
        kie_ai_mcp_veo3,
        "get_veo3_4k_video",
        {"task_id": "t-1", "index": 1},
        "veo/get-4k-video",
        {"task_id": "t-1", "index": 1},
    ),
    (
        kie_ai_mcp_runway,
        "generate_runway_gen3_video",
        {"prompt": "a cat"},
        "runway",
        {"prompt": "a cat", "duration": 5, "quality": "720p", "aspect_ratio": "16:9"},
    ),
    (
        kie_ai_mcp_runway,
        "generate_runway_gen3_video",
        {"prompt": "a cat", "imageUrls": [A], "duration": 10},
        "runway",
        {"prompt": "a cat", "image_url": A, "duration": 10, "quality": "720p"},
    ),
    (
        kie_ai_mcp_runway,
        "extend_runway_video",
        {"task_id": "t-1", "prompt": "it runs", "resolution": "1080p"},
        "runway/extend-ai-video",
        {"task_id": "t-1", "prompt": "it runs", "quality": "1080p"},
    ),
    (
        kie_ai_mcp_runway,
        "generate_runway_aleph_video",
        {"prompt": "snow", "videoUrl": CLIP, "referenceImage": A, "aspectRatio": "21:9"},
        "runway/gen4-aleph",
        {"prompt": "snow", "video_url": CLIP, "reference_image": A, "aspect_ratio": "21:9"},
    ),
    (
        kie_ai_mcp_gpt4o_image,
        "generate_gpt4o_image",
        {"prompt": "a fox", "image_urls": [A, B], "size": "3:2", "nVariants": 1},
        "4o-image-api",
        {"prompt": "a fox", "files_url": [A, B], "size": "3:2"},
    ),
    (kie_ai_mcp_flux, "generate_flux_image", {"prompt": "a fox"}, "flux1-kontext", {"prompt": "a fox"}),
    (
        kie_ai_mcp_flux,
        "edit_flux_image",
        {
            "prompt": "at night",
            "image_urls": [A],
            "aspectRatio": "4:3",
            "output_format": "png",
            "safetyTolerance": 2,
            "promptUpsampling": True,
            "enableTranslation": False,
        },
        "flux1-kontext",
        {
            "prompt": "at night",
            "input_image": A,
            "aspect_ratio": "4:3",
            "output_format": "png",
            "safety_tolerance": 2,
            "prompt_upsampling": True,
            "enable_translation": False,
        },
    ),
]
every_form = pytest.mark.parametrize(("family", "name", "arguments", "model", "sent"), FORMS)


def tools_of(family: ModuleType, **settings: Any) -> dict[str, Callable[..., Submission | Query]]:
    """Return a family's tool functions by name, as it registers them with these settings."""
    entries = family.kie_register_tools(settings)
    functions = [entry.fn if isinstance(entry, Tool) else entry for entry in entries]
    return {fn.__name__: fn for fn in functions}


def made(family: ModuleType, name: str, arguments: dict[str, Any], **settings: Any) -> Submission:
    request = tools_of(family, **settings)[name](**arguments)
    assert isinstance(request, Submission)
    return request


@every_form
def test_common_form_says_all_that_the_own_one_says(
    family: ModuleType, name: str, arguments: dict[str, Any], model: str, sent: dict[str, Any]
) -> None:
    own = made(family, name, arguments)
    common = own.otherwise

    assert common is not None
    assert common.path == MARKET_CREATE
    assert common.body == {"model": model, "input": sent}
    official(model).validate(common.body["input"])
    assert (common.model, common.api_type, common.read) == (model, own.api_type, None)


@every_form
def test_callback_is_asked_for_in_both_forms(
    family: ModuleType, name: str, arguments: dict[str, Any], model: str, sent: dict[str, Any]
) -> None:
    own = made(family, name, {**arguments, "callBackUrl": HOOK})

    assert own.otherwise is not None
    assert own.body["callBackUrl"] == HOOK
    assert own.otherwise.body == {"model": model, "input": sent, "callBackUrl": HOOK}


@every_form
def test_unified_begins_with_the_common_form_and_keeps_the_own_one_second(
    family: ModuleType, name: str, arguments: dict[str, Any], model: str, sent: dict[str, Any]
) -> None:
    own, turned = made(family, name, arguments), made(family, name, arguments, unified=True)

    assert turned.body == {"model": model, "input": sent}
    assert turned.otherwise is not None
    assert (turned.otherwise.paths, turned.otherwise.body) == (own.paths, own.body)
    assert turned.otherwise.otherwise is None


@pytest.mark.parametrize("settings", [{}, {"unified": True}])
@pytest.mark.parametrize(
    ("family", "name", "arguments"),
    [
        (kie_ai_mcp_veo3, "extend_veo3_video", {"task_id": "t-1", "prompt": "it runs", "model": "fast"}),
        (kie_ai_mcp_gpt4o_image, "generate_gpt4o_image", {"prompt": "a fox", "nVariants": 4}),
        (kie_ai_mcp_gpt4o_image, "generate_gpt4o_image", {"prompt": "a fox", "image_urls": [A], "maskUrl": B}),
        (kie_ai_mcp_flux, "generate_flux_image", {"prompt": "a fox", "model": "flux-kontext-pro"}),
        (kie_ai_mcp_flux, "edit_flux_image", {"prompt": "x", "image_urls": [A], "model": "flux-kontext-max"}),
    ],
)
def test_call_that_the_common_form_can_not_honour_has_the_own_form_alone(
    family: ModuleType, name: str, arguments: dict[str, Any], settings: dict[str, Any]
) -> None:
    older = {"older_fields": True} if family is kie_ai_mcp_gpt4o_image else {}
    own = made(family, name, arguments, **settings, **older)

    assert own.otherwise is None
    assert own.path != MARKET_CREATE


def test_form_without_a_tier_is_priced_at_the_dearest_and_says_so() -> None:
    dearest = {
        start: max(price for (price,) in (entry.credits for entry in price_list(start).values()))
        for start in ("veo/extend", "flux/kontext")
    }
    forms = [
        made(kie_ai_mcp_veo3, "extend_veo3_video", {"task_id": "t-1", "prompt": "it runs"}).otherwise,
        made(kie_ai_mcp_flux, "generate_flux_image", {"prompt": "a fox"}).otherwise,
    ]

    assert [form and form.estimated_credits for form in forms] == [*dearest.values()] == [250, 10]
    assert all(form and f"{form.estimated_credits:g} credits" in form.notes[0] for form in forms)


@every_form
def test_every_other_form_costs_what_the_own_one_costs(
    family: ModuleType, name: str, arguments: dict[str, Any], model: str, sent: dict[str, Any]
) -> None:
    own = made(family, name, arguments)
    if model not in {"veo/extend", "flux1-kontext"}:
        assert own.otherwise is not None
        assert own.otherwise.estimated_credits == own.estimated_credits
        assert own.otherwise.notes == ()


@pytest.mark.parametrize("index", [None, 0, 2])
def test_unified_makes_the_1080p_version_a_task_of_its_own(index: int | None) -> None:
    read = tools_of(kie_ai_mcp_veo3)["get_veo3_1080p_video"](task_id="t-1")
    task = made(kie_ai_mcp_veo3, "get_veo3_1080p_video", {"task_id": "t-1", "index": index}, unified=True)
    fields = {"taskId": "t-1"} if index is None else {"taskId": "t-1", "index": str(index)}

    assert isinstance(read, Query)
    assert task.body == {"model": "veo/get-1080p-video", "input": fields}
    assert task.estimated_credits == read.estimated_credits == 5
    assert task.api_type in kie_ai_mcp_veo3.kie_describe_provider().api_types
    official("veo/get-1080p-video").validate(task.body["input"])


def test_versions_that_the_service_makes_once_are_made_once_at_either_address() -> None:
    for settings in ({}, {"unified": True}):
        entries = kie_ai_mcp_veo3.kie_register_tools(settings)
        paid = [entry for entry in entries if isinstance(entry, Tool) and not entry.charges]
        assert all(entry.once for entry in paid)
        assert len(paid) == (2 if settings else 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("path", MARKET_CREATE)
def test_task_of_the_common_address_is_read_as_the_market_is(family: ModuleType, path: str) -> None:
    provider = family.kie_describe_provider()
    for api_type in provider.api_types:
        task = Task("t-1", api_type, "x", path=path)
        assert family.kie_route_status(task) is None
        assert family.kie_normalize_result(task, {"state": "success", "successFlag": 1}) is None
        own = Task("t-1", api_type, "x")
        assert family.kie_route_status(own).params == {"taskId": "t-1"}
        assert family.kie_normalize_result(own, {"successFlag": 0}).status in {"pending", "processing"}


def test_results_of_a_large_clip_are_read_where_the_market_puts_them() -> None:
    nested = '{"data": {"result_urls": ["https://x.example/4k.mp4"], "origin_urls": ["https://x.example/o.mp4"]}}'
    outcome = market_outcome({"state": "success", "resultJson": nested})

    assert outcome.urls == ("https://x.example/4k.mp4",)


@every_form
def test_family_owns_the_model_of_its_common_form(
    family: ModuleType, name: str, arguments: dict[str, Any], model: str, sent: dict[str, Any]
) -> None:
    assert model.startswith(family.kie_describe_provider().models)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", ["yes", 1, ""])
def test_unified_is_true_or_false_and_nothing_else(family: ModuleType, value: object) -> None:
    assert "unified" in family.kie_describe_provider().settings
    with pytest.raises(KieError, match="unified"):
        family.kie_register_tools({"unified": value})


@pytest.mark.parametrize("value", ["true", "True ", True])
def test_unified_may_come_from_a_variable(value: object) -> None:
    request = made(kie_ai_mcp_flux, "generate_flux_image", {"prompt": "a fox"}, unified=value)

    assert request.path == MARKET_CREATE
