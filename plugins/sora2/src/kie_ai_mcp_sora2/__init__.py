"""Sora 2: OpenAI's video models on the market endpoints, which the service no longer documents."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_sora2.tools import FAMILY, STORYBOARD, VIDEO, sora2_tools


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    return sora2_tools(settings)


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Sora 2",
        homepage="https://openai.com/sora/",
        kinds=("video",),
        availability="retired",
        checked="2026-09-24",
        note="Documented by Kie.ai from October 2025 to April 2026; its pages were gone by August 2026.",
        nearest="generate_veo3_video",
        api_types=(VIDEO, STORYBOARD),
        models=("sora-2", "sora-watermark"),
        settings={
            "model": "The model id generate_sora2_video sends instead of the four documented ones.",
            "storyboard_model": "The model id generate_sora2_storyboard sends instead of sora-2-pro-storyboard.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
