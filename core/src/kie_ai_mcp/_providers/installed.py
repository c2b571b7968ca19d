"""Installed providers, read from entry points without importing any. No other module reads entry points.

A name has one owner. Of two distributions that offer one provider name, one keeps it and the other is set aside; the
names of this project's own providers are reserved for the distributions ``kie-ai-mcp-NAME``.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Literal

from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import Provider

DEFAULTS = "kie_ai_mcp._providers.defaults"
KIE = "kie"

SHARED = ("", KIE)
"""The owners of a task that no provider claims: only the defaults read its status."""

FIRST_PARTY = frozenset(
    {
        "authors",
        "dalle3",
        "fal",
        "flux",
        "gpt4o-image",
        "haiper",
        "ideogram",
        "kling",
        "luma",
        "midjourney",
        "nano-banana",
        "pika",
        "playground",
        "runway",
        "sandbox",
        "sora2",
        "stable-diffusion",
        "veo3",
    }
)
"""The names of this project's own providers. Each is offered by the distribution ``kie-ai-mcp-NAME`` alone."""


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
        """The distribution that brings it. Read at each use: parsing all metadata takes longer than loading."""
        return self.entry.dist.name if self.entry.dist else "unknown"

    @property
    def version(self) -> str:
        """The distribution's version."""
        return self.entry.dist.version if self.entry.dist else ""

    @property
    def is_first_party(self) -> bool:
        """True for a provider of this project."""
        if self.name not in FIRST_PARTY:
            return False
        # The module's name first, which costs nothing: no start has the time to parse everybody's metadata.
        return self.entry.module == f"{PROJECT}_{self.name.replace('-', '_')}" or self.has_own_distribution

    @property
    def has_own_distribution(self) -> bool:
        """True where the distribution that brings it is named after it."""
        return self.distribution == f"kie-ai-mcp-{self.name}"


def installed() -> dict[str, Plugin]:
    """List the installed providers, sorted by name, without importing any.

    A provider whose name belongs to another distribution is in the list, too, under a name with its distribution.
    """
    plugins: dict[str, Plugin] = {}
    for name, entries in groupby(sorted(entry_points(group=PROJECT), key=_name), key=_name):
        owner, *others = _ranked(Plugin(name, entry) for entry in entries)
        plugins[name] = owner
        for other in others:
            reason = f"{owner.distribution} and {other.distribution} both offer a provider {name}; the first keeps it"
            other.name = f"{name} ({other.distribution})"
            _set_aside(other, reason)
            plugins[other.name] = other
        if name in {DEFAULTS, *SHARED}:
            _set_aside(owner, f"a provider can't be called {name!r}")
        elif name in FIRST_PARTY and not owner.is_first_party:
            reason = f"the name {name} is reserved for kie-ai-mcp-{name}, and {owner.distribution} offers it"
            _set_aside(owner, reason)
    return plugins


def editable_sources() -> list[Path]:
    """Return the folder, or the file, of every provider that is installed editable, without importing any."""
    sources: set[Path] = set()
    for entry in entry_points(group=PROJECT):
        try:
            origin = json.loads((entry.dist and entry.dist.read_text("direct_url.json")) or "{}")
            spec = find_spec(entry.module.partition(".")[0])
        except (ValueError, ImportError):
            continue
        if not origin.get("dir_info", {}).get("editable") or spec is None:
            continue
        sources.update(map(Path, spec.submodule_search_locations or filter(None, [spec.origin])))
    return sorted(source for source in sources if source.exists())


def _name(entry: EntryPoint) -> str:
    return entry.name


def _ranked(plugins: Iterable[Plugin]) -> list[Plugin]:
    """Sort the providers of one name: the distribution that is called after it first, then by distribution."""
    same = list(plugins)
    if len(same) > 1:
        same.sort(key=lambda plugin: (not plugin.has_own_distribution, plugin.distribution))
    return same


def _set_aside(plugin: Plugin, reason: str) -> None:
    plugin.state, plugin.reason, plugin.cure = "set aside", reason, f"Uninstall {plugin.distribution}."
