"""The fixtures that pytest finds through the entry point ``pytest11``; what is heavy is imported when one is used."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kie_ai_mcp.testing import PlayedGateway, ServeProvider
    from kie_ai_mcp_sandbox.server import Sandbox

EXTRA = "Install it with: pip install 'kie-ai-mcp-core[testing]'"

SPEED = 50.0
"""A picture of the sandbox takes 40 ms, a clip 120 ms."""


@pytest.fixture
def kie_gateway(request: pytest.FixtureRequest) -> "Iterator[PlayedGateway]":
    """The service, played by pytest-httpserver; a request that was not planned fails the test."""
    try:
        import pytest_httpserver  # noqa: F401, PLC0415  only to say what is missing
    except ImportError:
        pytest.fail(f"kie_gateway needs pytest-httpserver. {EXTRA}", pytrace=False)
    from kie_ai_mcp.testing import PlayedGateway  # noqa: PLC0415

    gateway = PlayedGateway(request.getfixturevalue("httpserver"))
    yield gateway
    gateway.httpserver.check()


@pytest.fixture
def kie_sandbox() -> "Iterator[Sandbox]":
    """A stand-in for all of Kie.ai on this machine, fast: a picture takes 40 ms."""
    try:
        from kie_ai_mcp_sandbox.server import Sandbox  # noqa: PLC0415
    except ImportError:
        pytest.fail(f"kie_sandbox needs kie-ai-mcp-sandbox. {EXTRA}", pytrace=False)
    with Sandbox(speed=SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def kie_server(tmp_path: Path) -> "ServeProvider":
    """Starts the real server over stdio with one provider: ``with kie_server("veo3", kie_gateway) as server``."""
    from kie_ai_mcp.testing._service import serve  # noqa: PLC0415

    return partial(serve, tmp_path)
