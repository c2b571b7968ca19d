"""Fixtures of what stands on the other side: the official suite, clients of others, and servers for them."""

import pytest

from tests.hosts.node import Missing, Node, install
from tests.wire.conftest import site_in, spawn_in

__all__ = ["node", "site_in", "spawn_in"]


@pytest.fixture(scope="session")
def node() -> Node:
    """Node with the suite and the clients; where it can't be had, the tests that need it are skipped."""
    try:
        return install()
    except Missing as missing:
        pytest.skip(f"needs Node and packages of the npm registry: {missing}")
