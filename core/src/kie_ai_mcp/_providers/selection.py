"""Selection of providers, tools and kinds by the settings, and checks of the names that the settings mention."""

import logging
from collections.abc import Iterable, Mapping

from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._settings.settings import Settings, provider_variable, variable
from kie_ai_mcp.errors import ConfigError, PluginError
from kie_ai_mcp.specs import Gateway

log = logging.getLogger(__name__)

GATEWAY_SETTING = "gateway"
"""The one setting that every provider's section may have: the service that stands in for Kie.ai."""


def is_selected(settings: Settings, name: str) -> bool:
    """Return whether the settings let a provider be loaded."""
    enabled = settings.enabled_providers
    return name not in settings.disabled_providers and (not enabled or name in enabled)


def is_listed(settings: Settings, name: str, tool: BoundTool | None = None) -> bool:
    """Return whether the settings let a tool be listed and called; a tool of the server itself has no kind."""
    if name in settings.disabled_tools or (settings.enabled_tools and name not in settings.enabled_tools):
        return False
    return tool is None or not settings.kinds or tool.kind in settings.kinds


def cure_of(plugin: Plugin) -> str:
    """Return what a user can do about a provider that is set aside."""
    return f"Update or uninstall {plugin.distribution}, or add {plugin.name} to {variable('disabled_providers')}."


def way_back(settings: Settings, name: str, plugin: Plugin | None) -> str:
    """Return what makes a provider usable that is not.

    Args:
        settings: The settings.
        name: The provider's name.
        plugin: The provider; None where it is not installed.
    """
    if plugin is None:
        return f"Install it, for example with pip install kie-ai-mcp-{name}."
    if plugin.state == "set aside":
        return plugin.cure
    if name in settings.disabled_providers:
        return f"Take {name} off {variable('disabled_providers')}."
    return f"Add {name} to {variable('enabled_providers')}."


# Checks --------------------------------------------------------------------------------------------------------------


def check_providers(settings: Settings, plugins: Mapping[str, Plugin]) -> None:
    """Check the providers that the settings name.

    Raises:
        ConfigError: One is not installed, or both enabled and disabled.
    """
    for setting in ("enabled_providers", "disabled_providers"):
        for name in getattr(settings, setting):
            if name not in plugins:
                raise ConfigError(
                    f"{variable(setting)} names {name!r}, but no such provider is installed.",
                    next_step=nearest(name, plugins),
                )
    for name in settings.providers:
        if name not in plugins:
            raise ConfigError(
                f"The configuration has a section [providers.{name}], but no such provider is installed.",
                next_step=nearest(name, plugins),
            )
    both = sorted(set(settings.enabled_providers) & set(settings.disabled_providers))
    if both:
        raise ConfigError(f"The provider {both[0]!r} is both enabled and disabled.", next_step="Take it off one.")


def check_section(settings: Settings, plugin: Plugin, section: Iterable[str]) -> None:
    """Check the settings of one loaded provider.

    Raises:
        ConfigError: The provider does not declare one of them.
    """
    undeclared = sorted(set(section) - set(plugin.provider.settings))
    if not undeclared:
        return
    known = (*plugin.provider.settings, GATEWAY_SETTING)
    written = provider_variable(plugin.name, undeclared[0])
    if written in settings.provider_variables:
        near = nearest(written, [provider_variable(plugin.name, key) for key in known])
        raise ConfigError(f"{written} is set, but the provider {plugin.name} has no such setting.", next_step=near)
    raise ConfigError(
        f"[providers.{plugin.name}] has no setting {undeclared[0]!r}.", next_step=nearest(undeclared[0], known)
    )


def check_variables(settings: Settings, plugins: Mapping[str, Plugin]) -> None:
    """Check the variables for settings of providers.

    Raises:
        ConfigError: One is for a provider that is not installed.
    """
    known = [
        provider_variable(name, key)
        for name, plugin in plugins.items()
        for key in (*plugin.provider.settings, GATEWAY_SETTING)
    ]
    for written in settings.provider_variables:
        if not any(written.startswith(provider_variable(name, "")) for name in plugins):
            raise ConfigError(f"{written} is for a provider that is not installed.", next_step=nearest(written, known))


def check_tools(settings: Settings, tools: Iterable[str], plugins: Mapping[str, Plugin]) -> None:
    """Check the tools that the settings name.

    Args:
        settings: The settings.
        tools: The name of every tool, whether it is listed or not.
        plugins: Every installed provider.

    Raises:
        ConfigError: There is no such tool.
    """
    known = list(tools)
    # The tools of a provider that is not loaded are unknown, so a name that begins with the provider's may be one.
    unused = [plugin.name for plugin in plugins.values() if plugin.state != "enabled"]
    for setting in ("enabled_tools", "disabled_tools"):
        for name in getattr(settings, setting):
            if name not in known and not any(_begins_with(name.partition("_")[2], provider) for provider in unused):
                raise ConfigError(
                    f"{variable(setting)} names {name!r}, but there is no such tool.", next_step=nearest(name, known)
                )


def _begins_with(name: str, provider: str) -> bool:
    """Return whether a name begins with a provider's, as a word: ``flux_image`` with ``flux``, but not ``fluxes``."""
    word = provider.replace("-", "_")
    return name.startswith(word) and not name[len(word) :][:1].islower()


# Gateways that stand in ----------------------------------------------------------------------------------------------


def served_tools(name: str, gateway: Gateway, tools: Mapping[str, BoundTool]) -> dict[str, BoundTool]:
    """Return the tools of a provider as another service serves them; those that it does not serve are left out.

    Args:
        name: The provider's name.
        gateway: The service that stands in.
        tools: The provider's own tools.

    Raises:
        ConfigError: The service serves none of them, or its function can't be a tool.
    """
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
        try:
            served[tool.name] = BoundTool.bind(fn, provider=name, kind=tool.kind, title=tool.title, name=tool.name)
        except PluginError as exc:
            raise ConfigError(f"The gateway {gateway.name} can't serve {tool.name}: {exc}") from exc
    return served
