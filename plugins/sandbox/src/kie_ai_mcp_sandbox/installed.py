"""Models of installed providers: those that they register, and ids that they claim, so that each can be tried."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from kie_ai_mcp import Model, Provider
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import KIE, MARKET_CREATE, Kind
from kie_ai_mcp_sandbox.catalogue import MODELS

MARKET = "market"
"""The provider of every model; one that a family registers, too, is the family's."""


@cache
def models() -> Mapping[str, Model]:
    """Return every model of today that an installed provider registers, and those of the sandbox's own catalogue."""
    found = dict(MODELS)
    for plugin in _plugins():
        for model in _answer(plugin, "kie_register_models") or ():
            if isinstance(model, Model) and (model.gateway, model.availability) == (KIE, "current"):
                found[model.id] = model
    return found


def is_market(model: Model) -> bool:
    """Return whether a model is bought at jobs/createTask."""
    return model.wrapped and model.path in {MARKET_CREATE, MARKET_CREATE[0]}


def kind_of(model_id: str) -> Kind | None:
    """Return what the provider makes that a model id belongs to; None where no installed provider claims it."""
    claims = [(start, kind) for start, kind in _claims() if model_id.startswith(start)]
    return max(claims, default=("", None), key=lambda claim: len(claim[0]))[1]


@cache
def _claims() -> list[tuple[str, Kind]]:
    """Return the beginnings of model ids that installed providers claim, each with what they make."""
    claims: list[tuple[str, Kind]] = []
    for plugin in _plugins():
        provider = _answer(plugin, "kie_describe_provider")
        if isinstance(provider, Provider) and provider.availability == "current":
            kind: Kind = provider.kinds[0] if provider.kinds else "image"
            # Of a family in the catalogue only the models there exist.
            others = (start for start in provider.models if not any(known.startswith(start) for known in models()))
            claims += [(start, kind) for start in others]
    return claims


def _plugins() -> Iterator[Any]:
    """Yield the installed providers, the market first; a broken one is left out."""
    for entry in sorted(entry_points(group=PROJECT), key=lambda entry: entry.name != MARKET):
        try:
            yield entry.load()
        except Exception:  # noqa: BLE001, S112  a broken provider has nothing
            continue


def _answer(plugin: Any, name: str) -> Any:
    """Return what a hook of a provider answers without settings; None where it fails or there is none."""
    hook: Callable[..., Any] | None = getattr(plugin, name, None)
    try:
        if hook is None:
            return None
        answer = hook({}) if inspect.signature(hook).parameters else hook()
        return list(answer) if isinstance(answer, Iterator) else answer
    except Exception:  # noqa: BLE001  as above
        return None
