"""Arguments as hosts send them, for every provider's tool: what says nothing, and what hosts add to every call."""

from typing import Any

import pytest

from kie_ai_mcp import testing
from kie_ai_mcp._providers.arguments import HOSTS_OWN
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import Settings

TOOLS = Plugins(Settings.model_validate({})).tools.values()
NOTHINGS: tuple[Any, ...] = (None, "", [], {}, "null")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_optional_argument_may_say_nothing(tool: BoundTool) -> None:
    required = testing.Draw(tool).required()
    plain = tool.check(required, saves=True)
    optional = tool.input_schema["properties"].keys() - required.keys()
    for nothing in NOTHINGS:
        assert tool.check(required | dict.fromkeys(optional, nothing), saves=True) == plain, nothing


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_ignores_what_hosts_add(tool: BoundTool) -> None:
    required = testing.Draw(tool).required()
    added = dict.fromkeys(HOSTS_OWN - tool.input_schema["properties"].keys(), "x")
    assert tool.check(required | added, saves=True) == tool.check(required, saves=True)
