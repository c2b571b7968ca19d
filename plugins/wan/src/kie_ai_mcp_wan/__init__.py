"""Wan: Alibaba's video and picture models."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Wan",
        homepage="https://docs.kie.ai/market/wan/3-0-video",
        kinds=("video", "image"),
        checked="2026-10-07",
        models=("wan/",),
    )
