"""Loading of one provider as the server does it, by its name or given as a module. Part of `kie_ai_mcp.testing`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest

from kie_ai_mcp._app.app import RESERVED
from kie_ai_mcp._providers.installed import Plugin
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.installation import PROVIDERS
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import KieError
from kie_ai_mcp.hookspecs import PROJECT


@dataclass(frozen=True)
class Loaded:
    """One provider, loaded as the only enabled one; without a module where it can't be imported.

    The bodies of answers to its requests, as far as its author gives them, are `accepted`.
    """

    name: str
    plugins: Plugins
    module: ModuleType | None
    settings: Mapping[str, Any]
    accepted: Sequence[Any] = ()

    @property
    def plugin(self) -> Plugin:
        """Its entry in the list of providers, with state and reason."""
        return self.plugins.plugins[self.name]

    @property
    def tools(self) -> Mapping[str, BoundTool]:
        """Its own tools by name."""
        return self.plugins.tools

    @cached_property
    def models(self) -> list[Any]:
        """What it registers as models that are known as data."""
        answers = self.plugins.hook("kie_register_models", self.name)(settings=self.settings)
        return [model for answer in answers for model in answer]

    @cached_property
    def all_tools(self) -> Mapping[str, BoundTool]:
        """Its own tools, and those of other providers that its gateways serve, by gateway and tool."""
        served = {
            f"{gateway.name}: {name}": BoundTool.bind(fn, provider=self.name, kind="image", name=name)
            for gateway in self.plugins.gateways.values()
            for name, fn in gateway.serves.items()
        }
        return {**self.tools, **served}


def entry_of(provider: str) -> EntryPoint:
    """Return the entry point of a provider without importing it; raise `AssertionError` if it is not installed."""
    if provider in _installed():
        return _installed()[provider]
    reason = f"No provider named {provider!r} is installed here. {nearest(provider, _installed())}"
    cure = "Install the package that brings it into this environment, for example with: pip install -e ."
    with suppress(PackageNotFoundError):
        own = distribution(f"{PROVIDERS}{provider}")
        groups = ", ".join(sorted({entry.group for entry in own.entry_points})) or "none"
        reason = (
            f"{own.name} is installed here, and offers no provider {provider!r}; groups of its entry points: {groups}."
        )
        cure = f'Write {provider} = "MODULE" below [project.entry-points.{PROJECT}], and install it again.'
    raise AssertionError(f"{reason} {cure}")


def load(provider: str | ModuleType, settings: Mapping[str, Any] | None = None) -> Loaded:
    """Load one provider as the server would, with every other one disabled; a module need not be installed.

    Raises:
        AssertionError: No such provider is installed, or it does not take the settings.
    """
    if isinstance(provider, str):
        entry = entry_of(provider)
        return Loaded(provider, _load(provider, settings), sys.modules.get(entry.module), settings or {})
    for name, entry in _installed().items():
        if entry.value == provider.__name__:
            return Loaded(name, _load(name, settings), provider, settings or {})
    name = provider.__name__.rpartition(".")[2].removeprefix(f"{PROJECT}_").replace("_", "-")
    with _offered(name, provider):
        return Loaded(name, _load(name, settings), provider, settings or {})


@cache
def others(name: str) -> Plugins:
    """Return every installed provider but one."""
    disabled = [name] if name in _installed() else []
    return Plugins(Settings.model_validate({"disabled_providers": disabled}), reserved=RESERVED)


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=PROJECT)}


def _load(name: str, settings: Mapping[str, Any] | None) -> Plugins:
    sections = {} if settings is None else {name: dict(settings)}
    try:
        chosen = Settings.model_validate({"enabled_providers": [name], "providers": sections})
        return Plugins(chosen, reserved=RESERVED)
    except KieError as exc:
        raise AssertionError(f"provider {name}: {exc}") from exc


@contextmanager
def _offered(name: str, module: ModuleType) -> Iterator[None]:
    """Offer a module as a provider, as an installed distribution would."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        info = Path(folder, f"kie_ai_mcp_{name.replace('-', '_')}-0.dist-info")
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: kie-ai-mcp-{name}\nVersion: 0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[{PROJECT}]\n{name} = {module.__name__}\n", encoding="utf-8")
        patch.setattr(sys, "path", [*sys.path, folder])
        patch.setitem(sys.modules, module.__name__, module)
        yield
