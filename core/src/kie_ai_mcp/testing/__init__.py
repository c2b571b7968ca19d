"""Checks and fixtures for a provider's own tests; install them with ``kie-ai-mcp-core[testing]``.

::

    from kie_ai_mcp.testing import check_provider

    def test_contract_is_kept() -> None:
        check_provider("seedream", payloads=[{"state": "success", "resultJson": "..."}])

pytest finds three fixtures by itself: `kie_gateway` plays the service (`PlayedGateway`), `kie_sandbox` is a stand-in
for all of Kie.ai, and `kie_server` (`ServeProvider`) starts the real server over stdio with one provider enabled.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from kie_ai_mcp.testing import _answers as answers
from kie_ai_mcp.testing import _checks as checks
from kie_ai_mcp.testing._calls import COUNT, Calls, argument_sets, calls_of
from kie_ai_mcp.testing._checks import Breach
from kie_ai_mcp.testing._draw import Draw, Values
from kie_ai_mcp.testing._load import Loaded, load, module_of
from kie_ai_mcp.testing._service import PlayedGateway, ServeProvider, Server, Service

__all__ = [
    "Calls",
    "Draw",
    "PlayedGateway",
    "ServeProvider",
    "Server",
    "Service",
    "argument_sets",
    "calls_of",
    "check_provider",
]


def check_provider(
    provider: str | ModuleType,
    *,
    payloads: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    values: Values | None = None,
    count: int = COUNT,
) -> None:
    """Check that a provider keeps the contract, as far as can be seen without the service.

    It loads as the server loads it; its hooks, tools and api_types have names of their own; input schemas are
    valid and lean; tool functions are pure, and every argument set that a schema allows builds a request or is
    refused by an argument's name; every task has a status route and every payload an outcome.

    Args:
        provider: The entry point's name of an installed provider, or its module.
        payloads: ``data`` of real status answers. Each is read as it is, with every value that
            a flag of the service may have, and with parts changed or missing.
        settings: The provider's section of the configuration, as ``[providers.NAME]`` would hold it.
        values: By argument name, values to choose from where a schema alone does not say enough (a pattern).
        count: How many argument sets each tool is called with, at least.

    Raises:
        AssertionError: The contract is broken; names every tool, hook and argument, and the cure.
    """
    loaded = load(provider, settings)
    module = module_of(provider)
    breaches = (
        [*checks.hooks_are_known(module), *checks.imports_are_public(module), *checks.commands_register(module)]
        if module
        else []
    )
    breaches += checks.provider_loads(loaded)
    if not breaches:
        breaches = _breaches(loaded, payloads, values, count)
    if breaches:
        raise AssertionError(_message(loaded.name, breaches))


def _breaches(loaded: Loaded, payloads: Sequence[Mapping[str, Any]], values: Values | None, count: int) -> list[Breach]:
    found = [*checks.names_are_unique(loaded), *checks.description_is_true(loaded)]
    tools = {**loaded.tools, **loaded.served}
    for tool in tools.values():
        found += checks.schema_is_lean(tool)
    if found:
        return found
    calls = {name: calls_of(tool, count, values) for name, tool in tools.items()}
    for name, tool in tools.items():
        found += checks.requests_are_built(tool, calls[name])
        found += checks.requests_can_be_sent(tool, calls[name], loaded)
        found += checks.functions_are_pure(tool, calls[name])
        found += answers.own_readings_are_total(tool, calls[name], payloads)
    tasks = answers.tasks_of(loaded, calls)
    found += answers.gateways_are_total(loaded, payloads)
    found += answers.routes_are_total(tasks, loaded)
    found += answers.outcomes_are_total(tasks, payloads, loaded)
    return found


def _message(name: str, breaches: Sequence[Breach]) -> str:
    ways = "in one way" if len(breaches) == 1 else f"in {len(breaches)} ways"
    return "\n".join([f"The provider {name} breaks the contract {ways}:", *(f"  {breach}" for breach in breaches)])
