"""Nano Banana: Google's image models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Callable, Iterable

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_nano_banana.tools import EDIT, FAMILY, GENERATE, edit_nano_banana, generate_nano_banana


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_nano_banana, edit_nano_banana]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Nano Banana",
        homepage="https://kie.ai/nano-banana",
        kinds=("image",),
        checked="2026-08-19",
        api_types=(GENERATE, EDIT),
        models=("google/nano-banana", "nano-banana"),
    )
