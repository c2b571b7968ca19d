"""Market: every model of the service as data, and its live catalogue."""

from collections.abc import Iterator
from importlib.resources import files

from kie_ai_mcp import LiveCatalogue, Model, Provider, hookimpl, read_models


@hookimpl
def kie_register_models() -> Iterator[Model | LiveCatalogue]:
    from kie_ai_mcp_market.catalogue import CATALOGUE  # noqa: PLC0415  only where models are asked for

    yield CATALOGUE
    yield from read_models(files(__name__).joinpath("models.json"))


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Market",
        homepage="https://docs.kie.ai",
        kinds=("image", "video", "audio", "text"),
        checked="2026-10-07",
        settings={
            "allow": "Only models whose ids these patterns fit, such as kling/*.",
            "deny": "Never models whose ids these patterns fit.",
        },
    )
