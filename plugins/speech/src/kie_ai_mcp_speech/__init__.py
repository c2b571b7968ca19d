"""Speech: models that read text aloud, on the market endpoints."""

from collections.abc import Callable, Iterator
from importlib.resources import files

from kie_ai_mcp import Model, Provider, Submission, hookimpl, read_models
from kie_ai_mcp_speech.tools import ISOLATION, SPEECH, generate_speech, isolate_voice


@hookimpl
def kie_register_tools() -> list[Callable[..., Submission]]:
    return [generate_speech, isolate_voice]


@hookimpl
def kie_register_models() -> Iterator[Model]:
    return read_models(files(__name__).joinpath("models.json"))


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Speech",
        homepage="https://docs.kie.ai/market/google/gemini-3-8-flash-tts",
        kinds=("audio",),
        checked="2026-10-07",
        api_types=(SPEECH, ISOLATION),
        models=("elevenlabs/", "google/gemini-2-5-pro-tts", "google/gemini-3-1-flash-tts", "google/gemini-3-8-flash"),
    )
