"""Catalogue of the models that the enabled providers register, loaded when it is first asked for."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Self

import anyio.to_thread

from kie_ai_mcp._models.validity import faults_of_data
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp._providers.guard import place_of, run_in_time, run_isolated, summarize
from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.loader import LOAD_S, Plugins, listed, place_of_hook
from kie_ai_mcp._providers.tools import tool_name
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument, KieError, PluginError, guess
from kie_ai_mcp.models import LiveCatalogue, Model
from kie_ai_mcp.specs import KIE

log = logging.getLogger(__name__)

HOOK = "kie_register_models"
MOST_MODELS = 5_000  # of one third-party provider
SHOWN = 3  # faults of one provider in a line


Registered = list[Model | LiveCatalogue]


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

    A provider whose models can't be read is left out, with the reason in `faults`; so is a model whose data are wrong,
    and one that another provider has.
    """

    plugins: Plugins
    settings: Settings
    faults: dict[str, list[str]] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)  # why, by the id of a model whose data are wrong
    _registered: dict[str, Registered] | None = None
    _loading: anyio.Lock = field(default_factory=anyio.Lock)

    async def load(self) -> Self:
        """Ask each provider for its models, isolated; what is read before is asked at once, as at a start."""
        async with self._loading:  # or calls at the same time would ask twice, and mix what they were given
            if self._registered is None:
                registered: dict[str, Registered] = {}
                for plugin in self._asked:
                    registered[plugin.name] = []
                    try:
                        work = partial(self._values, plugin)
                        registered[plugin.name] = await run_isolated(f"The provider {plugin.name}", work)
                    except KieError as exc:
                        self._leave_out_all(plugin, exc)
                self._registered = registered
                await anyio.to_thread.run_sync(lambda: self.entries)
        return self

    @property
    def registered(self) -> Mapping[str, Registered]:
        """What each provider registers: this project's own first, of them those that have tools."""
        if self._registered is None:
            self._registered = {plugin.name: [] for plugin in self._asked}
            for plugin in self._asked:
                try:
                    self._registered[plugin.name] = run_in_time(partial(self._values, plugin), LOAD_S)
                except KeyboardInterrupt:
                    raise
                except BaseException as exc:  # noqa: BLE001  a plugin's code may raise anything
                    self._leave_out_all(plugin, exc)
        return self._registered

    @cached_property
    def live(self) -> Mapping[str, LiveCatalogue]:
        """How each service says which models it has, by the service's name."""
        values = [value for values in self.registered.values() for value in values if isinstance(value, LiveCatalogue)]
        return {value.gateway: value for value in reversed(values)}

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Every model that the settings let be used, by name; the first provider that registers it has it."""
        found: dict[str, Entry] = {}
        denied: set[str] = set()
        for provider, values in self.registered.items():
            for entry in (self.entry(value, provider) for value in values if isinstance(value, Model)):
                owner = found.setdefault(entry.name, entry).provider
                if not self.allows(entry.model, provider):
                    denied.add(entry.name)
                if owner != provider and not self.plugins.plugins[provider].is_first_party:
                    self._leave_out(provider, f"its model {entry.name} belongs to {owner}, which keeps it")
        return {name: entry for name, entry in sorted(found.items()) if name not in denied}

    def ids(self, gateway: str) -> set[str]:
        """Return the ids of every model of a service that is known here, also of those that can't be used."""
        models = chain.from_iterable(self.registered.values())
        return {model.id for model in models if isinstance(model, Model) and model.gateway == gateway} | {*self.aside}

    def entry(self, model: Model, provider: str) -> Entry:
        """Return a model as an entry of this catalogue; it points to no tool that there is not."""
        gateway = self.plugins.gateways.get(model.gateway)
        if model.tool and model.tool not in self.plugins.tools:
            model = replace(model, tool="")
        return Entry(model, provider, gateway.unit) if gateway else Entry(model, provider)

    def find(self, name: str) -> Entry | None:
        """Return the model of a name, of a bare id that only one other service has, or of a pinned tool."""
        if name in self.entries:
            return self.entries[name]
        same = [entry for entry in self.entries.values() if entry.model.id == name]
        written = name.lower()
        same = same or [e for e in self.entries.values() if written in {e.model.id.lower(), e.name.lower()}]
        pinned = (known for known in self.settings.pinned_models if tool_name(known) == name)
        return same[0] if len(same) == 1 else self.entries.get(next(pinned, ""))

    def owned(self, provider: str, model: str | None, gateway: str = KIE) -> Model | None:
        """Return a model that a provider's own tools sell, which then holds for what they send."""
        if HOOK not in self.plugins.plugins[provider].hooks or model is None:
            return None
        own = (value for value in self.registered[provider] if isinstance(value, Model))
        return next((value for value in own if (value.id, value.gateway) == (model, gateway)), None)

    def unknown(self, field: str, name: str, *more: str) -> InvalidArgument:
        """Return the error for a name that no model has, and none of some `more`."""
        if reason := self.plugins.why_unlisted(name):
            return InvalidArgument(field, name, reason)
        if reason := self.aside.get(name) or self.aside.get(name.partition(":")[2], ""):
            return InvalidArgument(field, name, reason)
        if not self.entries:
            return InvalidArgument(field, name, "no provider with models is enabled; enable market")
        if self.faults:  # it may be one of these, and a name that is like it would be of another model
            left = "; ".join(f"{provider}: {some(faults)}" for provider, faults in self.faults.items())
            return InvalidArgument(field, name, f"no model has this name. Some are left out, of {left}")
        near = get_close_matches(name.lower(), [*more, *self.entries], n=3, cutoff=0.5)
        cure = f"Did you mean {' or '.join(near)}?" if near else "find_models finds models by words."
        return InvalidArgument(field, name, f"no {'tool or ' if more else ''}model has this name. {cure}")

    def owner_of_live(self, gateway: str) -> str:
        """Return the provider whose live catalogue a service's newest models come from."""
        return next(name for name, values in self.registered.items() if self.live[gateway] in values)

    def allows(self, model: Model, provider: str) -> bool:
        """Return whether the settings let a model be used: its kind, and the globs of its provider's section."""
        if not self.plugins.offers(model.kind, model.availability):
            return False
        section = self.settings.section(provider)
        allowed, denied = (_globs(section.get(key, ())) for key in ("allow", "deny"))
        return not any(map(partial(fnmatchcase, model.id), denied)) and (
            not allowed or any(map(partial(fnmatchcase, model.id), allowed))
        )

    @property
    def _asked(self) -> list[Plugin]:
        enabled = (plugin for plugin in self.plugins.plugins.values() if plugin.state == "enabled")
        plugins = [plugin for plugin in enabled if HOOK in plugin.hooks]
        return sorted(plugins, key=lambda plugin: (not plugin.is_first_party, not plugin.tools))

    def _values(self, plugin: Plugin) -> Registered:
        """Return what a provider registers; raise PluginError where anything of it can't be used."""
        section = MappingProxyType(self.settings.section(plugin.name))
        offered = listed(self.plugins.hook(HOOK, plugin.name), section)
        if plugin.is_first_party:  # the contract tests judge this project's own
            return list(offered)
        values = [*islice(offered, MOST_MODELS + 1)]
        if len(values) > MOST_MODELS:
            raise PluginError(f"it registers more than {MOST_MODELS} models.")
        return [value for value in values if self._is_usable(value, plugin)]

    def _is_usable(self, value: Model | LiveCatalogue, plugin: Plugin) -> bool:
        """Return whether a value of a third-party provider can be used; a model that can't is set aside by its id."""
        faults = faults_of_data(value) if isinstance(value, Model) else iter(())
        wrong = next((what for what, _ in faults), None) or judge(value, LiveCatalogue, Model)
        place = place_of_hook(self.plugins.hook(HOOK, plugin.name))
        if not wrong and value.gateway not in (services := {KIE, *self.plugins.gateways}):
            likely = guess(value.gateway, services)
            wrong = f"the gateway {value.gateway!r} is registered by no provider{likely}"
            if getattr(value, "source", ""):  # read_models may have been called with it
                wrong += f"; its entry names it, or the call of read_models{place}"
        if wrong and not isinstance(value, Model):
            raise PluginError(f"it returned what can't be used: {wrong}.")
        if wrong and isinstance(value, Model):
            self.aside[str(value.id)] = f"its data, which the provider {plugin.name} registers, are wrong: {wrong}"
            place = f" ({value.source})" if value.source else place
            self._leave_out(plugin.name, f"its model {value.id} is left out: {wrong}{place}")
        return not wrong

    def _leave_out_all(self, plugin: Plugin, exc: BaseException) -> None:
        reason = exc.message.rstrip(".") if isinstance(exc, KieError) else summarize(exc)
        place = place_of(exc) or place_of_hook(self.plugins.hook(HOOK, plugin.name))
        self._leave_out(plugin.name, f"its models are left out: {reason}{place}")

    def _leave_out(self, provider: str, fault: str) -> None:
        self.faults.setdefault(provider, []).append(fault)
        log.warning("provider %s: %s", provider, fault)


def some(faults: Sequence[str]) -> str:
    """Return the first faults of a provider, and how many more there are."""
    more = len(faults) - SHOWN
    return "; ".join([*faults[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _globs(value: object) -> Sequence[str]:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else [str(part) for part in value]  # type: ignore[attr-defined]  # a list in the file
