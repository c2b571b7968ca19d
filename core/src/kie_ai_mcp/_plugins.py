"""Providers: found without importing, loaded one at a time, asked through their hooks. Alone reads entry points.

A provider that breaks the contract is set aside with its reason; every other one goes on. A task is asked of
its owner first and of the defaults next, so that no plugin can answer for another's task.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy

from kie_ai_mcp import _defaults, hookspecs
from kie_ai_mcp._config import PROVIDER_PREFIX, Settings, nearest, variable
from kie_ai_mcp._tools import BoundTool
from kie_ai_mcp.errors import ConfigError, PluginError, ReadFailed
from kie_ai_mcp.hookspecs import CONTRACT, PROJECT
from kie_ai_mcp.specs import Gateway, Outcome, Provider, Query, StatusRoute, Submission, Task, Tool

if TYPE_CHECKING:
    import click

log = logging.getLogger(__name__)

DEFAULTS = "kie_ai_mcp._defaults"
KIE = "kie"

LOAD_S = 10.0
"""How long one provider may take to be imported and asked."""

Loaded = TypeVar("Loaded")

GATEWAY_SETTING = "gateway"
"""The one setting that every provider's section may have: which service stands in for it."""

SHARED = ("", KIE)
"""What stands for a task's owner where no provider claims it: the defaults alone are asked."""


@dataclass
class Plugin:
    """One installed provider, whether it is used or not."""

    name: str
    entry: EntryPoint
    state: Literal["enabled", "disabled", "set aside"] = "enabled"
    reason: str = ""
    hooks: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    provider: Provider = field(default_factory=lambda: Provider(title=""))

    @property
    def distribution(self) -> str:
        """The distribution that brings it. Read when asked for: parsing metadata costs more than loading."""
        return self.entry.dist.name if self.entry.dist else "unknown"

    @property
    def version(self) -> str:
        """The distribution's version."""
        return self.entry.dist.version if self.entry.dist else ""


class Plugins:
    """Every installed provider, and the tools of those that are enabled.

    Args:
        settings: Which providers, tools and kinds are wanted, and the providers' own sections.
        reserved: Tool names that no provider may take.

    Raises:
        ConfigError: The configuration names a provider, tool or provider setting that does not exist.
    """

    def __init__(self, settings: Settings, reserved: Iterable[str] = ()) -> None:
        self._settings = settings
        self._owners = dict.fromkeys(reserved, "the server itself")
        self._pm = pluggy.PluginManager(PROJECT)
        self._pm.add_hookspecs(hookspecs)
        self._pm.register(_defaults, DEFAULTS)
        self._callers: dict[tuple[str, str], pluggy.HookCaller] = {}
        self.tools: dict[str, BoundTool] = {}
        self.gateways: dict[str, Gateway] = {}
        self._gateway_owners: dict[str, str] = {}
        self._moved: dict[str, str] = {}
        self.plugins = _installed()
        self._check_names()
        with _quiet():
            for name, plugin in self.plugins.items():
                if plugin.state == "enabled" and self._wanted(name):
                    self._load(plugin)
                elif plugin.state == "enabled":
                    plugin.state, plugin.reason = "disabled", "by configuration"
        self._move_to_gateways()
        self._check_variables()
        self._choose_tools()

    def provider_of(self, name: str) -> Provider:
        """Return what a provider says of itself; a bare description for one that is not enabled."""
        plugin = self.plugins.get(name)
        return plugin.provider if plugin else Provider(title=name)

    def route(self, task: Task) -> StatusRoute:
        """Return where a task's status is read.

        Raises:
            ReadFailed: The provider's hook raised or gave something else.
        """
        answer: StatusRoute = self._ask("kie_route_status", task, (StatusRoute,), task=task)
        return answer

    def normalize(self, task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute:
        """Return what a status answer means, or what to read next.

        Raises:
            ReadFailed: The provider's hook raised or gave something else.
        """
        answer: Outcome | StatusRoute
        answer = self._ask("kie_normalize_result", task, (Outcome, StatusRoute), task=task, payload=payload)
        return answer

    def probes(self, task_id: str) -> Iterable[Task]:
        """Yield the id as a task of each sort that an enabled provider has, for looking up where it belongs."""
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

    def register_commands(self, commands: "click.Group") -> None:
        """Let every provider add its subcommands."""
        for name, plugin in self.plugins.items():
            if plugin.state != "enabled":
                continue
            try:
                self._caller("kie_register_commands", name)(commands=commands)
            except Exception as exc:  # noqa: BLE001  as when loading: the stranger alone goes without its commands
                log.warning("the commands of provider %s are left out: %s: %s", name, type(exc).__name__, exc)

    # -- loading -------------------------------------------------------------------------------------------------

    def _check_names(self) -> None:
        settings = self._settings
        for setting in ("enabled_providers", "disabled_providers"):
            for name in getattr(settings, setting):
                if name not in self.plugins:
                    raise ConfigError(
                        f"{variable(setting)} names {name!r}, but no such provider is installed.",
                        next_step=nearest(name, self.plugins),
                    )
        for name in settings.providers:
            if name not in self.plugins:
                raise ConfigError(
                    f"The configuration has a section [providers.{name}], but no such provider is installed.",
                    next_step=nearest(name, self.plugins),
                )
        both = sorted(set(settings.enabled_providers) & set(settings.disabled_providers))
        if both:
            raise ConfigError(f"The provider {both[0]!r} is both enabled and disabled.", next_step="Take it off one.")

    def _wanted(self, name: str) -> bool:
        enabled = self._settings.enabled_providers
        return name not in self._settings.disabled_providers and (not enabled or name in enabled)

    def _load(self, plugin: Plugin) -> None:
        section = self._settings.section(plugin.name)
        gateway = section.pop(GATEWAY_SETTING, None)
        try:
            tools, gateways = _in_time(lambda: self._examine(plugin, section))
        except (Exception, SystemExit) as exc:  # noqa: BLE001  a stranger's code may raise anything
            self._set_aside(plugin, exc)
            return
        undeclared = sorted(set(section) - set(plugin.provider.settings))
        if undeclared:
            raise ConfigError(
                f"[providers.{plugin.name}] has no setting {undeclared[0]!r}.",
                next_step=nearest(undeclared[0], plugin.provider.settings),
            )
        plugin.tools = tuple(tool.name for tool in tools)
        for tool in tools:
            self._owners[tool.name] = plugin.name
            self.tools[tool.name] = tool
        for declared in gateways:
            self.gateways[declared.name] = declared
            self._gateway_owners[declared.name] = plugin.name
        if gateway is not None:
            self._moved[plugin.name] = str(gateway)

    def _examine(self, plugin: Plugin, section: Mapping[str, Any]) -> tuple[list[BoundTool], list[Gateway]]:
        """Import a provider and ask it everything that is asked at start."""
        module = plugin.entry.load()
        self._check_contract(module)
        self._pm.register(module, plugin.name)
        self._pm.check_pending()
        plugin.hooks = tuple(sorted(caller.name for caller in self._pm.get_hookcallers(module) or ()))
        plugin.provider = self._describe(plugin.name)
        return self._bind_tools(plugin, section), self._gateways_of(plugin, section)

    def _set_aside(self, plugin: Plugin, exc: Exception | SystemExit) -> None:
        plugin.state = "set aside"
        plugin.reason = str(exc) if isinstance(exc, PluginError) else f"{type(exc).__name__}: {exc}"
        if self._pm.has_plugin(plugin.name):
            self._pm.unregister(name=plugin.name)
        log.warning("provider %s (%s) is set aside: %s", plugin.name, plugin.distribution, plugin.reason)

    def _check_contract(self, module: Any) -> None:
        major = getattr(module, "KIE_AI_MCP_CONTRACT", CONTRACT[0])
        if major != CONTRACT[0]:
            raise PluginError(
                f"it is built for contract {major}, this server speaks contract {CONTRACT[0]}.",
                next_step="Install versions of both that fit.",
            )

    def _describe(self, name: str) -> Provider:
        described = self._caller("kie_describe_provider", name)()
        if described is None:
            return Provider(title=name.replace("-", " ").title())
        if not isinstance(described, Provider):
            raise PluginError(f"kie_describe_provider returned {type(described).__name__}, not a Provider.")
        return described

    def _bind_tools(self, plugin: Plugin, section: Mapping[str, Any]) -> list[BoundTool]:
        kind = (plugin.provider.kinds or ("image",))[0]
        returned: Iterable[Iterable[Tool | Callable[..., Submission | Query]]]
        returned = self._caller("kie_register_tools", plugin.name)(settings=MappingProxyType(dict(section)))
        tools: list[BoundTool] = []
        for given in (entry for part in returned for entry in part):
            tool = given if isinstance(given, Tool) else Tool(given)
            bound = BoundTool.bind(
                tool.fn, provider=plugin.name, kind=tool.kind or kind, title=tool.title, charges=tool.charges
            )
            owner = self._owners.get(bound.name) or next((plugin.name for t in tools if t.name == bound.name), None)
            if owner is not None:
                raise PluginError(f"its tool {bound.name} exists already: it belongs to {owner}.")
            tools.append(bound)
        return tools

    def _gateways_of(self, plugin: Plugin, section: Mapping[str, Any]) -> list[Gateway]:
        returned = self._caller("kie_register_gateways", plugin.name)(settings=MappingProxyType(dict(section)))
        gateways = [gateway for part in returned for gateway in part]
        for gateway in gateways:
            if not isinstance(gateway, Gateway):
                raise PluginError(f"kie_register_gateways returned {type(gateway).__name__}, not a Gateway.")
            if gateway.name == KIE or gateway.name in self.gateways:
                owner = self._gateway_owners.get(gateway.name, "the server itself")
                raise PluginError(f"its gateway {gateway.name} exists already: it belongs to {owner}.")
        return gateways

    def _move_to_gateways(self) -> None:
        """Let another service stand in for providers whose section says so."""
        for name, target in self._moved.items():
            gateway = self.gateways.get(target)
            if gateway is None:
                raise ConfigError(
                    f"[providers.{name}] gateway is {target!r}, but no enabled provider registers it.",
                    next_step=nearest(target, self.gateways),
                )
            tools = [tool for tool in self.tools.values() if tool.provider == name]
            if tools and not any(tool.name in gateway.serves for tool in tools):
                raise ConfigError(
                    f"[providers.{name}] gateway is {target!r}, which does not serve {tools[0].name}.",
                    next_step=f"It serves: {', '.join(sorted(gateway.serves)) or 'nothing'}.",
                )
            for tool in tools:
                fn = gateway.serves.get(tool.name)
                if fn is None:
                    # Not left where it was: whoever moved the family does not expect a bill from there.
                    log.warning("%s is left out: %s does not serve it", tool.name, target)
                    del self.tools[tool.name]
                    continue
                try:
                    self.tools[tool.name] = BoundTool.bind(
                        fn, provider=name, kind=tool.kind, title=tool.title, name=tool.name
                    )
                except PluginError as exc:
                    raise ConfigError(f"The gateway {target} can't serve {tool.name}: {exc}") from exc

    def _check_variables(self) -> None:
        """Refuse variables of providers that don't exist, or of settings that they don't have."""
        for variable_name in self._settings.provider_variables:
            rest = variable_name.removeprefix(PROVIDER_PREFIX)
            owners = [name for name in self.plugins if rest.startswith(f"{name.upper().replace('-', '_')}_")]
            if not owners:
                raise ConfigError(
                    f"{variable_name} is for a provider that is not installed.", next_step=nearest(rest, self.plugins)
                )

    def _choose_tools(self) -> None:
        settings = self._settings
        for setting in ("enabled_tools", "disabled_tools"):
            for name in getattr(settings, setting):
                if name not in self._owners:
                    raise ConfigError(
                        f"{variable(setting)} names {name!r}, but there is no such tool.",
                        next_step=nearest(name, self._owners),
                    )
        self.tools = {name: tool for name, tool in self.tools.items() if self.lists(name, tool)}

    def lists(self, name: str, tool: BoundTool | None = None) -> bool:
        """Whether the configuration lets a tool be listed and called; a tool of the server has no kind."""
        settings = self._settings
        if name in settings.disabled_tools or (settings.enabled_tools and name not in settings.enabled_tools):
            return False
        return tool is None or not settings.kinds or tool.kind in settings.kinds

    # -- asking --------------------------------------------------------------------------------------------------

    def _caller(self, hook: str, owner: str) -> pluggy.HookCaller:
        """Return the hook as only `owner` implements it."""
        if (hook, owner) not in self._callers:
            others = [plugin for name, plugin in self._pm.list_name_plugin() if name != owner and plugin is not None]
            self._callers[hook, owner] = self._pm.subset_hook_caller(hook, others)
        return self._callers[hook, owner]

    def _ask(self, hook: str, about: Task, expected: tuple[type, ...], **arguments: Any) -> Any:
        owner = about.provider
        if about.gateway != KIE:
            # Who speaks for a service is who registered it, whichever family the task belongs to.
            owner = self._gateway_owners.get(about.gateway, about.gateway)
        plugin = self.plugins.get(owner)
        if owner not in SHARED and (plugin is None or plugin.state != "enabled"):
            state = f"{plugin.state} ({plugin.reason})" if plugin else "not installed"
            raise ReadFailed(
                f"The provider {owner}, which the task belongs to, is {state}.",
                next_step=f"Enable or install it, for example with pip install kie-ai-mcp-{owner}.",
                can_retry=False,
            )
        for name in (DEFAULTS,) if owner in SHARED else (owner, DEFAULTS):
            try:
                answer = self._caller(hook, name)(**arguments)
            except Exception as exc:
                log.exception("provider %s failed in %s", name, hook)
                raise ReadFailed(f"The provider {name} failed in {hook}: {type(exc).__name__}: {exc}.") from exc
            if isinstance(answer, expected):
                return answer
            if answer is not None:
                raise ReadFailed(f"The provider {name} returned {type(answer).__name__} from {hook}.")
        raise ReadFailed(f"Nobody answers {hook} for a task of {owner}.")


def _in_time(work: Callable[[], Loaded]) -> Loaded:
    """Run a stranger's code and return what it returns, but wait for it only so long.

    An alarm costs microseconds; a thread for each provider would cost as much as loading it. Where there are no
    alarms (on Windows, or off the main thread) the wait has no limit.

    Raises:
        PluginError: It did not come back in time.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return work()

    def late(_signal: int, _frame: object) -> None:
        raise PluginError(f"it did not finish loading within {LOAD_S:g} s.")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LOAD_S)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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


def _installed() -> dict[str, Plugin]:
    """List the installed providers, sorted by name, without importing any; two of one name are set aside."""
    plugins: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=PROJECT), key=lambda entry: entry.name):
        plugin = Plugin(entry.name, entry)
        first = plugins.setdefault(entry.name, plugin)
        if entry.name in {DEFAULTS, *SHARED}:
            plugin.state, plugin.reason = "set aside", f"a provider can't be called {entry.name!r}"
        if first is not plugin:
            first.state = "set aside"
            first.reason = f"two distributions offer it: {first.distribution} and {plugin.distribution}; uninstall one"
    return plugins


def editable_sources() -> list[Path]:
    """Return the folder, or the file, of every provider that is installed editable; imports none."""
    sources: set[Path] = set()
    for entry in entry_points(group=PROJECT):
        try:
            installed = json.loads((entry.dist and entry.dist.read_text("direct_url.json")) or "{}")
            spec = find_spec(entry.module.partition(".")[0])
        except (ValueError, ImportError):
            continue
        if not installed.get("dir_info", {}).get("editable") or spec is None:
            continue
        sources.update(map(Path, spec.submodule_search_locations or filter(None, [spec.origin])))
    return sorted(source for source in sources if source.exists())
