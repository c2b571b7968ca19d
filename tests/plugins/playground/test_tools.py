"""What generate_playground_image asks of the service: our own expectations, as no schema was published."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp_playground import kie_describe_provider, kie_register_tools

PICTURE = "https://example.com/a.png"
FULL: dict[str, Any] = {
    "prompt": "a lighthouse",
    "negative_prompt": "blur",
    "image_urls": [PICTURE],
    "aspectRatio": "16:9",
    "guidance_scale": 7.5,
    "steps": 30,
    "model": "v2.5",
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
    "output_format": "jpeg",
}


def the_tool(**settings: str) -> Callable[..., Submission]:
    (tool,) = kie_register_tools(settings)
    return tool


def test_minimal_request_holds_the_prompt_alone() -> None:
    request = the_tool()(prompt="a lighthouse")
    assert request.paths[0] == "jobs/createTask"
    assert request.body == {"model": "playground/v3", "input": {"prompt": "a lighthouse"}}
    assert (request.api_type, request.model) == ("playground-image", "playground/v3")


def test_every_argument_reaches_the_request() -> None:
    assert the_tool()(**FULL).body == {
        "model": "playground/v2-5",
        "callBackUrl": "https://example.com/done",
        "input": FULL_INPUT,
    }


def test_no_argument_is_missing_from_the_full_request() -> None:
    assert set(inspect.signature(the_tool()).parameters) == set(FULL)


@pytest.mark.parametrize(
    ("settings", "model", "path"),
    [
        ({"model": "new/id"}, "new/id", "jobs/createTask"),
        ({"path": "playground/generate"}, "playground/v2-5", "playground/generate"),
        ({"model": "new/id", "path": "playground/generate"}, "new/id", "playground/generate"),
        ({"model": "", "path": ""}, "playground/v2-5", "jobs/createTask"),
    ],
)
def test_configuration_replaces_model_and_path(settings: dict[str, str], model: str, path: str) -> None:
    arguments = {name: value for name, value in FULL.items() if name != "model" or not settings.get("model")}
    request = the_tool(**settings)(**arguments)
    assert (request.model, request.body["model"], request.paths[0]) == (model, model, path)
    assert request.body["input"] == FULL_INPUT


def test_same_arguments_give_the_same_request() -> None:
    assert the_tool()(**FULL) == the_tool()(**FULL)


def test_provider_says_it_is_undocumented_and_names_the_nearest_tool() -> None:
    provider = kie_describe_provider()
    assert (provider.availability, provider.nearest) == ("undocumented", "generate_nano_banana")
    assert provider.api_types == ("playground-image",)
    assert provider.models
    assert "playground/v2-5".startswith(provider.models)
    assert set(provider.settings) == {"model", "path"}
    assert provider.kinds == ("image",)


def test_docstring_says_undocumented_and_names_the_nearest_tool() -> None:
    doc = the_tool().__doc__ or ""
    assert doc.startswith("Undocumented")
    assert "generate_nano_banana" in doc


@pytest.mark.parametrize(
    ("version", "model"), [("v2", "playground/v2"), ("v2.5", "playground/v2-5"), ("v3", "playground/v3")]
)
def test_version_chooses_the_model_id(version: str, model: str) -> None:
    assert the_tool()(prompt="a lighthouse", model=version).model == model


def test_version_is_refused_where_the_configuration_names_the_model() -> None:
    with pytest.raises(InvalidArgument, match="leave it out") as refusal:
        the_tool(model="new/id")(prompt="a lighthouse", model="v2")
    assert refusal.value.field == "model"
    assert "new/id" in str(refusal.value)
