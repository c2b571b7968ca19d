"""The contract for providers of kie-ai-mcp-server: everything a plugin author imports.

See `kie_ai_mcp.hookspecs` for the hooks, `kie_ai_mcp.specs` for the values, `kie_ai_mcp.readings` for help
with the service's answers and `kie_ai_mcp.errors` for the error tree.

The names are imported when they are first asked for: a server that only says again what it said before needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kie_ai_mcp._models.choosing import Choice, Family
    from kie_ai_mcp.errors import InvalidArgument, KieError
    from kie_ai_mcp.hookspecs import CONTRACT, hookimpl
    from kie_ai_mcp.models import Form, LiveCatalogue, LiveModel, LiveRead, Model, Price, PriceLine, Rule, read_models
    from kie_ai_mcp.specs import (
        Accepted,
        Answer,
        AspectRatio,
        AudioUrl,
        Balance,
        CallbackUrl,
        FrameRate,
        Gateway,
        ImageUrl,
        ImageUrls,
        Media,
        NegativePrompt,
        OnePicture,
        Outcome,
        OutputFormat,
        Prompt,
        Provider,
        Query,
        StatusRoute,
        Submission,
        Task,
        TaskId,
        Tool,
        VideoResolution,
        VideoUrl,
        apply_overrides,
        is_on,
        otherwise_first,
        reject_arguments,
    )

_SUBMODULES = ("errors", "hookspecs", "models", "readings", "specs")
_MODULES = {
    **dict.fromkeys(("InvalidArgument", "KieError"), "errors"),
    **dict.fromkeys(("CONTRACT", "hookimpl"), "hookspecs"),
    **dict.fromkeys(("Choice", "Family"), "_models.choosing"),
    **dict.fromkeys(
        ("Form", "LiveCatalogue", "LiveModel", "LiveRead", "Model", "Price", "PriceLine", "Rule", "read_models"),
        "models",
    ),
}  # of the names that do not come from `specs`

__all__ = [
    "CONTRACT",
    "Accepted",
    "Answer",
    "AspectRatio",
    "AudioUrl",
    "Balance",
    "CallbackUrl",
    "Choice",
    "Family",
    "Form",
    "FrameRate",
    "Gateway",
    "ImageUrl",
    "ImageUrls",
    "InvalidArgument",
    "KieError",
    "LiveCatalogue",
    "LiveModel",
    "LiveRead",
    "Media",
    "Model",
    "NegativePrompt",
    "OnePicture",
    "Outcome",
    "OutputFormat",
    "Price",
    "PriceLine",
    "Prompt",
    "Provider",
    "Query",
    "Rule",
    "StatusRoute",
    "Submission",
    "Task",
    "TaskId",
    "Tool",
    "VideoResolution",
    "VideoUrl",
    "apply_overrides",
    "hookimpl",
    "is_on",
    "otherwise_first",
    "read_models",
    "reject_arguments",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        module = import_module(f"{__name__}.{_MODULES.get(name, 'specs')}")
        return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
