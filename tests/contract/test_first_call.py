"""Refused calls of every tool, from its listing and its answers alone: the call that is named instead is accepted."""

import json
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import testing
from kie_ai_mcp._app.app import App
from kie_ai_mcp._settings.settings import Settings

pytestmark = pytest.mark.anyio

MOST = 8  # refused calls of each tool
CURED = 0.97


async def test_nearly_every_refused_call_names_one_that_is_accepted(tmp_path: Path) -> None:
    values: dict[str, Any] = {"db_path": tmp_path / "tasks.db", "api_key": "k" * 32, "base_url": "http://127.0.0.1:9"}
    app = App.open(Settings.model_validate(values))
    cured, uncured, refusing = 0, [], []
    async with app.engine.running():
        for tool in (tool for tool in app.engine.plugins.tools.values() if tool.charges):
            refused = [arguments for arguments, _ in testing.calls_of(tool, 50).refused]
            for arguments in refused[:: len(refused) // MOST + 1]:
                call = {"name": tool.name, "arguments": json.loads(json.dumps(arguments))}
                answer = (await app.call("estimate_cost", call)).data
                assert answer is not None
                if answer["valid"]:
                    continue  # only without an output folder, or with the user's own settings
                if (instead := answer.get("instead")) is None:
                    uncured.append((tool.name, answer["errors"]))
                    continue
                again = await app.call("estimate_cost", {"name": instead["tool"], "arguments": instead["arguments"]})
                assert again.data is not None
                cured += again.data["valid"]
                refusing += [] if again.data["valid"] else [(call, instead, again.data["errors"])]
    assert refusing == []
    assert cured > 150
    assert len(uncured) <= (1 - CURED) * (cured + len(uncured)), uncured
