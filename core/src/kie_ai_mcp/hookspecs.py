"""The contract between core and providers: seven hooks, all synchronous, pure and optional.

A plugin is a module found through an entry point of the group ``kie_ai_mcp``; the entry point's name is the
provider's name. It implements the hooks it needs and returns data. Core does all input and output: no hook
may open a connection, read a file or keep state between calls.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from kie_ai_mcp.models import LiveCatalogue, Model
from kie_ai_mcp.specs import Gateway, Outcome, Provider, Query, StatusRoute, Submission, Task, Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

PROJECT = "kie_ai_mcp"
"""The entry-point group and the pluggy project name."""

CONTRACT = (1, 2)
"""The contract's version as (major, minor). A plugin may set ``KIE_AI_MCP_CONTRACT = 1`` in its module; one
built for another major is set aside."""

FIRST_PARTY = frozenset(
    {
        *("authors", "dalle3", "fal", "flux", "gpt-image", "gpt4o-image", "haiper", "ideogram", "kling"),
        *("luma", "market", "midjourney", "nano-banana", "pika", "playground", "recraft", "runway", "sandbox"),
        *("seedance", "seedream", "sora2", "speech", "stable-diffusion", "suno", "talking", "topaz", "veo3"),
        "wan",
    }
)
"""The names of this project's own providers: the distribution ``kie-ai-mcp-NAME`` alone may offer each."""

PARTS = frozenset({"core", "server"})
"""The names that no provider has, since ``kie-ai-mcp-NAME`` is a package of the server itself."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def kie_register_tools(settings: Mapping[str, Any]) -> "Iterable[Callable[..., Submission | Query] | Tool]":  # type: ignore[empty-body]
    """Return the provider's tools. Called once, at start.

    Args:
        settings: The provider's own ``[providers.NAME]`` section, read-only; empty where there is none. Only
            keys that `Provider.settings` declares can be in it.

    Returns:
        Functions, or `Tool` values where the signature alone does not say everything. The signature is the
        input schema, the docstring is what the model reads, the returned value is the request.

    New in contract 1.0.
    """


@hookspec(firstresult=True)
def kie_route_status(task: Task) -> StatusRoute | None:
    """Return where a task's status is read. Called before every status read of this provider's tasks.

    Args:
        task: The task. For an id that came from elsewhere only ``task_id``, ``api_type``, ``provider`` and ``kind`` are
            set, with each of `Provider.api_types` in turn.

    Returns:
        The route, or None to use the service's common one (``jobs/recordInfo``).

    New in contract 1.0.
    """


@hookspec(firstresult=True)
def kie_normalize_result(task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute | None:
    """Return the meaning of a status answer. Called after every successful status read of this provider's tasks.

    Args:
        task: The task that was asked for.
        payload: The answer's ``data`` object. Errors of the read itself never get here.

    Returns:
        The outcome; or a route to read next, once, for a service that keeps results at another address (with
        `StatusRoute.read` where errors stand there as well); or None to use the common reading (``state``,
        ``resultJson``).

    New in contract 1.0.
    """


@hookspec(firstresult=True)
def kie_describe_provider() -> Provider | None:
    """Return the description of the family that the plugin serves. Called once, at start.

    Returns:
        The description, or None for one made from the entry point's name.

    New in contract 1.0.
    """


@hookspec
def kie_register_gateways(settings: Mapping[str, Any]) -> Iterable[Gateway]:  # type: ignore[empty-body]
    """Return services other than Kie.ai. Called once, at start.

    A task that was made through a gateway is asked of the provider that registered it.

    Args:
        settings: As for `kie_register_tools`.

    New in contract 1.0.
    """


@hookspec
def kie_register_models(settings: Mapping[str, Any]) -> Iterable[Model | LiveCatalogue]:  # type: ignore[empty-body]
    """Return models that are known as data. Called when models are first asked for, never at start.

    ``find_models``, ``describe_model``, ``estimate_cost`` and ``run_model`` serve them. Of two plugins with the same id
    one of this project has it, else the one that also registers tools.

    Args:
        settings: As for `kie_register_tools`.

    Returns:
        Models, usually read from a data file in the plugin's wheel by `read_models`; and at most one live
        catalogue of each service.

    New in contract 1.1.
    """


@hookspec
def kie_register_commands(commands: "click.Group") -> None:
    """Add subcommands to ``kie-ai-mcp-server``. Called when the command line runs, never while serving.

    Import what a command needs inside the hook or the command, so that serving does not pay for it.

    Args:
        commands: The command line's group.

    New in contract 1.0.
    """
