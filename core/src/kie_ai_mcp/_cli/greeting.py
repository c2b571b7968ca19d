"""Greeting of a person who starts the server at a terminal, where no client will ever speak to it."""

import sys

from kie_ai_mcp._cli.console import PROGRAM, echo


def greet() -> None:
    """Say on stderr what a server waits for whose input is a terminal; nothing where a client has started it."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    echo(
        f"""\
This is an MCP server. It waits for a client, such as Claude Desktop, which
starts it by itself and speaks to it through this input; nothing else happens
here.

  Set up a client:    {PROGRAM} install claude-desktop
  Try it without one: {PROGRAM} demo
  All commands:       {PROGRAM} --help

Ctrl-C ends it.""",
        err=True,
    )
