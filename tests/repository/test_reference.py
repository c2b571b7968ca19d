"""Reference pages under test: their tables are what the code says, and no variable is explained that does not exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kie_ai_mcp._settings.settings import SUBPREFIX, Settings, variable
from kie_ai_mcp._start.limits import LOAD

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_parts_are_what_the_code_says() -> None:
    command = [sys.executable, "tools/docs.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stdout + done.stderr, "renew them with: uv run python tools/docs.py"
    assert done.returncode == 0


def test_check_sees_a_table_that_is_out_of_date(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/docs.py").write_bytes((ROOT / "tools/docs.py").read_bytes())
    (tmp_path / "docs/plugins").mkdir(parents=True)
    (tmp_path / "docs/plugins/known.toml").write_bytes((ROOT / "docs/plugins/known.toml").read_bytes())
    (tmp_path / "README.md").write_text("A page without generated parts.\n", encoding="utf-8")
    page = tmp_path / "docs/page.md"
    page.write_text("<!-- settings: a test -->\n| old |\n<!-- /settings -->\n", encoding="utf-8")
    for options, said, code in (["--check"], "docs/page.md\n", 1), ([], "docs/page.md\n", 0), (["--check"], "", 0):
        command = [sys.executable, "tools/docs.py", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert (done.stdout.replace("\\", "/"), done.returncode) == (said, code), done.stderr
    text = page.read_text(encoding="utf-8")
    assert ("| old |" in text, "KIE_AI_API_KEY" in text) == (False, True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_variable_is_explained_that_does_not_exist(page: Path) -> None:
    known = {variable(name) for name in Settings.model_fields} | {LOAD, "KIE_AI_CONFIG"}
    named = set(re.findall(r"\bKIE_AI_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert {name for name in named - known if not name.startswith((SUBPREFIX, "KIE_AI_MCP_"))} == set()


def test_number_of_models_is_that_of_the_market() -> None:
    text = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
    listed = text.partition("<!-- models: ")[2].partition("<!-- /models -->")[0]
    said = re.findall(r"(\d+)\s+models of the market", (ROOT / "docs/index.md").read_text(encoding="utf-8"))
    assert said == [str(len(re.findall(r"^\| `", listed, re.MULTILINE)))]
