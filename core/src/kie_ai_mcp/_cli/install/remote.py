"""Remote servers in a client's file: the checks of their address and token, and what the user has to know of both."""

import ipaddress
import re
import sys
from urllib.parse import urlsplit

import click

from kie_ai_mcp._cli.console import echo
from kie_ai_mcp._cli.install.clients import Client, Remote
from kie_ai_mcp._settings.hosts import host_of
from kie_ai_mcp.errors import ConfigError, shorten

PATH = "/mcp"
PRIVATE_NAMES = (".local", ".lan", ".internal", ".home.arpa")  # never names in the internet
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(r"[!-~]+")


def remote_of(client: Client, url: str, variable: str | None, token: str | None) -> Remote:
    """Return the server at an address as an entry for `client` needs it; complete the address, and ask for a token.

    Raises what click raises for wrong usage, without the token, and ConfigError where the client can't do it.
    """
    url = checked(url)
    if client.address is None:
        bridge = f"npx with the arguments -y mcp-remote {url}"
        cure = (
            f"Add {url} under Settings > Connectors, where {client.title} signs in by OAuth; for a server with a "
            f"token, enter by hand a bridge that it starts: {bridge}, and --header with the token."
        )
        raise ConfigError(f"The file of {client.title} takes no server at an address.", next_step=cure)
    if variable is not None and token is not None:
        raise click.UsageError("Give --token-env or --token, not both.")
    if variable is not None and not VARIABLE.fullmatch(variable):
        raise click.UsageError("--token-env takes the name of an environment variable, not the token itself.")
    if variable is not None and client.reference is None:
        cure = "Leave --token-env out and give --token -, which asks for the token and makes the file private."
        raise ConfigError(f"{client.title} supports no variables in its file.", next_step=cure)
    if token == "-":  # noqa: S105  stands for none
        token = click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    if token is not None and not TOKEN.fullmatch(token):
        raise click.UsageError("--token takes the token alone: no blanks, and not the word Bearer.")
    return Remote(url, token or "", variable or "")


def about_token(client: Client, remote: Remote) -> str:
    """Return how the token reaches the remote server."""
    if remote.variable:
        return f"The token is taken from {remote.variable} where {client.title} is started."
    if remote.token and client.asks:
        return f"{client.title} asks for the token once and keeps it encrypted, so it is not in the file."
    if remote.token:
        return f"The token is in clear text in {client.title}'s file, which only you can read."
    return f"No token is entered: {client.title} signs in through the browser where the server asks for that (OAuth)."


def checked(text: str) -> str:
    """Return the whole address of a server, which ends with its path."""
    try:
        parts = urlsplit(text.strip())
        host, _ = host_of(parts.hostname or ""), parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        raise click.UsageError("--url takes an address such as https://kie.example/mcp.")
    if "@" in parts.netloc:
        raise click.UsageError("--url holds a name or a password, which others could read; use --token-env.")
    if parts.query or parts.fragment:
        raise click.UsageError("--url must end before any ? or #; a token is given by --token-env.")
    _check_way(parts.scheme, host)
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}{'' if path.endswith(PATH) else PATH}"


def _check_way(scheme: str, host: str) -> None:
    """Refuse an unencrypted way through the internet, and warn of one through a private network."""
    if scheme == "https" or host == "localhost":
        return
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_private = "." not in host or host.endswith(PRIVATE_NAMES)
    else:
        if address.is_loopback:
            return
        is_private = not address.is_global
    said = (
        f"http:// to {shorten(host)} is not encrypted: whoever is on the way reads the token, the prompts and results"
    )
    if not is_private:
        raise click.UsageError(f"{said}. Put a proxy with TLS before the server, and use https://.")
    echo(f"{said}. Use it only inside a network that you trust.", err=True, fg="yellow")
