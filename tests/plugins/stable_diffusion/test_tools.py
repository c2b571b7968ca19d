"""What generate_stable_diffusion3_image asks of the service: our own expectations, as no schema was published."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_stable_diffusion import kie_describe_provider, kie_register_tools

PICTURE = "https://example.com/a.png"
FULL: dict[str, Any] = {
    "prompt": "a lighthouse",
    "negative_prompt": "blur",
    "image_urls": [PICTURE],
    "aspectRatio": "16:9",
    "guidance_scale": 7.5,
    "steps": 30,
    "scheduler": "euler",
    "output_format": "jpeg",
    "callBackUrl": "https://example.com/done",
}
FULL_INPUT = {
    "prompt": "a lighthouse",
    "negative_prompt": "blur",
    "image_urls": [PICTURE],
    "aspect_ratio": "16:9",
    "guidance_scale": 7.5,
    "steps": 30,
    "scheduler": "euler",
    "output_format": "jpeg",
}


def the_tool(**settings: str) -> Callable[..., Submission]:
    (tool,) = kie_register_tools(settings)
    return tool


def test_minimal_request_holds_the_prompt_alone() -> None:
    request = the_tool()(prompt="a lighthouse")
    assert request.paths[0] == "jobs/createTask"
    assert request.body == {"model": "stability-ai/stable-diffusion-3", "input": {"prompt": "a lighthouse"}}
    assert (request.api_type, request.model) == ("stable-diffusion3-image", "stability-ai/stable-diffusion-3")


def test_every_argument_reaches_the_request() -> None:
    assert the_tool()(**FULL).body == {
        "model": "stability-ai/stable-diffusion-3",
        "callBackUrl": "https://example.com/done",
        "input": FULL_INPUT,
    }


def test_no_argument_is_missing_from_the_full_request() -> None:
    assert set(inspect.signature(the_tool()).parameters) == set(FULL)


@pytest.mark.parametrize(
    ("settings", "model", "path"),
    [
        ({"model": "new/id"}, "new/id", "jobs/createTask"),
        ({"path": "stable_diffusion/generate"}, "stability-ai/stable-diffusion-3", "stable_diffusion/generate"),
        ({"model": "new/id", "path": "stable_diffusion/generate"}, "new/id", "stable_diffusion/generate"),
        ({"model": "", "path": ""}, "stability-ai/stable-diffusion-3", "jobs/createTask"),
    ],
)
def test_configuration_replaces_model_and_path(settings: dict[str, str], model: str, path: str) -> None:
    request = the_tool(**settings)(**FULL)
    assert (request.model, request.body["model"], request.paths[0]) == (model, model, path)
    assert request.body["input"] == FULL_INPUT


def test_same_arguments_give_the_same_request() -> None:
    assert the_tool()(**FULL) == the_tool()(**FULL)


def test_provider_says_it_is_undocumented_and_names_the_nearest_tool() -> None:
    provider = kie_describe_provider()
    assert (provider.availability, provider.nearest) == ("undocumented", "generate_flux_image")
    assert provider.api_types == ("stable-diffusion3-image",)
    assert provider.models
    assert "stability-ai/stable-diffusion-3".startswith(provider.models)
    assert set(provider.settings) == {"model", "path"}
    assert provider.kinds == ("image",)


def test_docstring_says_undocumented_and_names_the_nearest_tool() -> None:
    doc = the_tool().__doc__ or ""
    assert doc.startswith("Undocumented")
    assert "generate_flux_image" in doc
