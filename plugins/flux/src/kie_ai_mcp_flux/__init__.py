"""Flux Kontext: one endpoint that makes and changes pictures, with a status endpoint of its own."""

from collections.abc import Callable, Mapping
from typing import Any

from kie_ai_mcp import Outcome, Provider, StatusRoute, Submission, Task, hookimpl
from kie_ai_mcp_flux.results import read_result
from kie_ai_mcp_flux.tools import EDIT, GENERATE, STATUS_PATHS, edit_flux_image, generate_flux_image


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_flux_image, edit_flux_image]


@hookimpl
def kie_route_status(task: Task) -> StatusRoute:
    return StatusRoute(STATUS_PATHS, {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    return read_result(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Flux Kontext",
        homepage="https://docs.kie.ai/flux-kontext-api/generate-or-edit-image",
        kinds=("image",),
        checked="2026-08-19",
        api_types=(GENERATE, EDIT),
    )
