"""Key in the system's keyring: which one a server sends, and what it says where the keyring gives none."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp_types import TextContent

from kie_ai_mcp_sandbox.server import Sandbox
from tests.keyrings import keyring_in, put_key

if TYPE_CHECKING:
    from mcp import Client

    from tests.conftest import Serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("memory", [False, True], ids=["usual", "remembered"], indirect=True),
]
FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Settings whose file says that the key is in the keyring."""
    (tmp_path / "config.toml").write_text('api_key = "keyring"\n', "utf-8")
    return {"KIE_AI_API_KEY": "", "KIE_AI_CONFIG": str(tmp_path / "config.toml"), **keyring_in(tmp_path)}


@pytest.fixture
def picky() -> Iterator[Sandbox]:
    """A service that accepts the second key alone."""
    with Sandbox(speed=50, key=SECOND) as sandbox:
        yield sandbox


async def said(client: "Client", tool: str, **arguments: str) -> str:
    result = await client.call_tool(tool, arguments)
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_changed_key_is_sent_at_the_next_start(
    serve: "Serve", tmp_path: Path, picky: Sandbox, settings: dict[str, str]
) -> None:
    put_key(tmp_path, FIRST)
    async with serve(picky, **settings) as client:
        assert "key" in await said(client, "get_credits")
    put_key(tmp_path, SECOND)
    async with serve(picky, **settings) as client:
        assert f"{picky.credits:g}" in await said(client, "get_credits")


async def test_variable_wins_over_the_keyring(
    serve: "Serve", tmp_path: Path, picky: Sandbox, settings: dict[str, str]
) -> None:
    put_key(tmp_path, FIRST)
    async with serve(picky, **settings | {"KIE_AI_API_KEY": SECOND}) as client:
        assert f"{picky.credits:g}" in await said(client, "get_credits")


@pytest.mark.parametrize(
    ("held", "cure"), [("no JSON", "Unlock the keyring"), ("{}", "Store the key once more")], ids=["locked", "empty"]
)
async def test_keyring_without_a_key_is_named_in_each_call(
    serve: "Serve", tmp_path: Path, picky: Sandbox, settings: dict[str, str], held: str, cure: str
) -> None:
    (tmp_path / "keyring.json").write_text(held, "utf-8")
    before = picky.credits
    async with serve(picky, **settings) as client:
        assert len((await client.list_tools()).tools) > 40
        for tool, arguments in ("get_credits", {}), ("generate_nano_banana", {"prompt": "a lighthouse"}):
            text = await said(client, tool, **arguments)
            assert "system's keyring" in text, text
            assert cure in text, text
    assert picky.credits == before
