"""Fixtures that pytest finds through the entry point ``pytest11``; what is heavy is imported when one is used."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp._settings.installation import extra, install_command

if TYPE_CHECKING:
    from kie_ai_mcp.testing import PlayedGateway, ServeProvider
    from kie_ai_mcp_sandbox.server import Sandbox

EXTRA = f"Install it with: {install_command(extra('testing'))}"
SANDBOX_SPEED = 50.0


@pytest.fixture
def kie_gateway(request: pytest.FixtureRequest) -> "Iterator[PlayedGateway]":
    """The service, played by pytest-httpserver; a request that was not planned fails the test."""
    try:
        httpserver = request.getfixturevalue("httpserver")
    except pytest.FixtureLookupError:
        pytest.fail(f"kie_gateway needs pytest-httpserver. {EXTRA}", pytrace=False)
    from kie_ai_mcp.testing import PlayedGateway  # noqa: PLC0415  heavy

    yield PlayedGateway(httpserver)
    httpserver.check()


@pytest.fixture
def kie_sandbox() -> "Iterator[Sandbox]":
    """A stand-in for all of Kie.ai on this machine, fast: a picture takes 40 ms, a clip 120 ms."""
    try:
        from kie_ai_mcp_sandbox.server import Sandbox  # noqa: PLC0415  not every installation has it
    except ImportError:
        pytest.fail(f"kie_sandbox needs kie-ai-mcp-sandbox. {EXTRA}", pytrace=False)
    with Sandbox(speed=SANDBOX_SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def kie_server(tmp_path: Path) -> "ServeProvider":
    """Starts the real server over stdio with one provider: ``with kie_server("veo3", kie_gateway) as server``."""
    from kie_ai_mcp.testing import ServeProvider  # noqa: PLC0415  heavy

    return ServeProvider(tmp_path)
