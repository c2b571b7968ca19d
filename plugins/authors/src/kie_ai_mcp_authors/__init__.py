"""Help for authors of providers: the command `new-provider`, and `reload`, the relay of ``serve --reload``."""

from typing import TYPE_CHECKING

from kie_ai_mcp import Provider, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def kie_describe_provider() -> Provider:
    return Provider(
        title="Authors",
        kinds=(),
        note="Commands for authors of providers; begin with `kie-ai-mcp-server new-provider NAME`.",
    )


@hookimpl
def kie_register_commands(commands: "click.Group") -> None:
    from kie_ai_mcp_authors.new_provider import new_provider  # noqa: PLC0415  serving must not pay for click

    commands.add_command(new_provider)
