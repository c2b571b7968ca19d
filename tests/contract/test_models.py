"""Models as data: what they name is there."""

from kie_ai_mcp import Model
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_market import kie_register_models

NOT_THERE_YET = {
    "generate_music", "extend_music", "cover_music", "separate_music", "generate_lyrics", "generate_sound",
    "generate_speech", "isolate_voice", "generate_talking_video", "lip_sync_video",
}  # fmt: skip
"""Tools that models name and that no family offers so far."""


def test_every_tool_that_a_model_names_exists() -> None:
    tools = set(Plugins(Settings.model_validate({})).tools)
    named = {model.tool for model in kie_register_models() if isinstance(model, Model) and model.tool}
    assert named - tools - NOT_THERE_YET == set()
