"""Refused calls of every tool, from its listing and its answers alone: the call that is named instead is accepted."""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp import testing
from kie_ai_mcp._app.app import App
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.testing._calls import answer

pytestmark = pytest.mark.anyio

MOST = 8  # refused calls of each tool
TRIES = 60  # calls of a tool, to find so many
CURED = 0.97


def refused_calls(tool: BoundTool) -> Iterator[dict[str, Any]]:
    """Yield calls that the schema of a tool allows and the tool refuses: what is required, and a few arguments more."""
    draw = testing.Draw(tool)
    for _ in range(TRIES):
        drawn = {name: draw.argument(name) for name in (*draw.some(draw.optional), *draw.some(draw.optional))}
        with suppress(InvalidArgument):
            arguments = draw.required(plain=False) | drawn
            if isinstance(answer(tool, tool.arguments.check(arguments)), InvalidArgument):
                yield arguments


async def test_nearly_every_refused_call_names_one_that_is_accepted(tmp_path: Path) -> None:
    values: dict[str, Any] = {"db_path": tmp_path / "tasks.db", "api_key": "k" * 32, "base_url": "http://127.0.0.1:9"}
    app = App.open(Settings.model_validate(values))
    cured, uncured, refusing = 0, [], []
    async with app.engine.running():
        for tool in (tool for tool in app.engine.plugins.tools.values() if tool.charges):
            for arguments in islice(refused_calls(tool), MOST):
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
