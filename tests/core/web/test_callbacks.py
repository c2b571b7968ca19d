"""Callbacks while the server's database can't be used."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from kie_ai_mcp._app.app import App
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web.callbacks import Callbacks
from kie_ai_mcp.specs import Task

pytestmark = pytest.mark.anyio


async def posted(callbacks: Callbacks) -> Response:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"data": {"taskId": "t-1"}}).encode(), "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/callbacks/kie", "query_string": b"", "headers": []}
    return await callbacks.take(Request(scope, receive))


async def test_callback_is_put_off_by_one_line_while_the_database_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tasks.db"
    engine = App.open(Settings.model_validate({"api_key": "k", "db_path": path})).engine
    callbacks = Callbacks(engine)
    await engine.record.tasks.adopt(Task("t-1", "x", "x"))
    await engine.record.aclose()
    path.rename(tmp_path / "away.db")

    with caplog.at_level(logging.WARNING):
        answers = [await posted(callbacks) for _ in range(3)]
        path.unlink(missing_ok=True)
        (tmp_path / "away.db").rename(path)
        back = await posted(callbacks)

    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "5")] * 3
    assert (back.status_code, back.background is not None) == (200, True)
    lines = [line.partition(":")[0] for line in caplog.messages if "callbacks" in line]
    assert lines == ["callbacks are refused", "callbacks are taken again"]
    await engine.record.aclose()
