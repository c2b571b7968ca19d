"""DALL-E 3: a family that Kie.ai never documented, forwarded as a market task."""

from collections.abc import Callable, Mapping
from typing import Any

from kie_ai_mcp import Provider, Submission, hookimpl
from kie_ai_mcp_dalle3.tools import API_TYPE, dalle3_tools


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    return dalle3_tools(settings)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="DALL-E 3",
        homepage="https://openai.com/index/dall-e-3/",
        kinds=("image",),
        availability="undocumented",
        checked="2026-10-02",
        note="Kie.ai never listed it; the model id sent is a guess, replaceable by [providers.dalle3] model.",
        nearest="generate_gpt4o_image",
        api_types=(API_TYPE,),
        models=("openai/dall-e",),
        settings={
            "model": "The model id to send instead of the guessed one.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
