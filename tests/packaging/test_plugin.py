"""The plugin for Claude Code: its manifests, and its start by the host from a clone and from a release."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._settings.settings import Settings, variable
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, data
from tests.packaging.hosting import Value, hosted, replaced
from tests.packaging.unreleased import unreleased

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".claude-plugin"
PLUGIN: dict[str, Any] = json.loads((FOLDER / "plugin.json").read_text(encoding="utf-8"))
MARKETPLACE: dict[str, Any] = json.loads((FOLDER / "marketplace.json").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
(CONFIG,) = PLUGIN["mcpServers"].values()

OUTSIDE = shutil.ignore_patterns(".*_cache", ".venv", ".uv", ".git", "__pycache__", "dist", "shared", "tests")
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


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins") / "kie ai"
    shutil.copytree(ROOT, folder, ignore=OUTSIDE)
    return folder


async def is_of_use(config: dict[str, Any], clone: Path, home: Path, sandbox: Sandbox, **more: str) -> None:
    # What the host puts in place of an option that was left empty is its default, or nothing.
    variables: dict[str, Value] = {
        "CLAUDE_PLUGIN_ROOT": str(clone),
        "user_config.api_key": "key-of-the-tests",
        "user_config.output_folder": "~/Pictures/kie",
        "user_config.upload_folder": "",
        "user_config.credits_per_day": "500",
    }
    async with hosted(replaced(config, variables), home, KIE_AI_BASE_URL=sandbox.base_url, **more) as client:
        assert "generate_veo3_video" in {tool.name for tool in (await client.list_tools()).tools}
        assert not (await client.call_tool("get_credits", {})).is_error
        made = await client.call_tool("generate_nano_banana", {"prompt": "a fox"})
        await client.call_tool("wait_for_tasks", {"task_ids": [data(made)["task_id"]]})
        outside = {"prompt": "a cat", "image_urls": [str(home / "fox.png")]}
        step = data(await client.call_tool("edit_nano_banana", outside))["next_step"]
    # The user's shell has the PATH of this process, not the one that uv gives to the server.
    program, *_ = shlex.split(step.split("`")[1])
    assert shutil.which(program), step
    assert [*(home / "Pictures/kie").rglob("*.png")]


@pytest.mark.anyio
async def test_plugin_starts_from_a_clone(clone: Path, dist: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    await is_of_use(CONFIG, clone, tmp_path, sandbox, UV_FIND_LINKS=str(dist))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after the preparation of the release that is built."""
    folder = unreleased(tmp_path_factory.mktemp("released") / "clone")
    command = [sys.executable, "tools/release.py", PROJECT["version"]]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=LIMIT_S, check=True)
    return folder


@pytest.mark.anyio
async def test_plugin_of_a_release_starts_it(released: Path, dist: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    plugin = json.loads((released / ".claude-plugin/plugin.json").read_text(encoding="utf-8"))
    (config,) = plugin["mcpServers"].values()
    assert config["command"] == "uvx"
    # The built distributions stand for those of the package index.
    await is_of_use(config, released, tmp_path, sandbox, UV_FIND_LINKS=str(dist))
