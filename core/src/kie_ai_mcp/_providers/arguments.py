"""Arguments of functions: the input schema that a signature makes, and values checked against it."""

import inspect
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sized
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from itertools import compress
from typing import Any
from unicodedata import category

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kie_ai_mcp._providers.annotations import adapter, annotations, hints_of, without
from kie_ai_mcp._providers.understanding import NOTHING, TIMES, Understood, seconds_in, understood
from kie_ai_mcp._settings.amounts import what_it_takes
from kie_ai_mcp.errors import InvalidArgument, PluginError, guess, shorten
from kie_ai_mcp.specs import CALLBACK, PROMPT_CHARS, TASK_ID, Media, field_of, is_web_address, texts_at

Names = tuple[str, ...]
INPUT = re.compile(r"file:|kie:|[a-z][a-z0-9-]*:[\w-]+$", re.IGNORECASE)  # the last is a task of another service
CHOICES = ("enum", "const", "format")  # a text with one of these is no free text
IDS = re.compile(r"_ids?(\[\])?$|Ids?$|Url$")  # of arguments that name a thing at the service
NUMBER = re.compile(r"-?[0-9]{1,15}")
NOTHING_USUAL: Mapping[str, Any] = {}

# Arguments that hosts add to any call: n8n (the first five), Cline, Gemini, Cursor, LangChain. Ignored where a tool has
# none of that name; any other unknown argument is refused, for it may be a misspelt one.
HOSTS_OWN = frozenset(
    ("toolCallId", "sessionId", "action", "chatInput", "tool", "task_progress", "wait_for_previous", "random_string")
) | {"_meta"}

# Limits that are checked but not listed: no request comes near them, and every model reads every byte.
LEAST = {"minLength": 1, "minItems": 1}
UNLISTED = {**LEAST, "maxLength": PROMPT_CHARS}

TYPES: dict[Any, type] = {"string": str, "array": list, "object": dict, "integer": int, "number": int, "boolean": bool}
LIMITS_OF_EMPTY = {"enum", "const", "minLength", "minItems", "minProperties", "pattern", "format", "required"}

# What is allowed, by pydantic's name of the error; its own sentence serves for any other.
LIMITS = {
    "literal_error": "use one of {expected}",
    "string_too_long": "at most {max_length} characters, {length} were given",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} items, {length} were given",
    "too_short": "at least {min_length} items",
    "value_error": "give {error}",
}


class Arguments:
    """The arguments of a function or class: its signature as a JSON schema, and values checked against it.

    Parameters to `ignore` are filled in by the caller, who also takes arguments of `more_names`, which are listed to
    those who misspell one. `hints` are the annotations, where they were read already. Only a `lenient` one understands
    other names and spellings.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        ignore: Names = (),
        hints: dict[str, Any] | None = None,
        more_names: Names = (),
        lenient: bool = True,
    ) -> None:
        self.name = fn.__name__
        self._more_names, self._lenient = more_names, lenient
        self.defaults: dict[str, Any] = {}
        self.media: dict[str, Media] = {}
        self.task_ids: Names = ()
        self.callbacks: Names = ()
        hints = hints_of(fn) if hints is None else hints
        parameters = {name: given for name, given in inspect.signature(fn).parameters.items() if name not in ignore}
        for name, parameter in parameters.items():
            if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                raise PluginError(f"{self.name}: parameter {parameter} can't be given by name.")
            if name not in hints:
                raise PluginError(f"{self.name}: parameter {name} has no type.")
            if parameter.default is not parameter.empty:
                self.defaults[name] = parameter.default
        try:
            found = annotations({name: (hints[name], name in self.defaults) for name in parameters})
        except PluginError as exc:
            raise PluginError(f"{self.name}: {exc.message}") from exc
        self._fields = {name: said.field for name, said in found.items()}
        properties = {name: dict(said.schema) for name, said in found.items()}
        for name, said in found.items():
            if self.defaults.get(name) is not None:
                properties[name]["default"] = self.defaults[name]
            for marker in said.markers:
                if isinstance(marker, Media):
                    self.media.setdefault(name + marker.at, marker)
            if TASK_ID in said.markers:
                self.task_ids += (name,)
            if CALLBACK in said.markers or name == "callBackUrl":
                self.callbacks += (name,)
        self.names = tuple(properties)
        self.schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
        if required := [name for name in properties if name not in self.defaults]:
            self.schema["required"] = required

    @cached_property
    def _adapter(self) -> TypeAdapter[dict[str, Any]]:
        # Made at the first call: for a listing, which every start needs, the schemas are enough.
        return adapter(self.name, self._fields)

    @property
    def listed(self) -> dict[str, Any]:
        """A new copy of the input schema as clients read it, without `UNLISTED` and arguments called deprecated."""
        return with_bounds(self.exact(UNLISTED))

    def exact(self, unlisted: Mapping[str, Any] = LEAST) -> dict[str, Any]:
        """Return a new copy of the input schema with choices among numbers, without what is deprecated or unlisted."""
        listed: dict[str, Any] = without(lambda key, value: unlisted.get(key) == value, self.schema)
        fields = listed["properties"]
        listed["properties"] = {name: fields[name] for name in fields if not fields[name].get("deprecated")}
        return listed

    def check(self, given: Mapping[str, Any] | None, usual: Mapping[str, Any] = NOTHING_USUAL) -> dict[str, Any]:
        """Return the arguments as the function takes them, or raise one InvalidArgument that names every wrong one.

        `usual` are the user's own defaults, for those that are left out.
        """
        arguments, _, left_out = self.understood(given)
        decoded = {name: self._decoded(name, value) for name, value in arguments.items()}
        if usual:
            # What the call leaves to the service is left out although the user has a default for it.
            own = {name: self._decoded(name, value) for name, value in usual.items() if name not in left_out}
            decoded = own | leave_out_empty(decoded, with_defaults(self.schema, usual))
        try:
            checked = self._adapter.validate_python(leave_out_empty(decoded, self.schema))
        except ValidationError as exc:
            raise InvalidArgument.joined([self._problem(error) for error in exc.errors(include_url=False)]) from None
        if faults := [*wrong_addresses(checked, self.media)]:
            raise InvalidArgument.joined(faults)
        for name in checked.keys() - self.defaults.keys():
            if is_blank(checked[name]):
                raise InvalidArgument(name, checked[name], "it can't be empty")
        return dict(checked)

    def wrong_default(self) -> str:
        """Return which default the signature would refuse if a call gave it, and what is taken; "" where there is none.

        No call checks a default: it reaches the service as it is. An empty one stands for an argument that is left
        out, unless the argument is a choice.
        """
        fields = self.schema["properties"]
        defaults = {
            name: value
            for name, value in self.defaults.items()
            if value is not None and (value or isinstance(value, int | float) or "enum" in fields[name])
        }
        faults = list[InvalidArgument]()
        try:
            read = adapter(self.name, {name: self._fields[name] for name in defaults}).validate_python(defaults)
        except ValidationError as exc:
            faults += [self._problem(error) for error in exc.errors(include_url=False)]
        else:
            # A call's '5' is read as 5; a default stays text.
            others = {name: value for name, value in read.items() if not _is_alike(defaults[name], value)}
            faults += [InvalidArgument(name, defaults[name], f"write {value!r}") for name, value in others.items()]
            faults += wrong_addresses(defaults, {path: replace(each, kind="link") for path, each in self.media.items()})
        if not faults:
            return ""
        name = field_of(faults[0].field)
        likely = guess(defaults[name], fields[name].get("enum", ()))
        said = f"its argument {name} has the default {shorten(defaults[name])}, which it does not take"
        return f"{said}: {faults[0].allowed.removesuffix(' of the link')}{likely}"

    def understood(self, given: Mapping[str, Any] | None) -> Understood:
        """Return what arguments mean to the function."""
        own = {name: value for name, value in (given or {}).items() if name in self.names or name not in HOSTS_OWN}
        return understood(own, self.schema, self.media) if self._lenient else Understood(own)

    def _decoded(self, name: str, value: Any) -> Any:
        # Some hosts send lists and objects as JSON text, and numbers as text.
        declared = self.schema["properties"].get(name, {}).get("type") if isinstance(value, str | bool) else None
        if isinstance(value, str) and declared in {"array", "object"} and value.lstrip().startswith(("[", "{")):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        elif isinstance(value, bool) and declared in {"integer", "number"}:
            return str(value)  # it is no number, though Python counts with it
        elif declared == "integer" and NUMBER.fullmatch(value):
            return int(value)
        if declared is None and isinstance(value, list):
            value = [_with_numbers(item, self.schema["properties"].get(name, {}).get("items", {})) for item in value]
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
            if error["type"] == "string_too_short" and not str(value).strip():
                limit = "it can't be empty"
            return InvalidArgument(field, value, limit.format(**error.get("ctx", {}), length=length))
        if words := what_it_takes(error["type"], error.get("ctx", {})):
            unit = " of seconds" if words.endswith("number") and TIMES.search(field_of(field)) else ""
            return InvalidArgument(field, value, f"give {words}{unit}")
        return InvalidArgument(field, value, error["msg"][:1].lower() + error["msg"][1:])

    def _unknown(self, name: str, value: Any) -> InvalidArgument:
        names = [*self.schema["properties"], *self._more_names]
        listing = ", ".join(names) or "none"
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else "."
        reason = f"{name}: {self.name} has no such argument (given {shorten(value)})"
        message = f"{reason}{guess} Known arguments: {listing}."
        return InvalidArgument(name, value, f"known arguments: {listing}", message=message)


def _is_alike(value: Any, read: Any) -> bool:
    """Return whether a value is a number, or true or false, where what was read of it is one."""
    is_number = isinstance(read, int | float)
    return not is_number or (isinstance(value, int | float) and isinstance(value, bool) == isinstance(read, bool))


def with_defaults(schema: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of arguments with the user's own defaults of some of them, which are then not required."""
    fields = schema["properties"]
    own = {name: {**fields[name], "default": value} for name, value in usual.items() if name in fields}
    required = [name for name in schema.get("required", ()) if name not in own]
    rest = {word: value for word, value in schema.items() if word != "required"}
    return {**rest, "properties": {**fields, **own}, **({"required": required} if required else {})}


def _with_numbers(item: Any, schema: Any) -> Any:
    """Return an item of a list with numbers where it holds them as text."""
    fields = schema.get("properties", {}) if isinstance(schema, Mapping) and isinstance(item, dict) else {}
    return {name: _as_number(name, value, fields.get(name, {})) for name, value in item.items()} if fields else item


def _as_number(name: str, value: Any, field: Mapping[str, Any]) -> Any:
    kind = field.get("type") if isinstance(value, str) else None
    if kind == "integer" and NUMBER.fullmatch(value):
        return int(value)
    seconds = seconds_in(value) if kind in ("integer", "number") and TIMES.search(name) else None
    return value if seconds is None else seconds


def with_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of an object with bounds and words in place of choices among numbers.

    Some clients refuse the whole list of tools for an enum of numbers.
    """
    for name, field in schema["properties"].items():
        values = field.get("enum", ()) if field.get("type") in ("integer", "number") else ()
        if values:
            *most, last = map(str, values)
            words = f"{', '.join(most)} or {last}" if most else last
            other = {key: value for key, value in field.items() if key != "enum"}
            said = f"{field['description']}; {words}" if "description" in field else words
            schema["properties"][name] = {**other, "minimum": min(values), "maximum": max(values), "description": said}
    return schema


def is_blank(value: Any) -> bool:
    """Return whether a value is a text that shows nothing; invisible characters would be bought as any other prompt."""
    return isinstance(value, str) and not any(char.isprintable() and not char.isspace() for char in value)


def without_words(value: Any, schema: Any, media: Container[str], marked: str, path: str = "") -> Any:
    """Return arguments with a mark for each free text in them; files, ids and choices stay as they are."""
    schema = schema if isinstance(schema, Mapping) else {}  # it may be true or false
    if isinstance(value, dict):
        fields, begin = schema.get("properties", {}), f"{path}." if path else ""
        return {
            name: without_words(part, fields.get(name, {}), media, marked, f"{begin}{name}")
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [without_words(part, schema.get("items", {}), media, marked, f"{path}[]") for part in value]
    is_kept = path in media or IDS.search(path) or any(word in schema for word in CHOICES)
    return marked if isinstance(value, str) and not is_kept and value not in schema.get("examples", ()) else value


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


def _may_be_input(value: str) -> bool:
    """Return whether a media argument may be a path, data or an earlier result; the upload decides whether it is."""
    bare = value.strip().strip("\"'`")
    if bare[:5].lower() == "data:":
        return True
    scheme = bare.split("/", 1)[0].split("\\", 1)[0]
    is_text = bool(bare) and not any(category(char) in {"Cc", "Cs"} for char in value)
    return is_text and (":" not in scheme or scheme[1:] == ":" or INPUT.match(bare) is not None)
