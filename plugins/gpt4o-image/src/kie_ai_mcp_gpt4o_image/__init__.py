"""GPT-4o images: OpenAI's image model on endpoints of its own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import Model, Outcome, Provider, StatusRoute, Submission, Task, hookimpl
from kie_ai_mcp_gpt4o_image.results import read_result
from kie_ai_mcp_gpt4o_image.tools import FAMILY, GPT4O_IMAGE, SETTINGS, STATUS_PATHS, gpt4o_image_tools


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    return gpt4o_image_tools(settings)


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_route_status(task: Task) -> StatusRoute | None:
    return None if task.is_market else StatusRoute(STATUS_PATHS, {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome | None:
    return None if task.is_market else read_result(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="GPT-4o image",
        homepage="https://docs.kie.ai/4o-image-api/generate-4-o-image",
        kinds=("image",),
        checked="2026-10-07",
        api_types=(GPT4O_IMAGE,),
        models=("4o-image-api",),
        settings=SETTINGS,
    )
