"""Packages of the SDK whose modules are imported without the packages' own code.

That code imports the client, a web server and a second kind of server: a fifth of the start, and of the memory, for
nothing that stdio needs. It runs all the same as soon as somebody asks a package for one of its names.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader

PACKAGES = ("mcp", "mcp.server")
# sse_starlette, which the SDK imports, patches uvicorn's exit where uvicorn can be imported; stdio needs neither.
WEB_SERVER = "uvicorn"


def defer_packages() -> None:
    """Let modules of `PACKAGES` be imported alone from now on; what is loaded already stays as it is."""
    for name in PACKAGES:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None and spec.loader is not None:
            sys.modules[name] = package = module_from_spec(spec)
            vars(package)["__getattr__"] = _importer_of(package, spec.loader)
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


def _importer_of(package: ModuleType, loader: "Loader") -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which runs the package's code when it is asked for the first of its names."""

    def find_name(name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")
        if vars(package).pop("__getattr__", None) is not None:
            loader.exec_module(package)
        return getattr(package, name)

    return find_name
