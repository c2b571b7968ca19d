"""Applications in this process: the service at a speed at which nothing is waited for."""

from collections.abc import Iterator

import pytest

from kie_ai_mcp_sandbox.server import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=10_000) as service:
        yield service
