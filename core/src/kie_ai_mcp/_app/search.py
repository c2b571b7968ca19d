"""The compact mode: two tools stand for all providers' tools, for hosts where every listed tool costs context."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp._providers.tools import BoundTool

MOST_FOUND = 5

FOUND_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tools": {"type": "array"}, "next_step": {"type": "string"}},
}


def find_tools(words: Annotated[str, Field(min_length=1, max_length=200)]) -> str:
    """Find generation tools by words: a family, "video", "edit picture". Answers with their input schemas."""
    return words


def call_tool(name: str, arguments: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Call a tool that find_tools named."""
    return name, arguments or {}


def found(tools: Mapping[str, BoundTool], words: str, *, saves: bool) -> tuple[dict[str, Any], str]:
    """Return the tools that fit `words` best, as data and as words.

    Args:
        tools: The providers' tools by name.
        words: What the model looks for; a word in a tool's name counts three times.
        saves: As for `BoundTool.input_schema`.
    """
    wanted = re.findall(r"[a-z0-9]+", words.lower())

    def fit(tool: BoundTool) -> int:
        name, text = tool.name.lower(), f"{tool.description} {tool.provider} {tool.kind}".lower()
        return sum(3 * (word in name) + (word in text) for word in wanted)

    best = sorted(filter(fit, tools.values()), key=lambda tool: (-fit(tool), tool.name))[:MOST_FOUND]
    listed = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema(saves=saves)}
        for tool in best
    ]
    step = "Call call_tool with a name and its arguments." if listed else f"Nothing fits. Known: {', '.join(tools)}."
    text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in listed)
    return {"tools": listed, "next_step": step}, f"{text}\nNext: {step}".lstrip()
