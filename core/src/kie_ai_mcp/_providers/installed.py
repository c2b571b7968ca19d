"""Installed providers, read from entry points without importing any.

A name has one owner. Of two distributions that offer one provider name, one keeps it and the other is set aside; the
names of this project's own providers are reserved for the distributions ``kie-ai-mcp-NAME``.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kie_ai_mcp._settings.installation import PROVIDERS, installed_names, normalized
from kie_ai_mcp.hookspecs import FIRST_PARTY, PARTS, PROJECT
from kie_ai_mcp.specs import KIE, Kind, Provider

DEFAULTS = "kie_ai_mcp._providers.defaults"
SHARED = ("", KIE)  # the owners of a task that no provider claims: only the defaults read its status


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

    # Both are read at each use: parsing everybody's metadata takes longer than loading.
    @property
    def distribution(self) -> str:
        """The distribution that brings it, by the name in its metadata."""
        return self.entry.dist.name if self.entry.dist else "unknown"

    @property
    def version(self) -> str:
        """The distribution's version."""
        return self.entry.dist.version if self.entry.dist else ""

    @property
    def folder(self) -> str:
        """The author's folder that it was installed from; "" where it came as a finished package."""
        origin = json.loads((self.entry.dist and self.entry.dist.read_text("direct_url.json")) or "{}")
        return url2pathname(urlsplit(str(origin["url"])).path) if "dir_info" in origin else ""

    @property
    def kind(self) -> Kind:
        """The kind of media that its tools make where they name none."""
        return (self.provider.kinds or ("image",))[0]

    @property
    def has_own_distribution(self) -> bool:
        """True where the distribution that brings it is named after it."""
        # The normalized name is that of the folder; it costs nothing to read, unlike the metadata.
        name = getattr(self.entry.dist, "_normalized_name", None) or self.distribution
        return normalized(name) == f"{PROVIDERS}{self.name}"

    @property
    def is_first_party(self) -> bool:
        """True for a provider of this project."""
        return self.name in FIRST_PARTY and self.has_own_distribution

    def set_aside(self, reason: str, cure: str = "") -> None:
        """Leave the provider out for a reason; the cure is to uninstall it where no other is given."""
        self.state, self.tools, self.reason = "set aside", (), reason
        self.cure = cure or f"Uninstall {self.distribution}."


@cache
def sources() -> tuple[str, ...]:
    """Return every file of core and of the installed providers' packages, compiled ones left out."""
    files: list[str] = []
    for name in {__name__, *(entry.module for entry in entry_points(group=PROJECT))}:
        spec = find_spec(name.partition(".")[0])
        for folder in (spec and spec.submodule_search_locations) or ():
            paths = (path for path in Path(folder).rglob("*") if path.parent.name != "__pycache__")
            files += (str(path) for path in paths if path.is_file())
        if spec and spec.origin:
            files.append(spec.origin)
    return tuple(files)


def without_providers() -> list[str]:
    """Return the distributions that are named as those of providers, and offer none: their entry point is missing."""
    named = {name for name in installed_names() if name.startswith(PROVIDERS)}
    offering = {normalized(entry.dist.name) for entry in entry_points(group=PROJECT) if entry.dist}
    return sorted(named - offering - {f"{PROVIDERS}{part}" for part in PARTS})


def installed() -> dict[str, Plugin]:
    """Return the installed providers by name, without importing any; of two with one name, one gets a longer name."""
    plugins: dict[str, Plugin] = {}
    by_name = attrgetter("name")
    for name, entries in groupby(sorted(entry_points(group=PROJECT), key=by_name), key=by_name):
        same = [Plugin(name, entry) for entry in entries]
        if len(same) > 1:
            same.sort(key=lambda plugin: (not plugin.has_own_distribution, plugin.distribution))
        owner, *others = same
        plugins[name] = owner
        for other in others:
            reason = f"{owner.distribution} and {other.distribution} both offer a provider {name}; the first keeps it"
            other.name = f"{name} ({other.distribution})"
            other.set_aside(reason)
            plugins[other.name] = other
        if name in {DEFAULTS, *SHARED}:
            owner.set_aside(f"a provider can't be called {name!r}")
        elif name in FIRST_PARTY and not owner.is_first_party:
            owner.set_aside(f"the name {name} is reserved for kie-ai-mcp-{name}, and {owner.distribution} offers it")
    return plugins
