"""Playground: a family that Kie.ai never documented, forwarded as a market task."""

from collections.abc import Callable, Mapping
from typing import Any

from kie_ai_mcp import Provider, Submission, hookimpl
from kie_ai_mcp_playground.tools import API_TYPE, playground_tools


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    return playground_tools(settings)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Playground",
        homepage="https://playground.com/",
        kinds=("image",),
        availability="undocumented",
        checked="2026-10-02",
        note="Kie.ai never listed it; the model ids sent are guesses, replaceable by [providers.playground] model.",
        nearest="generate_nano_banana",
        api_types=(API_TYPE,),
        models=("playground/",),
        settings={
            "model": "The model id to send instead of the guessed one.",
            "path": "The create path to use instead of jobs/createTask; the body stays model + input.",
        },
    )
