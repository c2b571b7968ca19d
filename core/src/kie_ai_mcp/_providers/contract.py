"""Checks of the values that providers return, against the annotations of the public dataclasses.

The server and the test kit share this one judgement. Annotations of a third-party plugin promise nothing, so every
field is checked, strictly: nothing is converted, and a bool is no number.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from kie_ai_mcp import hookspecs
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp.errors import guess, shorten
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import Accepted, Media, Outcome, Tool

# What a value must be, by pydantic's name of the error, where its own words are not those of authors.
FORMS = {"tuple_type": "a list (in Python, a tuple)", "dict_type": "an object (in Python, a dict)"}
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("kie_"))


def hook_faults(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the fault and the cure of each function of a module that looks like a hook and is none."""
    for name, value in vars(module).items():
        mark = getattr(value, f"{PROJECT}_impl", None) if inspect.isroutine(value) else None
        if mark is None and not (name.startswith("kie_") and callable(value)):
            continue
        hook = (mark or {}).get("specname") or name
        if hook not in HOOKS:
            yield name, "there is no such hook, so nobody would call it", nearest(hook, HOOKS)
        elif mark is None:
            yield name, "it is not marked, so nobody would call it", "Put @hookimpl above it."
        else:
            given = [*inspect.signature(getattr(hookspecs, hook)).parameters]
            needed = [each.name for each in inspect.signature(value).parameters.values() if each.default is each.empty]
            for other in (each for each in needed if each not in given):
                cure = f"Take what it is given: {', '.join(given)}." if given else "Let it take no argument."
                yield name, f"it takes {other!r}, which it is not given", cure


def tool_fault(entry: object, arguments: Arguments) -> str:
    """Return what is wrong with a tool's facts, the markers of its files and its defaults; "" where all is well."""
    if isinstance(entry, Tool) and (wrong := judge(entry, Tool)):
        return f"its Tool can't be used: {wrong}"
    for path, marker in arguments.media.items():
        if wrong := judge(marker, Media):
            return f"the Media of its argument {path} can't be used: {wrong}"
    return arguments.wrong_default()


def judge(value: object, *expected: type) -> str | None:
    """Return what is wrong with a value that should be of an `expected` class, as the end of a sentence, or None."""
    kind = next((kind for kind in expected if isinstance(value, kind)), None)
    if kind is None:
        names = " or ".join(kind.__name__ for kind in expected)
        return f"a {type(value).__name__}, not {'an' if names[0] in 'AO' else 'a'} {names}"
    fields = vars(value)
    try:
        _adapter(kind).validate_python(fields)
    except ValidationError as exc:
        return _sentence(value, exc.errors(include_url=False, include_input=False)[0])
    if (other := fields.get("otherwise")) is None:
        return None
    if wrong := judge(other, kind):
        return f"in its otherwise, {wrong}"
    is_alike = other.gateway == fields["gateway"] and other.otherwise is None
    return None if is_alike else "its otherwise is for another gateway, or has one of its own"


def judge_made(value: object) -> str | None:
    """Return what is wrong with what `Gateway.accept` or `Submission.read` returned, or None."""
    made = Accepted(value) if isinstance(value, str) else value
    if made is None or isinstance(made, Accepted | Outcome):
        return None if made is None else judge(made, Accepted, Outcome)
    kind = type(value).__name__
    form = "as text (text_in of kie_ai_mcp.readings makes it)"
    return f"it returned {shorten(value)} ({kind}), not the task's id {form}, an Accepted, an Outcome or None"


# Built at the first use of a class: an adapter costs a millisecond, which no start has to spare.
@cache
def _adapter(kind: type) -> TypeAdapter[dict[str, Any]]:
    # pydantic takes an instance of a dataclass as it is; it checks the fields only when they come as a mapping.
    make: Any = TypedDict  # type checkers know only those that are written out
    shape = make(kind.__name__, get_type_hints(kind, include_extras=True))
    # Without `revalidate_instances` the dataclasses inside would be taken as they are, and a price could be text.
    config = ConfigDict(strict=True, allow_inf_nan=False, revalidate_instances="always")
    return TypeAdapter(with_config(config)(shape))


def _sentence(value: Any, error: ErrorDetails) -> str:
    """Return what is wrong with a field, which may be that of a value inside (``price.lines[0].credits``)."""
    context, holder, place, path = error.get("ctx", {}), value, "", ""
    for key in error["loc"]:
        if is_dataclass(value):
            place = path = f"{path}.{key}".removeprefix(".")
            holder, value = value, getattr(value, str(key), None)
        elif isinstance(value, Mapping) and key in value:
            path, value = f"{path}[{key!r}]", value[key]
        elif isinstance(value, list | tuple) and isinstance(key, int):
            path, value = f"{path}[{key}]", value[key]
    name = place.rpartition(".")[2]
    # What the field must be, in the words of its annotation.
    metadata = getattr(get_type_hints(type(holder), include_extras=True)[name], "__metadata__", ())
    description = next((entry.description for entry in metadata if isinstance(entry, FieldInfo)), None)
    if error["type"] == "value_error":
        description = str(context["error"])
    said = str(error["msg"]).removeprefix("Input should be ")
    expected = description or context.get("expected") or FORMS.get(error["type"], said)
    likely = guess(getattr(holder, name, None), re.findall(r"'([^']+)'", expected))
    is_plural = name.endswith("s") and not name.endswith(("us", "ss", "_s"))
    return f"{place} {'are' if is_plural else 'is'} {shorten(getattr(holder, name, None))}, not {expected}{likely}"
