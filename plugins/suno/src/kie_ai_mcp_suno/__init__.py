"""Suno: Suno's music models."""

from collections.abc import Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, hookimpl, read_models


@hookimpl
def kie_register_models() -> Iterator[Model]:
    return read_models(files(__name__).joinpath("models.json").read_text(encoding="utf-8"))


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Suno",
        homepage="https://docs.kie.ai/suno-api/generate-music",
        kinds=("audio", "text", "image", "video"),
        checked="2026-10-07",
        models=("ai-music-api/",),
    )
