"""Who may get in, where that can't be looked up."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.users import User
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web.access import Access
from kie_ai_mcp._web.visitors import Visitors
from kie_ai_mcp.errors import InvalidArgument

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "settings"), [("127.0.0.1", {"public_url": "https://example.org"}), ("0.0.0.0", {"http_token": "t" * 16})]
)
async def test_nobody_gets_in_while_users_cannot_be_looked_up_nor_learns_where_they_are(
    host: str, settings: dict[str, str], tmp_path: Path
) -> None:
    with closing(Record(tmp_path, RateLimit(20, 10.0))) as record:  # a folder is no database
        access = Access(Starlette(), Settings.model_validate(settings), host, Visitors(record.users))
        transport = httpx.ASGITransport(access)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for path in ("/mcp", "/gallery", "/tools/call"):
                answer = await client.post(path, headers={"Authorization": "Bearer kie-x"})
                assert answer.status_code == 503
                assert "Retry-After" in answer.headers
                assert str(tmp_path) not in answer.text


async def test_user_whom_an_issuer_vouches_for_waits_for_nobody_who_writes(tmp_path: Path) -> None:
    with closing(Record(tmp_path / "tasks.db", RateLimit(20, 10.0))) as record:
        with closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as other:
            assert await Visitors(record.users).admit("ann") is not None
            other.execute("BEGIN IMMEDIATE")
            with anyio.fail_after(3):
                assert await Visitors(record.users).admit("ann") is not None
            other.execute("ROLLBACK")
        await record.users.remove("ann")
        assert await Visitors(record.users).admit("ann") is None
        with pytest.raises(InvalidArgument):
            await Visitors(record.users).admit("a name")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "example.org"}, 403),
        ({"Host": "127.0.0.1:3000", "X-Forwarded-For": "203.0.113.7"}, 403),
        ({"Host": "127.0.0.1:3000"}, 404),
    ],
)
async def test_public_server_without_a_token_answers_its_own_machine_alone(
    headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    with closing(Record(tmp_path / "tasks.db", RateLimit(20, 10.0))) as record:
        settings = Settings.model_validate({"public_url": "https://example.org"})
        access = Access(Starlette(), settings, "127.0.0.1", Visitors(record.users))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(access), base_url="http://127.0.0.1") as client:
            assert (await client.post("/tools/call", headers=headers)).status_code == status
            assert (await client.post("/callbacks/kie", headers=headers)).status_code == 404


async def test_first_user_is_known_at_once_by_who_comes_with_their_token(tmp_path: Path) -> None:
    with closing(Record(tmp_path / "tasks.db", RateLimit(20, 10.0))) as record:
        visitors = Visitors(record.users)
        assert not await visitors.exist()
        token = await record.users.add(User("ada"))
        assert not await visitors.exist()  # looked up a moment ago
        assert await visitors.exist(str(token))
