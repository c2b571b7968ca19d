"""The compact mode: two tools that stand for all providers' tools, for hosts where every listed tool costs context."""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._providers.tools import BoundTool

MOST_FOUND = 5

FOUND_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tools": {"type": "array"}, "next_step": {"type": "string"}},
}

# call_tool answers as the called tool does, with a task or a list, so only the object is promised.
CALLED_SCHEMA: dict[str, Any] = {"type": "object"}


def find_tools(words: Annotated[str, Field(min_length=1, max_length=200)]) -> str:
    """Find generation tools by words: a family, "video", "edit picture". Answers with their input schemas."""
    return words


def call_tool(name: str, arguments: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Call a tool that find_tools named."""
    return name, arguments or {}


def found(tools: Iterable[BoundTool], words: str, *, saves: bool) -> Answer:
    """Return the tools that fit `words` best.

    Args:
        tools: The providers' tools.
        words: What the model looks for; a word in a tool's name counts three times.
        saves: As for `BoundTool.input_schema`.
    """
    tools = list(tools)
    wanted = re.findall(r"[a-z0-9]+", words.lower())

    def fit(tool: BoundTool) -> int:
        name, text = tool.name.lower(), f"{tool.description} {tool.provider} {tool.kind}".lower()
        return sum(3 * (word in name) + (word in text) for word in wanted)

    best = sorted(filter(fit, tools), key=lambda tool: (-fit(tool), tool.name))[:MOST_FOUND]
    listed = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema(saves=saves)}
        for tool in best
    ]
    known = ", ".join(tool.name for tool in tools)
    step = "Call call_tool with a name and its arguments." if listed else f"Nothing fits. Known: {known}."
    text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in listed)
    return Answer(f"{text}\nNext: {step}".lstrip(), {"tools": listed, "next_step": step})
