"""Ownership of the tasks that a call names: a service may take the id of anybody's."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import InvalidArgument

TASK_FIELD = re.compile("(?i).*task_?ids?").fullmatch  # names fields of models that take the id of a task


async def check_named(engine: Engine, tool: BoundTool, arguments: Mapping[str, Any]) -> None:
    """Raise InvalidArgument where a user's call names a task that is not theirs: the service might take it."""
    if not engine.record.user or engine.record.sees_all:
        return
    named = {text: name for name, text in _ids_in(arguments) if name in tool.arguments.task_ids or TASK_FIELD(name)}
    others = await engine.record.tasks.not_seen(named)
    if not engine.adopts:  # in the server's account it may be anybody's
        others |= {text for text in named if await engine.record.tasks.find(text) is None}
    for text in others:
        raise InvalidArgument(named[text], text, "no task of yours has this id")


def _ids_in(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in arguments, each with the name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _ids_in(part, key)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _ids_in(part, name)
