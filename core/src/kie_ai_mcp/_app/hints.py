"""Hints in answers: commands of this program, written so that the reader can type them."""

from typing import Any, TypeVar

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._settings.installation import typed_command, with_commands
from kie_ai_mcp._settings.settings import APP

Value = TypeVar("Value")
# What a caller or a service has written, as lines of an answer's text and as fields of its data.
QUOTED = ("Prompt: ", "Text: ", "Data: ", "Arguments: ", "Tool: ", "Instead: ", "The service's own record: ")
QUOTED_FIELDS = {"prompt", "data", "arguments", "instead", "service_record"}


def for_user(engine: Engine, value: Value) -> Value:
    """Return text of an answer, or its data, with commands as they are typed in any folder: by the program's path.

    A server that a client starts is mostly on no shell's PATH. Users who may be on other machines can type no command
    of this one, and read its bare name. What is quoted stays as it is.
    """
    return value if engine.links is not None else _typed(value)


def _typed(value: Any) -> Any:
    if isinstance(value, str):
        return _typed_text(value) if APP in value else value
    if isinstance(value, dict):
        return {name: each if name in QUOTED_FIELDS else _typed(each) for name, each in value.items()}
    return list(map(_typed, value)) if isinstance(value, list) else value


def _typed_text(text: str) -> str:
    typed, lines = typed_command(anywhere=True), text.split("\n")
    return "\n".join(line if line.startswith(QUOTED) else with_commands(line, typed) for line in lines)
