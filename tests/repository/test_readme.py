"""README under test: its tables are what the commands print, its example runs, its variables exist."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.content import listing
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import SECTIONS, Settings, variable
from kie_ai_mcp._start.limits import LOAD

UV = "python3 -m pip install --target .uv uv && .uv/bin/uv run"
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    found = re.search(rf"<!-- {name}: .* -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found, f"README.md has no section between <!-- {name}: ... --> and <!-- /{name} -->"
    return found[1]


@pytest.mark.parametrize("name", ["providers", "tools"])
def test_tables_are_what_the_command_prints(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIE_AI_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    command = [sys.executable, "-m", "kie_ai_mcp", name, "--markdown"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert section(name) == printed, f"renew it with: uv run kie-ai-mcp-server {name} --markdown"


def test_every_setting_is_explained() -> None:
    own = [name for name in Settings.model_fields if name not in SECTIONS]
    missing = [
        name for name in (LOAD, *map(variable, own)) if f"| `{name}`" not in README and f", `{name}`" not in README
    ]
    assert missing == []


def test_no_variable_is_explained_that_does_not_exist() -> None:
    known = {variable(name) for name in Settings.model_fields} | {LOAD, "KIE_AI_CONFIG", "KIE_AI_PROVIDER_SORA2_MODEL"}
    assert set(re.findall(r"\bKIE_AI_[A-Z_]*[A-Z]\b", README)) - known == set()


@pytest.mark.parametrize(
    ("row", "chosen"),
    [("everything", {}), ("`KIE_AI_KINDS=image`", {"kinds": ("image",)}), ("`KIE_AI_COMPACT=true`", {"compact": True})],
)
def test_what_a_model_is_given_was_measured(row: str, chosen: dict[str, Any], tmp_path: Path) -> None:
    app = App.open(Settings.model_validate({"db_path": tmp_path / "tasks.db", **chosen}))
    tools = listing(app).tools
    app.engine.record.close()
    given = [{"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema} for tool in tools]
    measured = sum(len(json.dumps(tool, separators=(",", ":"), ensure_ascii=False).encode()) for tool in given)
    found = re.search(rf"^\| {re.escape(row)} \| (\d+) \| ([\d,]+) \|$", README, re.MULTILINE)
    assert found, f"README.md has no row for {row}"
    assert int(found[1]) == len(tools)
    # A word more or less in a description is no reason to measure again.
    assert int(found[2].replace(",", "")) == pytest.approx(measured, rel=0.01), f"it is {measured:,}"


def test_the_smallest_provider_is_at_most_25_lines_and_runs() -> None:
    found = re.search(r"<!-- example: smallest provider -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found
    assert len(found[1].splitlines()) <= 25
    module: dict[str, object] = {"__name__": "example"}
    exec(compile(found[1], "README.md", "exec"), module)
    hook = module["kie_register_tools"]
    assert callable(hook)
    (fn,) = hook()
    tool = BoundTool.bind(fn, provider="seedream", kind="image")
    request = tool.fn(**tool.arguments.check({"prompt": "a harbour"}))
    assert request.paths[0] == "jobs/createTask"


def test_both_commands_stand_as_whole_lines() -> None:
    head = README.split("\n## ")[0]
    contributing = README.partition("\n## Contributing\n")[2].partition("\n## ")[0]
    assert f"\n{UV} kie-ai-mcp-server demo\n" in head
    assert f"\n{UV} pytest\n" in contributing
