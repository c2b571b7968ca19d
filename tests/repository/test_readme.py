"""README under test: short, and its two commands stand where people and machines look for them."""

from pathlib import Path

UV = "python3 -m pip install --target .uv uv && .uv/bin/uv run"
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
MOST_WORDS = 900


def test_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_both_commands_stand_as_whole_lines() -> None:
    head = README.split("\n## ")[0]
    contributing = README.partition("\n## Contributing\n")[2].partition("\n## ")[0]
    assert f"\n{UV} kie-ai-mcp-server demo\n" in head
    assert f"\n{UV} pytest\n" in contributing
