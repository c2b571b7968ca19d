"""Requests of the families that Kie.ai never documented: our own expectations, as no schema was published."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Provider, Submission
from tests.helpers import PICTURE

DONE = "https://example.com/done"


@dataclass(frozen=True)
class Family:
    """One family: its module, the tool to use instead, what its tool takes and what of it is sent under which name.

    Args:
        module: The plugin's module.
        nearest: The tool that its provider and its docstring name instead.
        api_type: The sort of its tasks.
        model: The model id of a request that holds the prompt alone.
        with_picture: The model id of the request with every argument.
        arguments: Every argument beside `prompt` and `callBackUrl`.
        sent: The service's names of those that have another one.
    """

    module: str
    nearest: str
    api_type: str
    model: str
    with_picture: str
    arguments: Mapping[str, Any]
    sent: Mapping[str, str]

    def tool(self, **settings: str) -> Callable[..., Submission]:
        (tool,) = import_module(self.module).kie_register_tools(settings)
        return tool  # type: ignore[no-any-return]  # modules are named by text here

    @property
    def full(self) -> dict[str, Any]:
        return {"prompt": "a lighthouse", **self.arguments, "callBackUrl": DONE}

    @property
    def input(self) -> dict[str, Any]:
        own = {self.sent.get(name, name): value for name, value in self.arguments.items() if name != "model"}
        return {"prompt": "a lighthouse", **own}


PICTURES_IN = {"image_urls": [PICTURE]}
CLIP_NAMES = {"imageUrls": "image_urls", "aspectRatio": "aspect_ratio", "frameRate": "frame_rate"}
CLIP = {"imageUrls": [PICTURE], "duration": 5, "aspectRatio": "16:9", "resolution": "1080p", "frameRate": 24}

FAMILIES = {
    "dalle3": Family(
        module="kie_ai_mcp_dalle3",
        nearest="generate_gpt4o_image",
        api_type="dalle3-image",
        model="openai/dall-e-3",
        with_picture="openai/dall-e-3",
        arguments={**PICTURES_IN, "size": "16:9", "quality": "hd", "style": "vivid", "output_format": "png"},
        sent={},
    ),
    "stable-diffusion": Family(
        module="kie_ai_mcp_stable_diffusion",
        nearest="generate_flux_image",
        api_type="stable-diffusion3-image",
        model="stability-ai/stable-diffusion-3",
        with_picture="stability-ai/stable-diffusion-3",
        arguments={
            **PICTURES_IN,
            "negative_prompt": "blur",
            "aspectRatio": "16:9",
            "guidance_scale": 7.5,
            "steps": 30,
            "scheduler": "euler",
            "output_format": "jpeg",
        },
        sent={"aspectRatio": "aspect_ratio"},
    ),
    "playground": Family(
        module="kie_ai_mcp_playground",
        nearest="generate_nano_banana",
        api_type="playground-image",
        model="playground/v3",
        with_picture="playground/v2-5",
        arguments={
            **PICTURES_IN,
            "negative_prompt": "blur",
            "aspectRatio": "16:9",
            "guidance_scale": 7.5,
            "steps": 30,
            "model": "v2.5",
            "output_format": "jpeg",
        },
        sent={"aspectRatio": "aspect_ratio"},
    ),
    "haiper": Family(
        module="kie_ai_mcp_haiper",
        nearest="generate_kling_video",
        api_type="haiper-video",
        model="haiper/text-to-video",
        with_picture="haiper/image-to-video",
        arguments={**CLIP, "look": "noir"},
        sent=CLIP_NAMES,
    ),
    "pika": Family(
        module="kie_ai_mcp_pika",
        nearest="generate_kling_video",
        api_type="pika-video",
        model="pika/text-to-video",
        with_picture="pika/image-to-video",
        arguments={**CLIP, "mode": "realistic"},
        sent=CLIP_NAMES,
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_minimal_request_holds_the_prompt_alone(family: Family) -> None:
    request = family.tool()(prompt="a lighthouse")

    assert request.paths[0] == "jobs/createTask"
    assert request.body == {"model": family.model, "input": {"prompt": "a lighthouse"}}
    assert (request.api_type, request.model) == (family.api_type, family.model)


def test_every_argument_reaches_the_request(family: Family) -> None:
    request = family.tool()(**family.full)

    assert request.body == {"model": family.with_picture, "callBackUrl": DONE, "input": family.input}
    assert request == family.tool()(**family.full)


def test_no_argument_is_missing_from_the_full_request(family: Family) -> None:
    assert set(inspect.signature(family.tool()).parameters) == set(family.full)


@pytest.mark.parametrize("path", ["", "family/generate"])
@pytest.mark.parametrize("model", ["", "new/id"])
def test_configuration_replaces_model_and_path(family: Family, model: str, path: str) -> None:
    # Where the configuration names the model, Playground's own choice of one would be ignored, so it is refused.
    arguments = {name: value for name, value in family.full.items() if not (name == "model" and model)}
    wanted = model or family.with_picture

    request = family.tool(model=model, path=path)(**arguments)

    assert (request.model, request.body["model"], request.paths[0]) == (wanted, wanted, path or "jobs/createTask")
    assert request.body["input"] == family.input


def test_provider_and_tool_say_undocumented_and_name_the_nearest_tool(family: Family) -> None:
    provider: Provider = import_module(family.module).kie_describe_provider()
    doc = family.tool().__doc__ or ""

    assert (provider.availability, provider.nearest) == ("undocumented", family.nearest)
    assert doc.startswith("Undocumented")
    assert family.nearest in doc
    assert provider.api_types == (family.api_type,)
    assert provider.models
    assert family.with_picture.startswith(provider.models)
    assert set(provider.settings) == {"model", "path"}
    assert provider.kinds == ("video" if family.api_type.endswith("video") else "image",)


@pytest.mark.parametrize(
    ("version", "model"), [("v2", "playground/v2"), ("v2.5", "playground/v2-5"), ("v3", "playground/v3")]
)
def test_version_of_playground_chooses_the_model_id(version: str, model: str) -> None:
    assert FAMILIES["playground"].tool()(prompt="a lighthouse", model=version).model == model


def test_version_of_playground_is_refused_where_the_configuration_names_the_model() -> None:
    with pytest.raises(InvalidArgument, match="leave it out") as refusal:
        FAMILIES["playground"].tool(model="new/id")(prompt="a lighthouse", model="v2")

    assert refusal.value.field == "model"
    assert "new/id" in str(refusal.value)
