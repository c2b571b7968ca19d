"""Documentation under test: its code runs, its headings are the contract, its messages exist."""

import ast
import importlib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from kie_ai_mcp import hookspecs
from kie_ai_mcp._app.app import App
from kie_ai_mcp._models.wording import field_lines, price_lines, rule_line
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.testing import check_provider

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *DOCS]
HOOKS_PAGE = ROOT / "docs/plugins/hooks.md"

GUIDES = ["setup", "using", "troubleshooting", "command-line", "configuration", "http", "tools"]
HOOKS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("kie_")}
every_hook = pytest.mark.parametrize("hook", HOOKS)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@dataclass(frozen=True)
class Block:
    """A piece of code in a page; `file` is what stands above it as ``name``:, where it is a whole file."""

    language: str
    text: str
    line: int
    file: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"(?:^`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(found[2], found[3], text[: found.start(3)].count("\n"), found[1])


def section(hook: str) -> str:
    """What docs/plugins/hooks.md says of a hook, heading included."""
    found = re.search(rf"^## {hook}\(.*?(?=^## |\Z)", HOOKS_PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"docs/plugins/hooks.md has no heading for {hook}"
    return found[0]


# Code ----------------------------------------------------------------------------------------------------------------


@every_page
def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language != "python":
            continue
        # Line numbers as in the page, so that a traceback leads to it.
        code = compile("\n" * block.line + block.text, str(page), "exec")
        exec(code, names)
        if block.file:
            module = ModuleType(block.file.removesuffix(".py"))
            exec(code, module.__dict__)
            monkeypatch.setitem(sys.modules, module.__name__, module)


def test_models_of_the_page_pass_the_kit_and_are_described_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = list(blocks(ROOT / "docs/plugins/models.md"))
    (tmp_path / "kie_ai_mcp_tide").mkdir()
    for block in page:
        if block.file and block.file.startswith("kie_ai_mcp_tide/"):
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("kie_ai_mcp_tide")
    monkeypatch.delitem(sys.modules, "kie_ai_mcp_tide")
    check_provider(module)
    (wave,) = module.kie_register_models()
    lines = [*field_lines(wave), *map(rule_line, wave.rules), *price_lines(wave)]
    assert next(block.text for block in page if block.language == "text").splitlines() == lines


# Hooks ---------------------------------------------------------------------------------------------------------------


def test_headings_are_the_signatures_in_order() -> None:
    text = HOOKS_PAGE.read_text(encoding="utf-8")
    signatures = [f"{name}({', '.join(inspect.signature(spec).parameters)})" for name, spec in HOOKS.items()]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == signatures


@every_hook
def test_hook_is_explained(hook: str) -> None:
    said = section(hook)
    assert "Called " in said
    assert "New in contract " in said
    assert [name for name in inspect.signature(HOOKS[hook]).parameters if f"- `{name}`: " not in said] == []
    if "None" in str(inspect.signature(HOOKS[hook]).return_annotation) and hook != "kie_register_commands":
        assert "None stands for " in said


@every_hook
def test_example_is_the_code_of_a_real_provider(hook: str) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", section(hook), re.MULTILINE | re.DOTALL)
    implementation = example[example.index("@hookimpl") :].strip()
    assert f"def {hook}(" in implementation
    sources = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("plugins/*/src/*/__init__.py")}
    real = [str(path.relative_to(ROOT)) for path, text in sources.items() if f"def {hook}(" in text]
    linked = re.findall(r"\]\(\.\./\.\./(plugins/[^)]*\.py)\)", section(hook))
    assert set(linked) <= set(real), f"take the example from one of {real}"
    assert bool(linked) == bool(real), f"take the example from one of {real}"
    for link in linked:
        assert implementation in sources[ROOT / link], f"renew it from {link}"


@every_hook
def test_hook_has_a_test_of_its_name(hook: str) -> None:
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(f"def test_hook_{hook}(" in text for text in tests), f"write test_hook_{hook}"


# Settings and messages -----------------------------------------------------------------------------------------------


@every_page
def test_blocks_of_json_and_toml_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)


@pytest.mark.parametrize("page", ["configuration.md", "using.md"])
def test_settings_of_the_page_are_ones_that_the_server_takes(page: str, tmp_path: Path) -> None:
    (block,) = (block for block in blocks(ROOT / "docs" / page) if block.language == "toml")
    (tmp_path / "config.toml").write_text(block.text, encoding="utf-8")
    settings = load_settings({"KIE_AI_CONFIG": str(tmp_path / "config.toml"), "KIE_AI_DB_PATH": str(tmp_path / "t.db")})
    assert settings.max_credits_per_day == 200
    app = App.open(settings)  # which refuses sections that no provider or tool takes
    app.engine.record.close()
    for tool, defaults in settings.tools.items():
        fields = app.tool(tool).input_schema["properties"]
        assert {name: fields[name]["default"] for name in defaults if name in fields}.items() <= defaults.items()


def literal_texts() -> str:
    """Every text in the code, each in one piece, with a sign in the place of each value."""
    found = []
    for path in [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("name", GUIDES)
def test_page_with_commands_says_how_they_read_in_a_clone(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    text = text.partition("## Clients")[2] if name == "setup" else text  # those before are for a clone
    said = text.index("In a clone")
    assert "(index.md#commands-as-they-are-written-here)" in text[said : said + 300]
    assert text.index("kie-ai-mcp-server ") > said - 200


def test_messages_in_the_headings_of_troubleshooting_exist() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    said = [
        text for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE) for text in re.findall(r"`([^`]+)`", heading)
    ]
    texts = literal_texts()
    assert len(said) >= 15
    pieces = {piece.strip(" .;,") for text in said for piece in text.split("…")} - {""}
    assert {piece for piece in pieces if piece not in texts} == set()
