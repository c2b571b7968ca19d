"""What every tool is called with: arguments that the service accepts."""

from typing import Any

from kie_ai_mcp import testing
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from tests.helpers import PICTURE

PLUGINS = Plugins(Settings.model_validate({}))
CLIP = "https://example.com/a.mp4"

# Kie.ai knows no model of these families, so they are given one that it has.
NAMED = {
    "KIE_AI_PROVIDER_DALLE3_MODEL": "google/nano-banana",
    "KIE_AI_PROVIDER_STABLE_DIFFUSION_MODEL": "google/nano-banana",
    "KIE_AI_PROVIDER_PLAYGROUND_MODEL": "google/nano-banana",
    "KIE_AI_PROVIDER_PIKA_MODEL": "kling/v2-5-turbo-text-to-video-pro",
    "KIE_AI_PROVIDER_HAIPER_MODEL": "kling/v2-5-turbo-text-to-video-pro",
}

# What the service wants beside the tool's required arguments.
BESIDES: dict[str, dict[str, Any]] = {
    "generate_kling_omni_video": {"imageUrls": [PICTURE]},
    "generate_luma_video": {"videoUrl": CLIP},
    "generate_runway_aleph_video": {"videoUrl": CLIP},
    "generate_haiper_video": {"duration": 5},
    "generate_pika_video": {"duration": 5},
}
# The tool whose finished task these go on with.
GOES_ON_WITH = {
    "extend_runway_video": "generate_runway_gen3_video",
    "extend_veo3_video": "generate_veo3_video",
    "get_veo3_1080p_video": "generate_veo3_video",
    "get_veo3_4k_video": "generate_veo3_video",
}

PROMPT = {"prompt": "a fox"}


def arguments_of(name: str) -> dict[str, Any]:
    """Return what a provider's tool is called with, without the task that it goes on with."""
    return testing.Draw(PLUGINS.tools[name]).required() | BESIDES.get(name, {})
