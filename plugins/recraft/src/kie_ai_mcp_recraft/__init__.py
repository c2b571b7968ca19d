"""Recraft: Recraft's picture tools."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Recraft",
        homepage="https://docs.kie.ai/market/recraft/remove-background",
        kinds=("image",),
        checked="2026-10-07",
        models=("recraft/",),
    )
