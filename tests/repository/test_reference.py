"""Reference pages under test: their tables are what the commands print, and every setting is explained."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.content import listing
from kie_ai_mcp._settings.settings import SECTIONS, SUBPREFIX, Settings, variable
from kie_ai_mcp._start.limits import LOAD

ROOT = Path(__file__).parents[2]
TOOLS = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def section(name: str) -> str:
    found = re.search(rf"<!-- {name}: .* -->\n(.*?)<!-- /{name} -->", TOOLS, re.DOTALL)
    assert found, f"docs/tools.md has no section between <!-- {name}: ... --> and <!-- /{name} -->"
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
        name
        for name in (LOAD, *map(variable, own))
        if f"| `{name}`" not in CONFIGURATION and f", `{name}`" not in CONFIGURATION
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_variable_is_explained_that_does_not_exist(page: Path) -> None:
    known = {variable(name) for name in Settings.model_fields} | {LOAD, "KIE_AI_CONFIG"}
    named = set(re.findall(r"\bKIE_AI_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert {name for name in named - known if not name.startswith((SUBPREFIX, "KIE_AI_MCP_"))} == set()


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
    found = re.search(rf"^\| {re.escape(row)} \| (\d+) \| ([\d,]+) \|$", TOOLS, re.MULTILINE)
    assert found, f"docs/tools.md has no row for {row}"
    assert int(found[1]) == len(tools)
    # A word more or less in a description is no reason to measure again.
    assert int(found[2].replace(",", "")) == pytest.approx(measured, rel=0.01), f"it is {measured:,}"
