"""Kling: Kuaishou's video models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Callable, Iterable

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_kling.forms import FAMILY
from kie_ai_mcp_kling.tools import (
    AVATAR,
    MOTION,
    OMNI,
    VIDEO,
    generate_kling_avatar_video,
    generate_kling_motion_video,
    generate_kling_omni_video,
    generate_kling_video,
)


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_kling_video, generate_kling_omni_video, generate_kling_motion_video, generate_kling_avatar_video]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Kling",
        homepage="https://docs.kie.ai/market/kling/kling-3-0",
        kinds=("video",),
        checked="2026-08-19",
        api_types=(VIDEO, OMNI, MOTION, AVATAR),
        models=("kling/", "kling-"),
    )
