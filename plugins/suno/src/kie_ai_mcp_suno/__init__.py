"""Suno: music models, on the market endpoints."""

from collections.abc import Callable, Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, Submission, Tool, hookimpl, read_models
from kie_ai_mcp_suno import tools


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission] | Tool]:
    return [
        tools.generate_music,
        tools.extend_music,
        tools.cover_music,
        tools.separate_music,
        Tool(tools.generate_lyrics, kind="text"),
        tools.generate_sound,
    ]


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
        api_types=(tools.MUSIC, tools.EXTEND, tools.COVER, tools.STEM, tools.LYRICS, tools.SOUND),
        models=("ai-music-api/",),
    )
