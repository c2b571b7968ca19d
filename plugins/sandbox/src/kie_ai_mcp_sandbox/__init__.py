"""Local stand-in for the Kie.ai API. This module holds the hooks; tests use `server.Sandbox`."""

from typing import TYPE_CHECKING

from kie_ai_mcp import Provider, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Sandbox",
        kinds=(),
        note="A stand-in for Kie.ai on this machine; start it with `kie-ai-mcp-server sandbox`.",
    )


@hookimpl
def kie_register_commands(commands: "click.Group") -> None:
    from kie_ai_mcp_sandbox.command import demo, sandbox  # noqa: PLC0415  serving must not pay for click

    commands.add_command(sandbox)
    commands.add_command(demo)
