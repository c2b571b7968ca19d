"""Recraft: models that cut out and sharpen pictures, on the market endpoints."""

from collections.abc import Callable, Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, Submission, hookimpl, read_models
from kie_ai_mcp_recraft.tools import BACKGROUND, remove_background


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [remove_background]


@hookimpl
def kie_register_models() -> Iterator[Model]:
    return read_models(files(__name__).joinpath("models.json"))


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Recraft",
        homepage="https://docs.kie.ai/market/recraft/remove-background",
        kinds=("image",),
        checked="2026-10-07",
        api_types=(BACKGROUND,),
        models=("recraft/",),
    )
