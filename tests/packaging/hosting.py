"""A host of bundles and plugins: variables in its command are replaced, and the server starts in a bare environment."""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

START_LIMIT_S = 300.0
"""Time for the first start, which installs the libraries of others."""

PASSED = ("PATH", "SYSTEMROOT", "TEMP", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy")
OF_UV = ("UV_", "PIP_")

Value = str | list[str]


def replaced(config: Mapping[str, Any], variables: Mapping[str, Value]) -> dict[str, Any]:
    """Return a command with its variables replaced; what has no value stays as it is, as hosts leave it."""

    def text(value: str) -> str:
        def put(found: re.Match[str]) -> str:
            new = variables.get(found[1])
            return new if isinstance(new, str) else found[0]

        return re.sub(r"\$\{([^}]+)\}", put, value)

    arguments: list[str] = []
    for argument in config["args"]:
        value = variables.get(argument.removeprefix("${").removesuffix("}"))
        arguments += value if isinstance(value, list) else [text(argument)]
    env = {name: text(value) for name, value in config["env"].items()}
    return {"command": text(config["command"]), "args": arguments, "env": env}


@asynccontextmanager
async def hosted(config: Mapping[str, Any], home: Path, **more: str) -> AsyncIterator[Client]:
    """Start the server by its command; give a client that is connected to it. Its log is ``host.log`` in the home."""
    env = {name: value for name, value in os.environ.items() if name in PASSED or name.startswith(OF_UV)}
    cache = os.environ.get("UV_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    # The cache of the user's own uv, so that nothing is fetched twice.
    env |= {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")}
    env |= {"UV_CACHE_DIR": str(cache), **config["env"], **more}
    server = StdioServerParameters(command=config["command"], args=config["args"], env=env, cwd=home)
    with (home / "host.log").open("w", encoding="utf-8") as log:
        async with Client(stdio_client(server, errlog=log), read_timeout_seconds=START_LIMIT_S) as client:
            yield client
