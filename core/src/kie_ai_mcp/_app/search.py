"""The compact mode: two tools that stand for all providers' tools, for hosts where every listed tool costs context."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from kie_ai_mcp._app.tools import Answer, Call, Tool, tool_of_method
from kie_ai_mcp._flow.report import LIST, TEXT, object_schema
from kie_ai_mcp._providers.tools import BoundTool

MOST_FOUND = 5
FOUND_SCHEMA = object_schema(tools=LIST, next_step=TEXT)
CALLED_SCHEMA: dict[str, Any] = {"type": "object"}  # call_tool answers as the called tool does: a task, or a list


@dataclass(frozen=True)
class SearchTools:
    """The two tools, in one call. They find among `tools` and call what `tool` returns by name."""

    tools: Sequence[BoundTool]
    tool: Callable[[str], Tool]
    saves: bool
    call: Call

    async def find_tools(self, words: Annotated[str, Field(min_length=1, max_length=200)]) -> Answer:
        """Find generation tools by words: a family, "video", "edit picture". Answers with their input schemas."""
        sought = re.findall(r"[a-z0-9]+", words.lower())

        def fit(tool: BoundTool) -> int:
            """Count the words in a tool; one in its name counts three times more."""
            name, text = tool.name.lower(), f"{tool.description} {tool.provider} {tool.kind}".lower()
            return sum(3 * (word in name) + (word in text) for word in sought)

        best = sorted(filter(fit, self.tools), key=lambda tool: (-fit(tool), tool.name))[:MOST_FOUND]
        listed = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema(saves=self.saves)}
            for tool in best
        ]
        known = ", ".join(tool.name for tool in self.tools)
        step = "Call call_tool with a name and its arguments." if listed else f"Nothing fits. Known: {known}."
        text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in listed)
        return Answer(f"{text}\nNext: {step}".lstrip(), {"tools": listed, "next_step": step})

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None) -> Answer:
        """Call a tool that find_tools named."""
        tool = self.tool(name)
        return tool.for_client(await tool.run(arguments or {}, self.call))


def search_tools(owner: Callable[[Call], SearchTools]) -> Iterable[Tool]:
    """Yield the two tools."""
    yield tool_of_method(SearchTools.find_tools, owner, FOUND_SCHEMA, reads_only=True)
    yield tool_of_method(SearchTools.call_tool, owner, CALLED_SCHEMA, reads_only=False, open_world=True)
