"""Checks of a provider's hooks, tools and requests, each a generator of breaches. Part of `kie_ai_mcp.testing`."""

import ast
import inspect
import itertools
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from kie_ai_mcp._providers.contract import hook_faults, judge, tool_fault
from kie_ai_mcp._providers.guard import described, place_of
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import shorten
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import KIE, Provider, Query, Submission, field_of
from kie_ai_mcp.testing._calls import Calls, answer, call_text, same
from kie_ai_mcp.testing._load import Loaded, others

# The beginning of a fault of a request, and what mends it.
CURES_OF_REQUESTS = {
    "path": "Give a path below the service's base URL.",
    "body": "Give dicts, lists, text, numbers and booleans as the body.",
    "params": "Give text, numbers and booleans as the parameters.",
    "estimated_credits": "Give a number of at least 0, or leave it out where the price is not known: None is never 0.",
    "api_type": "Name the sort of task in a word; it says whose a task is.",
    "otherwise": "Give a request of the same service, or leave it out.",
    "in its otherwise": "Correct the other form of the request.",
    "read": "Give a function that takes an Answer.",
}

_OUTWARD = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system")
_watch = threading.local()


@dataclass(frozen=True)
class Breach:
    """One breach of the contract: the tool or hook, the fault, the cure for the author, a call that shows it."""

    where: str
    what: str
    cure: str
    example: str = ""

    def __str__(self) -> str:
        example = f"\n    seen with {self.example}" if self.example else ""
        return f"{self.where}: {self.what}{example}\n    {self.cure}"


def provider_loads(loaded: Loaded) -> Iterator[Breach]:
    """The server would enable it, and call all of it."""
    faults: list[Breach] = []
    if loaded.module is not None:
        faults = [*itertools.starmap(Breach, hook_faults(loaded.module))]
        yield from faults
        yield from _imports_are_public(loaded.module)
        yield from _commands_register(loaded.module)
    reason = loaded.plugin.reason
    if loaded.plugin.state != "enabled" and not faults:
        missing = re.match(r"ModuleNotFoundError: No module named '([^'.]+)", reason)
        cure = "Correct that first: nothing else of it can be checked."
        if missing:
            cure = f"Install {missing[1]}, and name what brings it among the dependencies in pyproject.toml."
        yield Breach("provider", f"the server sets it aside: {reason}", cure)


def _imports_are_public(module: ModuleType) -> Iterator[Breach]:
    """No module of the provider imports a private module of the server, not even inside a function."""
    for path in _sources(module):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if private := _private_import(node):
                where = f"{path.name}, line {node.lineno}"  # type: ignore[attr-defined]  # every import has one
                cure = "Import from kie_ai_mcp and its public modules alone; the rest changes without notice."
                yield Breach(where, f"it imports {private}, a private module of the server", cure)


def names_are_unique(loaded: Loaded) -> Iterator[Breach]:
    """No tool, api_type or gateway belongs to another installed provider."""
    taken = others(loaded.name)
    for name in loaded.plugins.gateways:
        if name in taken.gateways:
            what = "another installed provider has one of that name"
            yield Breach(f"gateway {name}", what, "Choose another name for it.")
    for name in loaded.tools:
        if name in taken.tools:
            what = f"the provider {taken.tools[name].provider} has a tool of that name"
            yield Breach(f"tool {name}", what, "Rename the function.")
    for api_type in loaded.plugin.provider.api_types:
        if owner := taken.owner_of_api_type(api_type):
            what = f"api_type {api_type!r} belongs to the provider {owner.name}"
            yield Breach("kie_describe_provider", what, "Choose another api_type; it says whose a task is.")
    for start in loaded.plugin.provider.models:
        if owner := next((plugin for plugin in taken.plugins.values() if start in plugin.provider.models), None):
            what = f"the beginning {start!r} of model ids belongs to the provider {owner.name}"
            yield Breach("kie_describe_provider", what, "Name a longer one; the longest decides whose a task is.")


def description_is_true(loaded: Loaded) -> Iterator[Breach]:
    """The description of the provider can be shown and used."""
    provider = loaded.plugin.provider
    if wrong := judge(provider, Provider):
        yield Breach("kie_describe_provider", f"it returned a Provider that can't be used: {wrong}", "Correct it.")
    if provider.checked and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", provider.checked):
        yield Breach("kie_describe_provider", f"checked is {provider.checked!r}", "Give the day as YYYY-MM-DD.")
    for key, text in provider.settings.items():
        if not text.strip():
            yield Breach("kie_describe_provider", f"the setting {key!r} is not explained", "Say what it does.")


def _commands_register(module: ModuleType) -> Iterator[Breach]:
    """The command line can be built."""
    hook = vars(module).get("kie_register_commands")
    if hook is None:
        return
    values = {"commands": click.Group("kie-ai-mcp-server")}
    try:
        hook(**{name: values[name] for name in inspect.signature(hook).parameters})
    except Exception as exc:  # noqa: BLE001  whatever it is, the command line would be without them
        what, cure = f"it raised {described(exc)}{place_of(exc)}", "Add commands with commands.add_command(...)."
        yield Breach("kie_register_commands", what, cure)


def schema_is_lean(tool: BoundTool) -> Iterator[Breach]:
    """The input schema is valid, and holds nothing that a model doesn't need."""
    schema, where = tool.arguments.schema, f"tool {tool.name}"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        cure = "Correct the annotation that makes it (json_schema_extra, Field)."
        yield Breach(where, f"its input schema is not valid (draft 2020-12): {exc.message}", cure)
        return
    if wrong := tool_fault(None, tool.arguments):
        yield Breach(where, wrong, "Name a default that a call could give, or None for an argument that is left out.")
    if schema.get("additionalProperties") is not False:
        cure = "Leave additionalProperties alone: a mistyped argument must not be bought at its default."
        yield Breach(where, "its input schema takes unknown arguments", cure)
    for path, part in schemas_in(schema, "schema"):
        types = part.get("type")
        if "null" in (types if isinstance(types, list) else [types]):
            cure = "Leave an optional value out instead; X | None is for whole arguments."
            yield Breach(where, f"{path} allows null", cure)
        if isinstance(part.get("title"), str):
            yield Breach(where, f"{path} has a title", "Remove it; the name says it.")


def requests_are_built(tool: BoundTool, calls: Calls) -> Iterator[Breach]:
    """Every argument set builds a request, or is refused by the name of an argument."""
    where = f"tool {tool.name}"
    for what, examples in calls.broken.items():
        pure = "A tool function is pure: arguments in, a request out."
        cure = "Return a Submission for what is made, a Query for a free read." if "it returned" in what else pure
        yield Breach(where, what, cure, examples[0])
    for arguments, refusal in calls.refused:
        if field_of(refusal.field) not in tool.arguments.schema["properties"]:
            what = f"its refusal names {refusal.field!r}, which is none of its arguments"
            yield Breach(where, what, "Name the argument to change.", call_text(tool, arguments))
            break
    if not calls.built and not calls.broken:
        reasons = sorted({f"{refusal.field}: {refusal.allowed}" for _, refusal in calls.refused})[:3]
        what = f"none of {len(calls.refused)} argument sets builds a request ({'; '.join(reasons)})"
        yield Breach(where, what, "Say limits in the signature, or give values={argument: [...]} that fit.")


def requests_can_be_sent(tool: BoundTool, calls: Calls, loaded: Loaded) -> Iterator[Breach]:
    """Every request has an address and a body that JSON can hold, and says what sort of task it makes."""
    expected = Submission if tool.paid else Query
    # A tool that a gateway serves for another family has that family's api_type.
    api_types = loaded.plugin.provider.api_types if tool.name in loaded.tools else ()
    for arguments, request in calls.forms():
        if not isinstance(request, expected):
            what = f"it returned a {type(request).__name__}"
            cure = f"Its annotation promises a {expected.__name__}."
        elif (fault := judge(request, expected)) is not None:
            what = fault
            cure = next((cure for start, cure in CURES_OF_REQUESTS.items() if fault.startswith(start)), "Correct it.")
        elif whole := next((path for path in request.paths if "://" in path), None):
            what = f"path is {shorten(whole)}, a whole address, which is not asked once base_url is set to another"
            cure = CURES_OF_REQUESTS["path"]
        elif request.gateway not in {KIE, *loaded.plugins.gateways}:
            what = f"its gateway {request.gateway!r} is not registered"
            cure = "Return it from kie_register_gateways, or leave gateway out for Kie.ai."
        elif isinstance(request, Submission) and api_types and request.api_type not in api_types:
            what = f"its api_type {request.api_type!r} is not declared"
            cure = "Add it to Provider.api_types, so that such a task is found again."
        else:
            continue
        yield Breach(f"tool {tool.name}", what, cure, call_text(tool, arguments))
        return


def functions_are_pure(tool: BoundTool, calls: Calls) -> Iterator[Breach]:
    """The same arguments make the same request, whatever was asked before, and nothing outside is touched."""
    where = f"tool {tool.name}"
    with _watched() as events:
        again = [(arguments, request, answer(tool, deepcopy(arguments))) for arguments, request in calls.built[::-1]]
    if events:
        cure = "Return what to ask for; core does all input and output."
        yield Breach(where, f"it reached out itself ({events[0]})", cure)
    for arguments, before, after in again:
        if not same(before, after):
            cure = "Keep no state, and take no time and no chance into a request."
            yield Breach(where, "it made another request of the same arguments", cure, call_text(tool, arguments))
            return


def schemas_in(schema: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema inside a schema; names of properties are none."""
    if isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from schemas_in(part, f"{path}[{number}]")
    if not isinstance(schema, dict):
        return
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from schemas_in(part, f"{path}.{name}")
    for key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"):
        yield from schemas_in(schema.get(key), f"{path}.{key}")


def _sources(module: ModuleType) -> list[Path]:
    if hasattr(module, "__path__"):
        return sorted(path for folder in module.__path__ for path in Path(folder).rglob("*.py"))
    file = Path(getattr(module, "__file__", None) or "")
    return [file] if file.suffix == ".py" else []


def _private_import(node: ast.AST) -> str | None:
    """Return the private module that a statement imports."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
    if isinstance(node, ast.ImportFrom):
        names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
    return next((name for name in names if name.startswith(f"{PROJECT}._")), None)


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Note every connection and every process that this thread opens meanwhile."""
    _add_audit_hook()
    _watch.events = []
    try:
        yield _watch.events
    finally:
        del _watch.events


@cache
def _add_audit_hook() -> None:
    """Watch from now on; Python has no way to take such a hook back."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _OUTWARD and hasattr(_watch, "events"):
            _watch.events.append(f"{event} {shorten(arguments, 60)}")

    sys.addaudithook(note)
