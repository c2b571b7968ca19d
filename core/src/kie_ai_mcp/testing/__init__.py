"""Checks and fixtures for a provider's own tests; install them with ``kie-ai-mcp-core[testing]``.

::

    from kie_ai_mcp.testing import check_provider

    def test_contract_is_kept() -> None:
        check_provider("seedream", payloads=[{"state": "success", "resultJson": "..."}])

pytest finds three fixtures by itself: `kie_gateway` plays the service (`PlayedGateway`), `kie_sandbox` is a stand-in
for all of Kie.ai, and `kie_server` (`ServeProvider`) starts the real server over stdio with one provider enabled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from kie_ai_mcp.errors import shorten
from kie_ai_mcp.testing import _answers as answers
from kie_ai_mcp.testing import _checks as checks
from kie_ai_mcp.testing._calls import COUNT, Calls, argument_sets, calls_of
from kie_ai_mcp.testing._checks import Breach
from kie_ai_mcp.testing._draw import Draw, Values
from kie_ai_mcp.testing._first_call import arguments_are_accepted, refusals_are_cured
from kie_ai_mcp.testing._load import Loaded, load
from kie_ai_mcp.testing._models import Sample, breaking_input, models_can_be_used, smallest_input
from kie_ai_mcp.testing._service import PlayedGateway, ServeProvider, Server, Service

__all__ = [
    "Calls",
    "Draw",
    "PlayedGateway",
    "Sample",
    "ServeProvider",
    "Server",
    "Service",
    "argument_sets",
    "breaking_input",
    "calls_of",
    "check_provider",
    "smallest_input",
]


def check_provider(
    provider: str | ModuleType,
    *,
    payloads: Sequence[Mapping[str, Any]] = (),
    accepted: Sequence[Any] = (),
    settings: Mapping[str, Any] | None = None,
    values: Values | None = None,
    count: int = COUNT,
) -> None:
    """Check that a provider keeps the contract, as far as can be seen without the service.

    It loads as the server loads it; its hooks, tools and api_types have names of their own; input schemas are
    valid and lean; tool functions are pure, and every argument set that a schema allows builds a request or is
    refused by an argument's name; every task has a status route and every payload an outcome. Every model known as
    data has a schema, rules, files and prices that belong together; each rule can be broken alone. Each listed argument
    is accepted in some call; nearly every refusal is cured by one call near by, and what its words tell to give
    (``model='pro'``) is accepted.

    Args:
        provider: The entry point's name of an installed provider, or its module.
        payloads: ``data`` of real status answers. Each is read as it is, with every value that
            a flag of the service may have, and with parts changed or missing.
        accepted: Whole bodies of real answers to a request, any JSON, of a service other than Kie.ai. In each the task
            must be found, and nothing may be raised where its id is a number or is missing.
        settings: The provider's section of the configuration, as ``[providers.NAME]`` would hold it.
        values: By argument name, values to choose from where a schema alone does not say enough (a pattern).
        count: How many argument sets each tool is called with, at least.

    Raises:
        AssertionError: The contract is broken; names every tool, hook and argument, and the cure.
    """
    for number, payload in enumerate(payloads):
        if not isinstance(payload, Mapping):
            raise AssertionError(
                f"payloads[{number}] is {shorten(payload)}, not an object: give the `data` of an answer."
            )
    loaded = replace(load(provider, settings), accepted=accepted)
    breaches = list(checks.provider_loads(loaded)) or _breaches(loaded, payloads, values, count)
    if breaches:
        ways = "in one way" if len(breaches) == 1 else f"in {len(breaches)} ways"
        lines = [f"The provider {loaded.name} breaks the contract {ways}:", *(f"  {breach}" for breach in breaches)]
        raise AssertionError("\n".join(lines))


def _breaches(loaded: Loaded, payloads: Sequence[Mapping[str, Any]], values: Values | None, count: int) -> list[Breach]:
    breaches = [*checks.names_are_unique(loaded), *checks.description_is_true(loaded), *models_can_be_used(loaded)]
    for tool in loaded.all_tools.values():
        breaches += checks.schema_is_lean(tool)
    if breaches:
        return breaches
    calls = {name: calls_of(tool, count, values) for name, tool in loaded.all_tools.items()}
    for name, tool in loaded.all_tools.items():
        breaches += checks.requests_are_built(tool, calls[name])
        breaches += checks.requests_can_be_sent(tool, calls[name], loaded)
        breaches += checks.functions_are_pure(tool, calls[name])
        breaches += [*arguments_are_accepted(tool, calls[name]), *refusals_are_cured(tool, calls[name], loaded)]
        breaches += answers.own_readings_are_total(tool, calls[name], payloads)
    tasks = answers.tasks_of(loaded, calls)
    gateways = [*answers.gateways_are_total(loaded, payloads)]
    breaches += gateways or answers.tasks_are_found(loaded, calls, payloads)
    breaches += answers.gateways_have_a_route(tasks, payloads, loaded)
    breaches += answers.routes_are_total(tasks, loaded)
    breaches += answers.outcomes_are_total(tasks, payloads, loaded)
    return breaches
