"""Loading of providers: each is imported, checked and asked for its tools, one at a time.

A provider that breaks the contract is set aside with its reason; every other one goes on. A hook is called with one
provider's implementation alone, so that no plugin can answer for another's task.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pluggy

from kie_ai_mcp import hookspecs
from kie_ai_mcp._providers import defaults, selection
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp._providers.guard import run_in_time, summarize
from kie_ai_mcp._providers.installed import DEFAULTS, KIE, Plugin, installed
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import ConfigError, PluginError
from kie_ai_mcp.hookspecs import CONTRACT, PROJECT
from kie_ai_mcp.specs import Gateway, Provider, Query, Submission, Task, Tool

if TYPE_CHECKING:
    import click

log = logging.getLogger(__name__)

LOAD_S = 10.0
"""How long one provider may take to be imported and asked, in seconds."""

SERVER = "the server itself"
"""The owner of the names that no provider may take."""


@dataclass(frozen=True)
class _Candidate:
    """A provider that keeps the contract, before its names are compared with those of the others."""

    plugin: Plugin
    tools: list[BoundTool]
    gateways: list[Gateway]
    moved_to: str | None

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield each name that only one provider may have, after its sort."""
        for tool in self.tools:
            yield "tool", tool.name
        for gateway in self.gateways:
            yield "gateway", gateway.name
        for api_type in self.plugin.provider.api_types:
            yield "api_type", api_type


class Plugins:
    """Every installed provider, and the tools and gateways of those that are enabled.

    Args:
        settings: The settings: which providers, tools and kinds are used, and the providers' own sections.
        reserved: Tool names that no provider may take.

    Raises:
        ConfigError: The configuration names a provider, tool or provider setting that does not exist.
    """

    def __init__(self, settings: Settings, reserved: Iterable[str] = ()) -> None:
        self._settings = settings
        self._owners = {("tool", name): SERVER for name in reserved} | {("gateway", KIE): SERVER}
        self._pm = pluggy.PluginManager(PROJECT)
        self._pm.add_hookspecs(hookspecs)
        self._pm.register(defaults, DEFAULTS)
        self._callers: dict[tuple[str, str], pluggy.HookCaller] = {}
        self.tools: dict[str, BoundTool] = {}
        self.gateways: dict[str, Gateway] = {}
        self._moved: dict[str, str] = {}
        self.plugins = installed()
        selection.check_providers(settings, self.plugins)
        candidates: list[_Candidate] = []
        with _quiet():
            for name, plugin in self.plugins.items():
                if plugin.state == "enabled" and selection.is_selected(settings, name):
                    candidates += self._load(plugin)
                elif plugin.state == "enabled":
                    plugin.state, plugin.reason = "disabled", "by configuration"
        # The sort is stable: this project's own providers first, then the others by name.
        for candidate in sorted(candidates, key=lambda candidate: not candidate.plugin.is_first_party):
            self._admit(candidate)
        self._move_to_gateways()
        selection.check_variables(settings, self.plugins)
        selection.check_tools(settings, (name for sort, name in self._owners if sort == "tool"), self.plugins)
        self.tools = {name: tool for name, tool in self.tools.items() if self.lists(name, tool)}

    def lists(self, name: str, tool: BoundTool | None = None) -> bool:
        """Return whether the settings let a tool be listed and called; a tool of the server itself has no kind."""
        return selection.is_listed(self._settings, name, tool)

    def provider_of(self, name: str) -> Provider:
        """Return a provider's description; a bare one for a provider that is not enabled."""
        plugin = self.plugins.get(name)
        return plugin.provider if plugin else Provider(title=name)

    def probes(self, task_id: str) -> Iterable[Task]:
        """Yield the id as a task of each api_type of the enabled providers, to find out which one it belongs to."""
        for plugin in self.plugins.values():
            if plugin.state == "enabled" and plugin.tools:
                for api_type in plugin.provider.api_types or (plugin.name,):
                    kind = (plugin.provider.kinds or ("image",))[0]
                    yield Task(task_id, api_type, plugin.name, kind=kind)

    def owner_of_model(self, model: str | None) -> Plugin | None:
        """Return the provider that a model id of the service belongs to; the longest beginning wins."""
        matches = [
            (len(start), plugin)
            for plugin in self.plugins.values()
            for start in plugin.provider.models
            if model and model.startswith(start)
        ]
        return max(matches, key=lambda match: match[0])[1] if matches else None

    def owner_of_api_type(self, api_type: str) -> Plugin | None:
        """Return the provider whose tasks have this api_type."""
        return next((plugin for plugin in self.plugins.values() if api_type in plugin.provider.api_types), None)

    def owner_of_gateway(self, name: str) -> str:
        """Return the provider that registers a gateway; the gateway's own name where none does."""
        return self._owners.get(("gateway", name), name)

    def way_back(self, name: str) -> str:
        """Return what makes a provider usable that is not."""
        return selection.way_back(self._settings, name, self.plugins.get(name))

    def hook(self, name: str, owner: str) -> pluggy.HookCaller:
        """Return a hook as only `owner` implements it."""
        if (name, owner) not in self._callers:
            others = [plugin for other, plugin in self._pm.list_name_plugin() if other != owner and plugin is not None]
            self._callers[name, owner] = self._pm.subset_hook_caller(name, others)
        return self._callers[name, owner]

    def register_commands(self, group_of: "Callable[[str], click.Group]") -> None:
        """Let every enabled provider add its subcommands to the group that `group_of` gives for its name."""
        for name, plugin in self.plugins.items():
            if plugin.state != "enabled":
                continue
            try:
                self.hook("kie_register_commands", name)(commands=group_of(name))
            except Exception as exc:  # noqa: BLE001  as when loading: only this plugin goes without its commands
                log.warning("the commands of provider %s are left out: %s: %s", name, type(exc).__name__, exc)

    # -- loading -------------------------------------------------------------------------------------------------

    def _load(self, plugin: Plugin) -> list[_Candidate]:
        """Import a provider and ask it; return it where it keeps the contract, nothing where it is set aside."""
        section = self._settings.section(plugin.name)
        moved_to = section.pop(selection.GATEWAY_SETTING, None)
        try:
            tools, gateways = run_in_time(lambda: self._examine(plugin, section), LOAD_S)
        except KeyboardInterrupt:  # the user's, who waits for all this
            raise
        except BaseException as exc:  # noqa: BLE001  a plugin's code may raise anything
            self._set_aside(plugin, exc)
            return []
        selection.check_section(self._settings, plugin, section)
        return [_Candidate(plugin, tools, gateways, None if moved_to is None else str(moved_to))]

    def _examine(self, plugin: Plugin, section: Mapping[str, Any]) -> tuple[list[BoundTool], list[Gateway]]:
        """Import a provider and call each hook that is called at start."""
        module = plugin.entry.load()
        _check_contract(module)
        self._pm.register(module, plugin.name)
        self._pm.check_pending()
        plugin.hooks = tuple(sorted(caller.name for caller in self._pm.get_hookcallers(module) or ()))
        if not plugin.hooks:
            raise PluginError("it answers no hook.", next_step="Its author must mark the hooks in it with @hookimpl.")
        plugin.provider = self._describe(plugin.name)
        return self._bind_tools(plugin, section), self._gateways_of(plugin, section)

    def _describe(self, name: str) -> Provider:
        described: Any = self.hook("kie_describe_provider", name)()
        if described is None:
            return Provider(title=name.replace("-", " ").title())
        if not isinstance(described, Provider):
            raise PluginError(f"kie_describe_provider returned {type(described).__name__}, not a Provider.")
        wrong = judge(described, Provider)
        if wrong is not None:
            raise PluginError(f"kie_describe_provider returned a Provider that can't be used: {wrong}.")
        return described

    def _bind_tools(self, plugin: Plugin, section: Mapping[str, Any]) -> list[BoundTool]:
        kind = (plugin.provider.kinds or ("image",))[0]
        returned: Iterable[Iterable[Tool | Callable[..., Submission | Query]]]
        returned = self.hook("kie_register_tools", plugin.name)(settings=MappingProxyType(dict(section)))
        tools = [entry if isinstance(entry, Tool) else Tool(entry) for part in returned for entry in part]
        return [
            BoundTool.bind(
                tool.fn, provider=plugin.name, kind=tool.kind or kind, title=tool.title, charges=tool.charges
            )
            for tool in tools
        ]

    def _gateways_of(self, plugin: Plugin, section: Mapping[str, Any]) -> list[Gateway]:
        returned = self.hook("kie_register_gateways", plugin.name)(settings=MappingProxyType(dict(section)))
        gateways = [gateway for part in returned for gateway in part]
        for gateway in gateways:
            if not isinstance(gateway, Gateway):
                raise PluginError(f"kie_register_gateways returned {type(gateway).__name__}, not a Gateway.")
        return gateways

    def _admit(self, candidate: _Candidate) -> None:
        """Register a provider, unless one of its names belongs to another."""
        plugin, names = candidate.plugin, dict[tuple[str, str], str]()
        for sort, name in candidate.names():
            owner = (self._owners | names).get((sort, name))
            if owner is not None:
                self._set_aside(plugin, _dispute(plugin, owner, f"its {sort} {name}"))
                plugin.provider = Provider(plugin.provider.title)  # no task and no model is its own
                return
            names[sort, name] = plugin.name
        self._owners |= names
        plugin.tools = tuple(tool.name for tool in candidate.tools)
        self.tools |= {tool.name: tool for tool in candidate.tools}
        self.gateways |= {gateway.name: gateway for gateway in candidate.gateways}
        if candidate.moved_to is not None:
            self._moved[plugin.name] = candidate.moved_to

    def _set_aside(self, plugin: Plugin, exc: BaseException) -> None:
        plugin.state, plugin.tools = "set aside", ()
        plugin.reason, plugin.cure = summarize(exc), selection.cure_of(plugin)
        if isinstance(exc, PluginError):
            plugin.reason, plugin.cure = exc.message, exc.next_step or plugin.cure
        elif isinstance(exc, ModuleNotFoundError) and exc.name:
            plugin.cure = f"Install {exc.name}, which it needs. {plugin.cure}"
        if self._pm.has_plugin(plugin.name):
            self._pm.unregister(name=plugin.name)
        log.warning("provider %s (%s) is set aside: %s", plugin.name, plugin.distribution, plugin.reason)

    def _move_to_gateways(self) -> None:
        """Let another service stand in for the providers whose section says so."""
        for name, target in self._moved.items():
            gateway, owner = self.gateways.get(target), self.plugins.get(target)
            tools = {tool.name: tool for tool in self.tools.values() if tool.provider == name}
            if gateway is not None:
                served = selection.served_tools(name, gateway, tools)
            elif owner is not None and owner.state == "set aside":
                # Never at Kie.ai instead: a user who moved the family does not expect a bill from there.
                reason = PluginError(f"its gateway {target} is set aside.", next_step=owner.cure)
                self._set_aside(self.plugins[name], reason)
                served = {}
            else:
                raise ConfigError(
                    f"[providers.{name}] gateway is {target!r}, but no enabled provider registers it.",
                    next_step=nearest(target, self.gateways) if owner is None else self.way_back(target),
                )
            # In the place of the provider's own, so that the order of the list stays.
            self.tools = {
                known: served.get(known, tool)
                for known, tool in self.tools.items()
                if known not in tools or known in served
            }


def _check_contract(module: Any) -> None:
    major = getattr(module, "KIE_AI_MCP_CONTRACT", CONTRACT[0])
    if major != CONTRACT[0]:
        raise PluginError(
            f"it is built for contract {major}, this server speaks contract {CONTRACT[0]}.",
            next_step="Install versions of both that fit.",
        )


def _dispute(plugin: Plugin, owner: str, what: str) -> PluginError:
    """Return why a provider can't have a name that exists already."""
    reason, cure = f"{what} exists already: it belongs to {owner}", selection.cure_of(plugin)
    if owner == plugin.name:
        return PluginError(f"{what} exists already: it registers it twice.", next_step=cure)
    if owner == SERVER:
        return PluginError(f"{reason}.", next_step=cure)
    return PluginError(
        f"{reason}, so {plugin.name} can't have it.", next_step=f"{cure.removesuffix('.')}, or disable {owner}."
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send to stderr what a plugin prints while it is loaded; on stdout it would break the protocol.

    Also what a library of C or a child process writes to the descriptor itself.
    """
    with contextlib.redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
        except OSError:  # there is no stdout to protect
            yield
            return
        try:
            with contextlib.suppress(OSError):
                os.dup2(2, 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
