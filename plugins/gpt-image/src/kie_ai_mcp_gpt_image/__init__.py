"""GPT Image: OpenAI's picture models on the market."""

from kie_ai_mcp import Provider, hookimpl


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="GPT Image",
        homepage="https://docs.kie.ai/market/gpt-image/2-text-to-image",
        kinds=("image",),
        checked="2026-10-07",
        models=("gpt-image-", "gpt-image/"),
    )
