"""Models as data: what they name is there."""

from kie_ai_mcp import Model
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_market import kie_register_models


def test_every_tool_that_a_model_names_exists() -> None:
    tools = set(Plugins(Settings.model_validate({})).tools)
    named = {model.tool for model in kie_register_models() if isinstance(model, Model) and model.tool}
    assert named - tools == set()
