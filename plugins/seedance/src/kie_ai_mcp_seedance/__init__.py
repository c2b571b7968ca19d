"""Seedance: ByteDance's video models."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Seedance",
        homepage="https://docs.kie.ai/market/bytedance/seedance-2",
        kinds=("video",),
        checked="2026-10-07",
        models=("bytedance/seedance-", "bytedance/v1-"),
    )
