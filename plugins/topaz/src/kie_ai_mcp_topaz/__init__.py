"""Topaz: Topaz Labs' upscalers for pictures and clips."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Topaz",
        homepage="https://docs.kie.ai/market/topaz/image-upscale",
        kinds=("image", "video"),
        checked="2026-10-07",
        models=("topaz/",),
    )
