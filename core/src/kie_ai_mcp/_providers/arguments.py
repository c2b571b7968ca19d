"""Arguments of functions: the input schema that a signature makes, and values checked against it."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from kie_ai_mcp.errors import InvalidArgument, PluginError, shorten
from kie_ai_mcp.specs import PROMPT_CHARS, Media, is_web_address

NUMBER = re.compile(r"-?[0-9]{1,15}")

UNLISTED = {"minLength": 1, "minItems": 1, "maxLength": PROMPT_CHARS}
"""Limits that are checked but not listed: no request comes near them, and every model reads every byte."""


class Arguments:
    """The arguments of a function: its signature as a JSON schema, and values checked against it.

    Args:
        fn: A function or class whose every parameter is annotated and can be given by name.
        ignore: Parameters that the caller fills in itself.
        hints: The annotations, where they were read already.
        more_names: Further arguments that the caller of the function takes itself; listed to those who misspell one.

    Raises:
        PluginError: The signature can't be turned into a schema.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        ignore: tuple[str, ...] = (),
        hints: Mapping[str, Any] | None = None,
        more_names: tuple[str, ...] = (),
    ) -> None:
        self.name = fn.__name__
        self._more_names = more_names
        hints = hints_of(fn) if hints is None else hints
        fields: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}
        self.media: dict[str, Media] = {}
        for parameter in inspect.signature(fn).parameters.values():
            if parameter.name in ignore:
                continue
            if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                raise PluginError(f"{self.name}: parameter {parameter} can't be given by name.")
            if parameter.name not in hints:
                raise PluginError(f"{self.name}: parameter {parameter.name} has no type.")
            hint = hints[parameter.name]
            if parameter.default is parameter.empty:
                fields[parameter.name] = Required[_distinct(hint)]
            else:
                fields[parameter.name] = NotRequired[_distinct(_without_none(hint))]
                self.defaults[parameter.name] = parameter.default
            marker = _media_in(hint)
            if marker is not None:
                self.media[parameter.name] = marker
        self.names = tuple(fields)
        # Type checkers know only TypedDicts that are written out; this one is made from the signature.
        make: Any = TypedDict
        self._shape: Any = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(make(self.name, fields))

    @cached_property
    def _adapter(self) -> TypeAdapter[dict[str, Any]]:
        return TypeAdapter(self._shape)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The input schema without what a model doesn't need: titles, null alternatives, null defaults."""
        try:
            schema = _lean(self._adapter.json_schema())
        except Exception as exc:
            raise PluginError(f"{self.name}: the signature can't be made a schema: {exc}") from exc
        if not isinstance(schema, dict) or schema.get("type") != "object" or "$defs" in schema:
            raise PluginError(f"{self.name}: the signature must give a flat object schema.")
        properties = schema.setdefault("properties", {})
        for name, default in self.defaults.items():
            if default is not None:
                properties[name]["default"] = default
        return {"type": "object", **{key: value for key, value in schema.items() if key != "type"}}

    @property
    def listed(self) -> dict[str, Any]:
        """The input schema as clients read it, without `UNLISTED`."""
        listed: dict[str, Any] = _shortened(self.schema)
        return listed

    def check(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the arguments as the function takes them.

        Raises:
            InvalidArgument: An argument is missing, unknown or not allowed; the error names every such argument.
        """
        given = {
            name: self._decoded(name, value)
            for name, value in (given or {}).items()
            if not (value is None and name in self.defaults)  # some hosts send null for an argument that is left out
        }
        try:
            checked = self._adapter.validate_python(given)
        except ValidationError as exc:
            raise self._error(exc) from None
        for name in self.media:
            self._check_media(name, checked.get(name))
        for name in checked.keys() - self.defaults.keys():
            if isinstance(checked[name], str) and not _shows(checked[name]):
                raise InvalidArgument(name, checked[name], "it can't be empty")
        return dict(checked)

    def _decoded(self, name: str, value: Any) -> Any:
        # Some hosts send lists and objects as JSON text, and numbers as text.
        declared = self.schema["properties"].get(name, {}).get("type")
        if declared in {"array", "object"} and isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        if declared == "integer" and isinstance(value, str) and NUMBER.fullmatch(value):
            return int(value)
        return value

    def _check_media(self, name: str, value: str | list[str] | None) -> None:
        several = isinstance(value, list)
        for index, address in enumerate(value if isinstance(value, list) else [value]):
            if address is not None and not is_web_address(address) and not _may_be_path(address):
                raise InvalidArgument(
                    f"{name}[{index}]" if several else name,
                    address,
                    f"give an http:// or https:// address of the {self.media[name].kind}, or a path of a local file",
                )

    def _error(self, exc: ValidationError) -> InvalidArgument:
        problems = [self._problem(error) for error in exc.errors(include_url=False, include_context=True)]
        first = problems[0]
        if len(problems) > 1:
            first.message = " ".join(problem.message for problem in problems)
        return first

    def _problem(self, error: ErrorDetails) -> InvalidArgument:
        # A location inside a union also names the union's branch; only the argument and list indexes help the reader.
        name, *inner = error["loc"] or ("arguments",)
        field = str(name) + "".join(f"[{part}]" for part in inner if isinstance(part, int))
        value, context = error["input"], error.get("ctx", {})
        match error["type"]:
            case "extra_forbidden":
                return self._unknown(str(name), value)
            case "missing" if not inner:
                problem = InvalidArgument(field, None, "it is required")
                problem.message = f"{field}: this required argument is missing."
                return problem
            case "literal_error":
                allowed = f"use one of {context['expected']}"
            case "string_too_long":
                allowed = f"at most {context['max_length']} characters, {len(value)} were given"
            case "string_too_short":
                allowed = "it can't be empty"
            case "too_long":
                allowed = f"at most {context['max_length']} items, {len(value)} were given"
            case "too_short":
                allowed = f"at least {context['min_length']} items"
            case "value_error":
                allowed = f"give {context['error']}"
            case _:
                allowed = error["msg"][:1].lower() + error["msg"][1:]
        return InvalidArgument(field, value, allowed)

    def _unknown(self, name: str, value: Any) -> InvalidArgument:
        known = [*self.schema["properties"], *self._more_names]
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else "."
        problem = InvalidArgument(name, value, f"known arguments: {', '.join(known) or 'none'}")
        problem.message = (
            f"{name}: {self.name} has no such argument (given {shorten(value)}){guess} "
            f"Known arguments: {', '.join(known) or 'none'}."
        )
        return problem


def hints_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations.

    Raises:
        PluginError: An annotation can't be read.
    """
    try:
        return get_type_hints(fn, include_extras=True)
    except (NameError, TypeError, AttributeError) as exc:
        raise PluginError(f"{getattr(fn, '__name__', fn)}: its annotations can't be read: {exc}") from exc


def _media_in(hint: Any) -> Media | None:
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        return next((entry for entry in reversed(metadata) if isinstance(entry, Media)), None) or _media_in(inner)
    return next((marker for part in get_args(hint) if (marker := _media_in(part))), None)


def _without_none(hint: Any) -> Any:
    """Return an optional argument's type without None: it is left out instead."""
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        return Annotated[(_without_none(inner), *metadata)]
    parts = [part for part in get_args(hint) if part is not NoneType]
    if get_origin(hint) not in {Union, UnionType} or len(parts) == len(get_args(hint)):
        return hint
    return parts[0] if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007  the parts are only known now


def _distinct(hint: Any) -> Any:
    """Return a type that the cache of `typing` keeps apart from an equal one whose enum has another order."""
    return Annotated[hint, object()]


def _shows(text: str) -> bool:
    """Return whether a text has anything to read: invisible characters would be bought as any other prompt."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _may_be_path(value: str) -> bool:
    """Return whether a media argument may be a local path; the upload decides whether that path may be used."""
    scheme = value.split("/", 1)[0].split("\\", 1)[0]
    return bool(value.strip()) and value.isprintable() and (":" not in scheme or scheme[1:] == ":")


def _lean(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _lean(value) for name, value in value.items()} if key == "properties" else _lean(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }


def _shortened(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_shortened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _shortened(value) for key, value in schema.items() if UNLISTED.get(key) != value}
