"""JSON schemas of annotations, each made once: the tools of all providers share most of theirs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from kie_ai_mcp.errors import PluginError

# By the annotation itself and whether it is optional. Equal is not enough: an equal enum may have another order.
_seen: dict[tuple[int, bool], "tuple[Any, Annotation]"] = {}


@dataclass(frozen=True)
class Annotation:
    """What the annotation of a parameter says: its type as a field, what it is marked with, its JSON schema."""

    field: Any
    markers: tuple[Any, ...]
    schema: Mapping[str, Any]


def annotations(hints: Mapping[str, tuple[Any, bool]]) -> dict[str, Annotation]:
    """Return what annotations say, each given with whether its parameter is optional.

    Raise PluginError where they can't be made flat schemas.
    """
    keys = {name: (id(hint), is_optional) for name, (hint, is_optional) in hints.items()}
    fields: dict[str, Any] = {}
    for name, (hint, is_optional) in hints.items():
        if keys[name] not in _seen:
            fields[name] = NotRequired[_distinct(_without_none(hint))] if is_optional else Required[_distinct(hint)]
    for name, schema in _schemas_of(fields).items() if fields else ():
        hint = hints[name][0]  # it is kept, so that no other gets its id
        _seen[keys[name]] = hint, Annotation(fields[name], tuple(_markers_in(hint)), schema)
    return {name: _seen[key][1] for name, key in keys.items()}


def adapter(name: str, fields: Mapping[str, Any]) -> TypeAdapter[dict[str, Any]]:
    """Return what validates values of these fields together."""
    make: Any = TypedDict  # type checkers know only those that are written out
    return TypeAdapter(with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(make(name, fields)))


def hints_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations; raise PluginError where one can't be read."""
    try:
        return get_type_hints(fn, include_extras=True)
    except (NameError, TypeError, AttributeError) as exc:
        raise PluginError(f"{getattr(fn, '__name__', fn)}: its annotations can't be read: {exc}") from exc


def without(drops: Callable[[str, Any], bool], schema: Any) -> Any:
    """Return a schema without the entries that `drops` names, at any depth."""
    if isinstance(schema, list):
        return [without(drops, item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: without(drops, value) for key, value in schema.items() if not drops(key, value)}


def _schemas_of(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        schema = adapter("values", fields).json_schema()
    except Exception as exc:
        raise PluginError(f"the signature can't be made a schema: {exc}") from exc
    if "$defs" in schema:
        raise PluginError("the signature must give a flat object schema.")
    schemas: dict[str, dict[str, Any]] = without(_is_noise, schema["properties"])
    return schemas


def _is_noise(key: str, value: Any) -> bool:
    # An argument may be called title or default: its value is a schema, so neither text nor None.
    if key == "title":
        return isinstance(value, str)
    return (key == "default" and value is None) or (key == "additionalProperties" and value is True)


def _distinct(hint: Any) -> Any:
    """Return a type that the cache of `typing` does not take for an equal one whose enum has another order."""
    return Annotated[hint, object()]


def _markers_in(hint: Any) -> Iterator[Any]:
    """Yield what a type is annotated with, the outermost first."""
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        yield from reversed(parts[1:])
        parts = parts[:1]
    for part in parts:
        yield from _markers_in(part)


def _without_none(hint: Any) -> Any:
    """Return an optional argument's type without None: it is left out instead."""
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        return Annotated[(_without_none(inner), *metadata)]
    parts = [part for part in get_args(hint) if part is not NoneType]
    if get_origin(hint) not in {Union, UnionType} or len(parts) == len(get_args(hint)):
        return hint
    return parts[0] if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007  the parts are only known now
