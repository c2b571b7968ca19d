"""Packages of the SDK whose modules are imported without the packages' own code.

That code imports the client, a web server and a second kind of server: a fifth of the start, and of the memory, for
nothing that stdio needs. It runs all the same as soon as somebody asks a package for one of its names.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

PACKAGES = ("mcp", "mcp.server")
WEB_SERVER = "uvicorn"  # a library of the SDK's changes how it ends, where it can be imported


def defer_packages() -> None:
    """Let modules of `PACKAGES` be imported alone from now on; what is loaded already stays as it is."""
    for name in PACKAGES:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None and spec.loader is not None:
            sys.modules[name] = package = module_from_spec(spec)
            vars(package)["__getattr__"] = _Names(package, spec)
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], own, package)


@contextmanager
def without_web_server() -> Iterator[None]:
    """Let the web server be missing for what is imported in the context, unless it is there already."""
    if WEB_SERVER in sys.modules:
        yield
        return
    absent: Any = None
    sys.modules[WEB_SERVER] = absent
    try:
        yield
    finally:
        del sys.modules[WEB_SERVER]


class _Names:
    """The names of a package, which runs its code when it is asked for the first of them."""

    def __init__(self, package: ModuleType, spec: ModuleSpec) -> None:
        self.package, self.spec = package, spec

    def __call__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.package.__name__!r} has no attribute {name!r}")
        if vars(self.package).pop("__getattr__", None) is not None:
            assert self.spec.loader is not None  # noqa: S101  else it was not deferred
            self.spec.loader.exec_module(self.package)
        return getattr(self.package, name)
