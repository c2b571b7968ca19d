"""Plugins whose models or readings are wrong: what the answers say, and what is not sent."""

import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow import waiting
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

pytestmark = pytest.mark.anyio

SOURCE = '''
from kie_ai_mcp import *

@hookimpl
def kie_register_gateways():
    return [Gateway("tidal", "Tidal", "https://tidal.example", key_help="Set KIE_AI_PROVIDER_TIDAL_KEY.")]

@hookimpl
def kie_register_models():
    schema = {"type": "object", "properties": {"prompt": {"type": "string"}}, "additionalProperties": False}
    return [
        Model("wave/1", "Wave", "image", "text-to-image", schema, price=Price((PriceLine(-2),))),
        Model("wave/2", "Wave", "image", "text-to-image", schema, price=Price((PriceLine(2),))),
    ]

def generate_tidal_image(prompt: Prompt) -> Submission:
    """Make a picture of the tide."""
    return Submission.market("google/nano-banana", {"prompt": prompt}, api_type="tidal")

@hookimpl
def kie_register_tools():
    return [generate_tidal_image]

@hookimpl
def kie_normalize_result(payload):
    raise ValueError("oh dear")
'''


@pytest.fixture
async def app(
    tmp_path: Path, sandbox: Sandbox, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    """A running application of one installed third-party plugin, with a limit that its models' prices reach."""
    about = tmp_path / "site/kie_ai_mcp_tidal-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: kie-ai-mcp-tidal\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text("[kie_ai_mcp]\ntidal = kie_ai_mcp_tidal\n", "utf-8")
    (tmp_path / "site/kie_ai_mcp_tidal.py").write_text(SOURCE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(waiting.CADENCE_S, "image", 0.05)
    values = {
        "api_key": "key-of-the-tests",
        "base_url": sandbox.base_url,
        "db_path": tmp_path / "tasks.db",
        "enabled_providers": ("tidal",),
    }
    opened = App.open(Settings.model_validate({**values, **getattr(request, "param", {})}))
    async with opened.engine.running():
        yield opened
    sys.modules.pop("kie_ai_mcp_tidal", None)


@pytest.mark.parametrize("app", [{"max_credits_per_day": 1.0}], indirect=True)
async def test_model_with_a_wrong_price_is_named_and_never_bought(app: App, sandbox: Sandbox) -> None:
    reason = "price.lines[0].credits are -2, not a finite number of at least 0"
    call: dict[str, Any] = {"model": "wave/1", "input": {"prompt": "a wave"}}
    refused = await app.call("run_model", call)
    estimate = (await app.call("estimate_cost", {"name": "wave/1", "arguments": {"prompt": "a wave"}})).data or {}
    found = (await app.call("find_models", {"words": "wave"})).data or {}

    assert refused.is_error
    assert reason in refused.text
    assert (estimate["valid"], reason in estimate["errors"][0]) == (False, True)
    assert [model["name"] for model in found["models"] if model["name"].startswith("wave")] == ["wave/2"]
    assert f"its model wave/1 is left out: {reason} (site/kie_ai_mcp_tidal.py, line 8)" in found["next_step"]
    assert not [request for request in sandbox.requests if "createTask" in str(request)]


async def test_failure_in_a_reading_is_told_in_one_line(app: App, caplog: pytest.LogCaptureFixture) -> None:
    made = (await app.call("generate_tidal_image", {"prompt": "a wave"})).data or {}
    with caplog.at_level(logging.INFO):
        waited = (await app.call("wait_for_tasks", {"task_ids": [made["task_id"]], "timeout_s": 1})).data or {}
    (task,) = waited["tasks"]
    place = "(site/kie_ai_mcp_tidal.py, line "
    assert f"The provider tidal failed in kie_normalize_result: ValueError: oh dear {place}" in task["read_error"]
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("app", [{"api_key": None}], indirect=True)
async def test_service_without_its_key_is_named_beside_kie_ai(app: App) -> None:
    answer = await app.call("get_credits", {})
    assert "Tidal: no key is set. Set KIE_AI_PROVIDER_TIDAL_KEY." in answer.text
