"""Wan: Alibaba's video and picture models."""

from collections.abc import Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, hookimpl, read_models


@hookimpl
def kie_register_models() -> Iterator[Model]:
    return read_models(files(__name__).joinpath("models.json").read_text(encoding="utf-8"))


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Wan",
        homepage="https://docs.kie.ai/market/wan/3-0-video",
        kinds=("video", "image"),
        checked="2026-10-07",
        models=("wan/",),
    )
