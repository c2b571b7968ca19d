"""Ideogram 3: six market models behind three tools, whose status is read where the market's is."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kie_ai_mcp import Model, Outcome, Provider, Submission, hookimpl
from kie_ai_mcp_ideogram.results import outcome
from kie_ai_mcp_ideogram.tools import (
    API_TYPES,
    FAMILY,
    edit_ideogram_image,
    generate_ideogram_image,
    remix_ideogram_image,
)


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_ideogram_image, edit_ideogram_image, remix_ideogram_image]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_normalize_result(payload: Mapping[str, Any]) -> Outcome:
    return outcome(payload)


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Ideogram 3",
        homepage="https://docs.kie.ai/market/ideogram/v3-text-to-image",
        kinds=("image",),
        checked="2026-08-19",
        api_types=tuple(API_TYPES.values()),
        models=("ideogram/",),
    )
