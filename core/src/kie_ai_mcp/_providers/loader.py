"""Loading of providers: each is imported, checked and asked for its tools, one at a time.

A provider that breaks the contract is set aside with its reason; every other one goes on. A hook is called with one
provider's implementation alone, so that no plugin can answer for another's task.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from kie_ai_mcp import hookspecs
from kie_ai_mcp._providers import defaults, selection
from kie_ai_mcp._providers.contract import hook_faults, judge, tool_fault
from kie_ai_mcp._providers.guard import place_in, place_of, run_in_time, summarize
from kie_ai_mcp._providers.installed import DEFAULTS, Plugin, installed
from kie_ai_mcp._providers.quarantine import STDERR, STDOUT, Quarantine, kept_streams
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.installation import PROVIDERS, install_command
from kie_ai_mcp._settings.load import Faults, nearest
from kie_ai_mcp._settings.settings import Settings, own_folder, variable
from kie_ai_mcp._settings.sources import name_of, way_to_set
from kie_ai_mcp.errors import ConfigError, PluginError
from kie_ai_mcp.hookspecs import CONTRACT, PROJECT
from kie_ai_mcp.specs import GATEWAY_SETTING, KIE, Availability, Gateway, Kind, Provider, Task, Tool

if TYPE_CHECKING:
    import click

log = logging.getLogger(__name__)
LOAD_S = 10.0  # how long one provider may take to be imported and asked, in seconds
SERVER = "the server itself"

# A provider that keeps the contract, before its names are compared with those of the others.
Offer = tuple[Plugin, list[BoundTool], list[Gateway]]


class Plugins:
    """Every installed provider, and the tools and gateways of those that are enabled.

    No provider may take a `reserved` tool name. Settings that name what does not exist are a ConfigError.
    """

    def __init__(self, settings: Settings, reserved: Iterable[str] = ()) -> None:
        self._settings = settings
        self._owners = {("tool", name): SERVER for name in reserved} | {("gateway", KIE): SERVER}
        self._pm = pluggy.PluginManager(PROJECT)
        self._pm.add_hookspecs(hookspecs)
        self._pm.register(defaults, DEFAULTS)
        self._callers: dict[tuple[str, str], pluggy.HookCaller] = {}
        self._quarantine: Quarantine | None = None
        self.tools: dict[str, BoundTool] = {}
        self.gateways: dict[str, Gateway] = {}
        self.plugins = installed()
        selection.check_providers(settings, self.plugins)
        offers: list[Offer] = []
        with _quiet():
            for name, plugin in self.plugins.items():
                if plugin.state == "set aside":
                    continue
                if selection.allows(name, settings.enabled_providers, settings.disabled_providers):
                    offers += self._load(plugin)
                else:
                    plugin.state, plugin.reason = "disabled", "by configuration"
        # The sort is stable: this project's own providers first, then the others by name.
        offers.sort(key=lambda offer: not offer[0].is_first_party)
        for offer in offers:
            self._admit(*offer)
        for plugin, *_ in offers:
            self._move_to_gateway(plugin)
        self.foreign_variables = selection.foreign_variables(settings, self.plugins)
        if self.foreign_variables:
            log.warning("variables for providers that are not installed: %s", ", ".join(self.foreign_variables))
        selection.check_tools(settings, (name for sort, name in self._owners if sort == "tool"), self.plugins)
        tools = [selection.with_defaults(settings, tool) for tool in self.tools.values()]
        tools.sort(key=lambda tool: selection.RANKS[self.provider_of(tool.provider).availability])
        self.unlisted = {tool.name: tool for tool in tools if not self.lists(tool.name, tool)}
        self.tools = {tool.name: tool for tool in tools if tool.name not in self.unlisted}

    def lists(self, name: str, tool: BoundTool | None = None) -> bool:
        """Return whether the settings let a tool be listed and called; a tool of the server itself has no kind."""
        settings = self._settings
        fits = tool is None or self.offers(tool.kind, self.provider_of(tool.provider).availability)
        return fits and selection.allows(name, settings.enabled_tools, settings.disabled_tools)

    def rank(self, name: str) -> int:
        """Return the place of a tool in every list: those that the service no longer has, or never had, come last."""
        return selection.RANKS[self.provider_of(self.tools[name].provider).availability] if name in self.tools else 0

    def why_unlisted(self, name: str) -> str:
        """Return which setting leaves a tool out, or which provider that is not used may bring it; else ""."""
        if (tool := self.unlisted.get(name)) is None:
            unused = (plugin for plugin in self.plugins.values() if plugin.state != "enabled")
            mine = (plugin for plugin in unused if f"_{plugin.name.replace('-', '_')}_" in f"_{name}_")
            reasons = (
                f"the provider {each.name} is {each.state}: {each.reason.rstrip('.')}. {self.way_back(each.name)}"
                for each in mine
            )
            return next(reasons, "")
        provider, settings = self.provider_of(tool.provider), self._settings
        if settings.availability and provider.availability not in settings.availability:
            use = f"; use {provider.nearest}" if provider.nearest else ""
            return f"{name_of('availability')} leaves it out, since {provider.title} is {provider.availability}{use}"
        is_kind = not settings.kinds or tool.kind in settings.kinds
        setting = "kinds" if not is_kind else "disabled_tools" if name in settings.disabled_tools else "enabled_tools"
        return f"{name_of(setting)} leaves it out"

    def offers(self, kind: Kind, availability: Availability) -> bool:
        """Return whether the settings want what makes this kind, and is as available as this at its service."""
        kinds, states = self._settings.kinds, self._settings.availability
        return (not kinds or kind in kinds) and (not states or availability in states)

    def provider_of(self, name: str) -> Provider:
        """Return a provider's description; a bare one for a provider that is not enabled."""
        plugin = self.plugins.get(name)
        return plugin.provider if plugin else Provider(title=name)

    def probes(self, task_id: str) -> Iterable[Task]:
        """Yield the id as a task of each api_type of the enabled providers, to find out which one it belongs to."""
        for plugin in self.plugins.values():
            if plugin.state == "enabled" and plugin.tools:
                for api_type in plugin.provider.api_types or (plugin.name,):
                    yield Task(task_id, api_type, plugin.name, kind=plugin.kind)

    def owner_of_model(self, model: str | None) -> Plugin | None:
        """Return the provider that a model id of the service belongs to; the longest beginning wins."""
        owners = [(start, plugin) for plugin in self.plugins.values() for start in plugin.provider.models]
        fits = [(len(start), plugin.is_first_party, plugin) for start, plugin in owners if _begins(model or "", start)]
        return max(fits, key=itemgetter(0, 1), default=(0, False, None))[2]

    def owner_of_api_type(self, api_type: str) -> Plugin | None:
        """Return the provider whose tasks have this api_type."""
        return next((plugin for plugin in self.plugins.values() if api_type in plugin.provider.api_types), None)

    def owner_of_gateway(self, name: str) -> str:
        """Return the provider that registers a gateway; the gateway's own name where none does."""
        return self._owners.get(("gateway", name), name)

    def way_back(self, name: str) -> str:
        """Return what makes a provider usable that is not."""
        plugin = self.plugins.get(name)
        if plugin is None:
            return f"Install it, for example with: {install_command(f'{PROVIDERS}{name}')}"
        if plugin.state == "set aside":
            return plugin.cure
        if name in (disabled := self._settings.disabled_providers):
            left = ",".join(other for other in disabled if other != name)
            return f"To use it: {way_to_set('disabled_providers', *([left] if left else []))}."
        return f"To use it: {way_to_set('enabled_providers', '--add', name)}."

    def hook(self, name: str, owner: str) -> pluggy.HookCaller:
        """Return a hook as only `owner` implements it."""
        if (name, owner) not in self._callers:
            others = [plugin for other, plugin in self._pm.list_name_plugin() if other != owner and plugin is not None]
            self._callers[name, owner] = self._pm.subset_hook_caller(name, others)
        return self._callers[name, owner]

    def _load(self, plugin: Plugin) -> list[Offer]:
        """Import a provider and ask it; return it where it keeps the contract, nothing where it is set aside."""
        section = self._settings.section(plugin.name)
        section.pop(GATEWAY_SETTING, None)
        try:
            with nullcontext() if plugin.is_first_party else self._watched(plugin):
                tools, gateways = run_in_time(lambda: self._examine(plugin, MappingProxyType(section)), LOAD_S)
        except KeyboardInterrupt:  # the user's, who waits for all this
            raise
        except BaseException as exc:  # noqa: BLE001  a plugin's code may raise anything
            self._set_aside(plugin, exc)
            return []
        selection.check_section(self._settings, plugin, section)
        return [(plugin, tools, gateways)]

    @contextmanager
    def _watched(self, plugin: Plugin) -> Iterator[None]:
        """Watch the loading of a third-party provider; raise PluginError for one that ended or held up a server."""
        if self._quarantine is None:
            folder = Path(os.devnull)  # it can't hold marks; a user without a home folder has none
            with suppress(ConfigError):
                folder = own_folder("data", variable("db_path"))
            self._quarantine = Quarantine(folder / "loading")
            self._quarantine.collect()
        reason, cure = self._quarantine.reason_against(plugin)
        if reason:
            raise PluginError(f"{reason}.", next_step=cure)
        with self._quarantine.watched(plugin.name):
            yield

    def _examine(self, plugin: Plugin, section: Mapping[str, Any]) -> tuple[list[BoundTool], list[Gateway]]:
        """Import a provider and call each hook that is called at start."""
        module = _module_of(plugin)
        built = getattr(module, "KIE_AI_MCP_CONTRACT", CONTRACT)
        major = built[0] if isinstance(built, tuple) and built else built
        if major != CONTRACT[0]:
            reason = f"it is built for contract {major}, this server speaks contract {CONTRACT[0]}."
            raise PluginError(reason, next_step="Install versions of both that fit.")
        for name, fault, cure in hook_faults(module):
            reason = f"{name}: {fault}{place_in(vars(module)[name])}."
            raise PluginError(reason, next_step=f"Its author must correct it: {cure}")
        self._pm.register(module, plugin.name)
        self._pm.check_pending()
        plugin.hooks = tuple(sorted(caller.name for caller in self._pm.get_hookcallers(module) or ()))
        if not plugin.hooks:
            raise PluginError("it answers no hook.", next_step="Its author must mark the hooks in it with @hookimpl.")
        plugin.provider = self._describe(plugin)
        entries = listed(self.hook("kie_register_tools", plugin.name), section)
        limit = None if plugin.is_first_party else self._settings.max_provider_tools
        tools = [_bound(entry, plugin) for entry in islice(entries, limit)]
        if limit is not None:
            self._check_size(tools, sum(1 for _ in islice(entries, 1)))
        gateways = list(listed(self.hook("kie_register_gateways", plugin.name), section))
        for gateway in gateways:
            _check(plugin, self.hook("kie_register_gateways", plugin.name), gateway, Gateway)
        return tools, gateways

    def _check_size(self, tools: list[BoundTool], further: int) -> None:
        """Raise PluginError where a third-party provider offers more than its share of the list of tools."""
        size_kb, settings = sum(tool.size for tool in tools) / 1000, self._settings
        if further or size_kb > settings.max_provider_kb:
            most = f"{settings.max_provider_tools} tools" if further else f"{settings.max_provider_kb} kB of tools"
            way = way_to_set("max_provider_tools" if further else "max_provider_kb", "N")
            cure = f"Raise the limit: {way}, or uninstall it: clients refuse lists that are too long."
            raise PluginError(f"it offers more than {most}.", next_step=cure)

    def _describe(self, plugin: Plugin) -> Provider:
        provider: Any = self.hook("kie_describe_provider", plugin.name)()
        if provider is None:
            return Provider(title=plugin.name.replace("-", " ").title())
        _check(plugin, self.hook("kie_describe_provider", plugin.name), provider, Provider)
        return provider  # type: ignore[no-any-return]  # it was checked to be one

    def _admit(self, plugin: Plugin, tools: list[BoundTool], gateways: list[Gateway]) -> None:
        """Register a provider, unless one of its names belongs to another."""
        names = [("tool", tool.name) for tool in tools]
        names += [("gateway", gateway.name) for gateway in gateways]
        names += [("api_type", api_type) for api_type in plugin.provider.api_types]
        owners = dict(self._owners)
        for sort, name in names:
            if owner := owners.get((sort, name)):
                self._set_aside(plugin, _dispute(plugin, owner, f"its {sort} {name} exists already"))
                plugin.provider = Provider(plugin.provider.title)  # no task and no model is its own
                return
            owners[sort, name] = plugin.name
        self._owners = owners
        plugin.tools = tuple(tool.name for tool in tools)
        self.tools |= {tool.name: tool for tool in tools}
        self.gateways |= {gateway.name: gateway for gateway in gateways}

    def _set_aside(self, plugin: Plugin, exc: BaseException) -> None:
        reason, cure = f"{summarize(exc)}{place_of(exc)}", selection.cure_of(plugin)
        if isinstance(exc, PluginError):
            reason, cure = exc.message, exc.next_step or cure
        elif isinstance(exc, ModuleNotFoundError) and exc.name:
            cure = f"Install {exc.name}, which it needs. {cure}"
        plugin.set_aside(reason, cure)
        if self._pm.has_plugin(plugin.name):
            self._pm.unregister(name=plugin.name)
        log.warning("provider %s (%s) is set aside: %s", plugin.name, plugin.distribution, reason)

    def _move_to_gateway(self, plugin: Plugin) -> None:
        """Let another service stand in for a provider whose section says so."""
        section = self._settings.section(plugin.name)
        if plugin.state != "enabled" or section.get(GATEWAY_SETTING) is None:
            return
        target = str(section[GATEWAY_SETTING])
        gateway, owner = self.gateways.get(target), self.plugins.get(target)
        own = {name: tool for name, tool in self.tools.items() if tool.provider == plugin.name}
        served: dict[str, BoundTool] = {}
        if gateway is not None:
            served = selection.served_tools(plugin.name, gateway, own)
        elif owner is not None and owner.state == "set aside":
            # Never at Kie.ai instead: a user who moved the family does not expect a bill from there.
            self._set_aside(plugin, PluginError(f"its gateway {target} is set aside.", next_step=owner.cure))
        else:
            cure = nearest(target, self.gateways) if owner is None else self.way_back(target)
            reason = f"[providers.{plugin.name}] gateway is {target!r}, but no enabled provider registers it."
            raise ConfigError(reason, next_step=cure)
        # In the place of the provider's own, so that the order of the list stays.
        tools = self.tools.items()
        self.tools = {name: served.get(name, tool) for name, tool in tools if name not in own or name in served}


def load(
    kind: Callable[[Settings, Iterable[str]], Plugins], settings: Settings, reserved: Iterable[str], faults: Faults
) -> tuple[Plugins, Settings]:
    """Return the providers, and the settings less all that is wrong about them, which is added to `faults`."""
    while True:
        try:
            return kind(settings, reserved), settings
        except ConfigError as exc:
            faults.append(exc)
            own: dict[str, Any] = {"providers": {}, "provider_variables": {}}  # one of them is a wrong gateway
            settings = settings.without(*exc.where) if exc.where else settings.model_copy(update=own)


def register_commands(plugins: Plugins, group_of: "Callable[[str], click.Group]") -> dict[str, str]:
    """Let every enabled provider add its subcommands to the group that `group_of` gives for its name.

    Return why the commands of a provider are left out, by its name.
    """
    faults: dict[str, str] = {}
    for name, plugin in plugins.plugins.items():
        if plugin.state != "enabled":
            continue
        try:
            plugins.hook("kie_register_commands", name)(commands=group_of(name))
        except Exception as exc:  # noqa: BLE001  as when loading: only this plugin goes without its commands
            faults[name] = f"its commands are left out: {summarize(exc)}{place_of(exc)}"
            log.warning("provider %s: %s", name, faults[name])
    return faults


def set_aside_in(plugins: Plugins, words: str) -> Iterator[str]:
    """Yield, for each provider that is set aside and that some words name, why it is and what to do."""
    written = f"-{re.sub('[^a-z0-9]+', '-', words.lower())}-"
    for name, plugin in plugins.plugins.items():
        if plugin.state == "set aside" and f"-{name}-" in written:
            yield f"The provider {name} is set aside: {plugin.reason.rstrip('.')}. {plugins.way_back(name)}"


def is_of_others(plugins: Plugins, gateway: str) -> bool:
    """Return whether a third-party provider registers a gateway."""
    plugin = plugins.plugins.get(plugins.owner_of_gateway(gateway))
    return plugin is not None and not plugin.is_first_party


def listed(hook: pluggy.HookCaller, section: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what a hook registers; raise PluginError where it returns no list."""
    for values in hook(settings=section):
        if not isinstance(values, Iterable) or isinstance(values, str | Mapping):
            what = f"{hook.name} returned {type(values).__name__}, not a list{place_of_hook(hook)}."
            raise PluginError(what, next_step=f"Its author must return a list from {hook.name}: return [...].")
        yield from values


def _module_of(plugin: Plugin) -> ModuleType:
    """Import what a provider's entry point names; raise PluginError where there is no such module, or no such name."""
    entry, missing = plugin.entry, ""
    try:
        return entry.load()  # type: ignore[no-any-return]  # what is no module has no hooks
    except ModuleNotFoundError as exc:
        missing = f"module {exc.name}" if f"{entry.module}.".startswith(f"{exc.name}.") else ""
        cause: Exception = exc
    except AttributeError as exc:
        missing = f"{exc.name} in it" if isinstance(exc.obj, ModuleType) and exc.name in entry.attr.split(".") else ""
        cause = exc
    if not missing:
        raise cause
    cure = f'Its author must correct {entry.name} = "{entry.value}" in pyproject.toml, and install it again.'
    raise PluginError(f"its entry point names {entry.value}, but there is no {missing}.", next_step=cure) from cause


def _bound(entry: Any, plugin: Plugin) -> BoundTool:
    try:
        tool = BoundTool.bind(entry, provider=plugin.name, kind=plugin.kind)
        # The contract tests judge this project's own.
        if not plugin.is_first_party and (wrong := tool_fault(entry, tool.arguments)):
            raise PluginError(f"{tool.name}: {wrong}.")
        return tool
    except PluginError as exc:
        place = place_in(entry.fn if isinstance(entry, Tool) else entry)
        raise PluginError(f"{exc.message.rstrip('.')}{place}.", next_step=exc.next_step) from exc


def _check(plugin: Plugin, hook: pluggy.HookCaller, value: object, kind: type) -> None:
    """Raise PluginError for a value that a hook must not return."""
    if not isinstance(value, kind):
        raise PluginError(f"{hook.name} returned {type(value).__name__}, not a {kind.__name__}{place_of_hook(hook)}.")
    # The contract tests judge this project's own: the first judgement takes milliseconds that no start has.
    if not plugin.is_first_party and (wrong := judge(value, kind)):
        raise PluginError(f"{hook.name} returned a {kind.__name__} that can't be used: {wrong}{place_of_hook(hook)}.")


def place_of_hook(hook: pluggy.HookCaller) -> str:
    """Return where the one implementation of a hook begins, as " (file, line N)"."""
    return "".join(place_in(each.function) for each in hook.get_hookimpls())


def _dispute(plugin: Plugin, owner: str, reason: str) -> PluginError:
    """Return why a provider can't have a name that belongs to `owner`."""
    if owner == plugin.name:
        return PluginError(f"{reason}: it registers it twice.")
    if owner == SERVER:
        return PluginError(f"{reason}: it belongs to {owner}.")
    cure = f"{selection.cure_of(plugin).removesuffix('.')}, or disable {owner}."
    return PluginError(f"{reason}: it belongs to {owner}, so {plugin.name} can't have it.", next_step=cure)


def _begins(model: str, start: str) -> bool:
    """Return whether a model id begins with whole words."""
    after = model[len(start) : len(start) + 1]
    return bool(start) and model.startswith(start) and not (start[-1].isalnum() and after.isalnum())


@contextmanager
def _quiet() -> Iterator[None]:
    """Send to stderr what a plugin, or a library of C, prints while it is loaded: on stdout it breaks the protocol."""
    with kept_streams() as kept, redirect_stdout(sys.stderr):
        if kept[STDOUT] is not None:
            with suppress(OSError):
                os.dup2(STDERR, STDOUT)
        yield
