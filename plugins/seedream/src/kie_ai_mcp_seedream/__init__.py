"""Seedream: ByteDance's picture models."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Seedream",
        homepage="https://docs.kie.ai/market/seedream/5-pro-text-to-image",
        kinds=("image",),
        checked="2026-10-07",
        models=("bytedance/seedream", "seedream/"),
    )
