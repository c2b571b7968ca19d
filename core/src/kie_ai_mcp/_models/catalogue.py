"""Catalogue of the models that the enabled providers register, loaded when it is first asked for."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import chain, islice
from types import MappingProxyType

from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp._providers.guard import run_in_time, summarize
from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.loader import LOAD_S, Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument, PluginError
from kie_ai_mcp.models import LiveCatalogue, Model
from kie_ai_mcp.specs import KIE

log = logging.getLogger(__name__)

HOOK = "kie_register_models"
MOST_MODELS = 5_000  # of one third-party provider


@dataclass(frozen=True)
class Entry:
    """One model, the provider that registers it, and what its service counts prices in.

    `note` says where it differs from the provider's data.
    """

    model: Model
    provider: str
    unit: str = "credits"
    note: str = ""

    @property
    def name(self) -> str:
        """The id by which it is asked for: those of other services are written ``GATEWAY:ID``."""
        return self.model.id if self.model.gateway == KIE else f"{self.model.gateway}:{self.model.id}"


@dataclass
class Catalogue:
    """Every model that can be run, by name, and the live catalogue of each service.

    A provider whose models can't be used is left out, with the reason in `faults`.
    """

    plugins: Plugins
    settings: Settings
    faults: dict[str, str] = field(default_factory=dict)

    @cached_property
    def live(self) -> Mapping[str, LiveCatalogue]:
        """How each service says which models it has, by the service's name."""
        values = chain.from_iterable(self._registered.values())
        return {value.gateway: value for value in values if isinstance(value, LiveCatalogue)}

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Every model that the settings let be used, by name; a provider that has tools wins over one without."""
        found: dict[str, Entry] = {}
        by_tools = sorted(self._registered.items(), key=lambda item: bool(self.plugins.plugins[item[0]].tools))
        for provider, values in by_tools:
            models = (value for value in values if isinstance(value, Model))
            found |= {
                entry.name: entry
                for model in models
                if self.allows(model, provider)
                for entry in [Entry(model, provider)]
            }
        return dict(sorted(found.items()))

    def ids(self, gateway: str) -> set[str]:
        """Return the ids of every model of a service that is known here, also of those that the settings leave out."""
        models = chain.from_iterable(self._registered.values())
        return {model.id for model in models if isinstance(model, Model) and model.gateway == gateway}

    def entry(self, model: Model, provider: str) -> Entry:
        """Return a model as an entry of this catalogue."""
        gateway = self.plugins.gateways.get(model.gateway)
        return Entry(model, provider, gateway.unit) if gateway else Entry(model, provider)

    def find(self, name: str) -> Entry | None:
        """Return the model of a name, also of a bare id that only one other service has."""
        if name in self.entries:
            return self.entries[name]
        same = [entry for entry in self.entries.values() if entry.model.id == name]
        return same[0] if len(same) == 1 else None

    def owned(self, provider: str, model: str | None, gateway: str = KIE) -> Model | None:
        """Return a model that a provider's own tools sell, which then holds for what they send."""
        if HOOK not in self.plugins.plugins[provider].hooks or model is None:
            return None
        entry = self.entries.get(model if gateway == KIE else f"{gateway}:{model}")
        return entry.model if entry and entry.provider == provider else None

    def unknown(self, field: str, name: str) -> InvalidArgument:
        """Return the error for a name that no model has."""
        near = get_close_matches(name, self.entries, n=3, cutoff=0.5)
        if not self.entries:
            return InvalidArgument(field, name, "no provider with models is enabled; enable market")
        cure = f"Did you mean {' or '.join(near)}?" if near else "find_models finds models by words."
        return InvalidArgument(field, name, f"no model has this id. {cure}")

    def owner_of_live(self, gateway: str) -> str:
        """Return the provider whose live catalogue a service's newest models come from."""
        return next(name for name, values in self._registered.items() if self.live[gateway] in values)

    def allows(self, model: Model, provider: str) -> bool:
        """Return whether the settings let a model be used: its kind, and the globs of its provider's section."""
        if not self.plugins.offers(model.kind, model.availability):
            return False
        section = self.settings.section(provider)
        allowed, denied = (_globs(section.get(key, ())) for key in ("allow", "deny"))
        return not any(map(partial(fnmatchcase, model.id), denied)) and (
            not allowed or any(map(partial(fnmatchcase, model.id), allowed))
        )

    @cached_property
    def _registered(self) -> Mapping[str, list[Model | LiveCatalogue]]:
        plugins = (plugin for plugin in self.plugins.plugins.values() if plugin.state == "enabled")
        return {plugin.name: list(self._of(plugin)) for plugin in plugins if HOOK in plugin.hooks}

    def _of(self, plugin: Plugin) -> Iterator[Model | LiveCatalogue]:
        """Yield what a provider registers; nothing where anything of it can't be used."""
        section = MappingProxyType(self.settings.section(plugin.name))
        services = {KIE, *self.plugins.gateways}

        def values() -> list[Model | LiveCatalogue]:
            offered = chain.from_iterable(self.plugins.hook(HOOK, plugin.name)(settings=section))
            # The contract tests judge this project's own.
            limit = None if plugin.is_first_party else MOST_MODELS
            models = [_judged(value, plugin) for value in islice(offered, limit)]
            if foreign := next((model for model in models if model.gateway not in services), None):
                raise PluginError(f"the gateway {foreign.gateway!r} is registered by no provider.")
            return models

        try:
            yield from run_in_time(values, LOAD_S)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001  a plugin's code may raise anything
            self.faults[plugin.name] = summarize(exc)
            log.warning("the models of provider %s are left out: %s", plugin.name, self.faults[plugin.name])


def _globs(value: object) -> Sequence[str]:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else [str(part) for part in value]  # type: ignore[attr-defined]  # a list in the file


def _judged(value: object, plugin: Plugin) -> Model | LiveCatalogue:
    if not isinstance(value, Model | LiveCatalogue):
        raise PluginError(f"{HOOK} returned {type(value).__name__}, not a Model or a LiveCatalogue.")
    if not plugin.is_first_party and (wrong := judge(value, Model, LiveCatalogue)):
        raise PluginError(f"{HOOK} returned a {type(value).__name__} that can't be used: {wrong}.")
    return value
