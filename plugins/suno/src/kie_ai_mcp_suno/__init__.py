"""Suno: Suno's music models."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Suno",
        homepage="https://docs.kie.ai/suno-api/generate-music",
        kinds=("audio", "text", "image", "video"),
        checked="2026-10-07",
        models=("ai-music-api/",),
    )
