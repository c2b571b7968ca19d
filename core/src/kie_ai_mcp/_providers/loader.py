"""Providers: loaded one at a time, checked, asked through their hooks.

A provider that breaks the contract is set aside with its reason; every other one goes on. A task is asked of
its owner first and of the defaults next, so that no plugin can answer for another's task.
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
from kie_ai_mcp._providers import defaults
from kie_ai_mcp._providers.arguments import BoundTool
from kie_ai_mcp._providers.contract import wrong_in_outcome, wrong_in_provider, wrong_in_route
from kie_ai_mcp._providers.guard import in_time, told
from kie_ai_mcp._providers.installed import DEFAULTS, KIE, SHARED, Plugin, check_rooms, installed
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._settings.settings import Settings, provider_variable, variable
from kie_ai_mcp.errors import ConfigError, PluginError, ReadFailed
from kie_ai_mcp.hookspecs import CONTRACT, PROJECT
from kie_ai_mcp.specs import Gateway, Outcome, Provider, Query, StatusRoute, Submission, Task, Tool

if TYPE_CHECKING:
    import click

log = logging.getLogger(__name__)

LOAD_S = 10.0
"""How long one provider may take to be imported and asked."""

GATEWAY_SETTING = "gateway"
"""The one setting that every provider's section may have: which service stands in for it."""

SERVER = "the server itself"
"""Who owns names that no provider may take."""


@dataclass(frozen=True)
class _Candidate:
    """A provider that keeps the contract, before it is known whether its names are nobody else's."""

    plugin: Plugin
    tools: list[BoundTool]
    gateways: list[Gateway]
    moved_to: str | None

    def names(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each name that must be this provider's alone: of what, the name, whether it speaks of the provider."""
        own = self.plugin.name
        for tool in self.tools:
            yield "tool", tool.name, _speaks_of(tool.name.partition("_")[2], own)
        for gateway in self.gateways:
            yield "gateway", gateway.name, _speaks_of(gateway.name, own)
        for api_type in self.plugin.provider.api_types:
            yield "api_type", api_type, _speaks_of(api_type, own)


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
        self._owners = {("tool", name): SERVER for name in reserved} | {("gateway", KIE): SERVER}
        self._pm = pluggy.PluginManager(PROJECT)
        self._pm.add_hookspecs(hookspecs)
        self._pm.register(defaults, DEFAULTS)
        self._callers: dict[tuple[str, str], pluggy.HookCaller] = {}
        self.tools: dict[str, BoundTool] = {}
        self.gateways: dict[str, Gateway] = {}
        self._moved: dict[str, str] = {}
        self.plugins = installed()
        self._check_names()
        candidates: list[_Candidate] = []
        with _quiet():
            for name, plugin in self.plugins.items():
                if plugin.state == "enabled" and self._wanted(name):
                    candidates += self._load(plugin)
                elif plugin.state == "enabled":
                    plugin.state, plugin.reason = "disabled", "by configuration"
        # Of two that take one name, the one that the name speaks of keeps it, wherever it stands in the alphabet.
        for candidate in sorted(candidates, key=lambda found: not all(own for _, _, own in found.names())):
            self._admit(candidate)
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

    def register_commands(self, group_of: "Callable[[str], click.Group]") -> None:
        """Let every enabled provider add its subcommands to the group that `group_of` gives for its name."""
        for name, plugin in self.plugins.items():
            if plugin.state != "enabled":
                continue
            try:
                self._caller("kie_register_commands", name)(commands=group_of(name))
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

    def _load(self, plugin: Plugin) -> list[_Candidate]:
        """Import a provider and ask it; return it where it keeps the contract, nothing where it is set aside."""
        section = self._settings.section(plugin.name)
        moved_to = section.pop(GATEWAY_SETTING, None)
        try:
            tools, gateways = in_time(lambda: self._examine(plugin, section), LOAD_S)
        except KeyboardInterrupt:  # the user's, who waits for all this
            raise
        except BaseException as exc:  # noqa: BLE001  a stranger's code may raise anything
            self._set_aside(plugin, exc)
            return []
        undeclared = sorted(set(section) - set(plugin.provider.settings))
        if undeclared:
            self._refuse_setting(plugin, undeclared[0])
        return [_Candidate(plugin, tools, gateways, None if moved_to is None else str(moved_to))]

    def _refuse_setting(self, plugin: Plugin, name: str) -> None:
        known = (*plugin.provider.settings, GATEWAY_SETTING)
        written = provider_variable(plugin.name, name)
        if written in self._settings.provider_variables:
            near = nearest(written, [provider_variable(plugin.name, key) for key in known])
            raise ConfigError(f"{written} is set, but the provider {plugin.name} has no such setting.", next_step=near)
        raise ConfigError(f"[providers.{plugin.name}] has no setting {name!r}.", next_step=nearest(name, known))

    def _admit(self, candidate: _Candidate) -> None:
        """Take a provider in, unless one of its names is another's."""
        plugin, taken = candidate.plugin, dict[tuple[str, str], str]()
        for what, name, _ in candidate.names():
            owner = (self._owners | taken).get((what, name))
            if owner is not None:
                reason = f"its {what} {name} exists already: it belongs to {owner}."
                other = "" if owner in {SERVER, plugin.name} else f", or disable {owner}"
                self._set_aside(plugin, PluginError(reason, next_step=f"{_cure(plugin)[:-1]}{other}."))
                return
            taken[what, name] = plugin.name
        self._owners |= taken
        plugin.tools = tuple(tool.name for tool in candidate.tools)
        self.tools |= {tool.name: tool for tool in candidate.tools}
        self.gateways |= {gateway.name: gateway for gateway in candidate.gateways}
        if candidate.moved_to is not None:
            self._moved[plugin.name] = candidate.moved_to

    def _examine(self, plugin: Plugin, section: Mapping[str, Any]) -> tuple[list[BoundTool], list[Gateway]]:
        """Import a provider and ask it everything that is asked at start."""
        module = plugin.entry.load()
        self._check_contract(module)
        check_rooms(plugin.entry.module)
        self._pm.register(module, plugin.name)
        self._pm.check_pending()
        plugin.hooks = tuple(sorted(caller.name for caller in self._pm.get_hookcallers(module) or ()))
        if not plugin.hooks:
            raise PluginError("it answers no hook.", next_step="Its author must mark the hooks in it with @hookimpl.")
        plugin.provider = self._describe(plugin.name)
        return self._bind_tools(plugin, section), self._gateways_of(plugin, section)

    def _set_aside(self, plugin: Plugin, exc: BaseException) -> None:
        plugin.state, plugin.tools = "set aside", ()
        plugin.reason, plugin.cure = told(exc), _cure(plugin)
        if isinstance(exc, PluginError):
            plugin.reason, plugin.cure = exc.message, exc.next_step or plugin.cure
        elif isinstance(exc, ModuleNotFoundError) and exc.name:
            plugin.cure = f"Install {exc.name}, which it needs. {plugin.cure}"
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
        wrong = wrong_in_provider(described)
        if wrong is not None:
            raise PluginError(f"kie_describe_provider returned a Provider that can't be used: {wrong}.")
        return described

    def _bind_tools(self, plugin: Plugin, section: Mapping[str, Any]) -> list[BoundTool]:
        kind = (plugin.provider.kinds or ("image",))[0]
        returned: Iterable[Iterable[Tool | Callable[..., Submission | Query]]]
        returned = self._caller("kie_register_tools", plugin.name)(settings=MappingProxyType(dict(section)))
        tools = [given if isinstance(given, Tool) else Tool(given) for part in returned for given in part]
        return [
            BoundTool.bind(
                tool.fn, provider=plugin.name, kind=tool.kind or kind, title=tool.title, charges=tool.charges
            )
            for tool in tools
        ]

    def _gateways_of(self, plugin: Plugin, section: Mapping[str, Any]) -> list[Gateway]:
        returned = self._caller("kie_register_gateways", plugin.name)(settings=MappingProxyType(dict(section)))
        gateways = [gateway for part in returned for gateway in part]
        for gateway in gateways:
            if not isinstance(gateway, Gateway):
                raise PluginError(f"kie_register_gateways returned {type(gateway).__name__}, not a Gateway.")
        return gateways

    def _move_to_gateways(self) -> None:
        """Let another service stand in for providers whose section says so."""
        for name, target in self._moved.items():
            gateway = self.gateways.get(target)
            tools = [tool for tool in self.tools.values() if tool.provider == name]
            owner = self.plugins.get(target)
            if gateway is None and owner is not None and owner.state == "set aside":
                # Not left where it was: whoever moved the family does not expect a bill from there.
                reason = PluginError(f"its gateway {target} is set aside.", next_step=owner.cure)
                self._set_aside(self.plugins[name], reason)
                self.tools = {known: tool for known, tool in self.tools.items() if tool.provider != name}
                continue
            if gateway is None:
                raise ConfigError(
                    f"[providers.{name}] gateway is {target!r}, but no enabled provider registers it.",
                    next_step=self._way_back(target) if owner is not None else nearest(target, self.gateways),
                )
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
        known = [
            provider_variable(name, key)
            for name, plugin in self.plugins.items()
            for key in (*plugin.provider.settings, GATEWAY_SETTING)
        ]
        for written in self._settings.provider_variables:
            if not any(written.startswith(provider_variable(name, "")) for name in self.plugins):
                raise ConfigError(
                    f"{written} is for a provider that is not installed.", next_step=nearest(written, known)
                )

    def _choose_tools(self) -> None:
        settings = self._settings
        known = [name for what, name in self._owners if what == "tool"]
        for setting in ("enabled_tools", "disabled_tools"):
            for name in getattr(settings, setting):
                # The tools of a provider that is not used are not known; a name may still speak of one.
                unused = (plugin.name for plugin in self.plugins.values() if plugin.state != "enabled")
                if name not in known and not any(_speaks_of(name.partition("_")[2], other) for other in unused):
                    raise ConfigError(
                        f"{variable(setting)} names {name!r}, but there is no such tool.",
                        next_step=nearest(name, known),
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

    def _way_back(self, name: str) -> str:
        """Return what makes a provider usable that is not."""
        plugin = self.plugins.get(name)
        if plugin is None:
            return f"Install it, for example with pip install kie-ai-mcp-{name}."
        if plugin.state == "set aside":
            return plugin.cure
        if name in self._settings.disabled_providers:
            return f"Take {name} off {variable('disabled_providers')}."
        return f"Add {name} to {variable('enabled_providers')}."

    def _ask(self, hook: str, about: Task, expected: tuple[type, ...], **arguments: Any) -> Any:
        owner = about.provider
        if about.gateway != KIE:
            # Who speaks for a service is who registered it, whichever family the task belongs to.
            owner = self._owners.get(("gateway", about.gateway), about.gateway)
        plugin = self.plugins.get(owner)
        if owner not in SHARED and (plugin is None or plugin.state != "enabled"):
            state = f"{plugin.state} ({plugin.reason.rstrip('.')})" if plugin else "not installed"
            raise ReadFailed(
                f"The provider {owner}, which the task belongs to, is {state}.",
                next_step=f"{self._way_back(owner)} The task itself goes on, and is read once the server is restarted.",
                can_retry=False,
            )
        for name in (DEFAULTS,) if owner in SHARED else (owner, DEFAULTS):
            try:
                answer = self._caller(hook, name)(**arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:  # a stranger's code may raise anything
                log.exception("provider %s failed in %s", name, hook)
                raise ReadFailed(f"The provider {name} failed in {hook}: {told(exc)}.") from exc
            if isinstance(answer, expected):
                wrong = wrong_in_outcome(answer) if isinstance(answer, Outcome) else wrong_in_route(answer)
                if wrong is not None:
                    raise ReadFailed(f"What the provider {name} returned from {hook} can't be used: {wrong}.")
                return answer
            if answer is not None:
                raise ReadFailed(f"The provider {name} returned {type(answer).__name__} from {hook}.")
        raise ReadFailed(f"Nobody answers {hook} for a task of {owner}.")


def _speaks_of(name: str, provider: str) -> bool:
    """Whether a name begins with a provider's own, as a word: ``flux_image`` and ``flux-edit`` with ``flux``."""
    name, word = name.replace("-", "_"), provider.replace("-", "_")
    return name.startswith(word) and not name[len(word) :][:1].islower()


def _cure(plugin: Plugin) -> str:
    return f"Update or uninstall {plugin.distribution}, or add {plugin.name} to {variable('disabled_providers')}."


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
