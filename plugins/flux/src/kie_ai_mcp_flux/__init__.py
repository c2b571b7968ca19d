"""Flux Kontext: one endpoint that makes and changes pictures, with a status endpoint of its own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import Model, Outcome, Provider, StatusRoute, Submission, Task, hookimpl, is_on, otherwise_first
from kie_ai_mcp_flux.results import read_result
from kie_ai_mcp_flux.tools import EDIT, FAMILY, GENERATE, STATUS_PATHS, edit_flux_image, generate_flux_image


@hookimpl
def kie_register_tools(settings: Mapping[str, Any]) -> list[Callable[..., Submission]]:
    tools = (generate_flux_image, edit_flux_image)
    return otherwise_first(*tools) if is_on(settings, "unified") else [*tools]


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
        title="Flux Kontext",
        homepage="https://docs.kie.ai/flux-kontext-api/generate-or-edit-image",
        kinds=("image",),
        checked="2026-10-07",
        api_types=(GENERATE, EDIT),
        models=("flux1-kontext",),
        settings={"unified": "true begins with jobs/createTask (flux1-kontext), false with the family's own address"},
    )
