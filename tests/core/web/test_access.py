"""Who may get in, where that can't be looked up."""

from contextlib import closing
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web.access import Access
from kie_ai_mcp._web.visitors import Visitors

pytestmark = pytest.mark.anyio


async def test_nobody_gets_in_while_users_cannot_be_looked_up_nor_learns_where_they_are(tmp_path: Path) -> None:
    with closing(Record(tmp_path, RateLimit(20, 10.0))) as record:  # a folder is no database
        access = Access(Starlette(), Settings.model_validate({}), "127.0.0.1", Visitors(record.users))
        transport = httpx.ASGITransport(access)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for path in ("/mcp", "/gallery", "/tools/call"):
                answer = await client.post(path, headers={"Authorization": "Bearer kie-x"})
                assert answer.status_code == 503
                assert "Retry-After" in answer.headers
                assert str(tmp_path) not in answer.text
