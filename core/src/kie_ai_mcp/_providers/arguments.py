"""Arguments of functions: the input schema that a signature makes, and values checked against it."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import suppress
from difflib import get_close_matches
from itertools import compress
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints
from unicodedata import category

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from kie_ai_mcp.errors import InvalidArgument, PluginError, shorten
from kie_ai_mcp.specs import CALLBACK, PROMPT_CHARS, TASK_ID, Media, field_of, is_web_address, texts_at

Names = tuple[str, ...]
INPUT = re.compile(r"file:|kie:|[a-z][a-z0-9-]*:[\w-]+$", re.IGNORECASE)  # the last is a task of another service
PROMPTS = ("prompt", "negative_prompt", "shots")  # arguments that hold words of the user's
NUMBER = re.compile(r"-?[0-9]{1,15}")
NOTHING = ("null", "None", "undefined")  # texts that hosts and models send for an argument they leave out

# Arguments that hosts add to any call: n8n (the first five), Cline, Gemini, Cursor, LangChain. Ignored where a tool has
# none of that name; any other unknown argument is refused, for it may be a misspelt one.
HOSTS_OWN = frozenset(
    ("toolCallId", "sessionId", "action", "chatInput", "tool", "task_progress", "wait_for_previous", "random_string")
) | {"_meta"}

# Limits that are checked but not listed: no request comes near them, and every model reads every byte.
UNLISTED = {"minLength": 1, "minItems": 1, "maxLength": PROMPT_CHARS}

TYPES: dict[Any, type] = {"string": str, "array": list, "object": dict, "integer": int, "number": int, "boolean": bool}
LIMITS_OF_EMPTY = {"enum", "const", "minLength", "minItems", "minProperties", "pattern", "format", "required"}

# What is allowed, by pydantic's name of the error; its own sentence serves for any other.
LIMITS = {
    "literal_error": "use one of {expected}",
    "string_too_long": "at most {max_length} characters, {length} were given",
    "string_too_short": "it can't be empty",
    "too_long": "at most {max_length} items, {length} were given",
    "too_short": "at least {min_length} items",
    "value_error": "give {error}",
}


class Arguments:
    """The arguments of a function or class: its signature as a JSON schema, and values checked against it.

    Parameters to `ignore` are filled in by the caller, who also takes arguments of `more_names`, which are listed to
    those who misspell one. `hints` are the annotations, where they were read already.
    """

    def __init__(
        self, fn: Callable[..., Any], *, ignore: Names = (), hints: dict[str, Any] | None = None, more_names: Names = ()
    ) -> None:
        self.name = fn.__name__
        self._more_names = more_names
        self.defaults: dict[str, Any] = {}
        self.media: dict[str, Media] = {}
        self.task_ids: Names = ()
        self.callbacks: Names = ()
        fields: dict[str, Any] = {}
        hints = hints_of(fn) if hints is None else hints
        for name, parameter in inspect.signature(fn).parameters.items():
            if name in ignore:
                continue
            if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                raise PluginError(f"{self.name}: parameter {parameter} can't be given by name.")
            if name not in hints:
                raise PluginError(f"{self.name}: parameter {name} has no type.")
            hint = hints[name]
            if parameter.default is parameter.empty:
                fields[name] = Required[_distinct(hint)]
            else:
                fields[name] = NotRequired[_distinct(_without_none(hint))]
                self.defaults[name] = parameter.default
            markers = tuple(_markers_in(hint))
            if marker := next((marker for marker in markers if isinstance(marker, Media)), None):
                self.media[name] = marker
            if TASK_ID in markers:
                self.task_ids += (name,)
            if CALLBACK in markers or name == "callBackUrl":
                self.callbacks += (name,)
        self.names = tuple(fields)
        self.prompts = PROMPTS
        make: Any = TypedDict  # type checkers know only those that are written out
        shape = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(make(self.name, fields))
        try:
            self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(shape)
            schema: dict[str, Any] = _without(_is_noise, self._adapter.json_schema())
        except Exception as exc:
            raise PluginError(f"{self.name}: the signature can't be made a schema: {exc}") from exc
        if schema.get("type") != "object" or "$defs" in schema:
            raise PluginError(f"{self.name}: the signature must give a flat object schema.")
        properties = schema.setdefault("properties", {})
        for name, default in self.defaults.items():
            if default is not None:
                properties[name]["default"] = default
        self.schema = {"type": "object"} | schema

    @property
    def listed(self) -> dict[str, Any]:
        """A new copy of the input schema as clients read it, without `UNLISTED`."""
        listed: dict[str, Any] = _without(lambda key, value: UNLISTED.get(key) == value, self.schema)
        return listed

    def check(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the arguments as the function takes them, or raise one InvalidArgument that names every wrong one."""
        decoded = {
            name: self._decoded(name, value)
            for name, value in (given or {}).items()
            if name in self.names or name not in HOSTS_OWN
        }
        try:
            checked = self._adapter.validate_python(leave_out_empty(decoded, self.schema))
        except ValidationError as exc:
            raise InvalidArgument.joined([self._problem(error) for error in exc.errors(include_url=False)]) from None
        if faults := [*wrong_addresses(checked, self.media)]:
            raise InvalidArgument.joined(faults)
        for name in checked.keys() - self.defaults.keys():
            text = checked[name]
            # Invisible characters would be bought as any other prompt.
            if isinstance(text, str) and not any(char.isprintable() and not char.isspace() for char in text):
                raise InvalidArgument(name, text, "it can't be empty")
        return dict(checked)

    def _decoded(self, name: str, value: Any) -> Any:
        # Some hosts send lists and objects as JSON text, and numbers as text.
        declared = self.schema["properties"].get(name, {}).get("type") if isinstance(value, str) else None
        if declared in {"array", "object"} and value.lstrip().startswith(("[", "{")):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        elif declared == "integer" and NUMBER.fullmatch(value):
            return int(value)
        if name in self.media and isinstance(value, list):
            return [address for address in value if not _says_nothing(address, {})]
        return value

    def _problem(self, error: ErrorDetails) -> InvalidArgument:
        # A location inside a union also names the union's branch; only the argument and list indexes help the reader.
        name, *inner = error["loc"] or ("arguments",)
        field = str(name) + "".join(f"[{part}]" for part in inner if isinstance(part, int))
        value = error["input"]
        if error["type"] == "extra_forbidden":
            return self._unknown(str(name), value)
        if error["type"] == "missing" and not inner:
            return InvalidArgument(
                field, None, "it is required", message=f"{field}: this required argument is missing."
            )
        if limit := LIMITS.get(error["type"]):
            length = len(value) if isinstance(value, Sized) else 0
            return InvalidArgument(field, value, limit.format(**error.get("ctx", {}), length=length))
        return InvalidArgument(field, value, error["msg"][:1].lower() + error["msg"][1:])

    def _unknown(self, name: str, value: Any) -> InvalidArgument:
        names = [*self.schema["properties"], *self._more_names]
        listing = ", ".join(names) or "none"
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else "."
        reason = f"{name}: {self.name} has no such argument (given {shorten(value)})"
        message = f"{reason}{guess} Known arguments: {listing}."
        return InvalidArgument(name, value, f"known arguments: {listing}", message=message)


def wrong_addresses(arguments: Mapping[str, Any], media: Mapping[str, Media]) -> Iterator[InvalidArgument]:
    """Yield a fault for each text at a media path that is neither an address nor may name a file."""
    for path, marker in media.items():
        is_given = field_of(path) in arguments
        for place, holder, key in texts_at(path, arguments) if is_given else ():
            address = holder[key]
            may_be_file = marker.kinds != ("link",) and _may_be_input(address)
            if not (is_web_address(address, marker.schemes) or may_be_file):
                local = ", or a path of a local file" if marker.kinds != ("link",) else ""
                allowed = f"give an http:// or https:// address of the {' or '.join(marker.kinds)}{local}"
                yield InvalidArgument(place, address, allowed)


def hints_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations; raise PluginError where one can't be read."""
    try:
        return get_type_hints(fn, include_extras=True)
    except (NameError, TypeError, AttributeError) as exc:
        raise PluginError(f"{getattr(fn, '__name__', fn)}: its annotations can't be read: {exc}") from exc


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


def leave_out_empty(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value without those of its parts that are optional and say nothing."""
    if isinstance(value, dict) and "properties" in schema:
        inner, required = schema["properties"], schema.get("required", ())
        parts = {name: leave_out_empty(part, inner.get(name, {})) for name, part in value.items()}
        empty = {name for name in inner.keys() & parts.keys() if _says_nothing(parts[name], inner[name])}
        return {name: part for name, part in parts.items() if name in required or name not in empty}
    if isinstance(value, list) and "items" in schema:
        items = schema["items"] | {"default": None}  # leaving out an item that the type allows would move the others
        is_item = (isinstance(part, list | dict) or not _says_nothing(part, items) for part in value)
        return [leave_out_empty(part, items) for part in compress(value, is_item)]
    return value


def _says_nothing(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value stands for one that is left out: it is empty, or a word for nothing.

    An enum may name such a value as one of its own. An empty one that the type allows counts where there is a default,
    since leaving it out would mean that.
    """
    if value is not None and value in (schema.get("enum") or [schema.get("const")]):
        return False
    is_empty = not value.strip() if isinstance(value, str) else value in ([], {})
    is_allowed = isinstance(value, TYPES.get(schema.get("type"), object)) and not LIMITS_OF_EMPTY & schema.keys()
    if is_empty and is_allowed and "default" in schema:
        return False
    return is_empty or value is None or (isinstance(value, str) and value.strip() in NOTHING)


def _distinct(hint: Any) -> Any:
    """Return a type that the cache of `typing` does not take for an equal one whose enum has another order."""
    return Annotated[hint, object()]


def _may_be_input(value: str) -> bool:
    """Return whether a media argument may be a path, data or an earlier result; the upload decides whether it is."""
    bare = value.strip().strip("\"'`")
    if bare[:5].lower() == "data:":
        return True
    scheme = bare.split("/", 1)[0].split("\\", 1)[0]
    is_text = bool(bare) and not any(category(char) in {"Cc", "Cs"} for char in value)
    return is_text and (":" not in scheme or scheme[1:] == ":" or INPUT.match(bare) is not None)


def _without(drops: Callable[[str, Any], bool], schema: Any) -> Any:
    """Return a schema without the entries that `drops` names, at any depth."""
    if isinstance(schema, list):
        return [_without(drops, item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without(drops, value) for key, value in schema.items() if not drops(key, value)}


def _is_noise(key: str, value: Any) -> bool:
    # An argument may be called title or default: its value is a schema, so neither text nor None.
    if key == "title":
        return isinstance(value, str)
    return (key == "default" and value is None) or (key == "additionalProperties" and value is True)
