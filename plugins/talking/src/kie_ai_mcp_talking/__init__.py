"""Talking: models that make pictured people speak."""

from collections.abc import Callable, Iterable

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_talking.tools import FAMILY, LIP_SYNC, TALKING, generate_talking_video, lip_sync_video


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_talking_video, lip_sync_video]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Talking",
        homepage="https://docs.kie.ai/market/infinitalk/from-audio",
        kinds=("video",),
        checked="2026-10-07",
        api_types=(TALKING, LIP_SYNC),
        models=("infinitalk/", "omnihuman-", "volcengine/"),
    )
