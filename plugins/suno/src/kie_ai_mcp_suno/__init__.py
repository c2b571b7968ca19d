"""Suno: music models, on the market endpoints."""

from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from kie_ai_mcp import Model, Outcome, Provider, Submission, Task, Tool, hookimpl, read_models
from kie_ai_mcp_suno import tools
from kie_ai_mcp_suno.results import outcome_of_stems


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
    return read_models(files(__name__).joinpath("models.json"))


@hookimpl
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome | None:
    return outcome_of_stems(payload) if task.model == tools.SEPARATES else None


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
