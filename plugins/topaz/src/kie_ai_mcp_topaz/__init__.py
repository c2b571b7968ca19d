"""Topaz: Topaz Labs' upscalers for pictures and clips."""

from collections.abc import Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, Tool, hookimpl, read_models
from kie_ai_mcp_topaz.tools import IMAGE, VIDEO, upscale_image, upscale_video


@hookimpl
def kie_register_tools() -> list[Tool]:
    return [Tool(upscale_image), Tool(upscale_video, kind="video")]


@hookimpl
def kie_register_models() -> Iterator[Model]:
    return read_models(files(__name__).joinpath("models.json"))


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Topaz",
        homepage="https://docs.kie.ai/market/topaz/image-upscale",
        kinds=("image", "video"),
        checked="2026-10-07",
        api_types=(IMAGE, VIDEO),
        models=("topaz/",),
    )
