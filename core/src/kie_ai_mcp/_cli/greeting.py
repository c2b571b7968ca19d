"""Greeting of a person who starts the server at a terminal, where no client will ever speak to it."""

import sys

from kie_ai_mcp._cli.console import echo
from kie_ai_mcp._settings.installation import typed_command


def greet() -> None:
    """Say on stderr what a server waits for whose input is a terminal; nothing where a client has started it."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    command = typed_command()
    echo(
        f"""\
This is an MCP server. It waits for a client, such as Claude Desktop, which
starts it by itself and speaks to it through this input; nothing else happens
here.

  Set up a client:    {command} install claude-desktop
  Try it without one: {command} demo
  All commands:       {command} --help

Ctrl-C ends it.""",
        err=True,
    )
