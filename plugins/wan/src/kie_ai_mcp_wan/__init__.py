"""Wan: Alibaba's video and image models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Iterable

from kie_ai_mcp import Model, Provider, Tool, hookimpl
from kie_ai_mcp_wan.image import IMAGE, generate_wan_image
from kie_ai_mcp_wan.models import FAMILY
from kie_ai_mcp_wan.video import VIDEO, generate_wan_video


@hookimpl
def kie_register_tools() -> list[Tool]:
    return [Tool(generate_wan_video), Tool(generate_wan_image, kind="image")]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Wan",
        homepage="https://docs.kie.ai/market/wan/3-0-video",
        kinds=("video", "image"),
        checked="2026-10-07",
        api_types=(VIDEO, IMAGE),
        models=("wan/",),
    )
