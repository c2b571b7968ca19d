"""Choice of providers and gateways by the settings, and checks of the names that the settings mention."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.tools import BoundTool, check_defaults, tool_name
from kie_ai_mcp._settings.load import config_file, near_misses, nearest
from kie_ai_mcp._settings.settings import SUBPREFIX, Settings, provider_variable
from kie_ai_mcp._settings.sources import name_of, way_to_set
from kie_ai_mcp.errors import ConfigError, PluginError
from kie_ai_mcp.specs import GATEWAY_SETTING, Availability, Gateway, Tool

log = logging.getLogger(__name__)

RANKS: Mapping[Availability, int] = {"current": 0, "undocumented": 1, "retired": 2}  # the order of lists


def allows(name: str, enabled: Sequence[str], disabled: Sequence[str]) -> bool:
    """Return whether a name may be used: it is not disabled, and enabled where any is."""
    return name not in disabled and (not enabled or name in enabled)


def cure_of(plugin: Plugin) -> str:
    """Return what a user can do about a provider that is set aside."""
    folder = plugin.folder
    mend = f"Correct it in {folder}" if folder else f"Update or uninstall {plugin.distribution}"
    return f"{mend}, or disable it: {way_to_set('disabled_providers', '--add', plugin.name)}."


def check_providers(settings: Settings, plugins: Mapping[str, Plugin]) -> None:
    """Raise ConfigError where the settings name a provider that is not installed, or both enabled and disabled."""
    for setting in ("enabled_providers", "disabled_providers", "providers"):
        for name in getattr(settings, setting):
            place = f"{name_of(setting)} names {name!r}"
            if setting == "providers":
                place = f"The configuration has a section [providers.{name}]"
            if name not in plugins:
                reason, cure = f"{place}, but no such provider is installed.", nearest(name, plugins)
                raise ConfigError(reason, next_step=cure, where=(setting, name))
    for name in sorted(set(settings.enabled_providers) & set(settings.disabled_providers)):
        reason = f"The provider {name!r} is both enabled and disabled."
        raise ConfigError(reason, next_step="Take it off one.", where=("enabled_providers", name))


def check_section(settings: Settings, plugin: Plugin, section: Iterable[str]) -> None:
    """Raise ConfigError where the settings of a loaded provider have one that it does not declare."""
    keys = _keys(plugin)
    for key in sorted(set(section) - set(plugin.provider.settings)):
        written = provider_variable(plugin.name, key)
        if written in settings.provider_variables:
            near = nearest(written, [provider_variable(plugin.name, known) for known in keys])
            reason = f"{written} is set, but the provider {plugin.name} has no such setting."
            raise ConfigError(reason, next_step=near, where=("provider_variables", written))
        reason = f"[providers.{plugin.name}] has no setting {key!r}."
        raise ConfigError(reason, next_step=nearest(key, keys), where=("providers", plugin.name))


def foreign_variables(settings: Settings, plugins: Mapping[str, Plugin]) -> list[str]:
    """Return the variables for providers that are not installed; raise ConfigError where one nearly names another."""
    variables = [provider_variable(name, key) for name, plugin in plugins.items() for key in _keys(plugin)]
    starts = tuple(provider_variable(name, "") for name in plugins)
    foreign = [written for written in settings.provider_variables if not written.startswith(starts)]
    for written in foreign:
        if near_misses(written.removeprefix(SUBPREFIX), (known.removeprefix(SUBPREFIX) for known in variables)):
            reason = f"{written} is for a provider that is not installed."
            raise ConfigError(reason, next_step=nearest(written, variables), where=("provider_variables", written))
    return foreign


def check_tools(settings: Settings, tools: Iterable[str], plugins: Mapping[str, Plugin]) -> None:
    """Raise ConfigError where the settings name a tool that is not among `tools`, whether listed or not."""
    names = list(tools)
    # The tools of a provider that is not loaded are unknown, so a name that begins with the provider's may be one.
    unused = [plugin.name for plugin in plugins.values() if plugin.state != "enabled"]
    for setting in ("enabled_tools", "disabled_tools", "tools"):
        known = names if setting != "tools" else [*names, *map(tool_name, settings.pinned_models)]
        place = name_of(setting) if setting != "tools" else f"[tools.NAME] in {config_file()}"
        for name in getattr(settings, setting):
            if name not in known and not any(_begins_with(name.partition("_")[2], provider) for provider in unused):
                reason = f"{place} names {name!r}, but there is no such tool."
                raise ConfigError(reason, next_step=nearest(name, known), where=(setting, name))


def with_defaults(settings: Settings, tool: BoundTool) -> BoundTool:
    """Return a tool with the user's own defaults of its arguments; raise ConfigError where it does not take them."""
    if usual := settings.tools.get(tool.name):
        tool = replace(tool, usual=usual)
        check_defaults(tool.name, usual, partial(tool.check, saves=settings.output_dir is not None))
    return tool


def _keys(plugin: Plugin) -> tuple[str, ...]:
    return (*plugin.provider.settings, GATEWAY_SETTING)


def _begins_with(name: str, provider: str) -> bool:
    """Return whether a name begins with a provider's, as a word: ``flux_image`` with ``flux``, but not ``fluxes``."""
    word = provider.replace("-", "_")
    return name.startswith(word) and not name[len(word) :][:1].islower()


def served_tools(name: str, gateway: Gateway, tools: Mapping[str, BoundTool]) -> dict[str, BoundTool]:
    """Return a provider's tools as another service serves them; raise ConfigError where it serves none, or wrongly."""
    if tools and not tools.keys() & gateway.serves.keys():
        raise ConfigError(
            f"[providers.{name}] gateway is {gateway.name!r}, which does not serve {next(iter(tools))}.",
            next_step=f"It serves: {', '.join(sorted(gateway.serves)) or 'nothing'}.",
        )
    served: dict[str, BoundTool] = {}
    for tool in tools.values():
        fn = gateway.serves.get(tool.name)
        if fn is None:
            # Never at Kie.ai instead: a user who moved the family does not expect a bill from there.
            log.warning("%s is left out: %s does not serve it", tool.name, gateway.name)
            continue
        entry = Tool(fn, tool.kind, tool.title)
        try:
            served[tool.name] = BoundTool.bind(entry, provider=name, kind=tool.kind, name=tool.name)
        except PluginError as exc:
            raise ConfigError(f"The gateway {gateway.name} can't serve {tool.name}: {exc}") from exc
    return served
