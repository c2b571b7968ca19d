"""GPT Image: OpenAI's image models on the market endpoints, whose status and results are the common ones."""

from collections.abc import Callable, Iterable

from kie_ai_mcp import Model, Provider, Submission, hookimpl
from kie_ai_mcp_gpt_image.tools import EDIT, FAMILY, GENERATE, edit_gpt_image, generate_gpt_image


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_gpt_image, edit_gpt_image]


@hookimpl
def kie_register_models() -> Iterable[Model]:
    return FAMILY.models.values()


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="GPT Image",
        homepage="https://docs.kie.ai/market/gpt-image/2-text-to-image",
        kinds=("image",),
        checked="2026-10-07",
        api_types=(GENERATE, EDIT),
        models=("gpt-image-", "gpt-image/"),
    )
