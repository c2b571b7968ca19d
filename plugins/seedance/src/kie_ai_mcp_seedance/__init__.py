"""Seedance: ByteDance's video models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Callable, Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, Submission, hookimpl, read_models
from kie_ai_mcp_seedance.tools import VIDEO, generate_seedance_video


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_seedance_video]


@hookimpl
def kie_register_models() -> Iterator[Model]:
    return read_models(files(__name__).joinpath("models.json").read_text(encoding="utf-8"))


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
