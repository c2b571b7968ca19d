"""Seedream: ByteDance's image models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Callable, Iterable

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_seedream.tools import EDIT, FAMILY, GENERATE, edit_seedream_image, generate_seedream_image


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_seedream_image, edit_seedream_image]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Seedream",
        homepage="https://docs.kie.ai/market/seedream/5-pro-text-to-image",
        kinds=("image",),
        checked="2026-10-07",
        api_types=(GENERATE, EDIT),
        models=("bytedance/seedream", "seedream/"),
    )
