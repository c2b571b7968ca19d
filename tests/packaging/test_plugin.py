"""The plugin for Claude Code: its manifests, and its start from a clone as the host starts it."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._settings.settings import Settings, variable
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data
from tests.packaging.hosting import Value, hosted, replaced

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".claude-plugin"
PLUGIN: dict[str, Any] = json.loads((FOLDER / "plugin.json").read_text(encoding="utf-8"))
MARKETPLACE: dict[str, Any] = json.loads((FOLDER / "marketplace.json").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
(CONFIG,) = PLUGIN["mcpServers"].values()

OPTION = {"type", "title", "description", "required", "default", "multiple", "sensitive", "min", "max"}
NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"


def test_marketplace_offers_the_plugin_of_this_repository() -> None:
    assert {"name", "owner", "plugins"} <= set(MARKETPLACE)
    (entry,) = MARKETPLACE["plugins"]
    assert (entry["name"], entry["source"]) == (PLUGIN["name"], "./")
    assert all(re.fullmatch(NAME, name) for name in (MARKETPLACE["name"], PLUGIN["name"]))


def test_plugin_has_the_version_of_the_server() -> None:
    assert PLUGIN["version"] == PROJECT["version"]


def test_every_choice_reaches_a_setting_and_the_key_is_a_secret() -> None:
    options = PLUGIN["userConfig"]
    assert all({"type", "title", "description"} <= set(option) <= OPTION for option in options.values())
    assert [name for name, option in options.items() if option.get("sensitive")] == ["api_key"]
    texts = [*CONFIG["args"], *CONFIG["env"].values()]
    used = {found for text in texts for found in re.findall(r"user_config\.(\w+)", text)}
    assert used == set(options)
    assert set(CONFIG["env"]) <= {variable(field) for field in Settings.model_fields}


@pytest.mark.anyio
async def test_plugin_starts_from_a_clone(tmp_path: Path, sandbox: Sandbox) -> None:
    clone = tmp_path / "plugins/cache/kie ai"
    outside = shutil.ignore_patterns(".*_cache", ".venv", ".uv", ".git", "__pycache__", "dist", "shared", "tests")
    shutil.copytree(ROOT, clone, ignore=outside)
    # What the host puts in place of an option that was left empty is its default, or nothing.
    variables: dict[str, Value] = {
        "CLAUDE_PLUGIN_ROOT": str(clone),
        "user_config.api_key": "key-of-the-tests",
        "user_config.output_folder": "~/Pictures/kie",
        "user_config.upload_folder": "",
        "user_config.credits_per_day": "500",
    }
    async with hosted(replaced(CONFIG, variables), tmp_path, KIE_AI_BASE_URL=sandbox.base_url) as client:
        assert "generate_veo3_video" in {tool.name for tool in (await client.list_tools()).tools}
        assert not (await client.call_tool("get_credits", {})).is_error
        made = await client.call_tool("generate_nano_banana", {"prompt": "a fox"})
        await client.call_tool("wait_for_tasks", {"task_ids": [data(made)["task_id"]]})
    assert [*(tmp_path / "Pictures/kie").rglob("*.png")]
