"""Isolation of the tests: none leaves this machine, no setting of the machine reaches one."""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.conftest import Environment

FAR = ("192.0.2.1", 443)
"""An address that is reserved for examples."""


def by_datagram() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        return datagram.sendto(b"hello", FAR)


CONNECTIONS: dict[str, Callable[[], Any]] = {
    "socket": lambda: socket.create_connection(FAR, timeout=1),
    "datagram": by_datagram,
    "httpx": lambda: httpx.get(f"http://{FAR[0]}"),
    "anyio": lambda: anyio.run(anyio.connect_tcp, *FAR),
}


@pytest.mark.parametrize("way", CONNECTIONS)
def test_connection_to_another_machine_is_refused_and_noted(way: str, refused_connections: list[str]) -> None:
    with pytest.raises((OSError, httpx.ConnectError)):
        CONNECTIONS[way]()
    assert refused_connections
    assert all("192.0.2.1" in refused for refused in refused_connections)
    refused_connections.clear()


def test_names_of_other_machines_are_not_looked_up() -> None:
    with pytest.raises(httpx.ConnectError, match="Name or service not known"):
        httpx.get("https://api.kie.ai/api/v1/chat/credit")


def test_this_machine_is_reached_by_address_and_by_name(sandbox: Sandbox) -> None:
    for host in ("127.0.0.1", "localhost"):
        assert httpx.get(f"http://{host}:{sandbox.port}/_sandbox/ledger").json() == []


def test_no_setting_reaches_a_test_or_a_child(environment: "Environment", tmp_path: Any) -> None:
    assert [name for name in os.environ if name.startswith("KIE_AI_")] == []
    given = environment(tmp_path, KIE_AI_API_KEY="", KIE_AI_WAIT_S="5")
    assert given["KIE_AI_WAIT_S"] == "5"
    assert "KIE_AI_API_KEY" not in given
    assert given["HOME"] == str(tmp_path)
