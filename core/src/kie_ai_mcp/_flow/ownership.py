"""Tasks that a call names: by the beginnings of their ids, and whose they are, for a service takes anybody's."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.tasks import beginning_fault, begun_with
from kie_ai_mcp.errors import InvalidArgument, KieError

TASK_FIELD = re.compile("(?i).*task_?ids?").fullmatch  # names fields of models that take the id of a task


async def whole_id(record: Record, start: str, field: str = "task_id") -> str:
    """Return the id of the one task whose id begins so, else the text; raise InvalidArgument where there are more."""
    try:
        ids = await begun_with(record.tasks, start)
    except KieError:  # what is asked of the task says so as well, and what else is asked goes on
        return start
    if len(ids) > 1:
        raise beginning_fault(field, start, ids)
    return ids[0] if ids else start


async def check_named(engine: Engine, tool: BoundTool, arguments: Mapping[str, Any]) -> None:
    """Raise InvalidArgument where a call names a task by the beginning of its id, or a user's one that is not theirs.

    The service might take either.
    """
    named = {text: name for name, text in _ids_in(arguments) if name in tool.arguments.task_ids or TASK_FIELD(name)}
    for text, name in named.items():
        if ids := await begun_with(engine.record.tasks, text):
            raise beginning_fault(name, text, ids)
    if not engine.record.user or engine.record.sees_all:
        return
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
