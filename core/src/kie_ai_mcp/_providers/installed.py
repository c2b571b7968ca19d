"""What providers are installed: found without importing any, and held against the public door.

Alone reads entry points.
"""

import json
import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Literal

from kie_ai_mcp.errors import PluginError
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import Provider

DEFAULTS = "kie_ai_mcp._providers.defaults"
KIE = "kie"

SHARED = ("", KIE)
"""What stands for a task's owner where no provider claims it: the defaults alone are asked."""

PRIVATE = f"{PROJECT}._"
"""How the names of core's private rooms begin."""


@dataclass
class Plugin:
    """One installed provider, whether it is used or not."""

    name: str
    entry: EntryPoint
    state: Literal["enabled", "disabled", "set aside"] = "enabled"
    reason: str = ""
    cure: str = ""
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


def installed() -> dict[str, Plugin]:
    """List the installed providers, sorted by name, without importing any; two of one name are set aside."""
    plugins: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=PROJECT), key=lambda entry: entry.name):
        plugin = Plugin(entry.name, entry)
        first = plugins.setdefault(entry.name, plugin)
        if entry.name in {DEFAULTS, *SHARED}:
            plugin.state, plugin.reason = "set aside", f"a provider can't be called {entry.name!r}"
            plugin.cure = f"Uninstall {plugin.distribution}."
        if first is not plugin:
            first.state, first.cure = "set aside", "Uninstall one of them."
            first.reason = f"two distributions offer it: {first.distribution} and {plugin.distribution}"
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


def check_rooms(name: str) -> None:
    """Check that a provider's modules hold nothing of core's private rooms, which change without notice.

    Raises:
        PluginError: One does; names it.
    """
    top = sys.modules[name.partition(".")[0]]
    inside = f"{top.__name__}."
    # Only a package has more than one module, and there are a thousand to look through.
    more = (
        [found for key, found in list(sys.modules.items()) if key.startswith(inside)]
        if hasattr(top, "__path__")
        else []
    )
    for module in (top, *more):
        for value in list(vars(module).values()):
            if isinstance(value, (type, FunctionType)):  # a tuple: every plugin's every name is looked at
                home = str(value.__module__)
            elif isinstance(value, ModuleType):
                home = value.__name__
            else:
                continue
            if home.startswith(PRIVATE):
                raise PluginError(
                    f"its module {module.__name__} uses {home}, a private room of the server.",
                    next_step="Its author must import from kie_ai_mcp and its public modules alone.",
                )
