"""A provider as the server loads it, found by its name or given as a module. Part of `kie_ai_mcp.testing`."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import Distribution, DistributionFinder, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from kie_ai_mcp import hookspecs
from kie_ai_mcp._app.own_tools import NAMES
from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import KieError
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import Gateway

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("kie_"))
"""Every hook of the contract."""

PREFIX = f"{PROJECT}_"


@dataclass(frozen=True)
class Loaded:
    """One provider, loaded as the only enabled one."""

    name: str
    plugins: Plugins

    @property
    def plugin(self) -> Plugin:
        """Its entry in the list of providers, with state and reason."""
        return self.plugins.plugins[self.name]

    @property
    def tools(self) -> Mapping[str, BoundTool]:
        """Its tools by name."""
        return self.plugins.tools

    @property
    def gateways(self) -> list[Gateway]:
        """The services that it registers."""
        return list(self.plugins.gateways.values())

    @cached_property
    def served(self) -> Mapping[str, BoundTool]:
        """The tools of other providers that its gateways serve, by gateway and tool.

        Raises:
            PluginError: A function can't be a tool; says why.
        """
        return {
            f"{gateway.name}: {name}": BoundTool.bind(fn, provider=self.name, kind="image", name=name)
            for gateway in self.gateways
            for name, fn in gateway.serves.items()
        }


class _Offered(Distribution):
    """A distribution that offers one module as a provider, without being installed."""

    def __init__(self, name: str, module: str) -> None:
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: kie-ai-mcp-{name}\nVersion: 0\n",
            "entry_points.txt": f"[{PROJECT}]\n{name} = {module}\n",
        }

    def read_text(self, filename: str) -> str | None:
        return self._texts.get(filename)

    def locate_file(self, path: Any) -> Any:
        return Path(path)


class _Finder(DistributionFinder):
    def __init__(self, offered: Distribution) -> None:
        self._offered = offered

    def find_spec(self, *_: Any) -> None:
        return None

    def find_distributions(self, _context: Any = None) -> Iterator[Distribution]:
        yield self._offered


def installed() -> dict[str, EntryPoint]:
    """Return the entry point of every installed provider by name, without importing any."""
    return {entry.name: entry for entry in sorted(entry_points(group=PROJECT), key=lambda entry: entry.name)}


def load(provider: str | ModuleType, settings: Mapping[str, Any] | None = None) -> Loaded:
    """Load one provider as the server would, with every other one disabled.

    Args:
        provider: The entry point's name, or the module itself, which need not be installed.
        settings: Its section of the configuration.

    Raises:
        AssertionError: No such provider is installed, or it does not take the settings.
    """
    if isinstance(provider, str):
        if provider not in installed():
            raise AssertionError(
                f"No provider named {provider!r} is installed here. {nearest(provider, installed())} "
                "Install the package that brings it into this environment, for example with: pip install -e ."
            )
        return _load(provider, settings)
    name = name_of(provider)
    if name in installed() and installed()[name].value == provider.__name__:
        return _load(name, settings)
    with _offered(name, provider):
        return _load(name, settings)


def module_of(provider: str | ModuleType) -> ModuleType | None:
    """Return a provider's module; None where it can't be imported."""
    if isinstance(provider, ModuleType):
        return provider
    entry = installed().get(provider)
    return sys.modules.get(entry.module) if entry else None


def name_of(module: ModuleType) -> str:
    """Return the provider name of a module: its entry point's, else one made from the module's own."""
    for name, entry in installed().items():
        if entry.value == module.__name__:
            return name
    return module.__name__.rpartition(".")[2].removeprefix(PREFIX).replace("_", "-")


@cache
def others(name: str) -> Plugins:
    """Return every installed provider but one."""
    disabled = [name] if name in installed() else []
    return Plugins(Settings.model_validate({"disabled_providers": disabled}), reserved=NAMES)


def is_marked(hook: Any) -> bool:
    """Return whether a function carries the mark of `hookimpl`."""
    return inspect.isroutine(hook) and hasattr(hook, f"{PROJECT}_impl")


def _load(name: str, settings: Mapping[str, Any] | None) -> Loaded:
    sections = {} if settings is None else {name: dict(settings)}
    try:
        chosen = Settings.model_validate({"enabled_providers": [name], "providers": sections})
        return Loaded(name, Plugins(chosen, reserved=NAMES))
    except KieError as exc:
        raise AssertionError(f"provider {name}: {exc}") from exc


@contextmanager
def _offered(name: str, module: ModuleType) -> Iterator[None]:
    finder, before = _Finder(_Offered(name, module.__name__)), sys.modules.get(module.__name__)
    sys.meta_path.append(finder)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
