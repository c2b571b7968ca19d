"""Talking: models that make pictured people speak."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Talking",
        homepage="https://docs.kie.ai/market/infinitalk/from-audio",
        kinds=("video",),
        checked="2026-10-07",
        models=("infinitalk/", "omnihuman-", "volcengine/"),
    )
