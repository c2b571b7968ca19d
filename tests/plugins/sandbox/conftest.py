"""A running sandbox whose clock the test moves, and clients that know its key."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from kie_ai_mcp_sandbox.server import Sandbox

KEY = "key-of-the-tests"


# So slow that only the test's own steps count: a picture takes 200 s, a clip 600 s.
SPEED = 0.01


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(key=KEY, speed=SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def connect() -> Iterator[Callable[[Sandbox], httpx.Client]]:
    """Makes clients, which are closed after the test."""
    with ExitStack() as stack:

        def make(sandbox: Sandbox) -> httpx.Client:
            headers = {"Authorization": f"Bearer {KEY}"}
            # Without `verify=False` each client would load the certificates of the world, which takes 30 ms.
            client = httpx.Client(base_url=f"{sandbox.base_url}/", headers=headers, trust_env=False, verify=False)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def client(sandbox: Sandbox, connect: Callable[[Sandbox], httpx.Client]) -> httpx.Client:
    return connect(sandbox)
