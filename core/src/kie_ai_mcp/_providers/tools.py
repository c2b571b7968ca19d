"""Tools of providers: checked when they are loaded, listed with their input schema, called with checked arguments."""

import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from kie_ai_mcp._providers.annotations import hints_of
from kie_ai_mcp._providers.arguments import Arguments, with_defaults
from kie_ai_mcp._providers.understanding import own_name
from kie_ai_mcp._settings.folders import is_unusable_on_windows
from kie_ai_mcp._settings.load import config_file
from kie_ai_mcp.errors import ConfigError, InvalidArgument, KieError, PluginError, shorten
from kie_ai_mcp.models import Model
from kie_ai_mcp.specs import Kind, Query, Submission, Tool, field_of

NAME_LIMIT = 40
# Strict clients refuse the whole list for one name that they don't take.
NAME = re.compile(f"[a-z][a-z0-9_]{{,{NAME_LIMIT - 1}}}")
DESCRIPTION_LIMIT = 2_000

# Names below the output folder; none begins with a dot, so none leads out of it.
SUBFOLDER = re.compile(r"(?!\.)[\w .-]+(/(?!\.)[\w .-]+)*")


def _subfolder(value: str) -> str:
    if not SUBFOLDER.fullmatch(value):
        raise ValueError("names of letters, digits, space, dot, dash and underscore, joined by /")
    if names := [*filter(is_unusable_on_windows, value.split("/"))]:
        raise ValueError(f"Windows takes {names[0]!r} for no folder's name; choose another")
    return value


_Option = Annotated[str, StringConstraints(min_length=1, max_length=200)]


@dataclass(frozen=True)
class CallOptions:
    """The server's own arguments of every paid tool.

    They are the request's name, a folder below the output folder, and the credits that the request may cost.
    """

    idempotency_key: Annotated[_Option, Field(description="names the request, which is bought once")] | None = None
    subfolder: Annotated[_Option, AfterValidator(_subfolder), Field(description="of the output folder")] | None = None
    max_credits: Annotated[float, Field(ge=0, description="a call that costs more is refused")] | None = None


OPTION_NAMES = tuple(option.name for option in fields(CallOptions))
LISTED = {"idempotency_key": {"type": "string"}}  # of every paid tool; the others are understood all the same


@dataclass(frozen=True)
class BoundTool:
    """A provider's tool, ready to be listed and called."""

    name: str
    title: str
    description: str
    provider: str
    kind: Kind
    paid: bool
    fn: Callable[..., Submission | Query]
    arguments: Arguments
    charges: bool = False
    once: bool = False
    usual_s: tuple[float, float] | None = None
    model: Model | None = None  # that it is, where it is one
    usual: Mapping[str, Any] = field(default_factory=dict)  # the user's own defaults of its arguments

    @property
    def input_schema(self) -> dict[str, Any]:
        """The schema that clients read; a paid tool has the server's own arguments as well."""
        return self._with_options(self.arguments.listed)

    @property
    def exact_schema(self) -> dict[str, Any]:
        """The same with every limit that is checked, also those that are not listed."""
        return self._with_options(self.arguments.exact())

    def _with_options(self, schema: dict[str, Any]) -> dict[str, Any]:
        if self.paid:
            schema["properties"] |= LISTED
        if not self.usual:
            return schema
        options = server_options().listed["properties"] if self.paid else {}
        schema["properties"] |= {name: options[name] for name in options if name in self.usual}
        return with_defaults(schema, self.usual)

    @property
    def size(self) -> int:
        """The bytes that a client reads of it."""
        return len(f"{self.name}{self.title}{self.description}{json.dumps(self.arguments.listed)}".encode())

    def check(self, arguments: Mapping[str, Any], *, saves: bool) -> tuple[CallOptions, dict[str, Any]]:
        """Return the server's own arguments, and the provider's as its function takes them; raise InvalidArgument."""
        names = [name for name in OPTION_NAMES if name not in self.arguments.names] if self.paid else []
        arguments = own_options(arguments, names)
        own = {name: arguments[name] for name in names if name in arguments}
        own |= {name: self.usual[name] for name in names if name in self.usual and own.get(name) is None}
        usual = {name: self.usual[name] for name in self.usual if name not in names}
        options = CallOptions(**server_options().check(own)) if own else CallOptions()
        if options.subfolder is not None and not saves:
            raise InvalidArgument(
                "subfolder", options.subfolder, "nothing is saved, since KIE_AI_OUTPUT_DIR is not set"
            )
        return options, self.arguments.check({name: arguments[name] for name in arguments if name not in names}, usual)

    def name_defaults(self, error: KieError, arguments: Mapping[str, Any]) -> None:
        """Add to an error which of the values that it names are the user's own defaults."""
        faults = getattr(error, "faults", ())
        fields = {field_of(fault.field) for fault in faults}
        said = " ".join(fault.allowed for fault in faults) if faults else error.message
        # A default is to blame where it is wrong itself, or where its name or value limits another argument.
        mine = [
            name
            for name, value in self.usual.items()
            if name not in arguments
            and (name in fields or re.search(rf"(?<![\w-]){re.escape(str(value))}(?![\w-])|\b{name}\b", said))
        ]
        values = " and ".join(f"{name}={shorten(self.usual[name])}" for name in mine)
        for each in (error, *faults) if mine else ():
            each.message += f" ({values} of [tools.{self.name}] in {config_file()}.)"

    @classmethod
    def bind(cls, entry: Tool | Callable[..., Any], *, provider: str, kind: Kind, name: str = "") -> "BoundTool":
        """Return the tool that a provider registers, with `kind` where it names none; raise PluginError."""
        tool = entry if isinstance(entry, Tool) else Tool(entry)
        fn = tool.fn
        name = name or str(getattr(fn, "__name__", ""))
        if not NAME.fullmatch(name):
            raise PluginError(f"{name or fn!r}: a tool needs a name of a-z, 0-9 and _, at most {NAME_LIMIT} of them.")
        if inspect.iscoroutinefunction(fn):
            raise PluginError(f"{name}: a tool function is not async; core makes the call it describes.")
        description = describe(fn)
        if not description or len(description) > DESCRIPTION_LIMIT:
            raise PluginError(f"{name}: a tool needs a docstring of at most {DESCRIPTION_LIMIT} characters.")
        hints = hints_of(fn)
        returned = hints.get("return")
        if returned not in {Submission, Query}:
            raise PluginError(f"{name}: the return annotation must be Submission or Query, not {returned!r}.")
        paid = returned is Submission
        arguments = Arguments(fn, hints=hints, more_names=OPTION_NAMES if paid else ())
        if taken := sorted(set(OPTION_NAMES) & set(arguments.names)):
            raise PluginError(f"{name}: the argument {taken[0]} is the server's own; name it otherwise.")
        if tool.usual_s is not None and not _is_span(tool.usual_s):
            raise PluginError(f"{name}: usual_s is {shorten(tool.usual_s)}, not the least and the most seconds.")
        title, kind, once = tool.title or title_of(name), tool.kind or kind, tool.once or not paid
        charges, usual_s = tool.charges or paid, tool.usual_s
        return cls(name, title, description, provider, kind, paid, fn, arguments, charges, once, usual_s)


def check_defaults(name: str, usual: Mapping[str, Any], check: Callable[[Mapping[str, Any]], object]) -> None:
    """Raise ConfigError for the user's own defaults of a tool, where its `check`, which fills them in, refuses them."""
    wrong = "idempotency_key names one request, so it has no default." if "idempotency_key" in usual else ""
    try:
        check({})
    except InvalidArgument as exc:  # what is required is given by the call
        wrong += " ".join(fault.message for fault in exc.faults if field_of(fault.field) in usual)
    if wrong:
        cure = "Correct it there, or take it out."
        raise ConfigError(f"[tools.{name}] in {config_file()}: {wrong}", next_step=cure, where=("tools", name))


def own_options(arguments: Mapping[str, Any], names: Iterable[str] = OPTION_NAMES) -> dict[str, Any]:
    """Return arguments with the server's own under their names, also where these are written without underscores."""
    plain = {own_name(name): name for name in names}
    return {plain.get(own_name(name), name): value for name, value in arguments.items()}


def describe(fn: Callable[..., Any]) -> str:
    """Return a function's docstring as one paragraph per blank-line block."""
    blocks = inspect.cleandoc(fn.__doc__ or "").split("\n\n")
    return "\n".join(" ".join(block.split()) for block in blocks)


def title_of(name: str) -> str:
    """Return a tool's name as words for people."""
    return name.replace("_", " ").capitalize()


def tool_name(model_id: str) -> str:
    """Return a model's id as the name of a tool."""
    name = re.sub(r"[^a-z0-9]+", "_", model_id.lower()).strip("_")
    return (name if name[:1].isalpha() else f"model_{name}")[:NAME_LIMIT].rstrip("_")


def _is_span(value: object) -> bool:
    """Return whether a value is the least and the most seconds of something."""
    match value:
        case (int() | float() as least, int() | float() as most):
            return 0 < least <= most < math.inf
    return False


@cache
def server_options() -> Arguments:
    """Return the server's own arguments of every paid tool."""
    return Arguments(CallOptions, lenient=False)
