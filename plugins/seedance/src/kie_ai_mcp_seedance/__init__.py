"""Seedance: ByteDance's video models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Callable, Iterable

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_seedance.tools import FAMILY, VIDEO, generate_seedance_video


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_seedance_video]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Seedance",
        homepage="https://docs.kie.ai/market/bytedance/seedance-2",
        kinds=("video",),
        checked="2026-10-07",
        api_types=(VIDEO,),
        models=("bytedance/seedance-", "bytedance/v1-"),
    )
